"""Rows of a condition as arguments of a pipeline's call."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editkit import Condition, InvalidParameter

NAME = "call"
"""Name of the tensor in a condition."""
_KEPT = 2**16
"""Rows whose arguments are kept."""


class CallArguments:
    """Arguments of calls by a number of their content, which is the row of a condition.

    A pipeline reads words and images itself, so that its condition is no tensor. The numbers are equal in every
    process, so that they can be part of a cache's key.
    """

    def __init__(self) -> None:
        self._rows: dict[int, Mapping[str, Any]] = {}

    def condition(self, rows: Sequence[Mapping[str, Any]]) -> Condition:
        """Return the condition ``call`` (B,) of the arguments of each row; text, numbers, or lists of them."""
        return {NAME: torch.tensor([self._number(row) for row in rows], device="cpu")}

    def rows(self, condition: Condition) -> list[Mapping[str, Any]]:
        """Return the arguments of each row; raises InvalidParameter for a blend of several rows."""
        numbers: Tensor = condition[NAME]
        try:
            return [self._rows[number] for number in numbers.tolist()]
        except KeyError:
            raise InvalidParameter(
                "a blend of prompts is not possible with this model: its pipeline reads words"
            ) from None

    def _number(self, arguments: Mapping[str, Any]) -> int:
        content = repr(sorted(arguments.items())).encode()
        number = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest()) >> 1  # positive in int64
        self._rows[number] = self._rows.pop(number, arguments)
        if len(self._rows) > _KEPT:
            del self._rows[next(iter(self._rows))]
        return number
