"""The bundled instruction model and its default parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

import editkit

IMAGE = Path(__file__).parents[2] / "samples" / "red-apple.png"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.model
def test_an_instruction_uses_the_instruct_model_and_prompts_use_inversion() -> None:
    instructed = editkit.apply("instruct", IMAGE, instruction="make it green", steps=4, seed=0)
    assert (instructed.report.model, instructed.report.params["method"]) == ("emoji-instruct", "ip2p")
    assert instructed.report.steps == 4
    prompted = editkit.apply("instruct", IMAGE, instruction="make it green", source="noto red apple", steps=4, seed=0)
    assert prompted.report.params["method"] == "inversion"
    assert prompted.report.params["target"] == "noto green apple"


@pytest.mark.model
def test_instruct_uses_the_model_s_default_steps_and_inversion_its_own() -> None:
    params = {"instruction": "make it green", "seed": 0}
    default = editkit.models()["emoji-instruct"].defaults["steps"]
    instructed = editkit.apply("instruct", IMAGE, **params)
    assert instructed.report.steps == instructed.report.params["steps"] == instructed.report.network_calls == default
    assert editkit.apply("instruct", IMAGE, source="noto red apple", **params).report.steps == 25


@pytest.mark.model
def test_other_edits_use_the_caption_model() -> None:
    result = editkit.apply("img2img", IMAGE, prompt="noto green apple", strength=0.5, steps=4, seed=0)
    assert result.report.model == "emoji"


@pytest.mark.model
def test_without_an_image_the_instruct_model_equals_the_caption_model() -> None:
    params = {"prompt": "noto green apple", "steps": 4, "seed": 0, "guidance": 1.5}
    one, other = (editkit.apply("generate", model=name, **params) for name in ("emoji", "emoji-instruct"))
    assert one.image.tobytes() == other.image.tobytes()


@pytest.mark.model
def test_a_replay_takes_the_model_of_the_recipe(tmp_path: Path) -> None:
    result = editkit.apply("instruct", IMAGE, instruction="make it green", steps=4, seed=0)
    result.save(tmp_path / "green.png", recipe="full")
    assert editkit.replay(tmp_path / "green.png").image.tobytes() == result.image.tobytes()
