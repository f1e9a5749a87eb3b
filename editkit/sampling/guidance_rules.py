"""Rules of guidance of model families: combinations of predictions beyond the weighted sum of x0.

A backend whose family has one calls :func:`combine_predictions` in its :meth:`combine`; see
:class:`editkit.SupportsGuidanceRule`.
"""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from ..diffusion.points import Point, PointBatch
from ..diffusion.predictions import from_x0, to_x0
from ..diffusion.transfer import numbers_on
from ..literals import Prediction
from ..model.backend import Backend

CombineEstimates = Callable[[Sequence[Tensor], Sequence[float], Tensor, Point | PointBatch], Tensor]
"""``combine(estimates, weights, x, point) -> x0`` of :class:`editkit.SupportsGuidanceRule`."""


class SupportsGuidanceRule(Backend, Protocol):
    """Model whose family combines the estimates of guidance by a rule of its own, not by their weighted sum."""

    def combine(
        self, estimates: Sequence[Tensor], weights: Sequence[float], x: Tensor, point: Point | PointBatch
    ) -> Tensor:
        """Return the guided x0 (B, C, h, w) of x0 estimates for ``x`` at ``point``, or at each row's own.

        ``estimates`` are two or more results of :meth:`denoise`, one for each of ``weights``, which are not 0 and add
        to 1; the last estimate is the prompted one. With two, they are the negative and the prompted estimate with the
        weights ``1 - scale`` and ``scale``. Rows of the batch must not influence each other.
        :func:`editkit.combine_predictions` applies a rule to predictions of the network, such as velocities. Neither a
        scale of 1 nor a step outside the interval of guidance calls it. A rescaling of guidance follows it.
        """


def guidance_rule_of(model: Backend) -> CombineEstimates | None:
    """Return the method of a model by which its family combines estimates; None for the weighted sum."""
    return cast("SupportsGuidanceRule", model).combine if hasattr(model, "combine") else None


PredictionRule = Callable[[Tensor, Tensor], Tensor]
"""``rule(guided, prompted) -> guided``: the weighted sum of predictions (B, C, h, w), and the prompted one."""


def weighted_sum(estimates: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """Return the sum of estimates (B, C, h, w), each times its weight."""
    return torch.stack([weight * estimate for weight, estimate in zip(weights, estimates, strict=True)]).sum(0)


def combine_predictions(
    kind: Prediction,
    rule: PredictionRule,
    estimates: Sequence[Tensor],
    weights: Sequence[float],
    x: Tensor,
    point: Point | PointBatch,
) -> Tensor:
    """Return the x0 (B, C, h, w) of x0 estimates that are combined as predictions of the network.

    The rule gets their weighted sum and the last of them, the prompted one. At sigma 0, where x0 determines no
    prediction, the result is the weighted sum of the estimates.
    """
    plain = weighted_sum(estimates, weights)
    clean = [row.sigma == 0.0 for row in point.rows(len(x))]
    if all(clean):
        return plain
    guided, prompted = (from_x0(kind, x0, x, point) for x0 in (plain, estimates[-1]))
    combined = to_x0(kind, rule(guided, prompted), x, point)
    rows = numbers_on(clean, x.device, torch.bool).view(-1, *(1,) * (x.ndim - 1))
    return torch.where(rows, plain, combined) if any(clean) else combined


@dc.dataclass(frozen=True)
class PromptedNorm:
    """Rule that gives the parts of a guided prediction the norm of the same parts of the prompted one.

    A part is a token, all channels of ``patch`` squared latents (Qwen-Image, Nucleus, LongCat), a row of latents of one
    channel (Lumina 2), or the whole prediction (Z-Image). With a ``limit`` only a norm above ``limit`` times the
    prompted one is reduced, to that value.
    """

    part: Literal["token", "row", "whole"]
    patch: int = 1
    limit: float | None = None

    def __call__(self, guided: Tensor, prompted: Tensor) -> Tensor:
        norm, wanted = self.norms(guided), self.norms(prompted)
        factor = torch.where(norm > 0, wanted / norm, 1.0)  # a part of zeros has no direction and stays zero
        if self.limit is not None:
            factor = (self.limit * factor).clamp(max=1.0)
        return guided * (F.interpolate(factor, scale_factor=float(self.patch)) if self.patch > 1 else factor)

    def norms(self, prediction: Tensor) -> Tensor:
        """Return the norms of the parts of a prediction (B, C, h, w), which broadcast over it once enlarged."""
        parts, axes = prediction, {"token": (1,), "row": (3,), "whole": (1, 2, 3)}[self.part]
        if self.part == "token":
            parts = F.pixel_unshuffle(prediction, self.patch)
        norms: Tensor = torch.linalg.vector_norm(parts, dim=axes, keepdim=True)
        return norms
