"""``instruct`` with an edit model gives the image of its own pipeline on the same noise, from the same references."""

from __future__ import annotations

import functools
import importlib.util
import json
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from families.tables import FAMILIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]

SINGLE = ("joyimage-edit", "longcat-image-edit", "qwen-image-edit")
_FLUX2 = ("flux2", "flux2-klein-base", "flux2-klein-kv")
SEVERAL = ("fibo-2", "fibo-edit", *_FLUX2, "qwen-image-21", "qwen-image-edit-plus")
REQUIRED = ("longcat-image-edit", "qwen-image-edit", "qwen-image-edit-plus")
GUIDED = (*SINGLE, "fibo-2", "fibo-edit", "flux2-klein-base", "qwen-image-21", "qwen-image-edit-plus")
"""Families that are guided by two estimates."""
SIZE = (96, 64)
STEPS = 3
INSTRUCTION = "make it green"


@functools.cache
def load(name: str) -> tuple[Any, Any]:
    """A tiny pipeline, and the backend that shares its weights."""
    pipeline = FAMILIES[name].pipeline()
    return pipeline, editkit.from_pipe(pipeline)


@pytest.fixture
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    family = FAMILIES[request.param]
    if family.needs and not importlib.util.find_spec(family.needs):
        pytest.skip(f"diffusers needs {family.needs} for it")
    for name, value in family.areas.items():
        sizes = {"BUCKETS": {1024: [SIZE[::-1]]}, "calculate_dimensions": value if family.sized else lambda *_: SIZE}
        monkeypatch.setattr(name, sizes.get(name.rpartition(".")[2], value))
    # JoyImage draws the latents of its image; editkit takes the mean.
    distribution = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution
    monkeypatch.setattr(distribution, "sample", lambda self, *_, **__: self.mode())
    return load(request.param)


def image(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(levels)


def instruct(model: Any, source: Image.Image, *references: Image.Image, **params: Any) -> editkit.Result:
    values = {"instruction": INSTRUCTION, "reference": references, "resolution": max(SIZE), "steps": STEPS, "seed": 0}
    values = {**values, "sampler": "euler", "guidance": 1.0, **params}
    result: editkit.Result = editkit.apply("instruct", source, model=model, **values)
    return result


def own(pipeline: Any, model: Any, images: list[Image.Image], **arguments: Any) -> Tensor:
    """Pixels of the pipeline's own loop from the noise of the seed 0."""
    noise = torch.randn(1, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0))
    packed, prepare = model.call.layout(SIZE).pack(noise), type(pipeline).prepare_latents

    def with_noise(*args: Any, **kwargs: Any) -> Any:
        prepared = prepare(pipeline, *args, **kwargs)
        return (packed, *prepared[1:]) if isinstance(prepared, tuple) else packed

    pipeline.__dict__["prepare_latents"] = with_noise
    try:
        (drawn, *_) = pipeline(
            prompt=json.dumps({"edit_instruction": INSTRUCTION}) if "Fibo" in type(pipeline).__name__ else INSTRUCTION,
            num_inference_steps=STEPS,
            output_type="pt",
            return_dict=False,
            **arguments,
            image=images if len(images) > 1 else images[0],
        )
    finally:
        del pipeline.__dict__["prepare_latents"]
    return drawn[:, :3]


def call_of(name: str, **chosen: Any) -> dict[str, Any]:
    family = FAMILIES[name]
    size = dict(zip(("width", "height"), SIZE, strict=True)) if family.sized else {}
    return {**size, **family.call, **family.unguided, **chosen}


@torch.no_grad()
@pytest.mark.parametrize("both", SINGLE + SEVERAL, indirect=True, ids=str)
def test_one_reference(both: tuple[Any, Any], request: pytest.FixtureRequest) -> None:
    pipeline, model = both
    name = request.node.callspec.params["both"]
    scale = {"guidance": 4.0} if "distilled-guidance" in model.provides else {}
    expected = own(pipeline, model, [image(1)], **call_of(name, **({"guidance_scale": 4.0} if scale else {})))
    result = instruct(model, image(1), **scale)
    assert result.report.working_size == SIZE
    torch.testing.assert_close(model.decode(result.latents), expected, atol=1e-5, rtol=0)
    assert result.report.warnings == ()
    assert result.report.network_samples == STEPS
    assert not torch.equal(instruct(model, image(2), **scale).latents, result.latents)


@torch.no_grad()
@pytest.mark.parametrize("both", GUIDED, indirect=True, ids=str)
def test_guidance_is_that_of_the_pipeline(both: tuple[Any, Any], request: pytest.FixtureRequest) -> None:
    """Both estimates read the image, and some families keep the norm of the prompted one."""
    pipeline, model = both
    name = request.node.callspec.params["both"]
    argument = model.call.scale_argument
    negative = {"negative_prompt": "a pear"} if model.call.takes_negative_prompt else {}
    expected = own(pipeline, model, [image(1)], **call_of(name, **{argument: 3.0}, **negative))
    result = instruct(model, image(1), guidance=3.0, **negative)
    torch.testing.assert_close(model.decode(result.latents), expected, atol=1e-4, rtol=0)
    assert result.report.network_samples == STEPS * (1 if "own-guidance" in model.provides else 2)
    with pytest.raises(editkit.MissingCapability, match="computes two, with the image in both"):
        instruct(model, image(1), image_guidance=1.5)


