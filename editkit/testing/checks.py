"""Running conformance suites without pytest."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections.abc import Iterator
from typing import Literal
from unittest import SkipTest

from ..errors import EditkitError, InvalidParameter, MissingCapability
from ..files.paths import exists
from ..model.files.hub import HUB_ID
from ..model.finding import family_of, locate
from ..model.options import LoadingOptions
from ..registry.registry import KINDS, installed
from .suite import Suite
from .suites import suites_of

AGREEMENT = 1e-4
"""Largest difference of two images in [0, 1], sampled in float32 by the same steps."""


@dc.dataclass(frozen=True)
class Check:
    """A check and its outcome."""

    check: str
    """Name of the check in words."""
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    """Reason of a failure or a skip, in one line."""


def check(name: str) -> Iterator[Check]:
    """Check everything called ``name``: a plugin by entry point or module, and registered things, else a model.

    A model is a folder or a hub id; see :func:`check_model`. Raises UnknownName before the first check if there is
    nothing of the name, InvalidParameter if what has it has no suite.
    """
    registry = installed()
    broken = [failure for failure in registry.failures if name in (failure.source.name, failure.source.module)]
    suites = suites_of(name, registry)
    if not suites and not broken and (exists(name) or HUB_ID.fullmatch(name)):
        return check_model(name)
    if not suites and not broken and (found := registry.specs_of(name, KINDS)):
        kind = found[0][0]
        raise InvalidParameter(
            f"the {registry.title(kind, name)} has no suite of its own: check its plugin, editkit check "
            f"{registry.owners[kind, name].name}"
        )
    if not suites and not broken:
        plugins = (plugin.source.name for plugin in registry.plugins)
        raise registry.unknown_name(name, f"nothing is registered as {name!r}", KINDS, plugins)
    failed = (Check(f"plugin {failure.source.name}: loads", "failed", failure.reason) for failure in broken)
    return itertools.chain(failed, itertools.chain.from_iterable(map(run_suite, suites)))


def check_model(name: str) -> Iterator[Check]:
    """Check that a model samples the same images in editkit as in the library of its authors, to :data:`AGREEMENT`.

    Raises WeightsUnavailable if there is no such folder, or no backend serves it.
    """
    registry = installed()
    label, folder = locate(registry, name)
    if folder.is_file():
        raise InvalidParameter(f"{name!r} is a file: give the diffusers folder of a model")
    family = family_of(registry, folder, LoadingOptions())
    if family.compare is None:
        raise MissingCapability(
            f"the backend {family.name} of the model {label!r} has no comparison (BackendSpec.compare)"
        )
    return _comparisons(registry.load("backends", family.name, "compare")(folder), f"model {label}")


def _comparisons(differences: Iterator[tuple[str, float]], label: str) -> Iterator[Check]:
    """Yield the outcome of each comparison."""
    try:
        for image, difference in differences:
            passed = difference <= AGREEMENT  # not a number is a failure
            yield Check(
                f"{label}: {image} equals that of its own pipeline",
                "passed" if passed else "failed",
                f"largest difference {difference:.1e}, allowed {AGREEMENT:g}",
            )
    except MissingCapability as error:
        yield Check(f"{label}: images equal those of its own pipeline", "skipped", one_line(error))
    except EditkitError:
        raise
    except Exception as error:  # of the pipeline, which may raise any exception
        detail = f"{type(error).__name__}: {one_line(error)}"
        yield Check(f"{label}: images equal those of its own pipeline", "failed", detail)


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
