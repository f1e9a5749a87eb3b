"""Fixtures of the probes: counting, the long form, and a registered toy model for the command line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reliability_outcomes import Outcomes

from editkit.registry.registry import installed
from editkit.registry.specs import BackendSpec, ModelSpec
from editkit.testing import ToyBackend

Probe = Callable[[str], contextlib.AbstractContextManager[Outcomes]]


@pytest.fixture
def probe(record_property: Callable[[str, Any], None]) -> Probe:
    """A function that opens the tally of a probe by name; it ends in the table, and in a failure for every fault."""

    @contextlib.contextmanager
    def open_tally(name: str) -> Iterator[Outcomes]:
        tally = Outcomes(name)
        yield tally
        record_property("reliability", {"probe": name, **tally.counts})
        tally.verify()

    return open_tally


@pytest.fixture(scope="session")
def long(request: pytest.FixtureRequest) -> bool:
    """Whether the long form is asked for: some ten times as many cases."""
    return bool(request.config.getoption("reliability_long"))


@pytest.fixture
def toy_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a registered model that loads as a toy backend, for commands whose good calls cost milliseconds."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ToyPipeline"}))
    specs = installed().specs
    loader = BackendSpec(
        name="toy",
        summary="Toy.",
        load=lambda: lambda folder, *, name, device, dtype: ToyBackend(),
        pipelines=frozenset({"ToyPipeline"}),
    )
    monkeypatch.setitem(specs["backends"], "toy", loader)
    monkeypatch.setitem(specs["models"], "toy", ModelSpec(name="toy", summary="Toy.", load=lambda: folder))
    return "toy"
