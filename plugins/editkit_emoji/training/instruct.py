"""Train a caption model on instructions: one UNet that samples from captions and edits images.

    python -m editkit_emoji.training.instruct --model runs/denoiser/model --run runs/instruct

The UNet gets the same number of additional input channels for the latents of an image (Brooks et al., arXiv 2211.09800,
section 3.2). A part of every batch has captions without an image, the rest instructions with one, so that the caption
model and the instruction model share all weights but those of the first layer; the run writes a folder for each. The
target of an empty instruction is the source, so that guidance steers away from the unchanged image. Source and target
are in one scene, moved or on a ground, and instructions come from :mod:`.grammar`.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses as dc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from editkit import judge
from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import sheet
from editkit_emoji.training.captions import sample_caption
from editkit_emoji.training.cases import Case, cases_of, select_pairs
from editkit_emoji.training.denoiser import (
    OUTER,
    TextToLatents,
    mean_squared_error,
    read_network,
    sample,
    write_model,
)
from editkit_emoji.training.grammar import sample_instruction
from editkit_emoji.training.instructions import UNSEEN, perturb, uniform, wordings
from editkit_emoji.training.lessons import Lessons
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.noising import diffuse, encode, stratified_timesteps
from editkit_emoji.training.pairs import ATTRIBUTES, Pair
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.tokenizer import tokens_of

CAPTIONED = 0.25
"""Share of the rows of a batch that have a caption and no image."""
WITHOUT_INSTRUCTION, WITHOUT_IMAGE = 0.08, 0.04
"""Shares of empty instructions, and of instructions without an image (ibid., section 3.2.1)."""
INSPECTED = ("in place", "shifted", "small")
"""Scenery of the inspection."""
EDITED = 80
"""Held-out pairs per scenery in an inspection."""
SHEET_ROWS = 24
"""Pairs on a sheet, over all scenery."""
STEPS = 4
"""Steps of the edits in an inspection."""


def with_image_channels(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Add input channels for the latents of an image to a UNet, with zero weights."""
    return resize_input_layer(unet, 2 * unet.config.in_channels)


