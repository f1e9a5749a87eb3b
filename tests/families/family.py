"""The record of a family, and the table that its builder enters."""

from __future__ import annotations

import dataclasses as dc
import importlib.util
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
    prompt: str = "a red apple"
    reference: str = ""
    """Argument of the call that takes an image beside the prompt."""
    several: bool = False
    """Whether that argument takes a list of images."""
    sized: bool = True
    """Whether the call takes a width and a height; else the size is that of the reference, or follows from it."""
    sizing: Mapping[str, Any] = dc.field(default_factory=dict)
    """Attributes of the pipeline that make it draw at :attr:`size`, where it draws at sizes of its own choice."""
    base: str = ""
    """Family whose parts it has, beside a ControlNet."""
    areas: Mapping[str, Any] = dc.field(default_factory=dict)
    """Values for names in modules of diffusers that make it read a reference at few pixels instead of a megapixel."""
    needs: str = ""
    """Package without which diffusers does not import or build the pipeline."""

    @property
    def importable(self) -> bool:
        """Whether the package that it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None

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
        """Return the arguments of the pipeline's own call, but for steps, noise and reference."""
        size = dict(zip(("width", "height"), self.size, strict=True)) if self.sized else {}
        return {"prompt": self.prompt, **size, **self.call, **((self.guided if guided else self.unguided) or {})}


class Table(dict[str, Family]):
    """Families by name; an entry is made by a decorator on the builder, whose name it has."""

    def entry(self, **facts: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        def enter(build: Callable[[], Any]) -> Callable[[], Any]:
            name = build.__name__.replace("_", "-")
            self[name] = Family(name, build, **facts)
            return build

        return enter


def small_area(module: str) -> dict[str, Any]:
    """Return :attr:`Family.areas` of a module whose function computes sizes of an area and a ratio."""
    name = f"diffusers.pipelines.{module}"
    own = importlib.import_module(name).calculate_dimensions
    return {f"{name}.calculate_dimensions": lambda area, ratio: own(area // 256, ratio)}
