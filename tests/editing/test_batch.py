"""Edits of several images in one call, and the cached round trip of an image that was edited before."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import editkit
from editkit import Control, InvalidParameter
from editkit.model import autoencoder_cache
from editkit.model.batching import run_in_lock_step
from editkit.testing import ToyBackend

STEPS = 4
EDITS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "red", "strength": 0.5, "sampler": "dpmpp-2m-sde", "guidance": 2.0},
    "prompt-edit": {"source": "red", "target": "blue", "inverter": "edit-friendly", "guidance": 2.0},
    "inpaint": {"prompt": "red", "mask": Image.new("L", (8, 8), 255).resize((16, 16))},
    "invert": {"prompt": "red"},
}


class Counting(ToyBackend):
    """Counts the rows of every call, and does not like one colour."""

    def __init__(self, refused: float = -1.0) -> None:
        super().__init__()
        self.rows: dict[str, list[int]] = {"encode": [], "decode": [], "denoise": []}
        self.refused = refused

    def encode(self, pixels: Tensor) -> Tensor:
        self.rows["encode"].append(len(pixels))
        return super().encode(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        self.rows["decode"].append(len(latents))
        return super().decode(latents)

    def denoise(self, x: Tensor, *requests: Any) -> Tensor:
        self.rows["denoise"].append(len(x))
        return super().denoise(x, *requests)

    def latent_shape(self, width: int, height: int) -> tuple[int, int, int]:
        if width == self.refused:
            raise ValueError("refused")
        return super().latent_shape(width, height)


def image(number: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    random = np.random.default_rng(number)
    return Image.fromarray(random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


IMAGES = [image(number) for number in range(5)]


def values(result: Any) -> list[Any]:
    if isinstance(result, editkit.Inversion):
        return [result.trajectory.tolist(), result.report.network_samples]
    return [result.image.tobytes(), result.report.network_calls, result.report.network_samples, result.report.seed]


@pytest.mark.parametrize("operation", EDITS)
@pytest.mark.parametrize("batch", [1, 2, 16])
def test_each_image_of_a_batch_equals_its_single_edit(operation: str, batch: int) -> None:
    arguments = {"steps": STEPS, "seed": 3, "cache": False, **EDITS[operation]}
    alone = [editkit.apply(operation, one, model=ToyBackend(), **arguments) for one in IMAGES]
    together = editkit.apply_all(operation, IMAGES, model=ToyBackend(), batch=batch, **arguments)
    assert [values(one) for one in together] == [values(one) for one in alone]


def test_the_model_is_called_once_for_the_whole_batch() -> None:
    model = Counting()
    arguments = {"model": model, "prompt": "red", "strength": 0.9, "steps": STEPS, "seed": 0, "exact": False}
    results = editkit.apply_all("img2img", IMAGES, **arguments)
    assert model.rows["encode"] == [5]
    assert model.rows["decode"] == [5, 5]  # the results and the sources
    assert len(model.rows["denoise"]) == results[0].report.network_calls
    assert sum(model.rows["denoise"]) == sum(result.report.network_samples for result in results)


def test_a_batch_accepts_several_sizes_and_path_lengths() -> None:
    arguments = {"prompt": "red", "steps": STEPS, "seed": 1, "source": "blue", "target": "red", "guidance": 1.0}
    images = [IMAGES[0], image(7, (16, 8)), IMAGES[1], image(8, (16, 8))]
    del arguments["prompt"]
    model = Counting()
    together = editkit.apply_all("prompt-edit", images, model=model, exact=False, **arguments)
    assert [one.image.size for one in together] == [one.size for one in images]
    assert model.rows["encode"] == [2, 2]
    for one, result in zip(images, together, strict=True):
        assert values(result) == values(editkit.apply("prompt-edit", one, model=ToyBackend(), **arguments))


def test_each_edit_of_a_batch_takes_its_own_seed() -> None:
    arguments = {"model": ToyBackend(), "prompt": "red", "steps": STEPS}
    drawn = editkit.apply_all("generate", [None] * 3, seeds=[4, 5, 4], **arguments)
    assert [one.report.seed for one in drawn] == [4, 5, 4]
    assert values(drawn[0]) == values(drawn[2]) != values(drawn[1])
    with pytest.raises(InvalidParameter, match="2 are given for 1 images"):
        editkit.apply_all("generate", [None], seeds=[1, 2], **arguments)
    with pytest.raises(InvalidParameter, match="batch=0"):
        editkit.apply_all("generate", [None], batch=0, **arguments)
    assert editkit.apply_all("img2img", [], model=ToyBackend()) == []


def test_several_targets_of_one_inversion_share_their_network_calls() -> None:
    model, names = Counting(), ("green", "blue", "white")
    inversion = editkit.invert(IMAGES[0], model=model, prompt="red", steps=STEPS)
    arguments: dict[str, Any] = {"model": model, "guidance": 2.0, "seed": 1}
    alone = [editkit.apply("prompt-edit", inversion, target=name, **arguments) for name in names]
    model.rows["denoise"].clear()
    targets = [{"target": name} for name in names]
    together = editkit.apply_all("prompt-edit", [inversion] * 3, each=targets, exact=False, **arguments)
    assert len(model.rows["denoise"]) == STEPS
    assert sum(model.rows["denoise"]) == sum(one.report.network_samples for one in alone)
    assert [values(one) for one in together] == [values(one) for one in alone]
    assert [one.recipe for one in together] == [one.recipe for one in alone]


def test_a_parameter_of_each_image_stands_in_one_place() -> None:
    for given, named in (({"prompt": "red"}, "prompt is given in each"), ({"seeds": [1]}, "seed is given in each")):
        with pytest.raises(InvalidParameter, match=f"^{named} and for all images"):
            editkit.apply_all("img2img", IMAGES[:1], model=Counting(), each=[{"prompt": "blue", "seed": 2}], **given)
    with pytest.raises(InvalidParameter, match="each: 1 are given for 2 images"):
        editkit.apply_all("img2img", IMAGES[:2], model=Counting(), each=[{"seed": 2}])


def test_an_error_in_one_edit_is_raised_and_stops_the_batch() -> None:
    before = threading.active_count()
    arguments = {"prompt": "red", "steps": STEPS, "seed": 0, "resolution": 16}
    with pytest.raises(ValueError, match="refused"):
        editkit.apply_all("img2img", [*IMAGES, image(9, (8, 16))], model=Counting(refused=8), **arguments)
    assert threading.active_count() == before


def interrupted(steps: Iterable[Any], **_: Any) -> Iterator[Any]:
    yield next(iter(steps))
    raise KeyboardInterrupt


def test_a_cancelled_batch_leaves_nothing_behind() -> None:
    before = threading.active_count()
    arguments = {"prompt": "red", "steps": STEPS, "seed": 0}
    with pytest.raises(editkit.Cancelled):
        editkit.apply_all("img2img", IMAGES, model=ToyBackend(), progress=interrupted, **arguments)
    assert threading.active_count() == before


class Shift(Control):
    """Moves all that a model answers, as long as it is attached."""

    @contextlib.contextmanager
    def attach(self, backend: Any) -> Iterator[None]:
        whole = backend.model
        whole.denoise = lambda *requests: 0.5 + type(whole).denoise(whole, *requests)
        try:
            yield
        finally:
            del whole.denoise


def attached(session_of: Any, model: Any) -> Tensor:
    """Draw with something attached or without."""
    from editkit.model.batching import exclusive

    x = torch.ones(1, 3, 2, 2, dtype=torch.float64)
    control, point = session_of, editkit.Point(0.6, 0.8)
    with exclusive(model) if control else contextlib.nullcontext(), (control or Control()).attach(model):
        for _ in range(3):
            x = model.denoise(x, point, model.embed(["red"]))
    return x


def test_controls_of_one_edit_do_not_affect_another() -> None:
    (plain,) = (one for _, one in run_in_lock_step(ToyBackend(), [functools.partial(attached, None)]))
    edits = [functools.partial(attached, control) for control in (None, Shift(), None)]
    outcomes = dict(run_in_lock_step(ToyBackend(), edits))
    assert torch.equal(outcomes[0], plain)
    assert torch.equal(outcomes[2], plain)
    assert not torch.equal(outcomes[1], plain)


def test_gradients_are_recorded_only_in_the_edit_that_needs_them() -> None:
    def slope(model: Any) -> Tensor:
        text = model.embed(["red"])["text"].requires_grad_()
        with torch.enable_grad():
            output = model.denoise(torch.ones(1, 3, 2, 2, dtype=torch.float64), editkit.Point(0.6, 0.8), {"text": text})
        (found,) = torch.autograd.grad(output.sum(), text)
        return found

    outcomes = dict(run_in_lock_step(ToyBackend(), [slope, slope]))
    assert all(isinstance(one, Tensor) and bool((one != 0).all()) for one in outcomes.values())


# The round trip of an image


def test_an_image_is_encoded_and_decoded_once() -> None:
    model = Counting()
    edit = functools.partial(editkit.apply, "img2img", model=model, prompt="red", steps=STEPS)
    first = edit(IMAGES[0], seed=0)
    again = edit(IMAGES[0], seed=0)
    assert model.rows["encode"] == [1]
    assert model.rows["decode"] == [1, 1, 1]  # the source once, the result twice
    assert values(again) == values(first)
    edit(IMAGES[1], seed=0)
    assert model.rows["encode"] == [1, 1]


def test_a_second_batch_reuses_the_round_trips_of_the_first() -> None:
    model = Counting()
    arguments: dict[str, Any] = {"model": model, "prompt": "red", "steps": STEPS, "seed": 0, "exact": False}
    edit = functools.partial(editkit.apply_all, "img2img", IMAGES, **arguments)
    first, again = edit(), edit()
    assert [values(one) for one in again] == [values(one) for one in first]
    assert model.rows["encode"] == [5]
    assert model.rows["decode"] == [5, 5, 5]
    editkit.apply("img2img", IMAGES[0], model=model, prompt="red", steps=STEPS)
    assert model.rows["encode"] == [5, 1]  # alone its last bits may be others


def test_cached_round_trips_stay_within_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoencoder_cache, "ROUND_TRIPS", [])
    monkeypatch.setattr(autoencoder_cache, "MOST_VALUES", 2 * 3 * 16 * 16)
    model = ToyBackend()
    for one in IMAGES:
        editkit.apply("img2img", one, model=model, prompt="red", steps=STEPS)
        assert 0 < sum(trip.sources.numel() for trip in autoencoder_cache.ROUND_TRIPS) <= autoencoder_cache.MOST_VALUES
    editkit.apply("img2img", image(0, (16, 48)), model=model, prompt="red", steps=STEPS, resolution=48)
    assert autoencoder_cache.ROUND_TRIPS == []


def test_another_model_does_not_share_the_round_trip_of_an_image() -> None:
    models = [Counting(), Counting()]
    for model in models:
        editkit.apply("img2img", IMAGES[0], model=model, prompt="red", steps=STEPS)
        assert model.rows["encode"] == [1]
