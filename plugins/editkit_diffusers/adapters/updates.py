"""Changes of weights that adapters describe, as formulas on their tensors.

LoRA (Hu et al., arXiv 2106.09685), LoHa (Hyeon-Woo et al., arXiv 2108.06098), LoKr (Yeh et al., arXiv 2309.14859),
Tucker forms of these for convolutions, full differences, and DoRA (Liu et al., arXiv 2402.09353) on any of them.
"""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .layers import Layer

Roles = Mapping[str, Tensor]
"""Tensors of one layer's change by role."""


def lora(roles: Roles) -> Tensor:
    """Return ``up @ down``; for a convolution ``down`` holds the kernel, or ``mid`` in Tucker form."""
    up, down = roles["up"].flatten(1), roles["down"]
    if "mid" in roles:
        return torch.einsum("or,rs...,si->oi...", up, roles["mid"], down.flatten(1))
    return up @ down.flatten(1)


def loha(roles: Roles) -> Tensor:
    """Return the elementwise product of two low-rank products."""
    return _loha_half(roles, "1") * _loha_half(roles, "2")


def _loha_half(roles: Roles, number: str) -> Tensor:
    a, b = roles[f"hada_w{number}_a"], roles[f"hada_w{number}_b"]
    if f"hada_t{number}" in roles:  # Tucker form, where ``a`` is transposed
        return torch.einsum("rs...,ro,si->oi...", roles[f"hada_t{number}"], a, b)
    return a @ b.flatten(1)


def lokr(roles: Roles) -> Tensor:
    """Return the Kronecker product of two matrices, each whole or as a low-rank product."""
    first = roles["lokr_w1"] if "lokr_w1" in roles else roles["lokr_w1_a"] @ roles["lokr_w1_b"]
    return torch.kron(first, _second_factor(roles).flatten(1))


def _second_factor(roles: Roles) -> Tensor:
    if "lokr_w2" in roles:
        return roles["lokr_w2"]
    a, b = roles["lokr_w2_a"], roles["lokr_w2_b"]
    if "lokr_t2" in roles:  # Tucker form, where ``a`` is transposed
        return torch.einsum("rs...,ro,si->oi...", roles["lokr_t2"], a, b)
    return a @ b.flatten(1)


def full(roles: Roles) -> Tensor:
    """Return a difference of weights that is stored whole."""
    return roles["diff"]


def norm(roles: Roles) -> Tensor:
    """Return the difference of a normalisation's weight."""
    return roles["w_norm"]


@dc.dataclass(frozen=True)
class Kind:
    """Kind of change: the sets of roles it may consist of, its formula, and the roles that have its rank."""

    name: str
    forms: tuple[frozenset[str], ...]
    formula: Callable[[Roles], Tensor]
    ranked_by: tuple[str, ...] = ()

    def roles(self) -> frozenset[str]:
        return frozenset().union(*self.forms)

    def rank(self, roles: Roles) -> int | None:
        """Return the rank of a change by its matrices, None if they are whole."""
        return next((roles[role].shape[0] for role in self.ranked_by if role in roles and roles[role].ndim), None)


