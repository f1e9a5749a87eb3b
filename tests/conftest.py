"""One thread a process: tiny models are faster so, and do not wait for a busy machine at every operation.

And an empty cache of inversions for each test, so that none sees what another has made, nor the user's own.
"""

import itertools
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

numbers = itertools.count()


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="session", autouse=True)
def cache_of_fixtures(caches: Path) -> None:
    """Fixtures that several tests share are set up before a test has a cache of its own."""
    os.environ["EDITKIT_CACHE"] = str(caches / "shared")


@pytest.fixture(autouse=True)
def cache_of_one_test(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITKIT_CACHE", str(caches / str(next(numbers))))
