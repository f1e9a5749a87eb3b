"""The bundled instruction model and its default parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

import editkit

PICTURE = Path(__file__).parents[2] / "samples" / "red-apple.png"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "cache"))


@pytest.mark.model
def test_an_instruction_uses_the_instruct_model_and_prompts_use_inversion() -> None:
    told = editkit.apply("instruct", PICTURE, instruction="make it green", steps=4, seed=0)
    assert (told.report.model, told.report.params["method"]) == ("emoji-instruct", "ip2p")
    assert told.report.steps == 4
    prompted = editkit.apply("instruct", PICTURE, instruction="make it green", source="noto red apple", steps=4, seed=0)
    assert prompted.report.params["method"] == "inversion"
    assert prompted.report.params["target"] == "noto green apple"


@pytest.mark.model
def test_instruct_uses_the_model_s_default_steps_and_inversion_its_own() -> None:
    asked = {"instruction": "make it green", "seed": 0}
    usual = editkit.models()["emoji-instruct"].defaults["steps"]
    told = editkit.apply("instruct", PICTURE, **asked)
    assert told.report.steps == told.report.params["steps"] == told.report.network_calls == usual
    assert editkit.apply("instruct", PICTURE, source="noto red apple", **asked).report.steps == 25


@pytest.mark.model
def test_other_edits_go_to_the_model_of_captions() -> None:
    made = editkit.apply("img2img", PICTURE, prompt="noto green apple", strength=0.5, steps=4, seed=0)
    assert made.report.model == "emoji"


@pytest.mark.model
def test_shown_nothing_it_is_the_model_of_captions() -> None:
    asked = {"prompt": "noto green apple", "steps": 4, "seed": 0}
    one, other = (editkit.apply("generate", model=name, **asked) for name in ("emoji", "emoji-instruct"))
    assert one.image.tobytes() == other.image.tobytes()


@pytest.mark.model
def test_a_replay_takes_the_model_of_the_recipe(tmp_path: Path) -> None:
    made = editkit.apply("instruct", PICTURE, instruction="make it green", steps=4, seed=0)
    made.save(tmp_path / "green.png")
    assert editkit.replay(tmp_path / "green.png").image.tobytes() == made.image.tobytes()
