"""``interpolate``: pictures between two pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from editkit import OperationSpec, PictureParams, Registered, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Session


class InterpolateParams(PictureParams):
    frames: int = Field(5, ge=2, le=240, description="Pictures in all, the two given ones included.")
    source: str = Field("", description="Prompt of the first picture.")
    target: str = Field("", description="Prompt of the second picture.")
    inverter: str = Registered("inverters", "pinned", "Inverter by name, with options after a colon.")


def load() -> Callable[[Session, InterpolateParams], Edit]:
    from .operation import interpolate

    return interpolate


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="interpolate",
            summary="Draw pictures between two pictures, on the arc between their noises.",
            load=load,
            params=InterpolateParams,
            takes="two images",
            source="https://arxiv.org/abs/2010.02502",
        )
    ]
