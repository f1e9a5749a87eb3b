"""Refusal of NaN and infinity where tensors leave a part of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import EditkitError

ADVICE = "its weights, an adapter or a ControlNet are damaged or too large for its dtype: try --dtype float32"


def is_finite(*tensors: Tensor) -> bool:
    """Return whether no value is NaN or infinite, with one synchronisation of the device."""
    finite = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(torch.stack(finite).all()) if len(finite) > 1 else bool(finite[0])


def part_failed(part: str, model: str) -> EditkitError:
    """Return the error of a part of a model that returned NaN or infinity."""
    return EditkitError(f"the {part} of the model {model!r} returned NaN or infinity: {ADVICE}")


def walk_failed(walker: str) -> EditkitError:
    """Return the error of a walk that reached NaN or infinity though the network's estimates are finite."""
    return EditkitError(
        f"{walker} reached NaN or infinity after a finite estimate of the network: try another sampler or inverter, "
        "less guidance, or --dtype float32"
    )
