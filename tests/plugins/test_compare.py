"""``editkit compare``: the same edit by several inverters, measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import editkit
from editkit.cli import main
from editkit.testing.tiny import stable_diffusion_folder

FOUND = "ddim", "pinned"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, an image, and two possible results of an edit."""
    root = tmp_path_factory.mktemp("compare")
    stable_diffusion_folder(root / "model")
    for name, colour in (("red", (200, 20, 20)), ("green", (20, 180, 20))):
        Image.new("RGB", (16, 16), colour).save(root / f"{name}.png")
    Image.new("RGB", (8, 8)).save(root / "small.png")
    return root


def run(folder: Path, *more: str) -> Result:
    named = [part for name in FOUND for part in ("--inverter", name)]
    given = ["compare", str(folder / "red.png"), "--source", "a red apple", "--target", "a green apple", "--steps", "4"]
    return CliRunner().invoke(main, [*given, "--model", str(folder / "model"), *named, *more])


def test_rows_are_what_single_edits_report(folder: Path) -> None:
    table = json.loads(run(folder, "--json").stdout)
    assert [row["inverter"] for row in table["rows"]] == list(FOUND)
    for row in table["rows"]:
        edit = editkit.apply(
            "prompt-edit",
            folder / "red.png",
            model=str(folder / "model"),
            source="a red apple",
            target="a green apple",
            inverter=row["inverter"],
            steps=4,
            cache=False,
        )
        for name in ("recon_psnr", "vae_psnr", "network_calls", "network_samples"):
            assert row[name] == getattr(edit.report, name), name
        assert row["success"] is None


def test_truth_adds_a_judgement_and_sheet_an_image(folder: Path) -> None:
    sheet = folder / "sheet.png"
    said = run(folder, "--truth", str(folder / "green.png"), "--sheet", str(sheet))
    assert said.exit_code == 0, said.output
    assert "| inverter | recon_psnr |" in said.stdout
    assert "collateral" in said.stdout
    assert editkit.open_image(sheet).width > 256 * (len(FOUND) + 2)


@pytest.mark.parametrize(("truth", "words"), [("small.png", "of one size"), ("red.png", "the same as the image")])
def test_an_unusable_truth_is_refused(folder: Path, truth: str, words: str) -> None:
    said = run(folder, "--truth", str(folder / truth))
    assert said.exit_code == 2
    assert words in said.stderr


def test_without_names_all_inverters_that_serve_the_model_are_compared(folder: Path) -> None:
    from editkit_compare.command import compatible_inverters

    model = editkit.load_model(folder / "model")
    assert (
        set(compatible_inverters(model))
        == {name for name, spec in editkit.inverters().items() if "epsilon" in spec.predictions}
        >= {"ddim", "pinned"}
    )


def test_judgement_of_no_edit_the_whole_edit_and_a_stray_edit() -> None:
    source, target, beside = np.zeros((3, 2, 2))
    target[0, 0], beside[1, 1] = 1, 1
    assert editkit.judge(source, target, source) == (0, 0, False)
    assert editkit.judge(source, target, target) == (1, 0, True)
    assert editkit.judge(source, target, beside) == pytest.approx((0, 1, False))
