"""An operation that breaks the contract of a plugin is a PluginFailure that names it; other errors pass unchanged."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch

import editkit
from editkit import BadImage, Cancelled, Edit, EditkitError, PixelEdit, PluginFailure, Session
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

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