_PAIR = frozenset({"up", "down"})
_HADA = frozenset({"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
_FIRST = (frozenset({"lokr_w1"}), frozenset({"lokr_w1_a", "lokr_w1_b"}))
_SECOND = (
    frozenset({"lokr_w2"}),
    frozenset({"lokr_w2_a", "lokr_w2_b"}),
    frozenset({"lokr_w2_a", "lokr_w2_b", "lokr_t2"}),
)
KINDS = (
    Kind("LoRA", (_PAIR, _PAIR | {"mid"}), lora, ("down",)),
    Kind("LoHa", (_HADA, _HADA | {"hada_t1", "hada_t2"}), loha, ("hada_w1_b",)),
    Kind("LoKr", tuple(one | other for one in _FIRST for other in _SECOND), lokr, ("lokr_w1_b", "lokr_w2_b")),
    Kind("full difference", (frozenset({"diff"}),), full),
    Kind("norm", (frozenset({"w_norm"}),), norm),
)
BIAS_ROLES = ("diff_b", "b_norm", "up_bias")
"""Roles of differences of the bias; ``up_bias`` is part of a LoRA and has its strength."""
MAGNITUDES = ("magnitude", "dora_scale")
"""Roles of DoRA's magnitudes: PEFT's, and those of kohya and LyCORIS."""


@dc.dataclass(frozen=True)
class LayerChange:
    """Change of one layer by an adapter of a scale."""

    layer: Layer
    kinds: tuple[tuple[Kind, float], ...]
    """Kinds of change, each with its strength."""
    roles: Roles
    scale: float

    def weight(self) -> Tensor | None:
        """Return the changed weight in float32 or higher, None if the adapter does not change it."""
        if not self.kinds:
            return None
        weight = self.layer.read("weight")
        roles = {role: tensor.to(weight) for role, tensor in self.roles.items()}
        difference = self.difference(roles)
        if "magnitude" in roles:  # PEFT scales the difference, then normalises
            return _with_magnitude(weight + self.scale * difference, "magnitude", roles["magnitude"])
        if "dora_scale" in roles:  # others move from the weight to the normalised one
            moved = _with_magnitude(weight + difference, "dora_scale", roles["dora_scale"])
            return weight + self.scale * (moved - weight)
        return weight + self.scale * difference

    def difference(self, roles: Roles) -> Tensor:
        """Return the difference of the weight at scale 1; raises RuntimeError if tensors do not fit together."""
        parts = [factor * kind.formula(roles) for kind, factor in self.kinds]
        first, *others = (part.reshape(self.layer.weight_shape) for part in parts)
        return sum(others, first)

    def bias(self) -> Tensor | None:
        """Return the changed bias, None if the adapter does not change it."""
        differences = [role for role in BIAS_ROLES if role in self.roles]
        if not differences:
            return None
        bias = self.layer.read("bias")
        for role in differences:
            bias = bias + self.scale * self._bias_factor(role) * self.roles[role].to(bias).view_as(bias)
        return bias

    def _bias_factor(self, role: str) -> float:
        return self.kinds[0][1] if role == "up_bias" else 1.0

    def apply(self) -> None:
        """Write the changed weight and bias into the model."""
        for kind, values in (("weight", self.weight()), ("bias", self.bias())):
            if values is not None:
                self.layer.write(kind, values)

    def is_finite(self) -> bool:
        """Return whether all changed values are finite in the dtype of the layer."""
        changed = [values.to(self.layer.dtype) for values in (self.weight(), self.bias()) if values is not None]
        return all(bool(torch.isfinite(values).all()) for values in changed)


def magnitude_axis(role: str, magnitude: Tensor, shape: tuple[int, ...]) -> int | None:
    """Return the axis of a weight whose slices the magnitudes belong to, None if they fit neither.

    PEFT's are per output, (N,) or (1, N, 1, 1); the others per output (N, 1, ...), or per input (1, N, ...) in early
    files of LyCORIS.
    """
    if magnitude.ndim == 0:
        return None
    if magnitude.numel() == shape[0] and (role == "magnitude" or magnitude.shape[0] == shape[0]):
        return 0
    per_input = magnitude.ndim >= 2 and magnitude.shape[0] == 1 and magnitude.shape[1] == magnitude.numel()
    return 1 if per_input and role != "magnitude" and magnitude.numel() == shape[1] else None


def _with_magnitude(weight: Tensor, role: str, magnitude: Tensor) -> Tensor:
    """Return the weight with its slices scaled to the lengths ``magnitude``."""
    axis = magnitude_axis(role, magnitude, tuple(weight.shape))
    others = [dim for dim in range(weight.ndim) if dim != axis]
    length = torch.linalg.vector_norm(weight, dim=others, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
    scaled: Tensor = weight * magnitude.reshape(length.shape) / length
    return scaled
