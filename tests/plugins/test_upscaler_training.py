"""Training of the bundled upscaler: crops, their reduced versions, and the model folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionUpscalePipeline
from editkit_emoji.training import autoencoder, crops, upscaler, upscaler_autoencoder
from editkit_emoji.training.crops import Crops
from editkit_emoji.training.data import Emoji
from editkit_emoji.training.network import new_network
from editkit_emoji.training.tokenizer import new_tokenizer
from torch import Tensor

pytestmark = pytest.mark.slow

EMOJIS = [Emoji("flat", "red apple", "red apple", None), Emoji("3d", "cat", "cat", None)]


def square_image(*corner: int) -> np.ndarray:
    """An image on white, with a square of one colour."""
    emoji = np.full((256, 256, 3), 255, np.uint8)
    emoji[corner[0] : corner[0] + 120, corner[1] : corner[1] + 90] = (200, 40, 10)
    return emoji


PIXELS = np.stack([square_image(20, 60), square_image(100, 100)])
WHITE = np.full((2, 256, 256, 3), 255, np.uint8)


def colours(crop: Tensor) -> set[tuple[float, ...]]:
    return {tuple(colour.tolist()) for colour in crop.flatten(1).T.unique(dim=0)}


@pytest.mark.parametrize("side", [64, 128, 256])
def test_crops_are_parts_of_the_training_images(side: int) -> None:
    found, places = Crops(PIXELS, [1]).sample(40, side, torch.Generator().manual_seed(0))
    assert found.shape == (40, 3, side, side)
    assert set(places) == {1, -1}
    own = {tuple((np.array(colour) / 127.5 - 1).astype(np.float32).tolist()) for colour in ((255,) * 3, (200, 40, 10))}
    for crop, place in zip(found, places, strict=True):
        if place >= 0:
            assert colours(crop) <= own, "straight edges at even positions mix no colours"


def test_plain_background_is_rarely_cropped() -> None:
    found, _ = Crops(PIXELS, [0, 1]).sample(100, 64, torch.Generator().manual_seed(0))
    assert sum(float(crop.std()) == 0 for crop in found) < 15
    white, _ = Crops(WHITE, [0]).sample(4, 64, torch.Generator().manual_seed(0))
    assert len(white) == 4, "the number of tries is bounded"


def test_a_turn_moves_pixels_and_recolouring_changes_colours_only() -> None:
    crop, generator = torch.rand(3, 8, 8) * 2 - 1, torch.Generator().manual_seed(0)
    turned = {tuple(crops.turn(crop, generator).flatten().tolist()) for _ in range(200)}
    assert len(turned) == 8
    assert len({tuple(sorted(one)) for one in turned}) == 1
    recoloured = [crops.recolour(crop, generator) for _ in range(200)]
    assert all(torch.equal(one.abs().sum(0), crop.abs().sum(0)) for one in recoloured)


def test_most_small_images_are_averages_in_whole_levels() -> None:
    images = torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    small = crops.shrink(images, torch.Generator().manual_seed(0))
    levels = (small + 1) * 127.5
    assert float((levels - levels.round()).abs().max()) < 1e-3
    averages = [
        float((one - mean).abs().max()) <= 1 / 255 for one, mean in zip(small, F.avg_pool2d(images, 4), strict=True)
    ]
    assert 0.65 < np.mean(averages) < 0.85


def test_scaled_latents_have_unit_deviation() -> None:
    torch.manual_seed(0)
    vae = autoencoder.new_autoencoder(
        64, upscaler_autoencoder.WIDTHS, upscaler_autoencoder.LATENT_CHANNELS, upscaler_autoencoder.SCALING_FACTOR
    ).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        before = autoencoder.round_trip(vae, pixels)
        autoencoder.normalise_latents(vae, pixels)
        latents = upscaler.encode(vae, autoencoder.to_network(pixels))
        assert torch.allclose(latents.std((0, 2, 3)), torch.ones(8), atol=1e-3)
        assert torch.allclose(upscaler.decode(vae, latents), before, atol=1e-4)


def test_noise_of_the_highest_level_is_ten_levels_of_a_file() -> None:
    grey = torch.zeros(64, 3, 16, 16)
    noisy = upscaler.noisy_small_images(grey, torch.full((64,), upscaler.MOST_NOISE), torch.Generator().manual_seed(0))
    assert 8 < float(noisy.std()) * 127.5 < 12
    clean = upscaler.noisy_small_images(grey, torch.zeros(64), torch.Generator().manual_seed(0))
    assert float(clean.std()) * 127.5 < 1


def test_the_upscaler_folder_loads_in_diffusers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = new_tokenizer(EMOJIS)
    vae = autoencoder.new_autoencoder(256, (8, 8, 8), 8, upscaler_autoencoder.SCALING_FACTOR)
    reader = new_network(tokenizer, 8, 8, (16, 16)).text_encoder
    network = upscaler.Enlarger(upscaler.new_unet(8, 64), reader)
    upscaler.write_upscaler(network, vae, tokenizer, tmp_path)
    pipeline = StableDiffusionUpscalePipeline.from_pretrained(tmp_path)
    assert pipeline.config.max_noise_level == upscaler.MOST_NOISE
    assert pipeline.vae.config.scaling_factor == upscaler_autoencoder.SCALING_FACTOR
    assert pipeline.unet.config.in_channels == 8 + 3
