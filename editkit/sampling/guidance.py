"""Guidance: denoisers that wrap a network, so that no solver knows of them."""

from __future__ import annotations

import dataclasses as dc
import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition, Network, stack_conditions
from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, PointBatch


@dc.dataclass(frozen=True)
class Guidance:
    """A weighted sum of the estimates under several conditions; the weights add to 1.

    All are made in one batch, and those of weight 0 not at all. At points less noisy than ``sigma_low`` or noisier than
    ``sigma_high`` (Kynkaanniemi et al., arXiv 2404.07724) the last condition alone is asked. ``rescale`` pulls the
    deviation of the sum back to that of the last estimate (Lin et al., arXiv 2305.08891, section 3.4, here of x0).
    """

    network: Network
    conditions: Sequence[Condition]
    weights: Sequence[float]
    rescale: float = 0.0
    sigma_low: float = 0.0
    sigma_high: float = math.inf

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        inside = [self.active_at(row) for row in point.rows(len(x))]
        if len(set(inside)) == 2:
            return self.call_by_rows(x, point, inside)
        asked = self.active_conditions if inside[0] else self.conditions[-1:]
        if len(asked) == 1:
            return self.network(x, point, asked[0])
        answers = self.network(torch.cat([x] * len(asked)), point.repeat(len(asked)), self.stacked_conditions).chunk(
            len(asked)
        )
        return self.combine([weight for weight in self.weights if weight], answers)

    @property
    def active_conditions(self) -> Sequence[Condition]:
        """The conditions that the network is asked under where it is guided."""
        return [condition for weight, condition in zip(self.weights, self.conditions, strict=True) if weight]

    @functools.cached_property
    def stacked_conditions(self) -> Condition:
        """Those joined along the batch: the same tensors at every step, of which networks keep what they made."""
        return stack_conditions(self.active_conditions)

    def active_at(self, point: Point) -> bool:
        """Whether more than the last condition is asked at ``point``."""
        return self.sigma_low <= point.sigma <= self.sigma_high

    def combine(self, weights: Sequence[float], answers: Sequence[Tensor]) -> Tensor:
        """The sum of the estimates under several conditions, rescaled."""
        guided = torch.stack([weight * answer for weight, answer in zip(weights, answers, strict=True)]).sum(0)
        return rescale_std(guided, answers[-1], self.rescale) if self.rescale else guided

    def call_by_rows(self, x: Tensor, point: Point | PointBatch, inside: Sequence[bool]) -> Tensor:
        """Ask first for the rows inside the interval of guidance and then for those outside it."""
        answer, rows = torch.empty_like(x), point.rows(len(x))
        for side in (True, False):
            chosen = [row for row, within in enumerate(inside) if within == side]
            conditions = [{name: tensor[chosen] for name, tensor in c.items()} for c in self.conditions]
            part = dc.replace(self, conditions=conditions)
            answer[chosen] = part(x[chosen], PointBatch(tuple(rows[row] for row in chosen)))
        return answer


def classifier_free(
    network: Network, condition: Condition, negative: Condition, scale: float, **options: float
) -> Guidance:
    """Extrapolate from the estimate without the prompt to the one with it (Ho & Salimans, arXiv 2207.12598).

    At scale 1 the network is asked once, with the prompt alone. ``options`` are those of :class:`Guidance`.
    """
    return Guidance(network, (negative, condition), (1 - scale, scale), **options)


def interval(path: SamplingPath, start: float, end: float) -> tuple[float, float]:
    """The lowest and highest sigma of the steps of a path between two fractions (0 to 1) of it."""
    steps = len(path) - 1
    begin, stop = round(start * steps), round(end * steps)
    if begin >= stop:
        return math.inf, -math.inf
    # A solver may also ask at the far end of a step: the whole path has no ends that bind it.
    return path[stop - 1].sigma if stop < steps else 0.0, path[begin].sigma if begin > 0 else math.inf


def rescale_std(guided: Tensor, prompted: Tensor, share: float) -> Tensor:
    """Scale each row of ``guided`` towards the deviation of ``prompted``, by ``share`` (0 to 1) of the way."""
    axes = tuple(range(1, guided.ndim))
    ratio = prompted.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (share * ratio + 1 - share)
