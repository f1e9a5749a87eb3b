"""Runs yield the steps of an edit, whose previews change nothing, and can be cancelled."""

from __future__ import annotations

import _thread
import functools
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import editkit
from editkit import Cancelled, InvalidParameter, Step
from editkit.editing.steps.preview import preview_pixels
from editkit.images.tensors import to_tensor
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

IMAGE = sample_image((40, 24))
MASK = sample_image((40, 24)).convert("L").point(lambda level: 255 if level > 128 else 0)
EDITS: dict[str, dict[str, Any]] = {
    "generate": {"prompt": "red", "width": 16, "height": 16},
    "img2img": {"prompt": "red", "mask": MASK},
    "inpaint": {"prompt": "red", "mask": MASK},
    "prompt-edit": {"source": "red", "target": "blue", "inverter": "edit-friendly"},
    "flow-edit": {"source": "red", "target": "blue"},
    "invert": {"prompt": "red", "method": "fixed-point"},
    "upscale": {"strength": 0.5},
}


def start(operation: str, model: Any, **more: Any) -> editkit.Run[Any]:
    source = [] if operation == "generate" else [IMAGE]
    params = {"steps": 3, "seed": 0, "cache": False, "model": model, **EDITS[operation], **more}
    if operation == "invert":
        del params["seed"]
    return editkit.start(operation, *source, **params)


def bits(outcome: Any) -> bytes:
    value = outcome.noise.numpy() if isinstance(outcome, editkit.Inversion) else np.asarray(outcome.image)
    return value.tobytes()


@pytest.mark.parametrize("operation", EDITS)
def test_steps_and_their_previews_change_no_bit_of_the_result(operation: str) -> None:
    model, steps = ToyBackend(reduction=2), []
    run = start(operation, model)
    for step in run:
        image = step.preview()
        assert (image.mode, step.label in ("inverting", "fitting", "sampling", "upscaling")) == ("RGB", True)
        steps.append((step.label, step.index, step.total))
    assert all(total == 1 + max(index for label, index, _ in steps if label == own) for own, _, total in steps)
    assert bits(run.result) == bits(start(operation, ToyBackend(reduction=2)).result)


def test_the_points_of_steps_fall_while_sampling_and_rise_while_inverting() -> None:
    sigmas: dict[str, list[float]] = {}
    for step in start("prompt-edit", ToyBackend(), inverter="pinned"):
        assert step.point is not None
        sigmas.setdefault(step.label, []).append(step.point.sigma)
    assert sigmas["inverting"] == sorted(sigmas["inverting"])
    assert sigmas["sampling"] == sorted(sigmas["sampling"], reverse=True)


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_a_preview_of_a_linear_decoder_has_the_colours_that_it_decodes(reduction: int) -> None:
    model = ToyBackend(reduction=reduction)
    latents = model.encode(to_tensor(IMAGE))
    assert torch.allclose(preview_pixels(model, latents).double(), model.decode(latents), atol=1e-4)


def test_the_last_preview_of_a_model_of_pixels_is_its_result() -> None:
    run = start("generate", ToyBackend())
    *_, last = (step.preview() for step in run)
    assert np.abs(np.asarray(last, int) - np.asarray(run.result.image, int)).max() <= 1


def test_previews_in_lock_step_end_with_the_results_of_all_edits() -> None:
    images = [sample_image((16, 16)), sample_image((16, 16)).rotate(90), sample_image((16, 16)).rotate(180)]
    params = {"prompt": "red", "steps": 6, "seeds": [1, 2, 3], "model": ToyBackend()}
    run = editkit.start(editkit.apply_all, "img2img", images, **params)
    *_, last = ([one.preview() for one in step.together] for step in run)
    for image, result in zip(last, run.result, strict=True):
        assert np.abs(np.asarray(image, int) - np.asarray(result.image, int)).max() <= 1


def test_previews_of_an_interpolation_are_those_of_its_frames() -> None:
    run = editkit.start("interpolate", (IMAGE, IMAGE.rotate(180)), frames=3, steps=3, model=ToyBackend(), seed=0)
    *_, last = ([image.tobytes() for image in step.previews()] for step in run if step.label == "sampling")
    assert len(set(last)) == len(run.result.frames) == 3


def test_a_run_follows_every_edit_of_a_function_and_the_progress_of_its_own() -> None:
    seen: list[Step] = []

    def noting(steps: Iterator[Step], **_: Any) -> Iterator[Step]:
        for step in steps:
            seen.append(step)
            yield step

    steps = [("img2img", {"prompt": "red", "steps": 4}), ("img2img", {"prompt": "blue", "steps": 4})]
    run = editkit.start(editkit.Pipeline(steps), IMAGE, model=ToyBackend(), seed=0, progress=noting)
    assert list(run) == seen
    assert [step.index for step in seen] == [0, 1, 2, 0, 1, 2]


