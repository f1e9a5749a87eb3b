"""What one who knows diffusers does by hand, without writing a pipeline of one's own.

Prompts read once, inference mode, weights in the layout that convolutions are quickest with, attention by one fused
kernel where a pipeline takes it away, no work whose result is thrown away. The answers stay the same to rounding: what
would change them is no tuning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .counters import replaced


@contextlib.contextmanager
def two_branches(unet: Any) -> Iterator[None]:
    """InstructPix2Pix at image guidance 1: the estimate without picture has weight 0, so any other may stand for it."""
    ask = unet.forward

    def forward(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **told: Any) -> Any:
        rows = len(sample) * 2 // 3
        (answer,) = ask(sample[:rows], timestep, encoder_hidden_states=encoder_hidden_states[:rows], **told)
        return (torch.cat([answer, answer[rows // 2 :]]),)

    with replaced(unet, "forward", forward):
        yield


@contextlib.contextmanager
def sparing(net: Any) -> Iterator[None]:
    """A ControlNet that embeds its map once, and where its scale is 0 says so without being asked."""
    ask, embed = net.forward, net.controlnet_cond_embedding.forward
    kept: dict[str, Any] = {}

    def embedding(hint: Tensor) -> Tensor:
        if "hint" not in kept:
            kept["hint"] = embed(hint)
        return kept["hint"]  # type: ignore[no-any-return]

    def forward(sample: Tensor, *args: Any, conditioning_scale: float = 1.0, **told: Any) -> Any:
        if conditioning_scale == 0 and "silence" in kept:
            return kept["silence"]
        answer = ask(sample, *args, conditioning_scale=conditioning_scale, **told)
        if "silence" not in kept:
            skips, middle = answer
            kept["silence"] = [torch.zeros_like(skip) for skip in skips], torch.zeros_like(middle)
        return answer

    with replaced(net, "forward", forward), replaced(net.controlnet_cond_embedding, "forward", embedding):
        yield


@contextlib.contextmanager
def fused_and_not_decoded(pipeline: Any) -> Iterator[None]:
    """LEDITS++ without the slow attention that it switches to, and without the reconstruction that nobody asked for."""

    def not_decoded(latents: Tensor, **_: Any) -> tuple[Tensor]:
        return (latents[:, :3],)

    keep: Callable[[Any], None] = lambda processor: None  # noqa: E731
    with replaced(pipeline.unet, "set_attn_processor", keep), replaced(pipeline.vae, "decode", not_decoded):
        yield
