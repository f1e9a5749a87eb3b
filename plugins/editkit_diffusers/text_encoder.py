"""Text encoders, and embeddings added to them (Gal et al., arXiv 2208.01618)."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import AddedToken
from torch import Tensor
from transformers import AutoTokenizer

from editkit import InvalidParameter, WeightsUnavailable, loading, quiet, reason_of, to_device

_UNLIMITED = 10**6
"""Length in tokens from which on a tokenizer has no limit."""
_TOKENIZING = threading.Lock()
_SHORTEST = 3
"""Length in tokens of a prompt with one token between a first and a last one."""


class TextEncoder:
    """A text encoder with its tokenizer.

    Prompts are truncated or padded to ``length`` tokens, by default the tokenizer's maximum length. The last ``skip``
    layers of a CLIP encoder are left out.
    """

    def __init__(self, net: Any, tokenizer: Any, length: int | None = None, skip: int = 0) -> None:
        self.skip = skip
        self.net, self.tokenizer = net, tokenizer
        self.length = length or _prompt_length(net, tokenizer)
        if type(tokenizer.model_max_length) is not int:
            tokenizer.model_max_length = self.length  # it is compared with the length of every prompt
        self.device: torch.device | None = None
        """Device of its inputs, if it is another than that of its weights at rest."""
        self.words: dict[str, str] = {}
        """Token sequences of added words."""

    def __call__(self, prompts: Sequence[str], chunks: int = 1) -> Any:
        """Encode prompts in ``chunks`` rows each; the output includes the hidden states of all layers."""
        tokens = self.tokens(prompts) if chunks == 1 else self.chunk_tokens(prompts, chunks)
        masked = self.net.config.to_dict().get("use_attention_mask")
        return self.net(
            tokens.input_ids, attention_mask=tokens.attention_mask if masked else None, output_hidden_states=True
        )

    def states(self, output: Any, left_out: int = 0) -> Tensor:
        """Return the hidden states (B, tokens, D) before the last ``left_out`` layers and those skipped."""
        states: Tensor = output.hidden_states[-1 - left_out - self.skip]
        return states

    def tokens(self, prompts: Sequence[str]) -> Any:
        """Tokenize prompts: ``input_ids`` (B, length), and ``attention_mask``, 0 for padding."""
        tokens = self._tokenize(
            [self._expand(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        )
        return self._check_tokens(tokens)

    def content(self, prompt: str) -> list[tuple[str, int, int]]:
        """Return text, token and place of each token of a prompt that the encoder reads, without those it adds."""
        row = self.tokens([prompt]).input_ids[0].tolist()
        special = {*self.tokenizer.all_special_ids}
        unknown = self.tokenizer.unk_token_id
        return [
            (self.tokenizer.decode([token]).strip(), token, place)
            for place, token in enumerate(row)
            if token not in special or token == unknown != self.tokenizer.pad_token_id
        ]

    def read(self, prompt: str) -> tuple[str, int]:
        """Return the text of a prompt behind the limit, and the number of chunks in which all of it is read."""
        text = self._expand(prompt)
        encoding = self._tokenize(
            text, return_special_tokens_mask=True, return_offsets_mapping=self.tokenizer.is_fast, verbose=False
        )
        content = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        room = self.length - (len(encoding.input_ids) - len(content))
        rest = content[room:]
        if not rest:
            return "", 1
        if self.tokenizer.is_fast:
            cut = text[encoding.offset_mapping[rest[0]][0] :]
        else:
            cut = self.tokenizer.decode([encoding.input_ids[place] for place in rest])
        return cut.strip(), -(-len(content) // room)

    def chunk_tokens(self, prompts: Sequence[str], chunks: int) -> Any:
        """Tokenize prompts as :meth:`tokens` does, but in ``chunks`` rows each: ``input_ids`` (B chunks, length)."""
        begin, end = self._special_tokens()
        room = self.length - len(begin) - len(end)
        rows = []
        for prompt in prompts:
            content = self._tokenize(self._expand(prompt), add_special_tokens=False, verbose=False).input_ids
            rows += [[*begin, *content[room * chunk : room * (chunk + 1)], *end] for chunk in range(chunks)]
        padding: dict[str, Any] = {"padding": "max_length", "max_length": self.length, "return_tensors": "pt"}
        return self._check_tokens(self.tokenizer.pad({"input_ids": rows}, **padding))

    def _tokenize(self, text: Any, **options: Any) -> Any:
        """Call the tokenizer, whose padding and truncation are set by each call and shared by all threads."""
        with _TOKENIZING:
            return self.tokenizer(text, **options)

    def _check_tokens(self, tokens: Any) -> Any:
        """Return tokens on the encoder's device; raises WeightsUnavailable if it has no embedding for one."""
        highest, rows = int(tokens.input_ids.max()), self.net.get_input_embeddings().num_embeddings
        if highest >= rows:
            raise WeightsUnavailable(
                f"the tokenizer gives the token {highest}, and the text encoder has {rows}: they belong to different "
                "models"
            )
        place = self.device or self.net.device
        for name in tokens:
            tokens[name] = to_device(tokens[name], place)
        return tokens

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """Return the tokens that the tokenizer adds before and behind a text."""
        encoding = self._tokenize("a", return_special_tokens_mask=True)
        content = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        return encoding.input_ids[: content[0]], encoding.input_ids[content[-1] + 1 :]

    @property
    def width(self) -> int:
        """Length of a token embedding."""
        return self.net.get_input_embeddings().embedding_dim  # type: ignore[no-any-return]

    @property
    def is_t5(self) -> bool:
        """Whether the encoder is a T5 (Raffel et al., arXiv 1910.10683)."""
        return "t5" in self.net.config.model_type

    def existing_token(self, word: str, count: int) -> str | None:
        """Return a token of the vocabulary that a new word of ``count`` vectors would collide with, or None."""
        vocabulary = self.tokenizer.get_vocab()
        lower = word.lower()
        words = {existing.lower(): existing for existing in self.words}
        if lower in words:
            return words[lower]
        spellings = (*_token_names(word, count), lower, f"{lower}</w>", f"\N{LOWER ONE EIGHTH BLOCK}{lower}")
        return next((name for name in spellings if name in vocabulary), None)

    def add_embedding(self, word: str, vectors: Tensor) -> None:
        """Add a word with the embeddings ``vectors`` (N, width); raises InvalidParameter if the word exists."""
        names = _token_names(word, len(vectors))
        existing = self.existing_token(word, len(vectors))
        if existing:
            raise InvalidParameter(f"adds the word {existing!r}, which the model has already: leave it out")
        # Tokens are found in the prompt as it is written; a word of letters is no part of a longer one.
        whole = _BOUNDED.fullmatch(word) is not None
        self.tokenizer.add_tokens([AddedToken(name, single_word=whole, normalized=False) for name in names])
        rows = max(len(self.tokenizer), self.net.get_input_embeddings().num_embeddings)
        self.net.resize_token_embeddings(rows, mean_resizing=False)
        table = self.net.get_input_embeddings().weight.requires_grad_(False)
        table[self.tokenizer.convert_tokens_to_ids(names)] = vectors.to(table)
        self.words[word] = " ".join(names)

    def _expand(self, prompt: str) -> str:
        """Replace added words in a prompt, in capitals or small letters, by their token sequences."""
        parts, end = [], 0
        for word, (start, stop) in self._found_words(prompt):
            parts += [prompt[end:start], self.words[word]]
            end = stop
        return "".join([*parts, prompt[end:]])

    def words_in(self, prompt: str) -> set[str]:
        """Return the added words that a prompt holds."""
        return {word for word, _ in self._found_words(prompt)}

    def _found_words(self, prompt: str) -> list[tuple[str, tuple[int, int]]]:
        """Return each added word in a prompt with its span."""
        longest_first = sorted(self.words, key=len, reverse=True)
        pattern = "|".join(f"({_bounded_pattern(word)})" for word in longest_first)
        found = re.finditer(pattern, prompt, re.IGNORECASE) if self.words else ()
        # By the group, not by the text: letters such as the long s are equal to others without case.
        return [(longest_first[(match.lastindex or 1) - 1], match.span()) for match in found]


