"""Network calls: inference mode and cached prompt projections do not change the output."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from editkit_diffusers.cross_attention_cache import PromptProjection, cache_projections
from editkit_diffusers.inference import run_network
from torch import Tensor


@pytest.fixture(scope="module")
def folder(tiny_folder: Path) -> Path:
    return tiny_folder / "unet"


def loaded(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder).requires_grad_(False)


@pytest.fixture
def keeping(folder: Path) -> UNet2DConditionModel:
    unet = loaded(folder)
    cache_projections(unet)
    return unet


def layers(unet: UNet2DConditionModel) -> list[PromptProjection]:
    return [module for module in unet.modules() if isinstance(module, PromptProjection)]


def inputs(unet: UNet2DConditionModel) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn((2, unet.config.in_channels, 8, 8), generator=random)
    return x, torch.randn((2, 5, unet.config.cross_attention_dim), generator=random)


@torch.no_grad()
def test_kept_projections_change_no_bit(folder: Path, keeping: UNet2DConditionModel) -> None:
    unet, (x, words) = loaded(folder), inputs(keeping)
    assert keeping.state_dict().keys() == unet.state_dict().keys()
    for timestep in (900, 500, 10):
        assert torch.equal(
            run_network(keeping, x, timestep, encoder_hidden_states=words),
            run_network(unet, x, timestep, encoder_hidden_states=words),
        )
    assert layers(keeping)
    assert all(len(layer.cache) == 1 for layer in layers(keeping))


@torch.no_grad()
def test_projections_are_computed_again_for_other_prompts_and_weights(
    folder: Path, keeping: UNet2DConditionModel
) -> None:
    unet, (x, words) = loaded(folder), inputs(keeping)

    def same() -> bool:
        return torch.equal(
            run_network(keeping, x, 500, encoder_hidden_states=words),
            run_network(unet, x, 500, encoder_hidden_states=words),
        )

    assert same()
    words += 1
    assert same()
    for net in (keeping, unet):
        for name, weight in net.named_parameters():
            if ".attn2.to_k" in name:
                weight.mul_(2)
    assert same()
    words = words.clone()
    assert same()
    assert all(len(layer.cache) == 1 for layer in layers(keeping))


@torch.no_grad()
def test_projections_are_dropped_with_their_prompt(keeping: UNet2DConditionModel) -> None:
    x, words = inputs(keeping)
    run_network(keeping, x, 500, encoder_hidden_states=words)
    del words
    gc.collect()
    assert all(len(layer.cache) == 0 for layer in layers(keeping))


def test_gradients_reach_the_prompt_and_projections_made_without_allow_training(keeping: UNet2DConditionModel) -> None:
    x, words = inputs(keeping)
    with torch.no_grad():
        plain = run_network(keeping, x, 500, encoder_hidden_states=words)
    assert not plain.is_inference()
    words.requires_grad_()
    answer = run_network(keeping, x, 500, encoder_hidden_states=words)
    assert torch.equal(answer, plain)
    (gradient,) = torch.autograd.grad((answer * plain).sum(), words)
    assert float(gradient.abs().max()) > 0
