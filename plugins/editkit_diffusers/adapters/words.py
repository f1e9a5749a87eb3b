"""Learned words: embeddings of new tokens (textual inversion, Gal et al., arXiv 2208.01618)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from editkit import InvalidParameter

from ..text_encoder import TextEncoder
from .recognition import base_of, foreign_file
from .tensor_names import has_prefix, parse_name, unsupported_kind

ENCODERS = {
    "clip_l": "text_encoder",
    "clip_g": "text_encoder_2",
    "text_encoders_0": "text_encoder",
    "text_encoders_1": "text_encoder_2",
    "t5": "t5",
    "t5xxl": "t5",
}
"""Text encoders by tensor name, in files for models with several; ``t5`` is the T5 encoder of any model."""
NAMELESS = ("emb_params", "*", "string_to_param.*", "string_to_param")
"""Tensor names in files whose file name is the word."""
_BUNDLED = re.compile(rf"bundle_emb\.(.+?)\.({'|'.join(map(re.escape, (*NAMELESS, *ENCODERS)))})")
"""Words inside a LoRA file."""
_SPECIAL_TOKENS = 2
"""Tokens at the beginning and end of a prompt, which leave the others to words."""


class WordVectors(NamedTuple):
    """Vectors (N, D) of a word; ``encoder`` is a value of ENCODERS, None for all encoders of width D."""

    word: str
    vectors: Tensor
    encoder: str | None
    guessed: bool = False
    """Whether the file does not hold the name, and its vectors have another name too."""


class Addition(NamedTuple):
    """Word to be added to a text encoder, with its vectors (N, width)."""

    encoder: TextEncoder
    word: str
    vectors: Tensor


def split_words(tensors: Mapping[str, Tensor], stem: str) -> tuple[list[WordVectors], dict[str, Tensor]]:
    """Return the words in an adapter file, whose name is ``stem``, and its other tensors."""
    bundled = {name: match for name in tensors if (match := _BUNDLED.fullmatch(name))}
    words = [WordVectors(match[1], tensors[name], ENCODERS.get(match[2])) for name, match in bundled.items()]
    others = {name: tensor for name, tensor in tensors.items() if name not in bundled}
    if not _are_words(others):
        return words, others
    for name, tensor in others.items():
        pivotal = name in ENCODERS and tensor.ndim == 2
        word = stem if name in (*NAMELESS, *ENCODERS) else name
        words.append(WordVectors(word, tensor, ENCODERS.get(name), guessed=pivotal))
        if pivotal:  # pivotal tuning: each row is a token of its own
            words += [WordVectors(f"<s{number}>", row, ENCODERS[name], True) for number, row in enumerate(tensor)]
    return words, {}


def _are_words(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors are embeddings: vectors or rows of them, with names that no network or adapter has."""
    if foreign_file(tensors) or any(parse_name(name) or unsupported_kind(name) for name in tensors):
        return False
    matrix = re.compile(r"(.*\.)?(weight|bias|up|down|alpha|[AB])")
    if base_of(tensors) or any(has_prefix(name) or matrix.fullmatch(name) for name in tensors):
        return False
    return all(tensor.ndim in (1, 2) and tensor.is_floating_point() for tensor in tensors.values())


def additions_of(
    words: Sequence[WordVectors], scale: float, texts: Mapping[str, TextEncoder]
) -> tuple[list[Addition], list[str]]:
    """Return what is to be added to which text encoder, and warnings.

    Raises InvalidParameter for words that cannot be added. Of vectors with two guessed names, one may be taken.
    """
    if words and scale != 1:
        raise InvalidParameter(f"is a textual-inversion embedding and takes no scale: leave out the scale {scale:g}")
    additions: list[Addition] = []
    for word in words:
        vectors = word.vectors[None] if word.vectors.ndim == 1 else word.vectors
        for encoder in _encoders_of(word, vectors, texts):
            _check(word.word, vectors, encoder)
            additions.append(Addition(encoder, word.word, vectors))
    guessed = {word.word for word in words if word.guessed}
    taken = _taken(additions)
    if taken and (not taken <= guessed or all(one.word in taken for one in additions)):
        raise InvalidParameter(f"adds the word {min(taken)!r}, which the model has already: leave it out or rename it")
    warnings = [f"its word {word!r} is left out, as the model has such a word already" for word in sorted(taken)]
    return [one for one in additions if one.word not in taken], warnings


def _taken(additions: Sequence[Addition]) -> set[str]:
    """Return the words that an encoder has already, or that are added to it twice."""
    taken, seen = set(), set()
    for encoder, word, vectors in additions:
        if encoder.existing_token(word, len(vectors)) is not None or (id(encoder), word.lower()) in seen:
            taken.add(word)
        seen.add((id(encoder), word.lower()))
    return taken


def _encoders_of(word: WordVectors, vectors: Tensor, texts: Mapping[str, TextEncoder]) -> list[TextEncoder]:
    fitting = {part: encoder for part, encoder in texts.items() if encoder.width == vectors.shape[-1]}
    if word.encoder == "t5":
        fitting = {part: encoder for part, encoder in fitting.items() if encoder.is_t5}
    elif word.encoder is not None:
        fitting = {part: encoder for part, encoder in fitting.items() if part == word.encoder}
    if not fitting:
        widths = " and ".join(str(encoder.width) for encoder in texts.values())
        raise InvalidParameter(
            f"is an embedding of length {vectors.shape[-1]}{f' for {word.encoder}' if word.encoder else ''}, and the "
            f"model's words have {widths}: it belongs to a model of another shape"
        )
    return list(fitting.values())


def _check(word: str, vectors: Tensor, encoder: TextEncoder) -> None:
    if not word.strip():
        raise InvalidParameter("holds a word without letters, which would be in every prompt: give it a name")
    if not vectors.is_floating_point():
        raise InvalidParameter(f"gives the word {word!r} values of {vectors.dtype}: it is quantised, get it in float16")
    if not torch.isfinite(vectors.to(encoder.net.dtype)).all():
        raise InvalidParameter(
            f"gives the word {word!r} values that {encoder.net.dtype} cannot hold: use --dtype float32"
        )
    room = encoder.length - _SPECIAL_TOKENS
    if not 0 < len(vectors) <= room:
        raise InvalidParameter(
            f"gives the word {word!r} {len(vectors)} vectors, and a prompt of the model has 1 to {room}: it is damaged "
            "or belongs to another model"
        )


def half_learned(texts: Mapping[str, TextEncoder]) -> tuple[str, ...]:
    """Return a warning about words that some text encoders of a model have learned and others have not.

    T5 encoders may do without: they are rarely trained beside CLIP.
    """
    readers = {part: encoder for part, encoder in texts.items() if not encoder.is_t5} or dict(texts)
    words = sorted({word for encoder in texts.values() for word in encoder.words})
    warnings = []
    for part, encoder in readers.items():
        unknown = [word for word in words if word not in encoder.words]
        if unknown:
            named = ", ".join(map(repr, unknown))
            warnings.append(
                f"the learned words {named} have no embedding for {part}, which reads others there: add the file of "
                "that encoder, or they belong to another model"
            )
    return tuple(warnings)
