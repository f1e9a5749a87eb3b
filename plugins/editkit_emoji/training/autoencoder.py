"""Train the autoencoder: images (B, 3, H, W) in [-1, 1] to latents (B, 16, H/8, W/8) and back.

    python -m editkit_emoji.training.autoencoder --run runs/autoencoder

Most of the images are moved, made smaller or laid on grounds (:mod:`.moving`). A run with ``--start`` goes on
from another run's weights. With ``--hold`` it keeps the latents of images in place near those of the start, and with
``--decoder-only`` it leaves all latents as they are: a denoiser trained on those latents stays valid while the
autoencoder goes on improving.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses as dc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from editkit_emoji.training import data
from editkit_emoji.training.moving import Moves, apply_frame, sample_ground
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options

# An image is stored 12 times smaller. Width sits where the resolution is low: convolutions at full resolution
# are what a CPU is slow at.
WIDTHS = (32, 64, 128, 192)
LATENT_CHANNELS = 16
KL_WEIGHT = 1e-4
MOVES = Moves(moved=0.65, grounds=0.5)
UNCHANGED_SHARE = 0.25
"""Share of a batch, at its beginning, of images as they are: those whose latents are held."""
INSPECTED = 6
"""A run is inspected with one held-out image in so many."""


def new_autoencoder(
    size: int, widths: Sequence[int] = WIDTHS, channels: int = LATENT_CHANNELS, scaling_factor: float = 1.0
) -> AutoencoderKL:
    """An untrained one, whose latents are 2, 4, 8 ... times smaller than images, by how many widths it has."""
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
    """Images in [-1, 1] in whole levels from 0 to 255, still as floats; what is beyond is cut."""
    return ((drawn.clamp(-1, 1) + 1) * 127.5).round()


def to_pixels(drawn: torch.Tensor) -> NDArray[np.uint8]:
    """(N, 3, H, W) in [-1, 1] to (N, H, W, 3) as a file would hold it; what is beyond is cut."""
    pixels: NDArray[np.uint8] = levels(drawn).byte().permute(0, 2, 3, 1).numpy()
    return pixels


def psnr(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Decibels of each image (B,), both (B, 3, H, W) in [-1, 1], after rounding to 8 bits as a file would hold it."""
    apart = levels(one) - levels(other)
    return 20 * torch.log10(255 / apart.square().mean((1, 2, 3)).sqrt().clamp(min=1e-3))


