"""Check an edit of an animation completely before any model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from PIL import Image

from ...errors import InvalidParameter
from ...images.animation.frames import Animation
from ...images.animation.reading import animation_suffix, open_animation
from ...images.image_params import StoredImageParam
from ...images.stored.digest import image_digest
from ...registry.params import SEVERAL, Params, image_fields, shorten
from ...registry.registry import Registry
from ...registry.specs import OperationSpec
from ..request import Request, open_request, with_seed
from ..validation import validate_params

_FORMATS = {".webp": "WEBP", ".mp4": "MP4"}
"""Formats that may be lossy, by their suffixes."""


class AnimationRequest(NamedTuple):
    """An operation on the frames of an animation."""

    registry: Registry
    spec: OperationSpec
    params: Params
    """Parameters of all frames, with a seed: the noise is that of every frame."""
    animation: Animation
    moving: Mapping[str, Animation]
    """Image parameters with a frame for each frame of the animation, such as a moving mask."""
    still: Mapping[str, StoredImageParam] = {}
    """Masks of all frames, as they are read for the first one."""
    notes: tuple[str, ...] = ()
    """Warnings of opening the first frame, which hold for all."""

    @property
    def result_size(self) -> tuple[int, int]:
        """(width, height) of the resulting frames."""
        size = self.animation.size
        return size if self.spec.size is None else self.spec.size(self.params, size)

    def frame(self, number: int) -> Request:
        """Return the edit of one frame, counted from 0."""
        own = {**self.still, **{name: _as_opened(one, number) for name, one in self.moving.items()}}
        params = self.params.model_copy(update=own)
        request = open_request(self.registry, self.spec, params, self.animation.frames[number])
        return request._replace(warnings=tuple(dict.fromkeys((*self.notes, *request.warnings))))

    def distinct_frames(self) -> list[int]:
        """Return for each frame the first one with the same pixels and parameters, whose edit is the same."""
        first: dict[tuple[str, ...], int] = {}
        parts = [self.animation, *self.moving.values()]
        keys = zip(*([image_digest(frame) for frame in part.frames] for part in parts), strict=True)
        return [first.setdefault(key, number) for number, key in enumerate(keys)]


def _as_opened(animation: Animation, number: int) -> Image.Image:
    """Return a frame with the name of its format, by which masks of lossy formats are read."""
    frame = animation.frames[number].copy()
    frame.format = _FORMATS.get(animation.suffix)
    return frame


def takes_animations(spec: OperationSpec) -> bool:
    """Return whether an operation edits the frames of an animation."""
    return spec.takes == "image" and spec.gives == "image"


def prepare_animation(registry: Registry, operation: str, source: Any, values: Mapping[str, Any]) -> AnimationRequest:
    """Check an edit of an animation and open its files; neither torch nor a model is loaded.

    An image among the parameters may be an animation of as many frames. Raises an EditkitError if anything is wrong.
    """
    spec: OperationSpec = registry.spec("operations", operation)
    if not takes_animations(spec):
        able = [name for name, one in registry.specs["operations"].items() if takes_animations(one)]
        raise InvalidParameter(f"{operation} edits no animation: {', '.join(sorted(able))} do")
    return open_animation_request(registry, spec, validate_params(registry, spec, values), source)


def open_animation_request(registry: Registry, spec: OperationSpec, params: Params, source: Any) -> AnimationRequest:
    """Open the animation and the images of a call whose parameters are valid, and draw a seed if none is given."""
    animation = open_animation(source)
    moving = {
        name: open_animation(value, argument=name)
        for name, kind in image_fields(spec.params).items()
        if kind != SEVERAL and (value := getattr(params, name)) is not None and animation_suffix(value)
    }
    for name, one in moving.items():
        if len(one) != len(animation):
            raise InvalidParameter(
                f"{name} has {len(one)} frames and the animation {len(animation)}: give one frame for each, or one "
                "still image for all"
            )
    request = AnimationRequest(registry, spec, with_seed(params), animation, moving)
    first = request.frame(0)
    return request._replace(still=_still_masks(request, first), notes=first.warnings)


def _still_masks(request: AnimationRequest, first: Request) -> dict[str, StoredImageParam]:
    """Return the masks that are one image for all frames, as the first frame reads them, but for those of words."""
    inverted = getattr(request.params, "invert_mask", False)
    return {
        name: StoredImageParam(mask, inverted=inverted)
        for name, kind in image_fields(request.spec.params).items()
        if kind == "mask" and name not in {*request.moving, *first.specifications}
        if (mask := getattr(first.params, name)) is not None
    }


def check_batch(batch: int) -> None:
    """Raise InvalidParameter unless a number of frames can run together."""
    if batch < 1:
        raise InvalidParameter(f"batch={shorten(batch)} is not allowed: give 1 or more")
