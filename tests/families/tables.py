"""All families by name."""

from __future__ import annotations

from .controls import CONTROLS
from .diffusion_models import DIFFUSION_MODELS
from .edit_models import EDIT_MODELS
from .grid_flows import GRID_FLOWS
from .token_flows import TOKEN_FLOWS

FAMILIES = {**DIFFUSION_MODELS, **GRID_FLOWS, **TOKEN_FLOWS, **EDIT_MODELS, **CONTROLS}

REFUSED = {
    "sana-sprint": "its network predicts no estimate at one point",
    "prx-pixel": "decodes no latents",
    "omnigen": "its time runs from the image to noise",
    "dreamlite": "samples its noise inside its call",
}
"""Families that editkit refuses, each with a part of the reason."""

SERVED = {
    name: family for name, family in {**DIFFUSION_MODELS, **GRID_FLOWS, **TOKEN_FLOWS}.items() if name not in REFUSED
}
