"""Train a ControlNet for a model with frozen weights (Zhang et al., arXiv 2302.05543).

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
    load_or_encode,
    mean_squared_error,
    read_network,
    sample,
    tidy,
    unseen_loss,
)
from editkit_emoji.training.evaluate import BUNDLED
from editkit_emoji.training.noising import diffuse, stratified_timesteps
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.tokenizer import tokens_of

EMBEDDING = (16, 32, 64, 96)
"""Channels of the condition embedding from pixels to latents; each layer after the first halves the sides."""
WITHOUT_CAPTION = 0.2
"""Additional share of empty captions, so that the ControlNet also works without a caption."""
SHEET_ROWS = 24
"""Held-out images sampled at each inspection."""


class ControlledDenoiser(nn.Module):
    """A denoiser with a ControlNet; only the ControlNet is trained."""

    def __init__(self, base: TextToLatents, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.controlnet = controlnet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, control: Tensor) -> Tensor:
        """Predict v (B, C, h, w) conditioned on text and on ``control`` (B, 3, H, W) in [0, 1]."""
        words = self.base.text_encoder(tokens).last_hidden_state
        down, middle = self.controlnet(noisy, timesteps, words, control, return_dict=False)
        predicted: Tensor = self.base.unet(
            noisy, timesteps, words, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return predicted


def new_controlnet(unet: UNet2DConditionModel) -> ControlNetModel:
    """Copy the convolutions of the first half of a UNet; the initial ControlNet has no effect.

    Unlike the paper, it has no attention layers: the condition fixes the layout, and the UNet itself attends to the
    caption.
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
    own, trained = controlnet.state_dict(), unet.state_dict()
    fitting = {name: trained[name] for name in own if name in trained and trained[name].shape == own[name].shape}
    controlnet.load_state_dict(own | fitting)
    return controlnet


def read_controlnet(folder: Path) -> ControlNetModel:
    """Read the ControlNet that :func:`write_controlnet` wrote, in float32."""
    return ControlNetModel.from_pretrained(folder, torch_dtype=torch.float32)


def load_base(folder: Path) -> tuple[TextToLatents, AutoencoderKL, PreTrainedTokenizerFast]:
    """Load network, autoencoder and tokenizer from a model folder."""
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, subfolder="tokenizer")
    return read_network(folder).eval(), vae.eval(), tokenizer


def mirrored_latents(vae: AutoencoderKL, pixels: NDArray[np.uint8], folder: Path) -> Tensor:
    """Encode images (N, H, W, 3) and their mirror images to latents (2, N, C, h, w)."""
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    return torch.stack(
        [
            load_or_encode(vae, pixels, folder / "latents.pt"),
            load_or_encode(vae, mirrored, folder / "latents-mirrored.pt"),
        ]
    )


def write_comparison(columns: list[NDArray[np.uint8]], file: Path) -> None:
    """Write images (N, H, W, 3) of several columns as a sheet, three groups in a row."""
    tiles = [tile for group in zip(*columns, strict=True) for tile in group]
    image_grid(tiles, 3 * len(columns)).save(file)


