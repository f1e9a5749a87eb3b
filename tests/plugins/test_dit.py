"""Class-conditional models: agreement with diffusers' DiT pipeline, classes as prompts, and edits of their images."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiTPipeline, DPMSolverMultistepScheduler
from torch import Tensor

import editkit
from editkit import Backend, InvalidParameter, MissingCapability
from editkit.testing import BackendTests, pixel_ddpm_folder, replaced
from editkit.testing.suite import largest, sample_image
from editkit.testing.tiny import dit_folder

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


class TestPixelsByClasses(BackendTests):
    name = "pixel-ddpm"

    @classmethod
    def folder(cls, path: Path) -> Path:
        return pixel_ddpm_folder(path, classes=3)

    def prompts(self, rows: int) -> list[str]:
        return ["0", "2", "1"][:rows]

    @replaced("its spec names what every model of the family provides, and this one provides more")
    def test_says_what_it_is(self) -> None:
        assert self.backend().provides == {"text"}


@functools.cache
def load_both() -> tuple[Backend, Any]:
    """One tiny model, loaded by editkit and by diffusers."""
    with tempfile.TemporaryDirectory() as directory:
        folder = dit_folder(Path(directory))
        return editkit.load_model(folder, device="cpu"), DiTPipeline.from_pretrained(folder)


def diffusers_latents(sampler: str, guidance: float, steps: int) -> Tensor:
    """Latents that diffusers' pipeline decodes; it has no option to return them."""
    pipeline = load_both()[1]
    schedulers = {"ddim": load_both()[1].scheduler, "dpmpp-2m": DPMSolverMultistepScheduler}
    if sampler == "dpmpp-2m":
        pipeline = DiTPipeline(
            pipeline.transformer, pipeline.vae, schedulers[sampler].from_config(pipeline.scheduler.config)
        )
    pipeline.set_progress_bar_config(disable=True)
    recorded: list[Tensor] = []
    with pipeline.vae.post_quant_conv.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0])):
        pipeline([1], guidance, torch.Generator().manual_seed(7), num_inference_steps=steps, output_type="pt")
    return recorded[0] * pipeline.vae.config.scaling_factor


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp-2m"])
def test_generate_agrees_with_diffusers(sampler: str) -> None:
    for guidance, steps in ((4.0, 5), (1.0, 5), (4.0, 20)):
        expected = diffusers_latents(sampler, guidance, steps)
        ours = editkit.apply(
            "generate",
            model=load_both()[0],
            prompt="a green apple",
            sampler=sampler,
            steps=steps,
            guidance=guidance,
            seed=7,
        )
        assert float(expected.std()) > 0.1, "nothing to compare"
        assert largest(ours.latents - expected) < 1e-4


def test_patches_of_wide_and_high_latents_keep_their_positions() -> None:
    model: Any = load_both()[0]
    recorded: list[Tensor] = []
    with model.transformer.proj_out_2.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0])):
        for size in ((16, 16), (32, 16), (16, 48), (4, 12)):
            channels, height, width = model.latent_shape(*size)
            x = torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0))
            output = model.predict(x, torch.tensor([500.0, 20.0]), model.embed(["3", "pear"])["classes"])
            patches = model.transformer.proj_out_2(recorded[-1])
            for row, column in ((0, 0), (height // 2 - 1, width // 2 - 1), (0, width // 2 - 1)):
                patch = patches[:, row * (width // 2) + column].view(2, 2, 2, 8).permute(0, 3, 1, 2)
                square = output[..., 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                assert torch.allclose(square, patch, atol=1e-6)


def test_classes_are_found_by_name_and_number() -> None:
    model = load_both()[0]
    rows = {prompt: int(model.embed([prompt])["classes"].argmax()) for prompt in ("A  Face", "pear", "999", "0", "")}
    assert rows == {"A  Face": 3, "pear": 2, "999": 999, "0": 0, "": 1000}


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a yellow paer", r"'a yellow paer' is no class of this model; did you mean 'a yellow pear'.*\?"),
        ("zzz", r"'zzz' is no class of this model; give a name such as 'a face' or a number from 0 to 999"),
        ("1000", r"'1000' is no class of this model; give a name .* or a number from 0 to 999"),
    ],
)
def test_a_prompt_that_is_no_class_is_refused(prompt: str, message: str) -> None:
    with pytest.raises(InvalidParameter, match=message) as caught:
        editkit.apply("generate", model=load_both()[0], prompt=prompt, steps=1)
    assert "\n" not in str(caught.value)


def test_the_error_for_an_ambiguous_class_name_asks_for_its_number() -> None:
    from editkit_diffusers.class_labels import Classes

    classes = Classes(1000, 1001, {"134": "crane", "517": "crane", "5": "tench, Tinca tinca"})
    assert classes.row("tinca TINCA") == 5
    with pytest.raises(InvalidParameter, match=r"'crane' is the name of classes \[134, 517\]: give the number of one"):
        classes.row("crane")


def test_the_estimate_of_blended_classes_lies_between_their_estimates() -> None:
    model = load_both()[0]
    prompts = model.embed(["0", "1"])
    x = torch.randn(1, *model.latent_shape(16, 16), generator=torch.Generator().manual_seed(0))
    point = model.schedule.point(500)
    estimates = [
        model.denoise(x, point, editkit.blend_conditions(prompts, torch.tensor([[1 - share, share]])))
        for share in (0.0, 0.5, 1.0)
    ]
    assert torch.equal(estimates[0], model.denoise(x, point, model.embed(["0"])))
    assert torch.equal(estimates[2], model.denoise(x, point, model.embed(["1"])))
    assert largest(estimates[1] - estimates[0]) < largest(estimates[2] - estimates[0])


def test_a_pinned_source_is_reconstructed() -> None:
    edit = functools.partial(
        editkit.apply, "prompt-edit", sample_image((20, 14)), model=load_both()[0], steps=4, seed=0
    )
    report = edit(source="a red apple", target="2", inverter="pinned", guidance=4.0).report
    assert report.recon_psnr == report.vae_psnr
    same = edit(source="0", target="a red apple", guidance=4.0).image
    assert same.tobytes() == sample_image((20, 14)).tobytes()


def test_class_conditional_pixel_models_sample_their_classes(tmp_path: Path) -> None:
    model = editkit.load_model(pixel_ddpm_folder(tmp_path / "classes", classes=3))
    generate = functools.partial(editkit.apply, "generate", model=model, steps=2, guidance=1.0, seed=0)
    assert generate(prompt="0").image.tobytes() != generate(prompt="1").image.tobytes()
    with pytest.raises(InvalidParameter, match=r"an empty prompt is no class.*a number from 0 to 2"):
        generate()
    report = editkit.apply("prompt-edit", sample_image((16, 16)), model=model, steps=3, source="0", target="2").report
    assert report.recon_psnr == report.vae_psnr


def test_the_error_for_an_unsupported_operation_names_both_sides() -> None:
    with pytest.raises(MissingCapability, match=r"control needs .*controlnet.*provides adapters, .*text"):
        editkit.apply("control", sample_image((16, 16)), model=load_both()[0], kind="edge", prompt="0")
