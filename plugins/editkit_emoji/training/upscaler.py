"""Train the upscaler: a UNet that denoises latents, conditioned on the image at a quarter of the size.

    python -m editkit_emoji.training.upscaler --vae runs/upscaler-autoencoder/weights --run runs/upscaler

It has the inputs of the Stable Diffusion upscaler (Rombach et al., arXiv 2112.10752, section 4.4): the small image with
noise, the noise level (Ho et al., arXiv 2106.15282, section 4.2), and captions embedded by the text encoder of the
caption model. Half of every batch starts at pure noise, where one step predicts the mean of all possible enlargements.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDPMScheduler, StableDiffusionUpscalePipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from editkit import Condition, VariancePreserving, add_noise
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import psnr, sheet
from editkit_emoji.training.captions import sample_caption
from editkit_emoji.training.crops import FACTOR, Crops, shrink
from editkit_emoji.training.denoiser import mean_squared_error, sample, unseen_loss
from editkit_emoji.training.evaluate import BUNDLED
from editkit_emoji.training.model_folder import half_pipeline, store_in_8_bits, tidy
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.network import TEXT_WIDTH
from editkit_emoji.training.noising import SCHEDULE, diffuse, stratified_timesteps
from editkit_emoji.training.run import Run, add_run_options, on_cpu
from editkit_emoji.training.tokenizer import tokens_of

WIDTHS = (64, 64)
SIDES = {64: 0.5, 128: 0.3, 256: 0.2}
"""Probabilities of the crop sizes of a batch: small crops are many and varied, large ones resemble tiles."""
NOISING = DDPMScheduler(beta_start=1e-6, beta_end=1e-4)
"""Noise schedule of the small image: level 20 has a deviation of 0.8 levels of 255, the highest level of 10."""
NOISING_SCHEDULE = VariancePreserving.from_betas(NOISING.betas.numpy())
"""The same schedule as a type of editkit."""
MOST_NOISE, USUAL_NOISE = 350, 20
INSPECTED, INSPECTED_SIDE, SHEET_ROWS = 128, 128, 24
OUTER = ("conv_in", "conv_out", "class_embedding", "time_embedding")


class Enlarger(nn.Module):
    """A UNet conditioned on a smaller image and on captions, with a frozen text encoder."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder.requires_grad_(False)

    def forward(
        self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, small_images: Tensor, noise_level: Tensor
    ) -> Tensor:
        """Predict v (B, C, h, w) of noisy latents, conditioned on images (B, 3, h, w) with noise of levels (B,)."""
        words = self.text_encoder(tokens).last_hidden_state
        predicted: Tensor = self.unet(
            torch.cat([noisy, small_images], 1), timesteps, encoder_hidden_states=words, class_labels=noise_level
        ).sample
        return predicted


def new_unet(channels: int, side: int) -> UNet2DConditionModel:
    """Return an untrained UNet for latents (B, channels, side, side), with attention in the middle block."""
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels + 3,
        out_channels=channels,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(WIDTHS),
        up_block_types=("UpBlock2D",) * len(WIDTHS),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
        class_embed_type="timestep",
    )


def noisy_small_images(crops: Tensor, levels: Tensor, generator: torch.Generator) -> Tensor:
    """Shrink crops (B, 3, H, W) to images (B, 3, h, w), both in [-1, 1], and add noise of levels (B,)."""
    small = shrink(crops, generator)
    noise = torch.randn(small.shape, generator=generator)
    points = [NOISING_SCHEDULE.point(int(level)) for level in levels]
    return torch.stack([add_noise(*row) for row in zip(small, noise, points, strict=True)])


