"""``img2img``: noise a picture to a strength and draw it again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pydantic import Field

from editkit import EditParams, OperationSpec, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Session


class Img2ImgParams(EditParams):
    prompt: str = Field("", description="What the picture should show.")
    strength: float = Field(0.6, ge=0.0, le=1.0, description="0 keeps the picture, 1 draws a new one.")
    guidance: float = Field(3.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")


def load() -> Callable[[Session, Img2ImgParams], Edit]:
    from .operation import img2img

    return img2img


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="img2img",
            summary="Noise a picture to a strength and draw it again with a prompt.",
            load=load,
            params=Img2ImgParams,
            source="https://arxiv.org/abs/2108.01073",
        )
    ]
