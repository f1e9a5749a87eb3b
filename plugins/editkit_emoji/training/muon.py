"""Muon: momentum whose updates are orthogonalised to singular values near 1 (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon), in the scale of AdamW's updates (Liu et al., arXiv 2502.16982).

Unlike ``torch.optim.Muon``, which accepts matrices only, it treats a convolution as a matrix with a row per output
channel.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from editkit_emoji.training.precision import quick_bfloat16

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration polynomial: steep at 0, then near 1 (ibid.)."""
ITERATIONS = 5
UPDATE_RMS = 0.2
"""Root mean square of a typical AdamW update, in learning rates (arXiv 2502.16982, section 2.2)."""


class Muon(torch.optim.Optimizer):
    """Muon for weights of two or more axes."""

    def __init__(self, weights: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is not None:
                    by_shape[len(weight), weight[0].numel()].append(weight)
            for shape, weights in by_shape.items():
                # One batch of matrices of a shape: on a GPU, the time of small products is that of their launches.
                updates = orthogonal(torch.stack([self.ahead(weight, group).flatten(1) for weight in weights]))
                for weight, update in zip(weights, updates, strict=True):
                    weight.add_(update.view_as(weight), alpha=-group["lr"] * UPDATE_RMS * math.sqrt(max(shape)))

    def ahead(self, weight: nn.Parameter, group: dict[str, Any]) -> Tensor:
        """Update the momentum of a weight and return it one step further (Nesterov)."""
        assert weight.grad is not None
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
        return weight.grad.lerp(momentum, group["momentum"])


def orthogonal(matrices: Tensor) -> Tensor:
    """Bring the singular values of matrices (..., M, N) near 1 by five iterations, in the same shape and type."""
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if tall else matrices
    size: Tensor = torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7
    x = (wide / size).to(torch.bfloat16 if quick_bfloat16(wide.device.type) else wide.dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


def hidden_matrices(network: nn.Module, *, outer: tuple[str, ...]) -> list[nn.Parameter]:
    """Weights for Muon: those with two or more axes, except names that contain one of ``outer``.

    AdamW is better for embeddings and for the first and last layers (ibid.).
    """
    return [
        weight
        for name, weight in network.named_parameters()
        if weight.requires_grad and weight.ndim >= 2 and not any(part in name for part in outer)
    ]
