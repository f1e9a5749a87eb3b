"""The usual settings of families: what their files say, and that an edit without settings is the pipeline's own."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline, EulerAncestralDiscreteScheduler
from editkit_diffusers.flux_tokens import unpack
from torch import Tensor

import editkit
from editkit.testing import stable_diffusion_folder
from editkit.testing.suite import assert_agree
from editkit.testing.tiny import (
    dit_folder,
    flux_fill_folder,
    flux_folder,
    flux_kontext_folder,
    latent_consistency_folder,
    pixart_folder,
    stable_diffusion_3_folder,
    stable_diffusion_xl_folder,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

PROMPT = "a red apple on white"


def changed(write: Callable[[Path], Path], path: Path, part: str, name: str = "config.json", **values: Any) -> Path:
    """A tiny folder with other values in the configuration of a part."""
    folder = write(path)
    file = folder / part / name
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return folder


def scheduled(write: Callable[[Path], Path], path: Path, kind: str, **values: Any) -> Path:
    """A tiny folder with another scheduler."""
    folder = changed(write, path, "scheduler", "scheduler_config.json", _class_name=kind, **values)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", kind]}))
    return folder


def turbo(path: Path, spacing: str = "trailing", side: int = 64) -> Path:
    folder = scheduled(
        stable_diffusion_xl_folder, path, EulerAncestralDiscreteScheduler.__name__, timestep_spacing=spacing
    )
    return changed(lambda _: folder, path, "unet", sample_size=side)


schnell = functools.partial(flux_folder, distilled=False, scheduler={"shift": 1.0})
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any]]] = {
    "FLUX.1 dev": (flux_folder, {"steps": 28, "guidance": 3.5}),
    "FLUX.1 schnell": (schnell, {"steps": 4, "guidance": 1.0}),
    "FLUX.1 dev undone": (functools.partial(flux_folder, distilled=False), {"steps": 28, "guidance": 3.5}),
    "FLUX.1 Fill": (flux_fill_folder, {"steps": 50, "guidance": 30.0}),
    "FLUX.1 Kontext": (flux_kontext_folder, {"steps": 28, "guidance": 2.5}),
    "SD 3.5 Medium": (stable_diffusion_3_folder, {"steps": 40, "guidance": 4.5}),
    "PixArt": (pixart_folder, {"steps": 20, "guidance": 4.5, "sampler": "dpmpp-2m"}),
    "DiT": (dit_folder, {"steps": 50, "guidance": 4.0}),
    "latent consistency": (latent_consistency_folder, {"steps": 4, "guidance": 8.5, "sampler": "lcm"}),
    "SD with a scheduler for LCM": (
        lambda path: scheduled(stable_diffusion_folder, path, "LCMScheduler"),
        {"steps": 4, "guidance": 1.0, "sampler": "lcm"},
    ),
    "SD 3 that adds fresh noise": (
        lambda path: scheduled(stable_diffusion_3_folder, path, "FlowMatchLCMScheduler", shift=3.0),
        {"steps": 40, "guidance": 4.5, "sampler": "lcm"},
    ),
    "FLUX.1 that adds fresh noise": (
        lambda path: scheduled(flux_folder, path, "FlowMatchLCMScheduler"),
        {"steps": 28, "guidance": 3.5, "sampler": "lcm"},
    ),
    "FLUX.1 of stochastic steps": (
        lambda path: scheduled(flux_folder, path, "FlowMatchEulerDiscreteScheduler", stochastic_sampling=True),
        {"steps": 28, "guidance": 3.5, "sampler": "lcm"},
    ),
    "SDXL Turbo": (turbo, {"steps": 4, "guidance": 1.0, "sampler": "euler-a"}),
    "SDXL of ancestral steps": (lambda path: turbo(path, "leading"), {}),
    "SDXL of trailing steps": (lambda path: turbo(path, side=128), {}),
    "SD": (stable_diffusion_folder, {}),
    "SDXL": (stable_diffusion_xl_folder, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_files_of_a_family_decide_its_usual_settings(name: str, tmp_path: Path) -> None:
    write, expected = CASES[name]
    assert dict(editkit.load_model(write(tmp_path), device="cpu").usual) == expected  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("FLUX.1 dev", {}),
        ("FLUX.1 schnell", {"num_inference_steps": 4, "guidance_scale": 0.0}),
        ("latent consistency", {}),
        ("SD 3 that adds fresh noise", {"num_inference_steps": 40, "guidance_scale": 4.5}),
        ("PixArt", {"use_resolution_binning": False, "clean_caption": False}),
    ],
)
def test_an_image_without_settings_is_the_pipeline_s_own(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    """``arguments`` are those of its publication where they differ from the defaults of the pipeline's call."""
    folder = CASES[name][0](tmp_path)
    model, pipeline = editkit.load_model(folder, device="cpu"), DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    # The generator is torch's own, from which some schedulers draw their noise whatever they are given.
    size = {"width": 16, "height": 16, "output_type": "latent"}
    theirs: Tensor = pipeline(PROMPT, generator=torch.manual_seed(7), **size, **arguments).images
    ours = editkit.apply("generate", model=model, prompt=PROMPT, seed=7, width=16, height=16)
    assert_agree(ours.latents, unpack(theirs, 8, 8) if theirs.ndim == 3 else theirs)
    assert ours.report.warnings == ()
