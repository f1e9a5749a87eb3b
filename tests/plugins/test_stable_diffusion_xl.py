"""SDXL: agreement with diffusers' pipelines to 1e-4 in float32 latents, and the laws of its conditioning."""

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
from editkit.testing.tiny import controlnet_xl_folder, stable_diffusion_xl_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCHEDULERS = {"ddim": DDIMScheduler, "dpmpp-2m": DPMSolverMultistepScheduler, "euler": EulerDiscreteScheduler}
PREDICTIONS = ("epsilon", "v_prediction")
KINDS = ("text", "inpainting", "instructions", "refiner")
PROMPT = "a red apple on white"
PICTURE = sample_image((16, 16))
SEED = 7

each_sampler = pytest.mark.parametrize("sampler", SCHEDULERS)
each_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)
each_guidance = pytest.mark.parametrize("guidance", [1.0, 5.0])


@functools.cache
def both(kind: Any = "text", prediction: Any = "epsilon") -> tuple[Any, Any]:
    """One tiny folder, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as made:
        folder = stable_diffusion_xl_folder(Path(made), kind, prediction_type=prediction)
        return editkit.load_model(folder, device="cpu"), DiffusionPipeline.from_pretrained(folder)


def theirs(pipeline: Any, sampler: str = "ddim", prompt: str = PROMPT, **arguments: Any) -> Tensor:
    """The latents of a diffusers pipeline; its noise is of the seed that editkit's is of."""
    pipeline.scheduler = SCHEDULERS[sampler].from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(SEED)
    latents: Tensor = pipeline(prompt, generator=random, output_type="latent", **arguments).images
    return latents


def ours(operation: str, *picture: Any, kind: str = "text", prediction: str = "epsilon", **params: Any) -> Tensor:
    given = {"prompt": PROMPT, "seed": SEED, **params}
    latents: Tensor = editkit.apply(operation, *picture, model=both(kind, prediction)[0], **given).latents
    return latents


@torch.no_grad()
def clean(kind: str = "text") -> Tensor:
    """The image's latents: given latents for an image, diffusers does not draw a sample of them."""
    latents: Tensor = both(kind)[0].encode(to_tensor(PICTURE))
    return latents


# Agreement


@each_prediction
@each_sampler
@each_guidance
def test_generate(prediction: str, sampler: str, guidance: float) -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(both("text", prediction)[1])
    wanted = theirs(pipeline, sampler, num_inference_steps=8, guidance_scale=guidance)
    given = {"sampler": sampler, "steps": 8, "guidance": guidance}
    assert_agree(ours("generate", prediction=prediction, **given), wanted)


@each_prediction
@each_sampler
@each_guidance
def test_img2img(prediction: str, sampler: str, guidance: float) -> None:
    pipeline = StableDiffusionXLImg2ImgPipeline.from_pipe(both("text", prediction)[1])
    given: dict[str, Any] = {"strength": 0.6}
    wanted = theirs(pipeline, sampler, image=clean(), num_inference_steps=10, guidance_scale=guidance, **given)
    given |= {"sampler": sampler, "steps": 10, "guidance": guidance}
    assert_agree(ours("img2img", PICTURE, prediction=prediction, **given), wanted)


def test_the_refiner_is_conditioned_on_an_aesthetic_score() -> None:
    """The same for the negative prompt: a backend does not know which prompt is the negative one."""
    wanted = theirs(
        both("refiner")[1],
        image=clean("refiner"),
        strength=0.5,
        num_inference_steps=8,
        guidance_scale=5.0,
        negative_aesthetic_score=6.0,
    )
    assert_agree(ours("img2img", PICTURE, kind="refiner", strength=0.5, steps=8, guidance=5.0), wanted)


def test_the_size_condition_holds_the_true_size() -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(both()[1])
    size = {"width": 32, "height": 16}
    wanted = theirs(pipeline, num_inference_steps=4, guidance_scale=1.0, **size)
    assert_agree(ours("generate", steps=4, guidance=1.0, **size), wanted)
    lied = theirs(pipeline, num_inference_steps=4, guidance_scale=1.0, original_size=(16, 16), **size)
    assert float((lied - wanted).abs().max()) > 1e-3


def test_a_negative_prompt_is_no_empty_prompt() -> None:
    pipeline = StableDiffusionXLPipeline.from_pipe(both()[1])
    given = {"negative_prompt": "blue"}
    wanted = theirs(pipeline, num_inference_steps=4, guidance_scale=5.0, **given)
    assert_agree(ours("generate", steps=4, guidance=5.0, **given), wanted)


