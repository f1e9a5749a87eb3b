"""What a replay's guidance leads away from, when an inverter says so: the source prompt, or anything for each step."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence

from torch import Tensor

from editkit import Condition, Control, Denoiser, Guidance, InversionContext, InversionRecord, blend_conditions

from .ddim import DdimInverter


class NegativeConditions(Control):
    """Leads guidance away from recorded conditions: tensors (B, N, ...) for N steps, or (B, 1, ...) for all of them."""

    exclusive_over = frozenset({"what guidance leads away from"})

    def __init__(self, negatives: Mapping[str, Tensor]) -> None:
        self.negatives = negatives

    def guide(self, index: int, denoise: Denoiser) -> Denoiser:
        if not isinstance(denoise, Guidance):
            return denoise
        negative, *others = denoise.conditions
        here = {
            name: tensor[:, min(index, tensor.shape[1] - 1)].to(negative[name])
            for name, tensor in self.negatives.items()
        }
        return dc.replace(denoise, conditions=({**negative, **here}, *others))


class NegativeInverter(DdimInverter):
    """DDIM upward, and a replay that leads away from all that was kept."""

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        return (NegativeConditions(blend_conditions(climb.extras, shares)),) if climb.extras else ()


class NegativePrompt(NegativeInverter):
    """Guidance leads away from the source prompt, and so cancels on the source (Miyake et al., arXiv 2305.16807)."""

    def compute_extras(
        self, context: InversionContext, climb: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        return {name: tensor[:, None] for name, tensor in condition.items()}
