"""Train a ControlNet for a finished model, whose own weights stay as they are (Zhang et al., arXiv 2302.05543).

    python -m editkit_emoji.training.controlnet --kind edge --run runs/controlnet-edge

The result, ``weights`` in the run's folder, is a diffusers ControlNetModel in float16.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses as dc
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import image_grid, to_pixels
from editkit_emoji.training.captions import sample_caption
from editkit_emoji.training.conditions import KINDS, Kind, to_control
from editkit_emoji.training.denoiser import (
    TextToLatents,
    draw,
    load_or_encode,
    mean_squared_error,
    read_network,
    tidy,
    unseen_loss,
)
from editkit_emoji.training.evaluate import BUNDLED
from editkit_emoji.training.noising import diffuse, stratified_timesteps
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.tokenizer import tokens_of

EMBEDDING = (16, 32, 64, 96)
"""Channels of the condition's way from pixels to latents: each step after the first halves the sides."""
WITHOUT_CAPTION = 0.2
"""Share of captions left out, beyond those that every training here leaves out: the condition has to do alone."""
SHOWN = 24
"""Held-out images drawn at each inspection."""


class ControlledDenoiser(nn.Module):
    """A model steered by a ControlNet; only the ControlNet learns."""

    def __init__(self, base: TextToLatents, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.controlnet = controlnet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, control: Tensor) -> Tensor:
        """The predicted v (B, C, h, w), as the model's own, told a condition (B, 3, H, W) in [0, 1]."""
        words = self.base.text_encoder(tokens).last_hidden_state
        down, middle = self.controlnet(noisy, timesteps, words, control, return_dict=False)
        predicted: Tensor = self.base.unet(
            noisy, timesteps, words, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return predicted


def new_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """The convolutions of a UNet's first half with its weights, and a condition that has no effect yet.

    Without the attention, whose place is small: a condition says what is where, and words reach the image through
    the UNet.
    """
    config = unet.config
    controlnet = ControlNetModel(
        in_channels=config.in_channels,
        block_out_channels=config.block_out_channels,
        layers_per_block=config.layers_per_block,
        down_block_types=("DownBlock2D",) * len(config.block_out_channels),
        mid_block_type="UNetMidBlock2D",
        norm_num_groups=config.norm_num_groups,
        cross_attention_dim=config.cross_attention_dim,
        attention_head_dim=config.attention_head_dim,
        conditioning_embedding_out_channels=EMBEDDING,
    )
    own, known = controlnet.state_dict(), unet.state_dict()
    fitting = {name: known[name] for name in own if name in known and known[name].shape == own[name].shape}
    controlnet.load_state_dict(own | fitting)
    return controlnet


def read_controlnet(folder: Path) -> ControlNetModel:
    """Read the ControlNet that :func:`write_controlnet` wrote, in float32."""
    return ControlNetModel.from_pretrained(folder, torch_dtype=torch.float32)


def load_base(folder: Path) -> tuple[TextToLatents, AutoencoderKL, PreTrainedTokenizerFast]:
    """The parts of a model's folder."""
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, subfolder="tokenizer")
    return read_network(folder).eval(), vae.eval(), tokenizer


def mirrored_latents(vae: AutoencoderKL, pixels: NDArray[np.uint8], folder: Path) -> Tensor:
    """Latents (2, N, C, h, w) of images (N, H, W, 3) and of their mirror images."""
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    return torch.stack(
        [
            load_or_encode(vae, pixels, folder / "latents.pt"),
            load_or_encode(vae, mirrored, folder / "latents-mirrored.pt"),
        ]
    )


def comparison(columns: list[NDArray[np.uint8]], file: Path) -> None:
    """Write images (N, H, W, 3) of several columns as a sheet, three groups in a row."""
    tiles = [tile for group in zip(*columns, strict=True) for tile in group]
    image_grid(tiles, 3 * len(columns)).save(file)


