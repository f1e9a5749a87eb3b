"""Literal types of settings, importable without torch."""

from __future__ import annotations

from typing import Literal

Spacing = Literal["leading", "trailing", "linspace", "karras", "distilled"]
"""How the timesteps of a path are laid out; see :mod:`editkit.paths`."""


Prediction = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
"""What a network gives; see :mod:`editkit.predictions`."""
