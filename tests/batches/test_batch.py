"""``editkit batch``: rows, ids, plans, images and results, and going on after an interruption."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner, Result
from editkit_batch import BatchParams
from editkit_batch.changes import check_file, check_model
from editkit_batch.command import Progress
from editkit_batch.digests import digest_of, path_digest
from editkit_batch.editing import edit_rows, open_address
from editkit_batch.engines import dask_workers
from editkit_batch.engines.addresses import check_reachable
from editkit_batch.engines.dask_workers import DaskWorkers, check_versions
from editkit_batch.engines.ray_actors import RayWorkers
from editkit_batch.manifest import Manifest
from editkit_batch.model_settings import ModelSettings
from editkit_batch.notes import Notes
from editkit_batch.part_worker import PartSummary, Work
from editkit_batch.plan import SeenIds
from editkit_batch.remote import file_system, local_path
from editkit_batch.row_check import RowChecker
from editkit_batch.storage import Storage

import editkit
from batches.mixed_rows import JobProcess, run_with_kills, write_manifest
from batches.part_work import double_or_end
from editkit import BadImage, Cancelled, EditkitError, EngineOptions, WeightsUnavailable, WorkerEnded
from editkit.cli import main
from editkit.editing.recipe import read_recipe
from editkit.testing.tiny import flux_folder

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

DOCS = Path(__file__).parents[2] / "docs"

EDIT = {"operation": "img2img", "image": "a.png", "prompt": "a red apple", "strength": 0.5, "steps": 2}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, random_image: Any) -> Path:
    """A folder to work in, with two images."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate("ab"):
        random_image((16, 16), seed=number).save(f"{name}.png")
    return tmp_path


def write(rows: Sequence[Any], name: str = "rows.jsonl") -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path = Path(name)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def planned(manifest: Path, model: str | None = None) -> list[Any]:
    source = Manifest(str(manifest))
    return list(RowChecker(source.folder, model).check(source.rows()))


def errors(manifest: Path) -> list[str]:
    return [row.error for row in planned(manifest)]


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, ["batch", *map(str, words)])


