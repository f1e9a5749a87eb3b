"""Scheduler configurations mean what their class means by them: the points of a path are those of diffusers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from editkit_diffusers.scheduler_config import grid_of, prediction_of, read_config, schedule_of

import editkit
from editkit import WeightsUnavailable, make_path

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SINGLE, MULTI = ("EulerDiscreteScheduler", "HeunDiscreteScheduler"), ("DPMSolverMultistepScheduler",)
FLOW = "FlowMatchEulerDiscreteScheduler"
TOLERANCE = 1e-4
"""Of sigma / alpha and of sigma, relative to 1 + their value; diffusers computes them in float32."""


def read(tmp_path: Path, name: str, **config: Any) -> dict[str, Any]:
    (tmp_path / "scheduler").mkdir(exist_ok=True)
    (tmp_path / "scheduler/scheduler_config.json").write_text(json.dumps({"_class_name": name, **config}))
    return read_config(tmp_path)


def levels(config: dict[str, Any], steps: int) -> list[float]:
    """Noise levels of a path; DPM-Solver counts the clean end among even steps."""
    extra = config["_class_name"] in MULTI
    path = make_path(schedule_of(config), steps, grid_of(config), extra_node=extra, to_zero=True)
    return [point.sigma if config["_class_name"] == FLOW else point.sigma / point.alpha for point in path]


def theirs(config: dict[str, Any], steps: int) -> list[float]:
    scheduler = getattr(diffusers, config["_class_name"]).from_config(config)
    scheduler.set_timesteps(steps)
    sigmas = scheduler.sigmas.tolist()
    # Heun takes each sigma but the first and the last twice.
    return sigmas[:1] + sigmas[1:-1:2] + sigmas[-1:] if config["_class_name"].startswith("Heun") else sigmas


RAMPS: tuple[dict[str, Any], ...] = (
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
)
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, BETAS) for name in MULTI),
    *((name, BETAS | {"timestep_spacing": "leading", "steps_offset": 1}) for name in (*SINGLE, *MULTI)),
    *((name, BETAS | {"timestep_spacing": "trailing"}) for name in (*SINGLE, *MULTI)),
    *((name, BETAS | {"timestep_spacing": "leading"} | ramp) for name in (*SINGLE, *MULTI) for ramp in RAMPS),
    *((name, BETAS | ramp) for name in (*SINGLE, *MULTI) for ramp in RAMPS),
    ("DPMSolverMultistepScheduler", BETAS | {"use_lu_lambdas": True}),
    *((FLOW, {"shift": 3.0} | ramp) for ramp in ({}, *RAMPS)),
]


@pytest.mark.parametrize(("name", "config"), CASES, ids=[f"{name} {sorted(config)}" for name, config in CASES])
def test_noise_levels_are_those_of_the_scheduler(tmp_path: Path, name: str, config: dict[str, Any]) -> None:
    read_in = read(tmp_path, name, **config)
    for steps in (2, 5, 20):
        for ours, reference in zip(levels(read_in, steps), theirs(read_in, steps), strict=True):
            assert abs(ours - reference) < TOLERANCE * (1 + reference), steps


def test_a_missing_key_has_the_default_of_its_class(tmp_path: Path) -> None:
    assert grid_of(read(tmp_path, "EulerDiscreteScheduler")).spacing == "linspace"
    assert grid_of(read(tmp_path, "PNDMScheduler")).spacing == "leading"
    assert grid_of(read(tmp_path, "DDIMScheduler")).ends_clean
    assert not grid_of(read(tmp_path, "PNDMScheduler")).ends_clean
    assert grid_of(read(tmp_path, "LCMScheduler")).distilled == 50
    assert schedule_of(read(tmp_path, "DDIMScheduler")).train_steps == 1000


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("EDMEulerScheduler", {}),
    ("VQDiffusionScheduler", {}),
    ("EulerDiscreteScheduler", {"use_karras_sigmas": True, "use_beta_sigmas": True}),
    ("EulerDiscreteScheduler", {"sigma_max": 10.0}),
    ("EulerDiscreteScheduler", {"timestep_type": "continuous"}),
    ("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}),
    ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}),
    ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}),
    ("DDIMScheduler", {"thresholding": True}),
    ("DDIMScheduler", {"timestep_spacing": "even"}),
    ("DDIMScheduler", {"prediction_type": "flow_prediction"}),
    ("DDIMScheduler", {"beta_schedule": "sigmoid"}),
    (FLOW, {"invert_sigmas": True}),
    (FLOW, {"time_shift_type": "cubic", "use_dynamic_shifting": True}),
    ("DDIMScheduler", {"trained_betas": [0.001] * 10}),
    ("DPMSolverMultistepScheduler", {"lambda_min_clipped": -1.0}),
]


@pytest.mark.parametrize(("name", "config"), REFUSED)
def test_what_is_not_supported_is_refused_by_name(tmp_path: Path, name: str, config: dict[str, Any]) -> None:
    with pytest.raises(WeightsUnavailable, match=next(iter(config), name)):
        read_in = read(tmp_path, name, **config)
        schedule_of(read_in), grid_of(read_in), prediction_of(read_in)


def test_options_that_a_class_lacks_are_left_out_as_by_diffusers(tmp_path: Path) -> None:
    """They stay behind where a scheduler is replaced by its name alone."""
    ancestral = read(tmp_path, "EulerAncestralDiscreteScheduler", **BETAS, use_karras_sigmas=True)
    assert grid_of(ancestral).spacing == "linspace"
    with pytest.raises(WeightsUnavailable, match="IPNDMScheduler, which has no table of betas"):
        schedule_of(read(tmp_path, "IPNDMScheduler", **BETAS))
    unclipped = read(tmp_path, "DPMSolverMultistepScheduler", **BETAS, lambda_min_clipped=-5.1)
    assert schedule_of(unclipped) == schedule_of({**unclipped, "lambda_min_clipped": None})


def test_two_classes_of_one_scheduler_and_clipped_latents_are_warned_of(tiny_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    config = {"_class_name": "EulerDiscreteScheduler", **BETAS, "clip_sample": True}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    (warning,) = editkit.load_model(folder).warnings  # type: ignore[attr-defined]
    assert "EulerDiscreteScheduler, which is used" in warning and "timestep_spacing" in warning
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config | {"_class_name": "DDIMScheduler"}))
    assert editkit.load_model(folder).warnings == ()  # type: ignore[attr-defined]
    index = json.loads((folder / "model_index.json").read_text())
    index["_class_name"] = "StableDiffusionInstructPix2PixPipeline"  # it does not switch clipping off
    (folder / "model_index.json").write_text(json.dumps(index))
    (warning,) = editkit.load_model(folder).warnings  # type: ignore[attr-defined]
    assert "clip_sample is true and is left out" in warning


@pytest.mark.slow
@pytest.mark.parametrize("ramp", [*RAMPS, {"use_lu_lambdas": True}])
def test_a_solver_samples_on_its_noise_levels_what_diffusers_samples(
    tiny_folder: Path, tmp_path: Path, ramp: dict[str, Any]
) -> None:
    """The schedulers of this family evaluate the network at whole timesteps near the levels."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    config = {"_class_name": MULTI[0], **BETAS, "steps_offset": 1, **ramp}
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", MULTI[0]]}))
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.Generator().manual_seed(0)
    call: dict[str, Any] = {
        "num_inference_steps": 5,
        "guidance_scale": 1.0,
        "generator": noise,
        "output_type": "latent",
    }
    expected = pipeline("a red apple", **call).images
    ours: dict[str, Any] = {"sampler": "dpmpp-2m", "steps": 5, "seed": 0, "guidance": 1.0}
    created = editkit.apply("generate", model=str(folder), prompt="a red apple", **ours)
    assert (created.latents - expected).abs().max() < 1e-3, "of latents up to 40"
