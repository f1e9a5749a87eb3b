"""Classes in place of prompts: what a class-conditional model knows by name and by number."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit import InvalidParameter


class Classes:
    """The classes of a model, as its prompts name them: by number, or by a name in any case.

    ``names`` maps a number to its names, separated by commas, as the index of a folder does. The rows of the table
    that the network looks a class up in are ``count`` classes and, where it has one row more, the empty class last.
    """

    def __init__(self, count: int, rows: int, names: Mapping[str, str]) -> None:
        self.count, self.rows = count, rows
        self.numbers: dict[str, list[int]] = {}
        for number, said in names.items():
            for name in said.split(","):
                self.numbers.setdefault(_normalise(name), []).append(int(number))

    def shares(self, prompts: Sequence[str]) -> Tensor:
        """The row that each prompt means, as shares (B, rows) of the table: one is 1 and all others are 0."""
        return F.one_hot(torch.tensor([self.row(prompt) for prompt in prompts]), self.rows)

    def row(self, prompt: str) -> int:
        """The row of the table; raises InvalidParameter where a prompt means no class, or several."""
        name = _normalise(prompt)
        if not name:
            if self.rows == self.count:
                raise InvalidParameter(
                    f"an empty prompt is no class, and this model draws classes only: give {self.allowed()}; "
                    "guidance other than 1 needs one as negative_prompt too"
                )
            return self.count
        numbers = self.numbers.get(name, [])
        if len(numbers) > 1:
            raise InvalidParameter(f"the prompt {prompt!r} is the name of classes {numbers}: give the number of one")
        if numbers:
            return numbers[0]
        if name.isdecimal() and int(name) < self.count:
            return int(name)
        raise InvalidParameter(f"the prompt {prompt!r} is no class of this model; {self.hint(name)}")

    def hint(self, name: str) -> str:
        close = difflib.get_close_matches(name, self.numbers, n=3)
        return f"did you mean {' or '.join(map(repr, close))}?" if close else f"give {self.allowed()}"

    def allowed(self) -> str:
        numbers = f"a number from 0 to {self.count - 1}"
        return f"a name such as {min(self.numbers)!r} or {numbers}" if self.numbers else numbers


def _normalise(name: str) -> str:
    return " ".join(name.split()).casefold()


class Blend(nn.Module):
    """An embedding table that is asked for shares (B, rows) of its rows: classes blend as the words of prompts do."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.weight = table.weight

    def forward(self, shares: Tensor) -> Tensor:
        return shares.to(self.weight) @ self.weight