def results(output: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(output / "results").to_pylist()
    return rows


# Rows and ids


def test_jsonl_csv_and_parquet_give_the_same_ids(here: Path) -> None:
    rows: list[dict[str, Any]] = [
        EDIT,
        {**EDIT, "mask": "b.png", "invert_mask": True, "seed": 3},
        {"operation": "interpolate", "image": ["a.png", "b.png"], "frames": 3, "seed": 1},
        {"operation": "generate", "prompt": "[a] pear, red", "attach": ["style:image=a.png,model=x"]},
    ]
    names = list(dict.fromkeys(name for row in rows for name in row))
    with Path("rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        for row in rows:
            listed = {name: json.dumps(value) for name, value in row.items() if isinstance(value, list | bool)}
            table.writerow({**row, **listed})
    columns = {name: [row.get(name) for row in rows] for name in names if name != "image"}
    images = [row.get("image") for row in rows]
    columns["image"] = [json.dumps(image) if isinstance(image, list) else image for image in images]
    pq.write_table(pa.table(columns), "rows.parquet")
    expected = [(row.id, row.call) for row in planned(write(rows))]
    assert all(call for _, call in expected), errors(Path("rows.jsonl"))
    for name in ("rows.csv", "rows.parquet"):
        assert [(row.id, row.call) for row in planned(Path(name))] == expected, errors(Path(name))


def test_the_rows_in_the_help_are_one_edit_in_every_format(here: Path) -> None:
    Path("a.png").rename("apple.png")
    lines = run("--help").stdout.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("  rows.jsonl "))
    row, header, values = (line[16:] for line in lines[start : start + 3])
    Path("rows.csv").write_text(f"{header}\n{values}\n")
    pq.write_table(pa.Table.from_pylist([json.loads(row)]), "rows.parquet")
    files = [write([row]), Path("rows.csv"), Path("rows.parquet")]
    assert not any(one.error for file in files for one in planned(file))
    assert len({one.id for file in files for one in planned(file)}) == 1
    assert [line.split()[0] for line in lines[start : start + 4] if line[2] != " "] == [file.name for file in files]


def test_the_id_depends_on_content_alone(here: Path) -> None:
    Path("copy.png").write_bytes(Path("a.png").read_bytes())
    same = [EDIT, {**EDIT, "name": "x", "image": "copy.png"}, {**EDIT, "steps": 2.0}, dict(reversed(EDIT.items()))]
    assert len({row.id for row in planned(write(same))}) == 1
    others = [EDIT, {**EDIT, "image": "b.png"}, {**EDIT, "seed": 1}, {**EDIT, "prompt": "a"}, {**EDIT, "steps": 3}]
    others += [{**EDIT, "mask": "a.png"}, {**EDIT, "mask": "b.png"}, {**EDIT, "operation": "inpaint", "mask": "b.png"}]
    assert len({row.id for row in planned(write(others))}) == len(others)


def test_a_row_without_a_seed_draws_it_from_its_id(here: Path) -> None:
    first, second = (json.loads(row.call)["params"]["seed"] for row in planned(write([EDIT, {**EDIT, "steps": 3}])))
    assert first != second
    again, given = planned(write([EDIT, {**EDIT, "seed": first}]))
    assert json.loads(again.call)["params"]["seed"] == first
    assert json.loads(given.call)["params"] == json.loads(again.call)["params"]


def test_files_of_controls_count_from_the_manifest_and_for_the_id(here: Path) -> None:
    row = {"operation": "img2img", "image": "a.png", "prompt": "x", "attach": "controlnet:kind=edge,image=map.png"}
    row["attach"] = [row["attach"], {"name": "style", "image": "map.png", "model": "nobody/style"}]
    Path("jobs").mkdir()
    for name in ("a.png", "map.png"):
        Path("jobs", name).write_bytes(Path("a.png").read_bytes())
    Path("map.png").write_bytes(b"another file, in the current folder")
    manifest = write([row], "jobs/rows.jsonl")
    (first,) = planned(manifest)
    named = str(here / "jobs/map.png")
    assert json.loads(first.call)["params"]["attach"] == [
        f"controlnet:kind=edge,image={named}",
        f"style:image={named},model=nobody/style",
    ]
    Path("jobs").rename("moved")
    assert [planned(Path("moved/rows.jsonl"))[0].id] == [first.id]
    check_file(str(here / "moved/map.png"), path_digest("moved/map.png"))
    with Path("moved/map.png").open("ab") as file:
        file.write(b"changed")
    assert [planned(Path("moved/rows.jsonl"))[0].id] != [first.id]
    with pytest.raises(BadImage, match=r"map\.png' is not the one that was planned"):
        check_file(str(here / "moved/map.png"), path_digest("a.png"))


def test_a_row_may_edit_an_inversion_with_its_settings(here: Path) -> None:
    inversion = editkit.invert("a.png", model=editkit.testing.ToyBackend(), prompt="x", steps=2)
    inversion.save("a.safetensors")
    edit = {"operation": "prompt-edit", "image": "a.safetensors", "target": "a lemon"}
    manifest = write([edit, {**edit, "source": "y"}, {"operation": "reconstruct", "image": "a.safetensors"}])
    rows = planned(manifest)
    assert [row.error for row in rows] == ["", "", ""]
    params = [json.loads(row.call)["params"] for row in rows]
    assert params == [{"target": "a lemon"}, {"target": "a lemon", "source": "y"}, {}]
    assert "needs the parameter 'source'" in planned(write([{**edit, "image": "a.png"}]))[0].error


def test_the_path_of_an_archive_counts_from_the_manifest(here: Path) -> None:
    Path("jobs").mkdir()
    with tarfile.open("jobs/a.tar", "w") as archive:
        archive.add("a.png")
    manifest = write([{**EDIT, "image": "tar://a.png::a.tar"}], "jobs/rows.jsonl")
    assert [row.error for row in planned(manifest)] == [""]


def test_an_image_that_changed_after_the_plan_is_refused(here: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/a.png", Path("a.png").read_bytes())
    for address in ("a.png", "memory://a.png"):
        digest = digest_of(address)
        assert isinstance(digest, str)
        assert open_address(address, digest) in (address, Path("a.png").read_bytes())
        with pytest.raises(BadImage, match="not the one that was planned"):
            open_address(address, digest[:-1] + "x")
    Path("a.png").unlink()
    with pytest.raises(BadImage, match="it was there when the job was planned"):
        open_address("a.png", "sha256:")


def test_options_of_models_change_ids_but_not_seeds(here: Path) -> None:
    manifest = Manifest(str(write([EDIT])))
    Path("lora.safetensors").write_bytes(b"first")
    settings: dict[str, Any] = {"dtype": None, "adapter": []}
    others = [{"dtype": "float16"}, {"adapter": ["lora.safetensors"]}, {"adapter": ["lora.safetensors:0.5"]}, {}]
    others += [{"clip_skip": 1}, {"prediction": "sample"}, {"tiling": True}, {"clip_skip": 1, "tiling": True}]
    variants = [ModelSettings.of(settings | one).variant for one in others]
    Path("lora.safetensors").write_bytes(b"second")
    variants.append(ModelSettings.of(settings | others[1]).variant)
    assert ModelSettings.of(settings | {"offload": True}).variant == []
    rows = [next(RowChecker(manifest.folder, None, variant).check(manifest.rows())) for variant in variants]
    assert len({row.id for row in rows}) == len(rows)
    assert len({row.call for row in rows}) == 1
    assert rows[3].id == planned(Path("rows.jsonl"))[0].id


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "the line is no JSON"),
    "no object": ("[1]", "the line is no JSON object"),
    "a name twice": ('{"seed": 1, "seed": 2}', "the name 'seed' stands twice"),
    "no operation": ({"image": "a.png"}, "the row has no operation"),
    "unknown operation": ({**EDIT, "operation": "img3img"}, "did you mean 'img2img'"),
    "operation that is no text": ({**EDIT, "operation": 3}, "no operation"),
    "no image as result": ({"operation": "invert", "image": "a.png"}, "the operation invert gives no image"),
    "misspelt parameter": ({**EDIT, "strenght": 0.5}, "did you mean 'strength'"),
    "wrong value": ({**EDIT, "strength": 7}, "strength=7 is not allowed"),
    "wrong type": ({**EDIT, "prompt": 7}, "prompt=7 is not allowed"),
    "unknown sampler": ({**EDIT, "sampler": "dim"}, "did you mean 'ddim'"),
    "half of a character": ('{"operation": "generate", "prompt": "\\ud800"}', "not valid Unicode"),
    "missing image": ({**EDIT, "image": "c.png"}, "there is no such file"),
    "folder as image": ({**EDIT, "image": "."}, "it is a folder"),
    "missing mask": ({**EDIT, "mask": "c.png"}, "mask '"),
    "wrong strokes": ({**EDIT, "mask": "strokes:40@"}, "mask"),
    "number as image": ({**EDIT, "image": 3}, "image must be the address of a file"),
    "two images": ({**EDIT, "image": ["a.png", "b.png"]}, "img2img takes one image, and the row has 2"),
    "data URI": ({**EDIT, "image": "data:image/png;base64,AAAA"}, "image is a data URI, which is not read"),
    "option of all rows": ({**EDIT, "clip_skip": 1}, "'clip_skip': it is an argument of the whole call"),
    "parameter without a name": ({**EDIT, "": 1}, "img2img has no parameter ''"),
    "superfluous image": ({"operation": "generate", "prompt": "a", "image": "a.png"}, "generate takes no image"),
    "unknown model": ({**EDIT, "model": "emojy"}, "model 'emojy' is neither"),
    "model that is no text": ({**EDIT, "model": 3}, "model=3 is not allowed"),
    "long name": ({**EDIT, "name": "n" * 2000}, "name has 2000 characters"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_planned_with_its_reason(here: Path, case: str) -> None:
    row, reason = BAD_ROWS[case]
    good, bad = planned(write([EDIT, row]))
    assert good.call and not good.error
    assert not bad.call
    assert reason in bad.error, bad
    assert bad.error_type


def test_a_memory_of_checked_parameters_hides_no_wrong_value(here: Path) -> None:
    rows = [EDIT, {**EDIT, "prompt": "b", "seed": 4}, {**EDIT, "prompt": "c", "seed": -1}, {**EDIT, "seed": True}]
    instructions = [{"operation": "instruct", "image": "a.png", "instruction": text} for text in ("a", " ", "b")]
    assert [bool(error) for error in errors(write([*rows, *instructions]))] == [False] * 2 + [True] * 2 + [
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("rows.txt", "", "must be a file that ends in"),
        ("rows.csv", "operation,operation\n", "each once"),
        ("rows.csv", "operation;image;prompt\nimg2img;a.png;a\n", "no column operation, but 'operation;image;prompt'"),
        ("rows.parquet", "no Parquet", "cannot be read"),
        ("rows.jsonl.gz", "no gzip", "cannot be read"),
    ],
)
def test_a_manifest_that_cannot_be_read_fails_the_job(here: Path, name: str, text: str, reason: str) -> None:
    Path(name).write_text(text)
    ended = run(name, "-o", "out")
    assert (ended.exit_code, ended.stdout) == (1, ""), ended.output
    assert reason in ended.stderr
    assert not Path("out/job.json").exists()


def test_a_folder_is_read_as_readers_of_data_sets_do(here: Path) -> None:
    row = json.dumps({**EDIT, "image": str(here / "a.png")})
    for name in ("rows.jsonl", "._rows.jsonl", "_temporary/0/rows.jsonl", ".git/rows.csv", "more/rows.jsonl"):
        Path("all", name).parent.mkdir(parents=True, exist_ok=True)
        Path("all", name).write_text(row if name in ("rows.jsonl", "more/rows.jsonl") else "broken")
    assert errors(Path("all")) == ["", ""]
    Path("all/more").rename("all/seed=7")
    ended = run("all", "-o", "out")
    assert ended.exit_code == 1 and "seed=7/rows.jsonl', which are not read: write them as columns" in ended.stderr


def test_standard_input_as_manifest_is_refused_as_a_pipe(here: Path) -> None:
    assert "it is a pipe or a device; give a file" in run("-", "-o", "out").stderr


def test_a_column_of_parquet_that_stands_twice_fails_the_job(here: Path) -> None:
    columns = [pa.array([text]) for text in ("img2img", "a.png", "a pear", "a lemon")]
    pq.write_table(pa.Table.from_arrays(columns, ["operation", "image", "prompt", "prompt"]), "rows.parquet")
    assert "its column 'prompt' stands twice" in run("rows.parquet", "-o", "out").stderr


@pytest.mark.parametrize(
    ("manifest", "output", "reason"),
    [("rows.jsonl", "a.png", "give a folder"), ("rows.jsonl", "", "output=''"), ("", "out", "manifest=''")],
)
def test_a_job_needs_a_manifest_and_a_folder(here: Path, manifest: str, output: str, reason: str) -> None:
    write([EDIT])
    before = sorted(here.iterdir())
    ended = run(manifest, "-o", output, "--workers", "0")
    assert ended.exit_code and reason in ended.stderr and ended.stderr.count("\n") == 1
    assert sorted(here.iterdir()) == before


def test_a_line_of_csv_with_other_columns_fails_alone(here: Path) -> None:
    Path("rows.csv").write_text("operation,image,prompt\nimg2img,a.png,a\nimg2img,a.png\n\nimg2img,a.png,b\n")
    assert [bool(error) for error in errors(Path("rows.csv"))] == [False, True, False]


def test_a_quote_that_is_not_closed_takes_no_other_row(here: Path) -> None:
    Path("rows.csv").write_text('operation,image,steps,prompt\nimg2img,a.png,1,"a\nimg2img,a.png,1,b\n')
    assert [row.call for row in planned(Path("rows.csv"))] == [""]
    assert "the line is no CSV" in errors(Path("rows.csv"))[0]
    Path("rows.csv").write_text('operation, image, prompt\nimg2img, a.png, "a, ""b"""\n')
    assert json.loads(planned(Path("rows.csv"))[0].call)["params"]["prompt"] == 'a, "b"'


def test_every_file_of_a_manifest_may_begin_with_a_byte_order_mark(here: Path) -> None:
    for name in ("one.jsonl", "two.jsonl"):
        Path("rows").mkdir(exist_ok=True)
        Path("rows", name).write_text(json.dumps({**EDIT, "image": "../a.png", "prompt": name}), encoding="utf-8-sig")
    assert errors(Path("rows")) == ["", ""]


@pytest.mark.model
def test_a_mask_of_strokes_is_no_file(here: Path) -> None:
    (row,) = planned(write([{**EDIT, "mask": "strokes:4@3,3+8,8"}]))
    assert not row.error and json.loads(row.call)["params"]["mask"] == "strokes:4@3,3+8,8"
    settings = {"exact": True, "adapter": [], "device": "cpu", "dtype": None}
    ((_, result),) = edit_rows([row], settings)
    assert isinstance(result, editkit.Result) and 0 < (result.report.mask_share or 0) < 0.5


def test_a_job_in_the_folder_of_its_manifest_is_no_part_of_it(here: Path, edited: list[str]) -> None:
    write([EDIT])
    for _ in range(2):
        ended = run(".", "-o", "out", "--workers", 0)
        assert ended.exit_code == 0, ended.output
    assert len(edited) == 1
    Path("empty.jsonl").write_text("")
    assert "has no rows" in run("empty.jsonl", "-o", "none", "--workers", 0).stderr


def test_the_digest_of_a_manifest_is_that_of_its_files(here: Path) -> None:
    manifest = Manifest(str(write(ROWS)))
    first = manifest.digest()
    assert Manifest(str(write(ROWS, "copy.jsonl"))).digest() == first
    with Path("rows.jsonl").open("a", encoding="utf-8") as file:
        file.write(" ")
    assert manifest.digest() != first


class RemoteFile(io.BytesIO):
    """A file of which lines are read without a size, as the buffered files of fsspec."""

    def readline(self) -> bytes:  # type: ignore[override]
        return super().readline()


def test_lines_are_read_from_remote_files_and_long_ones_are_cut(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [EDIT, {**EDIT, "prompt": "a" * 3_000_000}, {**EDIT, "seed": 2}]
    manifest = Manifest(str(write(rows)))
    monkeypatch.setattr(manifest.fs, "open", lambda path, *args, **kwargs: RemoteFile(Path(path).read_bytes()))
    assert [(row.number, row.problem) for row in manifest.rows()] == [
        (1, ""),
        (2, "the line is longer than 1048576 bytes"),
        (3, ""),
    ]


def test_ids_are_seen_once_in_any_grouping() -> None:
    ids = [hashlib.sha256(str(number % 700).encode()).hexdigest()[:32] for number in range(2000)]
    ids += ["00" * 16, "00" * 15 + "01", "01" + "00" * 15, "00" * 16]
    expected = [one not in ids[:place] for place, one in enumerate(ids)]
    for size in (1, 7, 1000, 5000):
        seen = SeenIds()
        found = [is_new for begin in range(0, len(ids), size) for is_new in seen.add(ids[begin : begin + size])]
        assert found == expected


# Jobs


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the edits by copies of one result, and return the ids of the edited rows."""
    finished = editkit.apply(
        "generate", model=editkit.testing.ToyBackend(), prompt="", steps=1, seed=0, width=8, height=8
    )
    ids: list[str] = []

    def edit(rows: Sequence[Any], settings: Any) -> Any:
        for place, row in enumerate(rows):
            ids.append(row.id)
            params = json.loads(row.call)["params"]
            yield place, EditkitError("too green") if params["prompt"] == "green" else finished

    monkeypatch.setattr("editkit_batch.part_worker.edit_rows", edit)
    return ids


ROWS = [{**EDIT, "prompt": f"number {number}", "name": f"../{number}"} for number in range(9)]


def test_images_are_named_by_ids_and_names_are_carried(here: Path, edited: list[str]) -> None:
    ended = run(write([*ROWS, ROWS[3]]), "-o", "out", "--workers", 0, "--rows-per-file", 4, "--json")
    assert ended.exit_code == 0, ended.output
    summary = json.loads(ended.stdout)
    assert (summary["states"], summary["duplicates"], len(edited)) == ({"ok": 9}, 1, 9)
    assert [row["name"] for row in results(Path("out"))] == [row["name"] for row in ROWS]
    for row in results(Path("out")):
        assert row["output"] == f"images/{row['id'][:2]}/{row['id']}.png"
        assert hashlib.sha256(Path("out", row["output"]).read_bytes()).hexdigest() == row["sha256"]
        assert json.loads(row["report"])["output"] == row["output"]
    assert pq.read_table("out/duplicates.parquet").to_pylist()[0]["name"] == ROWS[3]["name"]
    assert sorted(path.name for path in Path().iterdir()) == ["a.png", "b.png", "out", "rows.jsonl"]
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        ["duplicates.parquet", "images", "job.json", "plan", "results"]
    )


def test_rows_that_fail_give_the_exit_status_two(here: Path, edited: list[str]) -> None:
    rows = [*ROWS[:2], {**EDIT, "prompt": "green"}, {**EDIT, "image": "c.png"}]
    ended = run(write(rows), "-o", "out", "--workers", 0)
    assert ended.exit_code == 2
    states = [(row["status"], row["error_type"]) for row in results(Path("out"))]
    assert states == [("ok", ""), ("ok", ""), ("error", "EditkitError"), ("error", "BadImage")]
    assert "| error | 1 | BadImage | 4 |" in ended.stdout


def test_a_dry_run_plans_without_edits(here: Path, edited: list[str]) -> None:
    ended = run(write([*ROWS, {**EDIT, "strenght": 1}]), "-o", "out", "--dry-run", "--json")
    assert (ended.exit_code, edited) == (2, [])
    assert json.loads(ended.stdout)["states"] == {"valid": 9, "error": 1}
    assert sorted(path.name for path in Path("out").iterdir()) == ["job.json", "plan"]


def test_shares_of_a_job_are_all_of_it(here: Path, edited: list[str]) -> None:
    manifest = write(ROWS)
    for number in (3, 1, 2):
        assert run(manifest, "-o", "out", "--workers", 0, "--rows-per-file", 2, "--part", f"{number}/3").exit_code == 0
    assert len(edited) == len(set(edited)) == 9
    assert [row["name"] for row in results(Path("out"))] == [row["name"] for row in ROWS]
    for part in ("0/3", "4/3", "1", "x/y"):
        assert run(manifest, "-o", "out", "--part", part).exit_code == 2


@pytest.mark.parametrize("outputs", ["files", "tar", "parquet"])
def test_an_interrupted_job_edits_no_row_twice(
    here: Path, edited: list[str], outputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import editkit_batch.part_worker as worker

    edit, budget = worker.edit_rows, [5]

    def interrupt(rows: Any, settings: Any) -> Any:
        for outcome in edit(rows, settings):
            if budget[0] == 0:
                raise KeyboardInterrupt
            budget[0] -= 1
            yield outcome

    words = (write(ROWS), "-o", "out", "--workers", 0, "--rows-per-file", 6, "--outputs", outputs)
    monkeypatch.setattr(worker, "edit_rows", interrupt)
    assert run(*words).exit_code == 130
    first = edited[:5]
    monkeypatch.setattr(worker, "edit_rows", edit)
    assert run(*words).exit_code == 0
    assert len(set(edited)) == 9
    assert not set(first) & set(edited[6:])
    assert {row["status"] for row in results(Path("out"))} == {"ok"}
    assert run(*words).exit_code == 0
    assert len(edited) == 10


def test_a_damaged_image_is_edited_again(here: Path, edited: list[str]) -> None:
    words = (write(ROWS), "-o", "out", "--workers", 0)
    assert run(*words).exit_code == 0
    row = results(Path("out"))[0]
    staged = Path("out/staged/000000")
    staged.mkdir(parents=True)
    (staged / "kept.json").write_text(json.dumps(results(Path("out"))))
    Path("out/results/000000.parquet").unlink()
    whole = Path("out", row["output"]).read_bytes()
    Path("out", row["output"]).write_bytes(whole[:-1])
    assert run(*words).exit_code == 0
    assert edited[9:] == [row["id"]]
    assert Path("out", row["output"]).read_bytes() == whole


def test_tar_and_parquet_hold_the_images_of_the_files(here: Path, edited: list[str]) -> None:
    manifest = write(ROWS)
    for outputs in ("files", "tar", "parquet"):
        assert run(manifest, "-o", outputs, "--workers", 0, "--outputs", outputs, "--rows-per-file", 5).exit_code == 0
    expected = {path.stem: path.read_bytes() for path in Path("files/images").rglob("*.png")}
    packed: dict[str, bytes] = {}
    for path in Path("tar/images").iterdir():
        with tarfile.open(path) as tar:
            packed |= {entry.name.removesuffix(".png"): tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
    assert packed == expected
    rows = [row for path in Path("parquet/images").iterdir() for row in pq.read_table(path).to_pylist()]
    assert {row["id"]: row["image"] for row in rows} == expected
    assert results(Path("tar"))[0]["output"].startswith("images/000000.tar#")


@pytest.mark.parametrize("outputs", ["files", "tar"])
def test_an_image_that_was_removed_from_a_finished_job_is_edited_again(
    here: Path, edited: list[str], outputs: str
) -> None:
    words = (write(ROWS), "-o", "out", "--workers", 0, "--outputs", outputs)
    assert run(*words).exit_code == 0 and "Nothing to do" in run(*words).stderr
    files = {path: path.read_bytes() for path in Path("out/images").rglob("*.*")}
    next(iter(files)).unlink()
    again = run(*words)
    assert "Images of part 000000 are missing" in again.stderr and "Nothing to do" not in again.stderr
    assert {path: path.read_bytes() for path in Path("out/images").rglob("*.*")} == files
    assert len(edited) == (len(ROWS) + 1 if outputs == "files" else 2 * len(ROWS))


@pytest.mark.parametrize("outputs", ["files", "tar", "parquet"])
def test_an_image_of_a_finished_job_that_is_no_longer_whole_is_edited_again(
    here: Path, edited: list[str], outputs: str
) -> None:
    words = (write(ROWS), "-o", "out", "--workers", 0, "--outputs", outputs)
    assert run(*words).exit_code == 0
    file = next(Path("out/images").rglob("*.*"))
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], Path("a.png").read_bytes()):
        file.write_bytes(damaged)
        assert "missing or damaged, and are edited again" in run(*words).stderr
        assert file.read_bytes() == whole
    file.write_bytes(whole)
    count = len(edited)
    assert "Nothing to do" in run(*words).stderr
    assert count == len(edited)
    Path("out/results/000000.parquet").write_bytes(b"PAR1")
    assert "000000.parquet is damaged" in run(*words).stderr


def test_what_changed_since_the_plan_is_named(here: Path, edited: list[str], tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, "model")
    words = (write([EDIT, {**EDIT, "image": "b.png"}, {**EDIT, "image": "b.png", "seed": 5}]), "-o", "out")
    words = (*words, "-m", "model", "--workers", 0, "--json")

    def changed(*more: str) -> tuple[int, int]:
        ended = run(*words, *more)
        count = json.loads(ended.stdout)["changed"]
        assert (f"Warning: {count} rows have an image, a file or a model that changed" in ended.stderr) == bool(count)
        return ended.exit_code, count

    assert changed() == changed() == (0, 0)
    for name in ("a.png", "b.png"):
        Path(name).write_bytes(Path(name).read_bytes())  # the same bytes, at another time
    assert changed() == (0, 0)
    Path("b.png").write_bytes(Path("a.png").read_bytes())
    assert changed() == (2, 2)
    assert changed("--retry-errors") == (0, 0)
    assert len(edited) == 4  # two rows are one now, and the first is kept
    Path("b.png").unlink()
    assert changed() == (0, 0)
    with Path("model/scheduler/scheduler_config.json").open("a") as file:
        file.write(" ")
    assert changed() == (2, 2)


def test_a_model_that_changed_after_the_plan_is_refused(here: Path, tiny_folder: Path) -> None:
    shutil.copytree(tiny_folder, "model")
    settings = {"adapter": [], "dtype": None}
    (row,) = planned(write([EDIT]), "model")
    check_model(json.loads(row.call), settings)
    with Path("model/scheduler/scheduler_config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(WeightsUnavailable, match="is not the one that was planned"):
        check_model(json.loads(row.call), settings)


LOADED = ("--clip-skip", 1, "--tiling")


@pytest.mark.slow
def test_options_of_models_reach_the_edits(here: Path, tiny_folder: Path) -> None:
    words = (
        write([{**EDIT, "seed": 1, "model": str(tiny_folder)}]),
        "--workers",
        0,
        "--threads",
        torch.get_num_threads(),
    )
    for output, more in {"plain": (), "skipped": LOADED}.items():
        assert run(*words, "-o", output, *more).exit_code == 0
    (plain,), (skipped,) = (results(Path(output)) for output in ("plain", "skipped"))
    assert plain["id"] != skipped["id"] and plain["sha256"] != skipped["sha256"]
    ((_, result),) = editkit.edit_rows([{**EDIT, "seed": 1}], model=tiny_folder, clip_skip=1, tiling=True, cache=False)
    assert isinstance(result, editkit.Result)
    assert result.encoded(".png") == Path("skipped", skipped["output"]).read_bytes()


def test_options_of_models_belong_to_the_job_and_are_checked_before_it(
    here: Path, tiny_folder: Path, edited: list[str]
) -> None:
    flux = flux_folder(here / "flux")
    words = (write([{**EDIT, "model": str(tiny_folder)}, {**EDIT, "model": str(flux)}]), "-o", "out", "--workers", 0)
    for wrong, reason in {
        ("--clip-skip", -1): "clip_skip=-1 is not allowed",
        ("--vae", "lost.safetensors"): "vae 'lost.safetensors'",
        ("--compile-mode", "default"): "has no use without compile=True",
        ("--dtype", "float17"): "dtype='float17' is not allowed",
    }.items():
        ended = run(*words, *wrong)
        assert (ended.exit_code, edited) == (1, []) and reason in ended.stderr, ended.stderr
        assert not Path("out").exists()
    ended = run(*words, *LOADED)
    assert ended.exit_code == 2 and len(edited) == 1
    assert "needs a model that supports it; the model" in results(Path("out"))[1]["error"]
    assert run(*words).exit_code == 2
    ended = run(*words, "--clip-skip", 2)
    assert "clip_skip=2 is not allowed: the job in" in ended.stderr and "was planned with 1" in ended.stderr
    assert run(*words, "--no-tiling").exit_code == 1


def test_an_autoencoder_that_changed_since_the_plan_is_found(here: Path, tiny_folder: Path, edited: list[str]) -> None:
    shutil.copytree(tiny_folder / "vae", "own")
    words = (write([{**EDIT, "model": str(tiny_folder)}]), "-o", "out", "--workers", 0, "--vae", "own", "--json")
    assert json.loads(run(*words).stdout)["changed"] == 0
    with Path("own/config.json").open("a") as file:
        file.write(" ")
    ended = run(*words)
    assert json.loads(ended.stdout)["changed"] == 1 and f"such as {str(here / 'own')!r}" in ended.stderr


@pytest.mark.parametrize("outputs", ["files", "tar"])
def test_errors_are_repeated_and_edits_kept(here: Path, edited: list[str], outputs: str) -> None:
    words = (write([*ROWS, {**EDIT, "image": "c.png"}]), "-o", "out", "--workers", 0, "--outputs", outputs)
    assert run(*words).exit_code == 2
    Path("c.png").write_bytes(Path("b.png").read_bytes())
    assert run(*words).exit_code == 2
    assert run(*words, "--retry-errors").exit_code == 0
    assert len(edited) == len(set(edited)) == 10
    assert len(results(Path("out"))) == 10


def test_a_row_that_becomes_a_duplicate_moves_the_others_and_loses_none(here: Path, edited: list[str]) -> None:
    rows = [ROWS[0], {**ROWS[0], "image": "c.png"}, *ROWS[1:4]]
    words = (write(rows), "-o", "out", "--workers", 0, "--rows-per-file", 2)
    assert run(*words).exit_code == 2
    Path("c.png").write_bytes(Path("a.png").read_bytes())
    assert run(*words, "--retry-errors").exit_code == 0
    assert [(row["name"], row["status"]) for row in results(Path("out"))] == [(row["name"], "ok") for row in ROWS[:4]]
    assert len(list(Path("out/plan").iterdir())) == 2
    assert len(list(Path("out/images").rglob("*.png"))) == 4


def test_a_folder_keeps_to_one_job(here: Path, edited: list[str]) -> None:
    words = (write(ROWS), "-o", "out", "--workers", 0)
    assert run(*words).exit_code == 0
    assert run(*words, "--batch-size", 3, "--resume").exit_code == 0
    for more, message in ((["--no-resume"], "has a job already"), (["--no-resume", "--retry-errors"], "leave one out")):
        ended = run(*words, *more)
        assert (ended.exit_code, message in ended.stderr) == (1, True)
    for other, planned in ((["--outputs", "tar"], "'files'"), (["--no-exact"], "True")):
        ended = run(*words, *other)
        assert (ended.exit_code, f"was planned with {planned}; give that, or" in ended.stderr) == (1, True)
    assert "was planned without it; leave it out, or" in run(*words, "--dtype", "bfloat16").stderr
    words = (write([{**EDIT, "strenght": 1}, *ROWS, {**EDIT, "seed": 5}]), *words[1:])
    ended = run(*words)
    assert (ended.exit_code, "the job of another manifest" in ended.stderr) == (1, True)
    assert run(*words, "--retry-errors").exit_code == 2
    assert len(edited) == len(set(edited)) == 10
    assert len(results(Path("out"))) == 11


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--exact", "--no-exact"])
def test_rows_fill_calls_unless_the_job_is_inexact(here: Path, option: str, tiny_folder: Path) -> None:
    rows = [{**EDIT, "image": name, "seed": 1} for name in ("a.png", "b.png")]
    ended = run(write(rows), "-o", "out", "--workers", 0, "--model", tiny_folder, option)
    assert ended.exit_code == 0, ended.output
    recipes = [read_recipe(Path("out", row["output"]))[0] for row in results(Path("out"))]
    assert [recipe.steps[0].filled for recipe in recipes] == [option == "--exact"] * 2


def test_jobs_run_on_other_file_systems(here: Path, edited: list[str]) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    memory.pipe("/data/images/a.png", Path("a.png").read_bytes())
    memory.pipe("/data/rows.jsonl", "\n".join(json.dumps({**row, "image": "images/a.png"}) for row in ROWS).encode())
    for outputs in ("files", "tar", "parquet"):
        words = ("memory://data/rows.jsonl", "-o", f"memory://out/{outputs}", "--workers", 0, "--outputs", outputs)
        ended = run(*words, "--rows-per-file", 5)
        assert ended.exit_code == 0, ended.output
        assert run(*words).exit_code == 0
        storage = Storage(f"memory://out/{outputs}")
        assert storage.names("results") == ["000000.parquet", "000001.parquet"]
        assert storage.names("staged") == []
    assert len(edited) == 27


@pytest.fixture
def remote() -> Any:
    """A file system like that of a server: an address ``served://``, files that appear as they are written."""
    fsspec = pytest.importorskip("fsspec")
    from fsspec.implementations.memory import MemoryFileSystem

    class Served(MemoryFileSystem):  # type: ignore[misc]
        protocol = "served"
        store: dict[str, Any] = {}  # noqa: RUF012 (as in its parent)
        pseudo_dirs: list[str] = [""]  # noqa: RUF012
        refusal: Exception | None = None

        @classmethod
        def _strip_protocol(cls, path: str) -> Any:
            return super()._strip_protocol(path.replace("served://", "memory://"))

        def _open(self, path: str, mode: str = "rb", **given: Any) -> Any:
            if "w" in mode and self.refusal is not None:
                raise self.refusal
            return super()._open(path, mode, **given)

    fsspec.register_implementation("served", Served, clobber=True)
    return Served()


def test_files_of_a_server_get_their_name_when_they_are_complete(remote: Any) -> None:
    storage = Storage("served://host/out")
    with storage.open_new("plan/0.parquet") as file:
        file.write(b"first")
        assert not storage.exists("plan/0.parquet")
    with pytest.raises(KeyboardInterrupt), storage.open_new("plan/0.parquet") as file:
        file.write(b"second")
        raise KeyboardInterrupt
    assert storage.read("plan/0.parquet") == b"first"
    assert storage.names("plan") == ["0.parquet"]
    assert len(remote.find("/host")) == 1


class NoCredentials(Exception):
    """Like those of botocore, which no class of Python stands above."""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NoCredentials("Unable to locate\ncredentials"), "Unable to locate credentials"),
        (PermissionError("Forbidden"), "Forbidden"),
        (FileNotFoundError(2, "The specified bucket does not exist"), "The specified bucket does not exist"),
        (NotImplementedError(), "its file system does not offer that"),
    ],
)
def test_failures_of_a_file_system_name_the_output(here: Path, remote: Any, error: Exception, text: str) -> None:
    remote.__class__.refusal = error
    ended = run(write([EDIT]), "-o", "served://host/out", "--workers", 0)
    assert ended.exit_code == 1 and "plugin" not in ended.stderr
    assert f"Error: output 'served://host/out' cannot be written: {text}" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


