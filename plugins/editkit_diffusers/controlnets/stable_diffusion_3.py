"""ControlNets of Stable Diffusion 3 and 3.5: those with text, and the large ones on the image alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import SD3ControlNetModel
from diffusers.models.embeddings import PatchEmbed
from torch import Tensor

from editkit import InvalidParameter

from ..autoencoder import Autoencoder
from ..inference import inference_context
from .attached import ConditionMap, LoadedControlNet, Residuals, token_mask
from .files import TRANSFORMER_FILE, ControlNetFamily, check_equal, check_layers, check_no_mask

_BLOCKS = "block_controlnet_hidden_states"


def sd3_family(transformer: Any) -> ControlNetFamily:
    """Return the ControlNets that fit a transformer of Stable Diffusion 3.

    A file is not enough: whether the network takes the pooled text is in its configuration alone.
    """
    return ControlNetFamily(
        name="Stable Diffusion 3",
        classes={"SD3ControlNetModel": SD3ControlNetModel},
        file_kind=TRANSFORMER_FILE,
        check=lambda config: _check_fits(config, transformer),
        config_of=lambda tensors: None,
    )


class Sd3ControlNet(LoadedControlNet):
    """A ControlNet of Stable Diffusion 3, whose map is latents that are added as patches."""

    def __init__(self, net: Any, transformer: Any, autoencoder: Autoencoder) -> None:
        self.net, self.autoencoder, self.blocks = net, autoencoder, transformer.config.num_layers
        self.model_patches = transformer.config.pos_embed_max_size
        self.takes_text = net.config.joint_attention_dim is not None
        if net.pos_embed is None:  # the large ones share the patches of the network that they steer
            net.pos_embed = _patches_of(transformer).to(net.device, net.dtype)

    def embed(self, hint: Tensor, mode: str | None) -> Tensor:
        """Return the mean of the encoded map (1, C, h, w).

        Stability's ControlNets without text were trained on edges in other levels than their autoencoder's
        (``SD3CannyImageProcessor`` in the model card of stable-diffusion-3.5-large-controlnet-canny); InstantX's
        without the pooled text, on latents that are scaled but not shifted (diffusers' pipeline).
        """
        pixels = (hint * 127.5 + 1.5) / 2 if mode == "edge" and not self.takes_text else hint
        latents = self.autoencoder.encode(pixels, shifted=not self.net.config.force_zeros_for_pooled_projection)
        self._check_size(latents)
        return latents.to(hint.dtype)

    def mode_number(self, mode: str | None) -> int | None:
        if mode is None and not self.takes_text:
            raise InvalidParameter(
                "a ControlNet of Stable Diffusion 3.5 large takes edges in other levels than other maps: give what the "
                "map shows as control_mode, such as edge, depth or blur"
            )
        return None

    def _check_size(self, latents: Tensor) -> None:
        """Raise InvalidParameter for latents beyond the position embeddings of the ControlNet."""
        own = self.net.config.pos_embed_max_size if self.net.config.use_pos_embed else None
        limit = (own or self.model_patches) * self.net.config.patch_size
        if max(latents.shape[-2:]) > limit:
            reduction = self.autoencoder.reduction
            raise InvalidParameter(
                f"a side of {max(latents.shape[-2:]) * reduction} pixels is not allowed: the ControlNet supports up to "
                f"{limit * reduction}; give a smaller resolution"
            )

    def evaluate(self, x: Tensor, maps: Sequence[ConditionMap], conditions: Mapping[str, Any]) -> Residuals:
        ((hint, _, scale),) = maps
        pooled = conditions["pooled_projections"]
        with inference_context():
            (parts,) = self.net(
                x,
                hint,
                scale,
                timestep=conditions["timestep"],
                encoder_hidden_states=conditions["encoder_hidden_states"] if self.takes_text else None,
                pooled_projections=(
                    torch.zeros_like(pooled) if self.net.config.force_zeros_for_pooled_projection else pooled
                ),
                return_dict=False,
            )
        return {_BLOCKS: parts}

    def mask_for(self, part: Tensor, mask: Tensor) -> Tensor:
        return token_mask(mask, part)

    def spread(self, parts: Residuals) -> Residuals:
        """Repeat residuals in runs, as the network itself does for one ControlNet."""
        named = parts[_BLOCKS]
        run = self.blocks / len(named)
        return {_BLOCKS: [named[int(block / run)] for block in range(self.blocks)]}


def _patches_of(transformer: Any) -> PatchEmbed:
    """Return a copy of the embedding of patches, without hooks of offloading."""
    config = transformer.config
    patches = PatchEmbed(
        height=config.sample_size,
        width=config.sample_size,
        patch_size=config.patch_size,
        in_channels=config.in_channels,
        embed_dim=config.num_attention_heads * config.attention_head_dim,
        pos_embed_max_size=config.pos_embed_max_size,
    )
    patches.load_state_dict(transformer.pos_embed.state_dict())
    return patches.requires_grad_(False)


def _check_fits(config: Mapping[str, Any], transformer: Any) -> None:
    """Raise InvalidParameter if the residuals of a ControlNet cannot be added to ``transformer``."""
    network = transformer.config
    shared = ("in_channels", "patch_size", "pooled_projection_dim", "attention_head_dim", "num_attention_heads")
    check_equal(config, {name: network[name] for name in shared})
    if config["joint_attention_dim"] is not None:
        check_equal(config, {name: network[name] for name in ("joint_attention_dim", "caption_projection_dim")})
    check_no_mask(config, "extra_conditioning_channels")
    check_layers(config, {"num_layers": network.num_layers})
