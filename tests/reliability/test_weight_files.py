"""Mutated inversions, adapters and model folders.

A file with a checksum is refused after any change. One without may hold any weights: a changed file that loads has
to be another model by its identity, of which a replay warns, or give the same pixels.
"""

from __future__ import annotations

import functools
import itertools
import json
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from reliability_mutations import mutated_bytes, mutated_trees
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import Tensor

import editkit
from editkit import Inversion
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SOURCE = sample_image((16, 12))
Tensors = dict[str, Tensor]
Outcome = tuple[str, bytes]
"""Identity of a model, and the pixels of an edit with it."""


def header_end(data: bytes) -> int:
    """Length of the JSON header of safetensors with the eight bytes before it."""
    return 8 + int(struct.unpack("<Q", data[:8])[0])


def tensor_mutations(tensors: Tensors) -> Iterator[tuple[str, Tensors]]:
    """Labels and changed copies of tensors, none of which has the values of the original."""
    for name in list(tensors)[:: max(1, len(tensors) // 4)][:4]:
        tensor = tensors[name]
        without = {key: value for key, value in tensors.items() if key != name}
        yield f"without {name}", without
        yield f"{name} of NaN", {**tensors, name: torch.full_like(tensor, torch.nan)}
        yield f"{name} of infinity", {**tensors, name: torch.full_like(tensor, torch.inf)}
        yield f"{name} of truth values", {**tensors, name: tensor > 0}
        yield (
            f"{name} of another shape",
            {**tensors, name: torch.cat([tensor, tensor]) if tensor.ndim else tensor[None]},
        )
        yield f"{name} without values", {**tensors, name: tensor[:0] if tensor.ndim else torch.zeros(0)}
        yield f"{name} with a dimension more", {**tensors, name: tensor[None]}
        yield f"{name} under another name", {**without, "moon": tensor}


# Inversions


@pytest.fixture(scope="module")
def inversion_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inversion = editkit.invert(SOURCE, model=ToyBackend(), prompt="red", method="edit-friendly", steps=3, cache=False)
    return inversion.save(tmp_path_factory.mktemp("inversions") / "a.safetensors")


def replay_inversion(path: Path, data: bytes) -> editkit.Result:
    path.write_bytes(data)
    return editkit.reconstruct(Inversion.load(path), model=ToyBackend())


def test_changed_inversions_are_refused(probe: Any, long: bool, inversion_file: Path, tmp_path: Path) -> None:
    data, tensors = inversion_file.read_bytes(), load_file(inversion_file)
    with safe_open(inversion_file, framework="pt") as opened:
        header = json.loads(opened.metadata()["editkit"])
    call = functools.partial(replay_inversion, tmp_path / "b.safetensors")
    with probe("inversion files") as tally:
        tally.attempt("unchanged", functools.partial(call, data), valid=True)
        for label, changed in mutated_bytes(data, 4000 if long else 250):
            tally.attempt(label, functools.partial(call, changed), valid=False)
        for label, changed_tensors in tensor_mutations(tensors):
            saved = save(changed_tensors, {"editkit": json.dumps(header)})
            tally.attempt(label, functools.partial(call, saved), valid=False)
        for label, _, tree in mutated_trees(header, 1000 if long else 120):
            saved = save(tensors, {"editkit": json.dumps(tree)})
            is_same = json.dumps(tree) == json.dumps(header)
            tally.attempt(label, functools.partial(call, saved), valid=None if is_same else False)


# Adapters


def use(folder: Path, adapters: tuple[str, ...] = ()) -> Outcome:
    """Load a model and edit with it."""
    model = editkit.load_model(str(folder), adapters=adapters)
    edited = editkit.apply("img2img", SOURCE, model=model, prompt="a <cat> apple", steps=2, seed=0, cache=False)
    return model.identity, edited.image.tobytes()


def is_distinct_or_same(original: Outcome, outcome: Outcome) -> bool:
    """Whether a changed file gives the pixels of the original, or a model of another identity."""
    return outcome[1] == original[1] or outcome[0] != original[0]


def lora(folder: Path) -> Tensors:
    """A LoRA of two layers of the network, in PEFT's spelling."""
    names = [name for name in load_file(folder / "unet" / "diffusion_pytorch_model.safetensors") if "attn1.to_" in name]
    tensors: Tensors = {}
    generator = torch.Generator().manual_seed(0)
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    for name in (name for name in names if name.endswith(("to_q.weight", "to_v.weight"))):
        stem, (rows, columns) = name.removesuffix(".weight"), weights[name].shape
        tensors[f"unet.{stem}.lora_A.weight"] = torch.randn((2, columns), generator=generator)
        tensors[f"unet.{stem}.lora_B.weight"] = torch.randn((rows, 2), generator=generator)
    return dict(itertools.islice(tensors.items(), 4))


def word(folder: Path) -> Tensors:
    width = json.loads((folder / "text_encoder" / "config.json").read_text())["hidden_size"]
    return {"<cat>": torch.randn((2, width), generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("kind", ["LoRA", "word"])
def test_mutated_adapters_are_refused_or_distinct(
    kind: str, probe: Any, long: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    tensors = (lora if kind == "LoRA" else word)(tiny_folder)
    file = tmp_path / "cat.safetensors"
    save_file(tensors, file)
    data, original = file.read_bytes(), use(tiny_folder, (str(file),))
    assert original != use(tiny_folder)

    def use_bytes(changed: bytes) -> Outcome:
        file.write_bytes(changed)
        return use(tiny_folder, (str(file),))

    with probe(f"adapter files: {kind}") as tally:
        check = functools.partial(is_distinct_or_same, original)
        for label, changed in mutated_bytes(data, 200 if long else 14, end=header_end(data)):
            tally.attempt(f"header {label}", functools.partial(use_bytes, changed), check=check)
        for label, changed in mutated_bytes(data, 200 if long else 8, seed=1):
            tally.attempt(label, functools.partial(use_bytes, changed), check=check)
        for label, changed_tensors in tensor_mutations(tensors):
            # A word may have any name and number of vectors; a LoRA without a whole layer is a smaller LoRA.
            free = kind == "word" and any(part in label for part in ("another name", "another shape"))
            call = functools.partial(use_bytes, save({name: one.contiguous() for name, one in changed_tensors.items()}))
            tally.attempt(label, call, valid=None if free else False, check=check)


# Model folders


CONFIGURATIONS = (
    *("model_index.json", "unet/config.json", "vae/config.json", "scheduler/scheduler_config.json"),
    *("text_encoder/config.json", "tokenizer/tokenizer_config.json"),
)
WEIGHTS = ("unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model", "text_encoder/model")


def changed_file(source: Path, target: Path, name: str, content: bytes) -> Path:
    """Copy a model folder with another content of one file."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    (target / name).write_bytes(content)
    return target


def judge_folders(
    tally: Any, original: Outcome, cases: Iterator[tuple[str, str, bytes, bool | None]], place: Callable[..., Path]
) -> None:
    for label, name, content, valid in cases:
        call = functools.partial(lambda name, content: use(place(name, content)), name, content)
        tally.attempt(f"{name} {label}", call, valid=valid, check=functools.partial(is_distinct_or_same, original))


def configurations(folder: Path, count: int) -> Iterator[tuple[str, str, bytes, bool | None]]:
    for name in CONFIGURATIONS:
        tree: Mapping[str, Any] = json.loads((folder / name).read_text())
        for label, path, changed in mutated_trees(tree, count, seed=len(name)):
            if path[-1] not in ("_name_or_path", "_diffusers_version", "transformers_version"):
                yield label, name, json.dumps(changed).encode(), None
        for text in (b"", b"[]", b"null", b"{", b"\xff\xfe", b"[" * 100_000):
            yield repr(text[:8]), name, text, False


def weights(folder: Path, count: int) -> Iterator[tuple[str, str, bytes, bool | None]]:
    for stem in WEIGHTS:
        name = f"{stem}.safetensors"
        data = (folder / name).read_bytes()
        for label, changed in mutated_bytes(data, count, seed=len(name), end=header_end(data)):
            yield f"header {label}", name, changed, None
        for label, changed in mutated_bytes(data, count, seed=len(name) + 1):
            yield label, name, changed, False if label.startswith("cut") else None
        changes = tensor_mutations(load_file(folder / name))
        for label, tensors in changes if count > 50 else itertools.islice(changes, 8):
            # NaN is refused where it is used: not in an embedding of a word that no prompt has.
            content = save({key: one.contiguous() for key, one in tensors.items()})
            yield label, name, content, None if "NaN" in label or "infinity" in label else False


@pytest.mark.parametrize("kind", ["configurations", "weights"])
def test_mutated_folders_are_refused_or_distinct(
    kind: str, probe: Any, long: bool, tiny_folder: Path, tmp_path: Path
) -> None:
    place = functools.partial(changed_file, tiny_folder, tmp_path / "model")
    original = use(tiny_folder)
    with probe(f"model folders: {kind}") as tally:
        cases = (configurations if kind == "configurations" else weights)(tiny_folder, 100 if long else 10)
        judge_folders(tally, original, cases, place)
