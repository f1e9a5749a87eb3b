"""Network calls: inference mode and cached prompt projections do not change the output."""

from __future__ import annotations

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


def load_unet(folder: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(folder).requires_grad_(False)


@pytest.fixture
def caching_unet(folder: Path) -> UNet2DConditionModel:
    unet = load_unet(folder)
    cache_projections(unet)
    return unet


def layers(unet: UNet2DConditionModel) -> list[PromptProjection]:
    return [module for module in unet.modules() if isinstance(module, PromptProjection)]


def inputs(unet: UNet2DConditionModel) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn((2, unet.config.in_channels, 8, 8), generator=random)
    return x, torch.randn((2, 5, unet.config.cross_attention_dim), generator=random)


@torch.no_grad()
def test_cached_projections_change_no_bit(folder: Path, caching_unet: UNet2DConditionModel) -> None:
    unet, (x, prompt) = load_unet(folder), inputs(caching_unet)
    assert caching_unet.state_dict().keys() == unet.state_dict().keys()
    for timestep in (900, 500, 10):
        assert torch.equal(
            run_network(caching_unet, x, timestep, encoder_hidden_states=prompt),
            run_network(unet, x, timestep, encoder_hidden_states=prompt),
        )
    assert layers(caching_unet)
    assert all(len(layer.cache) == 1 for layer in layers(caching_unet))


@torch.no_grad()
def test_projections_are_computed_again_for_other_prompts_and_weights(
    folder: Path, caching_unet: UNet2DConditionModel
) -> None:
    unet, (x, prompt) = load_unet(folder), inputs(caching_unet)

    def outputs_agree() -> bool:
        return torch.equal(
            run_network(caching_unet, x, 500, encoder_hidden_states=prompt),
            run_network(unet, x, 500, encoder_hidden_states=prompt),
        )

    assert outputs_agree()
    prompt += 1
    assert outputs_agree()
    for net in (caching_unet, unet):
        for name, weight in net.named_parameters():
            if ".attn2.to_k" in name:
                weight.mul_(2)
    assert outputs_agree()
    prompt = prompt.clone()
    assert outputs_agree()
    assert all(len(layer.cache) == 1 for layer in layers(caching_unet))


@torch.no_grad()
def test_projections_are_dropped_with_their_prompt(caching_unet: UNet2DConditionModel) -> None:
    x, prompt = inputs(caching_unet)
    run_network(caching_unet, x, 500, encoder_hidden_states=prompt)
    assert all(len(layer.cache) == 1 for layer in layers(caching_unet))
    del prompt
    assert all(len(layer.cache) == 0 for layer in layers(caching_unet))


def test_gradients_reach_the_prompt_after_a_call_without_gradients(caching_unet: UNet2DConditionModel) -> None:
    x, prompt = inputs(caching_unet)
    with torch.no_grad():
        plain = run_network(caching_unet, x, 500, encoder_hidden_states=prompt)
    assert not plain.is_inference()
    prompt.requires_grad_()
    output = run_network(caching_unet, x, 500, encoder_hidden_states=prompt)
    assert torch.equal(output, plain)
    (gradient,) = torch.autograd.grad((output * plain).sum(), prompt)
    assert float(gradient.abs().max()) > 0
