"""Teach a trained model to edit: one UNet that draws from captions, and edits the picture it sees.

    python -m editkit_emoji.training.instruct --model runs/denoiser/model --run runs/instruct

The UNet gets as many input channels again, for the latents of a picture (Brooks et al., arXiv 2211.09800, section 3.2).
A part of every batch are captions with no picture, the rest pairs, so that all weights but those of its first layer
serve the model of captions and the model of instructions alike: the run writes a folder for each. A pair is put as an
instruction with the source to see; told nothing it draws the source, so that guidance leads away from leaving it as it
is. Or a pair is coupled: the target is to be drawn from the noise that the starting model found in the source, under
the target's caption alone. Liu et al. (arXiv 2209.03003) train on a model's own pairs of noise and picture; here the
picture is the true edit of the one the noise was found in, and now and then that one itself.
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
from editkit_emoji.training.coupled_noise import STEPS, cached_noise
from editkit_emoji.training.denoiser import (
    OUTER,
    SCHEDULE,
    TextToLatents,
    cached_latents,
    draw,
    noised,
    read_network,
    squared_error,
    stratified_timesteps,
    unseen_loss,
    write_model,
)
from editkit_emoji.training.instructions import TRAINED, UNSEEN, chance, disguised, wordings
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.pairs import Pair, evaluation_pairs, ordered, training_pairs
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.tokenizer import tokens_of

CAPTIONED, INSTRUCTED = 0.14, 0.56
"""Shares of a batch that are captions and instructions; the rest are coupled pairs."""
UNTOLD, BLIND = 0.08, 0.04
"""Shares of instructions left out, and of pictures (ibid., section 3.2.1)."""
IN_ONE_STEP = 0.5
"""Share of instructions that start from pure noise: there all that is drawn hangs on what is seen and told."""
UNCHANGED = 0.12
"""Share of coupled pairs whose target is the source, so that the noise found in it stays its own."""
ASKED = 240
"""Held-out pairs that a run is inspected with."""
SHOWN = 24
"""Of those on a sheet."""


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

    def instructed(self, count: int, generator: torch.Generator) -> list[tuple[Pair, str]]:
        """Pairs, each with one of its instructions or, now and then, none: then what is wanted is the source."""
        drawn = []
        for pair in self.some(count, generator):
            if chance(generator) < UNTOLD:
                drawn.append((unchanged(pair), ""))
            else:
                drawn.append((pair, self.told(pair, generator)))
        return drawn

    def coupled(self, count: int, generator: torch.Generator) -> list[tuple[Pair, str]]:
        """Pairs, each with a caption of its target, which now and then is the source."""
        pairs = self.some(count, generator)
        wanted = [unchanged(pair) if chance(generator) < UNCHANGED else pair for pair in pairs]
        return [(pair, draw_caption(self.pictures[pair.target], generator)) for pair in wanted]

    def some(self, count: int, generator: torch.Generator) -> list[Pair]:
        chosen = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        return [self.pairs[place] for place in chosen.tolist()]

    def told(self, pair: Pair, generator: torch.Generator) -> str:
        """One of the ways of asking for a pair, half the time disguised."""
        ways = wordings(TRAINED, pair.attribute, self.pictures[pair.source], pair.was, pair.new)
        way = ways[int(chance(generator) * len(ways))]
        kept = {*pair.was.split(), *pair.new.replace("-", " ").split()}
        return disguised(way, kept, generator) if chance(generator) < 0.5 else way


def unchanged(pair: Pair) -> Pair:
    return dc.replace(pair, target=pair.source)


def write_both(network: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, run: Path) -> None:
    """Write the model of captions and the model of instructions."""
    blind = TextToLatents(network.text_encoder, without_sight(network.unet))
    write_model(blind, vae, tokenizer, run / "model")
    write_model(network, vae, tokenizer, run / "instruct")


@dc.dataclass(frozen=True)
class Material:
    """Pictures, with all that is known of them before the training."""

    pictures: Sequence[data.Picture]
    latents: Tensor
    """(N, C, h, w)."""
    noise: Tensor
    """The noise in them (N, C, h, w), as the starting model finds it."""
    tokenizer: PreTrainedTokenizerFast

    def tokens(self, texts: Sequence[str]) -> Tensor:
        return tokens_of(self.tokenizer, list(texts))


class Lessons:
    """Batches of captions, instructions and coupled pairs, in this order."""

    def __init__(self, material: Material) -> None:
        self.material = material
        self.pairs = Pairs(material.pictures)
        self.shown = [place for place, picture in enumerate(material.pictures) if not picture.held_out]

    def batch(self, size: int, generator: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        """Noisy latents (B, C, h, w), timesteps, tokens and what is seen; and the v to be predicted."""
        material = self.material
        captions, instructions = (round(share * size) for share in (CAPTIONED, INSTRUCTED))
        coupled = size - captions - instructions
        captioned = [self.shown[i] for i in torch.randint(len(self.shown), (captions,), generator=generator).tolist()]
        texts = [draw_caption(material.pictures[place], generator) for place in captioned]
        instructed, told = zip(*self.pairs.instructed(instructions, generator), strict=True)
        joined, wanted = zip(*self.pairs.coupled(coupled, generator), strict=True)
        blind = torch.rand(instructions, 1, 1, 1, generator=generator) < BLIND
        seen = torch.zeros(size, *material.latents.shape[1:])
        seen[captions:-coupled] = material.latents[[pair.source for pair in instructed]].masked_fill(blind, 0.0)
        noise = torch.randn(seen.shape, generator=generator)
        noise[-coupled:] = material.noise[[pair.source for pair in joined]]
        parts = [stratified_timesteps(count, generator) for count in (captions, instructions, coupled)]
        parts[1][torch.rand(instructions, generator=generator) < IN_ONE_STEP] = SCHEDULE.train_steps - 1
        timesteps = torch.cat(parts)
        targets = [*captioned, *(pair.target for pair in (*instructed, *joined))]
        noisy, v = noised(material.latents[targets], noise, timesteps)
        return (noisy, timesteps, material.tokens([*texts, *told, *wanted]), seen), v


class Inspection:
    """What a run's figures and sheets are made of: held-out captions, and pairs whose targets are held out."""

    def __init__(self, material: Material, asked: Sequence[Pair], vae: AutoencoderKL) -> None:
        pictures, self.vae = material.pictures, vae
        held_out = [place for place, picture in enumerate(pictures) if picture.held_out]
        told = [wordings(UNSEEN, pair.attribute, pictures[pair.source], pair.was, pair.new)[0] for pair in asked]
        sources = [pair.source for pair in asked]
        self.unseen = material.latents[held_out]
        self.captions = {"tokens": material.tokens([pictures[place].caption for place in held_out])}
        self.sources, self.noise = material.latents[sources], material.noise[sources]
        self.targets = material.latents[[pair.target for pair in asked]]
        self.wanted = {"tokens": material.tokens([pictures[pair.target].caption for pair in asked])}
        self.instructions = {"tokens": material.tokens(told), "seen": self.sources}

    def __call__(self, network: TextToLatents, file: Path) -> dict[str, float]:
        """Write a sheet: source, by instruction in one step, by caption from the source's noise, target."""
        shape = tuple(self.sources.shape[1:])
        told, coupled = self.instructions, self.wanted
        instructed = draw(network, shape, told, told, guidance=1.0, steps=1)
        redrawn = draw(network, shape, coupled, coupled, guidance=1.0, steps=STEPS, start=self.noise)
        with torch.no_grad():
            parts = [part[:SHOWN] for part in (self.sources, instructed, redrawn, self.targets)]
            columns = [list(self.vae.decode(part).sample) for part in parts]
        sheet([tile for row in zip(*columns, strict=True) for tile in row], 12, file)
        return {
            "unseen_loss": unseen_loss(network, self.unseen, self.captions),
            "unseen_loss_instructed": unseen_loss(network, self.targets, self.instructions),
            "success_instructed": self.success(instructed),
            "success_coupled": self.success(redrawn),
        }

    def success(self, drawn: Tensor) -> float:
        """Share of edits that are nearer to the target than to the source, as ``editkit.judge`` has it, in latents."""
        rows = zip(self.sources, self.targets, drawn, strict=True)
        return float(np.mean([judge(*row).success for row in rows]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=2000, batch=96, rate=6e-4)
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

    asked = ordered(evaluation_pairs(pictures), pictures)[:ASKED]
    places = sorted({pair.source for pair in (*training_pairs(pictures), *asked)})
    captions = tokens_of(tokenizer, [picture.caption for picture in pictures])
    blind = TextToLatents(network.text_encoder, without_sight(network.unet)).eval()
    noise = cached_noise(blind, latents, captions, places, options.run / "noise.pt")

    # A shorter memory than a denoiser's: a longer one would hold the weights that the run began with.
    run = Run(options, network.to(options.device), matrices=hidden_matrices(network, outer=OUTER), decay=0.99)
    material = Material(pictures, latents, noise, tokenizer)
    lessons, inspection = Lessons(material), Inspection(material, asked, vae)

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
