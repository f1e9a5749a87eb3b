"""Networks that use torchvision for little, without it: not every build of torch has a working one beside it."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import CosmosTransformer3DModel
from diffusers.utils import is_torchvision_available
from torch import Tensor
from torch.nn.functional import interpolate


def needs_padding(network: Any) -> bool:
    """Return whether a network is a Cosmos transformer that resizes its mask by a missing torchvision."""
    is_cosmos = isinstance(network, CosmosTransformer3DModel)
    return is_cosmos and network.config.concat_padding_mask and not is_torchvision_available()


def pad_by_torch(network: Any) -> None:
    """Let a Cosmos transformer do without torchvision if that is not there."""
    if needs_padding(network):
        append_padding(network)


def append_padding(network: CosmosTransformer3DModel) -> None:
    """Resize the padding mask of a Cosmos transformer by torch: its nearest neighbours are those of torchvision."""
    network.register_to_config(concat_padding_mask=False)
    network.register_forward_pre_hook(_append_mask, with_kwargs=True)


def _append_mask(network: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Append the padding mask (1, 1, H, W) to the latents (B, C, T, h, w) as a channel."""
    x: Tensor = kwargs["hidden_states"]
    mask = interpolate(kwargs["padding_mask"], size=x.shape[-2:], mode="nearest").unsqueeze(2)
    padded = torch.cat([x, mask.to(x).expand(len(x), 1, x.shape[2], -1, -1)], 1)
    return args, {**kwargs, "hidden_states": padded, "padding_mask": None}
