"""An operation that breaks the contract of a plugin is a PluginFailure that names it; other errors pass unchanged."""

from __future__ import annotations

import dataclasses as dc
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import editkit
from editkit import BadImage, Cancelled, Edit, EditkitError, Inverter, PixelEdit, PluginFailure, Session, ddim_step
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.checks import run_suite
from editkit.testing.suite import sample_image
from editkit.testing.suites import suite_of

SOURCE = sample_image((16, 12))


def edited(session: Session, **changes: Any) -> Edit:
    return dc.replace(Edit(session.latents, reconstructed=session.latents), **changes)


def raise_error(error: BaseException) -> Any:
    raise error


BROKEN: dict[str, tuple[Callable[[Session], Any], str]] = {
    "None": (lambda session: None, "returned NoneType, not an Edit"),
    "an image": (lambda session: session.images[0], "returned Image, not an Edit"),
    "a tensor": (lambda session: session.latents, "returned Tensor, not an Edit"),
    "latents as list": (lambda session: edited(session, latents=[1.0]), "latents as list"),
    "latents of one row": (lambda session: edited(session, latents=session.latents[0]), "latents of shape 3 x"),
    "no rows": (lambda session: edited(session, latents=session.latents[:0]), "latents of shape 0 x"),
    "other channels": (lambda session: edited(session, latents=session.latents[:, :2]), "latents of shape 1 x 2 x"),
    "other size": (lambda session: edited(session, latents=session.latents[..., :5]), "latents of shape"),
    "integers": (lambda session: edited(session, latents=session.latents.long()), "of torch.int64"),
    "NaN latents": (lambda session: edited(session, latents=session.latents * math.nan), "with NaN or infinity"),
    "NaN source": (lambda session: edited(session, reconstructed=session.latents / 0), "reconstructed .* NaN or inf"),
    "two types": (lambda session: edited(session, latents=session.latents.float()), "float32 and recon.*float64"),
    "two sources": (lambda session: edited(session, reconstructed=session.latents.repeat(2, 1, 1, 1)), "reconstructed"),
    "shares of 2": (lambda session: edited(session, shares=torch.full((1, 1), 2.0)), "shares .* sum to 1"),
    "shares of 2 sources": (lambda session: edited(session, shares=torch.full((1, 2), 0.5)), "shares of shape 1 x 2"),
    "NaN shares": (lambda session: edited(session, shares=torch.full((1, 1), math.nan)), "shares with NaN"),
    "kept of 2": (lambda session: edited(session, kept=2.0), r"kept=2.0, which is not in \[0, 1\]"),
    "pixels of 255": (lambda session: PixelEdit(session.pixels * 255), r"not \[0, 1\]"),
    "grey pixels": (lambda session: PixelEdit(session.pixels[:, :1]), "pixels of shape 1 x 1 x"),
    "larger pixels": (lambda session: PixelEdit(session.pixels.repeat(1, 1, 2, 2)), "pixels of shape 1 x 3 x 24 x 32"),
    "NaN pixels": (lambda session: PixelEdit(session.pixels + math.nan), "pixels with NaN"),
    "another place": (lambda session: PixelEdit(session.pixels, place=(1, 0)), "placed the source at"),
    "written pixels": (
        lambda session: edited(session, kept=0.0 * session.pixels.mul_(0.5).mean()),
        "wrote into the pix",
    ),
    "ValueError": (lambda session: raise_error(ValueError("five")), "failed: ValueError: five"),
    "KeyError": (lambda session: session.registry.specs["moons"], "failed: KeyError: 'moons'"),
    "assertion": (lambda session: raise_error(AssertionError()), "failed: AssertionError"),
    "of torch": (lambda session: torch.cat([torch.zeros(2), torch.zeros(2, 2)]), "failed: RuntimeError: Tensors must"),
}


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Session], Any]], None]:
    """A function that puts an operation in the place of img2img."""
    specs = installed().specs["operations"]

    def put(operation: Callable[[Session], Any]) -> None:
        replaced = dc.replace(specs["img2img"], load=lambda: lambda session, params: operation(session))
        monkeypatch.setitem(specs, "img2img", replaced)

    return put


@pytest.mark.parametrize("case", BROKEN)
def test_an_operation_that_breaks_its_contract_is_named(case: str, register: Callable[..., None]) -> None:
    operation, message = BROKEN[case]
    register(operation)
    with pytest.raises(PluginFailure, match=rf"^operation 'img2img' of plugin 'img2img' .*{message}") as failure:
        editkit.apply("img2img", SOURCE, model=ToyBackend())
    assert len(str(failure.value).splitlines()) == 1


