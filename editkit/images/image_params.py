"""Open the images among the parameters of an operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ..errors import BadFile, InvalidParameter
from ..literals import MaskFrom
from ..registry.params import SEVERAL, Params, image_fields, shorten
from .condition_maps import map_note, map_to_image, read_map
from .conversion import luminance
from .masks.feather import feather_note
from .masks.painted import PaintedMask
from .masks.reading import Mask, mask_of_shares, open_mask, turned_note
from .masks.specification import MaskSpecification
from .reading import open_image
from .sources import format_size

MOST_IMAGES = 16
"""Most images of one parameter."""


class StoredImageParam(NamedTuple):
    """An image parameter as a recipe stores it: as the operation gets it, neither to be interpreted nor resampled."""

    image: Image.Image
    inverted: bool = False
    """Whether a mask was inverted before it was stored."""


class OpenedImages(NamedTuple):
    """Parameters with opened images."""

    params: Params
    notes: tuple[str, ...]
    """Warnings about masks."""
    specifications: dict[str, str]
    """Strokes of a mask, or words or points by which it was found, by parameter."""


Find = Callable[[Params, MaskSpecification, Image.Image], NDArray[np.float32]]
"""Function that finds the mask of an image, by the segmenter of the parameters."""


def open_image_params(params: Params, image: Image.Image | None, find: Find | None = None) -> OpenedImages:
    """Return parameters with their images opened in the size of ``image``; ``find`` finds masks of words or points.

    Masks have mode L, and maps L, or RGB if they have colours; a parameter of several images has a tuple of them, at
    their own sizes. Raises BadImage and InvalidParameter, naming the parameter, as open_mask, read_map and open_image
    do, and BadFile for a stored image of another size.
    """
    opened: dict[str, Any] = {}
    notes: list[str] = []
    specifications: dict[str, str] = {}
    for name, kind in image_fields(type(params)).items():
        value = getattr(params, name)
        if value is None:
            continue
        if kind == SEVERAL:
            opened[name] = _open_several(name, value)
            continue
        assert image is not None
        if kind == "mask":
            mask, specification = _mask_of(params, name, value, image, find)
            specifications |= {name: specification} if specification else {}
            feather = feather_note(np.asarray(mask.levels), getattr(params, "feather", 0.0))
            opened[name] = mask.levels
            notes += [*mask.notes, *([feather] if feather else [])]
            if _is_file(value, specification) and (turned := turned_note(image, mask.turned, name)):
                notes.append(turned)
        elif isinstance(value, StoredImageParam):
            _check_size(value, image, name)
            opened[name] = value.image
        else:
            levels = read_map(value, image.size, argument=name, colour=True)
            note = map_note(levels, name, invert=bool(getattr(params, "control_invert", False)))
            opened[name], notes = map_to_image(levels), [*notes, *([note] if note else [])]
    return OpenedImages(params.model_copy(update=opened), tuple(notes), specifications)


def _is_file(value: Any, specification: str) -> bool:
    """Whether a mask is an image that a caller drew, and no strokes, words, points or part of a recipe."""
    return not specification and not isinstance(value, StoredImageParam)


def _mask_of(params: Params, name: str, value: Any, image: Image.Image, find: Find | None) -> tuple[Mask, str]:
    """Return the mask of a value, and the strokes, words or points that it is specified by; empty for an image."""
    painted = PaintedMask.parse(value)
    if painted is not None:
        if not painted.is_small(image.size):
            raise InvalidParameter(f"{name}: its strokes are too many and too wide to be drawn: pass it as an image")
        return _open_mask_param(params, name, Image.fromarray(painted.levels(image.size)), image), str(painted)
    specification = MaskSpecification.parse(value)
    if specification is None:
        return _open_mask_param(params, name, value, image), ""
    assert find is not None
    specification.check_inside(image.size)
    shares, invert = find(params, specification, image), getattr(params, "invert_mask", False)
    return mask_of_shares(shares, f"{name}={str(specification)!r}", invert=invert), str(specification)


def _open_several(name: str, value: Any) -> tuple[Image.Image, ...]:
    """Open an image, or each of a list; a stored one is as it was."""
    sources = value if isinstance(value, (list, tuple)) and not isinstance(value, StoredImageParam) else [value]
    if len(sources) > MOST_IMAGES:
        raise InvalidParameter(f"{name}={shorten(value)} is not allowed: at most {MOST_IMAGES} images are allowed")
    return tuple(
        source.image
        if isinstance(source, StoredImageParam)
        else open_image(source, argument=f"{name} {number}" if len(sources) > 1 else name)
        for number, source in enumerate(sources, 1)
    )


def recorded_images(params: Params) -> dict[str, Image.Image]:
    """Return the opened images of parameters by their names in a recipe: ``mask``, ``reference-1``, ``reference-2``."""
    images: dict[str, Image.Image] = {}
    for name, kind in image_fields(type(params)).items():
        value = getattr(params, name)
        if kind == SEVERAL:
            images |= {f"{name}-{number}": image for number, image in enumerate(value, 1)}
        elif value:
            images[name] = value
    return images


def parameter_of(recorded: str) -> str:
    """Return the parameter of an image by its name in a recipe."""
    return recorded.partition("-")[0]


def _open_mask_param(params: Params, name: str, value: Any, image: Image.Image) -> Mask:
    """Open a mask as the parameters ``mask_from`` and ``invert_mask`` beside it say, where they exist."""
    mask_from: MaskFrom = getattr(params, "mask_from", "auto")
    invert = getattr(params, "invert_mask", False)
    if not isinstance(value, StoredImageParam):
        return open_mask(value, image.size, argument=name, mask_from=mask_from, invert=invert, image=image)
    _check_size(value, image, name)
    levels = luminance(value.image)
    return Mask(ImageOps.invert(levels) if invert != value.inverted else levels)


def _check_size(stored: StoredImageParam, image: Image.Image, name: str) -> None:
    if stored.image.size != image.size:
        actual, needed = format_size(stored.image.size), format_size(image.size)
        raise BadFile(
            f"the {name} in the recipe has {actual} pixels, and its image {needed}: pass a {name} of that size if a "
            "step before was changed; else the recipe is damaged"
        )
