"""Controls of attention: they compute the attention of a network in its place, row by row with their source row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from ..diffusion.attention import AttentionInputs, CallRow, current_rows
from ..diffusion.paths import SamplingPath
from ..errors import InvalidParameter, PluginFailure
from ..model.capabilities import SupportsAttention, require
from .controls import Control
from .intervals import step_starts

if TYPE_CHECKING:
    from ..model.backend import Backend


_Key = tuple[str, int, int, float]
"""Name of a tensor, condition, row and sigma."""


class AttentionControl(Control):
    """Base of controls of attention; a subclass implements :meth:`edit`.

    ``sources`` names for each row of the latents the row of its source, or None. An edit of a source row itself has
    no effect on it as long as the edit takes from :meth:`from_source` only.
    """

    needs_sources = True
    """Whether a walk without source rows is refused."""

    def __init__(self) -> None:
        self.sources: tuple[int | None, ...] = ()
        self.path: SamplingPath = ()
        self._kept: dict[_Key, Tensor] = {}

    @property
    def spares_sources(self) -> bool:
        """Whether rows that are their own source stay as they are: those of a control that takes from sources do."""
        return self.needs_sources

    def begin(self, path: SamplingPath, sources: Sequence[int | None]) -> None:
        self.path, self.sources = path, tuple(sources)
        if self.needs_sources and not any(source is not None for source in self.sources):
            raise InvalidParameter(
                f"{self.title} takes attention from the source of an inversion, and this operation samples none beside "
                "the edit: use prompt-edit, flow-edit or instruct by inversion, or leave it out"
            )

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        with require(backend, SupportsAttention).attending(self.edit):
            try:
                yield
            finally:
                self._kept.clear()

    def edit(self, inputs: AttentionInputs) -> Tensor:
        """Return the attention (B, heads, queries, d) in place of the network's."""
        raise NotImplementedError

    def share(self, row: CallRow) -> float:
        """Return the share of the path's steps before the point of a row: 0 at the noisiest point, 1 at the clean end.

        It is linear between two points, where a solver evaluates too.
        """
        starts = step_starts(self.path)
        levels, shares = [-point.angle for point in starts], [index / len(starts) for index in range(len(starts))]
        end = max(-self.path[0].angle, -self.path[-1].angle)
        if end > levels[-1]:  # a path may repeat its last point
            levels, shares = [*levels, end], [*shares, 1.0]
        return float(np.interp(-row.point.angle, levels, shares))

    def rows(self, inputs: AttentionInputs) -> tuple[CallRow, ...]:
        """Return the rows of the call; raises PluginFailure if the network has other rows than the sampling."""
        rows = current_rows()
        if len(rows) != len(inputs.query):
            raise PluginFailure(
                f"the network computes {len(inputs.query)} rows of attention for {len(rows)} of the sampling: "
                "attention controls need guidance by estimates of separate rows; set guidance to 1"
            )
        return rows

    def from_source(
        self,
        inputs: AttentionInputs,
        name: Literal["query", "key", "value"],
        part: Literal["all", "image", "words"] = "all",
    ) -> Tensor:
        """Return queries, keys or values of each row's source (B, heads, T, d), under equal conditions.

        ``part`` limits them to the tokens of the image or of the words. Of all tokens there may be another number than
        in the call, if the prompts have. Source rows are in the call, or were in an earlier call of the same step.
        """
        site, tensor = inputs.site, getattr(inputs, name)
        spans = {"image": site.image if name == "query" else site.image_keys, "words": site.words}
        if part != "all":
            tensor = tensor[:, :, spans[part]]
        return self.rows_of_sources(tensor, self.rows(inputs), f"{part} {name} of {site.name}")

    def rows_of_sources(self, tensor: Tensor, rows: Sequence[CallRow], name: str) -> Tensor:
        """Return a tensor (B, ...) of a call with each row replaced by that of its source; ``name`` is its own."""
        places = {(row.condition, row.row): place for place, row in enumerate(rows)}
        replaced = []
        for place, row in enumerate(rows):
            source = self.sources[row.row]
            key = (name, row.condition, row.row, row.point.sigma)
            if source is None or source == row.row:
                if len(rows) < len(self.sources):
                    self._keep(key, tensor[place])
                replaced.append(tensor[place])
            elif (row.condition, source) in places:
                replaced.append(tensor[places[row.condition, source]])
            else:
                replaced.append(self._recall((name, row.condition, source, row.point.sigma)))
        return torch.stack(replaced)

    def _keep(self, key: _Key, tensor: Tensor) -> None:
        """Keep a source's tensor for calls of other rows in the same step; those of earlier steps are dropped."""
        if any(kept[3] != key[3] for kept in self._kept):
            self._kept.clear()
        self._kept[key] = tensor

    def _recall(self, key: _Key) -> Tensor:
        if key not in self._kept:
            raise PluginFailure(f"the source row was not evaluated before the row that takes its {key[0]}")
        return self._kept[key]
