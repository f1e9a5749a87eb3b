"""--preview writes a file that shows the edit in work, and changes nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

import editkit
from editkit.cli import main, previews
from editkit.cli.previews import PreviewFile
from editkit.testing import ToyBackend


def edit(*words: Any, model: Path) -> None:
    common = ["--prompt", "red", "--steps", "2", "--seed", "0", "-m", str(model)]
    result = CliRunner().invoke(main, ["img2img", *map(str, words), *common])
    assert result.exit_code == 0, result.output


@pytest.mark.slow
def test_a_preview_is_a_file_of_its_format_and_changes_no_pixel_of_the_output(
    tmp_path: Path, tiny_folder: Path, random_image: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("a", "b")):
        random_image((30, 20), seed=number).save(f"{name}.png")
    edit("a.png", "-o", "plain.png", model=tiny_folder)
    edit("a.png", "-o", "shown.png", "--preview", "one.webp", model=tiny_folder)
    edit("a.png", "b.png", "-o", "both", "--preview", "two.jpg", model=tiny_folder)
    assert Image.open("plain.png").tobytes() == Image.open("shown.png").tobytes()
    one, two = Image.open("one.webp"), Image.open("two.jpg")
    assert (one.format, one.size, two.format) == ("WEBP", (16, 11), "JPEG")
    assert two.width > 2 * one.width


def watched(progress: Any) -> editkit.Result:
    result: editkit.Result = editkit.apply(
        "generate", None, prompt="red", width=16, height=16, steps=8, seed=0, model=ToyBackend(), progress=progress
    )
    return result


def test_previews_are_written_at_most_twice_a_second_and_after_the_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds, written = [0.0], []

    def pass_time(steps: Iterator[Any], **_: Any) -> Iterator[Any]:
        for step in steps:
            yield step
            seconds[0] += 0.2

    monkeypatch.setattr(previews.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(PreviewFile, "_is_written", lambda self, step: written.append(step.index) or True)
    file = PreviewFile(tmp_path / "p.png")
    watched(lambda steps, **loop: pass_time(file(steps, **loop)))
    assert written == [0, 3, 6, 7]


def test_an_edit_outlives_its_preview_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = watched(PreviewFile(tmp_path / "nowhere" / "p.png"))
    assert result.image.tobytes() == watched(None).image.tobytes()
    assert capsys.readouterr().err.count("no more previews") == 1


def test_a_file_that_a_preview_replaces_is_named_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for count in (0, 1):
        watched(PreviewFile(tmp_path / "p.png"))
        assert capsys.readouterr().err.count("Replaced") == count
