"""An image as its file stores it, and the 8-bit sRGB view of it that is passed on as a PIL image."""

from __future__ import annotations

import dataclasses as dc
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import BadImage
from ..sources import describe_source
from .colour import ColourProfile, Values
from .metadata import NO_METADATA, Metadata
from .transparency import add_change, least_painted

INFO_KEY = "editkit"
"""Entry of ``PIL.Image.Image.info`` that holds the StoredImage of a view."""

Levels = NDArray[Any]
"""Array of uint8 or uint16."""


@dc.dataclass(frozen=True, eq=False)
class StoredImage:
    """Levels of an image at their own bit depth and in their own colour profile.

    The rest of editkit passes PIL images of mode RGB or RGBA, 8 bits, sRGB. Such an image is the :attr:`view` of a
    StoredImage, which it carries in ``info[INFO_KEY]`` unless the view already holds everything. ``StoredImage.of``
    returns the carried image as long as the view's pixels are unchanged, and otherwise wraps the pixels of the view, so
    that a caller who paints on a view gets the painted pixels, with the metadata. Use:

    * ``StoredImage.of(image).colours()`` for pixels to compute with: float32, straight alpha, sRGB. Colours outside
      sRGB's gamut lie outside [0, 1]; clip where a network needs it.
    * ``with_change(change)`` to add a change of these colours. Levels where the change is 0 stay bit-identical.
    * ``with_colours(colours, alpha)`` for new pixels of any size at this depth, profile and metadata.
    * ``levels`` for comparisons and for files; ``maximum`` is the level of white.

    Detail beyond 8 bits or sRGB is part of ``colours()``, and so survives an edit exactly as far as the source does.
    """

    levels: Levels
    """(H, W, 3) or (H, W, 4), uint8 or uint16, RGB and straight alpha, upright."""
    profile: ColourProfile | None = None
    """Embedded RGB profile; None for an image without one, which counts as sRGB."""
    metadata: Metadata = NO_METADATA
    """EXIF, XMP, resolution and texts that a result takes over."""
    notes: tuple[str, ...] = ()
    """Sentences about what of the file is not kept, for the warnings of an edit."""
    turned: bool = False
    """Whether the file stores the pixels mirrored or turned, at the same size."""

    @classmethod
    def of(cls, image: Image.Image) -> StoredImage:
        """Return the image that a view of mode RGB or RGBA carries, else its own pixels; raises BadImage."""
        carried = image.info.get(INFO_KEY)
        metadata = carried.metadata if isinstance(carried, StoredImage) else NO_METADATA
        if isinstance(carried, StoredImage) and carried.is_shown_by(image):
            return carried
        if image.mode not in ("RGB", "RGBA"):
            raise BadImage(
                f"{describe_source(image, 'image')} must have mode RGB or RGBA: pass it through open_image first"
            )
        return cls(np.asarray(image), metadata=metadata)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.levels.shape[1], self.levels.shape[0]

    @property
    def maximum(self) -> int:
        """Level of white: 255 or 65535."""
        return int(np.iinfo(self.levels.dtype).max)

    @property
    def depth(self) -> int:
        """Bits per channel: 8 or 16."""
        return 8 * self.levels.dtype.itemsize

    @property
    def icc(self) -> bytes | None:
        """Bytes of the embedded profile."""
        return None if self.profile is None else self.profile.data

    @property
    def alpha(self) -> Values | None:
        """Alpha (H, W, 1) in [0, 1]; None for an opaque image."""
        return self._unit(self.levels[..., 3:]) if self.levels.shape[2] == 4 else None

    def colours(self) -> Values:
        """Colours (H, W, 3) in sRGB without alpha, float32; outside [0, 1] beyond the gamut of sRGB."""
        values = self._unit(self.levels[..., :3])
        return values if self.profile is None else self.profile.to_srgb(values)

    def on_white(self) -> Values:
        """Colours (H, W, 3) over a white background."""
        colours, alpha = self.colours(), self.alpha
        return colours if alpha is None else colours * alpha + (1 - alpha)

    def _unit(self, levels: Levels) -> Values:
        return np.asarray(levels, dtype=np.float32) / np.float32(self.maximum)

    @functools.cached_property
    def _view_levels(self) -> NDArray[np.uint8]:
        if self.profile is None or self.profile.curves is None:
            return to_8_bits(self.levels)
        colour = np.rint(self.colours().clip(0, 1) * 255).astype(np.uint8)
        return colour if self.levels.shape[2] == 3 else np.dstack([colour, to_8_bits(self.levels[..., 3])])

    def view(self) -> Image.Image:
        """Return a new PIL image of mode RGB or RGBA, 8 bits, sRGB, that carries this image if it holds less."""
        image = Image.fromarray(self._view_levels)
        if self.depth > 8 or self.profile is not None or self.metadata or self.notes:
            image.info[INFO_KEY] = self
        return image

    def on_white_8_bits(self) -> NDArray[np.uint8]:
        """Levels (H, W, 3) on white in this image's profile, for formats without alpha."""
        levels, alpha = to_8_bits(self.levels), self.alpha
        if alpha is None:
            return levels
        values = np.asarray(levels[..., :3], np.float32)
        return np.asarray(np.rint(values * alpha + (255 - 255 * alpha)), dtype=np.uint8)

    def is_shown_by(self, image: Image.Image) -> bool:
        """Whether an image has the pixels of this image's view."""
        view = self._view_levels
        return (
            image.size == self.size and len(image.getbands()) == view.shape[2] and np.array_equal(view, image)  # type: ignore[arg-type]
        )

    def notes_if_changed(self, name: str) -> tuple[str, ...]:
        """Return what is lost where the pixels of the view were changed, as sentences for warnings."""
        lost = ["16 bits per channel"] if self.depth > 8 else []
        lost += ["colour profile"] if self.profile is not None and self.profile.curves is not None else []
        kept = "it counts as 8 bits per channel in sRGB"
        text = f"the pixels of {name} were changed after it was opened: {kept}, without the {' and the '.join(lost)}"
        return (f"{text} of its file",) if lost else ()

    def with_alpha(self) -> StoredImage:
        """Return the image with an alpha channel, full if it has none."""
        if self.levels.shape[2] == 4:
            return self
        opaque = np.full(self.levels.shape[:2], self.maximum, self.levels.dtype)
        return dc.replace(self, levels=np.dstack([self.levels, opaque]))

    def crop(self, corner: tuple[int, int], size: tuple[int, int]) -> StoredImage:
        """Return the part of ``size`` (width, height) at ``corner`` (left, top)."""
        left, top = corner
        return dc.replace(self, levels=self.levels[top : top + size[1], left : left + size[0]])

    def with_colours(self, colours: Values, alpha: Levels | None = None) -> StoredImage:
        """Return sRGB colours (H, W, 3) as an image of this depth and profile, with the levels of ``alpha`` (H, W)."""
        values = colours.clip(0, 1) if self.profile is None else self.profile.from_srgb(colours)
        values *= np.float32(self.maximum)  # in place, since the values of a large result take most of the memory
        levels = np.rint(values, out=values).astype(self.levels.dtype)
        return dc.replace(self, levels=levels if alpha is None else np.dstack([levels, alpha]), turned=False)

    def levels_of(self, alpha: Values) -> Levels:
        """Levels (H, W) of an alpha (H, W, 1) at this depth."""
        levels: Levels = np.rint(alpha[..., 0].clip(0, 1) * self.maximum).astype(self.levels.dtype)
        return levels

    def with_change(self, change: Values, *, painted: Values | None = None, reach: int = 3) -> StoredImage:
        """Add a change (H, W, 3) of the colours on white, in sRGB; levels where it is 0 stay as they are.

        ``painted`` and ``reach`` are those of :func:`~editkit.images.stored.transparency.add_change`.
        """
        if self.alpha is None:
            return _add_change(self, self.levels.astype(np.float32), change)
        before = self.colours()
        colours, alpha = add_change(before, self.alpha, change, painted, reach)
        result = _add_change(self, self.levels.astype(np.float32), colours - before)
        if painted is not None:
            result.levels[..., 3] = np.where((alpha != self.alpha)[..., 0], self.levels_of(alpha), self.levels[..., 3])
        return result


