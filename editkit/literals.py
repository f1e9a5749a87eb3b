"""Literal types of settings, importable without torch."""

from __future__ import annotations

from typing import Literal

Spacing = Literal["leading", "trailing", "linspace", "karras", "exponential", "beta", "distilled"]
"""Spacing of the timesteps of a sampling path; see :mod:`editkit.diffusion.paths`."""

Prediction = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
"""Output of a network; see :mod:`editkit.diffusion.predictions`."""

MaskFrom = Literal["auto", "luma", "alpha", "inverse-alpha"]
"""Property of a mask's pixels that marks the image."""

AutoMask = Literal["difference", "attention", "both"]
"""Ways to find a mask; see :mod:`editkit.editing.masks.automatic`."""

ModelPrediction = Literal["epsilon", "v_prediction", "sample", "flow"]
"""Values of the loading option ``prediction``."""

CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
"""Values of the execution option ``compile_mode``: modes of ``torch.compile``."""

AttentionBackend = Literal[
    "native",
    "_native_math",
    "_native_flash",
    "_native_efficient",
    "_native_cudnn",
    "flex",
    "flash",
    "flash_varlen",
    "_flash_3",
    "_flash_varlen_3",
    "sage",
    "sage_varlen",
    "_sage_qk_int8_pv_fp8_cuda",
    "_sage_qk_int8_pv_fp8_cuda_sm90",
    "_sage_qk_int8_pv_fp16_cuda",
    "_sage_qk_int8_pv_fp16_triton",
    "xformers",
]
"""Values of the execution option ``attention``: names of diffusers, without those that load code from the hub."""

Quantisation = Literal["int8", "fp8", "nf4"]
"""Values of the loading option ``quantise``."""
