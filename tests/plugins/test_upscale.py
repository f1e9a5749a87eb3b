"""Upscaling: sizes, agreement with the image, tiles without seams, and memory that depends only on the tiles."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from editkit_upscale.back_projection import back_project, enlarge
from editkit_upscale.tiles import BLOCK, OVERLAP, Box, NoiseField, Tiling
from PIL import Image
from torch import Tensor

import editkit
from editkit.images.tensors import to_tensor
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image
from editkit.testing.tiny import upscaler_folder

SIZES = [(1, 1), (1, 9), (7, 5), (17, 22)]
LEVEL = 1
"""Levels of 8 bits by which a result that is averaged down may differ from its source."""


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> editkit.Backend:
    return editkit.load_model(tiny_folder, device="cpu")


@pytest.fixture(scope="module")
def upscaler_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return upscaler_folder(tmp_path_factory.mktemp("upscaler"))


@pytest.fixture(scope="module")
def upscaler(upscaler_path: Path) -> Any:
    return editkit.load_model(upscaler_path, device="cpu")


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def averaging_error(result: Image.Image, source: Image.Image) -> int:
    """Largest difference in levels between a result that is averaged down and its source."""
    scale = result.width // source.width
    return int(np.abs(levels(result.reduce(scale)) - levels(source)).max())


def upscale(source: Image.Image, model: Any, **params: Any) -> Image.Image:
    result: Image.Image = editkit.apply("upscale", source, model=model, **{"steps": 5, "seed": 3, **params}).image
    return result


def black_and_white(size: tuple[int, int]) -> Image.Image:
    """An image of black and white pixels only: the hardest case, since every pixel is clipped."""
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 2, (size[1], size[0], 3), dtype=np.uint8) * 255)


# Size and agreement with the image


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("scale", [2, 4])
def test_a_result_has_the_requested_size_and_averages_to_its_source(
    model: editkit.Backend, upscaler: editkit.Backend, size: tuple[int, int], scale: int
) -> None:
    for backend, source in itertools.product((model, upscaler), (sample_image(size), black_and_white(size))):
        result = upscale(source, backend, scale=scale, strength=0.8, prompt="red", steps=1)
        assert result.size == (size[0] * scale, size[1] * scale)
        assert result.mode == source.mode
        assert averaging_error(result, source) <= LEVEL


@pytest.mark.parametrize("scale", [2, 4])
def test_pixels_of_any_kind_can_be_made_to_agree(scale: int) -> None:
    random = torch.Generator().manual_seed(0)
    for size in ((1, 1), (23, 17), (300, 5)):
        shape = (1, 3, size[1], size[0])
        for source in (torch.rand(shape, generator=random), torch.rand(shape, generator=random).round()):
            larger = torch.randn((1, 3, size[1] * scale, size[0] * scale), generator=random)
            back_project(larger, source, scale)
            assert float(larger.min()) >= 0
            assert float(larger.max()) <= 1
            assert float((F.avg_pool2d(larger, scale) - source).abs().max()) <= 2e-4


@pytest.mark.parametrize("scale", [2, 4])
def test_an_enlargement_made_in_parts_is_the_bicubic_one(scale: int) -> None:
    source = torch.rand((1, 3, 270, 519), generator=torch.Generator().manual_seed(0))
    padded = F.pad(source, (4, 4, 4, 4), mode="replicate")
    whole = F.interpolate(padded, scale_factor=scale, mode="bicubic", antialias=True)
    inner = whole[..., 4 * scale : -4 * scale, 4 * scale : -4 * scale]
    assert float((enlarge(source, scale) - inner).abs().max()) < 1e-6


def test_strength_0_calls_no_network_and_only_enlarges(model: editkit.Backend) -> None:
    source = sample_image((37, 61))
    expected = enlarge(to_tensor(source), 2)
    back_project(expected, to_tensor(source), 2)
    results = [
        editkit.apply("upscale", source, model=backend, strength=0.0, resolution=side)
        for backend in (model, ToyBackend())
        for side in (None, 16, 128)
    ]
    for result in results:
        assert result.report.network_calls == 0
        assert np.array_equal(levels(result.image), (expected[0] * 255).round().permute(1, 2, 0).int().numpy())


@pytest.mark.parametrize("under", [0, 255])
def test_a_sticker_of_one_colour_stays_one_colour(model: editkit.Backend, under: int) -> None:
    source = Image.new("RGBA", (24, 24), (under, under, under, 0))
    source.paste((180, 60, 20, 255), (5, 7, 17, 19))
    source.putpixel((4, 10), (180, 60, 20, 100))
    result = levels(upscale(source, model, scale=2, strength=0.0))
    visible = result[..., 3] > 4
    assert np.abs(result[visible][:, :3] - (180, 60, 20)).max() <= LEVEL
    assert visible.sum() >= 4 * 12 * 12 and result[30, 20].tolist() == [180, 60, 20, 255] and result[0, 0, 3] == 0


def test_alpha_is_enlarged_with_the_image(model: editkit.Backend) -> None:
    source = sample_image((13, 7), "RGBA")
    source.putalpha(Image.linear_gradient("L").resize(source.size))
    result = upscale(source, model, scale=2)
    assert (result.mode, result.size) == ("RGBA", (26, 14))
    alpha = levels(result.getchannel("A"))
    assert np.abs(levels(result.getchannel("A").reduce(2)) - levels(source.getchannel("A"))).max() <= 8
    assert (np.diff(alpha, axis=0) >= 0).all()
    source.putalpha(255)
    assert (
        upscale(source, model, scale=2).convert("RGB").tobytes()
        == upscale(source.convert("RGB"), model, scale=2).tobytes()
    )


# Tiles


@pytest.mark.parametrize("unit", [1, 8, 12])
@pytest.mark.parametrize("side", [1, 16, 64, 70])
def test_tiles_cover_an_image_and_their_windows_add_to_one(side: int, unit: int) -> None:
    for size in ((1, 1), (5, 130), (64, 64), (65, 200), (333, 96)):
        tiling = Tiling.plan(size, side, unit)
        total = torch.zeros(-(-size[1] // unit) * unit, -(-size[0] // unit) * unit)
        for box, window in tiling:
            assert not any(number % unit for number in box)
            assert box.width <= max(unit, side)
            assert box.height <= max(unit, side)
            assert float(window.min()) >= 0
            total[box.top : box.top + box.height, box.left : box.left + box.width] += window
        assert float((total - 1).abs().max()) < 1e-5
        assert len(tiling) == len(list(tiling))


def test_neighbouring_tiles_overlap() -> None:
    for length in range(65, 400, 7):
        starts = Tiling.plan((length, 1), 64, 8).columns.starts
        assert all(later - start <= 64 - 64 // OVERLAP for start, later in itertools.pairwise(starts))


def test_overlapping_parts_of_a_noise_field_agree() -> None:
    field = NoiseField(7)
    whole = field.part("start", 4, Box(0, 0, 3 * BLOCK, 3 * BLOCK))
    for box in (Box(0, 0, 5, 9), Box(BLOCK - 3, 2, 7, 2 * BLOCK), Box(100, 63, 1, 65)):
        part = field.part("start", 4, box)
        assert torch.equal(part, whole[..., box.top : box.top + box.height, box.left : box.left + box.width])
    assert abs(float(whole.mean())) < 0.01
    assert abs(float(whole.std()) - 1) < 0.01
    others = (field.part("step 0", 4, Box(0, 0, 8, 8)), NoiseField(8).part("start", 4, Box(0, 0, 8, 8)))
    assert not any(torch.equal(other, whole[..., :8, :8]) for other in others)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "dpmpp-2m"])
def test_one_tile_and_many_give_the_same_image(sampler: str) -> None:
    """For a model that samples every pixel independently, to rounding: no sampler's noise may differ."""
    source = sample_image((50, 41))
    params = {"scale": 2, "prompt": "red", "strength": 0.8, "sampler": sampler}
    one, many = (upscale(source, ToyBackend(), resolution=side, **params) for side in (100, 16))
    assert np.abs(levels(one) - levels(many)).max() <= 1
    assert one.tobytes() != upscale(source, ToyBackend(), strength=0.0).tobytes()


