"""Pools of captions and instructions in tokens, sampled before a training run so that a GPU does not wait for them."""

from __future__ import annotations

import dataclasses as dc
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, multiprocessing
from transformers import PreTrainedTokenizerFast

from editkit_emoji.training.captions import sample_caption, sample_caption_pair
from editkit_emoji.training.data import Emoji, places
from editkit_emoji.training.grammar import sample_instruction
from editkit_emoji.training.instructions import perturb, random_word, uniform
from editkit_emoji.training.pairs import Pair, training_pairs
from editkit_emoji.training.tokenizer import tokens_of

Kind = Literal["single", "pair", "instruction"]
KINDS: tuple[Kind, ...] = get_args(Kind)
STYLED = 0.36
"""Share of pairs that differ in style, which have the smallest differences."""
RESTYLED = 0.2
"""Share of captions that leave the style out or name an unknown one, for images that are redrawn (``restyle``)."""
WITHOUT_INSTRUCTION = 0.08
"""Share of empty instructions, whose target is the source (Brooks et al., arXiv 2211.09800, section 3.2.1)."""
PERTURBED = 0.4
"""Share of instructions with random words."""
CHUNK = 20_000
"""Rows that one process samples at a time."""


class Texts(NamedTuple):
    """Rows of source and target image with their texts; both are the same for a single image."""

    places: Tensor
    """(N, 2) int32, indices of source and target in the artwork."""
    tokens: Tensor
    """(N, 2, L) int16, of the captions; an instruction stands at the target, and its source has an empty text."""
    restyled: Tensor
    """(N,) bool: the images are to be redrawn in a style that the texts do not name."""

    def to(self, device: str) -> Texts:
        return Texts(*(part.to(device) for part in self))

    def where(self, kept: Tensor) -> Texts:
        """Return the rows where ``kept`` (N,) is True."""
        return Texts(*(part[kept] for part in self))

    def sample(self, count: int, generator: torch.Generator) -> Texts:
        """Sample rows with replacement, with places and tokens in int64."""
        rows = torch.randint(len(self.places), (count,), generator=generator, device=self.places.device)
        return Texts(self.places[rows].long(), self.tokens[rows].long(), self.restyled[rows])


class Row(NamedTuple):
    """One row of :class:`Texts` in words."""

    source: int
    target: int
    source_text: str
    target_text: str
    restyled: bool = False


@dc.dataclass
class Writer:
    """Sampler of rows of one kind for the training images of an artwork."""

    emojis: Sequence[Emoji]
    tokenizer: PreTrainedTokenizerFast

    def __post_init__(self) -> None:
        self.places = places(self.emojis, held_out=False)
        self.pairs = training_pairs(self.emojis)
        self.pair_weights = weights_of(self.pairs)

    def single(self, place: int, generator: torch.Generator) -> Row:
        (emoji,), restyled = self.perhaps_unstyled([self.emojis[place]], generator)
        caption = sample_caption(emoji, generator)
        return Row(place, place, caption, caption, restyled)

    def pair(self, pair: Pair, generator: torch.Generator) -> Row:
        ends, restyled = [self.emojis[pair.source], self.emojis[pair.target]], False
        if pair.attribute != "style":
            ends, restyled = self.perhaps_unstyled(ends, generator)
        source, target = ends
        return Row(pair.source, pair.target, *sample_caption_pair(source, target, generator), restyled)

    def instruction(self, pair: Pair, generator: torch.Generator) -> Row:
        restyled = pair.attribute != "style" and uniform(generator) < RESTYLED
        if uniform(generator) < WITHOUT_INSTRUCTION:
            return Row(pair.source, pair.source, "", "", restyled)
        text = sample_instruction(pair, self.emojis[pair.source], generator)
        if uniform(generator) < PERTURBED:
            text = perturb(text, {*pair.was.split(), *pair.new.replace("-", " ").split()}, generator)
        return Row(pair.source, pair.target, "", text, restyled)

    def perhaps_unstyled(self, emojis: list[Emoji], generator: torch.Generator) -> tuple[list[Emoji], bool]:
        """Replace the style of some emojis, the same for all, by an unknown word or by nothing."""
        if uniform(generator) >= RESTYLED:
            return emojis, False
        style = random_word(generator) if uniform(generator) < 0.5 else ""
        return [dc.replace(emoji, style=style) for emoji in emojis], True

    def rows(self, kind: Kind, count: int, generator: torch.Generator) -> list[Row]:
        if kind == "single":
            chosen = torch.randint(len(self.places), (count,), generator=generator)
            return [self.single(self.places[index], generator) for index in chosen.tolist()]
        write = self.pair if kind == "pair" else self.instruction
        chosen = torch.multinomial(self.pair_weights, count, replacement=True, generator=generator)
        return [write(self.pairs[index], generator) for index in chosen.tolist()]

    def __call__(self, kind: Kind, count: int, seed: int) -> Texts:
        """Sample ``count`` rows of a kind."""
        rows = self.rows(kind, count, torch.Generator().manual_seed(seed))
        texts = [text for row in rows for text in (row.source_text, row.target_text)]
        tokens = tokens_of(self.tokenizer, texts).short().view(count, 2, -1)
        ends = torch.tensor([(row.source, row.target) for row in rows], dtype=torch.int32)
        return Texts(ends, tokens, torch.tensor([row.restyled for row in rows]))


def weights_of(pairs: Sequence[Pair]) -> Tensor:
    """Sampling weights of pairs: :data:`STYLED` for style, others by the square root of the attribute's pair count."""
    counts = Counter(pair.attribute for pair in pairs)
    shares = {attribute: count**0.5 for attribute, count in counts.items() if attribute != "style"}
    scale = (1 - STYLED) / (sum(shares.values()) or 1.0)
    shares = {attribute: share * scale for attribute, share in shares.items()} | {"style": STYLED}
    return torch.tensor([shares[pair.attribute] / counts[pair.attribute] for pair in pairs])


def sample_texts(
    emojis: Sequence[Emoji],
    tokenizer: PreTrainedTokenizerFast,
    count: int,
    workers: int = 0,
    kinds: Sequence[Kind] = KINDS,
) -> dict[Kind, Texts]:
    """Sample ``count`` rows of each of ``kinds``, in ``workers`` processes, or in this one for 0; deterministic."""
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    names = [kind for kind in kinds for _ in sizes]
    counts, seeds = sizes * len(kinds), list(range(len(sizes))) * len(kinds)
    if workers:
        # Spawned, because a fork of a process with torch threads may wait for their locks forever.
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, spawn, initializer=_start_worker, initargs=(emojis, tokenizer)) as pool:
            parts = list(pool.map(_write, names, counts, seeds))
    else:
        parts = list(map(Writer(emojis, tokenizer), names, counts, seeds))
    grouped = {kind: [part for name, part in zip(names, parts, strict=True) if name == kind] for kind in kinds}
    return {kind: Texts(*map(torch.cat, zip(*texts, strict=True))) for kind, texts in grouped.items()}


_writer: list[Writer] = []
"""The sampler of a worker process."""


def _start_worker(emojis: Sequence[Emoji], tokenizer: PreTrainedTokenizerFast) -> None:
    torch.set_num_threads(1)
    _writer.append(Writer(emojis, tokenizer))


def _write(kind: Kind, count: int, seed: int) -> Texts:
    return _writer[0](kind, count, seed)
