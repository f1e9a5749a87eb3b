"""Prompt-to-prompt (Hertz et al., arXiv 2208.01626), for cross-attention and for joint attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from editkit import (
    AttentionControl,
    AttentionInputs,
    Control,
    SamplingPath,
    Session,
    SupportsAttention,
    Word,
    numbers_on,
    require,
    to_device,
)

from . import PromptToPromptParams
from .alignment import Alignment, align, word_factors
from .interval import warn_if_zero

_MOST_PLACES = 32**2
"""Most image tokens whose attention to each other is kept: maps of larger grids hold details of the source."""
_LEAST_FACTOR = 1e-4
"""Least factor of a word in joint attention, where it is added as a logarithm."""


def prompt_to_prompt(params: PromptToPromptParams) -> Callable[[Session, SamplingPath], Control]:
    """Return the factory of the control, which reads the prompts of the operation."""

    def control(session: Session, path: SamplingPath) -> Control:
        backend = require(session.model, SupportsAttention)
        source, target = (str(getattr(session.params, name)) for name in ("source", "target"))
        words = backend.words(source), backend.words(target)
        word_factors(params.weights, words[1], 1)  # a word that is not there is an error before the inversion
        if not params.weights:
            warn_if_zero(session, "prompt-to-prompt", words=params.words, places=params.places)
        return PromptToPrompt(params, *words, (source, target))

    return control


class PromptToPrompt(AttentionControl):
    """Maps of the words that both prompts share are the source's, and so is the attention between places.

    In cross-attention maps are probabilities, as in the paper; in joint attention they are logits of image queries and
    word keys, before the softmax over all keys (arXiv 2508.07519 has its analysis).
    """

    attached_first = True
    exclusive_over = frozenset({"the attention to words"})

    def __init__(
        self, params: PromptToPromptParams, source: Sequence[Word], target: Sequence[Word], prompts: tuple[str, str]
    ) -> None:
        super().__init__()
        self.params, self.source, self.target, self.prompts = params, source, target, prompts
        self._alignments: dict[tuple[int, int], Alignment] = {}

    def edit(self, inputs: AttentionInputs) -> Tensor:
        share = self.share(self.rows(inputs)[0])
        if inputs.site.kind == "self":
            return self._edit_places(inputs, share)
        if share >= self.params.words and not self.params.weights:
            return inputs.unchanged()
        return self._edit_words(inputs, share)

    def _keeps_places(self, inputs: AttentionInputs, share: float) -> bool:
        rows, columns = inputs.site.grid
        return share < self.params.places and rows * columns <= _MOST_PLACES

    def _edit_places(self, inputs: AttentionInputs, share: float) -> Tensor:
        """Let places of the image attend to the places that they attend to in the source."""
        if not self._keeps_places(inputs, share):
            return inputs.unchanged()
        query, key = self.from_source(inputs, "query"), self.from_source(inputs, "key")
        return inputs.attend(query, key, inputs.value, inputs.bias)

    def _edit_words(self, inputs: AttentionInputs, share: float) -> Tensor:
        site = inputs.site
        logits = inputs.logits(inputs.query, inputs.key)
        block = logits[:, :, site.image, site.words]
        query, key = self.from_source(inputs, "query", "image"), self.from_source(inputs, "key", "words")
        scale = inputs.query.shape[-1] ** -0.5
        source = query @ key.transpose(-1, -2) * scale + self._source_bias(inputs)
        is_cross = site.kind == "cross"
        if is_cross:
            block, source = _softmax(block), _softmax(source)
        if share < self.params.words:
            block = self._with_kept_words(block, source, inputs)
        factors = word_factors(self.params.weights, self.target, block.shape[-1])
        if factors is not None:
            block = self._with_factors(block, to_device(factors, block.device, block.dtype), inputs, is_cross=is_cross)
        if is_cross:
            return block @ inputs.value[:, :, site.words]
        logits = logits.clone()
        logits[:, :, site.image, site.words] = block
        if self._keeps_places(inputs, share):
            places = self.from_source(inputs, "key", "image")
            logits[:, :, site.image, site.image_keys] = query @ places.transpose(-1, -2) * scale
        return _softmax(logits) @ inputs.value

    def _source_bias(self, inputs: AttentionInputs) -> Tensor | float:
        """Return the bias of each row's source for image queries and word keys; 0 if there is none."""
        if inputs.bias is None:
            return 0.0
        bias = inputs.bias
        if bias.dtype == torch.bool:
            bias = torch.zeros_like(bias, dtype=inputs.query.dtype).masked_fill(~bias, -torch.inf)
        bias = bias.expand(len(inputs.query), *bias.shape[1:])[..., inputs.site.words]
        bias = bias if bias.shape[-2] == 1 else bias[..., inputs.site.image, :]
        return self.rows_of_sources(bias, self.rows(inputs), f"bias of {inputs.site.name}")

    def _with_kept_words(self, block: Tensor, source: Tensor, inputs: AttentionInputs) -> Tensor:
        """Return maps (B, heads, places, K) with those of the source for the words that edited rows keep."""
        counts = (source.shape[-1], block.shape[-1])
        if counts not in self._alignments:
            swap = self.params.mode == "replace"
            self._alignments[counts] = align(self.source, self.target, counts, swap=swap, prompts=self.prompts)
        alignment = self._alignments[counts]
        mapper, kept = (to_device(one, block.device, block.dtype) for one in (alignment.mapper, alignment.kept))
        mapped = source @ mapper
        return torch.where(self._edited(inputs), kept * mapped + (1 - kept) * block, block)

    def _with_factors(self, block: Tensor, factors: Tensor, inputs: AttentionInputs, *, is_cross: bool) -> Tensor:
        weighted = block * factors if is_cross else block + factors.clamp(min=_LEAST_FACTOR).log()
        return torch.where(self._edited(inputs), weighted, block)

    def _edited(self, inputs: AttentionInputs) -> Tensor:
        """Return which rows (B, 1, 1, 1) are no sources."""
        flags = [self.sources[row.row] not in (None, row.row) for row in self.rows(inputs)]
        return numbers_on(flags, inputs.query.device, torch.bool).view(-1, 1, 1, 1)


def _softmax(logits: Tensor) -> Tensor:
    """Return probabilities, computed in float32 as the network's own attention does."""
    return logits.float().softmax(-1).to(logits.dtype)
