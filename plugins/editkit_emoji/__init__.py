"""The bundled model: a small latent diffusion model of emoji, trained with the scripts in :mod:`.training`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from editkit import ControlNetSpec, DatasetSpec, Frame, ModelSpec, Params, by_name, hookimpl

HERE = Path(__file__).parent
LICENCE = "Apache-2.0 (trained on MIT, Apache-2.0 and CC-BY-4.0 artwork)"
MODELS = frozenset({"emoji", "emoji-instruct"})
"""Models that the ControlNet fits."""
CONTROLNET = HERE / "controlnets" / "shared"
"""One ControlNet for edges and reliefs, which look too different to be taken for each other."""
STRENGTH = 0.15
"""Default strength of these models, for upscaling: they were not trained on images larger than their own size."""
FRAME = Frame(extent=0.9)
"""White, with subjects whose longest side is 0.86 to 1 of the frame's, at the median 0.91."""
GUIDANCE = 1.3
"""Default guidance scale of `emoji`: a larger one mottles plain areas."""
GATE = 0.05
"""Default gate of these models: with it an edit leaves as many pixels as they are as the artwork does."""
STEPS_OF_INSTRUCTIONS = 2
"""Default number of steps of `emoji-instruct`: of 1, 2, 3, 4, 8 and 15, the one with the most right edits."""
CARD = "plugins/editkit_emoji/MODEL_CARD.md"


@hookimpl
def register_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="emoji",
            summary="Emoji of 64 x 64 pixels for prompts such as 'noto red apple', in seven styles.",
            load=lambda: HERE / "model",
            source=CARD,
            licence=LICENCE,
            default=True,
            defaults={"guidance": GUIDANCE, "strength": STRENGTH, "gate": GATE},
            frame=FRAME,
        ),
        ModelSpec(
            name="emoji-instruct",
            summary="The same model, conditioned on an image and an instruction.",
            load=load_instruct,
            source=CARD,
            licence=LICENCE,
            default_for=frozenset({"instruct"}),
            defaults={
                "guidance": 1.0,
                "image_guidance": 1.0,
                "steps": STEPS_OF_INSTRUCTIONS,
                "strength": STRENGTH,
                "gate": GATE,
            },
            frame=FRAME,
        ),
        ModelSpec(
            name="emoji-upscaler",
            summary="Enlarges emoji and other plain drawings 4 times, conditioned on the small image.",
            load=load_upscaler,
            source=CARD,
            licence=LICENCE,
            default_for=frozenset({"upscale"}),
            defaults={"steps": 1},
        ),
    ]


def load_instruct() -> Path:
    from .linked_folders import instruct_folder

    return instruct_folder()


def load_upscaler() -> Path:
    from .linked_folders import upscaler_folder

    return upscaler_folder()


@hookimpl
def register_controlnets() -> list[ControlNetSpec]:
    return [
        ControlNetSpec(
            name="emoji-edge",
            summary="Emoji with given edges.",
            load=lambda: CONTROLNET,
            models=MODELS,
            annotators=frozenset({"edge"}),
            source=CARD,
            licence=LICENCE,
        ),
        ControlNetSpec(
            name="emoji-relief",
            summary="Emoji with a given relief, which is a silhouette inflated to a height map.",
            load=lambda: CONTROLNET,
            models=MODELS,
            annotators=frozenset({"relief", "depth"}),
            source=CARD,
            licence=LICENCE,
        ),
    ]


class EmojiPairsParams(Params):
    pairs_of: Literal["first", "added", "unseen"] = Field(
        "first", description="Sets of images: those of the model with held-out targets, or sets that no training saw."
    )
    scenery: Literal[
        "in place",
        "mirrored",
        "shifted",
        "small",
        "coloured",
        "graded",
        "photographic",
        "small photographic",
        "two objects",
        "moved",
        "all",
    ] = Field("in place", description="Scene of both images of a pair; moved is all scenes but the first.")
    pairs: int = Field(100, ge=1, description="Number of pairs in each scene.")
    size: int = Field(64, ge=8, le=512, description="Side of an image in pixels.")


@hookimpl
def register_datasets() -> list[DatasetSpec]:
    return [
        DatasetSpec(
            name="emoji-pairs",
            summary="Emoji with a true outcome, in place or moved, in a folder of editkit_emoji.training.data.",
            load=by_name("editkit_emoji.training.dataset:open_emoji_pairs"),
            params=EmojiPairsParams,
            source=CARD,
        )
    ]
