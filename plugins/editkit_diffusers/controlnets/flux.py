"""ControlNets of FLUX.1: those on encoded maps, and those that embed the pixels of a map (XLabs)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import FluxControlNetModel
from torch import Tensor, nn

from ..autoencoder import Autoencoder
from ..flux_tokens import PATCH, pack
from ..inference import inference_context
from .attached import ConditionMap, LoadedControlNet, Residuals, token_mask
from .files import TRANSFORMER_FILE, ControlNetFamily, check_equal, check_layers, check_no_mask, count_blocks
from .kinds import FLUX_MODES, number_of

_DOUBLE, _SINGLE = "controlnet_block_samples", "controlnet_single_block_samples"
_GUIDANCE = 3.5
"""Guidance scale for a ControlNet that takes one, beside a network that takes none; that of FLUX.1 dev."""
_SHARED_CONFIG = ("joint_attention_dim", "pooled_projection_dim", "attention_head_dim", "num_attention_heads")


def flux_family(transformer: Any) -> ControlNetFamily:
    """Return the ControlNets that fit a transformer of FLUX.1."""
    return ControlNetFamily(
        name="FLUX.1",
        classes={"FluxControlNetModel": FluxControlNetModel},
        file_kind=TRANSFORMER_FILE,
        check=lambda config: _check_fits(config, transformer),
        config_of=lambda tensors: _config_of(tensors, transformer),
    )


class FluxControlNet(LoadedControlNet):
    """A ControlNet of FLUX.1, whose map is a second sequence of tokens."""

    def __init__(self, net: Any, transformer: Any, autoencoder: Autoencoder) -> None:
        self.net, self.autoencoder = net, autoencoder
        self.blocks = {
            _DOUBLE: transformer.config.num_layers,
            _SINGLE: transformer.config.num_single_layers,
        }
        self.pixels = net.input_hint_block
        if self.pixels is not None:  # otherwise the network would embed its map at every call
            net.input_hint_block = nn.Identity()

    def embed(self, hint: Tensor, mode: str | None) -> Tensor:
        """Return the packed mean of the encoded map (1, T, D), or the features (1, C, h, w) of its pixels."""
        if self.pixels is None:
            return pack(self.autoencoder.encode(hint).to(hint.dtype))
        features: Tensor = self.pixels(hint * 2 - 1)
        return features

    def mode_number(self, mode: str | None) -> int | None:
        return number_of(mode, FLUX_MODES, self.net.config.num_mode) if self.net.union else None

    def evaluate(self, x: Tensor, maps: Sequence[ConditionMap], conditions: Mapping[str, Any]) -> Residuals:
        """Return the residuals of tokens ``x`` (B, T, D) for blocks of both kinds."""
        ((hint, mode, scale),) = maps
        modes = None if mode is None else torch.full((len(x), 1), mode, device=x.device)
        with inference_context():
            double, single = self.net(
                x, hint, modes, scale, **{**conditions, "guidance": self._guidance(x, conditions)}, return_dict=False
            )
        return {name: parts for name, parts in ((_DOUBLE, double), (_SINGLE, single)) if parts is not None}

    def _guidance(self, x: Tensor, conditions: Mapping[str, Any]) -> Tensor | None:
        """Return the guidance scales (B,) if the ControlNet takes them."""
        if not self.net.config.guidance_embeds:
            return None
        scales: Tensor | None = conditions["guidance"]
        return torch.full((len(x),), _GUIDANCE, dtype=torch.float32, device=x.device) if scales is None else scales

    def mask_for(self, part: Tensor, mask: Tensor) -> Tensor:
        return token_mask(mask, part)

    def spread(self, parts: Residuals) -> Residuals:
        """Repeat residuals as the network itself does for one ControlNet: in runs, or those of pixels in turn."""
        spread = {}
        for name, named in parts.items():
            blocks, run = range(self.blocks[name]), math.ceil(self.blocks[name] / len(named))
            in_turn = self.pixels is not None and name == _DOUBLE
            spread[name] = [named[block % len(named) if in_turn else block // run] for block in blocks]
        return spread


def _check_fits(config: Mapping[str, Any], transformer: Any) -> None:
    """Raise InvalidParameter if the residuals of a ControlNet cannot be added to ``transformer``."""
    network = transformer.config
    check_no_mask(config, "extra_condition_channels")  # of a class that is no part of diffusers
    shared = {name: network[name] for name in (*_SHARED_CONFIG, "axes_dims_rope")}
    check_equal(config, {"in_channels": network.in_channels, **shared})
    check_layers(config, {name: network[name] for name in ("num_layers", "num_single_layers")})
    channels = config.get("conditioning_embedding_channels")
    if channels is not None:
        check_equal(config, {"patch_size": PATCH, "conditioning_embedding_channels": network.in_channels // PATCH**2})


def _config_of(tensors: Mapping[str, Tensor], transformer: Any) -> dict[str, Any] | None:
    """Return the configuration of a ControlNet with these weights in diffusers' names, None for other names."""
    if not {"controlnet_x_embedder.weight", "x_embedder.weight"} <= set(tensors):
        return None
    modes, features = tensors.get("controlnet_mode_embedder.weight"), tensors.get("input_hint_block.conv_out.weight")
    return {
        **{name: transformer.config[name] for name in (*_SHARED_CONFIG, "axes_dims_rope")},
        "in_channels": tensors["controlnet_x_embedder.weight"].shape[1],
        "num_layers": count_blocks(tensors, "transformer_blocks"),
        "num_single_layers": count_blocks(tensors, "single_transformer_blocks"),
        "guidance_embeds": any(name.startswith("time_text_embed.guidance_embedder.") for name in tensors),
        "num_mode": None if modes is None else len(modes),
        "conditioning_embedding_channels": None if features is None else len(features),
        "patch_size": 1 if features is None else PATCH,
    }
