"""One model in many edits: threads at once, hundreds in a row, and edits after cancelled and failed ones."""

from __future__ import annotations

import functools
import gc
import resource
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from reliability_outcomes import Outcomes

import editkit
from editkit import Backend, Cancelled
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

pytestmark = [pytest.mark.reliability, pytest.mark.slow]

SIZE = (16, 12)
SOURCE = sample_image(SIZE)
MASK = Image.new("L", SIZE, 255)
EDITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "img2img": (SOURCE, {"prompt": "a red apple"}),
    "generate": (None, {"prompt": "a red apple"}),
    "inpaint": (SOURCE, {"prompt": "a red apple", "mask": MASK}),
    "outpaint": (SOURCE, {"prompt": "a red apple", "right": 5}),
    "prompt-edit": (SOURCE, {"source": "a red apple", "target": "a green apple"}),
    "flow-edit": (SOURCE, {"source": "a red apple", "target": "a green apple"}),
    "few-step-edit": (SOURCE, {"source": "a red apple", "target": "a green apple"}),
    "chord-edit": (SOURCE, {"source": "a red apple", "target": "a green apple"}),
    "uni-edit": (SOURCE, {"source": "a red apple", "target": "a green apple"}),
    "instruct": (SOURCE, {"instruction": "make it green", "source": "a red apple"}),
    "interpolate": ((SOURCE, sample_image(SIZE, seed=1)), {"frames": 2}),
    "upscale": (SOURCE, {"strength": 0.5}),
}
SAMPLED = {name: edit for name, edit in EDITS.items() if name != "few-step-edit"}
"""Edits that any model of text and images makes."""


def pixels(operation: str, model: Backend, **further: Any) -> bytes:
    source, params = EDITS[operation]
    arguments = {"steps": 3, "seed": 7, "cache": False, **params, **further}
    edited: editkit.Result = editkit.apply(operation, source, model=model, **arguments)
    return edited.image.tobytes()


def controlled(weights: Path, model: Backend) -> bytes:
    source, _ = EDITS["img2img"]
    arguments: dict[str, Any] = {"prompt": "a red apple", "controlnet": str(weights), "steps": 3, "seed": 7}
    edited: editkit.Result = editkit.apply("control", source, model=model, **arguments)
    return edited.image.tobytes()


def test_threads_on_one_model_give_what_each_edit_gives_alone(
    probe: Any, long: bool, tiny_model: Backend, tiny_controlnet: Path
) -> None:
    edits = [functools.partial(pixels, name, tiny_model) for name in SAMPLED]
    edits += [functools.partial(controlled, tiny_controlnet, tiny_model)] * 2
    alone = [edit() for edit in edits]
    with probe("threads on one model") as tally, ThreadPoolExecutor(4) as pool:
        for _ in range(10 if long else 3):
            for edit, reference, together in zip(edits, alone, pool.map(lambda edit: edit(), edits), strict=True):
                tally.count("right" if together == reference else "silent wrong", str(edit))


def resources() -> tuple[int, int]:
    """Number of threads and of open files of this process."""
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_hundreds_of_edits_leave_no_memory_thread_or_file(probe: Any, long: bool, tiny_model: Backend) -> None:
    count = 230 if long else 23
    names = list(SAMPLED)
    run = functools.partial(pixels, model=tiny_model, steps=1)
    reference = {name: run(name) for name in names}
    for name in names:  # what is loaded and cached at first use
        run(name)
    gc.collect()
    before, peak = resources(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with probe("edits in a row") as tally:
        for _ in range(count):
            for name in names:
                tally.count("right" if run(name) == reference[name] else "silent wrong", name)
        gc.collect()
        growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
        tally.count("right" if resources() == before else "lost", f"threads, files: {before}, then {resources()}")
        tally.count("right" if growth < 40 else "lost", f"memory grew by {growth:.0f} MB")


class Stop(Exception):
    """An exception of the caller."""


def failing(error: BaseException, at: int) -> Callable[..., Iterator[Any]]:
    def progress(steps: Iterable[Any], **_: Any) -> Iterator[Any]:
        for number, step in enumerate(steps):
            if number == at:
                raise error
            yield step

    return progress


@pytest.mark.parametrize("operation", EDITS)
def test_edits_after_cancelled_and_failed_ones_are_the_same(operation: str, probe: Any) -> None:
    model = ToyBackend()
    further = {"sampler": "lcm"} if operation == "few-step-edit" else {}
    run = functools.partial(pixels, operation, model, **further)
    reference, before = run(), threading.active_count()
    with probe(f"after failures: {operation}") as tally:
        for error in (KeyboardInterrupt(), Stop(), SystemExit(3), MemoryError()):
            for at in range(3):
                count_failure(
                    tally,
                    f"{type(error).__name__} at step {at}",
                    error,
                    functools.partial(run, progress=failing(error, at)),
                )
                tally.count("right" if run() == reference else "lost", f"the edit after {error!r} at step {at}")
        tally.count("right" if threading.active_count() == before else "lost", "threads")


def count_failure(tally: Outcomes, label: str, error: BaseException, run: Callable[[], bytes]) -> None:
    """Count an edit in which the caller's progress raises: an interrupt cancels it, the rest is passed on."""
    try:
        run()
    except BaseException as raised:
        expected = Cancelled if isinstance(error, KeyboardInterrupt) else (type(error), editkit.EditkitError)
        tally.count("refused" if isinstance(raised, expected) else "untyped", f"{label}: {raised!r}")
    else:
        tally.count("right", label)  # it has fewer steps


def test_models_load_alike_from_many_threads(probe: Any, tiny_folder: Path) -> None:
    def load_and_edit(_: int) -> bytes:
        return pixels("img2img", editkit.load_model(str(tiny_folder)))

    reference = load_and_edit(0)
    with probe("loading from threads") as tally, ThreadPoolExecutor(4) as pool:
        for edited in pool.map(load_and_edit, range(8)):
            tally.count("right" if edited == reference else "silent wrong", "an edit of a model loaded beside others")