def error(drawn: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Squared and absolute error, and the squared error of the edges, which keeps small features from blurring."""
    wrong = drawn - wanted
    edges = wrong.diff(dim=-1).square().mean() + wrong.diff(dim=-2).square().mean()
    return wrong.square().mean() + 0.05 * wrong.abs().mean() + edges


@torch.no_grad()
def round_trip(vae: AutoencoderKL, pixels: np.ndarray, batch: int = 64) -> torch.Tensor:
    """Encode and decode images (N, H, W, 3); returns (N, 3, H, W) in [-1, 1]."""
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


def image_grid(tiles: Sequence[NDArray[np.uint8]], columns: int) -> Image.Image:
    """Images (H, W, 3), ``columns`` in a row; what the last row lacks is white."""
    filled = [*tiles, *[np.full_like(tiles[0], 255)] * (-len(tiles) % columns)]
    rows = [np.concatenate(filled[at : at + columns], axis=1) for at in range(0, len(filled), columns)]
    return Image.fromarray(np.concatenate(rows))


def sheet(emojis: Sequence[torch.Tensor], columns: int, file: Path) -> None:
    """Write images (3, H, W) in [-1, 1] side by side, ``columns`` in a row."""
    image_grid(list(to_pixels(torch.stack(list(emojis)))), columns).save(file)


@dc.dataclass(frozen=True)
class MovedImages:
    """Images (N, H, W, 3) uint8 on white with their alpha (N, H, W), drawn in all frames and on all grounds."""

    pixels: NDArray[np.uint8]
    alpha: NDArray[np.uint8]

    def __call__(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Images (count, 3, H, W) in [-1, 1], the first of them as they are."""
        chosen = torch.randint(len(self.pixels), (count,), generator=generator).tolist()
        images = to_network(self.pixels[chosen])
        alpha = torch.tensor(self.alpha[chosen]).unsqueeze(1) / 255
        for row in range(round(UNCHANGED_SHARE * count), count):
            frame = MOVES.frame(images.shape[-1], generator, mirror=True)
            images[row] = apply_frame(images[row], alpha[row], frame, MOVES.ground(images.shape[-1], generator))
        return images


def moved_versions(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """The same images (N, H, W, 3) in place, moved on white, and moved on grounds, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    size = pixels.shape[1]
    still, covers = to_network(pixels), torch.tensor(alpha).unsqueeze(1) / 255
    frames = [Moves(moved=1.0).frame(size, generator, mirror=True) for _ in still]
    moved = [apply_frame(*each) for each in zip(still, covers, frames, strict=True)]
    grounded = [apply_frame(*each, sample_ground(size, generator)) for each in zip(still, covers, frames, strict=True)]
    return {"in_place": pixels, "moved": to_pixels(torch.stack(moved)), "on_grounds": to_pixels(torch.stack(grounded))}


def held(latents: torch.Tensor, wanted: torch.Tensor, before: AutoencoderKL) -> torch.Tensor:
    """Mean squared change of the latents of those images of a batch that are as they are."""
    count = round(UNCHANGED_SHARE * len(wanted))
    with torch.no_grad():
        known = before.encode(wanted[:count]).latent_dist.mode()
    change: torch.Tensor = latents[:count].float() - known.float()
    return change.square().mean()


def train(
    vae: AutoencoderKL,
    draw: Callable[[int, torch.Generator], torch.Tensor],
    unseen: Mapping[str, NDArray[np.uint8]],
    options: argparse.Namespace,
    hold: float = 0.0,
) -> AutoencoderKL:
    """Train on images (B, 3, H, W) that ``draw`` gives, watched on held-out ones; return the average.

    The held-out images (N, H, W, 3) are given by kind, the kind first that the sheets and the worst twentieth are of.
    ``hold`` weighs the change of the latents of images as they are, which are the first of a batch.
    """
    before = copy.deepcopy(vae).eval().requires_grad_(False).to(options.device) if hold else None
    run = Run(options, vae.to(options.device))

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        wanted = draw(options.batch, generator).to(options.device)
        with autocast(options.device):
            latents = vae.encode(wanted).latent_dist
            drawn = vae.decode(latents.sample()).sample
            changed = held(latents.mean, wanted, before) if before else 0.0
        divergence: torch.Tensor = latents.kl().mean() / latents.mean[0].numel()
        return error(drawn.float(), wanted) + KL_WEIGHT * divergence + hold * changed

    def inspect() -> dict[str, float]:
        average = run.averaged.to("cpu").eval()
        trips = {kind: round_trip(average, images) for kind, images in unseen.items()}
        decibels = {kind: psnr(trip, to_network(unseen[kind])) for kind, trip in trips.items()}
        first = next(iter(unseen))
        shown = zip(to_network(unseen[first][::41]), trips[first][::41], strict=True)
        sheet([image for pair in shown for image in pair], 8, options.run / f"sample-{run.step:06}.png")
        average.save_pretrained(options.run / "weights")
        run.averaged.to(options.device)
        figures = {f"psnr_{kind}": float(each.mean()) for kind, each in decibels.items()}
        return figures | {"psnr_worst_twentieth": float(decibels[first].quantile(0.05))}

    run.train(loss_of, inspect)
    return run.averaged.to("cpu").eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=7000, batch=16, rate=1e-3)
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="weights to go on from")
    parser.add_argument("--decoder-only", action="store_true", help="keep the encoder of --start as it is")
    parser.add_argument(
        "--hold", type=float, default=0.0, help="weight of the change of latents of images in place since --start"
    )
    options = parser.parse_args()
    if (options.decoder_only or options.hold) and not options.start:
        parser.error("--decoder-only and --hold keep what other weights do; name their folder with --start")
    torch.manual_seed(options.seed)
    emojis, pixels, alpha = data.load_artwork(options.data, options.size)
    held_out = np.array([emoji.held_out for emoji in emojis])
    seen = MovedImages(pixels[~held_out], alpha[~held_out])

    vae = AutoencoderKL.from_pretrained(options.start) if options.start else new_autoencoder(options.size)
    if options.decoder_only:
        vae.encoder.requires_grad_(False)
        vae.quant_conv.requires_grad_(False)
    unseen = moved_versions(pixels[held_out][::INSPECTED], alpha[held_out][::INSPECTED])
    finished = train(vae, seen, unseen, options, hold=options.hold)
    if not options.decoder_only and not options.hold:
        normalise_latents(finished, pixels[~held_out][::4])
    finished.save_pretrained(options.run / "weights")


if __name__ == "__main__":
    main()
