"""``editkit bench``: equality with diffusers, and network calls and samples of edits. No test depends on time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from editkit_bench import BenchParams
from editkit_bench.comparison import Comparison
from editkit_bench.comparisons import ROWS
from editkit_bench.counters import Counts, WorkCounter, count_calls, run_counted
from editkit_bench.fixture import PROMPT, ComparisonFixture, network_of
from editkit_bench.gpu_batches import batch_table, flops_of_an_image
from editkit_bench.model_configs import MODEL_CONFIGS
from editkit_bench.timing import time_in_turns, time_ratio
from torch.utils.flop_counter import FlopCounterMode

import editkit
from editkit.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")]

CLOSE = 1e-4
"""Maximum difference of latents if both sides do the same mathematics."""
KINDS = tuple(dict.fromkeys(row.kind for row in ROWS))
SAME = [row for row in ROWS if row.same_maths]
SAVED = {"instruct-image-guidance-1": 2 / 3}
"""Network samples divided by those of diffusers, for rows in which editkit evaluates fewer."""
TUNED_AWAY = {"edit-friendly-inversion", "four-edits", "ddim-inversion"}
"""Rows whose tuned side does other work than the plain one."""


@pytest.fixture(scope="module")
def fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ComparisonFixture]]:
    """Fixture of the tiny model of every kind."""
    import contextlib

    with contextlib.ExitStack() as stack:
        yield {
            kind: stack.enter_context(
                ComparisonFixture.open(MODEL_CONFIGS["tiny"], kind, tmp_path_factory.mktemp(kind) / "of")
            )
            for kind in KINDS
        }


def row_of(name: str) -> Comparison:
    return next(row for row in ROWS if row.operation == name)


def max_difference(pair: Any) -> float:
    ours, theirs = pair
    assert ours.shape == theirs.shape
    assert float(ours.std()) > 0.1, "nothing to compare"
    return float((ours - theirs).abs().max())


@pytest.mark.parametrize("row", SAME, ids=lambda row: row.operation)
def test_rows_of_the_same_mathematics_give_the_same_latents(
    fixtures: dict[str, ComparisonFixture], row: Comparison
) -> None:
    assert row.results is not None
    assert max_difference(result(fixtures[row.kind]) for result in row.results) < CLOSE


@pytest.mark.parametrize(
    "row", [row for row in SAME if row.operation != "sixteen-pictures"], ids=lambda row: row.operation
)
def test_no_edit_calls_the_network_more_often_than_diffusers(
    fixtures: dict[str, ComparisonFixture], row: Comparison
) -> None:
    fixture, ours, theirs = fixtures[row.kind], Counts(), Counts()
    with count_calls(network_of(fixture.model), ours):
        row.editkit(fixture)
    with count_calls(network_of(fixture.base), theirs):
        row.diffusers(fixture)
    assert ours.samples == theirs.samples * SAVED.get(row.operation, 1)
    assert ours.calls <= theirs.calls
    if row.operation == "edit-friendly-inversion":
        assert ours.calls == 1


def test_a_controlnet_that_ends_halfway_saves_its_work(fixtures: dict[str, ComparisonFixture]) -> None:
    fixture, rows = fixtures["text"], (row_of("control"), row_of("control-end-half"))
    whole, half = (
        run_counted(lambda side=row.editkit: side(fixture), network_of(fixture.model))[0].flops for row in rows
    )
    theirs, half_theirs = (
        run_counted(lambda side=row.diffusers: side(fixture), network_of(fixture.base))[0].flops for row in rows
    )
    assert half < whole < theirs
    assert half_theirs == theirs


@pytest.mark.parametrize(
    "row", [row for row in SAME if row.tuned and row.operation not in TUNED_AWAY], ids=lambda row: row.operation
)
def test_tuning_by_hand_does_not_change_the_result(fixtures: dict[str, ComparisonFixture], row: Comparison) -> None:
    fixture = fixtures[row.kind]
    plain: Any = row.diffusers(fixture)
    tuned: Any = row.tuned(fixture) if row.tuned else None
    pairs = zip(plain.images[0].tobytes(), tuned.images[0].tobytes(), strict=True)
    assert max(abs(one - other) for one, other in pairs) <= 1
    again: Any = row.diffusers(fixture)
    assert again.images[0].tobytes() == plain.images[0].tobytes()


def test_the_counters_agree_with_the_report(fixtures: dict[str, ComparisonFixture]) -> None:
    fixture = fixtures["text"]
    counts, report = run_counted(
        lambda: fixture.edit("img2img", fixture.image, strength=0.5, steps=4).report, network_of(fixture.model)
    )
    assert (counts.calls, counts.samples) == (report.network_calls, report.network_samples)


def test_flops_are_those_that_torch_counts(fixtures: dict[str, ComparisonFixture]) -> None:
    fixture = fixtures["text"]

    def edit() -> None:
        fixture.edit("img2img", fixture.image, strength=0.5, steps=4)

    with FlopCounterMode(display=False) as torchs:
        edit()
    assert run_counted(edit, network_of(fixture.model))[0].flops == torchs.get_total_flops() > 0


def test_existing_tensors_are_counted_once_and_released() -> None:
    weights, work = torch.ones(100, 100), WorkCounter()
    with work:
        one = torch.ones(100, 100)
        view = weights.t()
        other = (one + view)[0]
        del one, view
        for _ in range(3):
            again = torch.ones(100, 100)
            del again
    assert work.peak == 2 * 40000
    assert work.bytes == 40000, "a view keeps the whole tensor"
    del other
    assert work.bytes == 0


def test_sides_run_in_turns() -> None:
    ran: list[str] = []
    seconds = time_in_turns({name: lambda name=name: ran.append(name) for name in "ab"}, 3)
    assert "".join(ran) == "ab" + "abbaab"
    assert time_ratio({"a": [1.0, 4.0, 3.0], "b": [2.0, 4.0, 1.0]}, "a", "b") == (1.0, 0.5, 3.0)
    assert [len(times) for times in seconds.values()] == [3, 3]
    ran.clear()
    time_in_turns({name: lambda name=name: ran.append(name) for name in "ab"}, 1, warm={"a"})
    assert "".join(ran) == "bab"


def test_rows_of_compiled_batches_are_compiled() -> None:
    """Counting FLOPs comes first: under its dispatch mode torch skips the network's code, and from then on too."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=1):  # one graph is enough, and takes seconds
        eager, compiled = batch_table(BenchParams(rounds=1), ["tiny"], "cpu", sizes=(1,), compiler="eager")
    torch._dynamo.reset()
    assert (eager["compiled"], eager["graphs"]) == (False, 0)
    assert compiled["compiled"] and compiled["graphs"] > 0
    assert eager["ms_floor"] == compiled["ms_floor"] > 0


