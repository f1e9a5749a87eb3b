"""Mutations of JSON trees: every node replaced by values of other types and sizes, removed, or joined by an unknown."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

Path = tuple[Any, ...]

REPLACEMENTS: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 5, 0.5, 1e308, 10**30, 2**31, "", "x", "a\0b", "5", "ddim", "/etc/passwd", "../m"),
    *("org/name", "x" * 3000, [], {}, ["a"], [0.5] * 3, {"a": 1}, [[[[]]]]),
)


def mutated_trees(tree: Any, count: int, seed: int = 0) -> Iterator[tuple[str, Path, Any]]:
    """Yield ``count`` labels, paths of changed nodes, and changed copies of a tree, the same in every run."""
    choice = random.Random(seed)
    paths = list(_paths(tree))
    for _ in range(count):
        path = choice.choice(paths)
        changed = copy.deepcopy(tree)
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        kind = choice.choice(("replace",) * 8 + ("remove", "add"))
        if kind == "remove":
            del parent[path[-1]]
            label = "removed"
        elif kind == "add" and isinstance(parent, dict):
            parent["moon"] = 1
            path, label = (*path[:-1], "moon"), "added"
        else:
            parent[path[-1]] = choice.choice(REPLACEMENTS)
            label = repr(parent[path[-1]])[:40]
        yield f"{'.'.join(map(str, path))}: {label}", path, changed


def _paths(tree: Any, path: Path = ()) -> Iterator[Path]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _paths(value, (*path, key))


def mutated_bytes(data: bytes, count: int, seed: int = 0, end: int | None = None) -> Iterator[tuple[str, bytes]]:
    """Yield ``count`` labels and copies of bytes with one bit flipped before ``end``, or cut off there."""
    choice = random.Random(seed)
    for number in range(count):
        place = choice.randrange(len(data) if end is None else end)
        if number % 5 == 4:
            yield f"cut at {place}", data[:place]
        else:
            changed = bytearray(data)
            changed[place] ^= 1 << choice.randrange(8)
            yield f"bit flipped at {place}", bytes(changed)
