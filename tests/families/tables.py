"""All families by name."""

from __future__ import annotations

from .controls import CONTROLS
from .diffusion_models import DIFFUSION_MODELS
from .edit_models import EDIT_MODELS
from .grid_flows import GRID_FLOWS
from .token_flows import TOKEN_FLOWS

FAMILIES = {**DIFFUSION_MODELS, **GRID_FLOWS, **TOKEN_FLOWS, **EDIT_MODELS, **CONTROLS}
