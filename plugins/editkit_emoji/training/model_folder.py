"""Folders of trained models in the format of diffusers: safetensors in float16, some in float8."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from editkit_emoji.training.network import TextToLatents, without_image_channels

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
"""Schedule of :mod:`.noising` and grid of :mod:`.denoiser` as a scheduler of diffusers."""
LARGEST_SHARD = 14_900_000
"""Largest size of a weight file in bytes."""
EIGHT_BITS = torch.float8_e4m3fn
SMALLEST_IN_8_BITS = 5000
"""Number of values from which :func:`store_in_8_bits` rounds a weight."""
ENTRY = "conv_in."
"""Prefix of the input layer of the UNet."""


def read_network(folder: Path) -> TextToLatents:
    """Load the network from a folder of :func:`write_model`, in float32."""
    text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    return TextToLatents(text_encoder, unet)


def write_models(network: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, run: Path) -> None:
    """Write the caption model and the instruction model."""
    caption_model = TextToLatents(network.text_encoder, without_image_channels(network.unet))
    write_model(caption_model, vae, tokenizer, run / "model")
    write_model(network, vae, tokenizer, run / "instruct")


def write_model(network: TextToLatents, vae: AutoencoderKL, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model folder, of captions or with image channels: float16 safetensors in shards."""
    has_image_channels = network.unet.config.in_channels > vae.config.latent_channels
    kind = StableDiffusionInstructPix2PixPipeline if has_image_channels else StableDiffusionPipeline
    without_checker = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = half_pipeline(kind, network, vae, tokenizer, **without_checker)
    pipeline.save_pretrained(folder, safe_serialization=True)
    save_in_shards(pipeline.unet, folder / "unet")
    tidy(folder)


def half_pipeline(
    kind: type[DiffusionPipeline],
    network: nn.Module,
    vae: AutoencoderKL,
    tokenizer: PreTrainedTokenizerFast,
    **others: Any,
) -> Any:
    """Return a pipeline of copies in float16 on the CPU; ``network`` has the parts ``text_encoder`` and ``unet``."""
    parts: Any = copy.deepcopy(network).cpu().half()
    return kind(
        vae=copy.deepcopy(vae).half(),
        text_encoder=parts.text_encoder,
        tokenizer=tokenizer,
        unet=parts.unet,
        scheduler=SCHEDULER,
        **others,
    )


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


def store_in_8_bits(folder: Path) -> None:
    """Round the large weights in the files of a folder to float8, which diffusers converts when it loads them.

    It halves the files, and suits networks whose measured results it leaves alone.
    """
    for file in folder.rglob("*.safetensors"):
        weights = load_file(file)
        large = {name: weight for name, weight in weights.items() if weight.numel() >= SMALLEST_IN_8_BITS}
        rounded = {name: weight.to(EIGHT_BITS) for name, weight in large.items()}
        save_file(weights | rounded, file, metadata={"format": "pt"})


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
