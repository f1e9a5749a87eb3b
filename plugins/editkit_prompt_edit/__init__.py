"""``prompt-edit``: invert a picture under one prompt and draw it again under another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from editkit import EditParams, OperationSpec, Registered, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Session


class PromptEditParams(EditParams):
    source: str = Field(description="Prompt that says what the picture shows.")
    target: str = Field(description="Prompt that says what it should show.")
    inverter: str = Registered("inverters", "pinned", "Inverter by name, with options after a colon.")
    negative_prompt: str = Field("", description="What guidance leads away from; the source prompt when not given.")

    @model_validator(mode="before")
    @classmethod
    def lead_away_from_the_source(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Guidance then enlarges the edit alone and cancels on the source branch (Miyake et al., arXiv 2305.16807)."""
        return {"negative_prompt": values["source"], **values} if "source" in values else values


def load() -> Callable[[Session, PromptEditParams], Edit]:
    from .editing import prompt_edit

    return prompt_edit


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="prompt-edit",
            summary="Invert a picture under a source prompt and draw it again under a target prompt.",
            load=load,
            params=PromptEditParams,
            needs=frozenset({"text"}),
            source="https://arxiv.org/abs/2310.01506",
        )
    ]
