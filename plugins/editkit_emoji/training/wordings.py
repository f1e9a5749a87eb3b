"""Train the text encoder on further wordings of instructions, with the UNet and the embeddings of captions unchanged.

    python -m editkit_emoji.training.wordings --start runs/denoiser/instruct --run runs/wordings

An instruction in a wording that training did not contain fails by its text: the same edit in a trained wording succeeds
more often. The loss is the error of v of the frozen UNet under instructions of :mod:`.grammar`, and a penalty on
changes of the embeddings of captions, which the caption model shares. Timesteps are mostly the last one, where the
image and the instruction alone decide the result. Then, without the UNet, the embeddings of captions are brought back
while those of instructions are held, and last the changes are reduced by a share.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from editkit_emoji.training import data
from editkit_emoji.training.denoiser import Inspection, predict
from editkit_emoji.training.lessons import SMALLEST_EDIT, mean_square
from editkit_emoji.training.model_folder import read_network
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.network import OUTER, TextToLatents
from editkit_emoji.training.noising import SCHEDULE, diffuse, encode
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.texts import Texts, sample_texts

LAST = 0.5
"""Share of rows at the last timestep, the first one of every edit; the others are uniform."""
CAPTIONS = 96
"""Texts of a step whose embeddings are compared."""
CAPTION_WEIGHT = 2.0
"""Weight of the change of their embeddings, relative to the variance of embeddings."""
BACK, BACK_STEPS, BACK_RATE = 4.0, 200, 4e-4
"""Weight of captions relative to instructions, steps and learning rate of bringing the embeddings of captions back."""

SHARE = 0.7
"""Share of the changes that is kept: with all of them fewer edits between captions succeed."""


class WordingLoss:
    """Loss of a text encoder on instructions in place, with the changes of the embeddings of captions."""

    def __init__(
        self, network: TextToLatents, latents: Tensor, instructions: Texts, captions: Texts, options: argparse.Namespace
    ) -> None:
        self.network, self.latents, self.options = network, latents, options
        self.instructions, self.captions = instructions.where(~instructions.restyled), captions
        self.before = copy.deepcopy(network.text_encoder).requires_grad_(False)
        sample = self.captions.tokens[:1000, 1].to(options.device).long()
        self.variance = embed(self.before, sample).var(0).mean()

    def __call__(self, generator: torch.Generator) -> Tensor:
        return self.edit_error(generator) + CAPTION_WEIGHT * self.caption_error(generator)

    def edit_error(self, generator: torch.Generator) -> Tensor:
        """Squared error of v under instructions; small edits count as much as large ones."""
        rows: int = self.options.batch
        chosen = self.instructions.sample(rows, generator)
        sources, targets = (self.latents[chosen.places[:, end]] for end in (0, 1))
        numbers = torch.rand(2, rows, generator=generator, device=generator.device)
        timesteps = torch.where(numbers[0] < LAST, SCHEDULE.train_steps - 1, numbers[1] * SCHEDULE.train_steps).long()
        noise = torch.randn(targets.shape, generator=generator, device=generator.device)
        noisy, v_target = diffuse(targets, noise, timesteps)
        predicted = predict(self.network, (noisy, timesteps, chosen.tokens[:, 1], sources), self.options.device)
        weights = 1 / mean_square(targets - sources).clamp(min=SMALLEST_EDIT)
        return (mean_square(predicted - v_target) * weights).mean()

    def caption_error(self, generator: torch.Generator) -> Tensor:
        """Squared change of the embeddings of captions, in their variance."""
        return self.change(self.captions, self.before, generator)

    def change(self, texts: Texts, before: CLIPTextModel, generator: torch.Generator) -> Tensor:
        """Squared change of the embeddings of some texts since an earlier text encoder, in the variance of captions."""
        tokens = texts.sample(CAPTIONS, generator).tokens[:, 1]
        with torch.no_grad():
            goal = embed(before, tokens)
        return (embed(self.network.text_encoder, tokens) - goal).square().mean() / self.variance

    def bring_captions_back(self, steps: int = BACK_STEPS, rate: float = BACK_RATE) -> None:
        """Bring the embeddings of captions back to those before training, and hold those of instructions."""
        trained = copy.deepcopy(self.network.text_encoder).requires_grad_(False)
        optimiser = torch.optim.AdamW(self.network.text_encoder.parameters(), lr=rate, weight_decay=0.0)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for step in range(steps):
            generator = torch.Generator(self.options.device).manual_seed(step)
            changed = self.change(self.captions, self.before, generator)
            held = self.change(self.instructions, trained, generator)
            (BACK * changed + held).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
            falling.step()

    @torch.no_grad()
    def reduce_changes(self, share: float = SHARE) -> None:
        """Keep a share of the changes of the weights, and all changes of tokens that no caption has."""
        encoder = self.network.text_encoder
        tokens = encoder.get_input_embeddings().weight
        free = torch.ones(len(tokens), dtype=torch.bool, device=tokens.device)
        free[self.captions.tokens.flatten().long()] = False
        trained = tokens[free].clone()
        for weight, before in zip(encoder.parameters(), self.before.parameters(), strict=True):
            weight.copy_(before.lerp(weight, share))
        tokens[free] = trained


def embed(text_encoder: CLIPTextModel, tokens: Tensor) -> Tensor:
    """Embed tokens (B, L) to (B, L, C)."""
    with autocast(tokens.device.type):
        embedded: Tensor = text_encoder(tokens).last_hidden_state
    return embedded.float()


def train(
    network: TextToLatents,
    tokenizer: PreTrainedTokenizerFast,
    vae: AutoencoderKL,
    artwork: data.Artwork,
    options: argparse.Namespace,
) -> None:
    """Train the text encoder of a network with image channels, and write both models at every inspection."""
    inspection = Inspection(artwork, vae, tokenizer)
    network.to(options.device).unet.to(memory_format=torch.channels_last).requires_grad_(False)
    texts = sample_texts(artwork.emojis, tokenizer, options.texts, options.workers, ("instruction", "single"))
    instructions, captions = (texts[kind].to(options.device) for kind in ("instruction", "single"))
    latents = encode(copy.deepcopy(vae).to(options.device), artwork.pixels)
    loss = WordingLoss(network, latents, instructions, captions, options)
    run = Run(options, network, matrices=hidden_matrices(network.text_encoder, outer=OUTER))
    run.train(loss, lambda: inspection.of_run(run))
    if run.progress >= 1:
        loss.network = run.averaged
        loss.bring_captions_back()
        loss.reduce_changes()
        run.log(**inspection.of_run(run))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=1000, batch=96, rate=1e-3, decay=0.99)
    parser.add_argument("--start", type=Path, required=True, metavar="FOLDER", help="instruction model")
    parser.add_argument("--texts", type=int, default=100_000, help="instructions and captions")
    parser.add_argument("--workers", type=int, default=0, help="processes that sample them")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    artwork = data.load_artwork(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.start / "vae").eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(options.start / "tokenizer")
    train(read_network(options.start), tokenizer, vae, artwork, options)


if __name__ == "__main__":
    main()