def mix_stored(
    images: Sequence[StoredImage],
    shares: Sequence[float],
    change: Values,
    *,
    painted: Values | None = None,
    reach: int = 3,
) -> StoredImage:
    """Mix images of one size, depth and profile by their shares, then add a change of their colours on white, in sRGB.

    Colours are mixed premultiplied by alpha. ``painted`` and ``reach`` are those of
    :func:`~editkit.images.stored.transparency.add_change`, which finds the alpha of one image; that of a mixture is as
    large as its colours on white need. The result has the metadata of the first image that has a share.
    """
    used = [(image, share) for image, share in zip(images, shares, strict=True) if share != 0] or [(images[0], 0.0)]
    like = used[0][0]
    if like.alpha is None:
        base = sum(np.float32(share) * image.levels.astype(np.float32) for image, share in used)
        return _add_change(like, np.asarray(base, dtype=np.float32), change)
    if len(used) == 1:
        return like.with_change(change, painted=painted, reach=reach)
    alpha, premultiplied, straight = (
        np.asarray(sum(np.float32(share) * part for part, (_, share) in zip(parts, used, strict=True)), np.float32)
        for parts in zip(*(_parts(image) for image, _ in used), strict=True)
    )
    colours = np.where(alpha > 0, premultiplied / np.maximum(alpha, np.float32(1e-6)), straight)
    needed = least_painted(premultiplied + (1 - alpha) + change, alpha)
    colours, alpha = add_change(colours, alpha, change, needed, reach=0)
    return like.with_colours(colours, like.levels_of(alpha))


