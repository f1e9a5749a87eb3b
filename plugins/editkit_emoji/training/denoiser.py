"""Train text encoder and UNet on an autoencoder's latents: one UNet that samples from captions and edits images.

    python -m editkit_emoji.training.denoiser --vae runs/autoencoder/weights --run runs/denoiser

The UNet gets the same number of additional input channels for the latents of an image (Brooks et al., arXiv 2211.09800,
section 3.2). A part of every batch has captions without an image, the rest instructions with one, so that the caption
model and the instruction model share all weights but those of the first layer; the run writes a diffusers folder for
each. The target of an empty instruction is the source, so that guidance steers away from the unchanged image. The
forward process, the objective and the sampling of the inspection sheets are the library's own.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast

from editkit import (
    Condition,
    Noise,
    Point,
    PointBatch,
    TimestepGrid,
    classifier_free,
    ddim_step,
    judge,
    make_path,
    timestep_of,
    to_x0,
    walk,
)
from editkit import Denoiser as Denoise
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import moved_versions, sheet
from editkit_emoji.training.cases import Case, cases_of, select_pairs
from editkit_emoji.training.compiling import CompiledLater
from editkit_emoji.training.instructions import UNSEEN, wordings
from editkit_emoji.training.lessons import MOVES, MOVES_BESIDE, Lessons
from editkit_emoji.training.model_folder import read_network, write_models
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.network import OUTER, TextToLatents, new_network, with_image_channels
from editkit_emoji.training.noising import SCHEDULE, diffuse, encode, stratified_timesteps
from editkit_emoji.training.pairs import ATTRIBUTES
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.texts import Kind, Texts, sample_texts
from editkit_emoji.training.tokenizer import new_tokenizer, tokens_of

GRID = TimestepGrid(spacing="trailing", ends_clean=True)
WIDTHS = (128, 224)
PAIR_WEIGHT = 0.2
"""Weight of the losses on pair differences and on edits relative to the loss on all images."""
INSPECTED = 4
"""An inspection uses every fourth held-out image."""
EDITED_SCENERY = ("in place", "shifted")
EDITED = 80
"""Held-out pairs per scenery in an inspection."""
EDIT_STEPS = 4
SHEET_ROWS = 12
"""Pairs per scenery on a sheet."""
SHEET = (
    "flat red apple",
    "flat green apple",
    "gradient green book",
    "flat red heart",
    "noto blue circle",
    "3d grinning face",
    "flat waving hand dark skin tone",
    "3d woman farmer medium skin tone",
    "gradient cat face",
    "noto full moon face",
    "a flat emoji of a yellow heart",
    "emoji of a house",
)


def predict(network: nn.Module, inputs: Iterable[Tensor], device: str) -> Tensor:
    """Return the output of a network on ``device`` in one training step, in float32."""
    # The backward pass of the fused kernel is a third of a step on a CPU; for 64 positions the plain product is faster.
    plain = sdpa_kernel(SDPBackend.MATH) if device == "cpu" else contextlib.nullcontext()
    with plain, autocast(device):
        predicted: Tensor = network(*(part.to(device) for part in inputs))
    return predicted.float()


def mean_squared_error(network: nn.Module, inputs: Iterable[Tensor], v_target: Tensor, device: str) -> Tensor:
    """Loss of one training step: mean squared error of the output of a network on ``device``."""
    return (predict(network, inputs, device) - v_target.to(device)).square().mean()


@torch.no_grad()
def unseen_loss(network: nn.Module, latents: Tensor, condition: Condition) -> float:
    """Mean squared error of v on held-out latents (N, C, h, w), with the same noise and timesteps at every call.

    The network is called with noisy latents, timesteps and the entries of its condition, (N, ...) each.
    """
    device = device_of(network)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = stratified_timesteps(len(latents), generator)
    noisy, v_target = diffuse(latents, noise, timesteps)
    errors = []
    for rows in torch.split(torch.arange(len(latents)), 64):
        inputs = {name: tensor[rows].to(device) for name, tensor in condition.items()}
        predicted = network(noisy[rows].to(device), timesteps[rows].to(device), **inputs).float().cpu()
        errors.append((predicted - v_target[rows]).square().mean((1, 2, 3)))
    return float(torch.cat(errors).mean())


def device_of(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


@torch.no_grad()
def sample(
    network: nn.Module,
    shape: tuple[int, ...],
    prompted: Condition,
    negative: Condition,
    *,
    steps: int = 25,
    guidance: float = 3.0,
) -> Tensor:
    """Sample latents (B, C, h, w) for a shape (C, h, w) with DDIM and guidance from a negative to a prompted condition.

    They are returned on the CPU. The network is called as by :func:`unseen_loss`; both conditions hold ``tokens``.
    """

    def clean(x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        timesteps = timestep_of(SCHEDULE, point, x).round().expand(len(x))
        return to_x0("v_prediction", network(x, timesteps, **condition), x, point)

    def step(denoise: Denoise, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        return ddim_step(x, denoise(x, p), p, q)

    device = device_of(network)
    start = torch.randn((len(prompted["tokens"]), *shape), generator=torch.Generator().manual_seed(0)).to(device)
    prompted, negative = ({name: part.to(device) for name, part in each.items()} for each in (prompted, negative))
    guided = classifier_free(clean, prompted, negative, guidance)
    *_, latents = walk(step, guided, start, make_path(SCHEDULE, steps, GRID))
    return latents.float().cpu()


class Edits(NamedTuple):
    """Held-out edits by instructions whose wordings are kept from training."""

    sources: Tensor
    """Latents (N, C, h, w)."""
    targets: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, cases: Sequence[Case], vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast) -> Edits:
        images, truths = (np.stack([getattr(case, name) for case in cases]) for name in ("image", "truth"))
        texts = [wordings(UNSEEN, case.pair.attribute, case.source, case.pair.was, case.pair.new)[0] for case in cases]
        return cls(encode(vae, images), encode(vae, truths), tokens_of(tokenizer, texts))

    def sample(self, network: TextToLatents) -> Tensor:
        inputs = {"tokens": self.tokens, "image_latents": self.sources}
        return sample(network, tuple(self.sources.shape[1:]), inputs, inputs, guidance=1.0, steps=EDIT_STEPS)

    def success(self, edited: Tensor) -> float:
        """Share of right edits by the measure of ``editkit.judge``, on latents instead of pixels."""
        rows = zip(self.sources, self.targets, edited, strict=True)
        return float(np.mean([judge(source, target, result).success for source, target, result in rows]))


class Inspection:
    """Inspection of a run on held-out images, unchanged and moved, with and without captions, and on instructions."""

    def __init__(self, artwork: data.Artwork, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast) -> None:
        self.vae, self.tokenizer = vae, tokenizer
        held_out = data.places(artwork.emojis, held_out=True)[::INSPECTED]
        captions = [artwork.emojis[place].caption for place in held_out]
        self.captioned, self.captionless = (tokens_of(tokenizer, texts) for texts in (captions, [""] * len(captions)))
        images = moved_versions(artwork.pixels[held_out], artwork.alpha[held_out])
        self.latents = {kind: encode(vae, each) for kind, each in images.items()}
        pairs = select_pairs(artwork, "first", ATTRIBUTES)
        self.edits = {kind: Edits.of(cases_of(artwork, pairs, kind, EDITED), vae, tokenizer) for kind in EDITED_SCENERY}

    def __call__(self, network: TextToLatents, file: Path) -> dict[str, float]:
        """Write a sheet of samples from captions and of edits; return squared errors of v and shares of right edits."""
        figures = {}
        for kind, latents in self.latents.items():
            figures[f"unseen_{kind}"] = unseen_loss(network, latents, {"tokens": self.captioned})
            figures[f"unseen_{kind}_silent"] = unseen_loss(network, latents, {"tokens": self.captionless})
        tiles = [*self.from_captions(network)]
        for kind, edits in self.edits.items():
            edited = edits.sample(network)
            figures[f"success_{kind.replace(' ', '_')}"] = edits.success(edited)
            tiles += [
                latents
                for triple in list(zip(edits.sources, edited, edits.targets, strict=True))[:SHEET_ROWS]
                for latents in triple
            ]
        with torch.no_grad():
            sheet(list(self.vae.decode(torch.stack(tiles)).sample), 12, file)
        return figures

    def of_run(self, run: Run[TextToLatents]) -> dict[str, float]:
        """Inspect the average of a run, and write both models of it."""
        average, folder = run.averaged.eval(), run.options.run
        figures = self(average, folder / f"sample-{run.step:06}.png")
        write_models(average, self.vae, self.tokenizer, folder)
        return figures

    def from_captions(self, network: TextToLatents) -> Tensor:
        prompted, negative = (
            {"tokens": tokens_of(self.tokenizer, texts)} for texts in (list(SHEET), [""] * len(SHEET))
        )
        shape = next(iter(self.latents.values())).shape[1:]
        return sample(network, tuple(shape), prompted, negative)


def start_network(
    options: argparse.Namespace, vae: AutoencoderKL, artwork: data.Artwork
) -> tuple[TextToLatents, PreTrainedTokenizerFast]:
    """Return the initial network, with image channels, and its tokenizer."""
    if options.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.start / "tokenizer")
        network = read_network(options.start)
    else:
        tokenizer = new_tokenizer(emoji for emoji in artwork.emojis if not emoji.held_out)
        side = options.size // 2 ** (len(vae.config.block_out_channels) - 1)
        network = new_network(tokenizer, vae.config.latent_channels, side, tuple(options.widths))
    if network.unet.config.in_channels == vae.config.latent_channels:
        network.unet = with_image_channels(network.unet)
    return network, tokenizer


def train(
    network: TextToLatents,
    tokenizer: PreTrainedTokenizerFast,
    vae: AutoencoderKL,
    artwork: data.Artwork,
    texts: Mapping[Kind, Texts],
    options: argparse.Namespace,
) -> TextToLatents:
    """Train a network with image channels and return its average."""
    inspection = Inspection(artwork, vae, tokenizer)
    moves = MOVES_BESIDE if any(options.in_place) else MOVES
    lessons = Lessons(artwork, copy.deepcopy(vae).to(options.device), texts, moves, max(options.in_place))
    network.to(options.device).unet.to(memory_format=torch.channels_last)  # a tenth faster on a CPU
    run = Run(options, network, matrices=hidden_matrices(network, outer=OUTER))
    example = lessons.batch(options.batch, torch.Generator(options.device)).inputs
    compiled = CompiledLater(network, example, options.device) if options.compile else None

    def loss_of(generator: torch.Generator) -> Tensor:
        if compiled:
            compiled.poll()
        lessons.in_place = options.in_place[int(run.progress * len(options.in_place))]
        batch = lessons.batch(options.batch, generator)
        predicted = predict(network, batch.inputs, options.device)
        weighted = batch.pair_error(predicted) + batch.edit_error(predicted)
        pair_weight: float = options.pair_weight
        return (predicted - batch.v_target).square().mean() + pair_weight * weighted

    run.train(loss_of, lambda: inspection.of_run(run))
    return run.averaged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=6000, batch=96, rate=1e-3)
    parser.add_argument("--vae", type=Path, required=True, metavar="FOLDER", help="weights of the autoencoder")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="initial model; its tokenizer is kept")
    parser.add_argument(
        "--widths", type=int, nargs=2, default=WIDTHS, help="channels at full and at half the resolution"
    )
    parser.add_argument(
        "--in-place",
        type=float,
        nargs="+",
        default=[0.0],
        metavar="SHARE",
        help="share of batches without moves and grounds; several for equal parts of the run",
    )
    parser.add_argument(
        "--compile", action="store_true", help="compile the UNet, in a process beside the first steps of the run"
    )
    parser.add_argument("--texts", type=int, default=100_000, help="captions and instructions of each kind")
    parser.add_argument("--workers", type=int, default=0, help="processes that sample them")
    parser.add_argument("--pair-weight", type=float, default=PAIR_WEIGHT, help="weight of the losses on pairs")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    artwork = data.load_artwork(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.vae).eval()
    network, tokenizer = start_network(options, vae, artwork)
    texts = sample_texts(artwork.emojis, tokenizer, options.texts, options.workers)
    train(network, tokenizer, vae, artwork, texts, options)


if __name__ == "__main__":
    main()
