"""Class labels in place of prompts, by name or number."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editkit import InvalidParameter


class Classes:
    """Classes of a model, which a prompt names by number, or by a name in any case.

    ``names`` maps a number to its names, separated by commas, as the index of a folder does. The network's embedding
    table has ``rows`` rows: the ``count`` classes and, if there is one more, the empty class last.
    """

    def __init__(self, count: int, rows: int, names: Mapping[str, str]) -> None:
        self.count, self.rows = count, rows
        self.numbers: dict[str, list[int]] = {}
        for number, listed in names.items():
            for name in listed.split(","):
                self.numbers.setdefault(_normalise(name), []).append(int(number))

    def shares(self, prompts: Sequence[str]) -> Tensor:
        """Return the row of each prompt as one-hot shares (B, rows) of the table."""
        return F.one_hot(torch.tensor([self.row(prompt) for prompt in prompts]), self.rows)

    def row(self, prompt: str) -> int:
        """Return the row of the table; raises InvalidParameter if a prompt names no class, or several."""
        name = _normalise(prompt)
        if not name:
            if self.rows == self.count:
                raise InvalidParameter(
                    f"an empty prompt is no class, and this model only generates classes: give {self._allowed()}; "
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
        raise InvalidParameter(f"the prompt {prompt!r} is no class of this model; {self._hint(name)}")

    def _hint(self, name: str) -> str:
        """Suggest similar class names, or state which prompts are allowed."""
        close = difflib.get_close_matches(name, self.numbers, n=3)
        return f"did you mean {' or '.join(map(repr, close))}?" if close else f"give {self._allowed()}"

    def _allowed(self) -> str:
        numbers = f"a number from 0 to {self.count - 1}"
        return f"a name such as {min(self.numbers)!r} or {numbers}" if self.numbers else numbers


def _normalise(name: str) -> str:
    return " ".join(name.split()).casefold()


class BlendedEmbedding(nn.Module):
    """Embedding table that takes shares (B, rows) of its rows, so that classes can be blended like prompts."""

    def __init__(self, table: nn.Embedding) -> None:
        super().__init__()
        self.weight = table.weight

    def forward(self, shares: Tensor) -> Tensor:
        return shares.to(self.weight) @ self.weight