def test_images_count_from_a_manifest_in_an_archive(here: Path) -> None:
    with tarfile.open("set.tar", "w") as archive:
        archive.add("a.png", "images/a b.png")
        archive.add(write([{**EDIT, "image": "a b.png"}]), "images/rows.jsonl")
    for address in ("tar://images/rows.jsonl::set.tar", "tar://images::set.tar", "simplecache::tar://images::set.tar"):
        source = Manifest(address)
        (row,) = RowChecker(source.folder, None).check(source.rows())
        assert row.error == ""
        assert json.loads(row.call)["image"][0].endswith(f"tar://images/a b.png::{here}/set.tar")


def test_two_colons_in_a_name_are_no_chain_of_file_systems(here: Path) -> None:
    Path("a.png").rename("std::vector.png")
    assert errors(write([{**EDIT, "image": "std::vector.png"}])) == [""]


def test_an_object_is_a_manifest_although_others_lie_below_its_name(remote: Any) -> None:
    remote.pipe("/rows.jsonl/plan.csv", b"")
    remote.store["/rows.jsonl"] = remote.store["/rows.jsonl/plan.csv"]
    assert Manifest("served://rows.jsonl").files == ["/rows.jsonl"]


def test_the_signature_of_a_link_is_no_part_of_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    http = pytest.importorskip("fsspec.implementations.http").HTTPFileSystem
    monkeypatch.setattr(http, "isfile", lambda *_: True)
    manifest = Manifest("https://host/jobs/rows.csv?signature=a/b")
    assert manifest.folder == "https://host/jobs"


