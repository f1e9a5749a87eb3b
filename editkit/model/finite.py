"""Refusal of NaN and infinity, and of other tensors than those of the contract, where they leave a part of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..errors import EditkitError, PluginFailure
from .backend import Backend
from .capabilities import full_name

ADVICE = "its weights, an adapter or a ControlNet are damaged or too large for its dtype: try --dtype float32"


def is_finite(*tensors: Tensor) -> bool:
    """Return whether no value is NaN or infinite, with one synchronisation of the device."""
    finite = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(torch.stack(finite).all()) if len(finite) > 1 else bool(finite[0])


def check_returned(value: Any, method: str, model: Backend, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Return the tensor that a method of a model returned; raises PluginFailure for another shape or dtype.

    The family of the model is at fault then, and not the operation or the sampler that computes with the tensor.
    """
    expected = f"{' x '.join(map(str, shape))} in {_name(dtype)}"
    if not isinstance(value, Tensor):
        found = f"a {type(value).__name__}, not a tensor of shape {expected}"
    elif tuple(value.shape) != tuple(shape) or value.dtype != dtype:
        found = f"a tensor of shape {' x '.join(map(str, value.shape))} in {_name(value.dtype)}, not {expected}"
    else:
        return value
    raise PluginFailure(f"{method}() of the model {full_name(model)!r} returned {found}: its backend is at fault")


def check_condition(value: Any, model: Backend, rows: int) -> Condition:
    """Return the condition of a number of prompts that a model returned; raises PluginFailure for other rows."""
    tensors = list(value.values()) if isinstance(value, Mapping) else [None]
    if all(isinstance(one, Tensor) and one.shape[:1] == (rows,) for one in tensors):
        return dict(value)
    raise PluginFailure(
        f"embed() of the model {full_name(model)!r} did not return tensors of {rows} rows by name, one row for each "
        "prompt: its backend is at fault"
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
