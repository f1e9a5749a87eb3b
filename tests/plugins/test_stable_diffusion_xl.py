"""SDXL: agreement with diffusers' pipelines to 1e-4 in float32 latents, and its conditions."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

import editkit
from editkit import Backend, InvalidParameter, WeightsUnavailable
from editkit.images.tensors import to_tensor
from editkit.testing import BackendTests, controlnet_folder, stable_diffusion_folder
from editkit.testing.suite import assert_agree, sample_image
from editkit.testing.tiny import controlnet_xl_folder, stable_diffusion_3_folder, stable_diffusion_xl_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SCHEDULERS = {"ddim": DDIMScheduler, "dpmpp-2m": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}
PREDICTIONS = ("epsilon", "v_prediction")
KINDS = ("text", "inpainting", "instructions", "refiner")
PROMPT = "a red apple on white"
IMAGE = sample_image((16, 16))
SEED = 7

each_sampler = pytest.mark.parametrize("sampler", SCHEDULERS)
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
each_guidance = pytest.mark.parametrize("guidance", [1.0, 5.0])


@functools.cache
def load_both(kind: Any = "text", prediction: Any = "epsilon") -> tuple[Any, Any]:
    """One tiny folder, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as directory:
        folder = stable_diffusion_xl_folder(Path(directory), kind, prediction_type=prediction)
        return editkit.load_model(folder, device="cpu"), DiffusionPipeline.from_pretrained(folder)


def run_diffusers(pipeline: Any, sampler: str = "ddim", prompt: str = PROMPT, **arguments: Any) -> Tensor:
    """Latents of a diffusers pipeline; its noise has the seed of editkit's."""
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(SEED)
    latents: Tensor = pipeline(prompt, generator=random, output_type="latent", **arguments).images
    return latents


def run_editkit(operation: str, *image: Any, kind: str = "text", prediction: str = "epsilon", **params: Any) -> Tensor:
    arguments = {"prompt": PROMPT, "seed": SEED, **params}
    latents: Tensor = editkit.apply(operation, *image, model=load_both(kind, prediction)[0], **arguments).latents
    return latents


@torch.no_grad()
def clean(kind: str = "text") -> Tensor:
    """Latents of the image: for latents as image, diffusers skips sampling the autoencoder."""
    latents: Tensor = load_both(kind)[0].encode(to_tensor(IMAGE))
    return latents


# Agreement


@each_prediction
@each_sampler
@each_guidance
def test_generate_agrees_with_diffusers(prediction: str, sampler: str, guidance: float) -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(load_both("text", prediction)[1])
    expected = run_diffusers(pipeline, sampler, num_inference_steps=8, guidance_scale=guidance)
    arguments = {"sampler": sampler, "steps": 8, "guidance": guidance}
    assert_agree(run_editkit("generate", prediction=prediction, **arguments), expected)


@each_prediction
@each_sampler
@each_guidance
def test_img2img_agrees_with_diffusers(prediction: str, sampler: str, guidance: float) -> None:
    pipeline = StableDiffusionXLImg2ImgPipeline.from_pipe(load_both("text", prediction)[1])
    arguments: dict[str, Any] = {"strength": 0.6}
    expected = run_diffusers(
        pipeline, sampler, image=clean(), num_inference_steps=10, guidance_scale=guidance, **arguments
    )
    arguments |= {"sampler": sampler, "steps": 10, "guidance": guidance}
    assert_agree(run_editkit("img2img", IMAGE, prediction=prediction, **arguments), expected)


def test_the_refiner_is_conditioned_on_an_aesthetic_score() -> None:
    """The score of the negative prompt is the same, since a backend embeds all prompts alike."""
    expected = run_diffusers(
        load_both("refiner")[1],
        image=clean("refiner"),
        strength=0.5,
        num_inference_steps=8,
        guidance_scale=5.0,
        negative_aesthetic_score=6.0,
    )
    assert_agree(run_editkit("img2img", IMAGE, kind="refiner", strength=0.5, steps=8, guidance=5.0), expected)


def test_the_size_condition_holds_the_true_size() -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(load_both()[1])
    size = {"width": 32, "height": 16}
    expected = run_diffusers(pipeline, num_inference_steps=4, guidance_scale=1.0, **size)
    assert_agree(run_editkit("generate", steps=4, guidance=1.0, **size), expected)
    other = run_diffusers(pipeline, num_inference_steps=4, guidance_scale=1.0, original_size=(16, 16), **size)
    assert float((other - expected).abs().max()) > 1e-3


def test_a_negative_prompt_replaces_the_empty_prompt() -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(load_both()[1])
    arguments = {"negative_prompt": "blue"}
    expected = run_diffusers(pipeline, num_inference_steps=4, guidance_scale=5.0, **arguments)
    assert_agree(run_editkit("generate", steps=4, guidance=5.0, **arguments), expected)


