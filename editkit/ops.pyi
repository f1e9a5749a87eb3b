"""Types of the operations of editkit. Written by docs/generate.py. Do not edit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import torch

from .editing.results.result import Result
from .images.masks.painted import PaintedMask
from .images.masks.specification import MaskSpecification
from .images.sources import Source
from .inversion.inversion import Inversion
from .model.adapters import Adapter
from .model.backend import Backend

def chord_edit(
    image: Source,
    *,
    source: str,
    target: str,
    steps: int = 1,
    level: float = 0.9,
    delta: float = 0.15,
    scale: float = 1.0,
    refine: float = 0.3,
    averages: int = 1,
    sampler: str | Mapping[str, Any] = "ddim",
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    negative_prompt: str = "",
    gate: float = 0.0,
    frame: Literal["auto", "off"] = "auto",
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    guidance: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    seed: int | None = None,
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Edit an image from a source prompt to a target prompt in one step, without inverting it.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    source: Prompt that describes the image.
    target: Prompt that describes the edited image.
    steps: Steps of the edit, at levels from level to refine.
    level: Noise level of the first step, as a share of the training timesteps; above that of refine.
    delta: Distance to the lower noise level that a step takes its mean with; 0 takes none.
    scale: Length of a step: factor of the estimated difference.
    refine: Noise level from which the target prompt refines the result once; 0 leaves that out.
    averages: Noise samples over which the edit of each step is averaged.
    sampler: Without effect: no path is sampled. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    spacing: Without effect: no path is sampled.
    negative_prompt: Content to steer away from; the source prompt when not given.
    gate: Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the source; from
        three times as much it changes in full. 0 leaves nothing out.
    frame: auto edits the subject in the place and size that a model of single subjects expects; off leaves it where it
        stands.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2602.19083
    """

