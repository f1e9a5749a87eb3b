"""Killed processes, full disks, folders that cannot be written to, and closed streams: a file is whole or as before."""

from __future__ import annotations

import functools
import io
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from reliability_child import Ending, in_child, kill_while
from reliability_outcomes import Outcomes

import editkit
from editkit import EditkitError
from editkit.cli import main
from editkit.files.writing import write_atomically
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SOURCE = sample_image((40, 30))


@functools.cache
def result() -> editkit.Result:
    edited: editkit.Result = editkit.apply("img2img", SOURCE, model=ToyBackend(), steps=2, seed=0, cache=False)
    return edited


def inversion() -> editkit.Inversion:
    return editkit.invert(SOURCE, model=ToyBackend(), steps=3, cache=False)


def is_whole_image(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
        return image.size == SOURCE.size


def is_whole_inversion(path: Path) -> bool:
    return editkit.Inversion.load(path).source.size == SOURCE.size


def forever(write: Callable[[], Any]) -> None:
    while True:
        write()


def test_killed_writers_leave_whole_files(probe: Any, long: bool, tmp_path: Path) -> None:
    image, stored, text = result(), inversion(), tmp_path / "text"
    image.save(tmp_path / "a.png")
    stored.save(tmp_path / "a.safetensors")
    write_atomically(text, b"0" * 200_000)
    writers: dict[str, tuple[Callable[[], Any], Callable[[], bool]]] = {
        "image": (lambda: image.save(tmp_path / "a.png"), lambda: is_whole_image(tmp_path / "a.png")),
        "inversion": (
            lambda: stored.save(tmp_path / "a.safetensors"),
            lambda: is_whole_inversion(tmp_path / "a.safetensors"),
        ),
        "bytes": (
            lambda: [write_atomically(text, digit * 200_000) for digit in (b"1", b"2")],
            lambda: len(text.read_bytes()) == 200_000 and len(set(text.read_bytes())) == 1,
        ),
    }
    choice = random.Random(0)
    with probe("killed while writing") as tally:
        for name, (write, is_whole) in writers.items():
            for _ in range(200 if long else 20):
                kill_while(functools.partial(forever, write), choice.uniform(0.002, 0.06))
                tally.count("right" if is_whole() else "lost", name)


# Folders and disks


def places(folder: Path) -> Iterator[tuple[str, str]]:
    """Labels and paths at which nothing can be written, also by root."""
    (folder / "file").write_bytes(b"a file")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "pipe.png").unlink(missing_ok=True)
    os.mkfifo(folder / "pipe.png")
    yield "missing folder", str(folder / "missing" / "o.png")
    yield "file as folder", str(folder / "file" / "o.png")
    yield "folder", str(folder)
    yield "link to itself", str(folder / "loop")
    yield "pipe", str(folder / "pipe.png")
    yield "full device", "/dev/full"
    yield "kernel's folder", "/proc/o.png"
    yield "name of 300 letters", str(folder / ("x" * 300 + ".png"))
    yield "path of 5000 letters", str(folder / "/".join("x" * 100 for _ in range(50)) / "o.png")
    yield "NUL", str(folder / "a\0b.png")
    yield "empty", ""


def test_outputs_that_cannot_be_written_are_refused(probe: Any, tmp_path: Path) -> None:
    with probe("outputs that cannot be written") as tally:
        for label, path in places(tmp_path):
            tally.attempt(f"image: {label}", functools.partial(result().save, path), valid=False)
            tally.attempt(f"inversion: {label}", functools.partial(inversion().save, path), valid=False)
        assert (tmp_path / "file").read_bytes() == b"a file"