@torch.no_grad()
@pytest.mark.parametrize("both", SEVERAL, indirect=True, ids=str)
def test_two_references_of_different_proportions(both: tuple[Any, Any], request: pytest.FixtureRequest) -> None:
    pipeline, model = both
    scale = {"guidance": 4.0} if "distilled-guidance" in model.provides else {}
    call = call_of(request.node.callspec.params["both"], **({"guidance_scale": 4.0} if scale else {}))
    images = [image(1), image(2, (64, 80))]
    result = instruct(model, *images, **scale)
    torch.testing.assert_close(model.decode(result.latents), own(pipeline, model, images, **call), atol=1e-5, rtol=0)
    assert not torch.equal(instruct(model, images[0], **scale).latents, result.latents)


@torch.no_grad()
@pytest.mark.parametrize("both", SINGLE + SEVERAL, indirect=True, ids=str)
def test_rows_of_one_instruction_do_not_depend_on_each_other(both: tuple[Any, Any]) -> None:
    _, model = both
    images, point = [image(1)], model.schedule.point(500)
    x = torch.randn(2, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0))
    together = model.denoise(x, point, model.instructed([INSTRUCTION] * 2, images))
    for row in range(2):
        alone = model.denoise(x[row : row + 1], point, model.instructed([INSTRUCTION], images))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("both", SINGLE + SEVERAL, indirect=True, ids=str)
def test_images_are_read_once_for_an_edit(both: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, model = both
    encoded: list[int] = []
    encode = type(pipeline.vae).encode
    monkeypatch.setattr(type(pipeline.vae), "encode", lambda *args: encoded.append(len(args[1])) or encode(*args))
    texts: list[int] = []
    hook = pipeline.text_encoder.register_forward_pre_hook(lambda *_: texts.append(1))
    instruct(model, image(2), seed=5, steps=1)  # the first edit may also measure how well white is kept
    del encoded[:], texts[:]
    instruct(model, image(3), seed=5, steps=1)
    encodings, readings = len(encoded), len(texts)
    del encoded[:], texts[:]
    instruct(model, image(4), seed=5, steps=6)
    hook.remove()
    assert len(encoded) == encodings
    assert len(texts) <= readings


@torch.no_grad()
@pytest.mark.parametrize("both", REQUIRED, indirect=True, ids=str)
def test_a_model_that_needs_an_image_reads_the_source_in_an_edit_by_inversion(both: tuple[Any, Any]) -> None:
    _, model = both
    source, mask = image(1), Image.new("L", SIZE)
    mask.paste(255, (0, 0, 48, 64))
    values = {"model": model, "resolution": 96, "steps": 3, "seed": 0, "guidance": 1.0, "cache": False}
    same = editkit.apply("prompt-edit", source, source="an apple", target="an apple", **values)
    assert same.image.tobytes() == source.tobytes()
    assert same.report.recon_psnr == same.report.vae_psnr
    edited = editkit.apply("prompt-edit", source, source="an apple", target="a pear", mask=mask, **values)
    assert edited.image.tobytes() != source.tobytes()
    assert edited.report.untouched_max_diff == 0
    with pytest.raises(editkit.MissingCapability, match="draws nothing without"):
        editkit.apply("generate", model=model, prompt="a pear", steps=1)


@torch.no_grad()
@pytest.mark.parametrize("both", ["flux2-klein-base", "longcat-image-edit"], indirect=True, ids=str)
@pytest.mark.parametrize("size", [(37, 61), (200, 23)])
def test_an_instruction_stays_within_its_mask(both: tuple[Any, Any], size: tuple[int, int]) -> None:
    source, mask = image(1, size).convert("RGBA"), Image.new("L", size)
    mask.paste(255, (0, 0, size[0] // 2, size[1]))
    if size[0] > 8 * size[1] and both[1].references.longest_ratio == 8:
        with pytest.raises(editkit.InvalidParameter, match="reads images of at most 8:1"):
            instruct(both[1], source, mask=mask, steps=1)
        return
    result = instruct(both[1], source, mask=mask, steps=1)
    assert result.image.size == size and result.image.mode == "RGBA"
    assert result.report.untouched_max_diff == 0


@pytest.mark.parametrize("both", ["fibo-edit", "joyimage-edit", "qwen-image-21"], indirect=True, ids=str)
def test_latents_of_16_pixels_leave_the_size_of_training_at_a_megapixel(both: tuple[Any, Any]) -> None:
    assert both[1].reduction == 16
    assert both[1].native_size == 1024
