"""Laws of the warnings that a model cannot hold an image, and that transparency hides a drawing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import editkit
from editkit.testing.suite import sample_image

pytestmark = pytest.mark.model
SAMPLES = Path(__file__).parents[2] / "samples"
WORDS = {"source": "noto red apple", "target": "noto green apple"}
EDITS: list[tuple[str, dict[str, Any]]] = [
    ("img2img", {"prompt": "noto tomato", "strength": 0.3}),
    ("inpaint", {"prompt": "noto tomato", "mask": Image.fromarray(np.pad(np.full((40, 40), 255, np.uint8), 30))}),
    ("prompt-edit", WORDS),
    ("flow-edit", WORDS),
    ("upscale", {"strength": 0.2}),
]


def warnings_of(operation: str, image: Image.Image, model: Any = "emoji", **params: Any) -> list[str]:
    report = editkit.apply(operation, image, model=model, steps=2, seed=0, cache=False, **params).report
    return [text for text in report.warnings if "cannot hold this image" in text]


def photograph() -> Image.Image:
    """Many small colours under grain, as in a photograph, which the bundled model was not trained on."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (50, 50, 3), dtype=np.uint8)).resize((100, 100), 3)
    return Image.fromarray(np.clip(np.asarray(coarse) + random.normal(0, 12, (100, 100, 3)), 0, 255).astype(np.uint8))


@pytest.mark.parametrize(("operation", "params"), EDITS, ids=[name for name, _ in EDITS])
def test_a_model_that_cannot_hold_a_photograph_is_named(operation: str, params: dict[str, Any]) -> None:
    (warning,) = warnings_of(operation, photograph(), **params)
    assert "'emoji' cannot hold this image" in warning
    assert "dB at 64 x 64 pixels, below 20 dB" in warning


@pytest.mark.parametrize(
    ("operation", "params"),
    [("img2img", {"strength": 0.0}), ("prompt-edit", {"source": "noto red apple", "target": "noto red apple"})],
)
def test_an_edit_without_change_has_no_warning(operation: str, params: dict[str, Any]) -> None:
    assert not warnings_of(operation, photograph(), **params)


def test_an_edit_from_noise_needs_nothing_of_the_image() -> None:
    assert not warnings_of("img2img", photograph(), prompt="noto tomato", strength=1.0)


@pytest.mark.parametrize("file", ["red-hair", "handball", "handball-top", "torn-heart", "red-apple"])
def test_an_image_that_the_model_holds_has_no_warning(file: str) -> None:
    image = editkit.open_image(SAMPLES / f"{file}.png")
    assert not warnings_of("img2img", image, prompt="noto tomato", strength=0.3)


def test_a_model_without_training_is_no_matter_of_the_image(tiny_model: editkit.Backend) -> None:
    assert not warnings_of("img2img", sample_image((40, 30)), tiny_model, prompt="red", strength=0.3)


@pytest.mark.parametrize(
    ("strength", "masked", "hidden"), [(0.2, False, False), (1.0, False, True), (1.0, True, False)]
)
def test_a_drawing_under_transparency_is_named(strength: float, masked: bool, hidden: bool) -> None:
    sticker = Image.new("RGBA", (96, 96), (255, 255, 255, 0))
    sticker.paste((200, 30, 30, 255), (38, 38, 58, 58))
    mask = Image.new("L", sticker.size, 255) if masked else None
    call = {"prompt": "noto red apple", "strength": strength, "mask": mask, "steps": 4, "seed": 0}
    warnings = editkit.apply("img2img", sticker, model="emoji", **call).report.warnings
    assert any("a mask over it makes it visible" in text for text in warnings) is hidden
