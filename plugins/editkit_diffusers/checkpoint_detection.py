"""Find the model whose configuration belongs to a single-file checkpoint in the original format."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]
"""Shapes of a file's tensors by name."""

_FIRST_CONVOLUTION = "model.diffusion_model.input_blocks.0.0.weight"
"""First convolution of a UNet; its second dimension is the number of input channels."""
_CLIP = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
_OPEN_CLIP = "cond_stage_model.model.token_embedding.weight"
_SECOND_ENCODER = "conditioner.embedders.1.model.token_embedding.weight"
_REFINER_ENCODER = "conditioner.embedders.0.model.token_embedding.weight"
_BASES = {
    (_CLIP, 4): "stable-diffusion-v1-5/stable-diffusion-v1-5",
    (_CLIP, 8): "timbrooks/instruct-pix2pix",
    (_CLIP, 9): "stable-diffusion-v1-5/stable-diffusion-inpainting",
    (_OPEN_CLIP, 4): "stabilityai/stable-diffusion-2-1",
    (_OPEN_CLIP, 9): "stabilityai/stable-diffusion-2-inpainting",
}
_UPSCALERS = {(_OPEN_CLIP, 7): "stabilityai/stable-diffusion-x4-upscaler"}
_XL_BASES = {
    (_SECOND_ENCODER, 4): "stabilityai/stable-diffusion-xl-base-1.0",
    (_SECOND_ENCODER, 8): "diffusers/sdxl-instructpix2pix-768",
    (_SECOND_ENCODER, 9): "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
    (_REFINER_ENCODER, 4): "stabilityai/stable-diffusion-xl-refiner-1.0",
}
"""Hub ids by text encoder and number of input channels."""
_EDM_TENSORS = {"edm_mean", "edm_vpred.sigma_max"}
"""Tensors of models shaped like SDXL with EDM noise levels, which are not supported."""
_V_PREDICTION, _ZERO_SNR = "v_pred", "ztsnr"
"""Empty tensors with which trainers mark velocity prediction and a path that starts at pure noise."""


def detect_stable_diffusion(shapes: Shapes) -> str | None:
    return _find_base(shapes, _BASES)


def detect_upscaler(shapes: Shapes) -> str | None:
    return _find_base(shapes, _UPSCALERS)


def detect_stable_diffusion_xl(shapes: Shapes) -> str | None:
    return _find_base(shapes, _XL_BASES) if _EDM_TENSORS.isdisjoint(shapes) else None


def _find_base(shapes: Shapes, bases: Mapping[tuple[str, int], str]) -> str | None:
    inputs = shapes.get(_FIRST_CONVOLUTION, (0, 0))[1]
    return next((base for (encoder, channels), base in bases.items() if encoder in shapes and channels == inputs), None)


def prediction_config(names: Collection[str]) -> dict[str, Any]:
    """Return the scheduler settings that the tensor names of a checkpoint imply."""
    config: dict[str, Any] = {"prediction_type": "v_prediction"} if _V_PREDICTION in names else {}
    return config | ({"rescale_betas_zero_snr": True} if _ZERO_SNR in names else {})