def without_image_channels(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Remove the image channels of a UNet, which equals zero image latents."""
    return resize_input_layer(unet, unet.config.in_channels // 2)


def resize_input_layer(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """Copy a UNet with ``channels`` input channels; the weights of new channels are zero."""
    resized = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels})
    weights = unet.state_dict()
    entry = torch.zeros_like(resized.conv_in.weight)
    kept = min(channels, unet.config.in_channels)
    entry[:, :kept] = weights["conv_in.weight"][:, :kept]
    resized.load_state_dict({**weights, "conv_in.weight": entry})
    return resized


def write_models(network: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, run: Path) -> None:
    """Write the caption model and the instruction model."""
    caption_model = TextToLatents(network.text_encoder, without_image_channels(network.unet))
    write_model(caption_model, vae, tokenizer, run / "model")
    write_model(network, vae, tokenizer, run / "instruct")


class InstructionBatch(NamedTuple):
    """Inputs and target of a training step: captions first, then instructions."""

    noisy: Tensor
    """(B, C, h, w)."""
    timesteps: Tensor
    tokens: Tensor
    image_latents: Tensor
    """(B, C, h, w), zero for rows without an image."""
    v_target: Tensor
    """The v (B, C, h, w) of each row."""


class InstructionBatches:
    """Sampler of batches of captions without images, and of instructions with source images."""

    def __init__(self, lessons: Lessons) -> None:
        self.lessons = lessons

    def batch(self, size: int, generator: torch.Generator) -> InstructionBatch:
        lessons, emojis = self.lessons, self.lessons.artwork.emojis
        captions = round(CAPTIONED * size)
        captioned = lessons.sample_places(captions, generator)
        pairs, instructions = zip(*self.sample(size - captions, generator), strict=True)
        alone = [lessons.in_one_scene([place], generator)[0] for place in captioned]
        images = [lessons.in_one_scene([pair.source, pair.target], generator) for pair in pairs]
        sources, targets = zip(*images, strict=True)
        encoded = lessons.encode(torch.stack([*alone, *targets, *sources])).cpu()
        clean, source_latents = torch.split(encoded, [size, size - captions])
        dropped = torch.rand(size - captions, 1, 1, 1, generator=generator) < WITHOUT_IMAGE
        image_latents = torch.cat([torch.zeros_like(clean[:captions]), source_latents.masked_fill(dropped, 0.0)])
        texts = [*(sample_caption(emojis[place], generator) for place in captioned), *instructions]
        timesteps = torch.cat([stratified_timesteps(part, generator) for part in (captions, size - captions)])
        noisy, v_target = diffuse(clean, torch.randn(clean.shape, generator=generator), timesteps)
        return InstructionBatch(noisy, timesteps, tokens_of(lessons.tokenizer, texts), image_latents, v_target)

    def sample(self, count: int, generator: torch.Generator) -> list[tuple[Pair, str]]:
        """Sample pairs with instructions; the target of an empty instruction is the source."""
        return [
            (dc.replace(pair, target=pair.source), "")
            if uniform(generator) < WITHOUT_INSTRUCTION
            else (pair, self.instruction(pair, generator))
            for pair in self.lessons.sample_pairs(count, generator)
        ]

    def instruction(self, pair: Pair, generator: torch.Generator) -> str:
        """Sample an instruction from the grammar and perturb a third of them."""
        text = sample_instruction(pair, self.lessons.artwork.emojis[pair.source], generator)
        kept = {*pair.was.split(), *pair.new.replace("-", " ").split()}
        return perturb(text, kept, generator) if uniform(generator) < 1 / 3 else text


class Inspection:
    """Pairs for a run's figures and sheets: their targets are held out, their wordings kept from training."""

    def __init__(self, artwork: data.Artwork, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast) -> None:
        self.vae = vae
        pairs = select_pairs(artwork, "first", ATTRIBUTES)
        self.sources, self.targets, self.tokens = {}, {}, {}
        for kind in INSPECTED:
            cases = cases_of(artwork, pairs, kind, EDITED)
            self.sources[kind] = encode(vae, np.stack([case.image for case in cases]))
            self.targets[kind] = encode(vae, np.stack([case.truth for case in cases]))
            self.tokens[kind] = tokens_of(tokenizer, [unseen_wording(case) for case in cases])

    def __call__(self, network: TextToLatents, file: Path) -> dict[str, float]:
        """Write a sheet of source, edited and target latents, decoded; return the figures of the log."""
        figures, tiles = {}, []
        for kind, sources in self.sources.items():
            inputs = {"tokens": self.tokens[kind], "image_latents": sources}
            edited = sample(network, tuple(sources.shape[1:]), inputs, inputs, guidance=1.0, steps=STEPS)
            rows = list(zip(sources, edited, self.targets[kind], strict=True))
            # The measure of editkit.judge on latents instead of pixels.
            judged = [judge(source, target, result).success for source, result, target in rows]
            figures[f"success_{kind.replace(' ', '_')}"] = float(np.mean(judged))
            tiles += [latents for row in rows[: SHEET_ROWS // len(INSPECTED)] for latents in row]
        with torch.no_grad():
            sheet(list(self.vae.decode(torch.stack(tiles)).sample), 12, file)
        return figures


def unseen_wording(case: Case) -> str:
    return wordings(UNSEEN, case.pair.attribute, case.source, case.pair.was, case.pair.new)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=2000, batch=96, rate=6e-4, decay=0.998)
    parser.add_argument(
        "--model", type=Path, required=True, metavar="FOLDER", help="initial caption model or instruction model"
    )
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    artwork = data.load_artwork(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.model, subfolder="vae").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.model, subfolder="tokenizer")
    network = read_network(options.model)
    if network.unet.config.in_channels == vae.config.latent_channels:
        network.unet = with_image_channels(network.unet)
    # Shorter averaging than for a denoiser: a longer one would keep weights that ignore the image.
    run = Run(options, network.to(options.device), matrices=hidden_matrices(network, outer=OUTER))
    instructions = InstructionBatches(Lessons(artwork, copy.deepcopy(vae).to(options.device), tokenizer))
    inspection = Inspection(artwork, vae, tokenizer)

    def loss_of(generator: torch.Generator) -> Tensor:
        *inputs, v_target = instructions.batch(options.batch, generator)
        return mean_squared_error(run.network, inputs, v_target, options.device)

    def inspect() -> dict[str, float]:
        average = run.averaged.to("cpu").eval()
        figures = inspection(average, options.run / f"sample-{run.step:06}.png")
        write_models(average, vae, tokenizer, options.run)
        run.averaged.to(options.device)
        return figures

    run.train(loss_of, inspect)


if __name__ == "__main__":
    main()
