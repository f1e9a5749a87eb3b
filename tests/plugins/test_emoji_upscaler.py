"""The bundled upscaler, on held-out images of 256 pixels that are averaged down to 64."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from editkit_emoji.linked_folders import upscaler_folder
from editkit_upscale.tiles import Tiling
from PIL import Image

import editkit
from editkit.images.metrics import psnr
from editkit.images.tensors import to_tensor

LARGE = sorted((Path(__file__).parents[1] / "pictures" / "large").glob("*.png"))


@pytest.fixture(scope="module")
def model() -> editkit.Backend:
    return editkit.load_model("emoji-upscaler")


@pytest.mark.model
@pytest.mark.parametrize(("scale", "least"), [(2, 2.0), (4, 1.0)])
def test_the_upscaler_is_nearer_to_the_truth_than_lanczos(model: editkit.Backend, scale: int, least: float) -> None:
    gained = []
    for file in LARGE:
        image = editkit.open_image(file).convert("RGB")
        small, truth = image.reduce(4), image.reduce(4 // scale)
        enlarged = editkit.apply("upscale", small, model=model, scale=scale, prompt=file.stem.replace("-", " "), seed=0)
        smooth = small.resize(truth.size, Image.Resampling.LANCZOS)
        created, plain, expected = map(to_tensor, (enlarged.image.convert("RGB"), smooth, truth))
        gained.append(psnr(created, expected) - psnr(plain, expected))
    assert np.mean(gained) >= least, gained


@pytest.mark.model
def test_upscale_takes_it_when_no_model_is_named() -> None:
    image = editkit.open_image(LARGE[0]).reduce(4)
    report = editkit.apply("upscale", image, scale=2, seed=0).report
    assert (report.model, report.params["steps"], report.params["strength"]) == ("emoji-upscaler", 1, 1.0)


@pytest.mark.model
def test_in_a_row_with_others_each_step_takes_its_own_model(tmp_path: Path) -> None:
    words = {"prompt": "noto red apple", "steps": 2}
    small = editkit.open_image(LARGE[0]).reduce(4)
    created = editkit.Pipeline([("outpaint", {"right": 8, **words}), ("upscale", {"scale": 2})])(small, seed=0)
    assert created.report.model == "emoji, emoji-upscaler"
    assert [step.drawn_by.model for step in created.recipe.steps] == ["emoji", "emoji-upscaler"]
    again = editkit.replay(created.save(tmp_path / "large.png", recipe="full"))
    assert not again.report.warnings
    assert again.image.tobytes() == created.image.tobytes()


@pytest.mark.model
def test_tiles_of_the_upscaler_leave_no_seam(model: editkit.Backend) -> None:
    """The largest step across a border is no larger than the largest elsewhere, in either direction."""
    image, side = editkit.open_image(LARGE[0]).convert("RGB").reduce(4), 96
    result = np.asarray(editkit.apply("upscale", image, model=model, scale=4, resolution=side, seed=0).image, float)
    length = result.shape[0]
    borders = {at - 1 for start in Tiling.plan((length, 1), side, 4).columns.starts for at in (start, start + side)}
    for axis in (0, 1):
        steps = np.abs(np.diff(result, axis=axis)).mean(axis=(1 - axis, 2))
        across = [step for place, step in enumerate(steps) if place in borders]
        elsewhere = [step for place, step in enumerate(steps) if place not in borders]
        assert len(across) >= 4
        assert max(across) <= max(elsewhere)


@pytest.mark.model
def test_diffusers_draws_the_same_latents_from_its_folder(model: editkit.Backend) -> None:
    from diffusers import StableDiffusionUpscalePipeline

    image = editkit.open_image(LARGE[0]).convert("RGB").reduce(8)
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(upscaler_folder(), torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    expected = pipeline(
        "3d detective",
        image=image,
        noise_level=20,
        num_inference_steps=4,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(7),
        output_type="np",
    ).images[0]
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        pixels = to_tensor(image)
        records = model.upscaling_condition(pixels, 20, torch.randn(pixels.shape, generator=random))  # type: ignore[attr-defined]
        condition = {**model.embed(["3d detective"]), **records}
        x = torch.randn((1, *model.latent_shape(128, 128)), generator=random)
        for p, q in itertools.pairwise(editkit.make_path(model.schedule, 4, model.grid)):
            x = editkit.ddim_step(x, model.denoise(x, p, condition), p, q)
        ours = model.decode(x)[0].permute(1, 2, 0).numpy()
    assert float(np.abs(ours - expected).max()) < 1e-3
