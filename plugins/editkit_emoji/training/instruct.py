"""Teach a trained model instructions: one UNet that draws from captions, and edits the picture it sees.

    python -m editkit_emoji.training.instruct --model runs/denoiser/model --run runs/instruct

The UNet gets as many input channels again, for the latents of a picture (Brooks et al., arXiv 2211.09800, section 3.2).
A part of every batch are captions with no picture, the rest instructions with one, so that all weights but those of
its first layer serve the model of captions and the model of instructions alike: the run writes a folder for each. Told
nothing it draws the picture that it sees, so that guidance leads away from leaving it as it is.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from editkit import judge
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import sheet
from editkit_emoji.training.captions import draw_caption
from editkit_emoji.training.denoiser import (
    OUTER,
    TextToLatents,
    cached_latents,
    draw,
    read_network,
    squared_error,
    unseen_loss,
    write_model,
)
from editkit_emoji.training.instructions import TRAINED, UNSEEN, chance, disguised, wordings
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.noising import noised, stratified_timesteps
from editkit_emoji.training.pairs import Pair, evaluation_pairs, ordered, training_pairs
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.tokenizer import tokens_of

CAPTIONED = 0.25
"""Share of a batch that are captions."""
UNTOLD, BLIND = 0.08, 0.04
"""Shares of instructions left out, and of pictures (ibid., section 3.2.1)."""
ASKED = 240
"""Held-out pairs that a run is inspected with."""
SHOWN = 24
"""Of those on a sheet."""
STEPS = 4
"""In which they are edited."""


def with_sight(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A UNet that also sees a picture's latents, to which it is blind as yet."""
    return resized_entry(unet, 2 * unet.config.in_channels)