def test_a_damaged_remote_image_is_named_by_its_address(here: Path, remote: Any) -> None:
    remote.pipe("/a.png", Path("a.png").read_bytes()[:100])
    digest = digest_of("served://a.png")
    assert isinstance(digest, str)
    with pytest.raises(BadImage, match=r"image 'served://a\.png'"):
        editkit.open_image(open_address("served://a.png", digest))
    remote.makedirs("/folder")
    assert "it is a folder" in str(digest_of("served://folder"))


def test_memory_is_no_output_for_worker_processes(here: Path) -> None:
    ended = run(write([EDIT]), "-o", "memory://out")
    assert ended.exit_code == 1 and "workers do not see" in ended.stderr


# Workers that end


def test_notes_blame_no_row_that_was_never_alone(tmp_path: Path) -> None:
    storage = Storage(str(tmp_path))

    def leave(run: str, *ids: str) -> Notes:
        """Leave a note behind, as a worker does that is killed, and return the notes of the next one."""
        Notes(storage, "000000", run).at_work(ids).__enter__()
        return Notes(storage, "000000", run)

    notes = leave("first", "a", "b")
    assert (notes.suspects, notes.crashed) == ({"a", "b"}, set())
    assert leave("first", "b", "c").crashed == set()
    assert leave("first", "a").crashed == set()
    assert leave("second", "a").crashed == set()
    assert leave("second", "a").crashed == {"a"}
    with Notes(storage, "000001", "first").at_work(["d"]):
        assert Notes(storage, "000001", "first").suspects == {"d"}
    assert Notes(storage, "000001", "first").suspects == set()


