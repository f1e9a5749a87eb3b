"""What networks predict, and its clean latent: each conversion and its inverse, at the point the network was asked.

With ``x = alpha * x0 + sigma * eps``:

===============  ==========================  ====================================================
prediction       the network gives           from
===============  ==========================  ====================================================
epsilon          eps                         Ho et al. 2020, arXiv 2006.11239
v_prediction     alpha * eps - sigma * x0    Salimans & Ho 2022, arXiv 2202.00512
sample           x0                          ibid.
flow_prediction  eps - x0                    Liu et al. 2022, arXiv 2209.03003
===============  ==========================  ====================================================
"""

from __future__ import annotations

from typing import get_args

from torch import Tensor

from ..errors import InvalidParameter, did_you_mean
from ..literals import Prediction
from .points import Point, PointBatch, eps_of


def to_x0(kind: Prediction, predicted: Tensor, x: Tensor, point: Point | PointBatch) -> Tensor:
    """Turn a network's answer for ``x`` (B, C, h, w) at ``point``, or each row's own, into the clean latent x0.

    Raises InvalidParameter for epsilon at alpha 0, where the answer says nothing about x0.
    """
    alpha, sigma = point.coefficients(x)
    match kind:
        case "epsilon":
            if any(row.alpha == 0.0 for row in point.rows(len(x))):
                raise InvalidParameter("epsilon prediction cannot start from pure noise (alpha = 0): use v_prediction")
            return (x - sigma * predicted) / alpha
        case "v_prediction":
            return (alpha * x - sigma * predicted) / (alpha**2 + sigma**2)
        case "sample":
            return predicted
        case "flow_prediction":
            return (x - sigma * predicted) / (alpha + sigma)
    raise InvalidParameter(f"prediction {kind!r} is unknown; {did_you_mean(str(kind), get_args(Prediction))}")


def from_x0(kind: Prediction, x0: Tensor, x: Tensor, point: Point) -> Tensor:
    """The inverse of :func:`to_x0`: what a network of this kind answers where the clean latent is ``x0``.

    ``point.sigma`` must not be 0 except for ``sample``.
    """
    match kind:
        case "epsilon":
            return eps_of(x, x0, point)
        case "v_prediction":
            return point.alpha * eps_of(x, x0, point) - point.sigma * x0
        case "sample":
            return x0
        case "flow_prediction":
            return eps_of(x, x0, point) - x0
    raise InvalidParameter(f"prediction {kind!r} is unknown; {did_you_mean(str(kind), get_args(Prediction))}")
