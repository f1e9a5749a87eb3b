"""Edits in several threads load once and give the pixels that each gives alone."""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

import editkit
from editkit.model import loading
from editkit.testing.suite import sample_image
from editkit.testing.tiny import (
    controlnet_folder,
    controlnet_xl_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
)

SOURCE = sample_image((24, 16))
THREADS = 4


def at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return the results of calls that start together, each in its own thread."""
    start = threading.Barrier(len(calls))

    def call(function: Callable[[], Any]) -> Any:
        start.wait(60)
        return function()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(call, calls))


def test_threads_that_name_one_new_model_load_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, register = stable_diffusion_folder(tmp_path), torch.nn.Module.register_parameter
    load, loads = loading.load_model, []

    def counted(*args: Any, **options: Any) -> editkit.Backend:
        loads.append(args)
        time.sleep(0.1)
        return load(*args, **options)

    monkeypatch.setattr(loading, "load_model", counted)
    options: dict[str, Any] = {"prompt": "red", "steps": 2, "seed": 1, "cache": False}
    results = at_once([lambda: editkit.apply("img2img", SOURCE, model=str(folder), **options)] * THREADS)
    assert len(loads) == 1
    assert len({result.image.tobytes() for result in results}) == 1
    assert torch.nn.Module.register_parameter is register


@pytest.fixture
def switching_often() -> Iterator[None]:
    """Let Python change between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
def test_threads_that_share_a_tokenizer_get_prompts_of_one_length(tiny_model: Any) -> None:
    """A prompt is also read without padding, for the warning of words that are cut."""
    encoder, tokens, done = tiny_model.texts["text_encoder"], [], threading.Event()

    def pad() -> None:
        tokens.extend(encoder.tokens(["a red apple"]).input_ids.shape for _ in range(300))
        done.set()

    def read() -> None:
        while not done.is_set():
            encoder.read("a red apple")

    at_once([pad, read])
    assert set(tokens) == {(1, encoder.length)}


@pytest.mark.slow
def test_threads_load_several_models_one_at_a_time(tmp_path: Path) -> None:
    folders = [stable_diffusion_folder(tmp_path / str(number), seed=number) for number in range(THREADS)]
    register, dtype = torch.nn.Module.register_parameter, torch.get_default_dtype()
    models = at_once([lambda folder=folder: editkit.load_model(folder) for folder in folders])  # type: ignore[misc]
    assert [model.identity for model in models] == [editkit.load_model(folder).identity for folder in folders]
    assert torch.nn.Module.register_parameter is register and torch.get_default_dtype() is dtype


def test_a_load_that_fails_is_tried_again_and_other_names_do_not_wait() -> None:
    loads: list[str] = []
    other = threading.Event()

    @editkit.load_once(maxsize=2)
    def load(name: str) -> str:
        loads.append(name)
        if name == "slow":
            assert other.wait(60)
        if name == "fast":
            other.set()
        if loads == ["broken"]:
            raise OSError("torn")
        return name

    with pytest.raises(OSError, match="torn"):
        load("broken")
    assert load("broken") == "broken"
    assert at_once([lambda: load("slow"), lambda: load("fast")]) == ["slow", "fast"]
    assert load("fast") == "fast" and loads.count("fast") == 1
    load.cache_clear()
    assert load("fast") == "fast" and loads.count("fast") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model_folder", "net_folder"),
    [(stable_diffusion_folder, controlnet_folder), (stable_diffusion_xl_folder, controlnet_xl_folder)],
    ids=["sd", "sdxl"],
)
def test_a_controlnet_steers_only_the_edit_that_attached_it(
    tmp_path: Path, model_folder: Callable[[Path], Path], net_folder: Callable[..., Path]
) -> None:
    model = editkit.load_model(model_folder(tmp_path / "model"))
    nets = [net_folder(tmp_path / f"net{seed}", seed=seed) for seed in (1, 2)]
    options: dict[str, Any] = {"prompt": "red", "steps": 3, "seed": 1, "cache": False, "strength": 1.0}

    def edit(index: int, **extra: Any) -> bytes:
        attach = (f"controlnet:kind=edge,scale=3,weights={nets[index]}",) if index < len(nets) else ()
        return bytes(editkit.apply("img2img", SOURCE, model=model, attach=attach, **options, **extra).image.tobytes())

    alone = [edit(index) for index in range(3)]
    assert len(set(alone)) == 3
    step = threading.Barrier(3)

    def in_turn(steps: Iterable[Any], **_: Any) -> Iterator[Any]:
        """A progress callback that lets all edits begin each step together."""
        for state in steps:
            step.wait(60)
            yield state
        step.wait(60)

    assert at_once([lambda index=index: edit(index, progress=in_turn) for index in range(3)]) == alone  # type: ignore[misc]
    assert model.controlnets == []  # type: ignore[attr-defined]


MODES = {
    "inference": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_torch_around_a_call_change_nothing(tmp_path: Path, mode: str) -> None:
    """A server may load and edit in the context of its own code, or load in it alone."""
    folder = stable_diffusion_folder(tmp_path / "model")
    options: dict[str, Any] = {"source": "red", "target": "blue", "steps": 2, "inverter": "null-text", "cache": False}
    plain = editkit.apply("prompt-edit", SOURCE, model=editkit.load_model(folder), **options).image.tobytes()
    with MODES[mode]():
        model = editkit.load_model(folder)
        within = editkit.apply("prompt-edit", SOURCE, model=model, **options).image.tobytes()
    assert within == plain == editkit.apply("prompt-edit", SOURCE, model=model, **options).image.tobytes()


def test_a_pipeline_that_was_loaded_in_inference_mode_is_edited_with(tmp_path: Path) -> None:
    folder = stable_diffusion_folder(tmp_path / "model")
    with torch.inference_mode():
        pipe = DiffusionPipeline.from_pretrained(folder)
    options: dict[str, Any] = {"prompt": "red", "steps": 2, "seed": 1}
    plain, shared = (
        editkit.apply("img2img", SOURCE, model=model, **options).image.tobytes()
        for model in (editkit.load_model(folder), editkit.from_pipe(pipe))
    )
    assert plain == shared


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_loaded_model_is_not_copied_to_another_process(tiny_model: Any, duplicate: Callable[[Any], Any]) -> None:
    with pytest.raises(editkit.InvalidParameter, match="cannot be pickled or copied: give its name or folder"):
        duplicate(tiny_model)
    result = editkit.apply("img2img", SOURCE, model=tiny_model, prompt="red", steps=2, seed=1)
    assert pickle.loads(pickle.dumps(result)).image == result.image
