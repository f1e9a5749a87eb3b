"""Captioners: captions of images by models of transformers."""

from __future__ import annotations

from pydantic import Field

from editkit import CaptionerSpec, Paper, Params, PathParam, by_name, hookimpl


class TransformersParams(Params):
    model: str = PathParam(
        ..., "Folder or hub id of a captioning model, such as Salesforce/blip-image-captioning-base."
    )
    max_tokens: int = Field(30, ge=1, le=1000, description="Maximum length of a caption, in tokens of the model.")


@hookimpl
def register_captioners() -> list[CaptionerSpec]:
    return [
        CaptionerSpec(
            name="transformers",
            summary="Captions by a model of transformers that needs only an image, such as BLIP or GIT.",
            load=by_name("editkit_captioners.transformers_captioner:transformers_captioner"),
            params=TransformersParams,
            source="https://arxiv.org/abs/2201.12086",
            paper=Paper(
                "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and "
                "Generation",
                "Junnan Li and Dongxu Li and Caiming Xiong and Steven Hoi",
                2022,
            ),
        )
    ]