def test_batches_of_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = sample_image((50, 41))
    results = []
    for at_once in (1, 3, 100):
        monkeypatch.setattr("editkit_upscale.operation.TILES_PER_BATCH", at_once)
        results.append(upscale(source, ToyBackend(), prompt="red", sampler="ddpm").tobytes())
    assert results[0] == results[1] == results[2]


def test_tiles_leave_no_seam(model: editkit.Backend) -> None:
    """Steps across a border of tiles are no larger than elsewhere, although the tiles themselves differ a lot."""
    source = Image.linear_gradient("L").resize((48, 48)).convert("RGB")
    side, unit = 32, 4
    result = levels(upscale(source, model, scale=2, resolution=side, strength=0.8, prompt="red"))
    for axis, starts in ((1, Tiling.plan((96, 96), side, unit).columns.starts), (0, (16, 32, 48))):
        steps = np.abs(np.diff(result, axis=axis)).mean(axis=(1 - axis, 2))
        # The last step within an average is never across a border, as borders lie between averages.
        across = steps[1::2]
        borders = {place // 2 - 1 for start in starts for place in (start, start + side) if 0 < place < 96}
        elsewhere = [step for index, step in enumerate(across) if index not in borders]
        assert max(across[index] for index in borders) <= max(elsewhere)


def test_the_same_seed_gives_the_same_pixels_and_another_others(model: editkit.Backend) -> None:
    source = sample_image((20, 14))
    first, again, other = (upscale(source, model, sampler="ddpm", seed=seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


@pytest.mark.slow
def test_a_result_is_replayed_from_its_own_file(model: editkit.Backend, tmp_path: Path) -> None:
    result = editkit.apply("upscale", sample_image((20, 14), "RGBA"), model=model, scale=4, steps=4, seed=1)
    again = editkit.replay(result.save(tmp_path / "large.png", recipe="full"), model=model)
    assert again.image.tobytes() == result.image.tobytes()
    assert result.report.output_size == (80, 56)


# Upscaling models


class NearestUpscaler(ToyBackend):
    """Upscaling model by the factor ``reduction`` whose estimate is its condition image, each pixel as a square."""

    provides = frozenset({"text", "upscaling"})

    @property
    def factor(self) -> int:
        return self.reduction

    def upscaling_condition(self, pixels: Tensor, noise_level: int, noise: Tensor) -> editkit.Condition:
        return {"small_image": pixels, "noise_level": torch.full((len(pixels),), noise_level)}

    def denoise(self, x: Tensor, point: editkit.Point, condition: editkit.Condition) -> Tensor:
        return condition["small_image"].repeat_interleave(self.reduction**2, 1) * 2 - 1


@pytest.mark.parametrize("scale", [2, 4])
def test_every_tile_is_sampled_from_its_part_of_the_image(scale: int) -> None:
    for size in ((1, 1), (7, 5), (37, 61)):
        source = sample_image(size)
        result = upscale(source, NearestUpscaler(reduction=4), scale=scale, sampler="euler")
        assert result.tobytes() == source.resize(result.size, Image.Resampling.NEAREST).tobytes()


def test_the_error_for_a_large_scale_names_the_model_s_factor() -> None:
    with pytest.raises(editkit.InvalidParameter, match="scale=4 is not allowed: the model 'toy' enlarges 2 times"):
        upscale(sample_image((8, 8)), NearestUpscaler(reduction=2), scale=4)


@pytest.mark.parametrize("guidance", [1.0, 9.0])
def test_an_upscaler_agrees_with_diffusers(upscaler: Any, upscaler_path: Path, guidance: float) -> None:
    from diffusers import StableDiffusionUpscalePipeline

    source, steps = sample_image((16, 12)), 10
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(upscaler_path)
    pipeline.set_progress_bar_config(disable=True)
    reference = pipeline(
        "a red apple on white",
        image=source,
        negative_prompt="blue",
        noise_level=20,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        pixels = to_tensor(source)
        small_image = upscaler.upscaling_condition(pixels, 20, torch.randn(pixels.shape, generator=random))
        conditions = [{**upscaler.embed([prompt]), **small_image} for prompt in ("a red apple on white", "blue")]
        denoise = editkit.classifier_free(upscaler.denoise, *conditions, guidance)
        x = torch.randn((1, *upscaler.latent_shape(64, 48)), generator=random)
        path = editkit.make_path(upscaler.schedule, steps, upscaler.grid)
        for p, q in itertools.pairwise(path):
            x = editkit.ddim_step(x, denoise(x, p), p, q)
    assert float((x - reference).abs().max()) < 1e-4


def test_an_upscaler_starts_from_noise_and_checks_its_noise_level(upscaler: Any) -> None:
    source = sample_image((9, 6))
    result = editkit.apply("upscale", source, model=upscaler, steps=3, seed=0)
    assert result.report.params["strength"] == 1.0
    assert result.report.network_samples == 3 * 2  # 18 x 12 pixels are sampled as 36 x 24, which two tiles of 32 cover
    with pytest.raises(editkit.InvalidParameter, match="noise_level=351 is not allowed: this model takes 0 to 350"):
        editkit.apply("upscale", source, model=upscaler, noise_level=351)
    drawn = editkit.apply("generate", model=upscaler, prompt="red", steps=2, seed=0)
    assert drawn.image.size == (32, 32)


# Memory

MEASURED = """
import resource, sys
import numpy as np
from PIL import Image
import editkit
from editkit.model import autoencoder_cache
from editkit.testing import ToyBackend

# Both images fill the cache of round trips.
autoencoder_cache.MOST_VALUES = 3 * 2**18

def peak(side):
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    model = ToyBackend(reduction=4, native_size=256)
    editkit.apply("upscale", Image.fromarray(values), model=model, steps=2, strength=0.5, seed=0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

small = peak(384)
print(small, peak(768))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_memory_grows_only_with_the_pixels_of_image_and_result() -> None:
    """From 384 x 384 pixels to 768 x 768: no more than three copies of the result, two of which its rounding takes.

    Latents and noise of the whole result would alone be more than that in this model, which has them in float64.
    """
    # glibc raises its threshold for mapping a block of memory with every mapped block that is freed, up to 32 MiB.
    # Blocks below it stay resident in a fragmented heap after they are freed. A fixed threshold, the initial one, gives
    # them back, so that the peak is that of the live tensors.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 * 1024)}
    run = subprocess.run([sys.executable, "-c", MEASURED], env=environment, check=True, capture_output=True, text=True)
    small, large = map(int, run.stdout.split())
    pixels = 1536**2 - 768**2
    growth = (large - small) / pixels
    assert growth < 3 * 12


@pytest.mark.slow
def test_one_tile_and_many_agree_on_a_large_image() -> None:
    source = sample_image((600, 520))
    backend = ToyBackend(reduction=4)
    one, many = (upscale(source, backend, resolution=side, steps=2, strength=0.5) for side in (1200, 256))
    assert np.abs(levels(one) - levels(many)).max() <= 1
    assert averaging_error(many, source) <= LEVEL
