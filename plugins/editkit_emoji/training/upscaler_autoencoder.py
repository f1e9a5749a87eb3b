"""Train the autoencoder of the upscaler on crops: (B, 3, H, W) in [-1, 1] to latents (B, 8, H/4, W/4) and back.

    python -m editkit_emoji.training.data --size 256
    python -m editkit_emoji.training.upscaler_autoencoder --run runs/upscaler-autoencoder

Latents have the size of the small image, so that the UNet can concatenate both.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import new_autoencoder, normalise_latents, to_pixels, train
from editkit_emoji.training.crops import Crops
from editkit_emoji.training.run import add_run_options, on_cpu

WIDTHS = (24, 40, 48)
LATENT_CHANNELS = 8
SCALING_FACTOR = 0.08333
"""Scale that diffusers' StableDiffusionUpscalePipeline expects."""
SIDE = 64
"""Side of a training crop."""
INSPECTED = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser, size=256)
    add_run_options(parser, steps=3600, batch=16, rate=2e-3, decay=0.998)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    emojis, pixels = data.load(options.data, options.size)
    training, unseen = (Crops(pixels, data.places(emojis, held_out=held_out)) for held_out in (False, True))

    def sample(count: int, generator: torch.Generator) -> Tensor:
        return training.sample(count, SIDE, on_cpu(generator))[0].to(options.device)

    inspected, _ = unseen.sample(INSPECTED, SIDE, torch.Generator().manual_seed(0))
    vae = new_autoencoder(options.size, WIDTHS, LATENT_CHANNELS, SCALING_FACTOR)
    finished = train(vae, sample, {"crops": to_pixels(inspected)}, options)
    sampled, _ = training.sample(4000, SIDE, torch.Generator().manual_seed(1))
    normalise_latents(finished, to_pixels(sampled))
    finished.save_pretrained(options.run / "weights")


if __name__ == "__main__":
    main()