def as_images(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Grey images (N, H, W, 3) of maps (N, H, W)."""
    return np.repeat(maps[..., None], 3, axis=-1)


def write_controlnet(controlnet: ControlNetModel, folder: Path) -> None:
    copy.deepcopy(controlnet).half().save_pretrained(folder, safe_serialization=True)
    tidy(folder)


@dc.dataclass(frozen=True)
class Examples:
    """Images that have a condition, and all that a training asks of them."""

    emojis: Sequence[data.Emoji]
    pixels: NDArray[np.uint8]
    """(N, H, W, 3)"""
    maps: Tensor
    """Their conditions (N, H, W) uint8."""
    latents: Tensor
    """(2, N, C, h, w), of the images and of their mirror images."""

    def __len__(self) -> int:
        return len(self.emojis)

    def at(self, places: Sequence[int]) -> Examples:
        emojis = [self.emojis[place] for place in places]
        return Examples(emojis, self.pixels[places], self.maps[places], self.latents[:, places])

    def where(self, *, held_out: bool) -> Examples:
        return self.at(data.places(self.emojis, held_out=held_out))


def load_examples(kind: Kind, vae: AutoencoderKL, options: argparse.Namespace) -> Examples:
    emojis, pixels = data.load(options.data, options.size)
    latents = mirrored_latents(vae, pixels, options.run)
    found = {place: drawn for place, emoji in enumerate(pixels) if (drawn := kind.map_of(emoji)) is not None}
    places = list(found)
    maps = torch.from_numpy(np.stack(list(found.values())))
    return Examples([emojis[place] for place in places], pixels[places], maps, latents[:, places])


def sample_batch(
    examples: Examples, tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Noisy latents, timesteps, tokens, conditions, and the v to be predicted, of images drawn at random."""
    chosen = torch.randint(len(examples), (count,), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    silent = torch.rand(count, generator=generator) < WITHOUT_CAPTION
    # A mirror image keeps its caption, left and right and all: where the two disagree, the condition shall win.
    captions = [sample_caption(examples.emojis[place], generator) for place in chosen.tolist()]
    tokens = tokens_of(tokenizer, ["" if quiet else text for quiet, text in zip(silent, captions, strict=True)])
    timesteps = stratified_timesteps(count, generator)
    latents, maps = examples.latents[mirrored.long(), chosen], examples.maps[chosen]
    noisy, wanted = diffuse(latents, torch.randn(latents.shape, generator=generator), timesteps)
    maps = torch.where(mirrored[:, None, None], maps.flip(-1), maps)
    return noisy, timesteps, tokens, to_control(maps), wanted


class Inspection:
    """Held-out images for a run's figures and sheets, with samples of the model alone."""

    def __init__(
        self, kind: Kind, base: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, unseen: Examples
    ) -> None:
        self.kind, self.vae, self.tokenizer, self.unseen = kind, vae, tokenizer, unseen
        self.shown = unseen.at(range(0, len(unseen), math.ceil(len(unseen) / SHOWN)))
        self.without = self.draw(base)

    def tokens(self, examples: Examples) -> Tensor:
        return tokens_of(self.tokenizer, [emoji.caption for emoji in examples.emojis])

    @torch.no_grad()
    def draw(self, network: nn.Module, **control: Tensor) -> NDArray[np.uint8]:
        """Images (N, H, W, 3) of the shown captions, the same noise at every call."""
        prompted = {"tokens": self.tokens(self.shown)} | control
        negative = {"tokens": tokens_of(self.tokenizer, [""] * len(self.shown))} | control
        with autocast():
            drawn = draw(network, tuple(self.shown.latents.shape[2:]), prompted, negative)
        return to_pixels(self.vae.decode(drawn.float()).sample)

    def agreement(self, drawn: NDArray[np.uint8]) -> float:
        """The kind's first measure, on average."""
        return float(np.nan_to_num(self.kind.agreements(drawn, self.shown.maps.numpy()))[:, 0].mean())

    def __call__(self, network: ControlledDenoiser, file: Path) -> dict[str, float]:
        """Write a sheet, condition, drawn with it, without it, original; return the figures of the log."""
        drawn = self.draw(network, control=to_control(self.shown.maps))
        comparison([as_images(self.shown.maps.numpy()), drawn, self.without, self.shown.pixels], file)
        told = {"tokens": self.tokens(self.unseen), "control": to_control(self.unseen.maps)}
        with autocast():
            loss = unseen_loss(network, self.unseen.latents[0], told)
        return {
            "unseen_loss": loss,
            "agreement": self.agreement(drawn),
            "agreement_without": self.agreement(self.without),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=4400, batch=32, rate=7e-4, decay=0.998)
    parser.add_argument("--kind", choices=KINDS, required=True, help="condition of the ControlNet")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="a ControlNet to go on from")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    kind = KINDS[options.kind]
    base, vae, tokenizer = load_base(options.model)
    examples = load_examples(kind, vae, options)
    seen = examples.where(held_out=False)
    inspection = Inspection(kind, base, vae, tokenizer, examples.where(held_out=True))
    # A shorter memory than a denoiser's: for a thousand steps the average would hold weights that had no effect yet.
    controlnet = read_controlnet(options.start) if options.start else new_controlnet(base.unet)
    run = Run(options, controlnet.to(options.device))
    network = ControlledDenoiser(base, run.network).to(options.device)

    def loss_of(generator: torch.Generator) -> Tensor:
        *given, wanted = sample_batch(seen, tokenizer, options.batch, generator)
        return mean_squared_error(network, given, wanted, options.device)

    def inspect() -> dict[str, float]:
        averaged = ControlledDenoiser(base, run.averaged).to("cpu").eval()
        write_controlnet(averaged.controlnet, options.run / "weights")
        figures = inspection(averaged, options.run / f"sample-{run.step:06}.png")
        averaged.to(options.device)
        return figures

    run.train(loss_of, inspect)


if __name__ == "__main__":
    main()