@pytest.mark.usefixtures("edited")
def test_a_full_disk_blames_no_row(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise EditkitError("No space left on device")

    manifest = write([EDIT])
    with monkeypatch.context() as patched:
        patched.setattr("editkit_batch.image_store.ImageStore.write", fail)
        ended = run(manifest, "-o", "out", "--workers", 0)
        assert ended.exit_code == 1 and "No space left on device" in ended.stderr
    assert run(manifest, "-o", "out", "--workers", 0).exit_code == 0
    assert [row["status"] for row in results(Path("out"))] == ["ok"]


class Flaky:
    """Workers whose parts end as a list says, and are done afterwards."""

    def __init__(self, *outcomes: Exception) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    def run(self, work: Callable[[str], Any], parts: Sequence[str]) -> Any:
        for part in parts:
            self.calls += 1
            yield part, self.outcomes.pop() if self.outcomes else PartSummary({"ok": 1})


def test_a_part_is_repeated_as_long_as_that_helps(tmp_path: Path) -> None:
    work = Work(str(tmp_path), "run", {"batch": 4})

    def run_with(*outcomes: Exception) -> tuple[int, int]:
        workers = Flaky(*outcomes)
        progress = Progress(Storage(str(tmp_path)), ["000000"], work)
        progress.run(workers)
        return workers.calls, len(progress.failed)

    assert run_with() == (1, 0)
    with pytest.raises(Cancelled):
        run_with(Cancelled("cancelled"))
    assert run_with(*[EditkitError("full disk")] * 2) == (3, 0)
    assert run_with(*[EditkitError("full disk")] * 5) == (3, 1)
    assert run_with(*[WorkerEnded("ended")] * 9) == (10, 0)
    assert run_with(*[WorkerEnded("ended")] * 20) == (10, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), [("local", "editkit"), ("ray", "ray"), ("dask", "distributed")])
