"""Train a ControlNet for a model with frozen weights (Zhang et al., arXiv 2302.05543).

    python -m editkit_emoji.training.controlnet --kinds edge relief --run runs/controlnet

One network serves all kinds of conditions, which it distinguishes by their looks. The result, ``weights`` in the run's
folder, is a diffusers ControlNetModel whose large weights are in float8.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor, multiprocessing, nn
from transformers import PreTrainedTokenizerFast

from editkit_emoji.training import data
from editkit_emoji.training.autoencoder import image_grid, to_pixels
from editkit_emoji.training.conditions import KINDS, Map, to_control
from editkit_emoji.training.denoiser import mean_squared_error, sample, unseen_loss
from editkit_emoji.training.evaluate import BUNDLED
from editkit_emoji.training.model_folder import read_network, store_in_8_bits, tidy
from editkit_emoji.training.network import TextToLatents
from editkit_emoji.training.noising import diffuse, encode, stratified_timesteps
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.texts import Texts, sample_texts
from editkit_emoji.training.tokenizer import tokens_of

EMBEDDING = (16, 32, 64, 96)
"""Channels of the condition embedding from pixels to latents; each layer after the first halves the sides."""
WITHOUT_CAPTION = 0.2
"""Additional share of empty captions, so that the ControlNet also works without a caption."""
INSPECTED = 2
"""An inspection uses every second held-out image."""
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


class Model(NamedTuple):
    """A model with frozen weights."""

    network: TextToLatents
    vae: AutoencoderKL
    tokenizer: PreTrainedTokenizerFast


def load_base(folder: Path) -> Model:
    """Load network, autoencoder and tokenizer from a model folder."""
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, subfolder="tokenizer")
    return Model(read_network(folder).eval(), vae.eval(), tokenizer)


def write_comparison(columns: list[NDArray[np.uint8]], file: Path) -> None:
    """Write images (N, H, W, 3) of several columns as a sheet, three groups in a row."""
    tiles = [tile for group in zip(*columns, strict=True) for tile in group]
    image_grid(tiles, 3 * len(columns)).save(file)


def as_images(maps: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert maps (N, H, W) to grey images (N, H, W, 3)."""
    return np.repeat(maps[..., None], 3, axis=-1)


def write_controlnet(controlnet: ControlNetModel, folder: Path) -> None:
    copy.deepcopy(controlnet).cpu().half().save_pretrained(folder, safe_serialization=True)
    store_in_8_bits(folder)
    tidy(folder)


class Maps(NamedTuple):
    """Conditions of the images of an artwork."""

    values: Tensor
    """(kinds, N, H, W) uint8."""
    valid: Tensor
    """(kinds, N) bool: the image has a condition of the kind."""

    def to(self, device: str) -> Maps:
        return Maps(*(part.to(device) for part in self))


def maps_of(kinds: Sequence[str], pixels: NDArray[np.uint8], workers: int = 0) -> Maps:
    """Compute the conditions of images (N, H, W, 3) in ``workers`` processes, or in this one for 0."""
    names = [name for name in kinds for _ in pixels]
    images = [image for _ in kinds for image in pixels]
    if workers:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(_map_of, names, images, chunksize=64))
    else:
        found = list(map(_map_of, names, images))
    empty = np.zeros(pixels.shape[1:3], np.uint8)
    values = torch.from_numpy(np.stack([empty if each is None else each for each in found]))
    valid = torch.tensor([each is not None for each in found])
    shape = len(kinds), len(pixels)
    return Maps(values.view(*shape, *empty.shape), valid.view(shape))


def _map_of(kind: str, image: NDArray[np.uint8]) -> Map | None:
    return KINDS[kind].map_of(image)


