"""Images by a pipeline's own call, and by editkit with the same model, from the same noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor

import editkit
from editkit import Backend

from .family import Family

SEED, STEPS = 7, 4


def random_image(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@contextmanager
def injected(pipeline: Any, noise: Tensor) -> Iterator[dict[str, Any]]:
    """Make a pipeline start from ``noise``, in its own order; yields the arguments of the call that do it."""
    if not hasattr(pipeline, "prepare_latents"):
        yield {"latents": noise}
        return
    own = pipeline.prepare_latents

    def prepare_latents(*args: Any, **kwargs: Any) -> Any:
        prepared = own(*args, **kwargs)
        return (noise, *prepared[1:]) if isinstance(prepared, tuple) else noise

    pipeline.prepare_latents = prepare_latents
    try:
        yield {}
    finally:
        del pipeline.prepare_latents


def own_scheduler(pipeline: Any) -> Any:
    """The scheduler whose steps editkit takes: DDIM for models that are no flows."""
    name = type(pipeline.scheduler).__name__
    if "Flow" in name or "DDIM" in name or getattr(pipeline.scheduler.config, "use_flow_sigmas", False):
        return pipeline.scheduler
    return DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False, timestep_spacing="leading"
    )


def pack(model: Any, pipeline: Any, noise: Tensor) -> Tensor:
    """Latents (B, C, h, w) in the order in which the pipeline's loop holds them."""
    if hasattr(model, "call"):
        return model.call.layout(model._size_of(noise)).pack(noise)
    return pipeline._pack_latents(noise, *noise.shape) if hasattr(pipeline, "_pack_latents") else noise


@torch.no_grad()
def draw_by_pipeline(model: Any, pipeline: Any, family: Family, *, guided: bool = False, **more: Any) -> Tensor:
    """The pixels (1, 3, H, W) that the pipeline draws from editkit's noise."""
    width, height = family.size
    noise = torch.randn(1, *model.latent_shape(width, height), generator=torch.Generator().manual_seed(SEED))
    with injected(pipeline, pack(model, pipeline, noise)) as latents:
        arguments = {**family.arguments(guided=guided), **latents, **more, "num_inference_steps": STEPS}
        (drawn, *_) = pipeline(**arguments, output_type="pt", return_dict=False)
    return drawn[:, :3]


@torch.no_grad()
def draw_by_editkit(model: Backend, family: Family, *, guided: bool = False, **more: Any) -> Tensor:
    """The pixels (1, 3, H, W) of ``generate``."""
    width, height = family.size
    result = editkit.apply(
        "generate",
        model=model,
        prompt=family.prompt,
        width=width,
        height=height,
        steps=STEPS,
        seed=SEED,
        **{"guidance": 1.0, **more},
    )
    return model.decode(result.latents)


def largest(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())
