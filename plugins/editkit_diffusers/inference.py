"""Network calls in the fastest mode that the caller's use of gradients allows."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def inference_context() -> contextlib.AbstractContextManager[Any]:
    """Return inference mode if gradients are disabled, which skips all bookkeeping for them.

    Tensors created in inference mode never support gradients; see https://docs.pytorch.org/docs/stable/notes/autograd.html.
    """
    return contextlib.nullcontext() if torch.is_grad_enabled() else torch.inference_mode()


def run_network(net: Any, *inputs: Any, **conditions: Any) -> Tensor:
    """Call a diffusers network and return its output as an ordinary tensor."""
    with inference_context():
        output = net(*inputs, **conditions, return_dict=False)[0]
    # The clone is contiguous, unlike the output of channels-last weights, and no inference tensor.
    clone: Tensor = output.clone(memory_format=torch.contiguous_format)
    return clone
