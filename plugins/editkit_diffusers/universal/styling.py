"""Styles of pipelines: what a pipeline is called as for rows that an IP-Adapter acts on."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from editkit import STYLE, Condition, InvalidParameter, Point

from ..style.attached import attached, styles_of
from ..style.ip_adapter import FLUX, UNET, IPAdapters, IPAdapterStyle, Layout, styled_network
from .layout import LatentLayout
from .network_call import NetworkCall, OwnPath, Size
from .pipeline_call import PipelineCall

LAYOUTS: Mapping[str, Layout] = MappingProxyType({"ChromaPipeline": FLUX, "KolorsPipeline": UNET})
"""Layout of the IP-Adapters of a pipeline, by its class."""
_NETWORKS = ("transformer", "unet")


class StyledCall(PipelineCall):
    """Calls of a pipeline in which ``net``, on the weights of its network, takes the place of the network.

    They have the turns, the layout, the timesteps and the prompts read so far in common with ``plain``, the calls of
    the ``pipeline`` without a style.
    """

    def __init__(self, plain: NetworkCall, pipeline: Any, net: Any) -> None:
        styled = copy.copy(pipeline)
        part = next(name for name in _NETWORKS if hasattr(pipeline, name))
        styled.__dict__[part] = net
        super().__init__(styled)
        self._plain, self._lock = plain, plain._lock
        reader = plain.pipeline.__dict__.get("encode_prompt")
        if reader is not None:
            self._put("encode_prompt", reader)

    def layout(self, size: Size) -> LatentLayout:
        return self._plain.layout(size)

    def own_path(self, steps: int, size: Size) -> OwnPath:
        return self._plain.own_path(steps, size)


class StyledPipeline:
    """Base of the backend of a pipeline ``pipe``, which is called with a style for the rows that have one."""

    name: str
    pipe: Any
    net: Any
    identity: str
    call: NetworkCall
    device: torch.device
    dtype: torch.dtype

    def __init__(self) -> None:
        layout = LAYOUTS.get(type(self.pipe).__name__)
        self.ip_adapters = None if layout is None else IPAdapters(layout)
        super().__init__()

    @contextlib.contextmanager
    def with_style(
        self, weights: Path, image: Image.Image, *, mask: Tensor | None = None, **options: Any
    ) -> Iterator[None]:
        """Return a context in which an IP-Adapter styles rows; raises InvalidParameter for a mask."""
        assert self.ip_adapters is not None
        if mask is not None:
            raise InvalidParameter(f"style:mask= is not allowed: {type(self.pipe).__name__} takes none; leave it out")
        with attached(self, self.ip_adapters.style(self, weights, image, **options)):
            yield

    def roles(self, condition: Condition) -> list[int]:
        """Return the value of ``STYLE`` of each row; 0 for all while no style is attached."""
        styled = STYLE in condition and bool(styles_of(self))
        return condition[STYLE].tolist() if styled else [0] * len(condition["call"])

    def styled_call(self, point: Point, role: int) -> tuple[StyledCall, dict[str, Any]] | None:
        """Return the call for rows of a value of ``STYLE`` at a point and its arguments; None if no style acts."""
        styles = tuple(cast(IPAdapterStyle, style) for style in styles_of(self) if style.acts_on(point, role))
        if not styles:
            return None
        calls = styles[0].kept
        if styles not in calls:
            calls[styles] = StyledCall(self.call, self.pipe, styled_network(styles))
        embeddings = [style.rows([role]) for style in styles]
        # The pipeline repeats the one row; it would embed an image for the negative prompt, which it does not evaluate.
        arguments = {"ip_adapter_image_embeds": embeddings, "negative_ip_adapter_image_embeds": embeddings}
        return calls[styles], arguments
