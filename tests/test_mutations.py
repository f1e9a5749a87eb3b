"""The suites and laws catch every bug of :mod:`mutations`, and pass without one."""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from editkit.testing import run_suite, suite_of

HERE = Path(__file__).parent


@functools.cache
def loaded(file: str) -> types.ModuleType:
    """A file of this folder as a module of its own, since tests are no package."""
    path = next(HERE.rglob(file))
    spec = importlib.util.spec_from_file_location(f"mutation_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MUTATIONS = loaded("mutations.py").MUTATIONS


def failures(watcher: str) -> Iterator[str]:
    """What fails in a conformance suite (``kind name``) or in a file of laws."""
    if not watcher.endswith(".py"):
        yield from (
            f"{done.check}: {done.detail}" for done in run_suite(suite_of(*watcher.split())) if done.outcome == "failed"
        )
        return
    for name, suite in vars(loaded(watcher)).items():
        if name.startswith("Test") and suite.__module__ == loaded(watcher).__name__:
            yield from laws_broken(suite)


def laws_broken(suite: type) -> Iterator[str]:
    for name in vars(suite):
        if not name.startswith("test_"):
            continue
        laws = suite()
        getattr(laws, "setup_method", lambda: None)()
        try:
            getattr(laws, name)()
        except (Exception, pytest.fail.Exception) as error:
            yield f"{name}: {error!r}"


@pytest.mark.parametrize("watcher", sorted({mutation.noticed_by for mutation in MUTATIONS}))
def test_nothing_fails_without_a_mutation(watcher: str) -> None:
    assert list(failures(watcher)) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.label)
def test_mutation_is_caught(mutation: object) -> None:
    watcher = mutation.noticed_by  # type: ignore[attr-defined]
    with loaded("mutations.py").in_place(mutation):
        caught = next(failures(watcher), None)
    assert caught, f"{watcher} does not notice"


def test_there_are_enough_of_them() -> None:
    assert len(MUTATIONS) >= 15
    assert len({mutation.label for mutation in MUTATIONS}) == len(MUTATIONS)
