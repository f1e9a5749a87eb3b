"""Comparison of a pipeline's own images with those that editkit samples on the same weights and the same noise."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from torch import Tensor

import editkit
from editkit import Backend, LoadingOptions, MissingCapability, quiet, read_index

from .flux import Flux
from .flux_tokens import pack
from .universal import modular_loading
from .universal.backend import UniversalBackend
from .universal.facts import UNCHANGED_INPUTS, facts_of
from .universal.loading import build_pipeline, network_reader, parts_of
from .universal.references import needs_image
from .universal.usual import scale_argument

_SEED, _STEPS, _SIDE, _GUIDANCE = 0, 4, 256, 3.0
_PROMPT, _CLASS = "a red apple", 1
_TASKS = re.compile(r"(Adapter|ControlNet(Union)?|PAG)?(Img2Img|Inpaint)?Pipeline$")
"""Ends of the names of pipelines that sample as another pipeline of the same parts does."""
_IMAGE = frozenset({"inpainting", "upscaling"})
"""Capabilities of models whose pipelines sample from an image, which they encode or noise with chance."""


def compare_folder(folder: Path) -> Iterator[tuple[str, float]]:
    """Yield the comparisons of :func:`compare_pipeline` for the pipeline in a folder, loaded in float32.

    Raises WeightsUnavailable for parts that are damaged.
    """
    read = network_reader(torch.float32, LoadingOptions(), folder, warn=lambda text: None)
    index = read_index(folder)
    kind = _own_class(str(index["_class_name"]))
    if issubclass(kind, diffusers.ModularPipeline):
        pipe = modular_loading.build_pipeline(folder, read)
    else:
        pipe = build_pipeline(kind, folder, index, read)
    yield from compare_pipeline(pipe)


def compare_pipeline(pipe: Any, size: tuple[int, int] | None = None) -> Iterator[tuple[str, float]]:
    """Yield the largest difference in [0, 1] of two images of a pipeline and of editkit: unguided and guided.

    Both take four steps of DDIM, or of Euler along a flow, without clipping; ``size`` is (width, height). The scheduler
    of the pipeline may be replaced. Raises MissingCapability for a model whose pipeline samples from an image.
    """
    modular = isinstance(pipe, diffusers.ModularPipeline)
    if not modular:
        kind = _own_class(type(pipe).__name__)
        pipe = pipe if type(pipe) is kind else kind(**parts_of(pipe, kind))
        pipe.scheduler = _first_order(pipe.scheduler)
    pipe.set_progress_bar_config(disable=True)
    model = editkit.from_pipe(pipe)
    if _IMAGE & model.provides or "Pix2Pix" in type(pipe).__name__ or needs_image(pipe):
        raise MissingCapability(
            f"a {type(pipe).__name__} samples from an image, and the comparison from a prompt alone"
        )
    size = size or _size_of(pipe, model)
    prompt = "" if "text" not in model.provides else str(_CLASS) if hasattr(pipe, "labels") else _PROMPT
    own_image = _own_modular_image if modular else _own_image
    unguided = own_image(pipe, model, size, 1.0)
    yield f"an unguided image of {_STEPS} steps", _largest(_sampled(model, size, prompt, 1.0) - unguided)
    if not prompt:
        return
    guided = own_image(pipe, model, size, _GUIDANCE)
    if not torch.equal(guided, unguided):  # pipelines of distilled models do not guide
        yield f"a guided image of {_STEPS} steps", _largest(_sampled(model, size, prompt, _GUIDANCE) - guided)


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max())


def _own_class(name: str) -> Any:
    """Return the class of a pipeline, or that of its text-to-image pipeline."""
    sibling = _TASKS.sub("Pipeline", name).replace("LatentConsistencyModel", "StableDiffusion")
    return getattr(diffusers, sibling, None) or getattr(diffusers, name)


def _first_order(scheduler: Any) -> Any:
    """Return a scheduler whose steps depend on one estimate and no noise, with the schedule of another."""
    config = scheduler.config
    if "solver_order" in config and config.get("prediction_type") == "flow_prediction":
        return type(scheduler).from_config(config, solver_order=1)
    if "FlowMatch" in type(scheduler).__name__:
        return scheduler
    kind = type(scheduler) if "CogVideoX" in type(scheduler).__name__ else diffusers.DDIMScheduler
    # DDIM of diffusers does not step along the timesteps of another spacing than these.
    spacing = config.get("timestep_spacing", "leading")
    with quiet():
        return kind.from_config(
            config, clip_sample=False, timestep_spacing="leading" if spacing == "leading" else "trailing"
        )


def _size_of(pipe: Any, model: Backend) -> tuple[int, int]:
    """Return a small size that the model samples at: its own if it is smaller, or samples at no other."""
    facts = facts_of(type(pipe))
    if facts.fixed_sizes:
        width, height = getattr(pipe, facts.fixed_sizes)[0]
        return width, height
    if facts.fixed_area:
        return model.native_size, model.native_size
    side = max(model.multiple, min(model.native_size, _SIDE) // model.multiple * model.multiple)
    return (side, side)


@torch.no_grad()
def _sampled(model: Backend, size: tuple[int, int], prompt: str, guidance: float) -> Tensor:
    """Return the pixels (1, 3, H, W) in [0, 1] that editkit samples from noise."""
    settings: dict[str, Any] = {"steps": _STEPS, "guidance": guidance, "sampler": "ddim", "seed": _SEED}
    settings |= {"width": size[0], "height": size[1], **({"prompt": prompt} if prompt else {})}
    result: Any = editkit.apply("generate", model=model, **settings)
    return model.decode(result.latents.to(model.device)).float().cpu()


@torch.no_grad()
def _own_image(pipe: Any, model: Backend, size: tuple[int, int], guidance: float) -> Tensor:
    """Return the pixels (1, 3, H, W) in [0, 1] of the pipeline's own loop from the same noise."""
    packed = _packed_noise(model, size)
    arguments = {
        **UNCHANGED_INPUTS,
        "prompt": _PROMPT,
        "class_labels": [_CLASS],
        "width": size[0],
        "height": size[1],
        "max_area": size[0] * size[1],
        "num_inference_steps": _STEPS,
        "generator": torch.Generator().manual_seed(_SEED),
        "output_type": "np" if facts_of(type(pipe)).raw_pixels else "pt",
        "pag_scale": 0.0,
        **facts_of(type(pipe)).arguments,
        **_own_guidance(pipe, model, guidance),
    }
    known = inspect.signature(type(pipe).__call__).parameters
    own = getattr(pipe, "prepare_latents", None)
    if own is None:
        arguments["latents"] = packed
    else:
        pipe.prepare_latents = lambda *args, **kwargs: _with_latents(own(*args, **kwargs), packed)
    try:
        (image, *_) = pipe(return_dict=False, **{name: value for name, value in arguments.items() if name in known})
    finally:
        vars(pipe).pop("prepare_latents", None)
    if isinstance(image, np.ndarray):
        image = torch.as_tensor(image).permute(0, 3, 1, 2)
    return image[:, :3].float().cpu().clamp(0, 1)  # type: ignore[no-any-return]