def as_images(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert maps (N, H, W) to grey images (N, H, W, 3)."""
    return np.repeat(maps[..., None], 3, axis=-1)


def write_controlnet(controlnet: ControlNetModel, folder: Path) -> None:
    copy.deepcopy(controlnet).half().save_pretrained(folder, safe_serialization=True)
    tidy(folder)


@dc.dataclass(frozen=True)
class Examples:
    """Images with their conditions and latents."""

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
    found = {place: map_ for place, image in enumerate(pixels) if (map_ := kind.map_of(image)) is not None}
    places = list(found)
    maps = torch.from_numpy(np.stack(list(found.values())))
    return Examples([emojis[place] for place in places], pixels[places], maps, latents[:, places])


def sample_batch(
    examples: Examples, tokenizer: PreTrainedTokenizerFast, count: int, generator: torch.Generator
) -> tuple[Tensor, ...]:
    """Sample noisy latents, timesteps, tokens, conditions and the target v of random images."""
    chosen = torch.randint(len(examples), (count,), generator=generator)
    mirrored = torch.rand(count, generator=generator) < 0.5
    silent = torch.rand(count, generator=generator) < WITHOUT_CAPTION
    # A mirror image keeps its caption, including "left" and "right", so that the condition overrides the caption.
    captions = [sample_caption(examples.emojis[place], generator) for place in chosen.tolist()]
    tokens = tokens_of(tokenizer, ["" if quiet else text for quiet, text in zip(silent, captions, strict=True)])
    timesteps = stratified_timesteps(count, generator)
    latents, maps = examples.latents[mirrored.long(), chosen], examples.maps[chosen]
    noisy, v_target = diffuse(latents, torch.randn(latents.shape, generator=generator), timesteps)
    maps = torch.where(mirrored[:, None, None], maps.flip(-1), maps)
    return noisy, timesteps, tokens, to_control(maps), v_target


class Inspection:
    """Held-out images for a run's figures and sheets, with samples of the model alone."""

    def __init__(
        self, kind: Kind, base: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, unseen: Examples
    ) -> None:
        self.kind, self.vae, self.tokenizer, self.unseen = kind, vae, tokenizer, unseen
        self.inspected = unseen.at(range(0, len(unseen), math.ceil(len(unseen) / SHEET_ROWS)))
        self.without = self.sample(base)

    def tokens(self, examples: Examples) -> Tensor:
        return tokens_of(self.tokenizer, [emoji.caption for emoji in examples.emojis])

    @torch.no_grad()
    def sample(self, network: nn.Module, **control: Tensor) -> NDArray[np.uint8]:
        """Sample images (N, H, W, 3) for the inspected captions, from the same noise at every call."""
        prompted = {"tokens": self.tokens(self.inspected)} | control
        negative = {"tokens": tokens_of(self.tokenizer, [""] * len(self.inspected))} | control
        with autocast():
            images = sample(network, tuple(self.inspected.latents.shape[2:]), prompted, negative)
        return to_pixels(self.vae.decode(images.float()).sample)

    def agreement(self, images: NDArray[np.uint8]) -> float:
        """Mean of the kind's first measure."""
        return float(np.nan_to_num(self.kind.agreements(images, self.inspected.maps.numpy()))[:, 0].mean())

    def __call__(self, network: ControlledDenoiser, file: Path) -> dict[str, float]:
        """Write a sheet of condition, sample with and without it, and original; return the figures of the log."""
        images = self.sample(network, control=to_control(self.inspected.maps))
        write_comparison([as_images(self.inspected.maps.numpy()), images, self.without, self.inspected.pixels], file)
        condition = {"tokens": self.tokens(self.unseen), "control": to_control(self.unseen.maps)}
        with autocast():
            loss = unseen_loss(network, self.unseen.latents[0], condition)
        return {
            "unseen_loss": loss,
            "agreement": self.agreement(images),
            "agreement_without": self.agreement(self.without),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=4400, batch=32, rate=7e-4, decay=0.998)
    parser.add_argument("--kind", choices=KINDS, required=True, help="condition of the ControlNet")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="initial ControlNet")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    kind = KINDS[options.kind]
    base, vae, tokenizer = load_base(options.model)
    examples = load_examples(kind, vae, options)
    training = examples.where(held_out=False)
    inspection = Inspection(kind, base, vae, tokenizer, examples.where(held_out=True))
    # Shorter averaging than for a denoiser: a long one would keep the initial, ineffective weights for 1,000 steps.
    controlnet = read_controlnet(options.start) if options.start else new_controlnet(base.unet)
    run = Run(options, controlnet.to(options.device))
    network = ControlledDenoiser(base, run.network).to(options.device)

    def loss_of(generator: torch.Generator) -> Tensor:
        *inputs, v_target = sample_batch(training, tokenizer, options.batch, generator)
        return mean_squared_error(network, inputs, v_target, options.device)

    def inspect() -> dict[str, float]:
        averaged = ControlledDenoiser(base, run.averaged).to("cpu").eval()
        write_controlnet(averaged.controlnet, options.run / "weights")
        figures = inspection(averaged, options.run / f"sample-{run.step:06}.png")
        averaged.to(options.device)
        return figures

    run.train(loss_of, inspect)


if __name__ == "__main__":
    main()
