"""Denoisers, networks, and the conditions they are evaluated under."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..errors import InvalidParameter
from .attention import CallRow, describe_rows
from .points import Point, PointBatch
from .transfer import rows_on, to_device

Condition = Mapping[str, Tensor]
"""Tensors that a network is conditioned on, by name; their first axis is the batch."""


Network = Callable[[Tensor, Point | PointBatch, Condition], Tensor]
"""``denoise(x, point, condition) -> x0`` of a backend: latents (B, C, h, w) to their estimate of the same shape."""


def latent_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of latents, noise and estimates for a network in ``dtype``: float32, or float64 if that is its.

    A network in half precision rounds its input and its prediction; steps in it would add their own error, which is
    larger.
    """
    return torch.promote_types(dtype, torch.float32)


def stack_conditions(conditions: Sequence[Condition]) -> Condition:
    """Concatenate conditions along the batch."""
    return {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}


def repeat_condition(condition: Condition, rows: int) -> Condition:
    """Repeat the condition of one row for ``rows`` rows."""
    return {name: tensor.expand(rows, *tensor.shape[1:]) for name, tensor in condition.items()}


def blend_conditions(condition: Condition, shares: Tensor) -> Condition:
    """Return B rows, each a mix of the S rows of a condition by ``shares`` (B, S).

    Raises InvalidParameter for a condition that is no embedding: numbers of prompts that a pipeline reads itself.
    """
    is_mixed = bool(((shares > 0) & (shares < 1)).any())
    if is_mixed and any(
        not tensor.is_floating_point() and bool((tensor != tensor[:1]).any()) for tensor in condition.values()
    ):
        raise InvalidParameter(
            "a blend of two prompts is not possible with this model, whose pipeline reads words: give equal prompts"
        )
    nearest = shares.argmax(1).tolist()
    return {
        name: torch.einsum("bs,s...->b...", to_device(shares, tensor.device, tensor.dtype), tensor)
        if tensor.is_floating_point()
        else tensor[rows_on(nearest, tensor.device)]
        for name, tensor in condition.items()
    }


@dc.dataclass(frozen=True)
class Conditioned:
    """Denoiser that calls a network under one condition."""

    network: Network
    condition: Condition

    def __call__(self, x: Tensor, point: Point | PointBatch) -> Tensor:
        with describe_rows([CallRow(0, row, place) for row, place in enumerate(point.rows(len(x)))]):
            return self.network(x, point, self.condition)


Denoiser = Callable[[Tensor, Point], Tensor]
"""``denoise(x, point) -> x0``: noisy latents (B, C, h, w) to their estimate of the same shape."""


Noise = Callable[[], Tensor]
"""Function that returns fresh noise, which broadcasts over a batch of latents."""
