"""Inversion files: a round trip keeps everything, and a file that is damaged or changed is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import editkit
from editkit import BadFile, EditkitError, InvalidParameter, Inversion
from editkit.inversion.inversion_file import OLD_SCHEMA
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

MODEL = ToyBackend()
Change = Callable[[dict[str, Any], dict[str, Tensor]], Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inversion = editkit.invert(sample_image((16, 12)), model=MODEL, prompt="red", method="edit-friendly", steps=3)
    return inversion.save(tmp_path_factory.mktemp("inversions") / "apple.safetensors")


def changed(file: Path, target: Path, change: Change, *, schema: int | None = None) -> Path:
    """Write a file with a change of its header or tensors, as one of an older ``schema`` if that is given."""
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["editkit"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if schema is not None:
        header["schema"] = schema
        del header["sha256"]
    replaced = change(header, tensors)
    header = header if replaced is None else replaced
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, target, {"editkit": json.dumps(header)})
    return target


CHANGES: dict[str, Change] = {
    "a list as header": lambda header, tensors: [header],
    "no prompt": lambda header, tensors: header.pop("prompt") and None,
    "a number as prompt": lambda header, tensors: header.update(prompt=5),
    "a list as method": lambda header, tensors: header.update(method=["ddim"]),
    "a list as params": lambda header, tensors: header.update(params=[]),
    "a text as report": lambda header, tensors: header.update(report="good"),
    "another mode": lambda header, tensors: header.update(mode="CMYK"),
    "integers": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"].long()),
    "truth values": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"] > 0),
    "float16": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"].half()),
    "float32": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"].float()),
    "NaN": lambda header, tensors: tensors["trajectory"].view(-1)[3:4].fill_(torch.nan) and None,
    "1e38": lambda header, tensors: tensors["trajectory"].view(-1)[3:4].fill_(1e38) and None,
    "NaN in a kept tensor": lambda header, tensors: tensors["kept.noise"].view(-1)[:1].fill_(torch.nan) and None,
    "no trajectory": lambda header, tensors: tensors.pop("trajectory") is None or None,
    "no source": lambda header, tensors: tensors.pop("source") is None or None,
    "a path of one column": lambda header, tensors: tensors.update(path=tensors["path"][:, :1]),
    "a longer path": lambda header, tensors: tensors.update(path=tensors["path"].repeat(2, 1)),
    "a rising path": lambda header, tensors: tensors.update(path=tensors["path"].flip(0)),
    "a negative path": lambda header, tensors: tensors.update(path=-tensors["path"]),
    "a flat trajectory": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"][0]),
    "two images": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"].repeat(1, 2, 1, 1, 1)),
    "no steps": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"][:0], path=tensors["path"][:0]),
    "a grey source": lambda header, tensors: tensors.update(source=tensors["source"][..., 0]),
    "a source of floats": lambda header, tensors: tensors.update(source=tensors["source"].float()),
    "a source with alpha": lambda header, tensors: tensors.update(source=tensors["source"][..., [0, 1, 2, 2]]),
}
"""Changes that are refused in files without a checksum too."""

REPLAYED: dict[str, Change] = {
    "a negative resolution": lambda header, tensors: header["params"].update(resolution=-5),
    "another resolution": lambda header, tensors: header["params"].update(resolution=32),
    "a narrower source": lambda header, tensors: tensors.update(source=tensors["source"][:, :5]),
    "narrower latents": lambda header, tensors: tensors.update(trajectory=tensors["trajectory"][..., :5]),
    "an unknown inverter": lambda header, tensors: header.update(method="moon"),
    "no kept tensor": lambda header, tensors: tensors.pop("kept.noise") is None or None,
    "a kept tensor of another shape": lambda header, tensors: tensors.update({"kept.noise": torch.zeros(1, 2)}),
}
"""Changes of a file without a checksum that the replay refuses."""


def test_a_round_trip_keeps_every_bit(file: Path, tmp_path: Path) -> None:
    first = Inversion.load(file)
    again = Inversion.load(first.save(tmp_path / "again.safetensors"))
    assert torch.equal(first.trajectory, again.trajectory) and first.path == again.path
    assert first.record.extras.keys() == again.record.extras.keys() != set()
    assert (first.params, first.prompt, first.method) == (again.params, "red", "edit-friendly")
    assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_a_file_without_a_checksum_loads_if_its_schema_had_none(file: Path, tmp_path: Path) -> None:
    old = changed(file, tmp_path / "old.safetensors", lambda *_: None, schema=OLD_SCHEMA)
    one, other = (editkit.reconstruct(Inversion.load(path), model=MODEL) for path in (file, old))
    assert one.image.tobytes() == other.image.tobytes()
    with pytest.raises(BadFile, match="does not match its checksum"):
        Inversion.load(changed(file, tmp_path / "new.safetensors", lambda header, _: header.pop("sha256") and None))


@pytest.mark.parametrize("case", [*CHANGES, *REPLAYED])
def test_a_changed_file_is_refused(case: str, file: Path, tmp_path: Path) -> None:
    change = {**CHANGES, **REPLAYED}[case]
    with pytest.raises(BadFile, match=r"^inversion .* is damaged") as refused:
        Inversion.load(changed(file, tmp_path / "changed.safetensors", change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_file_without_a_checksum_is_refused(case: str, file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"^inversion .* is damaged") as refused:
        Inversion.load(changed(file, tmp_path / "changed.safetensors", CHANGES[case], schema=OLD_SCHEMA))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("case", REPLAYED)
def test_settings_that_do_not_fit_are_refused_before_the_replay(case: str, file: Path, tmp_path: Path) -> None:
    path = changed(file, tmp_path / "changed.safetensors", REPLAYED[case], schema=OLD_SCHEMA)
    with pytest.raises(EditkitError) as refused:
        editkit.reconstruct(Inversion.load(path), model=MODEL)
    assert "\n" not in str(refused.value)


def test_every_flipped_byte_is_refused(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    for place in range(0, len(data), len(data) // 200):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        (tmp_path / "flipped.safetensors").write_bytes(flipped)
        with pytest.raises(BadFile):
            Inversion.load(tmp_path / "flipped.safetensors")


def test_a_file_that_is_cut_short_is_named_with_a_remedy(file: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(BadFile, match=r"cut short.*get a whole copy"):
        Inversion.load(cut)


def test_other_files_and_arguments_are_refused(tmp_path: Path, file: Path) -> None:
    (tmp_path / "text.safetensors").write_text("no tensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "deep.safetensors", {"editkit": "[" * 100_000})
    for name in ("text.safetensors", "deep.safetensors", "missing", ".", "x" * 5000, "a\0b"):
        with pytest.raises(BadFile, match=r"^inversion"):
            Inversion.load(tmp_path / name)
    for name in ("text.safetensors", "deep.safetensors"):
        with pytest.raises(BadFile, match=r"^the inversion is"):
            Inversion.load((tmp_path / name).read_bytes())
    for wrong in (5, None, [], bytearray(b"x")):
        with pytest.raises(InvalidParameter, match="path of a file"):
            Inversion.load(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidParameter, match="path of a file"):
            Inversion.load(file).save(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidParameter, match=r"no \.png file"):
        Inversion.load(file).save(tmp_path / "apple.png")