def control(
    image: Source,
    *,
    kind: str | Mapping[str, Any] = "edge",
    prompt: str = "",
    strength: float = 1.0,
    control_scale: float = 1.0,
    control_start: float = 0.0,
    control_end: float = 1.0,
    control_image: Source | None = None,
    control_invert: bool = False,
    control_mode: Literal["pose", "depth", "scribble", "edge", "normal", "segment", "tile", "repaint", "blur", "grey", "low-quality"] | None = None,
    controlnet: str | None = None,
    guidance: float = 3.0,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Sample under a condition map of an image: its edges, its depth.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    kind: Annotator that computes the condition map, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.
    prompt: Description of the result.
    strength: Noise level to start from: 1 starts from noise, less from the noised image.
    control_scale: Strength of the condition map.
    control_start: Fraction of the path before which the map is off.
    control_end: Fraction of the path after which the map is off; no step with it ends behind that.
    control_image: Ready-made condition map instead of the annotator's, in grey (near and edges white) or in colour.
    control_invert: Invert the ready-made map, if black stands for near and edges.
    control_mode: What the map shows, for ControlNets that need it (Union, 3.5 large); by default by the annotator.
    controlnet: Folder or file of the ControlNet; the one registered for the model and the kind when not given.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2302.05543
    """

def few_step_edit(
    image: Source,
    *,
    source: str,
    target: str,
    strength: float = 1.0,
    steps: int = 4,
    sampler: str | Mapping[str, Any] = "lcm",
    guidance: float = 2.0,
    negative_prompt: str = "",
    gate: float = 0.0,
    frame: Literal["auto", "off"] = "auto",
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    seed: int | None = None,
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Edit an image from a source prompt to a target prompt in a few steps, without inverting it.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    source: Prompt that describes the image.
    target: Prompt that describes the edited image.
    strength: Share of the path that is used; 0 keeps the image.
    steps: Steps of a whole path, from noise to image.
    sampler: Sampler by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    negative_prompt: Content to steer away from; the source prompt when not given.
    gate: Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the source; from
        three times as much it changes in full. 0 leaves nothing out.
    frame: auto edits the subject in the place and size that a model of single subjects expects; off leaves it where it
        stands.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2312.04965
    """

def flow_edit(
    image: Source,
    *,
    source: str,
    target: str,
    strength: float = 1.0,
    guidance: float = 1.0,
    averages: int = 1,
    source_guidance: float | None = None,
    terminal: float = 0.0,
    negative_prompt: str = "",
    gate: float = 0.0,
    frame: Literal["auto", "off"] = "auto",
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Edit an image from a source prompt to a target prompt without inverting it.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    source: Prompt that describes the image.
    target: Prompt that describes the edited image.
    strength: Share of the path that is used, from its clean end; 0 keeps the image.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    averages: Noise samples over which the edit of each step is averaged.
    source_guidance: Guidance scale of the source prompt; that of the target prompt when not given.
    terminal: Weight of the pull of the estimated result towards the source in each step (FlowAlign: 0.01).
    negative_prompt: Content to steer away from; the source prompt if neither this nor source_guidance is given.
    gate: Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the source; from
        three times as much it changes in full. 0 leaves nothing out.
    frame: auto edits the subject in the place and size that a model of single subjects expects; off leaves it where it
        stands.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2412.08629
    """

def generate(
    *,
    prompt: str = "",
    guidance: float = 3.0,
    width: int | None = None,
    height: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Generate an image from noise, following a prompt if the model takes text.

    prompt: Description of the image.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    width: Pixels; the model's own size when not given.
    height: Pixels; the model's own size when not given.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply.

    Source: https://arxiv.org/abs/2006.11239
    """

def img2img(
    image: Source,
    *,
    prompt: str = "",
    strength: float = 0.6,
    guidance: float = 3.0,
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Add noise to an image up to a strength and sample it again with a prompt.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    prompt: Description of the result.
    strength: Noise level to start from: 0 keeps the image, 1 replaces it.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2108.01073
    """

def inpaint(
    image: Source,
    *,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any],
    prompt: str = "",
    strength: float = 1.0,
    resample: int = 1,
    context: float | None = None,
    guidance: float = 3.0,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Fill the masked region of an image, consistent with its surroundings.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    mask: Mask of the image's size: white is replaced, black is kept. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    prompt: Description of the whole result.
    strength: Noise level to start from: 1 discards the masked content, less keeps some of it.
    resample: Times each step is taken (RePaint); more fits the new content better to the kept pixels.
    context: Margin processed around the mask, as a share of the mask's size; 0 for the whole image. When not given, 0.5
        or more for a mask that is small at the model's scale, else 0.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2201.09865
    """

def instruct(
    image: Source,
    *,
    instruction: str,
    method: Literal["ip2p", "inversion"] | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    image_guidance: float | None = None,
    source: str = "",
    target: str = "",
    captioner: str | Mapping[str, Any] | None = None,
    inverter: str | Mapping[str, Any] = "pinned",
    gate: float = 0.0,
    frame: Literal["auto", "off"] = "auto",
    reference: Source | Sequence[Source] = (),
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Edit an image by an instruction: make it green.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    instruction: Change to make, for example: make it green.
    method: ip2p uses a model that takes instructions, inversion edits from a source prompt to a target prompt. If not
        given, ip2p for such a model without prompts, else inversion.
    steps: Number of steps from noise to image; the model's default, or 25, when not given.
    guidance: Guidance scale of the text; when not given, the model's default, or 1 for inversion.
    image_guidance: Guidance scale of the image, for ip2p only; the model's default when not given.
    source: Description of the image, for inversion only.
    target: Description of the result, for inversion only; derived from the instruction when not given.
    captioner: Captioner that describes the image, instead of source; with options after a colon. Or a mapping: {"name":
        NAME, "OPTION": VALUE}.
    inverter: Inverter by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    gate: Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the source; from
        three times as much it changes in full. 0 leaves nothing out.
    frame: auto edits the subject in the place and size that a model of single subjects expects; off leaves it where it
        stands.
    reference: Further image for the instruction to refer to, at its own size; for models that read several images.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2211.09800
    """

def interpolate(
    a: Source,
    b: Source,
    *,
    frames: int = 5,
    source: str = "",
    target: str = "",
    inverter: str | Mapping[str, Any] = "pinned",
    resolution: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Generate images between two images, on the arc between their noises.

    a: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    b: Of the same size. Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    frames: Number of frames, the two sources included.
    source: Prompt of the first image.
    target: Prompt of the second image.
    inverter: Inverter by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply.

    Source: https://arxiv.org/abs/2010.02502
    """

def invert(
    image: Source,
    *,
    prompt: str = "",
    method: str | Mapping[str, Any] = "pinned",
    steps: int = 50,
    resolution: int | None = None,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Inversion:
    """Recover the noise from which an image would be sampled.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    prompt: Description of the image.
    method: Inverter by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    steps: Steps from image to noise.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2010.02502
    """

def outpaint(
    image: Source,
    *,
    left: int = 0,
    right: int = 0,
    top: int = 0,
    bottom: int = 0,
    prompt: str = "",
    resample: int = 1,
    resolution: int | None = None,
    guidance: float = 3.0,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Extend an image beyond its edges.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    left: Pixels to add on the left.
    right: Pixels to add on the right.
    top: Pixels to add at the top.
    bottom: Pixels to add at the bottom.
    prompt: Description of the whole result.
    resample: Times each step is taken (RePaint); more fits the new pixels better to the source.
    resolution: Longest side in pixels of the source at the model's scale: more gives finer detail and less context.
        When not given, the window covers the whole result up to twice the source.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2201.09865
    """

def prompt_edit(
    image: Source | Inversion,
    *,
    source: str,
    target: str,
    strength: float = 1.0,
    inverter: str | Mapping[str, Any] = "pinned",
    keep: Literal["structure", "appearance", "both"] | None = None,
    negative_prompt: str = "",
    gate: float = 0.0,
    frame: Literal["auto", "off"] = "auto",
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    steps: int = 25,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Invert an image under a source prompt and sample it again under a target prompt.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor. Or an
        inversion: a result of editkit.invert, or its file.
    source: Prompt that describes the image.
    target: Prompt that describes the edited image.
    strength: Share of the path that is inverted and sampled, from its clean end; 0 keeps the image.
    inverter: Inverter by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    keep: Part of the source to keep more of, at less effect of the edit: the structure (where things are), or the
        appearance (colours and surfaces).
    negative_prompt: Content to steer away from; the source prompt when not given.
    gate: Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the source; from
        three times as much it changes in full. 0 leaves nothing out.
    frame: auto edits the subject in the place and size that a model of single subjects expects; off leaves it where it
        stands.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    steps: Number of steps of a whole path, from noise to image.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2310.01506
    """

def reconstruct(
    inversion: Inversion | str | PathLike[str],
    *,
    guidance: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Sample an inverted image again from its noise.

    inversion: A result of editkit.invert, or its file.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply.

    Source: https://arxiv.org/abs/2310.01506
    """

def uni_edit(
    image: Source,
    *,
    source: str,
    target: str,
    steps: int = 15,
    strength: float = 0.6,
    guidance: float = 5.0,
    inverter: str | Mapping[str, Any] = "ddim-corrected",
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    gate: float = 0.0,
    frame: Literal["auto", "off"] = "auto",
    auto_mask: Literal["difference", "attention", "both"] | None = None,
    mask_threshold: float | None = None,
    mask: Source | MaskSpecification | PaintedMask | Mapping[str, Any] | None = None,
    segmenter: str | Mapping[str, Any] | None = None,
    mask_from: Literal["auto", "luma", "alpha", "inverse-alpha"] = "auto",
    invert_mask: bool = False,
    feather: float = 0.0,
    resolution: int | None = None,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Invert a part of the path and edit most where the two prompts differ most.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    source: Prompt that describes the image.
    target: Prompt that describes the edited image.
    steps: Steps of a whole path, from noise to image.
    strength: Share of the path that is inverted and sampled, from its clean end; 0 keeps the image.
    guidance: Guidance scale against the source prompt where the prompts differ least; where they differ most it is one
        more than twice as large.
    inverter: Inverter by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    negative_prompt: Without effect: it is the source prompt.
    negative_guidance: Without effect: the source prompt is the negative one.
    gate: Change of colour, as a share of the edit's largest one, up to which a pixel stays that of the source; from
        three times as much it changes in full. 0 leaves nothing out.
    frame: auto edits the subject in the place and size that a model of single subjects expects; off leaves it where it
        stands.
    auto_mask: Find the mask: by the difference of the estimates under both prompts (DiffEdit), by the attention to the
        words that change (prompt-to-prompt), or by both (LEDITS++). Beside a mask, only their common part changes.
    mask_threshold: Value from which a place counts as changed; the published one when not given: 0.5 of the clipped
        difference, 0.3 of the largest attention, and the quantile 0.9 for both.
    mask: Mask of the image's size: white is changed, black is kept bit for bit. words:the hat and points:X,Y+X,Y-X,Y
        let a segmenter find it, and strokes:SIZE@X,Y+X,Y paints it. Or a mapping: {"words": "the hat"} or {"inside":
        [(x, y)], "outside": []}.
    segmenter: Segmenter that finds a mask of words or points by name, with options after a colon. Or a mapping:
        {"name": NAME, "OPTION": VALUE}.
    mask_from: Mark by luminance, opacity or transparency of the mask; auto decides by its pixels.
    invert_mask: Exchange marked and kept pixels of the mask.
    feather: Width in pixels over which the mask's edge fades inward.
    resolution: Longest side in pixels at which the model works; the model's own when not given, and for images longer
        than 4:1 windows of that size.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2504.13109
    """

def upscale(
    image: Source,
    *,
    scale: Literal[2, 4] = 2,
    prompt: str = "",
    steps: int | None = None,
    strength: float | None = None,
    noise_level: int = 20,
    resolution: int | None = None,
    spacing: Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"] | None = None,
    guidance: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_start: float = 0.0,
    guidance_end: float = 1.0,
    sampler: str | Mapping[str, Any] = "ddim",
    seed: int | None = None,
    negative_prompt: str = "",
    negative_guidance: float = 1.0,
    long_prompts: bool = False,
    attach: Sequence[str | Mapping[str, Any]] = (),
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[str | PathLike[str] | Adapter | Mapping[str, Any]] = (),
    compile: bool = False,
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] | None = None,
    compile_decoder: bool = False,
    attention: Literal["native", "_native_math", "_native_flash", "_native_efficient", "_native_cudnn", "flex", "flash", "flash_varlen", "_flash_3", "_flash_varlen_3", "sage", "sage_varlen", "_sage_qk_int8_pv_fp8_cuda", "_sage_qk_int8_pv_fp8_cuda_sm90", "_sage_qk_int8_pv_fp16_cuda", "_sage_qk_int8_pv_fp16_triton", "xformers"] | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | PathLike[str] | None = None,
    transformer: str | PathLike[str] | None = None,
    quantise: Literal["int8", "fp8", "nf4"] | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Callable[..., Iterable[Any]] | None = None,
    cache: bool = True,
) -> Result:
    """Enlarge an image 2 or 4 times; averaged down again, the result is the image.

    image: Anything editkit.open_image reads: a path, bytes, a PIL image, a Result, an array or a tensor.
    scale: Factor by which width and height grow.
    prompt: Description of the image.
    steps: Number of steps from noise to image; the model's default, or 25, when not given.
    strength: Share of the path that is sampled: 0 adds no detail. When not given, 1 with an upscaling model; with any
        other, the model's default, or 0.3.
    noise_level: Timestep of the noise in an upscaling model's condition image: more gives more freedom.
    resolution: Side of the tiles in pixels; the model's native size when not given.
    spacing: Spacing of the timesteps; the model's own when not given.
    guidance: Guidance scale; 1 evaluates the prompt alone.
    guidance_rescale: Strength of guidance rescaling, 0 to 1 (arXiv 2305.08891).
    guidance_start: Fraction of the path before which guidance is off.
    guidance_end: Fraction of the path after which guidance is off.
    sampler: Sampler by name, with options after a colon: ddim:eta=0.5. Or a mapping: {"name": NAME, "OPTION": VALUE}.
    seed: Seed of the noise; chosen at random and reported when not given.
    negative_prompt: Content to steer away from.
    negative_guidance: Guidance scale away from the negative prompt, for models whose guidance is an input of the
        network (FLUX.1's true_cfg_scale); 1 evaluates no negative prompt.
    long_prompts: Read prompts beyond the limit of the text encoder too, in chunks; for models whose text encoders are
        CLIP.
    attach: Further controls of sampling by name, with options after a colon. Or a mapping: {"name": NAME, "OPTION":
        VALUE}.

    The arguments from model on are those of editkit.apply. A list of images returns a list of results, as
        editkit.apply_all does, and an Animation an AnimationResult.

    Source: https://arxiv.org/abs/2112.10752
    """

def __getattr__(name: str) -> Callable[..., Any]:
    """Return the function of an operation that another package registers."""
