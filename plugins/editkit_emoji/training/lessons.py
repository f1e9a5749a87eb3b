"""Training batches: captions, pairs of captions in one scene and noise, and instructions with an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from editkit_emoji.training.autoencoder import to_network, to_network_with_alpha
from editkit_emoji.training.data import Artwork
from editkit_emoji.training.moving import may_be_mirrored
from editkit_emoji.training.noising import SCHEDULE, diffuse, stratified_timesteps
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.scenes import STYLE_NUMBERS, Moves, restyle
from editkit_emoji.training.texts import Kind, Texts

MOVES = Moves(moved=0.3, mirrored=0.25, grounds=0.15, company=0.04, near=1.5)
"""Most images stay in place, where framing brings the others at an edit; most moves are short."""
MOVES_BESIDE = Moves(moved=0.6, mirrored=0.25, grounds=0.3, company=0.05, near=1.5)
"""Moves of the other batches of a run that has batches in place."""
SHARES: dict[Kind, float] = {"pair": 0.34, "single": 0.28, "instruction": 0.38}
"""Shares of the rows of a batch; a pair has two."""
REPEATS = 2
"""Rows of a batch per image, with other noise and another timestep: encoding costs a quarter of training."""
SMALLEST = 0.05
"""Mean squared difference of latents below which the weight of a pair stays constant."""
SMALLEST_EDIT = 0.2
"""The same for an instruction, whose error is not one of a difference."""
NOISY = 0.6
"""Exponent of the timesteps of instructions: below 1 most are noisy, as in an edit of few steps."""
WITHOUT_IMAGE = 0.04
"""Share of instructions without an image (Brooks et al., arXiv 2211.09800, section 3.2.1)."""


class Batch(NamedTuple):
    """Inputs and target of a training step."""

    noisy: Tensor
    """(B, C, h, w); sources of pairs, then their targets, then single images, then targets of instructions."""
    timesteps: Tensor
    tokens: Tensor
    image_latents: Tensor
    """(B, C, h, w), the sources of instructions; zero for captions."""
    v_target: Tensor
    """The v (B, C, h, w) of each row."""
    weights: Tensor
    """(pairs,), factors of the squared errors of pair differences."""
    edit_weights: Tensor
    """(instructions,), factors of the squared errors of instructions."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self.noisy, self.timesteps, self.tokens, self.image_latents

    def pair_error(self, predicted: Tensor) -> Tensor:
        """Weighted squared error of the differences v_t - v_s between targets and sources, averaged over pairs.

        Source and target share noise and timestep, so that their difference is sigma times that of the clean latents.
        """
        pairs = len(self.weights)
        error = predicted - self.v_target
        pair_error = error[pairs : 2 * pairs] - error[:pairs]
        return (pair_error.square().mean((1, 2, 3)) * self.weights).mean()

    def edit_error(self, predicted: Tensor) -> Tensor:
        """Weighted squared error of the instructions, averaged over them: small edits count as much as large ones."""
        error = (predicted - self.v_target)[-len(self.edit_weights) :]
        return (error.square().mean((1, 2, 3)) * self.edit_weights).mean()


