"""Train the text encoder and the UNet on an autoencoder's latents, and write the whole model as a diffusers folder.

    python -m editkit_emoji.training.denoiser --vae runs/autoencoder/weights --run runs/denoiser

The forward process, the objective and the sampling of the inspection sheets are the library's own.
"""

from __future__ import annotations

import argparse
import copy
import functools
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from editkit import (
    Condition,
    Noise,
    Point,
    PointBatch,
    TimestepGrid,
    classifier_free,
    ddim_step,
    make_path,
    timestep_of,
    to_x0,
    walk,
)
from editkit import Denoiser as Denoise
from editkit_emoji.training import data
from editkit_emoji.training.ahead import Prefetcher
from editkit_emoji.training.autoencoder import moved_versions, sheet
from editkit_emoji.training.lessons import Lessons
from editkit_emoji.training.muon import hidden_matrices
from editkit_emoji.training.noising import SCHEDULE, diffuse, encode, stratified_timesteps
from editkit_emoji.training.precision import autocast
from editkit_emoji.training.run import Run, add_run_options
from editkit_emoji.training.tokenizer import new_tokenizer, tokens_of

GRID = TimestepGrid(spacing="trailing", ends_clean=True)
SCHEDULER = DDIMScheduler(
    beta_start=0.00085,
    beta_end=0.012,
    beta_schedule="scaled_linear",
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    timestep_spacing="trailing",
    steps_offset=1,  # has no effect here; diffusers pipelines warn about other values
    set_alpha_to_one=True,
    clip_sample=False,
)
"""Schedule and grid as a diffusers scheduler."""

WIDTHS = (128, 224)
TEXT_WIDTH = 256
PAIR_WEIGHT = 0.2
"""Weight of the loss on pair differences relative to the loss on single images."""
INSPECTED = 4
"""An inspection uses every fourth held-out image."""
LARGEST_SHARD = 14_900_000
"""Largest size of a weight file in bytes."""
ENTRY = "conv_in."
"""Prefix of the input layer of the UNet."""
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


class TextToLatents(nn.Module):
    """Text encoder and UNet as one network with one optimiser and one average."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, image_latents: Tensor | None = None) -> Tensor:
        """Predict v (B, C, h, w) for noisy latents of the same shape at timesteps (B,), conditioned on tokens (B, L).

        ``image_latents`` (B, C, h, w) fill the image channels of a UNet that has them; None is zeros.
        """
        words = self.text_encoder(tokens).last_hidden_state
        if self.unet.config.in_channels > noisy.shape[1]:
            noisy = torch.cat([noisy, torch.zeros_like(noisy) if image_latents is None else image_latents], 1)
        predicted: Tensor = self.unet(noisy, timesteps, encoder_hidden_states=words).sample
        return predicted


OUTER = ("token_embedding", "position_embedding", "conv_in", "conv_out")
"""Layers at which words and latents enter and leave: optimised by AdamW, not Muon."""


def read_network(folder: Path) -> TextToLatents:
    """Load the network from a folder of :func:`write_model`, in float32."""
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return TextToLatents(text_encoder, unet)


def new_network(tokenizer: PreTrainedTokenizerFast, channels: int, side: int, widths: tuple[int, int]) -> TextToLatents:
    """Return an untrained network for latents (B, channels, side, side)."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )
    return TextToLatents(CLIPTextModel(text), unet)