def test_an_error_of_an_edit_is_raised_by_the_iteration_and_by_the_result() -> None:
    run = editkit.start("img2img", IMAGE, model=ToyBackend(), prompt="red", strength=3.0)
    with pytest.raises(InvalidParameter, match="strength"):
        list(run)
    with pytest.raises(InvalidParameter, match="strength"):
        _ = run.result
    assert list(run) == []
    with pytest.raises(InvalidParameter, match="edit is int"):
        editkit.start(5)  # type: ignore[call-overload]


class _SlowBackend(ToyBackend):
    """Model that reports each network call and waits for permission."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.called, self.allowed = 0, threading.Event(), threading.Event()

    def denoise(self, *call: Any) -> Tensor:
        self.calls += 1
        self.called.set()
        assert self.allowed.wait(10)
        return super().denoise(*call)


def test_an_interrupt_cancels_the_run_that_is_waited_for() -> None:
    class Interrupting(ToyBackend):
        calls = 0

        def denoise(self, *call: Any) -> Tensor:
            self.calls += 1
            _thread.interrupt_main()
            return super().denoise(*call)

    model = Interrupting()
    run = start("img2img", model)
    with pytest.raises(Cancelled):
        list(run)
    assert (model.calls, run.is_done) == (1, True)


def start_rows(model: Any) -> editkit.Run[Any]:
    rows = [{"operation": "img2img", "image": IMAGE, "prompt": "red", "steps": 3, "seed": seed} for seed in range(3)]
    return editkit.start(lambda: list(editkit.edit_rows(rows, model=model)))


CANCELLED = {name: functools.partial(start, name) for name in ("prompt-edit", "upscale")} | {"rows": start_rows}


@pytest.mark.parametrize("name", CANCELLED)
def test_a_cancellation_from_another_thread_waits_for_one_network_call(name: str) -> None:
    model = _SlowBackend()
    run = CANCELLED[name](model)

    def cancel() -> None:
        assert model.called.wait(10)
        run.cancel()
        model.allowed.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        list(run)
    thread.join()
    assert (model.calls, run.is_done) == (1, True)


@pytest.mark.parametrize(
    "end", [editkit.Run.cancel, lambda run: run.__exit__(None, None, None)], ids=["cancel", "with"]
)
def test_a_run_that_waits_has_ended_when_it_is_cancelled(end: Callable[[editkit.Run[Any]], None]) -> None:
    for taken in (0, 1):
        run = start("img2img", ToyBackend(), steps=6)
        for _ in range(taken):
            next(run)
        end(run)
        assert run.is_done
        with pytest.raises(Cancelled):
            _ = run.result


@pytest.mark.slow
def test_threads_that_share_a_run_all_end() -> None:
    run, seen = start("img2img", ToyBackend(reduction=2), steps=6), []
    threads = [threading.Thread(target=lambda: seen.extend(run), daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert not any(thread.is_alive() for thread in threads)
    assert sorted(step.index for step in seen) == list(range(seen[0].total))
    assert bits(run.result) == bits(start("img2img", ToyBackend(reduction=2), steps=6).result)


def test_a_run_that_is_left_ends_its_thread() -> None:
    before = set(threading.enumerate())
    for _ in start("img2img", ToyBackend(), steps=6):
        break
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


@pytest.fixture
def controlled(tiny_model: Any, tiny_controlnet: Path) -> Callable[[], editkit.Run[Any]]:
    """A function that starts an edit with controls of the attention, of features, and of the inversion too."""
    attach = ("prompt-to-prompt", "plug-and-play", f"controlnet:weights={tiny_controlnet}")
    params = {"source": "a red apple", "target": "a red pear", "steps": 3, "seed": 0, "cache": False, "attach": attach}
    return lambda: editkit.start("prompt-edit", IMAGE, model=tiny_model, **params)


def hooks(model: Any) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.unet.modules())


@pytest.mark.slow
def test_previews_among_controls_change_no_bit_of_the_result(controlled: Callable[[], editkit.Run[Any]]) -> None:
    expected, run = controlled().result, controlled()
    images = [step.preview() for step in run]
    assert len(images) == 6
    assert bits(run.result) == bits(expected)


@pytest.mark.parametrize(("place", "label"), [(1, "inverting"), (4, "sampling")])
def test_a_cancelled_edit_leaves_nothing_of_its_controls(
    tiny_model: Any, controlled: Callable[[], editkit.Run[Any]], place: int, label: str
) -> None:
    def plain() -> bytes:
        return bits(editkit.apply("img2img", IMAGE, model=tiny_model, prompt="a pear", steps=2, strength=1.0, seed=0))

    before, expected = plain(), bits(controlled().result)
    run = controlled()
    assert [next(run).label for _ in range(place)][-1] == label
    assert (hooks(tiny_model) > 0) == (label == "sampling")
    run.cancel()
    assert (run.is_done, hooks(tiny_model)) == (True, 0)
    assert (plain(), bits(controlled().result)) == (before, expected)
