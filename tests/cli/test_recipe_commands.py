"""``replay``, ``show`` and ``strip`` on the command line, and the options for recipes of every edit."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import editkit
from editkit.cli import main
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SOURCE = sample_image((24, 16))


def call(*words: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words], input=stdin)


def done(*words: object, stdin: bytes | None = None) -> Result:
    result = call(*words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


def refused(words: Sequence[object], *fragments: str, stdin: bytes | None = None) -> None:
    result = call(*words, stdin=stdin)
    assert result.exit_code == 2 and result.stderr.count("\n") == 1, result.output
    for fragment in fragments:
        assert fragment in result.stderr


def pixels(file: str | bytes) -> bytes:
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file).tobytes()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an image, a mask and an inpainted image."""
    monkeypatch.chdir(tmp_path)
    SOURCE.save("a.png")
    mask = Image.new("L", SOURCE.size)
    mask.paste(255, (4, 4, 12, 12))
    mask.save("m.png")
    result = editkit.apply("inpaint", SOURCE, model=ToyBackend(), mask=mask, prompt="a\x1b[2J", steps=1, seed=7)
    result.save("o.png")
    result.save("o.jpg")
    result.save("full.png", recipe="full")
    result.save("none.png", recipe="none")
    return tmp_path


@pytest.mark.slow
def test_a_result_is_made_again_with_source_mask_and_changed_values(here: Path, tiny_folder: Path) -> None:
    words = ["inpaint", "a.png", "--mask", "m.png", "--prompt", "blue", "--steps", "1", "--seed", "3"]
    done(*words, "-o", "x.png", "-m", tiny_folder)
    done(*words, "-o", "y.png", "-m", tiny_folder, "--embed-sources")
    done(*words[:-1], "4", "-o", "z.png", "-m", tiny_folder, "--recipe", "none")
    arguments = [
        "--source",
        "a.png",
        "--set",
        "mask=m.png",
        "-m",
        tiny_folder,
        "-o",
        "again.png",
        "--existing",
        "replace",
    ]
    report = json.loads(done("replay", "x.png", *arguments, "--json").stdout)
    assert report["warnings"] == [] and pixels("again.png") == pixels("x.png")
    done("replay", "y.png", "-m", tiny_folder, "-o", "again.png")
    assert pixels("again.png") == pixels("x.png")
    done("replay", "x.png", *arguments, "--set", "seed=4", "--set", "guidance_rescale=0.0")
    assert pixels("again.png") == pixels("z.png")
    streamed = done(
        "replay",
        "-",
        "--source",
        "a.png",
        "--set",
        "mask=m.png",
        "-m",
        tiny_folder,
        "-o",
        "-",
        stdin=Path("x.png").read_bytes(),
    )
    assert pixels(streamed.stdout_bytes) == pixels("x.png")
    with_stdin = [*arguments[:3], "mask=-", *arguments[4:]]
    assert json.loads(done("replay", "x.png", *with_stdin, "--json", stdin=Path("m.png").read_bytes()).stdout)
    assert pixels("again.png") == pixels("x.png")


