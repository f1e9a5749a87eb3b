"""The bundled model: a small latent diffusion model of emoji, trained with the scripts in :mod:`.training`."""

from __future__ import annotations

from pathlib import Path

from editkit import ModelSpec, hookimpl


def folder() -> Path:
    return Path(__file__).parent / "model"


@hookimpl
def register_models() -> list[ModelSpec]:
    return [
        ModelSpec(
            name="emoji",
            summary="Emoji of 64 x 64 pixels in four styles, small enough for any laptop: to try and to test edits.",
            load=folder,
            source="plugins/editkit_emoji/MODEL_CARD.md",
            licence="Apache-2.0 (trained on MIT and Apache-2.0 artwork)",
            default=True,
        )
    ]
