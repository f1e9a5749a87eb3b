"""Cache in memory of the conditions of a model's last prompts."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import cast

import torch

from ..diffusion.denoiser import Condition
from .backend import Backend, SupportsLongPrompts, full_name
from .batching import unwrap
from .finite import is_finite, part_failed

MOST = 16
"""Number of lists of prompts that are kept for a model."""


Conditions = dict[tuple[str, tuple[str, ...], int], Condition]
"""Conditions by the identity of the model, which adapters change, the prompts and their chunks; the latest last."""


KNOWN: weakref.WeakKeyDictionary[Backend, Conditions] = weakref.WeakKeyDictionary()


def embed_cached(model: Backend, prompts: Sequence[str], chunks: int = 1) -> Condition:
    """Return the condition of prompts, one row each; its tensors are shared, so do not write into them.

    More than one of ``chunks`` needs a model of long prompts.
    """

    def embed() -> Condition:
        return model.embed(prompts) if chunks == 1 else cast(SupportsLongPrompts, model).embed(prompts, chunks)

    if torch.is_grad_enabled():
        return embed()
    try:
        cached = KNOWN.setdefault(unwrap(model), {})
    except TypeError:  # the model has no weak references
        return embed()
    key = (model.identity, tuple(prompts), chunks)
    condition = cached.pop(key, None)  # edits of other threads share the cache
    if condition is None:
        condition = embed()
        if condition and not is_finite(*condition.values()):
            raise part_failed("text encoder", full_name(model))
    cached[key] = condition
    if len(cached) > MOST:
        cached.pop(next(iter(cached)), None)
    return dict(condition)
