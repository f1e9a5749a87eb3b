"""Strength of a low-rank change: alpha by rank, from tensors, from the file's header or from PEFT's configuration."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import regex

from editkit import InvalidParameter

from .reading import AdapterFile

_KOHYA_ALPHA = "ss_network_alpha"
_HEADER_ALPHAS = ("lora_alpha", "network_alpha", "alpha")
"""Names of the alpha of a whole file in headers, with or without the name of a part before them."""
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations of PEFT that also change the base model, by the beginnings of their names."""
_PEFT_TYPES = ("LORA", "LOHA", "LOKR")
_VARIANTS = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_bdlora",
    "velora_config",
)
"""Settings of PEFT whose LoRAs are used in another way than by adding their product to the weight."""
_SECONDS = 5.0
"""Time for all patterns of a file: a regular expression of a few letters can take hours."""


class Strengths:
    """Strengths that the settings of a file give to its changes."""

    def __init__(self, file: AdapterFile, *, kohya: bool) -> None:
        """``kohya`` is whether its tensors are named as kohya's scripts name them."""
        self.settings: Mapping[str, Any] = _settings_of(file)
        self.alpha_in_tensors = any(name.endswith(".alpha") for name in file.tensors)
        if kohya and not self.alpha_in_tensors and _KOHYA_ALPHA in self.settings:
            self.settings = {"lora_alpha": self.settings[_KOHYA_ALPHA], **self.settings}
        self.ignored_alpha = not kohya and not self.alpha_in_tensors and self.states(_KOHYA_ALPHA)
        self._seconds = _SECONDS

    def states(self, *keys: str) -> bool:
        """Return whether a setting is there under any of the names, for all parts or for one."""
        return any(name.rpartition(".")[2] in keys for name in self.settings)

    @property
    def has_alpha(self) -> bool:
        return self.alpha_in_tensors or self.states(*_HEADER_ALPHAS)

    @property
    def is_stabilised_lycoris(self) -> bool:
        """Whether LyCORIS trained with ``rs_lora``, by the arguments in the header."""
        arguments = self.settings.get("ss_network_args")
        return isinstance(arguments, Mapping) and str(arguments.get("rs_lora")).lower() == "true"

    def factor(self, part: str, names: Iterable[str], alpha: float | None, rank: int) -> float:
        """Return alpha / rank, or alpha / sqrt(rank) of rank-stabilised LoRA (Kalajdzievski, arXiv 2312.03732).

        ``alpha`` is that of the file's tensors; otherwise it comes from the settings of ``part``, where patterns may
        match one of the layer's ``names``. The factor is 1 if there is none.
        """
        stated = alpha if alpha is not None else self._alpha(part, names)
        if stated is None:
            return 1.0
        stabilised = alpha is None and self._setting(part, "use_rslora") is True
        return stated / (math.sqrt(rank) if stabilised else rank)

    def stated_rank(self, part: str, names: Iterable[str]) -> int | None:
        """Return the rank that PEFT's configuration states for a layer, None without one."""
        rank = self._layer_setting(part, "rank_pattern", ("r",), names)
        return None if rank is None else int(rank)

    def _alpha(self, part: str, names: Iterable[str]) -> float | None:
        alpha = self._layer_setting(part, "alpha_pattern", _HEADER_ALPHAS, names)
        return None if alpha is None else float(alpha)

    def _layer_setting(self, part: str, patterns: str, keys: Sequence[str], names: Iterable[str]) -> Any:
        """Return the value of the first pattern that matches a layer, else that of a part or of the whole file."""
        candidates = list(names)
        for pattern, value in (self._setting(part, patterns) or {}).items():
            if any(self._matches(pattern, name) for name in candidates):
                return value
        return next((found for key in keys if (found := self._setting(part, key)) is not None), None)

    def _matches(self, pattern: str, name: str) -> bool:
        """Return whether PEFT's regular expression ``pattern`` matches the end of a module's name.

        Raises ValueError for one that is damaged or takes too long.
        """
        start = time.monotonic()
        try:
            return regex.match(rf"(.*\.)?({pattern})$", name, timeout=self._seconds) is not None
        except (regex.error, TimeoutError) as error:
            raise ValueError(f"alpha_pattern {pattern[:80]!r}: {error}") from error
        finally:
            self._seconds = max(self._seconds - (time.monotonic() - start), 0.001)

    def _setting(self, part: str, key: str) -> Any:
        return self.settings.get(f"{part}.{key}", self.settings.get(key))


def check_settings(file: AdapterFile) -> None:
    """Raise InvalidParameter for other kinds of PEFT, and for training that changed the base model too."""
    for name, value in _settings_of(file).items():
        key = name.rpartition(".")[2]
        if key == "peft_type" and str(value).upper() not in (*_PEFT_TYPES, "NONE"):
            raise InvalidParameter(
                f"is an adapter of PEFT's type {str(value)[:60]}, and only {', '.join(_PEFT_TYPES)} are supported"
            )
        if key == "init_lora_weights" and str(value).lower().startswith(_CHANGED_BASE):
            raise InvalidParameter(
                f"was trained with init_lora_weights {value!r}, which changes the base model too: convert it to a "
                "plain LoRA with PEFT (save_pretrained with path_initial_model_for_weight_conversion)"
            )
        if key in _VARIANTS and value:
            raise InvalidParameter(f"is a LoRA of PEFT with {key}, which is not supported: train one without it")


def _settings_of(file: AdapterFile) -> dict[str, Any]:
    return {**_parsed(file.header), **file.configuration}


def _parsed(header: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a header, which are text; those that are JSON as what they stand for."""
    return {key: _value(text) for key, text in header.items() if len(text) < 10**6}


def _value(text: str) -> Any:
    literal = {"True": True, "False": False, "None": None}
    if text in literal:
        return literal[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
