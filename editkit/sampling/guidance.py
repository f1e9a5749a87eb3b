"""Guidance: denoisers that combine a network's estimates under several conditions."""

from __future__ import annotations

import dataclasses as dc
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..diffusion.attention import CallRow, describe_rows
from ..diffusion.denoiser import Condition, Network, stack_conditions
from ..diffusion.points import Point, PointBatch
from ..diffusion.transfer import rows_on
from ..literals import Prediction
from ..model.backend import Backend
from ..model.capabilities import SupportsDistilledGuidance, SupportsOwnGuidance, require
from .guidance_rules import CombineEstimates, combine_predictions, weighted_sum
from .params import DrawingParams


@dc.dataclass(frozen=True, eq=False)
class Guidance:
    """Weighted sum of the estimates under several conditions; the weights add to 1.

    One network call evaluates all conditions whose weight is not 0. Below ``sigma_low`` and above ``sigma_high`` only
    the last condition is evaluated (Kynkaanniemi et al., arXiv 2404.07724). ``rescale`` (0 to 1) scales the standard
    deviation of the sum towards that of the last estimate (Lin et al., arXiv 2305.08891, section 3.4), both as the
    network's ``prediction``. A ``rule`` replaces the sum; see :class:`editkit.SupportsGuidanceRule`.
    """

    network: Network
    conditions: Sequence[Condition]
    """Conditions of B rows each, the prompt's last."""
    weights: Sequence[float]
    """Weight of the estimate under each condition."""
    rescale: float = 0.0
    sigma_low: float = 0.0
    sigma_high: float = math.inf
    rule: CombineEstimates | None = None
    rows: Sequence[int] | None = None
    """Numbers of the rows among those that are sampled; None for all."""
    prediction: Prediction = "sample"

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        inside = [self.active_at(row) for row in point.rows(len(x))]
        if len(set(inside)) == 2:
            return self.call_by_rows(x, point, inside)
        active = self.active_numbers if inside[0] else [len(self.conditions) - 1]
        count = len(active)
        with describe_rows(self.call_rows(active, point, len(x))):
            if count == 1:
                return self.network(x, point, self.conditions[active[0]])
            every = self.network(torch.cat([x] * count), point.repeat(count), self.stacked_conditions)
        return self.combine(every.chunk(count), [weight for weight in self.weights if weight], x, point)

    def call_rows(self, active: Sequence[int], point: Point | PointBatch, count: int) -> list[CallRow]:
        """Return the rows of one network call for ``count`` rows under the conditions of some numbers."""
        rows = range(count) if self.rows is None else self.rows
        return [CallRow(number, *row) for number in active for row in zip(rows, point.rows(count), strict=True)]

    @property
    def active_numbers(self) -> list[int]:
        """Numbers of the conditions whose weight is not 0."""
        return [number for number, weight in enumerate(self.weights) if weight]

    @property
    def active_conditions(self) -> Sequence[Condition]:
        """Conditions whose weight is not 0."""
        return [self.conditions[number] for number in self.active_numbers]

    @functools.cached_property
    def stacked_conditions(self) -> Condition:
        """Active conditions along the batch, computed once so that networks can cache their projections."""
        return stack_conditions(self.active_conditions)

    def active_at(self, point: Point) -> bool:
        """Return whether guidance applies at ``point``."""
        return self.sigma_low <= point.sigma <= self.sigma_high

    def combine(
        self, estimates: Sequence[Tensor], weights: Sequence[float], x: Tensor, point: Point | PointBatch
    ) -> Tensor:
        """Return the guided x0 (B, C, h, w) of estimates for ``x`` at ``point``, one for each weight."""
        guided = weighted_sum(estimates, weights) if self.rule is None else self.rule(estimates, weights, x, point)
        if not self.rescale:
            return guided
        # The deviation of x0 says little where it is all but unknown: the paper's is that of the network's output.
        rule = functools.partial(rescale_std, share=self.rescale)
        return combine_predictions(self.prediction, rule, (guided, estimates[-1]), (1.0, 0.0), x, point)

    def call_by_rows(self, x: Tensor, point: Point | PointBatch, inside: Sequence[bool]) -> Tensor:
        """Evaluate the rows inside the interval of guidance, then those outside it."""
        x0, rows = torch.empty_like(x), point.rows(len(x))
        for side in (True, False):
            selected = [row for row, within in enumerate(inside) if within == side]
            conditions = [
                {name: tensor[rows_on(selected, tensor.device)] for name, tensor in c.items()} for c in self.conditions
            ]
            numbers = selected if self.rows is None else [self.rows[row] for row in selected]
            part = dc.replace(self, conditions=conditions, rows=numbers)
            index = rows_on(selected, x.device)
            x0.index_copy_(0, index, part(x[index], PointBatch(tuple(rows[row] for row in selected))))
        return x0


