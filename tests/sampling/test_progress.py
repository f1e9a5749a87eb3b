"""A progress function shows a loop; one that ends early cancels it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import editkit
from editkit import Cancelled, InvalidParameter
from editkit.sampling.progress import show_progress
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

Progress = Callable[..., Any]
STEPS = 5
COMPLETE: dict[str, Progress] = {
    "unchanged": lambda steps, **_: steps,
    "list": lambda steps, **_: list(steps),
    "zip that sees the end": lambda steps, total, **_: (step for step, _ in zip(steps, range(total), strict=False)),
    "zip that counts itself": lambda steps, total, **_: (step for _, step in zip(range(total), steps, strict=False)),
}
EARLY: dict[str, Progress] = {
    "nothing": lambda steps, **_: (),
    "islice": lambda steps, **_: itertools.islice(steps, 2),
    "zip that drops a step": lambda steps, **_: (step for step, _ in zip(steps, range(2), strict=False)),
    "without the last": lambda steps, total, **_: itertools.islice(steps, total - 1),
}
WRONG: dict[str, Progress] = {
    "none": lambda steps, **_: None,
    "numbers": lambda steps, **_: range(len(list(steps))),
    "every second": lambda steps, **_: itertools.islice(steps, 0, None, 2),
    "without total": lambda steps: steps,
    "no arguments": lambda: None,
}


def count(finished: list[bool]) -> Iterator[str]:
    for number in range(STEPS):
        yield f"step {number}"
    finished.append(True)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_complete_progress_gives_every_step_and_ends_the_loop(name: str) -> None:
    finished: list[bool] = []
    assert len(list(show_progress(COMPLETE[name], count(finished), STEPS, "counting"))) == STEPS
    assert finished == [True]


@pytest.mark.parametrize("name", EARLY)
def test_a_progress_that_ends_early_is_a_cancellation(name: str) -> None:
    with pytest.raises(Cancelled, match=f"of {STEPS} steps"):
        list(show_progress(EARLY[name], count([]), STEPS, "counting"))


@pytest.mark.parametrize("name", WRONG)
def test_a_progress_of_other_items_is_refused(name: str) -> None:
    with pytest.raises(InvalidParameter, match="progress"):
        list(show_progress(WRONG[name], count([]), STEPS, "counting"))


LOOPS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "red"},
    "prompt-edit": {"source": "red", "target": "blue"},
    "invert": {"prompt": "red"},
    "upscale": {"strength": 0.5, "resolution": 8},
}


@pytest.mark.parametrize("operation", LOOPS)
def test_no_operation_returns_a_half_finished_image(operation: str) -> None:
    params = {"steps": 4, "seed": 0, "cache": False, "model": ToyBackend(), **LOOPS[operation]}
    with pytest.raises(Cancelled):
        editkit.apply(operation, sample_image((16, 16)), progress=EARLY["islice"], **params)


class OwnError(Exception):
    pass


def test_an_exception_of_the_callers_progress_is_raised_unchanged_by_every_edit() -> None:
    def failing(steps: Iterator[Any], **_: Any) -> Iterator[Any]:
        yield next(steps)
        raise OwnError

    image, call = sample_image((16, 16)), {"model": ToyBackend(), "prompt": "red", "steps": 4, "progress": failing}
    moving = editkit.Animation((image, sample_image((16, 16), seed=1)), (100.0, 100.0))
    edits: list[Callable[[], Any]] = [
        lambda: editkit.apply("img2img", image, **call),
        lambda: editkit.apply("img2img", image, **{**call, "progress": functools.partial(failing)}),
        lambda: editkit.apply_all("img2img", [image, image], **call),
        lambda: editkit.apply_to_animation("img2img", moving, **call),
    ]
    for edit in edits:
        with pytest.raises(OwnError):
            edit()
