"""Attention of a backend of diffusers: edits of its sites, and the words of a prompt."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from editkit import (
    AttentionEdit,
    AttentionInputs,
    AttentionSite,
    Condition,
    ExecutionOptions,
    MissingCapability,
    Point,
    PointBatch,
    Word,
    marked_tokens,
)

from ..style.attached import styles_of
from ..text_encoder import TextEncoder
from .backends import check_editable, explained_refusal
from .selection import TokenSelection, check_selection
from .sites import find_sites
from .tap import AttentionCall, Handler, replace_output, tap

Denoise = Callable[[Any, Tensor, Point | PointBatch, Condition], Tensor]
Sites = Mapping[str, AttentionSite]
_KEPT = 16
"""Conditions of which the sites of a network are kept."""


@dc.dataclass(frozen=True)
class _Editing:
    """Edits of a model's attention in progress in a thread."""

    model: Any
    compute: Handler
    """Function that computes an attention by the edits."""
    sites: dict[str, Sites]
    """Sites of the network call in progress, by the empty name."""
    only: Tensor | None = None
    """Change map (1, 1, h, w) of the image tokens that are computed; None for all."""


_EDITING: ContextVar[_Editing | None] = ContextVar("_EDITING", default=None)


class AttentionSupport:
    """Base of backends whose network ``net`` is one of diffusers, for the capability ``attention``."""

    net: Any
    texts: Mapping[str, TextEncoder]
    name: str
    execution: ExecutionOptions

    @contextlib.contextmanager
    def attending(self, edit: AttentionEdit, *, only: Tensor | None = None) -> Iterator[None]:
        check_editable(self.execution.attention)
        before = _EDITING.get()
        if before is None or before.model is not self:
            before = _Editing(self, _attend, {})
            tapped: AbstractContextManager[None] = tap(self.net, lambda call: _editing().compute(call))
        else:
            tapped = contextlib.nullcontext()  # the edits before are those of the function that this one attends by
        only = before.only if only is None else only
        token = _EDITING.set(dc.replace(before, compute=_chain(edit, before), only=only))
        try:
            with tapped:
                yield
        finally:
            _EDITING.reset(token)

    def replacing(self, module: str, edit: Callable[[Tensor], Tensor]) -> AbstractContextManager[None]:
        if module not in {name for name, _ in self.net.named_modules()}:
            raise MissingCapability(f"the network {type(self.net).__name__} has no {module}: leave out its features")
        return replace_output(self.net.get_submodule(module), edit)

    def word_encoders(self) -> Mapping[str, int]:
        """Return the text encoders whose tokens the network attends to, and the place of the first token of each."""
        return {part: 0 for part in self.texts if part == "text_encoder"}

    def words(self, prompt: str) -> list[Word]:
        encoders = self.word_encoders()
        if not encoders:
            raise MissingCapability(
                f"the model {self.name!r} has no words that its attention is computed for: leave it out"
            )
        words: list[Word] = []
        for part, first in encoders.items():
            words += [Word(text, token, first + place) for text, token, place in self.texts[part].content(prompt)]
        if not words:
            raise MissingCapability(f"the prompt {prompt!r} has no words to attend to: write some, or leave it out")
        return words


def _editing() -> _Editing:
    """Return the edits in progress, which there are while a network is tapped."""
    editing = _EDITING.get()
    assert editing is not None
    return editing


def _attend(call: AttentionCall) -> Tensor:
    """Attend as the network does."""
    inputs = call.inputs
    return call.attend(inputs["query"], inputs["key"], inputs["value"], inputs.get("attn_mask"))


def _chain(edit: AttentionEdit, before: _Editing) -> Handler:
    """Return a function that computes an attention by an edit, which attends by the edits before it."""

    def compute(call: AttentionCall) -> Tensor:
        site = before.sites[""].get(call.name)
        if site is None:
            return before.compute(call)

        def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
            tensors = {"query": query, "key": key, "value": value, "attn_mask": bias}
            return before.compute(call._replace(inputs={**call.inputs, **tensors}))

        inputs = call.inputs
        bias = inputs.get("attn_mask")
        return edit(AttentionInputs(site, inputs["query"], inputs["key"], inputs["value"], bias, attend))

    return compute


def find_attention_sites(denoise: Denoise) -> Denoise:
    """Let a method ``denoise`` of a backend find the sites of its network before a call whose attention is edited.

    All rows of a call have tokens of the same places.
    """

    @functools.wraps(denoise)
    def with_sites(self: Any, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        editing = _EDITING.get()
        if editing is None or editing.model is not self:
            with explained_refusal(self.execution.attention, self.net):
                return denoise(self, x, point, condition)
        selection = None
        token = _EDITING.set(None)
        try:
            sites = attention_sites(self, denoise, x, point, condition)
            if editing.only is not None:
                selection = token_selection(self, denoise, x, point, condition, sites, editing.only)
        finally:
            _EDITING.reset(token)
        editing.sites[""] = sites if selection is None else selection.reduced_sites
        with contextlib.nullcontext() if selection is None else selection.applied(self.net):
            return denoise(self, x, point, condition)

    return with_sites


@torch.no_grad()
def attention_sites(model: Any, denoise: Denoise, x: Tensor, point: Point | PointBatch, condition: Condition) -> Sites:
    """Return the sites of a network for latents of the size of ``x`` under a condition, found once for each."""
    tables: dict[Any, Sites] = model.__dict__.setdefault("_attention_sites", {})
    key = _call_key(model, x, condition)
    if key not in tables:
        _keep(tables, key, find_sites(model.net, *_first_row(model, denoise, x, point, condition)))
    return tables[key]


@torch.no_grad()
def token_selection(
    model: Any,
    denoise: Denoise,
    x: Tensor,
    point: Point | PointBatch,
    condition: Condition,
    sites: Sites,
    change: Tensor,
) -> TokenSelection:
    """Return the tokens of a change map (1, 1, h, w), once it is measured that the network can leave others out."""
    tables: dict[Any, Mapping[str, int]] = model.__dict__.setdefault("_token_counts", {})
    chosen = marked_tokens(change, next(iter(sites.values())).grid).cpu()
    key = (*_call_key(model, x, condition), int(chosen.sum()))
    if key not in tables:
        call = _first_row(model, denoise, x, point, condition)
        _keep(tables, key, check_selection(model.net, *call, sites, chosen))
    return TokenSelection(chosen, sites, tables[key])


def _first_row(
    model: Any, denoise: Denoise, x: Tensor, point: Point | PointBatch, condition: Condition
) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """Return a function that evaluates the network under the condition of the first row of a call, and latents."""
    row = {name: tensor[:1] for name, tensor in condition.items()}
    place = point.rows(len(x))[0]
    noise = torch.randn(1, *x.shape[1:], generator=torch.Generator().manual_seed(0), device="cpu").to(x)
    return lambda latents: denoise(model, latents, place, row), noise


def _call_key(model: Any, x: Tensor, condition: Condition) -> tuple[Any, ...]:
    """Return what the places of the tokens of a call depend on."""
    # Rows of numbers stand for arguments of a pipeline's call.
    content = {
        name: tuple(tensor[:1].tolist()) if tensor.dtype == torch.int64 else (1, *tensor.shape[1:])
        for name, tensor in condition.items()
    }
    added = sum(style.added_tokens for style in styles_of(model))
    return (tuple(x.shape[1:]), tuple(sorted(content.items())), added)


def _keep(tables: dict[Any, Any], key: Any, value: Any) -> None:
    tables[key] = value
    if len(tables) > _KEPT:
        tables.pop(next(iter(tables)), None)
