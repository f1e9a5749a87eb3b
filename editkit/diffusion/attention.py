"""Attention of a network: the sites of a call, their inputs, and the rows of the batch they are computed for."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .points import Point

Span = slice
"""Contiguous places of a sequence of tokens; empty if there are none."""


@dc.dataclass(frozen=True)
class AttentionSite:
    """One attention of a network, and the places of the image and of the words in its tokens."""

    name: str
    """Path of the module in the network, with the number of the call if the module attends several times."""
    number: int
    """Place in the order of evaluation, from 0."""
    kind: Literal["self", "cross", "joint"]
    """``self``: image tokens attend to image tokens; ``cross``: to words; ``joint``: both are one sequence."""
    depth: Literal["down", "mid", "up", "flat"]
    """Part of a UNet; ``flat`` in a transformer."""
    image: Span
    """Image tokens among the queries."""
    image_keys: Span
    """Image tokens among the keys; empty in ``cross``."""
    words: Span
    """Tokens of the prompt among the keys; empty in ``self``."""
    grid: tuple[int, int]
    """Rows and columns of the image tokens, which are in the order of rows."""


def marked_tokens(change: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return which tokens (T,) of a grid a change map (1, 1, h, w) marks anywhere: the first one if it marks none."""
    marked = F.adaptive_max_pool2d(change.float(), grid).flatten() > 0
    marked[0] |= ~marked.any()
    return marked


class CallRow(NamedTuple):
    """Row of a network call."""

    condition: int
    """Number of the condition in the guidance, from 0; the last one is the prompt's."""
    row: int
    """Row of the latents that are sampled."""
    point: Point
    """Point at which the row is evaluated."""


_ROWS: ContextVar[tuple[CallRow, ...]] = ContextVar("_ROWS", default=())


@contextlib.contextmanager
def describe_rows(rows: Sequence[CallRow]) -> Iterator[None]:
    """Declare the rows of the network calls in this block."""
    token = _ROWS.set(tuple(rows))
    try:
        yield
    finally:
        _ROWS.reset(token)


@contextlib.contextmanager
def select_rows(rows: Sequence[int]) -> Iterator[None]:
    """Declare that the network call in this block has some rows only of those declared; a backend may divide a call."""
    declared = _ROWS.get()
    with describe_rows([declared[row] for row in rows] if declared else ()):
        yield


def current_rows() -> tuple[CallRow, ...]:
    """Return the declared rows of the current network call; empty if they are not declared."""
    return _ROWS.get()


@dc.dataclass(frozen=True, eq=False)
class AttentionInputs:
    """Inputs of one attention: queries, keys and values (B, heads, tokens, d), and the function that attends."""

    site: AttentionSite
    """The attention, and where image and words are in its tokens."""
    query: Tensor
    """(B, heads, queries, d)."""
    key: Tensor
    """(B, heads or fewer that they share, keys, d)."""
    value: Tensor
    """Of the shape of the keys."""
    bias: Tensor | None
    """Mask of booleans or summands of the logits; broadcasts to (B, heads, queries, keys)."""
    attend: Callable[..., Tensor]
    """``attend(query, key, value, bias)``: the network's own attention, which returns (B, heads, queries, d)."""

    def unchanged(self) -> Tensor:
        """Return the result of the network's own attention."""
        return self.attend(self.query, self.key, self.value, self.bias)

    def attend_beside(self, key: Tensor, value: Tensor) -> Tensor:
        """Return the result of attending to further image keys and values (B, heads, tokens, d) beside the call's own.

        Their bias is that of the first image key.
        """
        bias = self.bias
        if bias is not None and bias.shape[-1] > 1:
            first = self.site.image_keys.start
            more = bias[..., first : first + 1].expand(*bias.shape[:-1], key.shape[2])
            bias = torch.cat([bias, more], -1)
        return self.attend(self.query, torch.cat([self.key, key], 2), torch.cat([self.value, value], 2), bias)

    def logits(self, query: Tensor, key: Tensor) -> Tensor:
        """Return the logits (B, heads, queries, keys) before the softmax, with the bias."""
        logits: Tensor = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if self.bias is None:
            return logits
        if self.bias.dtype == torch.bool:
            return logits.masked_fill(~self.bias, -torch.inf)
        return logits + self.bias

    def image_to_words(self) -> Tensor:
        """Return the logits (B, heads, image queries, word keys) with the bias."""
        query, key = self.query[:, :, self.site.image], self.key[:, :, self.site.words]
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)  # heads may share keys
        bias = None if self.bias is None else _part(self.bias, self.site.image, self.site.words)
        return dc.replace(self, query=query, key=key, bias=bias).logits(query, key)


def _part(bias: Tensor, queries: Span, keys: Span) -> Tensor:
    """Return the part of a bias for some queries and keys; it may have one entry for all of either."""
    bias = bias if bias.shape[-1] == 1 else bias[..., keys]
    return bias if bias.ndim < 3 or bias.shape[-2] == 1 else bias[..., queries, :]


AttentionEdit = Callable[[AttentionInputs], Tensor]
"""Function that computes an attention in place of the network: inputs to (B, heads, queries, d)."""


class Word(NamedTuple):
    """One token of a prompt as the network attends to it."""

    text: str
    token: int
    """Number in the tokenizer's vocabulary."""
    place: int
    """Place among the words of a site: the key is ``site.words.start + place``."""
