"""ControlNets of pipelines: what a pipeline is called as while one is attached."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from editkit import ExecutionOptions, FileCache, InvalidParameter, MissingCapability, Point, file_stamps

from ..controlnets.attached import attach, attached_to
from ..controlnets.files import load_controlnet
from ..controlnets.pipelines import PIPELINES
from .controlled_call import ChannelCall, ControlledCall, controlled_pipeline
from .network_call import NetworkCall, Size


class _Attached(NamedTuple):
    call: ControlledCall
    low: float
    high: float


class SteeredPipeline:
    """Base of the backend of a pipeline ``pipe``, which is called with a ControlNet while one is attached."""

    name: str
    pipe: Any
    call: NetworkCall
    device: torch.device
    dtype: torch.dtype
    execution: ExecutionOptions

    def __init__(self) -> None:
        self.takes = PIPELINES.get(type(self.pipe).__name__)
        self._controlnet_cache = FileCache[Any](maxsize=2)
        super().__init__()

    @contextlib.contextmanager
    def with_controlnet(
        self,
        folder: Path | None,
        hint: Tensor,
        *,
        scale: float,
        low: float,
        high: float,
        mode: str | None = None,
        mask: Tensor | None = None,
    ) -> Iterator[None]:
        """Return a context in which a ControlNet steers the pipeline; ``mode`` has no effect.

        Raises InvalidParameter for a second ControlNet and for a mask.
        """
        if attached_to(self):
            raise InvalidParameter(
                f"a second condition map is not allowed: {self.call.kind.__name__} and its ControlNets take one; leave "
                "one out"
            )
        if mask is not None:
            raise InvalidParameter(
                f"a mask of a condition map is not allowed: {self.call.kind.__name__} and its ControlNets take none"
            )
        hint = hint.to(self.device, self.dtype)
        if folder is None:
            call = ControlledCall(self.call, self.pipe, hint)
        else:
            call = ControlledCall(self.call, self._controlled(folder), hint, {"controlnet_conditioning_scale": scale})
        with attach(self, _Attached(call, low, high)) if scale else contextlib.nullcontext():
            yield

    def _controlled(self, folder: Path) -> Any:
        """Return the pipeline with the ControlNet in a folder or file."""
        assert self.takes is not None
        offloads = [name for name in self.execution.requested if name.endswith("offload")]
        if offloads and self.takes.shares_parts:
            raise MissingCapability(
                f"{offloads[0]}=True is not possible with a ControlNet of {self.takes.name}, which evaluates parts of "
                "the model beside the model itself: leave one out"
            )
        load = functools.partial(self._load_controlnet, folder)
        net = self._controlnet_cache.get((folder, self.device, self.dtype), file_stamps(folder), load)
        return controlled_pipeline(self.pipe, self.takes, net)

    def _load_controlnet(self, location: Path) -> Any:
        assert self.takes is not None
        family = self.takes.family(self.call.network.config)
        return load_controlnet(location, family, device=self.device, dtype=self.dtype)

    @property
    def controlnets(self) -> list[Any]:
        """ControlNets that are attached to the model in this thread."""
        return attached_to(self)

    def call_at(self, point: Point, size: Size) -> NetworkCall:
        """Return the call of the pipeline for an estimate at a point of an image of a size.

        Raises InvalidParameter if its network takes a condition map and none is attached, or one of another size.
        """
        for call, low, high in attached_to(self):
            if low <= point.sigma <= high:
                if call.size != size:
                    raise InvalidParameter(
                        f"the condition map has {call.size[0]} x {call.size[1]} pixels and the image that is sampled "
                        f"{size[0]} x {size[1]}: both must have one size"
                    )
                return call  # type: ignore[no-any-return]
        if isinstance(self.call, ChannelCall):
            raise InvalidParameter(
                f"the model {self.name!r} needs a condition map for every image: use control, or add "
                "--attach controlnet:kind=..."
            )
        return self.call
