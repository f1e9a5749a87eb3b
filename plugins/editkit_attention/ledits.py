"""Several edits at once, each with its own scale and mask (LEDITS++, Brack et al., arXiv 2311.16711).

The guided estimate of a step gets one term for each edit: its scale times the difference of the estimates under its
prompt and under no prompt, where both its attention and the difference are among the largest of the image::

    x0 + sum_i scale_i mask_i (x0(prompt_i) - x0(no prompt))

In estimates of the noise it is the same sum, which is the form of the paper (section 3.2).
"""

from __future__ import annotations

import contextlib
import dataclasses as dc
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit import (
    AttentionInputs,
    Backend,
    CallRow,
    Control,
    Denoiser,
    Point,
    SamplingPath,
    Session,
    SupportsAttention,
    WordMaps,
    describe_rows,
    repeat_condition,
    require,
    smooth_maps,
    stack_conditions,
    step_starts,
    steps_between,
)

from . import LeditsParams
from .interval import warn_if_idle, warn_if_zero

_ATTENTION_ALONE = 0.8
"""Share of the training timesteps above which the difference is left out of the mask, as in the authors' code."""


def ledits(params: LeditsParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control ``ledits``; a model without attention is refused for masks by attention."""

    def control(session: Session, path: SamplingPath) -> Control:
        places: Sequence[int] = ()
        if params.mask in ("both", "attention"):
            places = [word.place for word in require(session.model, SupportsAttention).words(params.edit)]
        warn_if_zero(session, f"ledits:edit={params.edit}", scale=params.scale)
        warn_if_idle(session, f"ledits:edit={params.edit}", path, params.start, params.end)
        return Ledits(params, session, places)

    return control


class Ledits(Control):
    """Guidance towards one edit, or away from it with a negative scale, inside the edit's own mask."""

    def __init__(self, params: LeditsParams, session: Session, places: Sequence[int]) -> None:
        self.params, self.session, self.places = params, session, places
        self.condition, self.nothing = session.embed(params.edit), session.embed("")
        self.path: SamplingPath = ()
        self.acts_from: set[Point] = set()
        """Points of the steps in which the edit acts."""
        self.sources: tuple[int | None, ...] = ()
        self.maps: WordMaps | None = None
        """Attention that is recorded in the network call in progress."""
        self.masks: list[Tensor] = []
        """Masks (1, 1, h, w) of the calls of the walk, each the mean of its edited rows."""

    def begin(self, path: SamplingPath, sources: Sequence[int | None]) -> None:
        self.path, self.sources, self.masks = path, tuple(sources), []
        starts = step_starts(path)
        inside = steps_between(len(starts), self.params.start, self.params.end)
        self.acts_from = {starts[index] for index in inside}

    @property
    def spares_sources(self) -> bool:
        """Whether rows that are their own source stay as they are, as they do."""
        return True

    def found_mask(self) -> Tensor | None:
        """Return the mean of the masks of all steps in which the edit acted."""
        return torch.cat(self.masks).mean(0, keepdim=True) if self.masks else None

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        if not self.places:
            yield
            return
        with require(backend, SupportsAttention).attending(self.record):
            yield

    def record(self, inputs: AttentionInputs) -> Tensor:
        """Record the attention of the network call in progress, if it is that of the edits."""
        return inputs.unchanged() if self.maps is None else self.maps.record(inputs)

    def guide(self, index: int, denoise: Denoiser) -> Denoiser:
        if self.path[index] not in self.acts_from:
            return denoise
        if isinstance(denoise, _WithEdits):
            return dc.replace(denoise, edits=[*denoise.edits, self])
        return _WithEdits(denoise, [self])

    def mask(self, term: Tensor, attention: Tensor | None, point: Point) -> Tensor:
        """Return the mask (B, 1, h, w), 0 or 1, of a difference (B, C, h, w) and of maps (B, 1, H, W) of attention."""
        mask = torch.ones_like(term[:, :1])
        if attention is not None:
            mask = F.interpolate(_largest(smooth_maps(attention), self.params.threshold), term.shape[-2:]).to(mask)
        if self.params.mask in ("both", "difference"):
            ranked = _largest(term.abs().sum(1, keepdim=True), self.params.threshold).to(mask)
            schedule = self.session.schedule
            early = [
                self.params.mask == "both" and schedule.timestep(one) > _ATTENTION_ALONE * schedule.train_steps
                for one in point.rows(len(term))
            ]
            mask = torch.where(torch.tensor(early, device=mask.device).view(-1, 1, 1, 1), mask, mask * ranked)
        return mask


@dc.dataclass(frozen=True)
class _WithEdits:
    """Denoiser whose estimates of edited rows have the terms of some edits; one network call computes all terms."""

    denoise: Denoiser
    edits: Sequence[Ledits]

    def __call__(self, x: Tensor, point: Point) -> Tensor:
        x0 = self.denoise(x, point)
        rows = [row for row in range(len(x)) if self.is_edited(row)]
        if not rows:
            return x0
        (nothing, *estimates), maps = self.estimates(x, point)
        edited = torch.tensor([row in rows for row in range(len(x))], device=x.device).view(-1, 1, 1, 1)
        for number, (edit, estimate) in enumerate(zip(self.edits, estimates, strict=True)):
            term = estimate - nothing
            attention = None
            if edit.places:
                attention = maps.maps((x.shape[-2], x.shape[-1]))[number * len(x) : (number + 1) * len(x)]
            mask = edit.mask(term, attention, point)
            edit.masks.append(mask[rows].mean(0, keepdim=True))
            x0 = torch.where(edited, x0 + edit.params.scale * mask * term, x0)
        return x0

    def is_edited(self, row: int) -> bool:
        """Return whether a row is no source of others."""
        sources = self.edits[0].sources
        return not any(source is not None for source in sources) or sources[row] not in (None, row)

    def estimates(self, x: Tensor, point: Point) -> tuple[Sequence[Tensor], WordMaps]:
        """Return the estimates under no prompt and under the prompt of each edit, and the attention to their words."""
        rows, count = len(x), 1 + len(self.edits)
        conditions = [self.edits[0].nothing, *(edit.condition for edit in self.edits)]
        stacked = stack_conditions([repeat_condition(one, rows) for one in conditions])
        calls = [CallRow(number, row, one) for number in range(count) for row, one in enumerate(point.rows(rows))]
        places = [edit.places for edit in self.edits for _ in range(rows)]
        maps = WordMaps(places, lambda row: (row.condition - 1) * rows + row.row if row.condition else None)
        recording = next((edit for edit in self.edits if edit.places), None)
        with describe_rows(calls):
            if recording is not None:
                recording.maps = maps
            try:
                every = self.edits[0].session.network(torch.cat([x] * count), point.repeat(count), stacked)
            finally:
                if recording is not None:
                    recording.maps = None
        return every.chunk(count), maps


def _largest(maps: Tensor, share: float) -> Tensor:
    """Return where maps (B, 1, h, w) are at least their quantile, as 0 and 1."""
    limit = torch.quantile(maps.float().flatten(1), share, dim=1).view(-1, 1, 1, 1)
    return (maps.float() >= limit).float()
