"""ControlNets of UNets (Zhang et al., arXiv 2302.05543)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from torch import Tensor, nn

from editkit import InvalidParameter, Point, PointBatch

from .components import load_part
from .inference import inference_context

_CACHE_SIZE = 2
"""ControlNets that a model keeps."""
_SHARED_CONFIG = ("block_out_channels", "layers_per_block", "cross_attention_dim")
"""What a ControlNet has in common with the UNet that its answers are added to."""
_ADDED_CONFIG = ("addition_embed_type", "addition_time_embed_dim", "projection_class_embeddings_input_dim")
"""What those have in common too that are told more than words."""


class LoadedControlNet:
    """A ControlNet in two parts: the embedding of the condition map, and the network that takes the embedded map."""

    def __init__(self, net: Any) -> None:
        self.net, self.embedding = net, net.controlnet_cond_embedding
        self.swapped = net.config.controlnet_conditioning_channel_order == "bgr"
        # The network would swap and embed its condition at every call.
        net.controlnet_cond_embedding = nn.Identity()
        net.register_to_config(controlnet_conditioning_channel_order="rgb")

    def embed(self, hint: Tensor) -> Tensor:
        """A condition map (1, 3, H, W) in [0, 1] as the network is given it."""
        return self.embedding(hint.flip(1) if self.swapped else hint)  # type: ignore[no-any-return]


class ControlNetCache:
    """Cache of the ControlNets loaded last, so that the next edit does not read them again."""

    def __init__(self) -> None:
        self.extras: dict[tuple[Any, ...], LoadedControlNet] = {}

    def load(self, folder: Path, device: torch.device, dtype: torch.dtype) -> LoadedControlNet:
        """The ControlNet in ``folder`` as its files are now; raises WeightsUnavailable where it is damaged."""
        key = (folder.resolve(), _file_stamps(folder), device, dtype)
        loaded = self.extras.pop(key, None)
        if loaded is None:
            loaded = LoadedControlNet(load_part(ControlNetModel, folder, device=device, dtype=dtype))
        self.extras[key] = loaded
        for oldest in list(self.extras)[:-_CACHE_SIZE]:
            del self.extras[oldest]
        return loaded


def _file_stamps(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells that files of a folder have changed: their names, times and sizes."""
    files = [(file.name, file.stat()) for file in sorted(folder.glob("*"))]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)


class ControlNet:
    """A loaded ControlNet with its condition map ``hint`` (1, 3, H, W) in [0, 1], embedded once.

    It answers between the sigmas ``low`` and ``high``, and is not asked outside them.
    """

    def __init__(self, loaded: LoadedControlNet, hint: Tensor, scale: float, low: float, high: float) -> None:
        self.net, self.scale, self.low, self.high = loaded.net, scale, low, high
        self.embedded = loaded.embed(hint)

    def active_rows(self, point: Point | PointBatch, count: int) -> list[bool]:
        """Whether it is to answer at ``point``, or at each row's own."""
        return [self.low <= row.sigma <= self.high for row in point.rows(count)]

    def __call__(self, x: Tensor, timestep: Tensor, told: dict[str, Any]) -> list[Tensor]:
        """What is added to the UNet, which is ``told`` the same: its skips, and its middle last."""
        if self.embedded.shape[-2:] != x.shape[-2:]:
            raise InvalidParameter(
                f"the ControlNet's map becomes {tuple(self.embedded.shape[-2:])} and the model's latents are "
                f"{tuple(x.shape[-2:])}: it belongs to a model of another shape"
            )
        hint = self.embedded.expand(len(x), *self.embedded.shape[1:])
        with inference_context():
            skips, middle = self.net(
                x, timestep, controlnet_cond=hint, conditioning_scale=self.scale, return_dict=False, **told
            )
        return [*skips, middle]


def check_fits(net: Any, unet: Any, latent_channels: int) -> None:
    """Raise InvalidParameter where the answers of a ControlNet could not be added to those of ``unet``."""
    shared = _SHARED_CONFIG if net.config.addition_embed_type is None else (*_SHARED_CONFIG, *_ADDED_CONFIG)
    wanted = {"in_channels": latent_channels, **{name: unet.config[name] for name in shared}}
    for name, value in wanted.items():
        given = net.config[name]
        if _as_tuple(given) != _as_tuple(value):
            raise InvalidParameter(
                f"the ControlNet has {name} {given} and the model {value}: it belongs to a model of another shape"
            )


def _as_tuple(value: Any) -> Any:
    """A value of a configuration: read from a file a tuple is a list."""
    return tuple(value) if isinstance(value, list) else value


def residuals(
    nets: Sequence[ControlNet], x: Tensor, timestep: Tensor, point: Point | PointBatch, told: dict[str, Any]
) -> dict[str, Any]:
    """The sum of what the ControlNets say at ``point``, for a UNet that is ``told`` the same; nothing of none asked."""
    answers = []
    for net in nets:
        asked = net.active_rows(point, len(x))
        if any(asked):
            shown = torch.tensor(asked, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
            said = net(x, timestep, told)
            answers.append(said if all(asked) else [part * shown for part in said])
    if not answers:
        return {}
    *skips, middle = [sum(parts) for parts in zip(*answers, strict=True)]
    return {"down_block_additional_residuals": skips, "mid_block_additional_residual": middle}