def test_an_engine_goes_on_after_the_end_of_a_worker(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # workers of Ray import the function that they run
    with editkit.build_engine(name).start(EngineOptions(workers=2)) as workers:
        outcomes = dict(workers.run(double_or_end, ["a", "end", "b", "raise", "c"]))
        assert isinstance(outcomes.pop("end"), WorkerEnded)
        waited = [part for part, outcome in outcomes.items() if isinstance(outcome, WorkerEnded)]
        outcomes |= dict(workers.run(double_or_end, [*waited, "d"]))
    assert "no number" in str(outcomes.pop("raise"))
    assert outcomes == {"a": "aa", "b": "bb", "c": "cc", "d": "dd"}


def runs(pid: str) -> bool:
    """Whether a process exists and is no zombie, which waits for the parent that it has no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_workers_end_with_their_parent() -> None:
    code = (
        "import time; from editkit_batch.engines.local import LocalWorkers; workers = LocalWorkers(1); "
        "print(workers.processes[0].process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = parent.stdout.readline().strip()
        assert runs(worker)
        parent.kill()
    deadline = time.monotonic() + 60
    while runs(worker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not runs(worker), "the worker outlived its parent for a minute"


class JobEndedHere(JobProcess):
    """A job of processes that are killed; this one runs it to its end."""

    def complete(self) -> dict[str, Any]:
        words = ("-o", self.output, "--rows-per-file", 50, "--workers", 0, "--threads", 1)
        ended = run(self.manifest, *words, "--json")
        assert ended.exit_code == 2, ended.output
        return json.loads(ended.stdout)  # type: ignore[no-any-return]


@pytest.mark.slow
def test_a_killed_job_goes_on_and_changes_no_byte(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "data", 16, fatal=False, tiny=True)
    undisturbed = JobEndedHere(manifest, tmp_path / "here", [], tmp_path)
    undisturbed.complete()
    killed = JobEndedHere(manifest, tmp_path / "killed", ["--workers", "1"], tmp_path)
    assert run_with_kills(killed, 16, 1, random.Random(0)) < 10
    assert killed.results() == undisturbed.results()
    assert len(undisturbed.images()) == 10


# Examples


EXAMPLES = ("slurm.sh", "kubernetes-job.yaml", "ray-job.yaml")


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_clusters_have_valid_options(name: str) -> None:
    text = (DOCS / "how-to" / "batches" / name).read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r"editkit (batch .*)", "\n".join(line for line in text.splitlines() if "#" not in line))
    words = shlex.split(re.sub(r"\$\(\(.*?\)\)|\$\w+", "1", command))
    with main.make_context("editkit", [words[0], "--help"], resilient_parsing=True) as context:
        batch = main.get_command(context, "batch")
        assert batch is not None
        options = batch.make_context("batch", words[1:]).params
    options.pop("as_json")
    assert BatchParams.parse("batch", {name: value for name, value in options.items() if value not in (None, ())})
    if name.endswith(".yaml"):
        assert yaml.safe_load((DOCS / "how-to" / "batches" / name).read_text())["kind"] in ("Job", "RayJob")


class DaskClient:
    """Client of a cluster whose workers answer a question about their installation as given."""

    def __init__(self, scheduler: Any, **workers: Any) -> None:
        self.scheduler, self.workers = scheduler, workers

    def run_on_scheduler(self, function: Callable[[str], Any], question: str) -> Any:
        if isinstance(self.scheduler, Exception):
            raise self.scheduler
        assert function(question) == editkit.__version__  # needs no package to be unpickled
        return self.scheduler

    def run(self, function: Callable[[str], Any], question: str, on_error: str) -> dict[str, Any]:
        assert (function(question), on_error) == (editkit.__version__, "return")
        return self.workers


def test_a_dask_cluster_without_this_editkit_is_refused() -> None:
    same, missing = editkit.__version__, ModuleNotFoundError("No module named 'editkit_batch'")
    check_versions(DaskClient(same, a=same, b=same))
    for client in (DaskClient(missing), DaskClient(same, a=same, b=missing), DaskClient(same, a="0.0.1")):
        with pytest.raises(EditkitError, match=r"another installation at .* \((No module|editkit 0\.0\.1)"):
            check_versions(client)


def test_a_worker_that_joins_a_dask_cluster_is_asked_with_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    text = dask_workers._as_text(double_or_end, "a")
    assert eval(text) == "aa"
    monkeypatch.setattr(dask_workers, "__version__", "0.0.1")
    with pytest.raises(dask_workers.OtherVersion) as other:
        eval(text)
    workers = DaskWorkers(SimpleNamespace(KilledWorker=WorkerEnded), None, None)
    for error in (other.value, ModuleNotFoundError("No module named 'editkit_batch'")):
        with pytest.raises(EditkitError, match=r"another installation at .* \((No module|editkit 0\.0\.1)"):
            workers._outcome(SimpleNamespace(status="error", exception=lambda error=error: error))


class RayActor:
    """Actor of a cluster that has room for some actors; a reference is the actor and the value that it returns."""

    def __init__(self, cluster: FakeRay, has_room: bool) -> None:
        self.version = SimpleNamespace(remote=lambda: cluster.refer(cluster.version if has_room else None))
        self.run = SimpleNamespace(remote=lambda work, part: cluster.refer(work(part)))


class FakeRay:
    """Ray with room for ``room`` actors, each with a version of editkit."""

    exceptions = SimpleNamespace(RayActorError=KeyError, RayTaskError=ValueError)

    def __init__(self, room: int, version: Any = editkit.__version__) -> None:
        self.room, self.version, self.actors, self.values = room, version, 0, dict[int, Any]()

    def refer(self, value: Any) -> int:
        self.values[len(self.values)] = value
        return len(self.values) - 1

    def remote(self, **share: Any) -> Any:
        self.actors += 1
        return lambda kind: SimpleNamespace(remote=lambda: RayActor(self, self.actors <= self.room))

    def wait(self, references: Sequence[int], num_returns: int, timeout: float | None) -> tuple[list[int], list[int]]:
        done = [one for one in references if self.values[one] is not None]
        assert done or timeout, "it would wait for ever"
        return done[:1], []

    def get(self, reference: int) -> Any:
        if self.values[reference] == "ended":
            raise KeyError("ended")
        return self.values[reference]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.room)}


def test_an_actor_for_which_ray_has_no_room_gets_no_part() -> None:
    workers = RayWorkers(FakeRay(room=2), 4, {"num_cpus": 1})
    assert dict(workers.run(double_or_end, list("abcde"))) == {part: part * 2 for part in "abcde"}
    assert dict(workers.run(double_or_end, ["f"])) == {"f": "ff"}


def test_a_ray_cluster_that_cannot_run_editkit_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    for version, reason in {"0.0.1": r"another installation \(editkit 0.0.1\)", "ended": "no worker can start"}.items():
        with pytest.raises(EditkitError, match=reason):
            list(RayWorkers(FakeRay(9, version), 1, {}).run(double_or_end, ["a"]))
    full = FakeRay(room=0)
    waiting = RayWorkers(full, 1, {"num_gpus": 1})
    assert waiting._next({}) is None and waiting._next({}) is None
    said = "Waiting for Ray: no worker has started; each takes {'num_gpus': 1}, and the cluster has {'CPU': 0.0}\n"
    assert capsys.readouterr().err == said


def test_an_address_at_which_no_cluster_listens_is_named_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"tcp://127.0.0.1:{port}", None, "auto", "local", "127.0.0.1"):
            check_reachable("Ray", address)
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "tcp://127.0.0.1:99999"):
        with pytest.raises(EditkitError, match=rf"no cluster of Dask answers at '{address}' \(.*\): check --address"):
            check_reachable("Dask", address)


@pytest.mark.parametrize(
    ("address", "folder", "expected"),
    [
        ("../in/./a.png", "s3://bucket/jobs", "s3://bucket/in/a.png"),
        ("../../../a.png", "s3://bucket/jobs", "s3://bucket/a.png"),
        ("a//..b.png", "s3://bucket/jobs//one/", "s3://bucket/jobs//one/a//..b.png"),
        ("a::b.png", "s3://bucket/x::y", "s3://bucket/x::y/a::b.png"),
        ("s3://bucket/a::b.png", "/jobs", "s3://bucket/a::b.png"),
        ("../a.png", "https://host/jobs", "https://host/a.png"),
        ("../a.png", "memory://jobs", "memory://a.png"),
        ("../a.png", "tar://jobs::s3://bucket/rows.tar", "tar://a.png::s3://bucket/rows.tar"),
        ("tar://a.png::../a.tar", "/jobs/one", "tar://a.png::/jobs/a.tar"),
    ],
)
def test_an_address_counts_from_the_folder_of_its_manifest(address: str, folder: str, expected: str) -> None:
    assert local_path(address, folder) == expected


def test_a_key_of_a_store_may_hold_two_colons(monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec")
    store = SimpleNamespace(_strip_protocol=lambda url: url.removeprefix("s3://"))
    monkeypatch.setattr(fsspec, "filesystem", lambda protocol: store)
    assert file_system("s3://bucket/x::y/a::b.png") == (store, "bucket/x::y/a::b.png")


def test_a_lost_connection_to_dask_ends_the_run_in_one_line() -> None:
    workers = DaskWorkers(None, None, None)
    with pytest.raises(EditkitError, match="connection to the Dask cluster was lost"):
        workers._outcome(SimpleNamespace(status="cancelled"))
