"""Embed prompts: cached, in chunks, with images, and with warnings of what a model does not read as it is written."""

from __future__ import annotations

import itertools
import re
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from PIL import Image

from ..diffusion.denoiser import Condition
from ..registry.params import shorten
from ..report import UNUSED_WORD
from .backend import Backend
from .batching import unwrap
from .capabilities import SupportsLongPrompts, SupportsPromptLimits, full_name, long_prompts_of, require
from .finite import check_condition, is_finite, part_failed
from .references import SupportsReferences

MOST_LISTS = 16
"""Number of lists of prompts that are kept for a model."""
Conditions = dict[tuple[str, tuple[str, ...], int], Condition]
"""Conditions by the identity of the model, which adapters change, the prompts and their chunks; the latest last."""
CONDITIONS: weakref.WeakKeyDictionary[Backend, Conditions] = weakref.WeakKeyDictionary()
"""Cached conditions of each model."""
_CUT_LENGTH = 200
"""Longest text of cut words in a warning, in characters."""
_FOREIGN_SYNTAX = {
    re.compile(r"\([^()]*:\s*[0-9]*\.?[0-9]+\s*\)"): "a weight",
    re.compile(r"\(\([^()]*\)\)|\[\[[^\[\]]*\]\]"): "a weight",
    re.compile(r"\[[^\[\]]*:[^\[\]]*\]"): "a schedule",
    re.compile(r"<(lora|lyco|hypernet):[^<>]*>", re.IGNORECASE): "an adapter",
}
"""Syntax that other programs read in prompts, and its meaning there."""


class PromptReading(NamedTuple):
    """The part of a prompt that one text encoder reads."""

    encoder: str
    """Part of the model's folder."""
    limit: int
    """Most tokens that it reads, with those at both ends."""
    cut: str
    """Text behind the limit, which it does not read; empty for most prompts."""


class SupportsLearnedWords(Protocol):
    """Model to which adapters add words (textual inversion)."""

    def unused_words(self, prompts: Sequence[str]) -> Sequence[Collection[str]]:
        """Return the words of each adapter of which the prompts of an edit hold none."""


def embed_prompts(
    model: Backend, prompts: Sequence[str], warn: Callable[[str], None], chunked_with: Sequence[str] | None = None
) -> Condition:
    """Return the condition of prompts, one row each, and pass warnings of them to ``warn``.

    With ``chunked_with``, the other prompts of the edit, they are read in as many chunks as the longest of all needs:
    all conditions of an edit have one length.
    """
    chunking = None if chunked_with is None else long_prompts_of(model)
    for prompt in prompts:
        for warning in prompt_warnings(model, prompt, in_chunks=chunking is not None):
            warn(warning)
    chunks = 1 if chunking is None else max(map(chunking.count_chunks, [*prompts, *(chunked_with or ())]))
    return embed_cached(model, prompts, chunks)


def embed_cached(model: Backend, prompts: Sequence[str], chunks: int = 1) -> Condition:
    """Return the condition of prompts, one row each; its tensors are shared, so do not write into them.

    More than one of ``chunks`` needs a model of long prompts.
    """

    def embed() -> Condition:
        many = chunks > 1
        condition = cast(SupportsLongPrompts, model).embed(prompts, chunks) if many else model.embed(prompts)
        return check_condition(condition, model, len(prompts))

    if torch.is_grad_enabled():
        return embed()
    try:
        cached = CONDITIONS.setdefault(unwrap(model), {})
    except TypeError:  # the model has no weak references
        return embed()
    key = (model.identity, tuple(prompts), chunks)
    condition = cached.pop(key, None)  # edits of other threads share the cache
    if condition is None:
        condition = embed()
        if condition and not is_finite(*condition.values()):
            raise part_failed("text encoder", full_name(model))
    cached[key] = condition
    if len(cached) > MOST_LISTS:
        cached.pop(next(iter(cached)), None)
    return dict(condition)


def embed_instructions(
    model: Backend, prompts: Sequence[str], images: Sequence[Image.Image], warn: Callable[[str], None]
) -> Condition:
    """Return the condition of prompts that refer to images, one row each, and pass warnings of them to ``warn``."""
    for prompt in prompts:
        for warning in prompt_warnings(model, prompt):
            warn(warning)
    condition = require(model, SupportsReferences).instructed(prompts, images)
    if not is_finite(*condition.values()):
        raise part_failed("text encoder", full_name(model))
    return condition


def prompt_warnings(model: Backend, prompt: str, *, in_chunks: bool = False) -> Iterator[str]:
    """Yield a warning for each part of a prompt that the model's text encoders cut or read as plain text.

    ``in_chunks`` is for a prompt that is embedded in chunks, of which none is cut.
    """
    if "text" not in model.provides:
        return
    for pattern, meaning in _FOREIGN_SYNTAX.items():
        found = pattern.search(prompt)
        if found:
            yield f"{shorten(found[0])} is read as plain text, which other programs read as {meaning}"
    if not in_chunks and hasattr(model, "read_prompt"):
        yield from _cut_warnings(model, prompt, cast(SupportsPromptLimits, model).read_prompt(prompt))


def word_warnings(model: Backend, prompts: Sequence[str]) -> Iterator[str]:
    """Yield a warning for each adapter with learned words of which the prompts of an edit hold none."""
    if hasattr(model, "unused_words"):
        for words in cast(SupportsLearnedWords, model).unused_words(prompts):
            named = " or ".join(map(repr, sorted(words)))
            yield f"{UNUSED_WORD} {named}: write it into a prompt, or leave its adapter out"


def _cut_warnings(model: Backend, prompt: str, readings: Sequence[PromptReading]) -> Iterator[str]:
    complete = [reading.encoder for reading in readings if not reading.cut]
    advice = "shorten the prompt, or set long_prompts" if long_prompts_of(model) else "shorten the prompt"
    for (cut, limit), group in itertools.groupby(readings, lambda reading: (reading.cut, reading.limit)):
        if cut:
            parts = [reading.encoder for reading in group]
            words = cut if len(cut) <= _CUT_LENGTH else f"{cut[:_CUT_LENGTH]}..."
            yield (
                f"{' and '.join(parts)} {'read' if len(parts) > 1 else 'reads'} {limit} tokens of the prompt "
                f"{shorten(prompt)} and not {words!r}; {f'only {complete[0]} reads that' if complete else advice}"
            )
