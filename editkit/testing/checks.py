"""Running conformance suites without pytest."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections.abc import Iterator
from typing import Literal
from unittest import SkipTest

from ..errors import UnknownName, did_you_mean
from ..registry.registry import KINDS, Registry, installed
from .suite import Suite
from .suites import suites_of


@dc.dataclass(frozen=True)
class Check:
    """One check and how it ended."""

    check: str
    """What was checked, in words."""
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    """Why it failed or was skipped, in one line."""


def check(name: str) -> Iterator[Check]:
    """Check everything that ``name`` means: a plugin by entry point or module, or a registered thing.

    Raises UnknownName before the first check where it means nothing.
    """
    registry = installed()
    broken = [failure for failure in registry.failures if name in (failure.source.name, failure.source.module)]
    suites = suites_of(name, registry)
    if not suites and not broken:
        raise UnknownName(f"nothing is registered as {name!r}; {did_you_mean(name, known_names(registry))}")
    failed = (Check(f"plugin {failure.source.name}: loads", "failed", failure.reason) for failure in broken)
    return itertools.chain(failed, itertools.chain.from_iterable(map(run_suite, suites)))


def known_names(registry: Registry) -> set[str]:
    plugins = {plugin.source.name for plugin in registry.plugins}
    return plugins.union(*(registry.specs[kind] for kind in KINDS))


def run_suite(suite: type[Suite]) -> Iterator[Check]:
    """Run the checks of a suite one after the other; whatever one raises is how it failed."""
    for method in suite.checks():
        said = f"{suite.kind} {suite.name}: {method.removeprefix('test_').replace('_', ' ')}"
        try:
            getattr(suite(), method)()
        except SkipTest as reason:
            yield Check(said, "skipped", one_line(reason))
        except AssertionError as error:
            yield Check(said, "failed", one_line(error))
        except Exception as error:  # a plugin may raise anything
            yield Check(said, "failed", f"{type(error).__name__}: {one_line(error)}")
        else:
            yield Check(said, "passed", "")


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
