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

Quantisation = Literal["int8", "fp8", "nf4"]
"""Values of the loading option ``quantise``."""