def classifier_free(
    network: Network, condition: Condition, negative: Condition, scale: float, **options: Any
) -> Guidance:
    """Return classifier-free guidance: extrapolation from the negative to the prompted estimate (arXiv 2207.12598).

    At scale 1 only the prompt is evaluated. ``options`` are those of :class:`Guidance`.
    """
    return Guidance(network, (negative, condition), (1 - scale, scale), **options)


def condition_at_scale(
    model: Backend, condition: Condition, negative: Callable[[], Condition], scale: float
) -> Condition | None:
    """Return the condition under which one evaluation of a model is guided; None if its guidance takes several.

    ``negative`` returns the negative condition, of as many rows; it is not called for a scale of 1.
    """
    if "own-guidance" in model.provides:
        against = condition if scale == 1.0 else negative()
        return require(model, SupportsOwnGuidance).with_guidance(condition, against, scale)
    if "distilled-guidance" in model.provides:
        return require(model, SupportsDistilledGuidance).with_guidance_scale(condition, scale)
    return None


def guidance_parts(
    model: Backend, condition: Condition, negative: Callable[[], Condition], scale: float, beside: float
) -> tuple[Sequence[Condition], Sequence[float]]:
    """Return the conditions of a model's guidance and their weights.

    ``beside`` is the scale of guidance by the negative prompt, beside a ``scale`` that is an input of the network.
    """
    at_scale = condition_at_scale(model, condition, negative, scale)
    if at_scale is None:
        return (condition if scale == 1.0 else negative(), condition), (1 - scale, scale)
    if beside == 1.0 or "distilled-guidance" not in model.provides:
        return (at_scale, condition), (1.0, 0.0)
    against = require(model, SupportsDistilledGuidance).with_guidance_scale(negative(), scale)
    return (against, at_scale, condition), (1 - beside, beside, 0.0)


def idle_guidance(params: DrawingParams, usual: Mapping[str, Any], guidance: Guidance) -> Iterator[str]:
    """Yield a warning of each parameter that is set but has no effect on the estimates of its guidance.

    ``usual`` are the usual settings of the model, which the parameters may have by themselves.
    """
    name = "guidance" if params.negative_guidance == 1 else "negative_guidance"
    scale, active = getattr(params, name), guidance.active_conditions
    if params.guidance_rescale and len(active) == 1 and not guidance.weights[-1]:
        yield (
            f"guidance_rescale={params.guidance_rescale:g} has no effect: {name} is {scale:g}, which evaluates the "
            "negative prompt alone"
        )
    is_given = not params.is_default(name) and scale != usual.get(name)
    if is_given and len(active) > 1 and all(_is_equal(one, active[0]) for one in active[1:]):
        yield f"{name}={scale:g} has no effect: the prompt equals the negative prompt"


def _is_equal(one: Condition, other: Condition) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def rescale_std(guided: Tensor, prompted: Tensor, share: float) -> Tensor:
    """Scale the standard deviation of each row of ``guided`` towards that of ``prompted`` by ``share`` (0 to 1)."""
    axes = tuple(range(1, guided.ndim))
    ratio = prompted.std(axes, keepdim=True) / guided.std(axes, keepdim=True)
    return guided * (share * ratio + 1 - share)
