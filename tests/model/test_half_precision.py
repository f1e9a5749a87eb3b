"""In half precision only the network and the autoencoder round: latents, steps and records are in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import editkit
from editkit import Backend, Condition, Inversion, Point, PointBatch, from_x0, latent_dtype
from editkit.testing import ToyBackend
from editkit.testing.tiny import FOLDERS

SOURCE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8))
SERVED_ALONE = ("ChromaPipeline", "AnimaModularPipeline")
"""Families of the backend of last resort, of which one is enough and the other is slow."""


def noisy(model: Backend) -> Tensor:
    """Unit normal latents in float32, which bfloat16 cannot hold."""
    side = model.multiple * max(1, 16 // model.multiple)
    shape = (2, *model.latent_shape(2 * side, side))
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("family", [name for name in FOLDERS if name != SERVED_ALONE[1]])
@torch.no_grad()
def test_a_network_in_half_precision_predicts_for_rounded_latents(family: str, tmp_path: Path) -> None:
    """The prediction is that for latents in bfloat16, and x0 follows from it and the latents in float32."""
    model = editkit.load_model(FOLDERS[family](tmp_path), device="cpu", dtype="bfloat16")
    x, point = noisy(model), model.schedule.point(500.0)
    prompts = ["1", ""] if family in ("DiTPipeline", "DDPMPipeline") else ["a red apple", ""]
    condition = model.embed(prompts if "text" in model.provides else [])
    rounded = x.bfloat16().float()
    exact, coarse = (model.denoise(one, point, condition) for one in (x, rounded))
    assert exact.dtype == coarse.dtype == torch.float32
    one, other = (from_x0(model.prediction, x0, latents, point) for x0, latents in ((exact, x), (coarse, rounded)))
    assert float((one - other).abs().max()) < 1e-5 * max(1.0, float(other.abs().max()))
    assert model.prediction == "sample" or not torch.equal(exact, coarse)


@torch.no_grad()
def test_encoded_latents_and_decoded_pixels_are_in_float32(tiny_folder: Path) -> None:
    model = editkit.load_model(tiny_folder, device="cpu", dtype="bfloat16")
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    latents = model.encode(pixels)
    assert latents.dtype == model.decode(latents).dtype == torch.float32
    assert latent_dtype(torch.float16) == torch.float32 and latent_dtype(torch.float64) == torch.float64


class RoundingToy(ToyBackend):
    """A toy whose network computes in bfloat16, whatever dtype it declares."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        half = {name: tensor.bfloat16() for name, tensor in condition.items()}
        return super().denoise(x.bfloat16(), point, half).to(x.dtype)


EDITS: dict[str, tuple[str, dict[str, Any]]] = {
    "img2img": ("img2img", {"prompt": "a pear", "sampler": "dpmpp-2m"}),
    "noise of the sampler": ("img2img", {"prompt": "a pear", "sampler": "ddpm"}),
    "mask": ("inpaint", {"prompt": "a pear", "mask": SOURCE.convert("L")}),
    "tiles": ("upscale", {"prompt": "a pear"}),
    **{
        method: ("prompt-edit", {"source": "an apple", "target": "a pear", "inverter": method, "cache": False})
        for method in ("ddim", "pinned", "edict", "edit-friendly", "fixed-point", "null-text")
    },
}


@pytest.mark.parametrize("case", EDITS)
def test_steps_around_a_network_in_half_precision_are_those_of_float32(case: str) -> None:
    """With equal estimates, an edit by a network in bfloat16 equals one by a network in float32 bit for bit."""
    operation, params = EDITS[case]
    half, full = (
        editkit.apply(operation, SOURCE, model=RoundingToy(dtype), steps=3, seed=1, **params)
        for dtype in (torch.bfloat16, torch.float32)
    )
    assert half.report.dtype == "bfloat16" and half.image.tobytes() == full.image.tobytes()
    if full.latents is not None:
        assert half.latents is not None and half.latents.dtype == torch.float32
        assert torch.equal(half.latents, full.latents)


def test_fixed_point_iterations_end_at_the_rounding_of_the_network() -> None:
    """The round trip of an inversion has the error of rounding and not that of a step, in a third of the calls."""
    model = RoundingToy(torch.bfloat16)
    inversion = editkit.invert(SOURCE, model=model, prompt="an apple", method="fixed-point", steps=4)
    returned, plain = (
        editkit.reconstruct(one, model=model).latents
        for one in (inversion, editkit.invert(SOURCE, model=model, prompt="an apple", method="ddim", steps=4))
    )
    assert returned is not None and plain is not None and inversion.report is not None
    errors = [float((one - inversion.trajectory[-1]).abs().max()) for one in (returned, plain)]
    assert errors[0] < 0.02 and errors[0] < errors[1] / 4
    assert inversion.report.network_calls < 20 * 4


def test_files_hold_latents_in_float32_and_those_in_half_precision_load(tiny_folder: Path, tmp_path: Path) -> None:
    model = editkit.load_model(tiny_folder, device="cpu", dtype="bfloat16")
    call: dict[str, Any] = {"model": model, "target": "a green apple"}
    inversion = editkit.invert(SOURCE, model=model, prompt="a red apple", steps=2)
    file = inversion.save(tmp_path / "new.safetensors")
    loaded = Inversion.load(file)
    assert (loaded.dtype, loaded.trajectory.dtype) == ("bfloat16", torch.float32)
    image = editkit.apply("prompt-edit", SOURCE, source="a red apple", steps=2, cache=False, **call).image
    assert editkit.apply("prompt-edit", file, **call).image.tobytes() == image.tobytes()
    with safe_open(file, framework="pt") as opened:
        tensors, header = {name: opened.get_tensor(name) for name in opened.keys()}, opened.metadata()  # noqa: SIM118
    old = tmp_path / "old.safetensors"
    halves = {name: one.bfloat16() if one.dtype == torch.float32 else one for name, one in tensors.items()}
    header["editkit"] = header["editkit"].replace('"schema": 3', '"schema": 2')
    save_file(halves, old, header)
    assert editkit.apply("prompt-edit", old, **call).report.dtype == "bfloat16"
