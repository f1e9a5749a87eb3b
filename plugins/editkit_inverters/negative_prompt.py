"""Negative-prompt inversion, and the control that sets the negative condition of a replay step by step."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence

from torch import Tensor

from editkit import Condition, Control, Denoiser, Guidance, InversionContext, InversionRecord, blend_conditions

from .ddim import DdimInverter


class NegativeConditions(Control):
    """Set the negative condition of guidance: tensors (B, N, ...) for N steps, or (B, 1, ...) for all of them."""

    exclusive_over = frozenset({"the negative condition"})

    def __init__(self, negatives: Mapping[str, Tensor]) -> None:
        self.negatives = negatives

    def guide(self, index: int, denoise: Denoiser) -> Denoiser:
        if not isinstance(denoise, Guidance):
            return denoise
        negative, *others = denoise.conditions
        override = {
            name: tensor[:, min(index, tensor.shape[1] - 1)].to(negative[name])
            for name, tensor in self.negatives.items()
        }
        return dc.replace(denoise, conditions=({**negative, **override}, *others))


class NegativeInverter(DdimInverter):
    """DDIM inversion whose extras are the negative condition of the replay."""

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (NegativeConditions(blend_conditions(record.extras, shares)),) if record.extras else ()


class NegativePrompt(NegativeInverter):
    """The source prompt is the negative prompt, so guidance cancels on the source (Miyake et al., arXiv 2305.16807)."""

    def compute_extras(
        self, context: InversionContext, record: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        return {name: tensor[:, None] for name, tensor in condition.items()}
