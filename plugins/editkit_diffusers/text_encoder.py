"""Text encoders, and embeddings added to them (Gal et al., arXiv 2208.01618)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from editkit import InvalidParameter, WeightsUnavailable, loading, quiet, reason_of

from .components import load_part


class TextEncoder:
    """A text encoder with its tokenizer.

    Prompts are truncated or padded to ``length`` tokens, by default the tokenizer's maximum length.
    """

    def __init__(self, net: Any, tokenizer: Any, length: int | None = None) -> None:
        self.net, self.tokenizer = net, tokenizer
        self.length: int = length or tokenizer.model_max_length
        self.expansions: dict[str, str] = {}
        """Token sequences of added words that have several vectors."""

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        part: str,
        kind: Any,
        *,
        device: torch.device,
        dtype: torch.dtype,
        net: Any = None,
        length: int | None = None,
    ) -> TextEncoder:
        """Load one part of a diffusers folder and its tokenizer; ``net`` is the part if it is loaded already.

        Raises WeightsUnavailable if either cannot be read.
        """
        tokenizer = load_tokenizer(folder / part.replace("text_encoder", "tokenizer"))
        return cls(net or load_part(kind, folder / part, device=device, dtype=dtype), tokenizer, length)

    def __call__(self, prompts: Sequence[str]) -> Any:
        """Encode prompts; the output includes the hidden states of all layers."""
        tokens = self.tokens(prompts)
        masked = self.net.config.to_dict().get("use_attention_mask")
        return self.net(
            tokens.input_ids, attention_mask=tokens.attention_mask if masked else None, output_hidden_states=True
        )

    def tokens(self, prompts: Sequence[str]) -> Any:
        """Tokenize prompts: ``input_ids`` (B, length), and ``attention_mask``, 0 for padding."""
        return self.tokenizer(
            [self._expand(prompt) for prompt in prompts],
            padding="max_length",
            max_length=self.length,
            truncation=True,
            return_tensors="pt",
        ).to(self.net.device)

    @property
    def width(self) -> int:
        """Length of a token embedding."""
        return self.net.get_input_embeddings().embedding_dim  # type: ignore[no-any-return]

    def add_embedding(self, word: str, vectors: Tensor) -> None:
        """Add a word with the embeddings ``vectors`` (N, width); raises InvalidParameter if the word exists."""
        names = [word, *(f"{word}_{number}" for number in range(1, len(vectors)))]
        existing = set(names) & set(self.tokenizer.get_vocab())
        if existing:
            raise InvalidParameter(f"adds the word {min(existing)!r}, which the model has already: leave it out")
        self.tokenizer.add_tokens(names)
        rows = max(len(self.tokenizer), self.net.get_input_embeddings().num_embeddings)
        self.net.resize_token_embeddings(rows, mean_resizing=False)
        table = self.net.get_input_embeddings().weight.requires_grad_(False)
        table[self.tokenizer.convert_tokens_to_ids(names)] = vectors.to(table)
        if len(names) > 1:
            self.expansions[word] = " ".join(names)

    def _expand(self, prompt: str) -> str:
        """Replace words of several vectors in a prompt by their token sequences."""
        if not self.expansions:
            return prompt
        longest_first = sorted(self.expansions, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda match: self.expansions[match[0]], prompt)


def load_tokenizer(folder: Path) -> Any:
    """Load a tokenizer of any class; raises WeightsUnavailable if it is damaged or needs a package."""
    try:
        with loading(), quiet():
            return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # as with weights: transformers raises many types
        if list(folder.glob("*.model")) and not (folder / "tokenizer.json").is_file():
            raise WeightsUnavailable(f"{folder} needs two packages: pip install sentencepiece protobuf") from error
        raise WeightsUnavailable(f"{folder} cannot be loaded ({reason_of(error)})") from error
