"""Muon: momentum whose updates are orthogonalised to singular values near 1 (Jordan et al. 2024,
https://kellerjordan.github.io/posts/muon), in the scale of AdamW's updates (Liu et al., arXiv 2502.16982).

Unlike ``torch.optim.Muon``, which accepts matrices only, it treats a convolution as a matrix with a row per output
channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

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
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(state["momentum"], group["momentum"])
                update = orthogonal(ahead.flatten(1))
                weight.add_(update.view_as(weight), alpha=-group["lr"] * UPDATE_RMS * math.sqrt(max(update.shape)))


def orthogonal(matrix: Tensor) -> Tensor:
    """Bring the singular values of a matrix (M, N) near 1 by five iterations, in the same shape and type."""
    a, b, c = QUINTIC
    wide = matrix.T if len(matrix) > matrix.shape[1] else matrix
    x = (wide / (wide.norm() + 1e-7)).to(torch.bfloat16 if quick_bfloat16(wide.device.type) else wide.dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.T if len(matrix) > matrix.shape[1] else x
    return result.to(matrix.dtype)


def hidden_matrices(network: nn.Module, *, outer: tuple[str, ...]) -> list[nn.Parameter]:
    """Weights for Muon: those with two or more axes, except names that contain one of ``outer``.

    AdamW is better for embeddings and for the first and last layers (ibid.).
    """
    return [
        weight
        for name, weight in network.named_parameters()
        if weight.requires_grad and weight.ndim >= 2 and not any(part in name for part in outer)
    ]
