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

INVERTERS = "ddim", "pinned"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a model, an image and two possible results of an edit."""
    root = tmp_path_factory.mktemp("compare")
    stable_diffusion_folder(root / "model")
    for name, colour in (("red", (200, 20, 20)), ("green", (20, 180, 20))):
        Image.new("RGB", (16, 16), colour).save(root / f"{name}.png")
    Image.new("RGB", (8, 8)).save(root / "small.png")
    return root


def run(folder: Path, *more: str) -> Result:
    options = [part for name in INVERTERS for part in ("--inverter", name)]
    arguments = [
        "compare",
        str(folder / "red.png"),
        "--source",
        "a red apple",
        "--target",
        "a green apple",
        "--steps",
        "4",
    ]
    return CliRunner().invoke(main, [*arguments, "--model", str(folder / "model"), *options, *more])


@pytest.mark.slow
def test_rows_equal_the_reports_of_single_edits(folder: Path) -> None:
    table = json.loads(run(folder, "--json").stdout)
    assert [row["inverter"] for row in table["rows"]] == list(INVERTERS)
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
    result = run(folder, "--truth", str(folder / "green.png"), "--sheet", str(sheet))
    assert result.exit_code == 0, result.output
    assert "| inverter | recon_psnr |" in result.stdout
    assert "collateral" in result.stdout
    assert editkit.open_image(sheet).width > 256 * (len(INVERTERS) + 2)


def test_a_sheet_that_exists_is_replaced_with_a_line_unless_it_is_an_input(folder: Path) -> None:
    sheet, red = folder / "old.png", (folder / "red.png").read_bytes()
    sheet.write_bytes(b"old")
    assert run(folder, "--sheet", str(sheet)).stderr.count(f"Replaced: {str(sheet)!r}") == 1
    assert editkit.open_image(sheet).width > 256
    refused = run(folder, "--sheet", str(folder / "red.png"))
    assert refused.exit_code == 2 and "would replace another file" in refused.stderr
    assert (folder / "red.png").read_bytes() == red


@pytest.mark.parametrize(("truth", "message"), [("small.png", "of one size"), ("red.png", "the same as the image")])
def test_an_unusable_truth_is_refused(folder: Path, truth: str, message: str) -> None:
    result = run(folder, "--truth", str(folder / truth))
    assert result.exit_code == 2
    assert message in result.stderr


def test_compare_uses_every_inverter_that_supports_the_model(folder: Path) -> None:
    from editkit_compare.command import compatible_inverters

    model = editkit.load_model(folder / "model")
    assert (
        set(compatible_inverters(model))
        == {name for name, spec in editkit.inverters().items() if "epsilon" in spec.predictions}
        >= {"ddim", "pinned"}
    )


def test_judge_rates_no_edit_a_full_edit_and_a_stray_edit() -> None:
    source, target, stray = np.zeros((3, 2, 2))
    target[0, 0], stray[1, 1] = 1, 1
    assert editkit.judge(source, target, source) == (0, 0, False)
    assert editkit.judge(source, target, target) == (1, 0, True)
    assert editkit.judge(source, target, stray) == pytest.approx((0, 1, False))
