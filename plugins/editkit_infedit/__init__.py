"""``few-step-edit``, and the inverter ``virtual`` it stands on: editing without an inversion, in four steps.

InfEdit (Xu et al., arXiv 2312.04965) draws both prompts by consistency sampling on shared noise. The source branch is
the picture itself, noised freely, and so needs no network to find; what the network misses it by is added to the edit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from editkit import EditParams, Fraction, InverterSpec, OperationSpec, Registered, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Inverter, Session

SOURCE = "https://arxiv.org/abs/2312.04965"


class FewStepEditParams(EditParams):
    source: str = Field(description="Prompt that says what the picture shows.")
    target: str = Field(description="Prompt that says what it should show.")
    strength: Fraction = Field(1.0, description="Share of the path that is used; 0 keeps the picture.")
    steps: int = Field(4, ge=1, le=1000, description="Network steps of a whole path, from noise to picture.")
    sampler: str = Registered("samplers", "lcm", "Sampler by name, with options after a colon.")
    guidance: float = Field(2.0, ge=0.0, le=100.0, description="Guidance scale; 1 asks the network once a step.")
    negative_prompt: str = Field("", description="What guidance leads away from; the source prompt when not given.")

    @model_validator(mode="before")
    @classmethod
    def lead_away_from_the_source(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Guidance then enlarges the edit alone and cancels on the source branch (Miyake et al., arXiv 2305.16807)."""
        return {"negative_prompt": values["source"], **values} if "source" in values else values


def load_few_step_edit() -> Callable[[Session, FewStepEditParams], Edit]:
    from .editing import few_step_edit

    return few_step_edit


def load_virtual() -> Callable[[Any], Inverter]:
    from .virtual import Virtual

    return lambda params: Virtual()


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="few-step-edit",
            summary="Carry a picture from a source prompt to a target prompt in a few steps, without inverting it.",
            load=load_few_step_edit,
            params=FewStepEditParams,
            needs=frozenset({"text"}),
            source=SOURCE,
        )
    ]


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="virtual",
            summary="Asks no network: noises the picture freely at every point, and holds the source to that.",
            load=load_virtual,
            exact=True,
            stochastic=True,
            calls_per_step="0",
            source=SOURCE,
        )
    ]