def without_sight(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The UNet of captions alone: what it does where it is shown nothing."""
    return resized_entry(unet, unet.config.in_channels // 2)


def resized_entry(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """The same UNet with ``channels`` input channels; those that come new weigh nothing."""
    made = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels})
    weights = unet.state_dict()
    entry = torch.zeros_like(made.conv_in.weight)
    kept = min(channels, unet.config.in_channels)
    entry[:, :kept] = weights["conv_in.weight"][:, :kept]
    made.load_state_dict({**weights, "conv_in.weight": entry})
    return made


class Pairs:
    """Training pairs, drawn so that rare attributes come up too: by the root of how many there are."""

    def __init__(self, pictures: Sequence[data.Picture]) -> None:
        self.pictures = pictures
        self.pairs = training_pairs(pictures)
        counts = Counter(pair.attribute for pair in self.pairs)
        self.weights = torch.tensor([counts[pair.attribute] ** -0.5 for pair in self.pairs])

    def draw(self, count: int, generator: torch.Generator) -> list[tuple[Pair, str]]:
        """Pairs, each with one of its instructions or, now and then, none: then what is wanted is the source."""
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator).tolist()
        drawn = []
        for pair in map(self.pairs.__getitem__, chosen):
            if chance(generator) < UNTOLD:
                drawn.append((dc.replace(pair, target=pair.source), ""))
            else:
                drawn.append((pair, self.told(pair, generator)))
        return drawn

    def told(self, pair: Pair, generator: torch.Generator) -> str:
        """One of the ways of asking for a pair, half the time disguised."""
        ways = wordings(TRAINED, pair.attribute, self.pictures[pair.source], pair.was, pair.new)
        way = ways[int(chance(generator) * len(ways))]
        kept = {*pair.was.split(), *pair.new.replace("-", " ").split()}
        return disguised(way, kept, generator) if chance(generator) < 0.5 else way


def write_both(network: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, run: Path) -> None:
    """Write the model of captions and the model of instructions."""
    blind = TextToLatents(network.text_encoder, without_sight(network.unet))
    write_model(blind, vae, tokenizer, run / "model")
    write_model(network, vae, tokenizer, run / "instruct")


@dc.dataclass(frozen=True)
class Material:
    """Pictures with their latents (N, C, h, w), and a tokenizer."""

    pictures: Sequence[data.Picture]
    latents: Tensor
    tokenizer: PreTrainedTokenizerFast

    def tokens(self, texts: Sequence[str]) -> Tensor:
        return tokens_of(self.tokenizer, list(texts))


class Lessons:
    """Batches of captions with nothing to see, and of instructions beside the pictures they are about."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.pairs = Pairs(material.pictures)
        self.shown = data.places(material.pictures, held_out=False)

    def batch(self, size: int, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        """Noisy latents (B, C, h, w), timesteps, tokens and what is seen; and the v to be predicted."""
        pictures, latents = self.material.pictures, self.material.latents
        captions = round(CAPTIONED * size)
        captioned = [self.shown[i] for i in torch.randint(len(self.shown), (captions,), generator=generator).tolist()]
        instructed, told = zip(*self.pairs.draw(size - captions, generator), strict=True)
        texts = [*(draw_caption(pictures[place], generator) for place in captioned), *told]
        unseen = torch.rand(size - captions, 1, 1, 1, generator=generator) < BLIND
        sources = latents[[pair.source for pair in instructed]].masked_fill(unseen, 0.0)
        seen = torch.cat([torch.zeros(captions, *latents.shape[1:]), sources])
        timesteps = torch.cat([stratified_timesteps(len(part), generator) for part in (captioned, instructed)])
        targets = latents[[*captioned, *(pair.target for pair in instructed)]]
        noisy, wanted = noised(targets, torch.randn(seen.shape, generator=generator), timesteps)
        return (noisy, timesteps, self.material.tokens(texts), seen), wanted


class Inspection:
    """What a run's figures and sheets are made of: held-out captions, and pairs whose targets are held out."""

    def __init__(self, material: Material, vae: AutoencoderKL) -> None:
        pictures, self.vae = material.pictures, vae
        held_out = data.places(pictures, held_out=True)
        asked = ordered(evaluation_pairs(pictures), pictures)[:ASKED]
        told = [wordings(UNSEEN, pair.attribute, pictures[pair.source], pair.was, pair.new)[0] for pair in asked]
        self.unseen = material.latents[held_out]
        self.captions = {"tokens": material.tokens([pictures[place].caption for place in held_out])}
        self.sources = material.latents[[pair.source for pair in asked]]
        self.targets = material.latents[[pair.target for pair in asked]]
        self.instructions = {"tokens": material.tokens(told), "seen": self.sources}

    def __call__(self, network: TextToLatents, file: Path) -> dict[str, float]:
        """Write a sheet of some pairs, source, edited, target; return the figures of the log."""
        told = self.instructions
        edited = draw(network, tuple(self.sources.shape[1:]), told, told, guidance=1.0, steps=STEPS)
        with torch.no_grad():
            parts = [part[:SHOWN] for part in (self.sources, edited, self.targets)]
            columns = [list(self.vae.decode(part).sample) for part in parts]
        sheet([tile for row in zip(*columns, strict=True) for tile in row], 12, file)
        rows = zip(self.sources, self.targets, edited, strict=True)
        return {
            "unseen_loss": unseen_loss(network, self.unseen, self.captions),
            "unseen_loss_instructed": unseen_loss(network, self.targets, told),
            # As editkit.judge has it, of latents in place of pixels.
            "success": float(np.mean([judge(*row).success for row in rows])),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=2000, batch=96, rate=6e-4, decay=0.998)
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="a model of captions, or of instructions to go on"
    )
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    pictures, pixels = data.load(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.model, subfolder="tokenizer")
    latents = cached_latents(vae, pixels, options.run / "latents.pt")
    network = read_network(options.model)
    if network.unet.config.in_channels == latents.shape[1]:
        network.unet = with_sight(network.unet)
    # A shorter memory than a denoiser's: a longer one would hold weights that were blind yet.
    run = Run(options, network.to(options.device), matrices=hidden_matrices(network, outer=OUTER))
    material = Material(pictures, latents, tokenizer)
    lessons, inspection = Lessons(material), Inspection(material, vae)

    def loss_of(generator: torch.Generator) -> Tensor:
        given, wanted = lessons.batch(options.batch, generator)
        return squared_error(run.network, given, wanted, options.device)

    def inspect() -> dict[str, float]:
        average = run.averaged.to("cpu").eval()
        figures = inspection(average, options.run / f"sample-{run.step:06}.png")
        write_both(average, vae, tokenizer, options.run)
        run.averaged.to(options.device)
        return figures

    run.train(loss_of, inspect)


if __name__ == "__main__":
    main()
