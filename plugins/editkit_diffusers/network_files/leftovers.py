"""Tensors of a file that have no place in the network that is read from it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from torch import Tensor

MARKER = re.compile(r"__\w+__|v_pred|ztsnr")
"""Tensors without weights, with which other programs mark a network."""


def leftover_names(
    stored: Mapping[str, Tensor], ignored: Mapping[str, Tensor], named: Mapping[str, Tensor], own: Collection[str]
) -> list[str]:
    """Return the names of tensors without a place in a network whose tensors are ``own``.

    ``stored`` are the tensors of a file, ``ignored`` those of them that its conversion did not take, and ``named`` its
    result: tensors of the file, or pieces of them, which have their names in diffusers.
    """
    places = {id(one) for name, one in named.items() if name in own}
    outside = {id(one) for one in (*ignored.values(), *(one for name, one in named.items() if name not in own))}
    whole = {id(one) for one in stored.values()}
    names = [name for name, one in stored.items() if id(one) in outside - places]
    pieces = [name for name, one in named.items() if name not in own and id(one) not in whole]
    return sorted(name for name in (*names, *pieces) if not MARKER.fullmatch(name))


def leftover_warning(file: str, names: Collection[str], folder: Path) -> str:
    """Return the warning of tensors of a network's file without a place; ``folder`` has its configuration."""
    return (
        f"{file} holds {len(names)} weights of its network that the configuration in {folder} has no place for, such "
        f"as {min(names)}, which are left out: it may be that of another model"
    )