def _parts(image: StoredImage) -> tuple[Values, Values, Values]:
    """Alpha (H, W, 1), premultiplied and straight colours (H, W, 3)."""
    colours, alpha = image.colours(), image.alpha
    alpha = np.ones((*colours.shape[:2], 1), np.float32) if alpha is None else alpha
    return alpha, colours * alpha, colours


def unify(images: Sequence[StoredImage]) -> list[StoredImage]:
    """Return images with alpha if one has it, at the largest depth, and in sRGB unless all have one profile."""
    maximum, dtype = max((image.maximum, image.levels.dtype) for image in images)
    has_alpha = any(image.levels.shape[2] == 4 for image in images)
    keep_profile = len({image.icc for image in images}) == 1
    unified = []
    for image in images:
        levels, notes = image.levels.astype(dtype) * dtype.type(maximum // image.maximum), image.notes
        if not keep_profile and image.profile is not None and image.profile.curves is not None:
            levels[..., :3] = np.rint(image.colours().clip(0, 1) * maximum)
            notes = (*notes, "the images have different colour profiles: the result is in sRGB")
        one = dc.replace(image, levels=levels, profile=image.profile if keep_profile else None, notes=notes)
        unified.append(one.with_alpha() if has_alpha else one)
    return unified


def _add_change(like: StoredImage, base: Values, change: Values) -> StoredImage:
    """Add a change of sRGB colours to float levels (H, W, C) that have the depth and profile of ``like``."""
    maximum = np.float32(like.maximum)
    if like.profile is None or like.profile.curves is None:
        base[..., :3] += change * maximum
    else:
        changed = np.any(change != 0, axis=2)
        colours = like.profile.to_srgb(base[changed, :3] / maximum) + change[changed]
        base[changed, :3] = like.profile.from_srgb(colours) * maximum
    return dc.replace(like, levels=np.clip(np.rint(base), 0, maximum).astype(like.levels.dtype), turned=False)


def to_8_bits(levels: Levels) -> NDArray[np.uint8]:
    """Round levels to 8 bits."""
    if levels.dtype == np.uint8:
        return np.asarray(levels, dtype=np.uint8)
    return ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
