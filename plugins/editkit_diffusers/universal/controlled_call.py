"""Estimates of a pipeline under a condition map: by a ControlNet, or by a network that takes the map as channels."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import diffusers
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from torch import Tensor

from ..controlnets.pipelines import PipelineControlNets
from .layout import LatentLayout
from .network_call import NetworkCall, OwnPath, Size
from .pipeline_call import PipelineCall
from .silence import silence
from .stand_in import StandIn

_MAP = "control_image"


def takes_map(kind: Any) -> bool:
    """Return whether the network of a class of pipelines takes a condition map itself, without a ControlNet."""
    called, built = (inspect.signature(function).parameters for function in (kind.__call__, kind.__init__))
    return _MAP in called and "controlnet" not in built


def controlled_pipeline(pipeline: Any, kind: PipelineControlNets, net: Any) -> Any:
    """Return the pipeline with a ControlNet on the parts of one without."""
    controlled = getattr(diffusers, kind.pipeline)
    taken = inspect.signature(controlled.__init__).parameters
    parts = {name: part for name, part in pipeline.components.items() if name in taken}
    with silence():
        return controlled(**parts, controlnet=net)


class ChannelCall(PipelineCall):
    """Calls of a pipeline whose network takes a map; as they estimate nothing, none is encoded, which takes a while."""

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline)
        self._put(self._decoder, StandIn(self.autoencoder, encode=self._zeros))

    def _zeros(self, pixels: Tensor) -> AutoencoderKLOutput:
        """Return zeros as the latents of an image."""
        sides = [side // self.pipeline.vae_scale_factor for side in pixels.shape[-2:]]
        moments = pixels.new_zeros(len(pixels), 2 * self.autoencoder.config.latent_channels, *sides)
        return AutoencoderKLOutput(DiagonalGaussianDistribution(moments, deterministic=True))

    def _run(self, prompts: list[str], size: Size, **more: Any) -> Any:
        return super()._run(prompts, size, **{_MAP: torch.zeros(1, 3, size[1], size[0]), **more})


class ControlledCall(PipelineCall):
    """Calls of a ``pipeline`` under a condition map ``hint`` (1, 3, H, W) in [0, 1], with further ``arguments``.

    They have the turns, the layout, the timesteps and the prompts read so far in common with the ``plain`` calls. The
    autoencoder encodes nothing but the map, once for a number of rows.
    """

    def __init__(
        self, plain: NetworkCall, pipeline: Any, hint: Tensor, arguments: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        super().__init__(pipeline)
        self._encoded: dict[torch.Size, Any] = {}
        self._put(self._decoder, StandIn(self.autoencoder, encode=self._encode_map))
        self.facts, self._plain, self._lock = plain.facts, plain, plain._lock
        self.size: Size = (hint.shape[-1], hint.shape[-2])
        self._map = {_MAP: hint * 2 - 1, **arguments}
        reader = plain.pipeline.__dict__.get("encode_prompt")
        if reader is not None and _parameters(plain.kind) == _parameters(self.kind):
            self._put("encode_prompt", reader)

    def _encode_map(self, pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
        if pixels.shape not in self._encoded:
            self._encoded[pixels.shape] = self._encode_mean(pixels, *args, **kwargs)
        return self._encoded[pixels.shape]

    def _run(self, prompts: list[str], size: Size, **more: Any) -> Any:
        return super()._run(prompts, size, **self._map, **more)

    def layout(self, size: Size) -> LatentLayout:
        return self._plain.layout(size)

    def own_path(self, steps: int, size: Size) -> OwnPath:
        return self._plain.own_path(steps, size)


def _parameters(kind: Any) -> list[str]:
    return list(inspect.signature(kind.encode_prompt).parameters)
