"""Captions of pictures by models of transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from editkit import CaptionerSpec, Folder, Params, hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image


class TransformersParams(Params):
    model: str = Folder(..., "Folder or hub id of a captioning model, such as Salesforce/blip-image-captioning-base.")
    max_tokens: int = Field(30, ge=1, le=1000, description="Longest caption, in tokens of the model.")


def load_transformers() -> Callable[[TransformersParams], Callable[[Image.Image], str]]:
    from .transformers_captioner import captioning_model

    return lambda params: captioning_model(params.model, params.max_tokens)


@hookimpl
def register_captioners() -> list[CaptionerSpec]:
    return [
        CaptionerSpec(
            name="transformers",
            summary="Captions by a model of transformers that needs nothing but a picture, such as BLIP or GIT.",
            load=load_transformers,
            params=TransformersParams,
            source="https://arxiv.org/abs/2201.12086",
        )
    ]
