"""Refusal of NaN and infinity where tensors leave a part of a model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import EditkitError, PluginFailure

ADVICE = "its weights, an adapter or a ControlNet are damaged or too large for its dtype: try --dtype float32"


def is_finite(*tensors: Tensor) -> bool:
    """Return whether no value is NaN or infinite, with one synchronisation of the device."""
    finite = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(torch.stack(finite).all()) if len(finite) > 1 else bool(finite[0])


def part_failed(part: str, model: str) -> EditkitError:
    """Return the error of a part of a model that returned NaN or infinity."""
    return EditkitError(f"the {part} of the model {model!r} returned NaN or infinity: {ADVICE}")


def walk_failed(
    operation: str, walker: str, model: str, start: Tensor, first_estimate: Callable[[], Tensor]
) -> EditkitError:
    """Return the error of a walk that reached NaN or infinity: of its start, of the network, or of its steps."""
    if not is_finite(start):
        return PluginFailure(f"{operation} started from latents with NaN or infinity")
    if not is_finite(first_estimate()):
        return part_failed("network", model)
    return EditkitError(
        f"{walker} reached NaN or infinity after a finite estimate of the network: try another sampler or inverter, "
        "less guidance, or --dtype float32"
    )


def decoding_failed(operation: str, model: str, latents: Tensor) -> EditkitError:
    """Return the error of latents of an operation, or of an autoencoder, with NaN or infinity."""
    if not is_finite(latents):
        return PluginFailure(f"{operation} returned latents with NaN or infinity")
    return part_failed("autoencoder", model)
