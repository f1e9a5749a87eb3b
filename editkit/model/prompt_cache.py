"""What models made of their last prompts, kept in memory for further edits that are told the same."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch

from ..diffusion.denoiser import Condition
from .backend import Backend
from .batching import unwrap

MOST = 16
"""Lists of prompts that are kept of a model."""


Conditions = dict[tuple[str, tuple[str, ...]], Condition]
"""Conditions by what the model was identified by, as adapters change that, and the prompts; the latest at the end."""


KNOWN: weakref.WeakKeyDictionary[Backend, Conditions] = weakref.WeakKeyDictionary()


def embed_cached(model: Backend, prompts: Sequence[str]) -> Condition:
    """What a model makes of prompts, of as many rows; its tensors are shared, and not to be written into."""
    if torch.is_grad_enabled():
        return model.embed(prompts)
    try:
        known = KNOWN.setdefault(unwrap(model), {})
    except TypeError:  # one that cannot be referred to weakly
        return model.embed(prompts)
    key = (model.identity, tuple(prompts))
    known[key] = known.pop(key) if key in known else model.embed(prompts)
    if len(known) > MOST:
        del known[next(iter(known))]
    return dict(known[key])
