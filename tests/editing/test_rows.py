"""Rows of any operations: bits that depend on nothing but the row, errors of rows, and what is held in memory."""

from __future__ import annotations

import hashlib
import itertools
import random
import tracemalloc
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from editkit import Backend, EditkitError, EditRow
from editkit.model.calls.filled import rows_per_call
from editkit.model.calls.request import NetworkRequest
from editkit.testing import ToyBackend
from editkit.testing.tiny import FOLDERS

Row = dict[str, Any]


def image(number: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    levels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(levels)


def outcomes(rows: Any, **options: Any) -> dict[int, Any]:
    return dict(editkit.edit_rows(rows, **options))


def sha256(result: Any) -> str:
    if isinstance(result, Exception):
        raise result
    latents = b"" if result.latents is None else result.latents.numpy().tobytes()
    return hashlib.sha256(result.image.tobytes() + latents).hexdigest()


def mixed_rows(size: int) -> list[Row]:
    """Rows of several operations, some of them guided, and of several sizes."""
    mask = Image.new("L", (size, size), 0)
    mask.paste(255, (size // 4, size // 4, size, size))
    kinds: list[Row] = [
        {"operation": "img2img", "prompt": "a pear"},
        {"operation": "img2img", "prompt": "a lemon", "guidance": 1.0, "image": image(1, (size // 2, size))},
        {"operation": "inpaint", "prompt": "a star", "mask": mask},
        {"operation": "prompt-edit", "source": "an apple", "target": "a pear"},
        {"operation": "prompt-edit", "source": "an apple", "target": "a pear", "inverter": "edit-friendly"},
        {"operation": "generate", "prompt": "a dog", "image": None},
    ]
    return [
        {"image": image(number, (size, size)), **kinds[number % len(kinds)], "steps": 4 + number % 2, "seed": number}
        for number in range(9)
    ]


@pytest.mark.slow
def test_bits_of_a_row_do_not_depend_on_other_rows(tiny_model: Backend) -> None:
    rows = mixed_rows(tiny_model.native_size)
    alone = {number: sha256(outcomes([row], model=tiny_model, cache=False)[0]) for number, row in enumerate(rows)}
    for batch in (1, 3, 16):
        order = list(range(len(rows)))
        random.Random(batch).shuffle(order)
        results = outcomes([rows[number] for number in order], model=tiny_model, batch=batch, cache=False)
        assert {order[place]: sha256(result) for place, result in results.items()} == alone


@pytest.mark.slow
def test_a_replayed_row_has_the_bits_of_the_row(tiny_model: Backend) -> None:
    rows = mixed_rows(tiny_model.native_size)[:5]
    for result in outcomes(rows, model=tiny_model, cache=False).values():
        assert result.recipe.steps[0].filled
        assert sha256(editkit.replay(result, model=tiny_model, cache=False)) == sha256(result)


FAMILIES = ("StableDiffusionXLPipeline", "FluxPipeline", "PixArtAlphaPipeline")


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_of_every_family_are_independent(family: str, tmp_path: Path) -> None:
    model = editkit.load_model(str(FOLDERS[family](tmp_path / "model")))
    rows = [{"operation": "generate", "prompt": f"a {word}", "steps": 2, "seed": 0} for word in ("cat", "dog", "fish")]
    together, apart = (outcomes(rows, model=model, batch=batch) for batch in (3, 1))
    assert {number: sha256(one) for number, one in together.items()} == {n: sha256(one) for n, one in apart.items()}


class Counting(ToyBackend):
    """Counts the rows of every call and refuses images of one brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, set[int]] = {"encode": set(), "decode": set(), "denoise": set()}

    def encode(self, pixels: Tensor) -> Tensor:
        self.rows["encode"].add(len(pixels))
        if bool((pixels == 0).flatten(1).all(1).any()):
            raise RuntimeError("black images are refused")
        return super().encode(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        self.rows["decode"].add(len(latents))
        return super().decode(latents)

    def denoise(self, x: Tensor, *requests: Any) -> Tensor:
        self.rows["denoise"].add(len(x))
        return super().denoise(x, *requests)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_all_calls_of_one_shape_have_one_number_of_rows(batch: int) -> None:
    model = Counting()
    rows = [{"operation": "img2img", "image": image(n), "prompt": "red", "steps": 4, "seed": n} for n in range(5)]
    outcomes(rows, model=model, batch=batch)
    latents = torch.empty(1, *model.latent_shape(16, 16))
    expected = {kind: {rows_per_call(NetworkRequest(kind, latents))} for kind in ("decode", "denoise")}
    assert {kind: model.rows[kind] for kind in expected} == expected


def test_calls_of_large_latents_have_few_rows() -> None:
    counts = {side: rows_per_call(NetworkRequest("denoise", torch.empty(1, 4, side, side))) for side in (8, 64, 128)}
    assert counts == {8: 16, 64: 4, 128: 2}


def good(number: int) -> Row:
    return {"operation": "img2img", "image": image(number), "prompt": "red", "steps": 4, "seed": number}


BAD_ROWS: Mapping[str, tuple[Any, str]] = {
    "no mapping": (3, "InvalidParameter"),
    "no operation": ({"image": image(0)}, "InvalidParameter"),
    "an unknown operation": ({"operation": "img2imgs"}, "UnknownName"),
    "a misspelt parameter": ({**good(0), "prompts": "red"}, "InvalidParameter"),
    "a wrong value": ({**good(0), "strength": 7.0}, "InvalidParameter"),
    "two seeds": (EditRow("img2img", image(0), {"prompt": "red", "seed": 1}, seed=2), "InvalidParameter"),
    "a missing image": ({**good(0), "image": "missing.png"}, "BadImage"),
    "a damaged mask": ({**good(0), "operation": "inpaint", "mask": b"no image"}, "BadImage"),
    "a missing model": ({**good(0), "model": "./missing"}, "WeightsUnavailable"),
    "an image that fails the model": ({**good(0), "image": Image.new("RGB", (16, 16))}, "PluginFailure"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_a_bad_row_yields_its_error_and_others_go_on(kind: str) -> None:
    bad, error = BAD_ROWS[kind]
    results = outcomes([good(1), bad, good(2)], model=Counting())
    assert sorted(results) == [0, 1, 2]
    assert isinstance(results[1], EditkitError)
    assert type(results[1]).__name__ == error
    alone = outcomes([good(1), good(2)], model=Counting())
    assert [results[0].image.tobytes(), results[2].image.tobytes()] == [one.image.tobytes() for one in alone.values()]


@pytest.mark.parametrize("wrong", [{"rows": 5}, {"rows": {}}, {"batch": 0}, {"model": 5}, {"exact": 1}], ids=str)
def test_a_wrong_argument_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(editkit.InvalidParameter, match=f"^{next(iter(wrong))}="):
        editkit.edit_rows(**{"rows": [], **wrong})


def test_rows_are_read_as_far_as_needed() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Row]:
        for number in itertools.count():
            taken.append(number)
            yield good(number)

    results = editkit.edit_rows(endless(), model=ToyBackend(), batch=3)
    assert [number for number, _ in itertools.islice(results, 4)] == [0, 1, 2, 3]
    assert len(taken) <= 6


@pytest.mark.parametrize("kind", ["array", "image"])
def test_a_row_has_its_image_as_it_was_when_the_row_was_read(kind: str) -> None:
    buffer, canvas = np.zeros((16, 16, 3), np.uint8), Image.new("RGB", (16, 16))

    def frames() -> Iterator[Row]:
        for level in (10, 20, 30):
            buffer[:] = level
            canvas.paste((level,) * 3, (0, 0, 16, 16))
            yield {
                **good(0),
                "image": buffer if kind == "array" else canvas,
                "mask": buffer[..., 0] > 15,
                "strength": 0.0,
            }

    results = outcomes(frames(), model=ToyBackend(), batch=8)
    assert [results[number].image.getpixel((0, 0)) for number in range(3)] == [(10,) * 3, (20,) * 3, (30,) * 3]
    assert [results[number].report.mask_share for number in range(3)] == [0, 1, 1]


def test_a_file_that_changes_before_the_turn_of_its_row_is_the_error_of_the_row(tmp_path: Path) -> None:
    def frames() -> Iterator[Row]:
        for number in range(3):
            image(number).save(tmp_path / "frame.png")
            yield {**good(0), "image": tmp_path / "frame.png", "strength": 0.0}

    results = outcomes(frames(), model=ToyBackend(), batch=8)
    assert all("has changed since its row was read" in str(results[number]) for number in range(2))
    assert results[2].image.tobytes() == image(2).tobytes()


def test_rows_before_an_exception_of_their_iterator_are_edited() -> None:
    def rows() -> Iterator[Row]:
        yield from map(good, range(3))
        raise ConnectionError("the data base is gone")

    results = editkit.edit_rows(rows(), model=ToyBackend(), batch=2)
    assert [number for number, _ in itertools.islice(results, 3)] == [0, 1, 2]
    with pytest.raises(ConnectionError):
        next(results)


def test_few_rows_of_many_kinds_do_not_wait_without_end() -> None:
    rows = ({**good(number), "steps": 2 + number} for number in itertools.count())
    results = editkit.edit_rows(rows, model=ToyBackend(), batch=2)
    assert next(iter(results))[0] < 4


@pytest.mark.slow
def test_memory_holds_a_batch(tmp_path: Path) -> None:
    """12 images of 0.75 MB each are edited with the images of a batch of 2 in memory, and their copies."""
    for number in range(12):
        Image.new("RGB", (512, 512), (number, 0, 0)).save(tmp_path / f"{number}.png")
    row = {"operation": "img2img", "prompt": "red", "steps": 2, "resolution": 16, "seed": 0}
    rows = [{**row, "image": tmp_path / f"{number}.png"} for number in range(12)]
    peaks = []
    for count in (4, 12):
        tracemalloc.start()
        for _, result in editkit.edit_rows(rows[:count], model=ToyBackend(), batch=2):
            assert isinstance(result, editkit.Result)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2 * 2**20


def test_rows_have_models_of_their_own() -> None:
    models = [ToyBackend(), ToyBackend()]
    rows = [EditRow("img2img", image(n), {"prompt": "red", "steps": 4}, seed=n, model=models[n % 2]) for n in range(4)]
    results = outcomes(rows)
    assert [results[number].report.seed for number in range(4)] == [0, 1, 2, 3]


def test_models_of_rows_are_loaded_with_the_device_and_the_dtype(tiny_folder: Path) -> None:
    row = {"operation": "img2img", "image": image(0), "model": str(tiny_folder), "steps": 1}
    (result,) = outcomes([row], device="cpu", dtype="float64").values()
    assert result.report.dtype == "float64"
    (error,) = outcomes([row], device="nowhere").values()
    assert isinstance(error, EditkitError) and "nowhere" in str(error)
