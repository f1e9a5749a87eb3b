"""The tokenizer of the bundled model: byte-level BPE in which the words of the captions are one token each."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from editkit_emoji.training.captions import natural_captions
from editkit_emoji.training.data import Emoji

BEGIN, END, PAD = "<s>", "</s>", "<pad>"
MAX_LENGTH = 24
LARGEST = 4096
"""Largest vocabulary; merging ends earlier, once every word is one token."""


def new_tokenizer(emojis: Iterable[Emoji]) -> PreTrainedTokenizerFast:
    """Build the tokenizer from the captions of ``emojis``, which must be training images only.

    Normalisation converts to lower case, strips accents and replaces hyphens by spaces. An unknown word is split into
    pieces, at worst into bytes
    (Radford et al. 2019, "Language models are unsupervised multitask learners", section 2.2): none is unknown.
    """
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence(
        [
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
            normalizers.Replace("-", " "),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(" "),
        ]
    )
    # Letters and digits in one word, unlike GPT-2's split: "3d" is the name of a style.
    words = pre_tokenizers.Split(Regex(r" ?[\p{L}\p{N}]+| ?[^\s\p{L}\p{N}]+"), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=LARGEST,
        min_frequency=1,
        special_tokens=[BEGIN, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((text for emoji in emojis for text in (emoji.caption, *natural_captions(emoji))), trainer)
    specials = [(token, bpe.token_to_id(token)) for token in (BEGIN, END)]
    bpe.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=specials)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=BEGIN, eos_token=END, pad_token=PAD, model_max_length=MAX_LENGTH
    )


def tokens_of(tokenizer: PreTrainedTokenizerFast, captions: list[str]) -> torch.Tensor:
    """Token numbers (B, MAX_LENGTH) int64, padded and truncated as in StableDiffusionPipeline."""
    encoded = tokenizer(
        captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    numbers: torch.Tensor = encoded.input_ids
    return numbers
