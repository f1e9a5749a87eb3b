"""Stamps change with the files of a model, a part or an adapter, and with no other file."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pytest

import editkit
from editkit import file_stamps
from editkit.model.loading import resolve_model


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"some bytes")


def rewrite(file: Path) -> None:
    """Write other bytes of the same number, and set the time of the change back."""
    status = file.stat()
    file.write_bytes(bytes(255 - byte for byte in file.read_bytes()))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("place", "others", "changed", "counts"),
    [
        ("m", "", "m/a.safetensors", True),
        ("m", "", "m/unet/config.json", True),
        ("m/a.safetensors", "", "m/a.safetensors", True),
        ("m/a.safetensors", "", "m/adapter_config.json", True),
        ("m/a.safetensors", "", "m/a.yml", True),
        ("m/a.safetensors", "", "m/out.json", False),
        ("m/a.safetensors", "m/config.json", "m/config.json", True),
        ("m/a.safetensors", "m/a/model_index.json", "m/a/vae/config.json", True),
        ("m/a.safetensors", "m/model_index.json", "m/vae/config.json", True),
        ("m/missing", "", "m/a.safetensors", False),
        ("", "", "m/a.safetensors", False),
    ],
)
def test_stamps_change_with_the_files_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, others: str, changed: str, counts: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in filter(None, ("m/a.safetensors", others, changed)):
        write(tmp_path / file)
    stamps = [file_stamps(place)]
    for change in (rewrite, Path.unlink):
        change(tmp_path / changed)
        stamps.append(file_stamps(place))
    assert len(set(stamps)) == (3 if counts else 1)


def test_a_result_of_changed_files_is_forgotten_before_the_next_is_computed() -> None:
    class Weights:
        pass

    stamp, alive = [0], []

    @editkit.load_once(2, stamps=lambda name: stamp[0])
    def load(name: str) -> Weights:
        alive.append([one() is not None for one in loaded])
        return Weights()

    loaded: list[weakref.ref[Weights]] = []
    for number in (0, 0, 1):
        stamp[0] = number
        loaded.append(weakref.ref(load("a")))
    assert alive == [[], [False, False]]


def test_a_file_written_between_two_edits_does_not_load_the_model_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = editkit.testing.tiny.stable_diffusion_folder(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    model = resolve_model(str(folder), None, None)
    write(tmp_path / "out.png")
    assert resolve_model(str(folder), None, None) is model