_BOUNDED = re.compile(r"\w(.*\w)?", re.DOTALL)


def _bounded_pattern(word: str) -> str:
    """Return a pattern of a word, which begins and ends at the boundary of a word if it does so with letters."""
    begin, end = (r"\b" if re.fullmatch(r"\w", letter) else "" for letter in (word[0], word[-1]))
    return f"{begin}{re.escape(word)}{end}"


def _token_names(word: str, count: int) -> list[str]:
    """Return the names of the tokens of a word of ``count`` vectors."""
    return [word, *(f"{word}_{number}" for number in range(1, count))]


def _prompt_length(net: Any, tokenizer: Any) -> int:
    """Return the number of tokens of a prompt: the tokenizer's, within the positions of the text encoder.

    Raises WeightsUnavailable if neither limits it, or no word fits. Tokenizers without a limit have a huge one in
    transformers.
    """
    limits = (getattr(net.config, "max_position_embeddings", None), tokenizer.model_max_length)
    known = [limit for limit in limits if type(limit) is int and 0 < limit < _UNLIMITED]
    if not known or min(known) < _SHORTEST:
        raise WeightsUnavailable(
            f"the tokenizer of a {type(net).__name__} has the model_max_length {str(limits[1])[:60]!r}, and the text "
            f"encoder {limits[0]} positions: put the number of tokens of a prompt into tokenizer_config.json"
        )
    return min(known)


def join_chunks(states: Tensor, chunks: int) -> Tensor:
    """Join hidden states (B chunks, T, D) of the chunks of each prompt along the sequence: (B, chunks T, D)."""
    return states.reshape(len(states) // chunks, chunks * states.shape[1], *states.shape[2:])


def load_tokenizer(folder: Path, entry: object = None) -> Any:
    """Load a tokenizer of the class that its ``entry`` in the model's index names, else that its own files name.

    Raises WeightsUnavailable if it is missing, damaged or needs a package.
    """
    if not folder.is_dir():
        raise WeightsUnavailable(f"{folder} is missing, and this family needs it: put the one of its base model there")
    try:
        with loading(), quiet():
            kind = _tokenizer_class(entry)
            if kind is None:
                tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            else:
                tokenizer = kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as with weights: transformers raises many types
        if list(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file():
            raise WeightsUnavailable(f"{folder} needs two packages: pip install sentencepiece protobuf") from error
        raise WeightsUnavailable(f"{folder} cannot be loaded ({reason_of(error)})") from error
    if tokenizer.pad_token_id is None:
        raise WeightsUnavailable(f"{folder} has no pad_token: put the one of its model into tokenizer_config.json")
    return tokenizer


def _tokenizer_class(entry: object) -> Any:
    """Return the class of transformers that an index names for a tokenizer, as diffusers takes it; None for others."""
    name = entry[1] if isinstance(entry, list) and len(entry) == 2 and entry[0] == "transformers" else None
    kind = getattr(transformers, name, None) if isinstance(name, str) and "Tokenizer" in name else None
    known = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedTokenizerBase)
    return kind if known else None
