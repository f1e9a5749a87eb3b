"""Running a network in the quickest mode that the caller's gradients allow."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def inference_context() -> contextlib.AbstractContextManager[Any]:
    """Where no gradients are wanted, leave out all that they would need, also of what is written in place.

    Tensors that are made in it stay without; see https://docs.pytorch.org/docs/stable/notes/autograd.html.
    """
    return contextlib.nullcontext() if torch.is_grad_enabled() else torch.inference_mode()


def run_network(net: Any, *inputs: Any, **told: Any) -> Tensor:
    """Call a diffusers network and return its output as an ordinary tensor."""
    with inference_context():
        answer = net(*inputs, **told, return_dict=False)[0]
    # Weights that lie channels last give answers that do, and in inference mode they are no ordinary tensors.
    ordinary: Tensor = answer.clone(memory_format=torch.contiguous_format)
    return ordinary
