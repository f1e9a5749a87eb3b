"""``flow-edit``: carry a picture from one prompt to another by the difference of both predictions on shared noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from editkit import EditParams, InverterSpec, OperationSpec, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Inverter, Session

PAPER = "https://arxiv.org/abs/2412.08629"


class FlowEditParams(EditParams):
    source: str = Field(description="Prompt that says what the picture shows.")
    target: str = Field(description="Prompt that says what it should show.")
    strength: float = Field(
        1.0, ge=0.0, le=1.0, description="Share of the path that is used, from its clean end; 0 keeps the picture."
    )
    averages: int = Field(1, ge=1, le=64, description="Noises that the edit of each step is averaged over.")
    negative_prompt: str = Field("", description="What guidance leads away from; the source prompt when not given.")

    @model_validator(mode="before")
    @classmethod
    def lead_away_from_the_source(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Guidance then enlarges the edit alone and cancels on the source branch (Miyake et al., arXiv 2305.16807)."""
        return {"negative_prompt": values["source"], **values} if "source" in values else values


def load_edit() -> Callable[[Session, FlowEditParams], Edit]:
    from .shared_noise import flow_edit

    return flow_edit


def load_noised() -> Callable[[Any], Inverter]:
    from .shared_noise import Noised

    return lambda params: Noised()


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="flow-edit",
            summary="Carry a picture from a source prompt to a target prompt without inverting it.",
            load=load_edit,
            params=FlowEditParams,
            needs=frozenset({"text"}),
            source=PAPER,
        )
    ]


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="noised",
            summary="No climb: the picture in fresh noise at every point, which the way back is held to.",
            load=load_noised,
            exact=True,
            stochastic=True,
            calls_per_step="0",
            source=PAPER,
        )
    ]
