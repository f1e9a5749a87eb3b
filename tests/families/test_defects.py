"""Peculiarities of pipelines that an estimate must not inherit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import editkit
from families.tables import FAMILIES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning"),
]
PROMPTS = ["a red apple", "a green pear beside two yellow pears on a white table"]


@torch.no_grad()
def estimate(model: Any, x: Tensor, prompts: list[str]) -> Tensor:
    return model.denoise(x, model.schedule.point(500), model.embed(prompts))


def noise(model: Any, size: tuple[int, int], rows: int) -> Tensor:
    return torch.randn(rows, *model.latent_shape(*size), generator=torch.Generator().manual_seed(0))


def test_a_pipeline_that_writes_into_its_list_of_prompts_gives_the_same_estimate_again(
    family_folder: Callable[[str], Path],
) -> None:
    """Z-Image puts its chat template into the caller's list."""
    family, prompts = FAMILIES["z-image"], ["a red apple"]
    own, used = family.pipeline(), list(prompts)
    own(prompt=used, num_inference_steps=1, output_type="latent", width=64, height=64)
    assert used != prompts, "diffusers does not write into the list any more: the copy can go"
    model = editkit.load_model(family_folder("z-image"))
    x = noise(model, family.size, 1)
    first = estimate(model, x, prompts)
    assert prompts == ["a red apple"]
    assert torch.equal(first, estimate(model, x, prompts))


@pytest.mark.parametrize("name", ["cogview4", "kandinsky5", "qwen-image-21", "kandinsky3"])
def test_an_estimate_does_not_depend_on_the_other_prompts_of_its_batch(
    name: str, family_folder: Callable[[str], Path]
) -> None:
    """In one call of these pipelines it does, by padding without a mask or by positions."""
    model = editkit.load_model(family_folder(name))
    x = noise(model, FAMILIES[name].size, 2)
    together = estimate(model, x, PROMPTS)
    alone = [estimate(model, x[row : row + 1], PROMPTS[row : row + 1]) for row in range(2)]
    assert torch.equal(together, torch.cat(alone))


def test_the_network_of_cogview_4_gets_the_timestep_that_its_pipeline_does_not_shift(
    family_folder: Callable[[str], Path],
) -> None:
    model: Any = editkit.load_model(family_folder("cogview4"))
    size = (256, 256)  # smaller images have no shift
    sigmas, timesteps = model.call.own_path(4, size)
    assert not torch.allclose(1000 * sigmas[:4], timesteps.to(sigmas), atol=1)
    seen: list[float] = []
    hook = model.net.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(float(kwargs["timestep"][0])), with_kwargs=True
    )
    x = noise(model, size, 1)
    condition = model.embed(["a red apple"])
    for sigma in sigmas[:4].tolist():
        model.denoise(x, model.schedule.for_shape(x.shape[1:]).point(1000 * sigma), condition)
    hook.remove()
    assert seen == pytest.approx(timesteps.tolist(), abs=1.0)