@torch.no_grad()
def test_latents_may_have_a_mean_and_a_deviation_each(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path)
    rewrite(folder / "vae" / "config.json", latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.0, 2.0, 0.5, 1.5])
    model, pipeline = editkit.load_model(folder, device="cpu"), StableDiffusionXLPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    config = pipeline.vae.config
    mean, deviation = (torch.tensor(config[name]).view(1, 4, 1, 1) for name in ("latents_mean", "latents_std"))
    pixels = pipeline.vae.decode(latents * deviation / config.scaling_factor + mean).sample
    assert torch.allclose(model.decode(latents), (pixels / 2 + 0.5).clamp(0, 1), atol=1e-6)
    seen = pipeline.vae.encode(to_tensor(PICTURE) * 2 - 1).latent_dist.mode()
    latents = (seen - mean) * config.scaling_factor / deviation
    assert torch.allclose(model.encode(to_tensor(PICTURE)), latents, atol=1e-6)


# Conditioning


@torch.no_grad()
@pytest.mark.parametrize("kind", ["text", "refiner"])
def test_an_empty_prompt_embeds_as_zeros_where_the_model_is_so_configured(kind: str) -> None:
    model, pipeline = both(kind)
    condition = model.embed(["", PROMPT, ""])
    for name, tensor in condition.items():
        assert bool(tensor[0].any()) == (not pipeline.config.force_zeros_for_empty_prompt), name
        assert bool(tensor[1].any()) and torch.equal(tensor[0], tensor[2])


@torch.no_grad()
def test_every_condition_changes_the_estimate() -> None:
    model = both()[0]
    x, point = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0)), model.schedule.point(500)
    condition = model.embed([PROMPT])
    answer = model.denoise(x, point, condition)
    for name in condition:
        other = {**condition, name: torch.zeros_like(condition[name])}
        assert float((model.denoise(x, point, other) - answer).abs().max()) > 1e-4, name


# Edits


class TestRefiner(BackendTests):
    name = "tiny-refiner"

    @classmethod
    def make(cls) -> Backend:
        return both("refiner")[0]  # type: ignore[no-any-return]


class TestVelocity(BackendTests):
    name = "tiny-velocity"

    @classmethod
    def make(cls) -> Backend:
        return both("text", "v_prediction")[0]  # type: ignore[no-any-return]


def test_each_kind_provides_its_capabilities() -> None:
    more: dict[str, set[str]] = {"inpainting": {"inpainting"}, "instructions": {"instructions"}}
    for kind in KINDS:
        assert both(kind)[0].provides == {"text", "controlnet", "adapters"} | more.get(kind, set())


@pytest.mark.parametrize("kind", KINDS)
def test_a_pinned_edit_reconstructs_at_the_bound_of_the_autoencoder(kind: str) -> None:
    given = {"model": both(kind)[0], "source": "red", "inverter": "pinned", "steps": 4, "guidance": 5.0, "seed": SEED}
    picture = sample_image((37, 21))
    report = editkit.apply("prompt-edit", picture, target="blue", **given).report
    assert report.recon_psnr == report.vae_psnr
    unchanged = editkit.apply("prompt-edit", picture, target="red", **given)
    assert unchanged.image.tobytes() == picture.tobytes()


def test_a_controlnet_of_another_family_is_refused(tmp_path: Path) -> None:
    given: dict[str, Any] = {"prompt": PROMPT, "steps": 2, "control_image": PICTURE.convert("L")}
    sd, xl = (write(tmp_path / write.__name__) for write in (controlnet_folder, controlnet_xl_folder))
    with pytest.raises(InvalidParameter, match="cross_attention_dim 16 and the model 48"):
        editkit.apply("control", PICTURE, model=both()[0], controlnet=str(sd), **given)
    with pytest.raises(InvalidParameter, match="a model of another shape"):
        editkit.apply("control", PICTURE, model=both("refiner")[0], controlnet=str(xl), **given)


# Folders


def rewrite(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_a_folder_of_another_family_is_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_folder(tmp_path / "sd")
    rewrite(folder / "model_index.json", _class_name="StableDiffusionXLPipeline")
    with pytest.raises(WeightsUnavailable, match="its folder names a pipeline of another family"):
        editkit.load_model(folder)


def test_a_folder_that_hides_its_score_is_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path, "refiner")
    rewrite(folder / "model_index.json", requires_aesthetics_score=False)
    with pytest.raises(WeightsUnavailable, match="set requires_aesthetics_score"):
        editkit.load_model(folder)


def test_noise_levels_that_no_table_holds_are_refused(tmp_path: Path) -> None:
    folder = stable_diffusion_xl_folder(tmp_path)
    rewrite(folder / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler")
    with pytest.raises(WeightsUnavailable, match="EDMEulerScheduler"):
        editkit.load_model(folder)


@pytest.mark.parametrize(("upcast", "runs_in"), [(True, torch.float32), (False, torch.float16)])
def test_an_autoencoder_that_overflows_in_half_precision_runs_in_full(
    tmp_path: Path, upcast: bool, runs_in: torch.dtype
) -> None:
    folder = stable_diffusion_xl_folder(tmp_path)
    rewrite(folder / "vae" / "config.json", force_upcast=upcast)
    model: Any = editkit.load_model(folder, device="cpu", dtype="float16")
    assert model.autoencoder.net.dtype is runs_in
    assert editkit.apply("generate", model=model, prompt=PROMPT, steps=2, seed=0).image.size == (16, 16)
