"""Results, inversions and models as notebooks display them."""

from __future__ import annotations

import base64
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import editkit
from editkit import display
from editkit.testing.toy import ToyBackend

LARGE = Image.linear_gradient("L").resize((800, 600)).convert("RGB")


def shown(value: Any) -> tuple[Image.Image, str]:
    """The image and the text of a value in a notebook."""
    bundle = value._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == repr(value)
    return Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))), bundle["text/plain"]


@pytest.fixture
def labels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The labels of the images that are displayed from now on."""
    texts: list[str] = []

    def draw_sheet(images: Any, **options: Any) -> Image.Image:
        texts.extend(label for label, _ in images)
        return editkit.draw_sheet(images, **options)

    monkeypatch.setattr(display, "draw_sheet", draw_sheet)
    return texts


def test_a_result_is_shown_before_and_after_with_a_line_of_its_report(labels: list[str]) -> None:
    result = editkit.img2img(LARGE, prompt="red", steps=2, seed=7, model=ToyBackend())
    pixels = result.image.tobytes()
    sheet, text = shown(result)
    assert sheet.width < LARGE.width
    assert labels == ["before; 800 x 600, shown smaller", f"{result.report.line}; 800 x 600, shown smaller"]
    assert text.startswith("<Result img2img: seed 7, 2 steps, ")
    assert (len(text) < 120, result.image.tobytes() == pixels) == (True, True)


def test_a_result_of_many_frames_is_shown_by_some_of_them(labels: list[str]) -> None:
    small = LARGE.resize((16, 16))
    shown(editkit.interpolate(small, small.rotate(90), frames=12, steps=1, seed=7, model=ToyBackend()))
    assert (labels[:2], len(labels), labels[-1]) == (["before 1", "before 2"], 10, "frame 12")


def test_an_animation_is_shown_by_frames_before_and_after(labels: list[str]) -> None:
    animation = editkit.Animation.of([LARGE.resize((16, 16))] * 2)
    result = editkit.apply_to_animation("img2img", animation, prompt="red", steps=1, seed=7, model=ToyBackend())
    assert "2 frames of 16 x 16 pixels" in shown(result)[1]
    assert (labels[:2], labels[2][:17], labels[3]) == (["before 1", "before 2"], "img2img 1, seed 7", "img2img 2")
    assert repr(animation) == "<Animation: 2 frames of 16 x 16 pixels, 0.2 s, gif>"


def test_a_run_is_shown_by_its_steps() -> None:
    run = editkit.start("img2img", LARGE, prompt="red", steps=2, strength=1.0, seed=7, model=ToyBackend())
    assert repr(run) == "<Run: not begun>"
    next(run)
    assert repr(run) == "<Run: under way after step 1 of 2>"
    assert run.result is not None and repr(run) == "<Run: ended after step 2 of 2>"


def test_a_notebook_without_widgets_gets_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    text = "import warnings; warnings.warn('IProgress not found. Please update'); warnings.warn('other'); NAME = 1"
    (tmp_path / "warning_module.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert editkit.by_name("warning_module:NAME")() == 1
    assert [str(one.message) for one in recwarn] == ["other"]


def test_results_and_inversions_are_compared_and_copied() -> None:
    model, image = ToyBackend(), LARGE.resize((16, 16))
    result = editkit.img2img(image, prompt="red", steps=2, seed=7, model=model)
    animation = editkit.apply_to_animation("img2img", editkit.Animation.of([image] * 2), steps=1, seed=7, model=model)
    for value in (result, animation, editkit.invert(image, prompt="red", steps=2, model=model)):
        copied = pickle.loads(pickle.dumps(value))
        assert value != copied and {value: 1}[value] == 1 and repr(copied) == repr(value)


def test_an_inversion_is_shown_by_its_image_and_one_line(labels: list[str]) -> None:
    inversion = editkit.invert(LARGE.resize((16, 16)), prompt="red", steps=2, model=ToyBackend())
    _, text = shown(inversion)
    assert text == "<Inversion by pinned: 2 steps, 16 x 16 pixels, prompt 'red', model 'toy'>"
    assert labels == ["inverted by pinned in 2 steps"]


def test_a_model_is_shown_as_a_line_and_a_table() -> None:
    model = ToyBackend()
    model.name = "<b>"
    bundle = model._repr_mimebundle_(include=None, exclude=None)
    assert bundle["text/plain"] == "<ToyBackend '<b>': 16 pixels, float64, cpu>"
    assert "<tr><th>model</th><td>&lt;b&gt;</td></tr>" in bundle["text/html"]
    assert "<th>provides</th><td>text</td>" in bundle["text/html"]
