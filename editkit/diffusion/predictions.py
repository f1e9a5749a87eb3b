"""Conversions between the prediction of a network and its x0 estimate, at the point the network is evaluated at.

With ``x = alpha * x0 + sigma * eps``:

===============  ==========================  ====================================================
prediction       network output              paper
===============  ==========================  ====================================================
epsilon          eps                         Ho et al. 2020, arXiv 2006.11239
v_prediction     alpha * eps - sigma * x0    Salimans & Ho 2022, arXiv 2202.00512
sample           x0                          ibid.
flow_prediction  eps - x0                    Liu et al. 2022, arXiv 2209.03003
===============  ==========================  ====================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from torch import Tensor

from ..errors import InvalidParameter, did_you_mean
from ..literals import Prediction
from .points import Point, PointBatch, eps_of
from .transfer import numbers_on


def to_x0(kind: Prediction, predicted: Tensor, x: Tensor, point: Point | PointBatch) -> Tensor:
    """Convert a network's prediction for ``x`` (B, C, h, w) at ``point``, or at each row's own, to x0 in its dtype.

    Raises InvalidParameter for epsilon at alpha 0, where the prediction does not determine x0, and for an unknown kind.
    """
    alpha, sigma = point.coefficients(x)
    predicted = predicted.to(x.dtype)  # a prediction in half precision is converted in that of the latents
    match kind:
        case "epsilon":
            if any(row.alpha == 0.0 for row in point.rows(len(x))):
                raise InvalidParameter("epsilon prediction cannot start from pure noise (alpha = 0): use v_prediction")
            return (x - sigma * predicted) / alpha
        case "v_prediction":
            return (alpha * x - sigma * predicted) / divisor(point, x, lambda row: row.alpha**2 + row.sigma**2)
        case "sample":
            return predicted
        case "flow_prediction":
            return (x - sigma * predicted) / divisor(point, x, lambda row: row.alpha + row.sigma)
    raise InvalidParameter(f"prediction {kind!r} is unknown; {did_you_mean(str(kind), get_args(Prediction))}")


def divisor(point: Point | PointBatch, like: Tensor, function: Callable[[Point], float]) -> float | Tensor:
    """Return a function of the point, or of each row's (B, 1, 1, 1): in double precision first, so that both agree."""
    values = point.map(function)
    if not isinstance(values, list):
        return values
    return numbers_on(values, like.device, like.dtype).view(-1, *(1,) * (like.ndim - 1))


def from_x0(kind: Prediction, x0: Tensor, x: Tensor, point: Point | PointBatch) -> Tensor:
    """Return the prediction of a network of this kind whose estimate is ``x0``: the inverse of :func:`to_x0`.

    No sigma may be 0, except for ``sample``. Raises InvalidParameter for an unknown kind.
    """
    match kind:
        case "epsilon":
            return eps_of(x, x0, point)
        case "v_prediction":
            alpha, sigma = point.coefficients(x)
            return alpha * eps_of(x, x0, point) - sigma * x0
        case "sample":
            return x0
        case "flow_prediction":
            return eps_of(x, x0, point) - x0
    raise InvalidParameter(f"prediction {kind!r} is unknown; {did_you_mean(str(kind), get_args(Prediction))}")
