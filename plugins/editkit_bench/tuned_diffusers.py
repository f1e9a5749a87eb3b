"""Tuning of diffusers by hand, without writing a new pipeline.

Prompts are encoded once; networks run in inference mode, with channels-last weights and fused attention even if a
pipeline disables it; results that are not used are not computed. Results stay equal up to rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .counters import replaced_attribute
from .fixture import ComparisonFixture, Runner


def in_inference_mode(run: Runner) -> Runner:
    """Return a side of a comparison that runs in inference mode, of which nothing else can be tuned."""

    def run_tuned(fixture: ComparisonFixture) -> object:
        with torch.inference_mode():
            return run(fixture)

    return run_tuned


@contextlib.contextmanager
def two_branches(unet: Any) -> Iterator[None]:
    """Skip the estimate without image of InstructPix2Pix: at image guidance 1 its weight is 0."""
    call = unet.forward

    def forward(sample: Tensor, timestep: Any, encoder_hidden_states: Tensor, **options: Any) -> Any:
        rows = len(sample) * 2 // 3
        (output,) = call(sample[:rows], timestep, encoder_hidden_states=encoder_hidden_states[:rows], **options)
        return (torch.cat([output, output[rows // 2 :]]),)

    with replaced_attribute(unet, "forward", forward):
        yield


@contextlib.contextmanager
def cached_control_map(net: Any) -> Iterator[None]:
    """Let a ControlNet embed its map once, and return zeros without a call if its scale is 0."""
    call, embed = net.forward, net.controlnet_cond_embedding.forward
    cache: dict[str, Any] = {}

    def embedding(hint: Tensor) -> Tensor:
        if "hint" not in cache:
            cache["hint"] = embed(hint)
        return cache["hint"]  # type: ignore[no-any-return]

    def forward(sample: Tensor, *args: Any, conditioning_scale: float = 1.0, **options: Any) -> Any:
        if conditioning_scale == 0 and "zeros" in cache:
            return cache["zeros"]
        output = call(sample, *args, conditioning_scale=conditioning_scale, **options)
        if "zeros" not in cache:
            skips, middle = output
            cache["zeros"] = [torch.zeros_like(skip) for skip in skips], torch.zeros_like(middle)
        return output

    with (
        replaced_attribute(net, "forward", forward),
        replaced_attribute(net.controlnet_cond_embedding, "forward", embedding),
    ):
        yield


@contextlib.contextmanager
def fused_without_decoding(pipeline: Any) -> Iterator[None]:
    """Run LEDITS++ without the slow attention that it switches to and without its unused reconstruction."""

    def skip_decoding(latents: Tensor, **_: Any) -> tuple[Tensor]:
        return (latents[:, :3],)

    keep: Callable[[Any], None] = lambda processor: None  # noqa: E731
    with (
        replaced_attribute(pipeline.unet, "set_attn_processor", keep),
        replaced_attribute(pipeline.vae, "decode", skip_decoding),
    ):
        yield
