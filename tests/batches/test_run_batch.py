"""``run_batch``: the outcomes of rows in their order, from this process and from workers of an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import editkit
from batches import fatal_operation
from editkit import BadImage, InvalidParameter, Inversion, Result, UnknownName, WorkerEnded


@pytest.fixture
def rows(tmp_path: Path, random_image: Any) -> list[dict[str, Any]]:
    """Two edits, one without its image, and an inversion."""
    path = str(tmp_path / "a.png")
    random_image((16, 16), seed=0).save(path)
    edit = {"operation": "img2img", "image": path, "prompt": "a red apple", "strength": 0.5, "steps": 2}
    lost = {**edit, "image": str(tmp_path / "lost.png")}
    return [
        edit | {"seed": 1},
        lost,
        edit | {"seed": 2},
        {"operation": "invert", "image": path, "prompt": "x", "steps": 2},
    ]


def test_outcomes_have_the_order_of_the_rows(rows: list[dict[str, Any]], tiny_folder: Path) -> None:
    kinds = [Result, BadImage, Result, Inversion]
    assert [type(outcome) for outcome in editkit.run_batch(iter(rows), model=tiny_folder, batch=2)] == kinds


@pytest.mark.slow
def test_workers_give_the_bits_of_this_process_and_may_end(
    rows: list[dict[str, Any]], tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = list(editkit.run_batch(rows, model=tiny_folder))
    monkeypatch.syspath_prepend(fatal_operation.install(tmp_path / "plugin"))
    rows.insert(1, {"operation": "fatal", "image": rows[0]["image"], "prompt": "x", "steps": 2})
    # The worker ends in the first of three parts, whose rows are then edited one by one.
    there = list(editkit.run_batch(rows, model=tiny_folder, workers=1, batch=2))
    assert isinstance(there.pop(1), WorkerEnded)
    assert [type(outcome) for outcome in there] == [type(outcome) for outcome in here]
    for one, other in zip(here, there, strict=True):
        if isinstance(one, Result):
            assert one.image.tobytes() == other.image.tobytes()
            assert one.recipe == other.recipe


@pytest.mark.slow
def test_a_script_that_every_worker_runs_again_is_named_as_the_reason_at_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    row = {"operation": "img2img", "image": "a.png", "prompt": "x"}
    script.write_text(
        f"import editkit\nfor one in editkit.run_batch([{row}] * 40, workers=1, batch=2):\n    print(one)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=False)
    assert "exit status 1 before it could start: call editkit under if __name__ == '__main__':" in ended.stderr
    assert ended.stderr.count("An attempt has been made to start a new process") == 1


def test_engines_and_options_without_use_are_refused(rows: list[dict[str, Any]], tiny_folder: Path) -> None:
    with pytest.raises(UnknownName, match="moon"):
        list(editkit.run_batch(rows, engine="moon", workers=1))
    with pytest.raises(InvalidParameter, match="address"):
        editkit.run_batch(rows, address="head:6379")
    for function in (editkit.run_batch, editkit.edit_rows):
        with pytest.raises(InvalidParameter, match="has no argument 'clip_skpi'; did you mean 'clip_skip'"):
            function(rows, clip_skpi=1)
        with pytest.raises(InvalidParameter, match="clip_skip=-1"):
            function(rows, clip_skip=-1)
    for wrong in ({"workers": -1}, {"workers": True}, {"workers": "2"}, {"workers": 1, "gpus": float("nan")}):
        with pytest.raises(InvalidParameter, match=" is not allowed: give a"):
            editkit.run_batch(rows, **wrong)
    for engine in ("ray", "dask"):
        with pytest.raises(InvalidParameter, match=f"workers=0 has no use for the engine {engine}"):
            list(editkit.run_batch(rows, engine=engine, workers=0))
    with pytest.raises(InvalidParameter, match="in memory"):
        editkit.run_batch(rows, workers=1, model=editkit.load_model(tiny_folder))
    with pytest.raises(InvalidParameter, match="rows 0 to 0 cannot go"):
        list(editkit.run_batch([{"operation": "img2img", "image": lambda: None}], workers=1))
