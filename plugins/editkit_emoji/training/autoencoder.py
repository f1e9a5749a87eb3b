"""Train the autoencoder: pictures (B, 3, H, W) in [-1, 1] to latents (B, 16, H/8, W/8) and back.

    python -m editkit_emoji.training.autoencoder --run runs/autoencoder

A run with ``--start`` goes on from another run's weights. With ``--decoder-only`` it leaves their encoder, and so
their latents, as they are: a denoiser trained on those latents stays valid while the decoder goes on improving.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from editkit_emoji.training import data
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options

# A picture is stored 12 times smaller. Width sits where the resolution is low: convolutions at full resolution
# are what a CPU is slow at.
WIDTHS = (32, 64, 128, 192)
LATENT_CHANNELS = 16
KL_WEIGHT = 1e-4


def new_autoencoder(
    size: int, widths: Sequence[int] = WIDTHS, channels: int = LATENT_CHANNELS, scaling_factor: float = 1.0
) -> AutoencoderKL:
    """An untrained one, whose latents are 2, 4, 8 ... times smaller than pictures, by how many widths it has."""
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=["DownEncoderBlock2D"] * len(widths),
        up_block_types=["UpDecoderBlock2D"] * len(widths),
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=size,
        scaling_factor=scaling_factor,
    )


def to_network(pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
    """(N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def levels(drawn: torch.Tensor) -> torch.Tensor:
    """Pictures in [-1, 1] in whole levels from 0 to 255, still as floats; what is beyond is cut."""
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round()


def to_pixels(drawn: torch.Tensor) -> NDArray[np.uint8]:
    """(N, 3, H, W) in [-1, 1] to (N, H, W, 3) as a file would hold it; what is beyond is cut."""
    pixels: NDArray[np.uint8] = levels(drawn).byte().permute(0, 2, 3, 1).numpy()
    return pixels


def psnr(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Decibels of each picture (B,), both (B, 3, H, W) in [-1, 1], after rounding to 8 bits as a file would hold it."""
    apart = levels(one) - levels(other)
    return 20 * torch.log10(255 / apart.square().mean((1, 2, 3)).sqrt().clamp(min=1e-3))


def error(drawn: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared and absolute error, and the squared error of the edges, which keeps small features from blurring."""
    wrong = drawn - wanted
    edges = wrong.diff(dim=-1).square().mean() + wrong.diff(dim=-2).square().mean()
    return wrong.square().mean() + 0.05 * wrong.abs().mean() + edges


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pixels: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Encode and decode pictures (N, H, W, 3); returns (N, 3, H, W) in [-1, 1]."""
    parts = torch.split(torch.tensor(pixels), batch)
    trips = [vae.decode(vae.encode(to_network(part)).latent_dist.mode()).sample for part in parts]
    return torch.cat(trips)


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pixels: np.ndarray) -> None:
    """Give every latent channel mean 0 and deviation 1 by folding the scale into the 1x1 convolutions around them.

    Deviation 1 is that of latents as a denoiser sees them, times the scaling factor, of which diffusers knows one for
    all channels.
    """
    latents = torch.cat(
        [vae.encode(to_network(part)).latent_dist.mode() for part in torch.split(torch.tensor(pixels), 64)]
    )
    mean, deviation = latents.mean((0, 2, 3)), latents.std((0, 2, 3)) * vae.config.scaling_factor
    channels = len(mean)
    before, after = vae.quant_conv, vae.post_quant_conv
    assert before is not None and after is not None and before.bias is not None and after.bias is not None
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight *= deviation[None, :, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / deviation
    before.weight[:channels] /= deviation[:, None, None, None]
    before.bias[channels:] -= 2 * deviation.log()  # the second half of its output is the log variance


def side_by_side(tiles: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Pictures (H, W, 3), ``columns`` in a row; what the last row lacks is white."""
    filled = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    rows = [np.concatenate(filled[at : at + columns], axis=1) for at in range(0, len(filled), columns)]
    return Image.fromarray(np.concatenate(rows))


def sheet(pictures: Sequence[torch.Tensor], columns: int, file: Path) -> None:
    """Write pictures (3, H, W) in [-1, 1] side by side, ``columns`` in a row."""
    side_by_side(list(to_pixels(torch.stack(list(pictures)))), columns).save(file)


def train(
    vae: AutoencoderKL,
    draw: Callable[[int, torch.Generator], torch.Tensor],
    unseen: NDArray[np.uint8],
    options: argparse.Namespace,
    decay: float = 0.999,
) -> AutoencoderKL:
    """Train on pictures (B, 3, H, W) that ``draw`` gives, watched on held-out ones (N, H, W, 3); return the average."""
    run = Run(options, vae.to(options.device), decay=decay)

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        wanted = draw(options.batch, generator).to(options.device)
        with autocast(options.device):
            latents = vae.encode(wanted).latent_dist
            drawn = vae.decode(latents.sample()).sample
        divergence: torch.Tensor = latents.kl().mean() / latents.mean[0].numel()
        return error(drawn.float(), wanted) + KL_WEIGHT * divergence

    def inspect() -> dict[str, float]:
        average = run.averaged.to("cpu").eval()
        trips = round_trip(average, unseen)
        decibels = psnr(trips, to_network(unseen))
        pairs = [picture for pair in zip(to_network(unseen[::41]), trips[::41], strict=True) for picture in pair]
        sheet(pairs, 8, options.run / f"sample-{run.step:06}.png")
        average.save_pretrained(options.run / "weights")
        run.averaged.to(options.device)
        return {"psnr": float(decibels.mean()), "psnr_worst_twentieth": float(decibels.quantile(0.05))}

    run.train(loss_of, inspect)
    return run.averaged.to("cpu").eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=7000, batch=16, rate=1e-3)
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="weights to go on from")
    parser.add_argument("--decoder-only", action="store_true", help="keep the encoder of --start as it is")
    options = parser.parse_args()
    if options.decoder_only and not options.start:
        parser.error("--decoder-only keeps the encoder of other weights; name their folder with --start")
    torch.manual_seed(options.seed)
    pictures, pixels = data.load(options.data, options.size)
    held_out = np.array([picture.held_out for picture in pictures])
    seen, unseen = torch.tensor(pixels[~held_out]), pixels[held_out]

    vae = AutoencoderKL.from_pretrained(options.start) if options.start else new_autoencoder(options.size)
    if options.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)

    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        chosen = to_network(seen[torch.randint(len(seen), (count,), generator=generator)])
        mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
        return torch.where(mirrored, chosen.flip(-1), chosen)

    finished = train(vae, draw, unseen, options)
    if not options.decoder_only:
        normalise_latents(finished, pixels[~held_out][::4])
    finished.save_pretrained(options.run / "weights")


if __name__ == "__main__":
    main()