def load_or_encode(vae: AutoencoderKL, pixels: np.ndarray, file: Path) -> Tensor:
    """Return the result of :func:`encode`, cached in ``file`` for a restart of the run."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(encode(vae, pixels), file)
    latents: Tensor = torch.load(file, weights_only=True)
    return latents


def predict(network: nn.Module, inputs: Iterable[Tensor], device: str) -> Tensor:
    """Return the output of a network on ``device`` in one training step, in float32."""
    # The backward pass of the fused kernel is a third of a step on a CPU; for 64 positions the plain product is faster.
    with sdpa_kernel(SDPBackend.MATH), autocast(device):
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
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = stratified_timesteps(len(latents), generator)
    noisy, v_target = diffuse(latents, noise, timesteps)
    errors = []
    for rows in torch.split(torch.arange(len(latents)), 64):
        inputs = {name: tensor[rows] for name, tensor in condition.items()}
        errors.append((network(noisy[rows], timesteps[rows], **inputs) - v_target[rows]).square().mean((1, 2, 3)))
    return float(torch.cat(errors).mean())


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

    The network is called as by :func:`unseen_loss`; both conditions hold ``tokens`` (B, L).
    """

    def clean(x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        timesteps = timestep_of(SCHEDULE, point, x).round().expand(len(x))
        return to_x0("v_prediction", network(x, timesteps, **condition), x, point)

    def step(denoise: Denoise, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
        return ddim_step(x, denoise(x, p), p, q)

    start = torch.randn((len(prompted["tokens"]), *shape), generator=torch.Generator().manual_seed(0))
    guided = classifier_free(clean, prompted, negative, guidance)
    *_, latents = walk(step, guided, start, make_path(SCHEDULE, steps, GRID))
    return latents


def write_model(network: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model folder, of captions or with image channels: float16 safetensors in shards."""
    parts = copy.deepcopy(network).half()
    has_image_channels = network.unet.config.in_channels > vae.config.latent_channels
    kind = StableDiffusionInstructPix2PixPipeline if has_image_channels else StableDiffusionPipeline
    pipeline = kind(
        vae=copy.deepcopy(vae).half(),
        text_encoder=parts.text_encoder,
        tokenizer=tokenizer,
        unet=parts.unet,
        scheduler=SCHEDULER,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    save_in_shards(parts.unet, folder / "unet")
    tidy(folder)


def save_in_shards(unet: UNet2DConditionModel, folder: Path) -> None:
    """Write weights in shards; the first file holds only the input layer.

    A model with image channels differs from the caption model in this layer only, so that both share the other files.
    """
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    weights = unet.state_dict()
    shards: list[dict[str, Tensor]] = [
        {name: weights.pop(name) for name in list(weights) if name.startswith(ENTRY)},
        {},
    ]
    for name, weight in weights.items():
        if sum(map(nbytes, shards[-1].values())) + nbytes(weight) > LARGEST_SHARD:
            shards.append({})
        shards[-1][name] = weight
    file_of: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = folder / f"diffusion_pytorch_model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: weight.contiguous() for name, weight in shard.items()}, file, metadata={"format": "pt"})
        file_of |= dict.fromkeys(shard, file.name)
    size = sum(map(nbytes, unet.state_dict().values()))
    index = {"metadata": {"total_size": size}, "weight_map": file_of}
    (folder / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))


def nbytes(weight: Tensor) -> int:
    return weight.numel() * weight.element_size()


def tidy(folder: Path) -> None:
    """Make the saved configurations independent of the machine and readable for older versions."""
    for file in folder.rglob("*.json"):
        if file.name == "tokenizer.json":
            continue
        # The class name in transformers 4; version 5 accepts both.
        entries = json.loads(file.read_text().replace("TokenizersBackend", "PreTrainedTokenizerFast"))
        entries.pop("_name_or_path", None)  # a path of the training machine
        if "dtype" in entries:  # transformers would load the text encoder, and it alone, in the precision of the file
            entries["dtype"] = "float32"
        file.write_text(json.dumps(entries, indent=2) + "\n")
    for file in folder.rglob("*.safetensors"):
        file.chmod(0o644)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data.add_data_options(parser)
    add_run_options(parser, steps=6000, batch=64, rate=1e-3)
    parser.add_argument("--vae", type=Path, required=True, metavar="FOLDER", help="weights of the autoencoder")
    parser.add_argument("--start", type=Path, metavar="FOLDER", help="initial model; its tokenizer is kept")
    parser.add_argument(
        "--widths", type=int, nargs=2, default=WIDTHS, help="channels at full and at half the resolution"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that compute batches in advance")
    parser.add_argument("--pair-weight", type=float, default=PAIR_WEIGHT, help="weight of the loss on pair differences")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    artwork = data.load_artwork(options.data, options.size)
    vae = AutoencoderKL.from_pretrained(options.vae).eval()
    training_emojis = [emoji for emoji in artwork.emojis if not emoji.held_out]
    if options.start:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(options.start / "tokenizer")
        network = read_network(options.start)
    else:
        tokenizer = new_tokenizer(training_emojis)
        side = options.size // 2 ** (len(vae.config.block_out_channels) - 1)
        network = new_network(tokenizer, vae.config.latent_channels, side, tuple(options.widths))
    lessons = Lessons(artwork, copy.deepcopy(vae), tokenizer)
    prefetched = Prefetcher(functools.partial(lessons.sample, options.batch), options.workers)
    network, lessons.vae = network.to(options.device), lessons.vae.to(options.device)
    network.unet.to(memory_format=torch.channels_last)  # a tenth faster on a CPU
    run = Run(options, network, matrices=hidden_matrices(network, outer=OUTER))
    inspection = Inspection(artwork, vae, tokenizer)

    def loss_of(generator: torch.Generator) -> Tensor:
        batch = lessons.encode_batch(prefetched(generator))
        predicted = predict(network, (batch.noisy, batch.timesteps, batch.tokens), options.device)
        pair_weight: float = options.pair_weight
        return (predicted - batch.v_target).square().mean() + pair_weight * batch.pair_error(predicted)

    def inspect() -> dict[str, float]:
        average = run.averaged.to("cpu").eval()
        figures = inspection(average, options.run / f"sample-{run.step:06}.png")
        write_model(average, vae, tokenizer, options.run / "model")
        run.averaged.to(options.device)
        return figures

    run.train(loss_of, inspect)


class Inspection:
    """Inspection of a run on held-out images, unchanged and moved, with and without captions."""

    def __init__(self, artwork: data.Artwork, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast) -> None:
        self.vae, self.tokenizer = vae, tokenizer
        held_out = data.places(artwork.emojis, held_out=True)[::INSPECTED]
        captions = [artwork.emojis[place].caption for place in held_out]
        self.captioned, self.captionless = (tokens_of(tokenizer, texts) for texts in (captions, [""] * len(captions)))
        images = moved_versions(artwork.pixels[held_out], artwork.alpha[held_out])
        self.latents = {kind: encode(vae, each) for kind, each in images.items()}

    def __call__(self, network: TextToLatents, file: Path) -> dict[str, float]:
        """Write a sheet of samples from captions; return the squared errors of v."""
        prompted, negative = (
            {"tokens": tokens_of(self.tokenizer, texts)} for texts in (list(SHEET), [""] * len(SHEET))
        )
        shape = next(iter(self.latents.values())).shape[1:]
        with torch.no_grad():
            sheet(list(self.vae.decode(sample(network, tuple(shape), prompted, negative)).sample), 6, file)
        figures = {}
        for kind, latents in self.latents.items():
            figures[f"unseen_{kind}"] = unseen_loss(network, latents, {"tokens": self.captioned})
            figures[f"unseen_{kind}_silent"] = unseen_loss(network, latents, {"tokens": self.captionless})
        return figures


if __name__ == "__main__":
    main()