class Lessons:
    """Sampler of batches on one device; images are encoded at every step, because their scenes never repeat.

    ``in_place`` is the share of batches whose images are all in place and in their own style; those are encoded once.
    """

    def __init__(
        self,
        artwork: Artwork,
        vae: AutoencoderKL,
        texts: Mapping[Kind, Texts],
        moves: Moves = MOVES,
        in_place: float = 0.0,
    ) -> None:
        self.device = str(vae.device)
        self.vae, self.moves, self.in_place = vae, moves, in_place
        self.pixels, self.alpha = (torch.as_tensor(part).to(self.device) for part in (artwork.pixels, artwork.alpha))
        self.mirrorable = torch.tensor([may_be_mirrored(emoji.title) for emoji in artwork.emojis], device=self.device)
        self.texts = {kind: part.to(self.device) for kind, part in texts.items()}
        if in_place:
            self.own_style = {kind: part.where(~part.restyled) for kind, part in self.texts.items()}
            self.latents = torch.cat([self.encode(to_network(part)) for part in torch.split(self.pixels, 256)])

    def images(self, places: Tensor) -> Tensor:
        """Return the images (N, 4, H, W) at indices of the artwork, colours in [-1, 1] and alpha in [0, 1]."""
        return to_network_with_alpha(self.pixels[places], self.alpha[places])

    def batch(self, size: int, generator: torch.Generator) -> Batch:
        """Sample about ``size`` rows, always as many; every image of a scene is in :data:`REPEATS` of them."""
        in_place = self.in_place > 0 and float(torch.rand((), generator=generator, device=self.device)) < self.in_place
        repeats = 1 if in_place else REPEATS
        # All batches have one shape, for which a network is compiled once.
        counts = {kind: max(1, round(share * size / REPEATS)) for kind, share in SHARES.items()}
        counts["pair"] = max(1, counts["pair"] // 2)
        counts = {kind: count * REPEATS // repeats for kind, count in counts.items()}
        texts = self.own_style if in_place else self.texts
        chosen = {kind: texts[kind].sample(count, generator) for kind, count in counts.items()}
        sources, targets = self.look_up(chosen) if in_place else self.encode_in_scenes(chosen, generator)
        pair, single, instruction = (chosen[kind].tokens for kind in SHARES)
        # Parts in the order of Batch.
        clean = repeated(repeats, sources["pair"], targets["pair"], sources["single"], targets["instruction"])
        tokens = repeated(repeats, pair[:, 0], pair[:, 1], single[:, 1], instruction[:, 1])
        with_image = torch.rand(counts["instruction"], 1, 1, 1, generator=generator, device=self.device)
        given = repeated(repeats, sources["instruction"] * (with_image >= WITHOUT_IMAGE))
        image_latents = torch.cat([torch.zeros_like(clean[: -len(given)]), given])
        strata = {kind: stratified_timesteps(repeats * count, generator) for kind, count in counts.items()}
        strata["instruction"] = noisier(strata["instruction"])
        timesteps = torch.cat([strata["pair"], *strata.values()])
        noise = torch.randn(clean.shape, generator=generator, device=self.device)
        pairs = len(strata["pair"])
        noise[pairs : 2 * pairs] = noise[:pairs]  # a target shares the noise of its source
        noisy, v_target = diffuse(clean, noise, timesteps)
        difference = mean_square(clean[pairs : 2 * pairs] - clean[:pairs]).clamp(min=SMALLEST)
        edited = mean_square(clean[-len(given) :] - given).clamp(min=SMALLEST_EDIT)
        return Batch(noisy, timesteps, tokens, image_latents, v_target, 1 / difference, 1 / edited)

    def look_up(self, chosen: Mapping[Kind, Texts]) -> tuple[dict[Kind, Tensor], dict[Kind, Tensor]]:
        """Return latents of sources and targets in place by kind."""
        ends = [{kind: self.latents[part.places[:, end]] for kind, part in chosen.items()} for end in (0, 1)]
        return ends[0], ends[1]

    def encode_in_scenes(
        self, chosen: Mapping[Kind, Texts], generator: torch.Generator
    ) -> tuple[dict[Kind, Tensor], dict[Kind, Tensor]]:
        """Return latents of sources and targets by kind, both in one scene; single images are sources."""
        kinds: list[Kind] = ["pair", "instruction", "single"]  # the kinds with targets first
        counts = [len(chosen[kind].places) for kind in kinds]
        places = torch.cat([chosen[kind].places for kind in kinds])
        restyled = torch.cat([chosen[kind].restyled for kind in kinds])
        others = places[torch.randint(len(places), (len(places),), generator=generator, device=self.device), 0]
        mirror = self.mirrorable[places].all(1)
        scenes = self.moves.sample(self.pixels.shape[1], mirror, self.images(others), generator)
        style = torch.rand(STYLE_NUMBERS, len(places), generator=generator, device=self.device)
        encoded = []
        for end, count in ((0, sum(counts)), (1, sum(counts[:2]))):
            images = self.images(places[:count, end])
            redrawn = restyle(images, style[:, :count])
            images = torch.where(restyled[:count, None, None, None], redrawn, images)
            encoded.append(self.encode(scenes[:count](images)))
        sources, targets = torch.split(encoded[0], counts), torch.split(encoded[1], counts[:2])
        return dict(zip(kinds, sources, strict=True)), dict(zip(kinds[:2], targets, strict=True))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images (B, 3, H, W) to latents (B, C, h, w)."""
        with autocast(self.device):
            latents: Tensor = self.vae.encode(images).latent_dist.mode()
        return latents.float()


def mean_square(values: Tensor) -> Tensor:
    """Mean (B,) of the squares of each row of (B, C, h, w)."""
    return values.square().mean((1, 2, 3))


def noisier(timesteps: Tensor) -> Tensor:
    """Move timesteps towards the last one by :data:`NOISY`."""
    steps = SCHEDULE.train_steps
    return (((timesteps + 0.5) / steps) ** NOISY * steps).long()


def repeated(times: int, *parts: Tensor) -> Tensor:
    """Concatenate parts along their first axis, each of them several times."""
    return torch.cat([part for part in parts for _ in range(times)])
