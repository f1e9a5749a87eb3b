"""Fixtures that several test files share, and a cache folder of its own for each test.

Each process computes in one thread: tiny models are faster that way, and a busy machine delays them less.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from reliability_outcomes import table

if TYPE_CHECKING:
    from editkit import Backend

os.environ.setdefault("OMP_NUM_THREADS", "1")

numbers = itertools.count()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--reliability-long",
        action="store_true",
        help="Run the probes of tests/reliability with some ten times the cases.",
    )


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table of the reliability probes, which workers of pytest-xdist report too."""
    reports = [report for state in ("passed", "failed") for report in terminalreporter.getreports(state)]
    properties = [entry for report in reports if report.when == "call" for entry in report.user_properties]
    rows = [value for name, value in properties if name == "reliability"]
    if rows:
        terminalreporter.section("reliability")
        for line in table(rows):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="session", autouse=True)
def cache_of_fixtures(caches: Path) -> None:
    """Set the cache folder of shared fixtures, which are set up before the cache folder of a test; no config file."""
    os.environ["EDITKIT_CACHE"] = str(caches / "shared")
    os.environ["EDITKIT_CONFIG"] = ""


@pytest.fixture(autouse=True)
def cache_of_one_test(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test an empty cache folder, without inversions of other tests or of the user."""
    monkeypatch.setenv("EDITKIT_CACHE", str(caches / str(next(numbers))))


@pytest.fixture(autouse=True)
def pythons_own_interrupt() -> Iterator[None]:
    """Give the tests Python's handler of Ctrl-C, whatever an earlier test or its libraries set."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder of Stable Diffusion with tiny networks and random weights. Tests do not change it."""
    from editkit.testing.tiny import stable_diffusion_folder

    return stable_diffusion_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny_model(tiny_folder: Path) -> Backend:
    """The model of ``tiny_folder``; each test file loads its own."""
    import editkit

    return editkit.load_model(str(tiny_folder))


@pytest.fixture(scope="session")
def bundled_model() -> Backend:
    """The model that is used if none is named. Tests do not change it."""
    import editkit

    return editkit.load_model()


@pytest.fixture(scope="session")
def tiny_controlnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a ControlNet that fits ``tiny_model``. Tests do not change it."""
    from editkit.testing.tiny import controlnet_folder

    return controlnet_folder(tmp_path_factory.mktemp("controlnet"))


FamilyFolder = Callable[[str], Path]


@pytest.fixture(scope="session")
def family_folder(tmp_path_factory: pytest.TempPathFactory) -> FamilyFolder:
    """A function that returns the tiny diffusers folder of a family of ``tests/families``. Tests do not change it."""
    from families.tables import FAMILIES

    root = tmp_path_factory.mktemp("families")

    @functools.cache
    def folder(name: str) -> Path:
        return FAMILIES[name].write(root / name)

    return folder


RandomImage = Callable[..., Image.Image]


@pytest.fixture(scope="session")
def random_image() -> RandomImage:
    """A function that returns an image of random pixels, given its size, mode and seed."""

    def make(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
        return Image.fromarray(pixels)

    return make
