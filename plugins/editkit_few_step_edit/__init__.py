"""``few-step-edit``: editing without an inversion, in four steps.

InfEdit (Xu et al., arXiv 2312.04965) samples both prompts by consistency sampling on shared noise. The source branch is
the noised image itself, which takes no network; the network's error on it is added to the edited branch.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from editkit import Fraction, OperationSpec, RegisteredName, RepromptParams, by_name, hookimpl

_PAPER = "https://arxiv.org/abs/2312.04965"


class FewStepEditParams(RepromptParams):
    from_model: ClassVar[frozenset[str]] = frozenset()  # the settings of the paper
    strength: Fraction = Field(1.0, description="Share of the path that is used; 0 keeps the image.")
    steps: int = Field(4, ge=1, le=1000, description="Steps of a whole path, from noise to image.")
    sampler: str = RegisteredName("samplers", "lcm", "Sampler by name, with options after a colon.")
    guidance: float = Field(2.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates the prompt alone.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="few-step-edit",
            summary="Edit an image from a source prompt to a target prompt in a few steps, without inverting it.",
            load=by_name("editkit_few_step_edit.operation:few_step_edit"),
            params=FewStepEditParams,
            needs=frozenset({"text"}),
            source=_PAPER,
        )
    ]