@torch.no_grad()
def encode(vae: AutoencoderKL, crops: Tensor) -> Tensor:
    """Encode crops (B, 3, H, W) in [-1, 1] to latents (B, C, h, w) of deviation 1."""
    latents: Tensor = vae.encode(crops).latent_dist.mode() * vae.config.scaling_factor
    return latents


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Decode latents of :func:`encode`."""
    images: Tensor = vae.decode(latents / vae.config.scaling_factor).sample
    return images


@dc.dataclass(frozen=True)
class CropBatches:
    """Sampler of batches of crops with their small images."""

    crops: Crops
    emojis: Sequence[data.Emoji]
    vae: AutoencoderKL
    tokenizer: PreTrainedTokenizerFast

    def batch(self, size: int, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        """Sample noisy latents (B, C, h, w), timesteps, tokens, small images, their noise levels, and the target v.

        ``size`` is the batch size for the smallest crops; batches of larger crops have the same number of pixels.
        """
        shares = torch.tensor(list(SIDES.values()))
        side = list(SIDES)[int(torch.multinomial(shares, 1, generator=generator))]
        size = max(1, size * min(SIDES) ** 2 // side**2)
        crops, places = self.crops.sample(size, side, generator)
        captions = ["" if place < 0 else sample_caption(self.emojis[place], generator) for place in places]
        levels = torch.randint(MOST_NOISE + 1, (size,), generator=generator)
        levels[::2] = USUAL_NOISE
        timesteps = stratified_timesteps(size, generator)[torch.randperm(size, generator=generator)]
        timesteps[torch.rand(size, generator=generator) < 0.5] = SCHEDULE.train_steps - 1
        latents = encode(self.vae, crops)
        noisy, v_target = diffuse(latents, torch.randn(latents.shape, generator=generator), timesteps)
        small_images = noisy_small_images(crops, levels, generator)
        return (noisy, timesteps, tokens_of(self.tokenizer, captions), small_images, levels), v_target


class Inspection:
    """Crops of held-out images for a run's figures and sheets, enlarged in one step."""

    def __init__(self, unseen: CropBatches) -> None:
        generator = torch.Generator().manual_seed(0)
        self.vae = unseen.vae
        self.crops, places = unseen.crops.sample(INSPECTED, INSPECTED_SIDE, generator)
        levels = torch.full((INSPECTED,), USUAL_NOISE)
        captions = ["" if place < 0 else unseen.emojis[place].caption for place in places]
        self.condition: Condition = {
            "tokens": tokens_of(unseen.tokenizer, captions),
            "small_images": noisy_small_images(self.crops, levels, generator),
            "noise_level": levels,
        }
        self.latents = encode(self.vae, self.crops)
        self.bicubic = F.interpolate(self.condition["small_images"], scale_factor=FACTOR, mode="bicubic")
        self.bounds = {
            "psnr_bicubic": self.quality(self.bicubic),
            "psnr_round_trip": self.quality(decode(self.vae, self.latents)),
        }

    def quality(self, enlarged: Tensor) -> float:
        """Mean PSNR of enlargements of the crops."""
        return float(psnr(enlarged, self.crops).mean())

    def __call__(self, network: Enlarger, file: Path) -> dict[str, float]:
        """Write a sheet of bicubic and sampled enlargements and the crops; return the figures of the log."""
        enlarged = decode(
            self.vae,
            sample(network, tuple(self.latents.shape[1:]), self.condition, self.condition, steps=1, guidance=1),
        )
        columns = [list(part[:SHEET_ROWS]) for part in (self.bicubic, enlarged, self.crops)]
        sheet([tile for row in zip(*columns, strict=True) for tile in row], 12, file)
        loss = unseen_loss(network, self.latents, self.condition)
        return {"unseen_loss": loss, "psnr": self.quality(enlarged), **self.bounds}


def write_upscaler(network: Enlarger, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a diffusers folder; the text encoder is that of the caption model, and the other parts are in float8."""
    noising = {"low_res_scheduler": NOISING, "max_noise_level": MOST_NOISE}
    pipeline = half_pipeline(StableDiffusionUpscalePipeline, network, vae, tokenizer, **noising)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for part in ("unet", "vae"):
        store_in_8_bits(folder / part)
    tidy(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser, size=256)
    add_run_options(parser, steps=5500, batch=16, rate=1.5e-3)
    parser.add_argument("--vae", type=Path, required=True, metavar="FOLDER", help="weights of the autoencoder")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="model with the text encoder")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    emojis, pixels = data.load(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.vae).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.model, subfolder="tokenizer")
    text_encoder = CLIPTextModel.from_pretrained(options.model, subfolder="text_encoder", dtype=torch.float32)
    training, unseen = (
        CropBatches(Crops(pixels, data.places(emojis, held_out=held_out)), emojis, vae, tokenizer)
        for held_out in (False, True)
    )
    network = Enlarger(new_unet(vae.config.latent_channels, options.size // FACTOR), text_encoder.eval())
    run = Run(options, network.to(options.device), matrices=hidden_matrices(network, outer=OUTER))
    inspection = Inspection(unseen)

    def loss_of(generator: torch.Generator) -> Tensor:
        inputs, v_target = training.batch(options.batch, on_cpu(generator))
        return mean_squared_error(network, inputs, v_target, options.device)

    def inspect() -> dict[str, float]:
        average = run.averaged.eval()
        figures = inspection(average, options.run / f"sample-{run.step:06}.png")
        write_upscaler(average, vae, tokenizer, options.run / "model")
        return figures

    run.train(loss_of, inspect)


if __name__ == "__main__":
    main()
