"""Cache in memory of the conditions of a model's last prompts."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from ..diffusion.denoiser import Condition
from .backend import Backend
from .batching import unwrap

MOST = 16
"""Number of lists of prompts that are kept for a model."""


Conditions = dict[tuple[str, tuple[str, ...]], Condition]
"""Conditions by the identity of the model, which adapters change, and the prompts; the latest last."""


KNOWN: weakref.WeakKeyDictionary[Backend, Conditions] = weakref.WeakKeyDictionary()


def embed_cached(model: Backend, prompts: Sequence[str]) -> Condition:
    """Return the condition of prompts, one row each; its tensors are shared, so do not write into them."""
    if torch.is_grad_enabled():
        return model.embed(prompts)
    try:
        cached = KNOWN.setdefault(unwrap(model), {})
    except TypeError:  # the model has no weak references
        return model.embed(prompts)
    key = (model.identity, tuple(prompts))
    condition = cached.pop(key, None)  # edits of other threads share the cache
    if condition is None:
        condition = model.embed(prompts)
    cached[key] = condition
    if len(cached) > MOST:
        cached.pop(next(iter(cached)), None)
    return dict(condition)
