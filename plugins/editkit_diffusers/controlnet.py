"""ControlNets of UNets (Zhang et al., arXiv 2302.05543)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ControlNetUnionModel
from torch import Tensor, nn

from editkit import InvalidParameter, Point, PointBatch

from .controlnet_files import load_controlnet
from .inference import inference_context

_CACHE_SIZE = 2
"""Maximum number of ControlNets in the cache of a model."""
_MODES = ("pose", "depth", "scribble", "edge", "normal", "segment", "tile", "repaint")
"""Kinds of condition maps, in the order of ControlNets of several kinds (xinsir's ControlNet++, Union)."""


class LoadedControlNet:
    """A ControlNet in two parts: the embedding of the condition map, and the network on the embedded map."""

    def __init__(self, net: Any) -> None:
        self.net, self.embedding = net, net.controlnet_cond_embedding
        self.swapped = net.config.controlnet_conditioning_channel_order == "bgr"
        # Otherwise the network would swap the channels of its condition and embed it at every call.
        net.controlnet_cond_embedding = nn.Identity()
        net.register_to_config(controlnet_conditioning_channel_order="rgb")

    def embed(self, hint: Tensor) -> Tensor:
        """Embed a condition map (1, 3, H, W) in [0, 1] for the network."""
        return self.embedding(hint.flip(1) if self.swapped else hint)  # type: ignore[no-any-return]

    def mode_number(self, mode: str | None) -> int | None:
        """Return the number of what a map shows, None for a network of one kind.

        Raises InvalidParameter if a network of several kinds does not have this one.
        """
        if not isinstance(self.net, ControlNetUnionModel):
            return None
        modes = _MODES[: self.net.config.num_control_type]
        if mode not in modes:
            raise InvalidParameter(
                f"the ControlNet is one of several kinds, and {mode!r} is none of them: give what the map shows as "
                f"control_mode, one of {', '.join(modes)}"
            )
        return modes.index(mode)


class ControlNetCache:
    """Cache of the ControlNets loaded last, so that the next edit does not read them again."""

    def __init__(self) -> None:
        self.loaded: dict[tuple[Any, ...], LoadedControlNet] = {}
        self.lock = threading.Lock()

    def load(
        self, location: Path, unet: Any, channels: int, *, device: torch.device, dtype: torch.dtype
    ) -> LoadedControlNet:
        """Return the ControlNet in a folder or file for ``unet``, read again if its files changed.

        Raises what :func:`load_controlnet` raises.
        """
        key = (location.resolve(), _file_stamps(location), device, dtype)
        with self.lock:
            loaded = self.loaded.pop(key, None)
            if loaded is None:
                loaded = LoadedControlNet(load_controlnet(location, unet, channels, device=device, dtype=dtype))
            self.loaded[key] = loaded
            for oldest in list(self.loaded)[:-_CACHE_SIZE]:
                del self.loaded[oldest]
            return loaded


def _file_stamps(location: Path) -> tuple[tuple[str, int, int], ...]:
    """Return names, times and sizes of a file or the files in a folder, which change when the files do."""
    found = [location] if location.is_file() else sorted(location.glob("*"))
    files = [(file.name, file.stat()) for file in found]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in files)


class ControlNet:
    """A loaded ControlNet with its condition map ``hint`` (1, 3, H, W) in [0, 1], embedded once.

    It is evaluated at sigmas from ``low`` to ``high`` only. ``mode`` is what the map shows, for networks of several
    kinds. ``mask`` (1, 1, H, W) in [0, 1] weights its residuals at each place.
    """

    def __init__(
        self,
        loaded: LoadedControlNet,
        hint: Tensor,
        scale: float,
        low: float,
        high: float,
        mode: str | None = None,
        mask: Tensor | None = None,
    ) -> None:
        self.mask = mask
        self.mode = loaded.mode_number(mode)
        self.net, self.scale, self.low, self.high = loaded.net, scale, low, high
        self.embedded = loaded.embed(hint)

    def active_rows(self, point: Point | PointBatch, count: int) -> list[bool]:
        """Return for each of ``count`` rows whether the ControlNet is active at its point."""
        return [self.low <= row.sigma <= self.high for row in point.rows(count)]

    def __call__(self, x: Tensor, timestep: Tensor, conditions: dict[str, Any]) -> list[Tensor]:
        """Return the residuals of a UNet under the same conditions: its skips, and its middle block last."""
        if self.embedded.shape[-2:] != x.shape[-2:]:
            raise InvalidParameter(
                f"the ControlNet embeds its map to {tuple(self.embedded.shape[-2:])} and the model's latents are "
                f"{tuple(x.shape[-2:])}: it belongs to a model of another shape"
            )
        hint = self.embedded.expand(len(x), *self.embedded.shape[1:])
        with inference_context():
            skips, middle = self.net(
                x, timestep, **self._map_inputs(hint), conditioning_scale=self.scale, return_dict=False, **conditions
            )
        residuals = [*skips, middle]
        if self.mask is None:
            return residuals
        return [part * F.interpolate(self.mask, part.shape[-2:], mode="area") for part in residuals]

    def _map_inputs(self, hint: Tensor) -> dict[str, Any]:
        if self.mode is None:
            return {"controlnet_cond": hint}
        kinds = torch.zeros(len(hint), self.net.config.num_control_type, dtype=hint.dtype, device=hint.device)
        kinds[:, self.mode] = 1
        return {"controlnet_cond": [hint], "control_type": kinds, "control_type_idx": [self.mode]}


def residuals(
    nets: Sequence[ControlNet], x: Tensor, timestep: Tensor, point: Point | PointBatch, conditions: dict[str, Any]
) -> dict[str, Any]:
    """Return the UNet arguments with the summed residuals of the ControlNets at ``point``; empty if none is active."""
    added = []
    for net in nets:
        active = net.active_rows(point, len(x))
        if any(active):
            factors = torch.tensor(active, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
            parts = net(x, timestep, conditions)
            added.append(parts if all(active) else [part * factors for part in parts])
    if not added:
        return {}
    *skips, middle = [sum(parts) for parts in zip(*added, strict=True)]
    return {"down_block_additional_residuals": skips, "mid_block_additional_residual": middle}
