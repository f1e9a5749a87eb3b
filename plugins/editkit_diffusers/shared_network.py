"""Second instances of a loaded network that share its weights."""

from __future__ import annotations

import copy
import itertools
from typing import Any

_HOOKS = ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs")
"""Hooks that modules call before and after themselves; a control of attention adds some for its walk."""


def share(net: Any) -> Any:
    """Return a copy of a network with modules of its own on the same parameters, buffers and hooks.

    The copy can get other attention processors and further layers: calls of ``net`` in other threads do not change.
    Hooks that are added to ``net`` later are those of the copy too.
    """
    shared = itertools.chain(net.parameters(), net.buffers(), _hooks(net))
    return copy.deepcopy(net, {id(one): one for one in shared})


def _hooks(net: Any) -> list[Any]:
    """Return the hooks of all modules, with those of accelerate, which hold the modules that they have moved."""
    hooks = [getattr(module, name) for module in net.modules() for name in _HOOKS]
    return hooks + [module._hf_hook for module in net.modules() if hasattr(module, "_hf_hook")]