MODELS: dict[str, tuple[str, Callable[..., Any], str]] = {
    "denoise, fewer rows": (
        "denoise",
        lambda x0: x0[..., :-1, :],
        r"denoise\(\) .* 10 x 16 .* 11 x 16",
    ),
    "denoise, None": ("denoise", lambda x0: None, r"denoise\(\) .* returned a NoneType, not a tensor"),
    "denoise, half": ("denoise", lambda x0: x0.half(), r"denoise\(\) .* in float16, not"),
    "encode, shape": ("encode", lambda latents: latents[:, :2], r"encode\(\) .* 1 x 2 x 11 x 16 .* 1 x 3 x 11 x 16"),
    "decode, array": ("decode", lambda pixels: pixels.numpy(), r"decode\(\) .* returned a ndarray, not a tensor"),
    "decode, shape": ("decode", lambda pixels: pixels[..., :-1], r"decode\(\) .* 11 x 15"),
    "embed, None": ("embed", lambda condition: None, r"embed\(\) .* tensors of 1 rows"),
    "embed, rows": ("embed", lambda condition: {k: torch.cat([v, v]) for k, v in condition.items()}, r"embed\(\)"),
}


@pytest.mark.parametrize("case", MODELS)
@pytest.mark.parametrize("operation", ["img2img", "prompt-edit"])
def test_a_model_that_breaks_its_contract_is_named(case: str, operation: str) -> None:
    method, change, message = MODELS[case]

    class Broken(ToyBackend):
        pass

    original = getattr(ToyBackend, method)
    setattr(Broken, method, lambda self, *given: change(original(self, *given)))
    texts = {"prompt": "a"} if operation == "img2img" else {"source": "a", "target": "b"}
    with pytest.raises(PluginFailure, match=message) as failure:
        editkit.apply(operation, sample_image((20, 14)), model=Broken(), steps=3, **texts)
    assert "'toy'" in str(failure.value) and "operation" not in str(failure.value)


def test_a_network_that_writes_into_its_input_is_named() -> None:
    class Writing(ToyBackend):
        def denoise(self, x: Tensor, point: Any, condition: Any) -> Tensor:
            return x.mul_(0.9)

    with pytest.raises(PluginFailure, match=r"denoise\(\) of the model 'toy' wrote into x"):
        editkit.apply("img2img", SOURCE, model=Writing(), prompt="a", steps=3)


class ShortInverter(Inverter):
    def invert(self, denoise: Any, x0: Tensor, path: Any, noise: Any = None) -> Iterator[Tensor]:
        yield denoise(x0, path[0])


class KeepingInverter(Inverter):
    """DDIM inversion that adds to each image what it keeps of the one before."""

    def __init__(self) -> None:
        self.kept: Tensor | float = 0.0

    def invert(self, denoise: Any, x0: Tensor, path: Any, noise: Any = None) -> Iterator[Tensor]:
        x = x0 + self.kept
        for p, q in itertools.pairwise(path):
            x = ddim_step(x, denoise(x, p), p, q)
            yield x
        self.kept = 0.01


def test_an_inverter_that_keeps_state_fails_its_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = installed().specs["inverters"]
    monkeypatch.setitem(specs, "ddim", dc.replace(specs["ddim"], load=lambda: lambda params: KeepingInverter()))
    outcomes = {check.check.partition(": ")[2]: check for check in run_suite(suite_of("inverters", "ddim"))}
    assert outcomes["each inversion starts afresh"].outcome == "failed"
    assert "a second inversion by the same inverter" in outcomes["each inversion starts afresh"].detail
    assert outcomes["does not modify its input"].outcome == "passed"


STATES = {
    "None": (lambda denoise, x, *_: None, "made a NoneType, not latents of shape 1 x 3 x 12 x 16 in float64"),
    "an array": (lambda denoise, x, *_: x.numpy(), "made a ndarray"),
    "fewer channels": (lambda denoise, x, p, *_: denoise(x, p)[:, :2], "made latents of shape 1 x 2 x 12 x 16"),
    "another type": (lambda denoise, x, p, *_: denoise(x, p).float(), "in float32, not latents"),
}


@pytest.mark.parametrize("case", STATES)
def test_a_step_of_a_sampler_that_makes_no_latents_is_named(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step, message = STATES[case]
    specs = installed().specs["samplers"]
    monkeypatch.setitem(specs, "euler", dc.replace(specs["euler"], load=lambda: lambda params: step))
    with pytest.raises(PluginFailure, match=f"test_plugin_contract.*{message}"):
        editkit.apply("img2img", SOURCE, model=ToyBackend(), prompt="x", steps=4, sampler="euler")


def test_an_inverter_that_ends_early_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = installed().specs["inverters"]
    monkeypatch.setitem(specs, "ddim", dc.replace(specs["ddim"], load=lambda: lambda params: ShortInverter()))
    with pytest.raises(PluginFailure, match="ShortInverter made 1 states in the 4 steps"):
        editkit.apply("prompt-edit", SOURCE, model=ToyBackend(), source="a", target="b", steps=4, inverter="ddim")


MAPS = {
    "a PIL image": (lambda image: image, "returned a Image, not an array"),
    "bytes": (lambda image: np.zeros(image.size[::-1], np.uint8), "levels of uint8"),
    "another size": (lambda image: np.zeros((3, 3), np.float32), r"shape \(3, 3\) for an image of 16 x 12"),
    "of 255": (lambda image: np.full(image.size[::-1], 255.0), r"levels in \[255, 255\]"),
    "NaN": (lambda image: np.full(image.size[::-1], np.nan), r"levels in \[nan, nan\]"),
}


@pytest.mark.parametrize("case", MAPS)
def test_an_annotator_that_makes_no_map_is_named(
    case: str, monkeypatch: pytest.MonkeyPatch, tiny_model: Any, tiny_controlnet: Path
) -> None:
    annotator, message = MAPS[case]
    specs = installed().specs["annotators"]
    monkeypatch.setitem(specs, "edge", dc.replace(specs["edge"], load=lambda: lambda params: annotator))
    with pytest.raises(PluginFailure, match=f"^annotator 'edge' of plugin 'annotators' .*{message}"):
        editkit.apply("control", SOURCE, model=tiny_model, prompt="x", steps=2, controlnet=str(tiny_controlnet))


RETURNED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "control": ("controls", "deep-cache", {"attach": ["deep-cache"]}, "returned NoneType, not a Control"),
    "captioner": ("captioners", "transformers", {"captioner": "transformers:model=x"}, "returned NoneType, not a text"),
    "segmenter": ("segmenters", "clipseg", {"mask": "words:hat", "segmenter": "clipseg:model=x"}, "returned NoneType"),
}


