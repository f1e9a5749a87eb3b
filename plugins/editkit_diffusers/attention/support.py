"""Attention of a backend of diffusers: edits of its sites, and the words of a prompt."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from editkit import (
    AttentionEdit,
    AttentionInputs,
    AttentionSite,
    Condition,
    MissingCapability,
    Point,
    PointBatch,
    Word,
)

from ..style.attached import styles_of
from ..text_encoder import TextEncoder
from .sites import find_sites
from .tap import AttentionCall, replace_output, tap

Denoise = Callable[[Any, Tensor, Point | PointBatch, Condition], Tensor]
Sites = Mapping[str, AttentionSite]
_KEPT = 16
"""Conditions of which the sites of a network are kept."""
_EDITED: ContextVar[dict[str, Sites] | None] = ContextVar("_EDITED", default=None)
"""Sites of the network call in progress, by the empty name, while attention is edited in this thread."""


class AttentionSupport:
    """Base of backends whose network ``net`` is one of diffusers, for the capability ``attention``."""

    net: Any
    texts: Mapping[str, TextEncoder]
    name: str

    @contextlib.contextmanager
    def attending(self, edit: AttentionEdit) -> Iterator[None]:
        current: dict[str, Sites] = {}

        def compute(call: AttentionCall) -> Tensor:
            query, key, value, bias = (call.inputs.get(name) for name in ("query", "key", "value", "attn_mask"))
            assert query is not None and key is not None and value is not None
            site = current[""].get(call.name)
            if site is None:
                return call.attend(query, key, value, bias)
            return edit(AttentionInputs(site, query, key, value, bias, call.attend))

        token = _EDITED.set(current)
        try:
            with tap(self.net, compute):
                yield
        finally:
            _EDITED.reset(token)

    def replacing(self, module: str, edit: Callable[[Tensor], Tensor]) -> contextlib.AbstractContextManager[None]:
        if module not in {name for name, _ in self.net.named_modules()}:
            raise MissingCapability(f"the network {type(self.net).__name__} has no {module}: leave out its features")
        return replace_output(self.net.get_submodule(module), edit)

    def word_encoders(self) -> Mapping[str, int]:
        """Return the text encoders whose tokens the network attends to, and the place of the first token of each."""
        return {part: 0 for part in self.texts if part == "text_encoder"}

    def words(self, prompt: str) -> list[Word]:
        words: list[Word] = []
        for part, first in self.word_encoders().items():
            words += [Word(text, token, first + place) for text, token, place in self.texts[part].content(prompt)]
        if not words:
            raise MissingCapability(f"the model {self.name!r} has no words that its attention is computed for")
        return words


def find_attention_sites(denoise: Denoise) -> Denoise:
    """Let a method ``denoise`` of a backend find the sites of its network before a call whose attention is edited.

    All rows of a call have tokens of the same places.
    """

    @functools.wraps(denoise)
    def with_sites(self: Any, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        current = _EDITED.get()
        if current is not None:
            token = _EDITED.set(None)
            try:
                current[""] = attention_sites(self, denoise, x, point, condition)
            finally:
                _EDITED.reset(token)
        return denoise(self, x, point, condition)

    return with_sites


@torch.no_grad()
def attention_sites(model: Any, denoise: Denoise, x: Tensor, point: Point | PointBatch, condition: Condition) -> Sites:
    """Return the sites of a network for latents of the size of ``x`` under a condition, found once for each."""
    tables: dict[Any, Sites] = model.__dict__.setdefault("_attention_sites", {})
    row = {name: tensor[:1] for name, tensor in condition.items()}
    # Rows of numbers stand for arguments of a pipeline's call.
    content = {
        name: tuple(tensor.tolist()) if tensor.dtype == torch.int64 else tuple(tensor.shape)
        for name, tensor in row.items()
    }
    added = sum(style.added_tokens for style in styles_of(model))
    key = (tuple(x.shape[1:]), tuple(sorted(content.items())), added)
    if key not in tables:
        noise = torch.randn(1, *x.shape[1:], generator=torch.Generator().manual_seed(0), device="cpu").to(x)
        place = point.rows(len(x))[0]
        tables[key] = find_sites(model.net, lambda latents: denoise(model, latents, place, row), noise)
        if len(tables) > _KEPT:
            tables.pop(next(iter(tables)), None)
    return tables[key]
