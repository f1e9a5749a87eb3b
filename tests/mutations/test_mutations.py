"""The conformance kit itself: its suites catch every bug of :mod:`mutations`, and pass without one."""

from __future__ import annotations

import functools
import importlib.util
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from editkit import Condition, Point, UnknownName
from editkit.testing import (
    BackendTests,
    PluginTests,
    SamplerTests,
    Suite,
    ToyBackend,
    check,
    replaced,
    run_suite,
    suite_of,
)

# Of diffusers, which the laws of paths compare with.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]

HERE = Path(__file__).parents[1]


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
    """The failures of a conformance suite (``kind name``) or of a file of laws."""
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


@pytest.mark.parametrize("file", sorted({m.noticed_by for m in MUTATIONS if m.noticed_by.endswith(".py")}))
def test_nothing_fails_without_a_mutation(file: str) -> None:
    """Laws are called here without pytest; the conformance suites are called as they are anywhere else."""
    assert list(failures(file)) == []


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.label)
def test_mutation_is_caught(mutation: object) -> None:
    watcher = mutation.noticed_by  # type: ignore[attr-defined]
    with loaded("mutations.py").in_place(mutation):
        caught = next(failures(watcher), None)
    assert caught, f"{watcher} does not notice"


def test_there_are_enough_mutations() -> None:
    assert len(MUTATIONS) >= 15
    assert len({mutation.label for mutation in MUTATIONS}) == len(MUTATIONS)


class Unclamped(ToyBackend):
    def decode(self, latents: Tensor) -> Tensor:
        return latents / 2 + 0.5


class Forgetful(ToyBackend):
    def embed(self, prompts: Sequence[str]) -> Condition:
        return super().embed(["" for _ in prompts])


class Sampling(ToyBackend):
    def encode(self, pixels: Tensor) -> Tensor:
        return super().encode(pixels) + 1e-6 * torch.randn(1, dtype=self.dtype)


class Mixing(ToyBackend):
    def denoise(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        return super().denoise(x, point, condition) + 1e-6 * x.mean()


class InPlace(ToyBackend):
    def denoise(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        return super().denoise(x, point, condition) + x.mul_(0.999) * 0


class Misshapen(ToyBackend):
    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        return (3, width, height)


class Boastful(ToyBackend):
    provides = frozenset()


@pytest.mark.parametrize("kind", [Unclamped, Forgetful, Sampling, Mixing, InPlace, Misshapen, Boastful])
def test_a_broken_backend_is_caught(kind: type[ToyBackend]) -> None:
    suite = type("TestBroken", (BackendTests,), {"name": "toy", "tolerance": 1e-9, "make": staticmethod(kind)})
    assert any(done.outcome == "failed" for done in run_suite(suite))


def test_a_heavy_import_is_caught() -> None:
    suite = type("TestHeavy", (PluginTests,), {"name": "heavy", "module": "editkit.editing.session"})
    with pytest.raises(AssertionError, match="torch"):
        suite().test_imports_nothing_heavy()


class TestReplacing:
    """A suite is passed as it is, or with a reason."""

    def outcome(self, suite: type[Suite]) -> str:
        own = "no check is replaced without a reason"
        return next(done.outcome for done in run_suite(suite) if done.check.endswith(f": {own}"))

    def test_adding_checks_is_welcome(self) -> None:
        class Ddim(SamplerTests):
            name = "ddim"

            def test_more(self) -> None: ...

        assert self.outcome(Ddim) == "passed"
        assert "test_more" in Ddim.checks()

    def test_a_replaced_check_fails_without_a_reason(self) -> None:
        class Ddim(SamplerTests):
            name = "ddim"

            def test_converges_at_the_declared_order(self) -> None: ...

        assert self.outcome(Ddim) == "failed"
        assert self.outcome(type("Deeper", (Ddim,), {})) == "failed"

    def test_a_replaced_check_passes_with_a_reason(self) -> None:
        class Ddim(SamplerTests):
            name = "ddim"

            @replaced("its order is proven elsewhere")
            def test_converges_at_the_declared_order(self) -> None: ...

        assert self.outcome(Ddim) == "passed"


class TestCheck:
    """``check`` runs everything a name means."""

    def test_a_name_of_two_kinds_is_checked_as_both(self) -> None:
        kinds = {done.check.split()[0] for done in check("ddim")}
        assert kinds == {"sampler", "inverter"}

    def test_a_plugin_is_checked_with_all_it_registers(self) -> None:
        for name in ("invert", "editkit_invert"):
            checked = {one.check.split(":")[0] for one in check(name)}
            assert checked == {"plugin invert", "operation invert", "operation reconstruct"}

    def test_skips_and_failures_have_a_reason(self) -> None:
        for done in check("ddpm"):
            assert (done.outcome == "passed") == (done.detail == ""), done

    def test_an_unknown_name_is_refused_at_once(self) -> None:
        with pytest.raises(UnknownName, match="did you mean 'heun'"):
            check("hheun")