def _with_latents(prepared: Any, latents: Tensor) -> Any:
    """Return the results of ``prepare_latents`` with other latents."""
    return (latents, *prepared[1:]) if isinstance(prepared, tuple) else latents


@torch.no_grad()
def _own_modular_image(pipe: Any, model: Backend, size: tuple[int, int], guidance: float) -> Tensor:
    """Return the pixels (1, 3, H, W) in [0, 1] of all blocks of a modular pipeline from the same noise."""
    own = copy.copy(pipe)
    own._blocks = pipe.blocks  # a copy
    own._blocks.sub_blocks.pop("prompt_upsampler", None)
    own.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    own.guider = diffusers.ClassifierFreeGuidance(guidance_scale=guidance, enabled=guidance != 1)
    packed = _packed_noise(model, size)
    if packed.dim() == 3:  # tokens, which the blocks take with two axes
        rows, columns = (side // model.multiple for side in (size[1], size[0]))
        packed = packed.mT.reshape(1, -1, rows, columns)
    arguments = {"prompt": _PROMPT, "width": size[0], "height": size[1], "latents": packed}
    if guidance != 1 and "negative_prompt" in own.blocks.input_names:
        arguments["negative_prompt"] = ""
    image: Tensor = own(num_inference_steps=_STEPS, output_type="pt", output="images", **arguments)
    return image.float().cpu().clamp(0, 1)


def _packed_noise(model: Backend, size: tuple[int, int]) -> Tensor:
    """Return the noise of editkit's seed in the layout of the pipeline."""
    random = torch.Generator().manual_seed(_SEED)
    noise = torch.randn((1, *model.latent_shape(*size)), generator=random, dtype=torch.float32)
    if isinstance(model, UniversalBackend):
        noise = model.call.layout(size).pack(noise)
    elif isinstance(model, Flux):
        noise = pack(noise)
    return noise.to(model.device, model.dtype)


def _own_guidance(pipe: Any, model: Backend, guidance: float) -> Mapping[str, Any]:
    """Return the arguments by which a pipeline guides as editkit does at a scale."""
    names = inspect.signature(type(pipe).__call__).parameters
    argument = scale_argument(names, is_input="distilled-guidance" in model.provides)
    negative = {"negative_prompt": ""} if argument == "true_cfg_scale" and guidance != 1 else {}
    return {argument: guidance - 1 + facts_of(type(pipe)).unguided, **negative}