REFUSED: dict[str, tuple[list[str], str]] = {
    "no source": (["replay", "o.png"], "source (24 x 16 pixels"),
    "another source": (["replay", "o.png", "--source", "m.png", "--set", "mask=m.png"], "another image"),
    "a missing source": (["replay", "o.png", "--source", "nope.png", "--set", "mask=m.png"], "nope.png"),
    "no value": (["replay", "o.png", "--set", "seed"], "NAME=VALUE"),
    "a wrong type": (["replay", "o.png", "--set", "seed=x"], "--set seed"),
    "a wrong value": (["replay", "full.png", "--set", "seed=-1"], "seed=-1"),
    "an unknown name": (["replay", "o.png", "--set", "sede=1"], "did you mean 'seed'"),
    "a name twice": (["replay", "o.png", "--set", "seed=1", "--set", "seed=2"], "twice"),
    "over the source": (["replay", "o.png", "--source", "a.png", "-o", "a.png"], "another file"),
    "over a file of a control": (
        ["replay", "o.png", "--set", "attach=controlnet:image=m.png", "-o", "m.png"],
        "another file",
    ),
    "over a file in a list": (
        ["replay", "o.png", "--set", '1.attach=["controlnet:image=m.png"]', "-o", "m.png"],
        "another file",
    ),
    "an image as a model": (["describe", "o.png"], "is an image, and no model"),
    "a contradiction": (["img2img", "a.png", "--recipe", "none", "--embed-sources"], "contradicts"),
    "embedded in a JPEG": (["img2img", "a.png", "--embed-sources", "-o", "x.jpg"], "save as .png"),
    "nothing to show": (["show", "none.png"], "no editkit recipe"),
    "no image to show": (["show", "x.txt"], "not an image"),
    "nothing to strip": (["strip", "none.png"], "nothing to remove"),
    "strip over itself": (["strip", "o.png", "-o", "o.png"], "another file"),
    "strip to two places": (["strip", "o.png", "--in-place", "-o", "x.png"], "--in-place"),
    "strip to another kind": (["strip", "o.png", "-o", "x.jpg"], ".png"),
    "strip an inversion": (["strip", "x.safetensors"], "inversion"),
    "show a broken inversion": (["show", "x.safetensors"], "not a file that editkit invert wrote"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_call_is_one_line_and_writes_nothing(here: Path, case: str) -> None:
    Path("x.txt").write_text("hello")
    Path("x.safetensors").write_text("hello")
    before = {file.name: file.read_bytes() for file in here.iterdir()}
    words, fragment = REFUSED[case]
    refused(words, fragment)
    assert {file.name: file.read_bytes() for file in here.iterdir()} == before


def test_show_prints_the_recipe(here: Path) -> None:
    for file in ("o.png", "o.jpg", "full.png"):
        text = done("show", file).stdout
        assert "step 1: inpaint, model toy" in text and "    seed: 7" in text and "    steps: 1" in text
        assert "\x1b" not in text and "a\\x1b[2J" in text
        assert ("source-0: 24 x 16 pixels" in text) and ("not in the file" in text) == (file != "full.png")
        recipe = json.loads(done("show", file, "--json").stdout)
        assert recipe["steps"][0]["params"]["prompt"] == "a\x1b[2J"
    assert done("show", "-", stdin=Path("o.jpg").read_bytes()).stdout == done("show", "o.jpg").stdout


def test_show_extracts_the_embedded_images_level_for_level(here: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 65536, (16, 24, 3), dtype=np.uint16)
    cv2.imwrite("deep.png", levels)
    mask = Image.open("m.png")
    result = editkit.apply("inpaint", "deep.png", model=ToyBackend(), mask=mask, prompt="a pear", steps=1)
    result.save("deep.png", recipe="full")
    paths = done("show", "deep.png", "--extract", "back").stdout.splitlines()
    assert paths == ["back/deep-source-0.png", "back/deep-mask-0.png"]
    extracted = cv2.imread(paths[0], cv2.IMREAD_UNCHANGED)
    assert extracted.dtype == np.uint16 and (extracted == levels).all()
    assert pixels(paths[1]) == mask.tobytes()
    done("show", "deep.png", "--extract", "back")
    assert Path("back/deep-source-0-2.png").is_file(), "nothing is replaced"


def test_a_file_without_images_extracts_none(here: Path) -> None:
    refused(["show", "o.png", "--extract", "back"], "holds no images", "source-0, mask-0", "--embed-sources")
    assert not Path("back").exists()


def test_an_inversion_is_described_as_one(here: Path) -> None:
    editkit.invert(SOURCE, model=ToyBackend(), prompt="x", steps=1).save("a.safetensors")
    refused(["describe", "a.safetensors"], "is an inversion that editkit invert wrote, and no model")


def test_show_prints_the_settings_of_an_inversion(here: Path) -> None:
    editkit.invert(SOURCE, model=ToyBackend(), prompt="red", steps=2).save("x.safetensors")
    text = done("show", "x.safetensors").stdout
    assert "prompt: red" in text and "method: pinned" in text and "holds the source image" in text
    assert json.loads(done("show", "x.safetensors", "--json").stdout)["prompt"] == "red"


def test_an_inversion_goes_through_a_pipe(here: Path) -> None:
    editkit.invert(SOURCE, model=ToyBackend(), prompt="red", steps=2).save("x.safetensors")
    stored = Path("x.safetensors").read_bytes()
    assert editkit.Inversion.load("x.safetensors").encoded() == editkit.Inversion.load(stored).encoded()
    assert done("show", "-", stdin=stored).stdout == done("show", "x.safetensors").stdout
    refused(["show", "-"], "the inversion is damaged, cut short", stdin=stored[:-1])
    with pytest.raises(editkit.BadFile, match="the inversion is damaged"):
        editkit.Inversion.load(stored[:-1] + bytes([stored[-1] ^ 1]))


def test_strip_writes_a_copy_or_replaces_the_file(here: Path) -> None:
    assert done("strip", "o.png").stdout == "o-strip.png\n"
    assert Path("o-strip.png").read_bytes() == Path("none.png").read_bytes()
    assert (
        done("strip", "-", "-o", "-", stdin=Path("full.png").read_bytes()).stdout_bytes == Path("none.png").read_bytes()
    )
    before = pixels("o.jpg")
    assert done("strip", "o.jpg", "--in-place").stdout == "o.jpg\n"
    assert pixels("o.jpg") == before and b"editkit" not in Path("o.jpg").read_bytes()