@pytest.mark.parametrize("case", RETURNED)
def test_what_another_kind_returns_beside_its_contract_is_named(
    case: str, monkeypatch: pytest.MonkeyPatch, tiny_model: Any
) -> None:
    kind, name, params, message = RETURNED[case]
    spec = installed().specs[kind][name]
    monkeypatch.setitem(
        installed().specs[kind], name, dc.replace(spec, load=lambda: lambda options: lambda *given: None)
    )
    operation, prompts = ("instruct", {"instruction": "make it red"}) if case == "captioner" else ("img2img", {})
    with pytest.raises(PluginFailure, match=f"^{kind[:-1]} '{name}' of plugin .*{message}"):
        editkit.apply(operation, SOURCE, model=tiny_model, steps=2, **prompts, **params)


def test_functions_of_specs_that_raise_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
        ("operations", "img2img", {"size": lambda params, size: 1 / 0}, {}),
        ("operations", "img2img", {"size": lambda params, size: "large"}, {}),
        ("controls", "deep-cache", {"check": lambda options: 1 / 0}, {"attach": ["deep-cache"]}),
        (
            "segmenters",
            "clipseg",
            {"load": lambda: lambda options: lambda *given: 1 / 0},
            {"mask": "words:hat", "segmenter": "clipseg:model=x"},
        ),
    ]
    for kind, name, changes, params in cases:
        with monkeypatch.context() as patched:
            patched.setitem(installed().specs[kind], name, dc.replace(installed().specs[kind][name], **changes))
            with pytest.raises(PluginFailure, match=f"^{kind[:-1]} '{name}' of plugin .* failed: "):
                editkit.apply("img2img", SOURCE, model=ToyBackend(), steps=2, **params)


def test_the_plugin_whose_code_raised_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editkit_img2img.operation.redraw", lambda *_: raise_error(ValueError("five")))
    with pytest.raises(PluginFailure, match=r"failed: ValueError: five, raised in plugin 'img2img' \(editkit_img2img"):
        editkit.apply("img2img", SOURCE, model=ToyBackend())


@pytest.mark.parametrize("error", [BadImage("grey"), Cancelled("cancelled"), SystemExit(3)])
def test_errors_of_editkit_and_exits_pass_unchanged(error: BaseException, register: Callable[..., None]) -> None:
    register(lambda session: raise_error(error))
    with pytest.raises(type(error)) as raised:
        editkit.apply("img2img", SOURCE, model=ToyBackend())
    assert raised.value is error


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_lack_of_memory_blames_no_plugin(error: Exception, register: Callable[..., None]) -> None:
    register(lambda session: raise_error(error))
    with pytest.raises(EditkitError, match="not enough memory to edit at 16x12 pixels on cpu") as raised:
        editkit.apply("img2img", SOURCE, model=ToyBackend())
    assert not isinstance(raised.value, PluginFailure)


def test_an_exception_of_the_progress_function_is_the_callers() -> None:
    def failing(steps: Iterable[Any], **_: Any) -> Iterator[Any]:
        yield next(iter(steps))
        raise ZeroDivisionError("of the caller")

    with pytest.raises(ZeroDivisionError, match="of the caller"):
        editkit.apply("img2img", SOURCE, model=ToyBackend(), progress=failing, steps=3)


def test_an_operation_without_an_image_may_return_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = installed().specs["operations"]
    grey = dc.replace(specs["generate"], load=lambda: lambda session, params: PixelEdit(torch.full((1, 3, 8, 4), 0.5)))
    monkeypatch.setitem(specs, "generate", grey)
    result = editkit.apply("generate", model=ToyBackend(), width=4, height=8)
    assert result.image.size == (4, 8) and result.image.getpixel((1, 1)) == (128, 128, 128)