def test_the_flops_of_an_image_are_without_rows_that_fill_a_call(fixtures: dict[str, ComparisonFixture]) -> None:
    fixture = fixtures["text"]

    def generate() -> None:
        fixture.edit("generate", prompt=PROMPT, guidance=7.5, steps=fixture.steps)

    generate()  # embeds the prompt, which is kept
    assert flops_of_an_image(fixture) == run_counted(generate, network_of(fixture.model))[0].flops


def run(*options: str) -> Result:
    models = [] if "--models" in options else ["--models", "tiny"]
    return CliRunner().invoke(main, ["bench", *models, "--rounds", "1", *options])


def test_bench_writes_rows_machine_and_chart(tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    result = run("--only", "generate,ddim-inversion", "--json", "--chart", str(chart))
    assert result.exit_code == 0, result.output
    table = json.loads(result.stdout)
    drawing, inversion = table["rows"]
    assert (drawing["operation"], drawing["same_maths"]) == ("generate", True)
    assert (inversion["operation"], inversion["same_maths"]) == ("ddim-inversion", False)
    assert drawing["max_diff"] < CLOSE
    ratios = ("time_ratio", "time_ratio_tuned", "time_ratio_cold", "time_ratio_cold_tuned")
    for name in (*ratios, "network_calls", "network_samples", "peak_memory_mb"):
        assert drawing[name] > 0, name
    assert table["machine"]["torch"] == torch.__version__
    assert editkit.open_image(chart).height > 100


def test_the_default_output_is_a_table() -> None:
    output = run("--only", "generate").stdout
    assert output.startswith("| operation | model | pipeline |")
    assert "threads 1" in output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--only", "nothing"), "only='nothing' is not allowed: one of generate"),
        (("--models", "huge"), "models='huge' is not allowed: one of emoji"),
        (("--only", "generate", "--chart", "nowhere/chart.png"), "nowhere"),
    ],
)
def test_bad_options_are_refused_before_any_measurement(options: tuple[str, ...], words: str) -> None:
    result = run(*options)
    assert result.exit_code == 2
    assert words in result.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    assert "there is none" in run("--gpu").stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bench_on_a_gpu_measures_batches() -> None:
    table = json.loads(run("--gpu", "--only", "generate", "--json").stdout)
    assert {row["images"] for row in table["batches"]} == {1, 4, 16}
    assert all(row["percent_of_floor"] > 0 for row in table["batches"])
    assert sum(row["graphs"] for row in table["batches"] if row["compiled"]) > 0


@pytest.mark.model
@pytest.mark.slow
def test_many_images_are_measured_against_a_loop_and_a_tuned_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    from editkit_bench import many_images

    monkeypatch.setattr(many_images, "MANY", 2)
    monkeypatch.setattr(many_images, "IMAGE_COUNT", 2)
    monkeypatch.setattr(many_images, "UNGUIDED_STEPS", 4)
    rows = many_images.many_images_table(BenchParams(rounds=1))
    assert [row["what"].partition(": ")[2] for row in rows if row["against"] == "loop"] == ["loop", "one call", "rows"]
    assert all(row["images_per_second"] > 0 for row in rows)
    assert [row["time_ratio"] for row in rows if row["what"].endswith(row["against"])] == [1.0, 1.0]
