"""NaN and infinity are refused where they leave a part, and the error names the part."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import editkit
from editkit import Condition, Edit, EditkitError, PixelEdit, PluginFailure, Point, PointBatch, Session
from editkit.registry.registry import installed
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

SOURCE = sample_image((16, 16))
CALLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "img2img": (SOURCE, {"prompt": "red"}),
    "generate": (None, {"prompt": "red"}),
    "prompt-edit": (SOURCE, {"source": "red", "target": "blue"}),
    "outpaint": (SOURCE, {"right": 8}),
    "inpaint": (SOURCE, {"prompt": "red", "mask": sample_image((16, 16)).convert("L")}),
    "upscale": (SOURCE, {"strength": 0.5}),
    "interpolate": ((SOURCE, sample_image((16, 16), seed=1)), {"frames": 2}),
}


class Broken(ToyBackend):
    """A toy model of which one part returns ``value`` in one place."""

    def __init__(self, part: str, value: float) -> None:
        super().__init__()
        self.part, self.value = part, value

    def spoil(self, part: str, tensor: Tensor) -> Tensor:
        if part == self.part:
            tensor = tensor.clone()
            tensor.view(-1)[-1] = self.value
        return tensor

    def encode(self, pixels: Tensor) -> Tensor:
        return self.spoil("encode", super().encode(pixels))

    def decode(self, latents: Tensor) -> Tensor:
        return self.spoil("decode", super().decode(latents))

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        return self.spoil("denoise", super().denoise(x, point, condition))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("part", "name"), [("encode", "autoencoder"), ("decode", "autoencoder"), ("denoise", "network")]
)
def test_a_part_of_the_model_is_named(part: str, name: str, operation: str, value: float) -> None:
    source, params = CALLS[operation]
    if (operation, part) == ("generate", "encode"):
        return
    with pytest.raises(EditkitError, match=f"the {name} of the model 'toy' returned NaN or infinity") as refused:
        editkit.apply(operation, source, model=Broken(part, value), steps=2, cache=False, **params)
    assert "sampler" not in str(refused.value)


def test_a_decoder_of_diffusers_is_named(tiny_folder: Path) -> None:
    for value in (math.nan, math.inf):
        model: Any = editkit.load_model(tiny_folder)
        model.autoencoder.net.decoder.conv_out.bias.fill_(value)
        with pytest.raises(EditkitError, match="the autoencoder of the model"):
            editkit.apply("img2img", SOURCE, model=model, steps=2)


def spoiled_pixels(session: Session, params: Any) -> PixelEdit:
    return PixelEdit(session.pixels * math.nan)


def spoiled_latents(session: Session, params: Any) -> Edit:
    return Edit(session.latents + math.inf, reconstructed=session.latents)


def spoiled_start(session: Session, params: Any) -> Edit:
    path = session.drawing_path(2)
    return Edit(session.draw(session.noise() * math.nan, path, session.embed("red")), reconstructed=session.latents)


@pytest.mark.parametrize("operation", [spoiled_pixels, spoiled_latents, spoiled_start])
def test_an_operation_is_named_with_its_plugin(
    operation: Callable[[Session, Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    specs = installed().specs["operations"]
    monkeypatch.setitem(specs, "img2img", dc.replace(specs["img2img"], load=lambda: operation))
    with pytest.raises(PluginFailure, match=r"operation 'img2img' of plugin .*img2img.* NaN or infinity"):
        editkit.apply("img2img", SOURCE, model=ToyBackend())


def test_a_sampler_is_blamed_only_where_the_network_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    specs = installed().specs["samplers"]
    spoiled = dc.replace(specs["ddim"], load=lambda: lambda params: lambda denoise, x, p, q, noise: x * torch.nan)
    monkeypatch.setitem(specs, "ddim", spoiled)
    with pytest.raises(EditkitError, match=r"sampling with ddim reached NaN .* try another sampler"):
        editkit.apply("img2img", SOURCE, model=ToyBackend(), sampler="ddim", steps=2)
