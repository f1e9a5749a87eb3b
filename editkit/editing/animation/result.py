"""Result of an edited animation: frames, report and recipe."""

from __future__ import annotations

import dataclasses as dc
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ...display import mime_bundle
from ...errors import BadImage, InvalidParameter
from ...files.writing import write_encoded
from ...images.animation.encoding import encode_animation, losses
from ...images.animation.flicker import measure_flicker
from ...images.animation.frames import Animation, same_mode
from ...images.animation.reading import open_animation, reopen
from ...images.contact_sheet import draw_sheet
from ...images.reading import open_image
from ...images.sources import format_size
from ...images.stored.encoding import Encoding, RecipeContent
from ...images.stored.image import StoredImage
from ...registry.arguments import check_arguments
from ...report import AnimationReport, Report
from ..recipe import AnimationRecipe, ImageReference
from ..results.quality import Untouched
from ..results.result import Result

_SHOWN = 4
"""Frames of an animation in a sheet."""


def _difference_as_shown(part: Untouched, frame: Image.Image) -> int:
    """Largest difference of a frame in a file to a part of its source, without colours of clear pixels.

    Encoders of animations change those.
    """
    as_shown = dc.replace(part, source=_as_shown(StoredImage.of(part.source)).view())
    return as_shown.largest_difference(_as_shown(StoredImage.of(frame)))


def _as_shown(image: StoredImage) -> StoredImage:
    """Return an image whose clear pixels are black."""
    if image.alpha is None:
        return image
    return dc.replace(image, levels=np.where(image.levels[..., 3:] == 0, 0, image.levels).astype(image.levels.dtype))


class EditedFrame(NamedTuple):
    """Parts of the edit of a frame that its animation needs."""

    image: Image.Image
    report: Report
    untouched: Untouched | None
    mask: Image.Image | None

    @classmethod
    def of(cls, result: Result, source: Image.Image) -> EditedFrame:
        """Return the parts of a result, without copies of the frame ``source``."""
        untouched = result.untouched
        return cls(result.image, result.report, untouched and dc.replace(untouched, source=source), result.mask)


