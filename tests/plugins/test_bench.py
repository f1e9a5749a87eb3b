"""``editkit bench``: equality with diffusers and the calls and samples of edits. No test depends on time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from editkit_bench.comparison import Comparison
from editkit_bench.comparisons import ROWS
from editkit_bench.counters import Counts, Work, counted, door
from editkit_bench.fixture import ComparisonFixture, network_of
from editkit_bench.gpu_batches import batch_rows
from editkit_bench.model_configs import SHAPES
from editkit_bench.timing import in_turns, ratio
from torch.utils.flop_counter import FlopCounterMode

import editkit
from editkit.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

CLOSE = 1e-4
"""Largest difference of latents where both sides mean the same."""
KINDS = tuple(dict.fromkeys(row.kind for row in ROWS))
SAME = [row for row in ROWS if row.same_maths]
SAVED = {"instruct-image-guidance-1": 2 / 3}
"""Samples as a share of those of diffusers, where editkit evaluates fewer."""
TUNED_AWAY = {"edit-friendly-inversion", "four-edits", "ddim-inversion"}
"""Rows whose tuning does other work than the plain side."""


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ComparisonFixture]]:
    """The tiny model of every kind."""
    import contextlib

    with contextlib.ExitStack() as opened:
        yield {
            kind: opened.enter_context(
                ComparisonFixture.open(SHAPES["tiny"], kind, tmp_path_factory.mktemp(kind) / "of")
            )
            for kind in KINDS
        }


def named(name: str) -> Comparison:
    return next(row for row in ROWS if row.operation == name)


def missed(pair: Any) -> float:
    ours, theirs = pair
    assert ours.shape == theirs.shape
    assert float(ours.std()) > 0.1, "nothing to compare"
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("row", SAME, ids=lambda row: row.operation)
def test_the_same_mathematics_gives_the_same(stages: dict[str, ComparisonFixture], row: Comparison) -> None:
    assert row.results is not None
    assert missed(made(stages[row.kind]) for made in row.results) < CLOSE


@pytest.mark.parametrize(
    "row", [row for row in SAME if row.operation != "sixteen-pictures"], ids=lambda row: row.operation
)
def test_no_edit_calls_the_network_more_often_than_diffusers(
    stages: dict[str, ComparisonFixture], row: Comparison
) -> None:
    fixture, ours, theirs = stages[row.kind], Counts(), Counts()
    with door(network_of(fixture.model), ours):
        row.editkit(fixture)
    with door(network_of(fixture.base), theirs):
        row.diffusers(fixture)
    assert ours.samples == theirs.samples * SAVED.get(row.operation, 1)
    assert ours.calls <= theirs.calls
    if row.operation == "edit-friendly-inversion":
        assert ours.calls == 1


def test_a_controlnet_that_ends_at_half_the_way_saves_its_work(stages: dict[str, ComparisonFixture]) -> None:
    fixture, rows = stages["text"], (named("control"), named("control-end-half"))
    whole, half = (counted(lambda side=row.editkit: side(fixture), network_of(fixture.model))[0].flops for row in rows)
    theirs, half_theirs = (
        counted(lambda side=row.diffusers: side(fixture), network_of(fixture.base))[0].flops for row in rows
    )
    assert half < whole < theirs
    assert half_theirs == theirs


@pytest.mark.parametrize(
    "row", [row for row in SAME if row.tuned and row.operation not in TUNED_AWAY], ids=lambda row: row.operation
)
def test_tuning_by_hand_leaves_the_result_as_it_was(stages: dict[str, ComparisonFixture], row: Comparison) -> None:
    fixture = stages[row.kind]
    plain: Any = row.diffusers(fixture)
    tuned: Any = row.tuned(fixture) if row.tuned else None
    pairs = zip(plain.images[0].tobytes(), tuned.images[0].tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= 1
    again: Any = row.diffusers(fixture)
    assert again.images[0].tobytes() == plain.images[0].tobytes()


def test_the_counters_agree_with_the_report(stages: dict[str, ComparisonFixture]) -> None:
    fixture = stages["text"]
    counts, report = counted(
        lambda: fixture.edit("img2img", fixture.picture, strength=0.5, steps=4).report, network_of(fixture.model)
    )
    assert (counts.calls, counts.samples) == (report.network_calls, report.network_samples)


def test_flops_are_those_that_torch_counts(stages: dict[str, ComparisonFixture]) -> None:
    fixture = stages["text"]

    def edit() -> None:
        fixture.edit("img2img", fixture.picture, strength=0.5, steps=4)

    with FlopCounterMode(display=False) as torchs:
        edit()
    assert counted(edit, network_of(fixture.model))[0].flops == torchs.get_total_flops() > 0


def test_living_tensors_are_counted_once_and_let_go() -> None:
    weights, living = torch.ones(100, 100), Work()
    with living:
        one = torch.ones(100, 100)
        view = weights.t()
        other = (one + view)[0]
        del one, view
        for _ in range(3):
            again = torch.ones(100, 100)
            del again
    assert living.peak == 2 * 40000
    assert living.bytes == 40000, "a view keeps the whole"
    del other
    assert living.bytes == 0


def test_sides_take_turns() -> None:
    ran: list[str] = []
    seconds = in_turns({name: lambda name=name: ran.append(name) for name in "ab"}, 3)
    assert "".join(ran) == "ab" + "abbaab"
    assert ratio({"a": [1.0, 4.0, 3.0], "b": [2.0, 4.0, 1.0]}, "a", "b") == (1.0, 0.5, 3.0)
    assert [len(taken) for taken in seconds.values()] == [3, 3]
    ran.clear()
    in_turns({name: lambda name=name: ran.append(name) for name in "ab"}, 1, warm={"a"})
    assert "".join(ran) == "bab"


def test_several_images_on_a_device(stages: dict[str, ComparisonFixture]) -> None:
    rows = list(batch_rows(stages["text"], 1, best=1e12, pictures=(1, 2)))
    assert [row["pictures"] for row in rows] == [1, 2]
    assert rows[1]["ms_floor"] == 2 * rows[0]["ms_floor"] > 0


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["bench", "--models", "tiny", "--rounds", "1", *options])


def test_the_table(tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    said = run("--only", "generate,ddim-inversion", "--json", "--chart", str(chart))
    assert said.exit_code == 0, said.output
    table = json.loads(said.stdout)
    drawing, inversion = table["rows"]
    assert (drawing["operation"], drawing["same_maths"]) == ("generate", True)
    assert (inversion["operation"], inversion["same_maths"]) == ("ddim-inversion", False)
    assert drawing["max_diff"] < CLOSE
    for name in ("time_ratio", "time_ratio_tuned", "network_calls", "network_samples", "peak_memory_mb"):
        assert drawing[name] > 0, name
    assert table["machine"]["torch"] == torch.__version__
    assert editkit.open_image(chart).height > 100


def test_the_default_output_is_a_table() -> None:
    said = run("--only", "generate").stdout
    assert said.startswith("| operation | model | pipeline |")
    assert "threads 1" in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "nothing"), "only='nothing' is not allowed: one of generate"),
        (("--models", "huge"), "models='huge' is not allowed: one of emoji"),
        (("--only", "generate", "--chart", "nowhere/chart.png"), "nowhere"),
    ],
)
def test_bad_options_are_refused_before_any_measurement(options: tuple[str, ...], words: str) -> None:
    said = run(*options)
    assert said.exit_code == 2
    assert words in said.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert "there is none" in run("--gpu").stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    table = json.loads(run("--gpu", "--only", "generate", "--json").stdout)
    assert {row["pictures"] for row in table["batches"]} == {1, 4, 16}
    assert all(row["percent_of_floor"] > 0 for row in table["batches"])
