"""Estimates of a pipeline under a ControlNet: calls of its sibling that takes one, on the same parts."""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
from torch import Tensor

from ..controlnets.pipelines import PipelineControlNets
from .layout import LatentLayout
from .network_call import NetworkCall, OwnPath, Size
from .pipeline_call import PipelineCall
from .silence import silence
from .stand_in import StandIn


class ControlledCall(PipelineCall):
    """Calls with the ControlNet ``net`` under a condition map ``hint`` (1, 3, H, W) in [0, 1] at a ``scale``.

    They have the turns, the layout, the timesteps and the prompts read so far in common with ``plain``, the calls of
    the ``pipeline`` without a ControlNet. Their autoencoder encodes nothing but the map, once for a number of rows.
    """

    def __init__(
        self, plain: NetworkCall, pipeline: Any, kind: PipelineControlNets, net: Any, hint: Tensor, scale: float
    ) -> None:
        controlled = getattr(diffusers, kind.pipeline)
        taken = inspect.signature(controlled.__init__).parameters
        parts = {name: part for name, part in pipeline.components.items() if name in taken}
        with silence():
            super().__init__(controlled(**parts, controlnet=net))
        self.facts, self._plain, self._lock = plain.facts, plain, plain._lock
        self.size: Size = (hint.shape[-1], hint.shape[-2])
        self._map = {"control_image": hint * 2 - 1, "controlnet_conditioning_scale": scale}
        self._encoded: dict[int, Any] = {}
        self._put(self._decoder, StandIn(self.autoencoder, encode=self._encode_map))
        reader = plain.pipeline.__dict__.get("encode_prompt")
        if reader is not None and _parameters(type(pipeline).encode_prompt) == _parameters(controlled.encode_prompt):
            self._put("encode_prompt", reader)

    def _encode_map(self, pixels: Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(pixels) not in self._encoded:
            self._encoded[len(pixels)] = self._encode_mean(pixels, *args, **kwargs)
        return self._encoded[len(pixels)]

    def _run(self, prompts: list[str], size: Size, **more: Any) -> Any:
        return super()._run(prompts, size, **self._map, **more)

    def layout(self, size: Size) -> LatentLayout:
        return self._plain.layout(size)

    def own_path(self, steps: int, size: Size) -> OwnPath:
        return self._plain.own_path(steps, size)


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)
