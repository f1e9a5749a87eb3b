"""``editkit check FOLDER`` compares the images of a model with those of its own pipeline, and can fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from editkit_diffusers.comparison import compare_folder
from editkit_diffusers.stable_diffusion import StableDiffusion

from editkit import MissingCapability
from editkit.cli import main
from editkit.testing.checks import AGREEMENT
from editkit.testing.tiny import FOLDERS, flux_fill_folder, inpainting_folder, upscaler_folder

FROM_AN_IMAGE = ("StableDiffusionUpscalePipeline", "FluxFillPipeline")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("kind", sorted(FOLDERS.keys() - FROM_AN_IMAGE))
def test_images_equal_those_of_the_own_pipeline_to_1e_4(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("editkit_diffusers.comparison._SIDE", 64)
    differences = dict(compare_folder(FOLDERS[kind](tmp_path)))
    assert len(differences) == (1 if kind == "DDPMPipeline" else 2)
    assert max(differences.values()) <= AGREEMENT


@pytest.mark.parametrize("make", [upscaler_folder, flux_fill_folder, inpainting_folder])
def test_a_model_that_samples_from_an_image_is_not_compared(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="samples from an image"):
        next(compare_folder(make(tmp_path)))


@pytest.mark.slow
def test_a_difference_fails_the_check(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = CliRunner().invoke(main, ["check", str(tiny_folder)])
    assert result.exit_code == 0 and "2 passed, 0 failed, 0 skipped" in result.stdout
    assert "a guided image of 4 steps equals that of its own pipeline: largest difference" in result.stdout
    denoise = StableDiffusion.denoise

    def off(self: Any, *inputs: Any) -> Any:
        return denoise(self, *inputs) * 1.01

    monkeypatch.setattr(StableDiffusion, "denoise", off)
    result = CliRunner().invoke(main, ["check", str(tiny_folder)])
    assert result.exit_code == 1 and "0 passed, 2 failed, 0 skipped" in result.stdout


def test_a_name_that_is_neither_registered_nor_a_model_is_refused() -> None:
    result = CliRunner().invoke(main, ["check", "no-such-thing"])
    assert result.exit_code == 2 and "nothing is registered as 'no-such-thing'" in result.stderr