@torch.no_grad()
def test_each_latent_channel_may_have_a_mean_and_a_deviation(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path)
    rewrite(folder / "vae" / "config.json", latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.0, 2.0, 0.5, 1.5])
    model, pipeline = editkit.load_model(folder, device="cpu"), StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    config = pipeline.vae.config
    mean, deviation = (torch.tensor(config[name]).view(1, 4, 1, 1) for name in ("latents_mean", "latents_std"))
    pixels = pipeline.vae.decode(latents * deviation / config.scaling_factor + mean).sample
    assert torch.allclose(model.decode(latents), (pixels / 2 + 0.5).clamp(0, 1), atol=1e-6)
    raw = pipeline.vae.encode(to_tensor(IMAGE) * 2 - 1).latent_dist.mode()
    latents = (raw - mean) * config.scaling_factor / deviation
    assert torch.allclose(model.encode(to_tensor(IMAGE)), latents, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("write", "entries", "ignored"),
    [
        (
            stable_diffusion_folder,
            {"latents_mean": [0.5] * 4, "latents_std": [2.0] * 4},
            "latents_mean and latents_std are",
        ),
        (stable_diffusion_folder, {"shift_factor": 0.5}, "shift_factor is"),
        (stable_diffusion_xl_folder, {"latents_mean": [0.5] * 4}, "latents_mean is"),
        (stable_diffusion_3_folder, {"latents_std": [2.0] * 16}, "latents_std is"),
    ],
)
def test_statistics_of_latents_that_the_pipeline_leaves_out_are_left_out_and_named(
    write: Any, entries: dict[str, Any], ignored: str, tmp_path: Path
) -> None:
    folder = write(tmp_path / "model")
    plain: Any = editkit.load_model(folder, device="cpu")
    encoded = plain.encode(to_tensor(IMAGE))
    rewrite(folder / "vae" / "config.json", **entries)
    model: Any = editkit.load_model(folder, device="cpu")
    assert torch.equal(model.encode(to_tensor(IMAGE)), encoded)
    assert torch.equal(model.decode(encoded), plain.decode(encoded))
    (note,) = model.warnings
    assert f"the autoencoder's {ignored} left out" in note and plain.warnings == ()


# Conditioning


@torch.no_grad()
@pytest.mark.parametrize("kind", ["text", "refiner"])
def test_an_empty_prompt_is_embedded_as_zeros_if_configured(kind: str) -> None:
    model, pipeline = load_both(kind)
    condition = model.embed(["", PROMPT, ""])
    for name, tensor in condition.items():
        assert bool(tensor[0].any()) == (not pipeline.config.force_zeros_for_empty_prompt), name
        assert bool(tensor[1].any()) and torch.equal(tensor[0], tensor[2])


@torch.no_grad()
def test_every_condition_changes_the_estimate() -> None:
    model = load_both()[0]
    x, point = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), model.schedule.point(500)
    condition = model.embed([PROMPT])
    estimate = model.denoise(x, point, condition)
    for name in condition:
        other = {**condition, name: torch.zeros_like(condition[name])}
        assert float((model.denoise(x, point, other) - estimate).abs().max()) > 1e-4, name


# Edits


class TestRefiner(BackendTests):
    name = "tiny-refiner"

    @classmethod
    def make(cls) -> Backend:
        return load_both("refiner")[0]  # type: ignore[no-any-return]


class TestVelocity(BackendTests):
    name = "tiny-velocity"

    @classmethod
    def make(cls) -> Backend:
        return load_both("text", "v_prediction")[0]  # type: ignore[no-any-return]


def test_each_kind_provides_its_capabilities() -> None:
    extra: dict[str, set[str]] = {"inpainting": {"inpainting"}, "instructions": {"instructions"}}
    for kind in KINDS:
        common = {"text", "controlnet", "adapters", "attention", "style", "feature-reuse"}
        assert load_both(kind)[0].provides == common | extra.get(kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_edit_reconstructs_at_the_bound_of_the_autoencoder(kind: str) -> None:
    arguments = {
        "model": load_both(kind)[0],
        "source": "red",
        "inverter": "pinned",
        "steps": 4,
        "guidance": 5.0,
        "seed": SEED,
    }
    image = sample_image((37, 21))
    report = editkit.apply("prompt-edit", image, target="blue", **arguments).report
    assert report.recon_psnr == report.vae_psnr
    unchanged = editkit.apply("prompt-edit", image, target="red", **arguments)
    assert unchanged.image.tobytes() == image.tobytes()


def test_a_controlnet_of_another_family_is_refused(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"prompt": PROMPT, "steps": 2, "control_image": IMAGE.convert("L")}
    sd, xl = (write(tmp_path / write.__name__) for write in (controlnet_folder, controlnet_xl_folder))
    with pytest.raises(InvalidParameter, match="cross_attention_dim 16 and the model 48"):
        editkit.apply("control", IMAGE, model=load_both()[0], controlnet=str(sd), **arguments)
    with pytest.raises(InvalidParameter, match="a model of another shape"):
        editkit.apply("control", IMAGE, model=load_both("refiner")[0], controlnet=str(xl), **arguments)


# Folders


def rewrite(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_folder(tmp_path / "sd")
    rewrite(folder / "model_index.json", _class_name="StableDiffusionXLPipeline")
    with pytest.raises(WeightsUnavailable, match="its folder names a pipeline of another family"):
        editkit.load_model(folder)


def test_a_refiner_folder_without_its_score_setting_is_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path, "refiner")
    rewrite(folder / "model_index.json", requires_aesthetics_score=False)
    with pytest.raises(WeightsUnavailable, match="set requires_aesthetics_score"):
        editkit.load_model(folder)


def test_a_scheduler_with_continuous_noise_levels_is_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path)
    rewrite(folder / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler")
    with pytest.raises(WeightsUnavailable, match="EDMEulerScheduler"):
        editkit.load_model(folder)


@pytest.mark.parametrize(("upcast", "dtype"), [(True, torch.float32), (False, torch.float16)])
def test_an_autoencoder_that_overflows_in_float16_runs_in_float32(
    tmp_path: Path, upcast: bool, dtype: torch.dtype
) -> None:
    folder = stable_diffusion_xl_folder(tmp_path)
    rewrite(folder / "vae" / "config.json", force_upcast=upcast)
    model: Any = editkit.load_model(folder, device="cpu", dtype="float16")
    assert model.autoencoder.net.dtype is dtype
    assert editkit.apply("generate", model=model, prompt=PROMPT, steps=2, seed=0).image.size == (16, 16)
