"""Style of an image as a control of sampling, by image adapters such as IP-Adapter (Ye et al., arXiv 2308.06721)."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from editkit import (
    STYLE,
    Backend,
    Condition,
    Control,
    Denoiser,
    Guidance,
    SamplingPath,
    Session,
    SupportsStyle,
    interval,
    no_step_between,
    on_white,
    open_image,
    require,
)

from . import StyleParams
from .controlnet import place_mask


class StyleControl(Control):
    """Control that styles the edited rows of a batch by the image of one adapter.

    Rows that replay their sources beside edited ones are not styled, so that an edit differs from them by its style
    too. With ``one_estimate`` guidance needs no negative prompt, and all conditions are those of the prompt.
    """

    def __init__(
        self, weights: Path, image: Image.Image, one_estimate: bool, **options: float | Path | Tensor | None
    ) -> None:
        self.weights, self.image, self.options = weights, image, options
        self.one_estimate = one_estimate
        self.divisible = options.get("mask") is None  # a mask has the size of the canvas
        self.sources: frozenset[int] = frozenset()
        self._styled: tuple[Denoiser, Denoiser] | None = None

    def begin(self, path: SamplingPath, sources: Sequence[int | None]) -> None:
        replayed = frozenset(row for row, source in enumerate(sources) if row == source)
        self.sources = replayed if len(replayed) < len(sources) else frozenset()

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        options: dict[str, Any] = self.options
        with require(backend, SupportsStyle).with_style(self.weights, self.image, **options):
            yield

    def guide(self, index: int, denoise: Denoiser) -> Denoiser:
        # One object for all steps, so that networks can cache what they compute from the conditions.
        if self._styled is None or self._styled[0] is not denoise:
            self._styled = (denoise, self._guide(denoise))
        return self._styled[1]

    def _guide(self, denoise: Denoiser) -> Denoiser:
        if not isinstance(denoise, Guidance) or STYLE in denoise.conditions[-1]:
            return denoise
        prompted = denoise.conditions[-1]
        conditions = [
            {**condition, STYLE: self._roles(condition, prompted, first=number == 0)}
            for number, condition in enumerate(denoise.conditions)
        ]
        return dc.replace(denoise, conditions=conditions)

    def _roles(self, condition: Condition, prompted: Condition, *, first: bool) -> Tensor:
        """Return the value of ``STYLE`` of each row of a condition, whose last one is ``prompted``.

        The first condition is the negative one. Rows of those between are prompted where they equal the last: guidance
        of several scales repeats the negative prompt in some rows.
        """
        rows = len(next(iter(prompted.values())))
        if condition is prompted or self.one_estimate:
            roles = [1] * rows
        elif first:
            roles = [-1] * rows
        else:
            roles = [1 if _equal(condition, prompted, row) else -1 for row in range(rows)]
        return torch.tensor([0 if row in self.sources else role for row, role in enumerate(roles)], device="cpu")


def _equal(one: Condition, other: Condition, row: int) -> bool:
    return all(torch.equal(tensor[row], other[name][row]) for name, tensor in one.items())


def style(params: StyleParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the ``style`` control; a control without effect if ``scale`` is 0."""

    def control(session: Session, path: SamplingPath) -> Control:
        if not params.scale:
            return Control()
        low, high = interval(path, params.start, params.end)
        if low > high:
            session.usage.warn(no_step_between("the style", path, params.start, params.end))
        return StyleControl(
            _expanded(params.model),
            on_white(open_image(params.image, argument="style:image=")),
            bool({"distilled-guidance", "own-guidance"} & session.model.provides),
            encoder=None if params.encoder is None else _expanded(params.encoder),
            scale=params.scale,
            low=low,
            high=high,
            mask=None if params.mask is None else place_mask(session, params.mask, "style:mask="),
        )

    return control


def _expanded(path: str) -> Path:
    return Path(os.path.expanduser(path))  # noqa: PTH111 (Path's raises for unknown users)
