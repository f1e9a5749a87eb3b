"""ControlNets attached to a model during a walk: their maps, their intervals, and the sum of their residuals."""

from __future__ import annotations

import abc
import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit import (
    Backend,
    FileCache,
    Point,
    PointBatch,
    file_stamps,
    full_name,
    is_finite,
    numbers_on,
    part_failed,
    to_device,
)

from ..latent_backend import LatentModel

Residuals = Mapping[str, list[Tensor]]
"""Residuals by the argument of the network that takes them."""


class ConditionMap(NamedTuple):
    """An embedded condition map (B, ...), the number of what it shows, and its scale."""

    hint: Tensor
    mode: int | None
    scale: float


class LoadedControlNet(abc.ABC):
    """A ControlNet on its device, with what its family does with condition maps and residuals."""

    net: Any

    @abc.abstractmethod
    def embed(self, hint: Tensor, mode: str | None) -> Tensor:
        """Return a condition map (1, 3, H, W) in [0, 1] as the network takes it, (1, ...), once for a walk."""

    def mode_number(self, mode: str | None) -> int | None:
        """Return the number of what a map shows, None for a network of one kind.

        Raises InvalidParameter if a network of several kinds does not have this one.
        """
        return None

    @property
    def joins(self) -> bool:
        """Whether one evaluation takes several maps."""
        return False

    @abc.abstractmethod
    def evaluate(self, x: Tensor, maps: Sequence[ConditionMap], conditions: Mapping[str, Any]) -> Residuals:
        """Return the residuals for noisy inputs ``x`` (B, ...) under the conditions of the steered network.

        There is one map, or several if the network :attr:`joins` them.
        """

    @abc.abstractmethod
    def mask_for(self, part: Tensor, mask: Tensor) -> Tensor:
        """Return a mask (1, 1, H, W) in [0, 1] as factors of one residual."""

    def spread(self, parts: Residuals) -> Residuals:
        """Return one residual for each block of the steered network."""
        return parts


class AttachedControlNet:
    """A ControlNet with its condition map ``hint`` (1, 3, H, W) in [0, 1], embedded once.

    It is evaluated at sigmas from ``low`` to ``high`` only. ``mode`` is what the map shows, for networks of several
    kinds. ``mask`` (1, 1, H, W) in [0, 1] weights its residuals at each place.
    """

    def __init__(
        self,
        loaded: LoadedControlNet,
        hint: Tensor,
        scale: float,
        low: float,
        high: float,
        mode: str | None = None,
        mask: Tensor | None = None,
    ) -> None:
        self.loaded, self.scale, self.low, self.high, self.mask = loaded, scale, low, high, mask
        self.mode = loaded.mode_number(mode)
        self.embedded = loaded.embed(hint, mode)

    def active_rows(self, point: Point | PointBatch, count: int) -> list[bool]:
        """Return for each of ``count`` rows whether the ControlNet is active at its point."""
        return [self.scale != 0 and self.low <= row.sigma <= self.high for row in point.rows(count)]

    def map_for(self, x: Tensor) -> ConditionMap:
        """Return the map for the rows of noisy inputs ``x``."""
        return ConditionMap(self.embedded.expand(len(x), *self.embedded.shape[1:]), self.mode, self.scale)


def _residuals(
    nets: Sequence[AttachedControlNet], x: Tensor, active: Sequence[bool], conditions: Mapping[str, Any]
) -> Residuals:
    """Return the residuals of one evaluation: 0 in rows that are not active, and where the mask is 0."""
    loaded, mask = nets[0].loaded, nets[0].mask
    parts = loaded.evaluate(x, [net.map_for(x) for net in nets], conditions)
    if mask is not None:
        parts = {name: [part * loaded.mask_for(part, mask) for part in named] for name, named in parts.items()}
    if not all(active):
        rows = numbers_on(active, x.device, x.dtype)
        parts = {name: [part * _per_row(rows, part) for part in named] for name, named in parts.items()}
    return loaded.spread(parts)


