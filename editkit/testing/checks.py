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
    """A check and its outcome."""

    check: str
    """Name of the check in words."""
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    """Reason of a failure or a skip, in one line."""


def check(name: str) -> Iterator[Check]:
    """Check everything called ``name``: a plugin by entry point or module, and registered things.

    Raises UnknownName before the first check if there is none.
    """
    registry = installed()
    broken = [failure for failure in registry.failures if name in (failure.source.name, failure.source.module)]
    suites = suites_of(name, registry)
    if not suites and not broken:
        raise UnknownName(f"nothing is registered as {name!r}; {did_you_mean(name, _known_names(registry))}")
    failed = (Check(f"plugin {failure.source.name}: loads", "failed", failure.reason) for failure in broken)
    return itertools.chain(failed, itertools.chain.from_iterable(map(run_suite, suites)))


def _known_names(registry: Registry) -> set[str]:
    plugins = {plugin.source.name for plugin in registry.plugins}
    return plugins.union(*(registry.specs[kind] for kind in KINDS))


def run_suite(suite: type[Suite]) -> Iterator[Check]:
    """Run the checks of a suite one after the other and yield their outcomes."""
    for method in suite.checks():
        label = f"{suite.kind} {suite.name}: {method.removeprefix('test_').replace('_', ' ')}"
        try:
            getattr(suite(), method)()
        except SkipTest as reason:
            yield Check(label, "skipped", one_line(reason))
        except AssertionError as error:
            yield Check(label, "failed", one_line(error))
        except Exception as error:  # a plugin may raise any exception
            yield Check(label, "failed", f"{type(error).__name__}: {one_line(error)}")
        else:
            yield Check(label, "passed", "")


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
