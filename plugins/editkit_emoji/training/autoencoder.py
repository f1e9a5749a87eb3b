"""Train the autoencoder: images (B, 3, H, W) in [-1, 1] to latents (B, 16, H/8, W/8) and back.

    python -m editkit_emoji.training.autoencoder --run runs/autoencoder

Most of the images are moved, scaled down or composited onto grounds (:mod:`.scenes`). ``--start`` initialises the
weights from another run. ``--hold`` then penalises changes of the latents of unmoved images, and ``--decoder-only``
freezes the encoder: a denoiser trained on the earlier latents stays valid while the autoencoder improves.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from editkit_emoji.training import data
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.scenes import Moves

# Latents hold 12 times fewer values than the image. Width sits at low resolution, because convolutions at full
# resolution are slow on a CPU.
WIDTHS = (32, 64, 128, 192)
LATENT_CHANNELS = 16
KL_WEIGHT = 1e-4
MOVES = Moves(moved=0.65, grounds=0.5)
UNCHANGED_SHARE = 0.25
"""Share of a batch, at its beginning, of unchanged images, whose latents ``--hold`` keeps."""
INSPECTED = 6
"""An inspection uses every sixth held-out image."""


def new_autoencoder(
    size: int, widths: Sequence[int] = WIDTHS, channels: int = LATENT_CHANNELS, scaling_factor: float = 1.0
) -> AutoencoderKL:
    """Return an untrained autoencoder with latents ``2 ** (len(widths) - 1)`` times smaller than the image."""
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
    """Convert pixels (N, H, W, 3) uint8 to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.as_tensor(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_network_with_alpha(pixels: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Convert pixels (N, H, W, 3) and alpha (N, H, W) uint8 to (N, 4, H, W), colours in [-1, 1], alpha in [0, 1]."""
    return torch.cat([to_network(pixels), alpha[:, None].float() / 255], 1)


def levels(images: torch.Tensor) -> torch.Tensor:
    """Round images in [-1, 1] to whole levels from 0 to 255, as floats; values outside the range are clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round()


def to_pixels(images: torch.Tensor) -> NDArray[np.uint8]:
    """Convert images (N, 3, H, W) in [-1, 1] to pixels (N, H, W, 3) uint8; values outside the range are clipped."""
    pixels: NDArray[np.uint8] = levels(images).byte().permute(0, 2, 3, 1).numpy()
    return pixels


def psnr(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """PSNR in dB (B,) of images (B, 3, H, W) in [-1, 1] after rounding to 8 bits."""
    difference = levels(one) - levels(other)
    return 20 * torch.log10(255 / difference.square().mean((1, 2, 3)).sqrt().clamp(min=1e-3))


def reconstruction_loss(decoded: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum of squared error, absolute error, and squared error of the edges, which keeps small features sharp."""
    difference = decoded - target
    edges = difference.diff(dim=-1).square().mean() + difference.diff(dim=-2).square().mean()
    return difference.square().mean() + 0.05 * difference.abs().mean() + edges


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pixels: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Encode and decode images (N, H, W, 3); returns (N, 3, H, W) in [-1, 1] on the CPU."""
    parts = torch.split(torch.tensor(pixels), batch)
    trips = [vae.decode(vae.encode(to_network(part.to(vae.device))).latent_dist.mode()).sample for part in parts]
    return torch.cat(trips).cpu()


@torch.no_grad()
def normalise_latents(vae: AutoencoderKL, pixels: np.ndarray) -> None:
    """Fold scale and offset into the 1x1 convolutions so that every latent channel has mean 0 and deviation 1.

    Deviation 1 is that of the denoiser's input, the latents times the scaling factor; diffusers has one factor for all
    channels.
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


def image_grid(tiles: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Grid of images (H, W, 3), ``columns`` in a row; missing tiles of the last row are white."""
    filled = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    rows = [np.concatenate(filled[at : at + columns], axis=1) for at in range(0, len(filled), columns)]
    return Image.fromarray(np.concatenate(rows))


def sheet(emojis: Sequence[torch.Tensor], columns: int, file: Path) -> None:
    """Write images (3, H, W) in [-1, 1] side by side, ``columns`` in a row."""
    image_grid(list(to_pixels(torch.stack(list(emojis)))), columns).save(file)


class MovedImages:
    """Sampler of images (N, H, W, 3) uint8 on white, with alpha (N, H, W), in random frames and on random grounds."""

    def __init__(self, pixels: NDArray[np.uint8], alpha: NDArray[np.uint8], device: str = "cpu") -> None:
        self.pixels, self.alpha = torch.tensor(pixels).to(device), torch.tensor(alpha).to(device)

    def __call__(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Sample images (count, 3, H, W) in [-1, 1]; the first :data:`UNCHANGED_SHARE` of them are unchanged."""
        device = self.pixels.device
        rows = torch.randint(len(self.pixels), (count,), generator=generator, device=device)
        images = to_network_with_alpha(self.pixels[rows], self.alpha[rows])
        allowed = torch.ones(count, dtype=torch.bool, device=device)
        moved = MOVES.sample(images.shape[-1], allowed, images, generator)(images)
        unchanged = round(UNCHANGED_SHARE * count)
        return torch.cat([images[:unchanged, :3], moved[unchanged:]])


def moved_versions(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Return images (N, H, W, 3) in place, moved on white, and moved on grounds; deterministic."""
    images = to_network_with_alpha(torch.tensor(pixels), torch.tensor(alpha))
    allowed = torch.ones(len(pixels), dtype=torch.bool)

    def moved(grounds: float) -> NDArray[np.uint8]:
        generator = torch.Generator().manual_seed(0)
        return to_pixels(Moves(moved=1.0, grounds=grounds).sample(pixels.shape[1], allowed, images, generator)(images))

    return {"in_place": pixels, "moved": moved(0.0), "on_grounds": moved(1.0)}


def latent_change(latents: torch.Tensor, target: torch.Tensor, before: AutoencoderKL) -> torch.Tensor:
    """Mean squared change of the latents of the unchanged images of a batch."""
    count = round(UNCHANGED_SHARE * len(target))
    with torch.no_grad():
        reference = before.encode(target[:count]).latent_dist.mode()
    change: torch.Tensor = latents[:count].float() - reference.float()
    return change.square().mean()


def train(
    vae: AutoencoderKL,
    sample_images: Callable[[int, torch.Generator], torch.Tensor],
    unseen: Mapping[str, NDArray[np.uint8]],
    options: argparse.Namespace,
    hold: float = 0.0,
) -> AutoencoderKL:
    """Train on images (B, 3, H, W) from ``sample_images`` and return the averaged network.

    ``unseen`` maps kinds to held-out images (N, H, W, 3); sheets and the worst twentieth are of the first kind.
    ``hold`` is the weight of the change of the latents of the unchanged images at the beginning of a batch.
    """
    before = copy.deepcopy(vae).eval().requires_grad_(False).to(options.device) if hold else None
    run = Run(options, vae.to(options.device))

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        target = sample_images(options.batch, generator)
        with autocast(options.device):
            latents = vae.encode(target).latent_dist
            decoded = vae.decode(latents.sample(generator)).sample
            change = latent_change(latents.mean, target, before) if before else 0.0
        divergence: torch.Tensor = latents.kl().mean() / latents.mean[0].numel()
        return reconstruction_loss(decoded.float(), target) + KL_WEIGHT * divergence + hold * change

    def inspect() -> dict[str, float]:
        average = run.averaged.eval()
        trips = {kind: round_trip(average, images) for kind, images in unseen.items()}
        decibels = {kind: psnr(trip, to_network(unseen[kind])) for kind, trip in trips.items()}
        first = next(iter(unseen))
        pairs = zip(to_network(unseen[first][::41]), trips[first][::41], strict=True)
        sheet([image for pair in pairs for image in pair], 8, options.run / f"sample-{run.step:06}.png")
        average.save_pretrained(options.run / "weights")
        figures = {f"psnr_{kind}": float(each.mean()) for kind, each in decibels.items()}
        return figures | {"psnr_worst_twentieth": float(decibels[first].quantile(0.05))}

    run.train(loss_of, inspect)
    return run.averaged.to("cpu").eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=7000, batch=16, rate=1e-3)
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="initial weights")
    parser.add_argument("--decoder-only", action="store_true", help="freeze the encoder of --start")
    parser.add_argument(
        "--hold", type=float, default=0.0, help="weight of the change of the latents of unmoved images against --start"
    )
    options = parser.parse_args()
    if (options.decoder_only or options.hold) and not options.start:
        parser.error("--decoder-only and --hold need initial weights: pass their folder with --start")
    torch.manual_seed(options.seed)
    emojis, pixels, alpha = data.load_artwork(options.data, options.size)
    held_out = np.array([emoji.held_out for emoji in emojis])
    training = MovedImages(pixels[~held_out], alpha[~held_out], options.device)

    vae = AutoencoderKL.from_pretrained(options.start) if options.start else new_autoencoder(options.size)
    if options.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    unseen = moved_versions(pixels[held_out][::INSPECTED], alpha[held_out][::INSPECTED])
    finished = train(vae, training, unseen, options, hold=options.hold)
    if not options.decoder_only and not options.hold:
        normalise_latents(finished, pixels[~held_out][::4])
    finished.save_pretrained(options.run / "weights")


if __name__ == "__main__":
    main()