def _per_row(factors: Tensor, part: Tensor) -> Tensor:
    return factors.view(-1, *[1] * (part.ndim - 1))


def token_mask(mask: Tensor, part: Tensor) -> Tensor:
    """Return a mask (1, 1, H, W) as factors (1, T, 1) of the tokens of a residual (B, T, D)."""
    height, width = mask.shape[-2:]
    pixels = math.isqrt(height * width // part.shape[1])
    return F.interpolate(mask, (height // pixels, width // pixels), mode="area").flatten(2).mT


def sum_residuals(
    nets: Sequence[AttachedControlNet], x: Tensor, point: Point | PointBatch, conditions: Mapping[str, Any]
) -> dict[str, list[Tensor]]:
    """Return the arguments of a network with the summed residuals of the active ControlNets; empty if none is.

    Several maps of one network that joins them are evaluated together.
    """
    groups: dict[tuple[tuple[bool, ...], int], list[AttachedControlNet]] = {}
    for net in nets:
        active = tuple(net.active_rows(point, len(x)))
        if any(active):
            together = net.loaded.joins and net.mask is None
            groups.setdefault((active, id(net.loaded if together else net)), []).append(net)
    added = [_residuals(group, x, active, conditions) for (active, _), group in groups.items()]
    names = dict.fromkeys(name for parts in added for name in parts)
    return {name: _sums([parts[name] for parts in added if name in parts]) for name in names}


def _sums(lists: Sequence[list[Tensor]]) -> list[Tensor]:
    """Add lists of residuals; residuals that several blocks share are added once, which saves memory."""
    sums: dict[tuple[int, ...], Tensor] = {}
    for parts in zip(*lists, strict=True):
        key = tuple(map(id, parts))
        if key not in sums:
            sums[key] = functools.reduce(torch.add, parts)
    return [sums[tuple(map(id, parts))] for parts in zip(*lists, strict=True)]


# A model may be used by several threads at once: a ControlNet steers only the walk that attached it.
_ATTACHED: contextvars.ContextVar[tuple[tuple[object, Any], ...]] = contextvars.ContextVar("_ATTACHED", default=())


@contextlib.contextmanager
def attach(model: object, net: Any) -> Iterator[None]:
    """Attach a ControlNet to a model in this thread."""
    token = _ATTACHED.set((*_ATTACHED.get(), (model, net)))
    try:
        yield
    finally:
        _ATTACHED.reset(token)


def attached_to(model: object) -> list[Any]:
    """Return what is attached to a model in this thread."""
    return [net for one, net in _ATTACHED.get() if one is model]


class SteeredModel(LatentModel, abc.ABC):
    """Base of the backends whose networks take the residuals of ControlNets."""

    def __init__(self, *parts: Any, **labels: Any) -> None:
        super().__init__(*parts, **labels)
        self._controlnet_cache = FileCache[LoadedControlNet](maxsize=2)

    @abc.abstractmethod
    def load_controlnet(self, location: Path) -> LoadedControlNet:
        """Load the ControlNet in a folder or file; raises WeightsUnavailable or InvalidParameter if it does not fit."""

    @contextlib.contextmanager
    def with_controlnet(
        self,
        folder: Path,
        hint: Tensor,
        *,
        scale: float,
        low: float,
        high: float,
        mode: str | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[None]:
        load = functools.partial(self.load_controlnet, folder)
        loaded = self._controlnet_cache.get((folder, self.device, self.dtype), file_stamps(folder), load)
        mask = None if mask is None else mask.to(self.device, self.dtype)
        net = AttachedControlNet(loaded, to_device(hint, self.device, self.dtype), scale, low, high, mode, mask)
        if not is_finite(net.embedded):
            raise part_failed("embedding of the condition map", full_name(cast(Backend, self)))
        with attach(self, net):
            yield

    @property
    def controlnets(self) -> list[AttachedControlNet]:
        """ControlNets that are attached to the model in this thread."""
        return attached_to(self)