@dc.dataclass(eq=False)
class AnimationResult:
    """Result of an operation on every frame of an animation."""

    animation: Animation
    """The edited frames with the times of the source."""
    source: Animation
    """The animation that was edited."""
    report: AnimationReport
    """Sums and extremes of the figures of all frames."""
    recipe: AnimationRecipe
    """The recipe by which :func:`replay` makes the animation again."""
    untouched: tuple[Untouched | None, ...]
    """Part of each source frame that its result has to repeat."""
    masks: tuple[Image.Image, ...] = ()
    """The mask of each frame in mode L, painted or found; empty without masks."""
    losses: tuple[str, ...] = ()
    """Warnings of the report that belong to the file last saved."""

    @classmethod
    def of(
        cls, source: Animation, frames: Sequence[EditedFrame], report: AnimationReport, recipe: AnimationRecipe
    ) -> AnimationResult:
        """Return the result of the edits of all frames, with its flicker measured."""
        edited = dc.replace(source, frames=same_mode([frame.image for frame in frames]))
        masks = tuple(frame.mask for frame in frames if frame.mask is not None)
        result = cls(edited, source, report, recipe, tuple(frame.untouched for frame in frames), masks)
        result.measure(edited.frames)
        return result

    def __repr__(self) -> str:
        size, count = format_size(self.animation.size), len(self.frames)
        return f"<AnimationResult {self.report.line}; {count} frames of {size} pixels, model {self.report.model!r}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the display of a notebook: some frames before and after, with one line of the report."""
        images = self.labelled_images()
        half = len(images) // 2
        images[half] = (f"{images[half][0]}, {self.report.line.partition(': ')[2]}", images[half][1])
        return mime_bundle(repr(self), images[:half], images[half:], columns=half)

    def measure(self, frames: Sequence[Image.Image]) -> None:
        """Set the flicker of the report to that of frames, None for those of another size than the source."""
        self.report = dc.replace(self.report, **self._flicker(frames))

    @property
    def frames(self) -> tuple[Image.Image, ...]:
        """The edited frames, 8-bit sRGB."""
        return self.animation.frames

    @check_arguments()
    def save(
        self,
        path: str | os.PathLike[str],
        *,
        quality: int | None = None,
        keep_gps: bool = False,
        recipe: RecipeContent = "text",
    ) -> Path:
        """Write the frames with their times and the recipe as .gif, .webp, .png (APNG) or .mp4, whole or not at all.

        PNG, and WebP without a ``quality`` (1 to 100), hold every pixel, GIF 256 colours; MP4 is lossy and needs the
        extra ``editkit[video]``. The report then has the figures of the file, and warnings of what it does not hold.
        The file has no metadata of the source, so that ``keep_gps`` has no effect. Raises InvalidParameter for a path,
        a suffix or a quality that is not allowed.
        """
        options: dict[str, Any] = {"quality": quality, "keep_gps": keep_gps, "recipe": recipe}
        target = write_encoded(path, functools.partial(self.encoded, **options))
        self.report = dc.replace(self.report, output=str(target))
        return target

    @check_arguments()
    def encoded(
        self, suffix: str, *, quality: int | None = None, keep_gps: bool = False, recipe: RecipeContent = "text"
    ) -> bytes:
        """Return the bytes of a file with this suffix, and measure them for the report."""
        encoding = Encoding(quality, keep_gps, recipe)
        text = None if recipe == "none" else self.recipe.model_dump_json()
        data = encode_animation(self.animation, suffix, recipe=text, encoding=encoding)
        self._measure(data, suffix, encoding)
        return data

    def save_mask(self, path: str | os.PathLike[str]) -> Path:
        """Write the masks of all frames as an animation; raises InvalidParameter without one, and as :meth:`save`."""
        if not self.masks:
            raise InvalidParameter("the animation was edited without a mask: there is none to save")
        masks = dc.replace(self.source, frames=tuple(mask.convert("RGB") for mask in self.masks))
        encode = functools.partial(encode_animation, masks, argument="mask_out")
        return write_encoded(path, encode, argument="mask_out")

    def _measure(self, data: bytes, suffix: str, encoding: Encoding) -> None:
        """Set the figures of the report to those of an encoded file."""
        written = reopen(data).matched_to(self.animation)
        difference = self.report.untouched_max_diff
        if any(self.untouched):
            pairs = zip(self.untouched, written, strict=True)
            difference = max(_difference_as_shown(part, frame) for part, frame in pairs if part)
        lost = losses(self.animation, suffix, encoding, difference)
        previous, self.losses = self.losses, tuple(lost)
        kept = [warning for warning in self.report.warnings if warning not in previous]
        self.report = dc.replace(self.report, warnings=(*kept, *self.losses), untouched_max_diff=difference)
        self.measure(written)

    def _flicker(self, frames: Sequence[Image.Image]) -> dict[str, Any]:
        """Return the flicker of frames and of the source; frames of another size are not compared with its motion."""
        if frames[0].size != self.source.size:
            return {"source_flicker": None, "flicker": None}
        source, result = measure_flicker(self.source.frames, self.source.frames, frames)
        return {"source_flicker": source, "flicker": result}

    def labelled_images(self, label: str | None = None) -> list[tuple[str, Image.Image]]:
        """Return up to four frames before and after, with their numbers."""
        last = len(self.frames) - 1
        numbers = sorted({round(last * part / (_SHOWN - 1)) for part in range(_SHOWN)})
        before = [(f"before {number + 1}", self.source.frames[number]) for number in numbers]
        return before + [(f"{label or self.report.operation} {number + 1}", self.frames[number]) for number in numbers]

    def sheet(self, label: str | None = None) -> Image.Image:
        """Return a labelled image of some frames of the source, and below them of the result."""
        images = self.labelled_images(label)
        return draw_sheet(images, columns=len(images) // 2)


def is_shown_by(result: Result | AnimationResult, file: Any) -> bool:
    """Return whether a file, or an earlier result, shows the image or the frames of a result level for level."""
    try:
        if isinstance(result, Result):
            return ImageReference.of(open_image(file)) == ImageReference.of(result.image)
        earlier = open_animation(file.animation if isinstance(file, AnimationResult) else file)
    except BadImage:  # such as the frames of an interpolation
        return False
    return [*map(ImageReference.of, earlier.frames)] == [*map(ImageReference.of, result.frames)]
