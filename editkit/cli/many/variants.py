"""Several results of one input: every combination of the values of options that have several."""

from __future__ import annotations

import dataclasses as dc
import itertools
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ..options import MOST_RESULTS

SEED_END = 2**32
"""End of the range of seeds chosen at random."""


@dc.dataclass(frozen=True)
class Variant:
    """One result of each input."""

    settings: Mapping[str, Any] = dc.field(default_factory=dict)
    """Values of the parameters by which variants differ."""
    label: str = ""
    """End of the name of the result; empty if there is only one."""

    @property
    def shared(self) -> tuple[tuple[str, Any], ...]:
        """Settings without the seed."""
        return tuple((name, value) for name, value in self.settings.items() if name != "seed")

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in self.settings.items())


def plan_variants(axes: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return a variant for every combination of values, the seed last; raises UsageError for too many or equal ones."""
    ordered = sorted((name for name, values in axes.items() if len(values) > 1), key=lambda name: name == "seed")
    for name in ordered:
        if len(set(axes[name])) < len(axes[name]):
            raise click.UsageError(f"--{name.replace('_', '-')} has a value twice: give each once")
    count = math.prod(len(axes[name]) for name in ordered)
    if count > MOST_RESULTS:
        raise click.UsageError(
            f"the options ask for {count} results of each input, and at most {MOST_RESULTS} are allowed"
        )
    variants = []
    for places in itertools.product(*(range(len(axes[name])) for name in ordered)):
        settings = {name: axes[name][place] for name, place in zip(ordered, places, strict=True)}
        label = "".join(_label(name, axes[name], place) for name, place in zip(ordered, places, strict=True))
        variants.append(Variant(settings, label))
    return variants


def _label(name: str, values: Sequence[Any], place: int) -> str:
    """Return a value as a part of a file name: numbers and short names as they are, others by their place."""
    value, option = values[place], name.replace("_", "-")
    if isinstance(value, (int, float)):
        return f"-{option}{value:g}" if isinstance(value, float) else f"-{option}{value}"
    plain = all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.=+-]{0,40}", str(one)) for one in values)
    return f"-{value}" if plain else f"-{option}{place + 1}"


def seeds_of_count(count: int | None, seeds: Sequence[int]) -> Sequence[int]:
    """Return ``count`` seeds from a given or a random one on; without ``count`` the given ones."""
    if count is None:
        return seeds
    if len(seeds) > 1:
        raise click.UsageError("--count and several values of --seed contradict each other: give one of them")
    first = seeds[0] if seeds else secrets.randbelow(SEED_END - count)
    return range(first, first + count)
