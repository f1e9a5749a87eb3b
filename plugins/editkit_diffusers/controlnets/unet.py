"""ControlNets of UNets (Zhang et al., arXiv 2302.05543)."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from torch import Tensor, nn

from editkit import InvalidParameter

from ..inference import inference_context
from .attached import ConditionMap, LoadedControlNet, Residuals
from .files import UNET_FILE, ControlNetFamily, check_equal
from .kinds import UNET_MODES, number_of

_SHARED_CONFIG = ("block_out_channels", "layers_per_block", "cross_attention_dim")
"""Configuration that a ControlNet shares with the UNet that its residuals are added to."""
_ADDED_CONFIG = ("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
"""Further shared configuration of networks with conditions beside the prompt."""
MIDDLE = "mid_block_additional_residual"
"""Argument of a UNet for the residual of its middle block, which is one tensor and no list."""
_COLOURS = 3
"""Channels of a condition map."""


def unet_family(unet: Any, channels: int) -> ControlNetFamily:
    """Return the ControlNets that fit ``unet``, whose latents have ``channels``."""
    return ControlNetFamily(
        name="Stable Diffusion or SDXL",
        classes={"ControlNetModel": ControlNetModel, "ControlNetUnionModel": ControlNetUnionModel},
        file_kind=UNET_FILE,
        check=lambda config: _check_fits(config, unet, channels),
        config_of=lambda tensors: _config_of(tensors, unet, channels),
        convert=convert_controlnet_checkpoint,
    )


class UNetControlNet(LoadedControlNet):
    """A ControlNet in two parts: the embedding of the condition map, and the network on the embedded map."""

    def __init__(self, net: Any) -> None:
        self.net, self.embedding = net, net.controlnet_cond_embedding
        self.swapped = net.config.controlnet_conditioning_channel_order == "bgr"
        # Otherwise the network would swap the channels of its condition and embed it at every call.
        net.controlnet_cond_embedding = nn.Identity()
        net.register_to_config(controlnet_conditioning_channel_order="rgb")

    def embed(self, hint: Tensor, mode: str | None) -> Tensor:
        return self.embedding(hint.flip(1) if self.swapped else hint)  # type: ignore[no-any-return]

    def mode_number(self, mode: str | None) -> int | None:
        if not isinstance(self.net, ControlNetUnionModel):
            return None
        return number_of(mode, UNET_MODES, self.net.config.num_control_type)

    @property
    def joins(self) -> bool:
        return isinstance(self.net, ControlNetUnionModel)

    def evaluate(self, x: Tensor, maps: Sequence[ConditionMap], conditions: Mapping[str, Any]) -> Residuals:
        """Return the residuals of the UNet's skips and of its middle block."""
        for one in maps:
            if one.hint.shape[-2:] != x.shape[-2:]:
                raise InvalidParameter(
                    f"the ControlNet embeds its map to {tuple(one.hint.shape[-2:])} and the model's latents are "
                    f"{tuple(x.shape[-2:])}: it belongs to a model of another shape"
                )
        inputs = self._inputs_of_kinds(maps) if self.joins else self._inputs_of_map(*maps)
        with inference_context():
            skips, middle = self.net(x, **inputs, return_dict=False, **conditions)
        return {"down_block_additional_residuals": list(skips), MIDDLE: [middle]}

    def _inputs_of_map(self, one: ConditionMap) -> dict[str, Any]:
        return {"controlnet_cond": one.hint, "conditioning_scale": one.scale}

    def _inputs_of_kinds(self, maps: Sequence[ConditionMap]) -> dict[str, Any]:
        hints, modes = [one.hint for one in maps], [one.mode for one in maps]
        kinds = hints[0].new_zeros(len(hints[0]), self.net.config.num_control_type)
        kinds[:, modes] = 1
        scales = [one.scale for one in maps]
        return {
            "controlnet_cond": hints,
            "control_type": kinds,
            "control_type_idx": modes,
            "conditioning_scale": scales,
        }

    def mask_for(self, part: Tensor, mask: Tensor) -> Tensor:
        return F.interpolate(mask, part.shape[-2:], mode="area")


def _check_fits(config: Mapping[str, Any], unet: Any, latent_channels: int) -> None:
    """Raise InvalidParameter if the residuals of a ControlNet cannot be added to ``unet``."""
    shared = _SHARED_CONFIG if config["addition_embed_type"] is None else (*_SHARED_CONFIG, *_ADDED_CONFIG)
    channels = {"in_channels": latent_channels, "conditioning_channels": _COLOURS}
    check_equal(config, {**channels, **{name: unet.config[name] for name in shared}})
    order = config.get("controlnet_conditioning_channel_order", "rgb")
    if order not in ("rgb", "bgr"):
        raise InvalidParameter(
            f"the ControlNet has controlnet_conditioning_channel_order {order!r}: rgb or bgr is allowed"
        )
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise InvalidParameter(
            "the ControlNet reads a class beside the text, which the model does not give: it belongs "
            "to a model of another family"
        )
    if config.get("global_pool_conditions"):
        raise InvalidParameter(
            "the ControlNet has global_pool_conditions, as the one called shuffle: it steers the prompt's estimate "
            "alone, which is not supported"
        )


def _config_of(tensors: Mapping[str, Tensor], unet: Any, channels: int) -> dict[str, Any] | None:
    """Return the configuration of a ControlNet, the first half of ``unet``, with these weights; None if it is none."""
    widths = _embedding_widths(tensors)
    if widths is None:
        return None
    parameters = inspect.signature(ControlNetModel.__init__).parameters
    defaults = {name: one.default for name, one in parameters.items() if name != "self"}
    return {
        **defaults,
        **{name: unet.config[name] for name in parameters if name in unet.config},
        "in_channels": channels,
        "conditioning_embedding_out_channels": widths,
    }


def _embedding_widths(tensors: Mapping[str, Tensor]) -> tuple[int, ...] | None:
    """Return the channels of the embedding of condition maps, in the names of diffusers or of the first code."""
    for first, others in (
        ("controlnet_cond_embedding.conv_in.weight", r"controlnet_cond_embedding\.blocks\.(\d*[13579])\.weight"),
        ("input_hint_block.0.weight", r"(?:control_model\.)?input_hint_block\.(\d+)\.weight"),
    ):
        name = next((one for one in tensors if one in (first, f"control_model.{first}")), None)
        if name is None:
            continue
        numbered = {int(match[1]): tensor for one, tensor in tensors.items() if (match := re.fullmatch(others, one))}
        if first.startswith("input"):  # every second convolution halves the size; the last one is conv_out
            numbered = {number: tensor for number, tensor in numbered.items() if number % 4 == 0 and number > 0}
        return (len(tensors[name]), *(len(numbered[number]) for number in sorted(numbered)))
    return None
