"""Agreement of the backend of last resort with the pipelines it calls."""

from __future__ import annotations

import inspect
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ChromaPipeline
from torch import Tensor

from editkit import InvalidParameter, WeightsUnavailable, apply, load_model, make_path, walk
from editkit.sampling.loop import ddim_step
from editkit.testing.tiny import chroma_folder

SIZE = (32, 24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chroma_folder(tmp_path_factory.mktemp("chroma") / "model")


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return load_model(folder)


@torch.no_grad()
def sample(model: Any, noise: Tensor, prompt: str, steps: int = 4) -> Tensor:
    """Return the pixels of Euler steps from ``noise``."""
    condition = model.embed([prompt])
    path = make_path(model.schedule.for_shape(noise.shape[1:]), steps, model.grid)
    states = walk(
        lambda denoise, x, p, q, _: ddim_step(x, denoise(x, p), p, q),
        lambda x, point: model.denoise(x, point, condition),
        noise,
        path,
    )
    *_, latents = states
    return model.decode(latents)


def test_sampling_equals_the_own_loop_of_the_pipeline(folder: Path, model: Any) -> None:
    noise = torch.randn(1, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0))
    pipe = ChromaPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    packed = pipe._pack_latents(noise, 1, *noise.shape[1:])
    own = pipe(
        "a red apple",
        guidance_scale=1.0,
        num_inference_steps=4,
        width=SIZE[0],
        height=SIZE[1],
        latents=packed,
        output_type="pt",
    ).images
    # Both take the step in another order of the same operations.
    torch.testing.assert_close(sample(model, noise, "a red apple"), own, atol=1e-5, rtol=0)


@torch.no_grad()
def test_threads_that_share_a_model_do_not_mix_their_calls(model: Any) -> None:
    noises = torch.randn(4, 1, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0))
    prompts = ["a red apple", "a pear", "a face", "white"]
    alone = [sample(model, noise, prompt) for noise, prompt in zip(noises, prompts, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(sample, [model] * 4, noises, prompts))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


def test_a_pipeline_is_not_changed_by_the_calls_of_its_backend(model: Any) -> None:
    scheduler, attributes = model.pipe.scheduler, dict(vars(model.pipe))
    apply("generate", model=model, prompt="a red apple", steps=2, width=32, height=32)
    assert model.pipe.scheduler is scheduler
    assert vars(model.pipe) == attributes


def test_a_blend_of_prompts_is_refused_by_name(model: Any) -> None:
    noise = torch.randn(1, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0))
    condition = {name: rows.float().mean(0, keepdim=True) for name, rows in model.embed(["a pear", "a face"]).items()}
    with pytest.raises(InvalidParameter, match="blend of prompts"):
        model.denoise(noise, model.schedule.point(500), condition)


def test_frames_between_images_need_one_prompt(model: Any) -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    call = {"model": model, "steps": 2, "frames": 3, "seed": 0, "resolution": 32}
    with pytest.raises(InvalidParameter, match="give equal prompts"):
        apply("interpolate", [image, image + 9], source="a pear", target="a face", **call)
    assert len(apply("interpolate", [image, image + 9], source="a pear", target="a pear", **call).frames) == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("WanPipeline", "videos"),
        ("StableCascadeCombinedPipeline", "stages"),
        ("AudioLDM2Pipeline", "sound"),
        ("NoSuchPipeline", "has no pipeline of this name"),
    ],
)
def test_a_class_that_is_not_served_is_refused_with_its_reason(
    folder: Path, tmp_path: Path, name: str, reason: str
) -> None:
    index = (folder / "model_index.json").read_text().replace("ChromaPipeline", name)
    (tmp_path / "model_index.json").write_text(index)
    for part in folder.iterdir():
        if part.is_dir():
            (tmp_path / part.name).symlink_to(part)
    with pytest.raises(WeightsUnavailable, match=f"{name}.*({reason})"):
        load_model(tmp_path)


def test_the_end_of_a_prompt_that_is_not_read_is_a_warning(model: Any) -> None:
    prompt = "apple " * 512 + "on white"
    result = apply("generate", model=model, prompt=prompt, steps=1, width=16, height=16)
    (warning,) = result.report.warnings
    assert "text_encoder reads 512 tokens" in warning
    assert "apple on white" in warning
    assert not apply("generate", model=model, prompt="a pear", steps=1, width=16, height=16).report.warnings


def test_a_call_ends_with_the_caller_s_mode_of_gradients(model: Any) -> None:
    noise = torch.randn(1, *model.latent_shape(*SIZE), generator=torch.Generator().manual_seed(0)).requires_grad_()
    model.denoise(noise, model.schedule.point(500), model.embed(["a pear"])).sum().backward()
    assert noise.grad is not None
    assert float(noise.grad.abs().max()) > 0
    assert inspect.unwrap(type(model.pipe).__call__) is not type(model.pipe).__call__
