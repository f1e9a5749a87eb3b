"""Every registered backend passes its suite, and so do the toy and other tiny models."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import editkit
from editkit import Backend, RectifiedFlow
from editkit.registry.registry import installed
from editkit.testing import BackendTests, ToyBackend, pixel_ddpm_folder, stable_diffusion_folder, suite_of

for _name in installed().specs["backends"]:
    _suite = suite_of("backends", _name)
    globals()[_suite.__name__] = _suite


class TestToy(BackendTests):
    name = "toy"
    tolerance = 1e-12

    @classmethod
    def make(cls) -> Backend:
        return ToyBackend()


class TestToyOfBlocks(TestToy):
    @classmethod
    def make(cls) -> Backend:
        return ToyBackend(reduction=8)


class TestToyFlow(TestToy):
    @classmethod
    def make(cls) -> Backend:
        return ToyBackend(schedule=RectifiedFlow(shift=3.0))


class TestTinyAutoencoder(BackendTests):
    name = "stable-diffusion"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return stable_diffusion_folder(path, tiny_autoencoder=True)


class TestVelocity(BackendTests):
    name = "stable-diffusion"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return stable_diffusion_folder(path, prediction_type="v_prediction")


def test_folders_load_in_diffusers_unchanged(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, StableDiffusionPipeline

    for tiny in (False, True):
        folder = stable_diffusion_folder(tmp_path / f"sd {tiny}", tiny_autoencoder=tiny)
        pipeline = StableDiffusionPipeline.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        assert pipeline("a red apple", num_inference_steps=2).images[0].size == (16, 16)
    pipeline = DDPMPipeline.from_pretrained(pixel_ddpm_folder(tmp_path / "pixel"))
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline(num_inference_steps=2).images[0].size == (16, 16)


def test_seeds_determine_weights_and_identities(tmp_path: Path) -> None:
    folders = [stable_diffusion_folder(tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, again, other = (editkit.load_model(folder) for folder in folders)
    assert first.identity == again.identity != other.identity
    x = torch.zeros(first.latent_shape(16, 16))[None]
    point = first.schedule.point(500)
    estimates = [model.denoise(x, point, model.embed(["a red apple"])) for model in (first, again, other)]
    assert torch.equal(estimates[0], estimates[1])
    assert not torch.equal(estimates[0], estimates[2])


def test_the_toy_encodes_without_loss() -> None:
    pixels = torch.rand((2, 3, 16, 32), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for reduction in (1, 2, 8):
        backend = ToyBackend(reduction=reduction)
        assert torch.allclose(backend.decode(backend.encode(pixels)), pixels, rtol=0, atol=1e-15)


def test_the_toy_generates_each_prompt_in_its_colour() -> None:
    for schedule in (None, RectifiedFlow()):
        model = ToyBackend(variance=1e-6, schedule=schedule)
        for prompt in ("a red apple", "a green apple"):
            result = editkit.apply(
                "generate", model=model, prompt=prompt, guidance=1.0, steps=20, seed=0, sampler="heun"
            )
            expected = model.embed([prompt])["text"][0]
            assert torch.allclose(result.latents.mean((0, 2, 3)), expected, atol=0.02), prompt


@pytest.mark.parametrize("tiny", [False, True])
def test_text_and_pixel_models_run_every_supported_operation(tmp_path: Path, tiny: bool) -> None:
    from editkit.testing.suite import sample_image

    models = [editkit.load_model(stable_diffusion_folder(tmp_path / "sd", tiny_autoencoder=tiny))]
    models += [editkit.load_model(pixel_ddpm_folder(tmp_path / "pixel"))]
    for model in models:
        assert editkit.apply("generate", model=model, steps=2, seed=0).image.size == (16, 16)
        assert editkit.apply("img2img", sample_image((9, 5)), model=model, steps=3, seed=0).image.size == (9, 5)
        inversion = editkit.invert(sample_image((16, 16)), model=model, steps=3)
        report = editkit.reconstruct(inversion, model=model).report
        assert report.recon_psnr == report.vae_psnr


def test_weights_are_channels_last_and_results_are_not(tmp_path: Path) -> None:
    """Rounding depends on the layout, and an inversion from a file must give the same results as a new one."""
    model = editkit.load_model(stable_diffusion_folder(tmp_path))
    kernel = model.unet.mid_block.resnets[0].conv1.weight  # type: ignore[attr-defined]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        latents = model.encode(torch.rand(2, 3, 32, 32))
        estimate = model.denoise(latents, model.schedule.point(500), model.embed(["a pear"] * 2))
        results = (latents, estimate, model.decode(latents))
    assert all(tensor.is_contiguous() for tensor in results)
