"""What an edit gives: the picture, the report, and the recipe to make it again."""

from __future__ import annotations

import dataclasses as dc
import os
from pathlib import Path

from PIL import Image
from torch import Tensor

from . import files
from .recipes import Recipe
from .report import Report
from .sheets import draw_sheet


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
        files.write_atomically(target, self.encoded(target.suffix))
        self.report = dc.replace(self.report, output=str(target))
        return target

    def encoded(self, suffix: str) -> bytes:
        """The picture as a file of this ending would hold it; an empty ending is PNG."""
        if len(self.frames) > 1 and suffix.lower() in files.MOVING:
            return files.encode_frames(self.frames, suffix)
        return files.encode_image(
            self.image, suffix, recipe=self.recipe.model_dump_json(), attachments=self.attachments
        )

    def sheet(self, label: str | None = None) -> Image.Image:
        """A labelled picture of what went in and what came out."""
        before = [
            (f"before {i + 1}" if len(self.sources) > 1 else "before", image) for i, image in enumerate(self.sources)
        ]
        after = label or self.report.operation
        return draw_sheet([*before, *((after, frame) for frame in self.frames)])
