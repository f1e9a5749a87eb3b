"""``generate``: draw a picture from noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from editkit import CanvasParams, OperationSpec, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Session


class GenerateParams(CanvasParams):
    prompt: str = Field("", description="What to draw.")
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")


def load() -> Callable[[Session, GenerateParams], Edit]:
    from .operation import generate

    return generate


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="generate",
            summary="Draw a picture from noise, following a prompt where the model understands one.",
            load=load,
            params=GenerateParams,
            takes="nothing",
            source="https://arxiv.org/abs/2006.11239",
        )
    ]
