"""The bundled model of instructions: a folder put together from two, and what is asked of it by default."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from editkit_emoji.linked_folders import CAPTIONS, INSTRUCTIONS, instruct_folder

import editkit
from editkit import WeightsUnavailable

PICTURE = Path(__file__).parents[1] / "samples" / "red-apple.png"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_its_folder_holds_the_files_of_both_and_its_own_go_before() -> None:
    assert files_in(instruct_folder()) == files_in(CAPTIONS) | files_in(INSTRUCTIONS)


def test_a_folder_that_was_damaged_is_mended(empty_cache: Path) -> None:
    folder = instruct_folder()
    whole = files_in(folder)
    (folder / "unet" / "config.json").unlink()
    assert instruct_folder() == folder
    assert files_in(folder) == whole


def test_it_is_put_together_by_many_at_once() -> None:
    with ThreadPoolExecutor(8) as pool:
        (folder,) = set(pool.map(lambda _: instruct_folder(), range(16)))
    assert files_in(folder) == files_in(CAPTIONS) | files_in(INSTRUCTIONS)
    assert not list(folder.rglob(".*"))


def test_where_it_cannot_be_put_together_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("EDITKIT_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsUnavailable, match=r"cannot be put together in .*: name another folder in EDITKIT_CACHE"):
        instruct_folder()
    monkeypatch.setenv("EDITKIT_CACHE", "~nobody-of-this-name/caches")
    with pytest.raises(WeightsUnavailable, match="is put together in a cache: name a folder for it in EDITKIT_CACHE"):
        instruct_folder()


@pytest.mark.model
def test_an_instruction_alone_goes_to_it_and_prompts_go_by_inversion() -> None:
    told = editkit.apply("instruct", PICTURE, instruction="make it green", steps=4, seed=0)
    assert (told.report.model, told.report.params["method"]) == ("emoji-instruct", "ip2p")
    assert told.report.steps == 4
    prompted = editkit.apply("instruct", PICTURE, instruction="make it green", source="noto red apple", steps=4, seed=0)
    assert prompted.report.params["method"] == "inversion"
    assert prompted.report.params["target"] == "noto green apple"


@pytest.mark.model
def test_it_takes_the_steps_that_are_usual_for_it_and_inversion_its_own() -> None:
    asked = {"instruction": "make it green", "seed": 0}
    usual = editkit.models()["emoji-instruct"].usual["steps"]
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


@pytest.mark.model
def test_a_pipeline_takes_the_model_that_serves_all_its_steps() -> None:
    steps = [
        ("instruct", {"instruction": "make it green", "steps": 3}),
        ("control", {"kind": "edge", "prompt": "noto green apple", "strength": 0.5, "steps": 4}),
    ]
    made = editkit.Pipeline(steps)(PICTURE, seed=0)
    assert made.report.model == "emoji-instruct"
