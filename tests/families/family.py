"""The record of a family, and the table that its builder enters."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch


@dc.dataclass(frozen=True)
class Family:
    """A tiny pipeline and how its own call is made."""

    name: str
    build: Callable[[], Any]
    """Returns the pipeline."""
    size: tuple[int, int] = (64, 64)
    """Width and height of the smallest image worth drawing."""
    unguided: Mapping[str, Any] = dc.field(default_factory=lambda: {"guidance_scale": 1.0})
    """Arguments of the call that switch guidance off, or set a distilled scale."""
    guided: Mapping[str, Any] | None = dc.field(default_factory=lambda: {"guidance_scale": 3.0})
    """Arguments of the call that switch guidance on; None for a model that is never guided."""
    call: Mapping[str, Any] = dc.field(default_factory=dict)
    """Further arguments of each call."""
    sizing: Mapping[str, Any] = dc.field(default_factory=dict)
    """Attributes of the pipeline that make it draw at :attr:`size`, where it draws at sizes of its own choice."""
    needs: str = ""
    """Package without which diffusers does not import or build the pipeline."""

    def pipeline(self) -> Any:
        """Return a new pipeline; its weights are the same each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.fit(self.build())

    def fit(self, pipeline: Any) -> Any:
        """Make a pipeline, built or loaded, draw at :attr:`size`, and return it."""
        pipeline.set_progress_bar_config(disable=True)
        for name, value in self.sizing.items():
            setattr(pipeline, name, value)
        return pipeline

    def write(self, folder: Path) -> Path:
        """Save the pipeline as a diffusers folder, and return it."""
        self.pipeline().save_pretrained(folder, safe_serialization=True)
        return folder

    def arguments(self, *, guided: bool = False) -> dict[str, Any]:
        """Arguments of the pipeline's own call but for prompt, steps and noise."""
        width, height = self.size
        return {"width": width, "height": height, **self.call, **((self.guided if guided else self.unguided) or {})}


class Table(dict[str, Family]):
    """Families by name; an entry is made by a decorator on the builder, whose name it has."""

    def entry(self, **facts: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        def enter(build: Callable[[], Any]) -> Callable[[], Any]:
            name = build.__name__.replace("_", "-")
            self[name] = Family(name, build, **facts)
            return build

        return enter