class Examples:
    """Sampler of batches of the training images, with conditions of random kinds, on one device."""

    def __init__(self, maps: Maps, latents: Tensor, captions: Texts, silence: Tensor) -> None:
        """``latents`` (2, N, C, h, w) are of the images and of their mirror images; ``captions`` are of single ones.

        ``silence`` (1, L) are the tokens of the empty caption.
        """
        device = str(latents.device)
        self.latents, self.maps = latents, maps.to(device)
        # A condition has one style; a caption of a redrawn image is not true of it.
        kept = ~captions.restyled & maps.valid.any(0)[captions.places[:, 0].long()]
        self.captions = captions.where(kept).to(device)
        self.silence = silence.to(device)

    def batch(self, count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Sample noisy latents, timesteps, tokens, conditions and the target v of random images."""
        chosen = self.captions.sample(count, generator)
        places, device = chosen.places[:, 0], self.latents.device
        silent, mirrored, which = torch.rand(3, count, generator=generator, device=device)
        # A mirror image keeps its caption, including "left" and "right", so that the condition overrides the caption.
        tokens = torch.where((silent < WITHOUT_CAPTION)[:, None], self.silence, chosen.tokens[:, 0])
        mirrored = mirrored < 0.5
        valid = self.maps.valid[:, places].float()
        kind = ((which * valid.sum(0)).floor()[None] < valid.cumsum(0)).int().argmax(0)
        maps = self.maps.values[kind, places]
        maps = torch.where(mirrored[:, None, None], maps.flip(-1), maps)
        timesteps = stratified_timesteps(count, generator)
        latents = self.latents[mirrored.long(), places]
        noise = torch.randn(latents.shape, generator=generator, device=device)
        noisy, v_target = diffuse(latents, noise, timesteps)
        return noisy, timesteps, tokens, to_control(maps), v_target


class Inspection:
    """Held-out images with one kind of condition, for a run's figures and sheets, with samples of the model alone."""

    def __init__(self, kind: str, artwork: data.Artwork, model: Model) -> None:
        base, vae, tokenizer = model
        self.kind, self.vae, self.tokenizer = KINDS[kind], vae, tokenizer
        places = data.places(artwork.emojis, held_out=True)[::INSPECTED]
        maps = maps_of([kind], artwork.pixels[places])
        self.maps = maps.values[0][maps.valid[0]]
        kept = [place for place, valid in zip(places, maps.valid[0].tolist(), strict=True) if valid]
        self.pixels = artwork.pixels[kept]
        self.latents = encode(vae, self.pixels)
        self.tokens = tokens_of(tokenizer, [artwork.emojis[place].caption for place in kept])
        self.shown = slice(None, None, math.ceil(len(kept) / SHEET_ROWS))
        self.without = self.sample(base)

    @torch.no_grad()
    def sample(self, network: nn.Module, **control: Tensor) -> NDArray[np.uint8]:
        """Sample images (N, H, W, 3) for the shown captions, from the same noise at every call."""
        tokens = self.tokens[self.shown]
        negative = {"tokens": tokens_of(self.tokenizer, [""] * len(tokens))} | control
        latents = sample(network, tuple(self.latents.shape[1:]), {"tokens": tokens} | control, negative)
        return to_pixels(self.vae.decode(latents).sample)

    def agreement(self, images: NDArray[np.uint8]) -> float:
        """Mean of the kind's first measure."""
        return float(np.nan_to_num(self.kind.agreements(images, self.maps[self.shown].numpy()))[:, 0].mean())

    def __call__(self, network: ControlledDenoiser, file: Path) -> dict[str, float]:
        """Write a sheet of condition, sample with and without it, and original; return the figures of the log."""
        maps = self.maps[self.shown]
        images = self.sample(network, control=to_control(maps))
        write_comparison([as_images(maps.numpy()), images, self.without, self.pixels[self.shown]], file)
        return {
            "unseen_loss": unseen_loss(
                network, self.latents, {"tokens": self.tokens, "control": to_control(self.maps)}
            ),
            "agreement": self.agreement(images),
            "agreement_without": self.agreement(self.without),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=4400, batch=32, rate=7e-4, decay=0.998)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="conditions of the ControlNet")
    parser.add_argument("--model", type=Path, default=BUNDLED, metavar="FOLDER", help="in diffusers format")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="initial ControlNet")
    parser.add_argument("--texts", type=int, default=100_000, help="number of captions")
    parser.add_argument("--workers", type=int, default=0, help="processes that compute captions and conditions")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    artwork = data.load_artwork(options.data, options.size)
    model = load_base(options.model)
    texts = sample_texts(artwork.emojis, model.tokenizer, options.texts, options.workers, kinds=["single"])
    maps = maps_of(options.kinds, artwork.pixels, options.workers)
    controlnet = read_controlnet(options.start) if options.start else new_controlnet(model.network.unet)
    train(controlnet, model, artwork, maps, texts["single"], options)


def train(
    controlnet: ControlNetModel,
    model: Model,
    artwork: data.Artwork,
    maps: Maps,
    captions: Texts,
    options: argparse.Namespace,
) -> ControlNetModel:
    """Train a ControlNet for a model and return its average."""
    base, vae, tokenizer = model
    base.to(options.device)
    inspections = {kind: Inspection(kind, artwork, model) for kind in options.kinds}
    encoder = copy.deepcopy(vae).to(options.device)
    mirrored = np.ascontiguousarray(artwork.pixels[:, :, ::-1])
    latents = torch.stack([encode(encoder, pixels) for pixels in (artwork.pixels, mirrored)])
    examples = Examples(maps, latents, captions, tokens_of(tokenizer, [""]))
    # Shorter averaging than for a denoiser: a long one would keep the initial, ineffective weights for 1,000 steps.
    run = Run(options, controlnet.to(options.device))
    network = ControlledDenoiser(base, run.network).to(options.device)

    def loss_of(generator: torch.Generator) -> Tensor:
        *inputs, v_target = examples.batch(options.batch, generator)
        return mean_squared_error(network, inputs, v_target, options.device)

    def inspect() -> dict[str, float]:
        averaged = ControlledDenoiser(base, run.averaged).eval()
        write_controlnet(averaged.controlnet, options.run / "weights")
        found = {kind: each(averaged, options.run / f"{kind}-{run.step:06}.png") for kind, each in inspections.items()}
        return {f"{kind}_{name}": value for kind, figures in found.items() for name, value in figures.items()}

    run.train(loss_of, inspect)
    return run.averaged


if __name__ == "__main__":
    main()
