"""Training batches with captions: images in random scenes, and pairs that share scene, noise and timestep."""

from __future__ import annotations

import dataclasses as dc
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from editkit_emoji.training.autoencoder import to_network
from editkit_emoji.training.captions import sample_caption, sample_caption_pair
from editkit_emoji.training.data import Artwork, places
from editkit_emoji.training.moving import Moves, may_be_mirrored
from editkit_emoji.training.noising import diffuse, stratified_timesteps
from editkit_emoji.training.pairs import Pair, training_pairs
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.tokenizer import tokens_of

MOVES = Moves(moved=0.3, mirrored=0.25, grounds=0.15, company=0.04, near=1.5)
"""Most images stay in place, where framing brings the others at an edit; most moves are short."""
PAIRED = 0.5
"""Share of the rows of a batch that are sources and targets of pairs."""
STYLED = 0.3
"""Share of pairs that differ in style, which have the smallest differences."""
REPEATS = 2
"""Rows of a batch per image: encoding an image costs a quarter of training on it."""
SMALLEST = 0.05
"""Mean squared difference of latents below which the weight of a pair stays constant."""


class Batch(NamedTuple):
    """Inputs and target of a training step."""

    noisy: Tensor
    """(B, C, h, w); first the sources of pairs, then their targets, then single images."""
    timesteps: Tensor
    tokens: Tensor
    v_target: Tensor
    """The v (B, C, h, w) of each row."""
    weights: Tensor
    """(pairs,), factors of the squared errors of pair differences."""

    def pair_error(self, predicted: Tensor) -> Tensor:
        """Weighted squared error of the differences v_t - v_s between targets and sources, averaged over pairs.

        Source and target share noise and timestep, so that their difference is sigma times that of the clean latents.
        """
        pairs = len(self.weights)
        error = predicted - self.v_target
        pair_error = error[pairs : 2 * pairs] - error[:pairs]
        return (pair_error.square().mean((1, 2, 3)) * self.weights).mean()


class ImageBatch(NamedTuple):
    """Images of a batch: those of pairs first, sources before targets, then single ones."""

    images: Tensor
    """(N, 3, H, W) in [-1, 1]."""
    tokens: Tensor
    """(N, L)."""
    timesteps: Tensor
    """Of the batch's rows."""
    noise_seed: int
    pairs: int


@dc.dataclass
class Lessons:
    """Sampler of batches; images are encoded at every step, because their scenes never repeat."""

    artwork: Artwork
    vae: AutoencoderKL
    tokenizer: PreTrainedTokenizerFast
    moves: Moves = MOVES

    def __post_init__(self) -> None:
        self.training_places = places(self.artwork.emojis, held_out=False)
        self.pairs = training_pairs(self.artwork.emojis)
        self.pair_weights = weights_of(self.pairs)

    def batch(self, size: int, generator: torch.Generator) -> Batch:
        """Sample ``size`` rows; every image is in :data:`REPEATS` of them, with other noise and another timestep."""
        return self.encode_batch(self.sample(size, generator))

    def sample(self, size: int, generator: torch.Generator) -> ImageBatch:
        """Sample the data of a batch, without evaluating a network."""
        count, alone = round(PAIRED * size / 2 / REPEATS), round((1 - PAIRED) * size / REPEATS)
        pairs, singles = self.sample_pairs(count, generator), self.sample_places(alone, generator)
        images = [self.in_one_scene([pair.source, pair.target], generator) for pair in pairs]
        images_alone = [self.in_one_scene([place], generator)[0] for place in singles]
        sources, targets = zip(*images, strict=True)
        texts = self.captions(pairs, singles, generator)
        timesteps = [stratified_timesteps(REPEATS * part, generator) for part in (count, alone)]
        return ImageBatch(
            torch.stack([*sources, *targets, *images_alone]),
            tokens_of(self.tokenizer, texts),
            torch.cat([timesteps[0], *timesteps]),
            int(torch.randint(2**62, (), generator=generator)),
            count,
        )

    def encode_batch(self, batch: ImageBatch) -> Batch:
        """Encode images and add noise."""
        encoded = self.encode(batch.images)
        # Parts in the order of Batch, each of them REPEATS times.
        alone = len(encoded) - 2 * batch.pairs
        parts = torch.split(torch.arange(len(encoded)), [batch.pairs, batch.pairs, alone])
        rows = torch.cat([part.repeat(REPEATS) for part in parts])
        clean, paired = encoded[rows], batch.pairs * REPEATS
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(batch.noise_seed)).to(clean)
        noise[paired : 2 * paired] = noise[:paired]  # a target shares the noise of its source
        noisy, v_target = diffuse(clean, noise, batch.timesteps)
        difference = (clean[paired : 2 * paired] - clean[:paired]).square().mean((1, 2, 3))
        return Batch(noisy, batch.timesteps, batch.tokens[rows], v_target, 1 / difference.clamp(min=SMALLEST))

    def sample_pairs(self, count: int, generator: torch.Generator) -> list[Pair]:
        chosen = torch.multinomial(self.pair_weights, count, replacement=True, generator=generator)
        return [self.pairs[index] for index in chosen.tolist()]

    def sample_places(self, count: int, generator: torch.Generator) -> list[int]:
        return [
            self.training_places[index]
            for index in torch.randint(len(self.training_places), (count,), generator=generator).tolist()
        ]

    def in_one_scene(self, chosen: Sequence[int], generator: torch.Generator) -> list[Tensor]:
        """Return the images (3, H, W) at indices of the artwork, all in one scene."""
        mirror = all(may_be_mirrored(self.artwork.emojis[place].title) for place in chosen)
        (other,) = self.sample_places(1, generator)
        scene = self.moves.scene(self.artwork.pixels.shape[1], generator, mirror=mirror, other=self.image(other))
        return [scene(*self.image(place)) for place in chosen]

    def image(self, place: int) -> tuple[Tensor, Tensor]:
        """Return the image (3, H, W) at an index, in [-1, 1], and its alpha (1, H, W)."""
        return to_network(self.artwork.pixels[place][None])[0], torch.tensor(self.artwork.alpha[place])[None] / 255

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images (B, 3, H, W) to latents (B, C, h, w) on the device of the autoencoder."""
        device = self.vae.device
        with autocast(device.type):
            latents: Tensor = self.vae.encode(images.to(device)).latent_dist.mode()
        return latents.float()

    def captions(self, pairs: Sequence[Pair], singles: Sequence[int], generator: torch.Generator) -> list[str]:
        emojis = self.artwork.emojis
        paired = [sample_caption_pair(emojis[pair.source], emojis[pair.target], generator) for pair in pairs]
        alone = [sample_caption(emojis[place], generator) for place in singles]
        return [*(source for source, _ in paired), *(target for _, target in paired), *alone]


def weights_of(pairs: Sequence[Pair]) -> Tensor:
    """Sampling weights of pairs: :data:`STYLED` for style, others by the square root of the attribute's pair count."""
    counts = Counter(pair.attribute for pair in pairs)
    shares = {attribute: count**0.5 for attribute, count in counts.items() if attribute != "style"}
    scale = (1 - STYLED) / (sum(shares.values()) or 1.0)
    shares = {attribute: share * scale for attribute, share in shares.items()} | {"style": STYLED}
    return torch.tensor([shares[pair.attribute] / counts[pair.attribute] for pair in pairs])
