"""Animations among the inputs of a command, and their options."""

from __future__ import annotations

import dataclasses as dc
import os
from collections.abc import Collection, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from ..files.paths import exists, is_file
from ..registry.registry import Registry
from .many.edit_options import batch_option
from .running import Execute, Prepared
from .settings import settings_in_use

if TYPE_CHECKING:
    from ..editing.animation.request import AnimationRequest
    from ..editing.pipeline import Pipeline
    from ..editing.request import Request
    from ..model.backend import Backend


def animation_options() -> list[click.Parameter]:
    """Return the options of edits of animations."""
    anchor = (
        "Let every frame of an animation attend to its first one too, so that they agree.  [default: on where the "
        "model's attention can be edited]"
    )
    batch = "Images, or frames of an animation, that are edited together.  [default: 16 images, 4 frames]"
    return [
        click.Option(["--anchor/--no-anchor"], default=None, help=anchor),
        batch_option(batch),
    ]


@dc.dataclass(frozen=True)
class AnimatedInputs:
    """Inputs of a command that are animations, and what their options set."""

    suffixes: Mapping[str, str]
    """File suffix of the format of each."""
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls, names: Sequence[str], options: Mapping[str, Any], alone: Collection[str] = ("anchor",)
    ) -> AnimatedInputs:
        """Find the animations among the inputs of a command.

        Raises UsageError for an option that is for animations only (``alone``) if no input is one.
        """
        from ..images.animation.reading import animation_suffix

        # A missing file has the format of its name, so that it is called missing, and not its output wrong.
        found = {name: animation_suffix(name) if exists(name) else _suffix_of_missing(name) for name in names}
        suffixes = {name: suffix for name, suffix in found.items() if suffix}
        given = {name: options[name] for name in ("anchor", "batch") if options.get(name) is not None}
        ctx = click.get_current_context(silent=True)
        own_defaults = settings_in_use(ctx).keys() if ctx else set()  # for the animations among all edits
        for name in (given.keys() & set(alone)) - own_defaults:
            if not suffixes and all(map(is_file, names)):
                raise click.UsageError(f"--{name} is for animations, and no input is one: leave it out")
        return cls(suffixes, given)

    def apart(self, rows: Execute, animations: Execute) -> Execute:
        """Return a function that processes still images in batches, by ``rows``, and then the animations."""

        def execute(jobs: Sequence[Prepared]) -> Generator[tuple[int, Any]]:
            for is_animated, way in ((False, rows), (True, animations)):
                numbers = [n for n, one in enumerate(jobs) if (one.job.name in self.suffixes) == is_animated]
                yield from ((numbers[index], outcome) for index, outcome in way([jobs[n] for n in numbers]))

        return execute

    def execute(self, request: Request | AnimationRequest, registry: Registry, model: Backend, **more: Any) -> Any:
        """Carry out the edit of an image or of an animation."""
        from ..editing.animation.apply import execute_animation
        from ..editing.animation.request import AnimationRequest
        from ..editing.apply import execute

        if isinstance(request, AnimationRequest):
            return execute_animation(request, model, **self.options, **more)
        return execute(registry, request, model, **more)

    def run_pipeline(
        self, pipeline: Pipeline, request: Request | AnimationRequest, seed: int | None, **more: Any
    ) -> Any:
        """Carry out a pipeline on an image or on an animation."""
        from ..editing.animation.request import AnimationRequest

        if isinstance(request, AnimationRequest):
            return pipeline.execute_animation(request, seed=seed, **self.options, **more)
        return pipeline.execute(request, seed=seed, **more)


def _suffix_of_missing(name: str) -> str | None:
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path refuses some names)
    return suffix if suffix in (".gif", ".mp4") else None
