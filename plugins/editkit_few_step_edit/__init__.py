"""``few-step-edit``: editing without an inversion, in four steps.

InfEdit (Xu et al., arXiv 2312.04965) draws both prompts by consistency sampling on shared noise. The source branch is
the picture itself, noised freely, and so needs no network to find; what the network misses it by is added to the edit.
"""

from __future__ import annotations

from pydantic import Field

from editkit import Fraction, OperationSpec, RegisteredName, RepromptParams, by_name, hookimpl

SOURCE = "https://arxiv.org/abs/2312.04965"


class FewStepEditParams(RepromptParams):
    strength: Fraction = Field(1.0, description="Share of the path that is used; 0 keeps the picture.")
    steps: int = Field(4, ge=1, le=1000, description="Network steps of a whole path, from noise to picture.")
    sampler: str = RegisteredName("samplers", "lcm", "Sampler by name, with options after a colon.")
    guidance: float = Field(2.0, ge=0.0, le=100.0, description="Guidance scale; 1 asks the network once a step.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="few-step-edit",
            summary="Carry a picture from a source prompt to a target prompt in a few steps, without inverting it.",
            load=by_name("editkit_few_step_edit.operation:few_step_edit"),
            params=FewStepEditParams,
            needs=frozenset({"text"}),
            source=SOURCE,
        )
    ]