def with_file_limit(size: int, call: Callable[[], Any]) -> Any:
    """Call a function in a process in which no file can be longer than ``size`` bytes, as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    return call()


def test_full_disks_leave_the_old_file(probe: Any, tmp_path: Path) -> None:
    image, stored = result(), inversion()
    with probe("full disks") as tally:
        for suffix in (".png", ".jpg", ".webp", ".bmp", ".tif", ".safetensors"):
            file = tmp_path / f"a{suffix}"
            file.write_bytes(b"as before")
            save = stored.save if suffix == ".safetensors" else image.save
            for size in (0, 1, 100, 300):
                ending = in_child(functools.partial(with_file_limit, size, functools.partial(save, file)))
                judge_failed_write(tally, f"{suffix} at {size} bytes", ending, file)


def judge_failed_write(tally: Outcomes, label: str, ending: Ending, file: Path) -> None:
    left = sorted(path.name for path in file.parent.iterdir() if path.name.startswith("."))
    if ending.state in ("crashed", "hung"):
        tally.count(ending.state, label)
    elif file.read_bytes() != b"as before" or left:
        tally.count("lost", f"{label}: {left}")
    elif ending.state == "raised" and isinstance(ending.value, EditkitError):
        tally.count("refused")
    else:
        tally.count("untyped" if ending.state == "raised" else "silent wrong", f"{label}: {ending.value!r}")


def test_edits_survive_a_cache_that_cannot_be_written(
    probe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments: dict[str, Any] = {"source": "red", "target": "green", "steps": 2, "seed": 0, "model": ToyBackend()}
    expected = editkit.apply("prompt-edit", SOURCE, cache=False, **arguments).image.tobytes()
    with probe("caches that cannot be written") as tally:
        for label, path in places(tmp_path):
            if "\0" in path:
                continue
            monkeypatch.setenv("EDITKIT_CACHE", path or "/proc/nothing")
            call = functools.partial(editkit.apply, "prompt-edit", SOURCE, **arguments)
            tally.attempt(label, call, valid=True, check=lambda edited: edited.image.tobytes() == expected)


# Streams of the command line


def run_with_streams(arguments: list[str], *, output: str, folder: Path) -> tuple[int, str]:
    """Run a command in this process with another standard output; return its exit status and standard error."""
    os.chdir(folder)
    errors = os.open(folder / "errors", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    os.dup2(_open_output(output), 1)
    sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)
    sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), write_through=True)
    if output == "closed":
        os.close(1)
    try:
        main(arguments)
        status: Any = 0
    except SystemExit as end:
        status = end.code
    except BrokenPipeError:
        status = "BrokenPipeError"
    return status, (folder / "errors").read_text(errors="replace")


def _open_output(output: str) -> int:
    if output == "broken pipe":
        reading, writing = os.pipe()
        os.close(reading)
        return writing
    return os.open("/dev/full" if output == "full" else os.devnull, os.O_WRONLY)


def test_closed_and_full_streams_are_errors_in_one_line(probe: Any, toy_model: str, tmp_path: Path) -> None:
    SOURCE.save(tmp_path / "a.png")
    editing = ["img2img", "a.png", "--steps=2", f"--model={toy_model}"]
    commands = [[*editing, "-o", "-"], [*editing, "-o", "out.png"], [*editing, "-o", "out.png", "--json"]]
    commands += [["plugins"], ["models", "--json"], ["--help"], ["img2img", "--help"]]
    with probe("closed, broken and full streams") as tally:
        for output in ("closed", "broken pipe", "full"):
            for command in commands:
                run = functools.partial(run_with_streams, command, output=output, folder=tmp_path)
                judge_stream(tally, f"{output}: {' '.join(command)}", in_child(run))


def judge_stream(tally: Outcomes, label: str, ending: Ending) -> None:
    if ending.state != "returned":
        column = "untyped" if ending.state == "raised" else ending.state
        tally.count(column, f"{label}: {ending.value!r}")
        return
    status, errors = ending.value
    if "Traceback" in errors or "please report it" in errors or status == "BrokenPipeError":
        tally.count("untyped", f"{label}: {status} {errors[-300:]!r}")
    else:
        # Who closes the stream wants no output: a status of success says nothing wrong then.
        tally.count("refused" if status else "right", label)
