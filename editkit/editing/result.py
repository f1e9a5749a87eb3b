"""What an edit gives: the picture, the report, and the recipe to make it again."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..files import write_atomically
from ..images.contact_sheet import draw_sheet
from ..images.writing import ANIMATION_SUFFIXES, encode_frames, encode_image
from ..inversion.inversion import Inversion
from ..model.backend import Backend
from ..registry.params import image_fields
from ..report import Report
from ..version import __version__
from .outcome import Edit, PixelEdit
from .recipe import ModelReference, Recipe, Step, image_name, source_name
from .request import Request


def build_result(
    request: Request, model: Backend, outcome: Edit | PixelEdit | Inversion, frames: list[Image.Image], report: Report
) -> Any:
    if isinstance(outcome, Inversion):
        return dc.replace(outcome, report=report)
    given = {name: value for name in image_fields(request.spec.params) if (value := getattr(request.params, name))}
    drawn_by = ModelReference(model=model.name, identity=model.identity, adapters=report.adapters, dtype=report.dtype)
    steps = [Step(operation=request.spec.name, drawn_by=drawn_by, params=report.params, pictures=tuple(given))]
    if request.inversion is not None:  # it travels as the way to make it again
        steps.insert(0, Step(operation="invert", drawn_by=drawn_by, params=request.inversion.params))
    attachments = {source_name(i): source for i, source in enumerate(request.sources)}
    attachments |= {image_name(name, 0): picture for name, picture in given.items()}
    recipe = Recipe(version=__version__, steps=tuple(steps), sources=len(request.sources))
    return Result(
        image=concatenate_frames(frames),
        report=report,
        recipe=recipe,
        attachments=attachments,
        sources=request.sources,
        frames=tuple(frames),
        latents=outcome.latents if isinstance(outcome, Edit) else None,
    )


def concatenate_frames(frames: Sequence[Image.Image]) -> Image.Image:
    if len(frames) == 1:
        return frames[0]
    strip = Image.new(frames[0].mode, (sum(frame.width for frame in frames), frames[0].height))
    for index, frame in enumerate(frames):
        strip.paste(frame, (index * frame.width, 0))
    return strip


@dc.dataclass
class Result:
    """The outcome of an operation that gives a picture."""

    image: Image.Image
    """The picture; of several frames, all side by side."""
    report: Report
    recipe: Recipe
    attachments: dict[str, Image.Image]
    """The pictures the recipe needs: sources and masks."""
    sources: tuple[Image.Image, ...]
    frames: tuple[Image.Image, ...]
    """The single pictures, usually one."""
    latents: Tensor | None
    """What was decoded, (B, C, h, w), one row a frame; none of a picture that was painted in parts."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture, whole or not at all; a PNG carries its recipe, .gif and .webp of frames move."""
        target = Path(path)
        write_atomically(target, self.encoded(target.suffix))
        self.report = dc.replace(self.report, output=str(target))
        return target

    def encoded(self, suffix: str) -> bytes:
        """The picture as a file of this ending would hold it; an empty ending is PNG."""
        if len(self.frames) > 1 and suffix.lower() in ANIMATION_SUFFIXES:
            return encode_frames(self.frames, suffix)
        return encode_image(self.image, suffix, recipe=self.recipe.model_dump_json(), attachments=self.attachments)

    def sheet(self, label: str | None = None) -> Image.Image:
        """A labelled picture of what went in and what came out."""
        before = [
            (f"before {i + 1}" if len(self.sources) > 1 else "before", image) for i, image in enumerate(self.sources)
        ]
        after = label or self.report.operation
        return draw_sheet([*before, *((after, frame) for frame in self.frames)])
