"""Models to measure: the bundled model, and random weights in the configurations of widely used models."""

from __future__ import annotations

import dataclasses as dc
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from editkit import models, quiet, testing

CONDITIONED: Mapping[str, tuple[str, Callable[[int], int]]] = {
    "inpainting": ("StableDiffusionInpaintPipeline", lambda latent: 2 * latent + 1),
    "instructions": ("StableDiffusionInstructPix2PixPipeline", lambda latent: 2 * latent),
}
"""Pipeline of the folder and number of input channels, by condition beside text."""
HINT_CHANNELS = (16, 32, 96, 256)
"""Channels of the layers that embed a ControlNet's map; each halves the size of the previous one."""


@dc.dataclass(frozen=True)
class ModelConfig:
    """A model to measure, and the rows that it is measured with."""

    base: Callable[[Path], Path]
    """Function that writes a diffusers folder into an empty one, or returns an existing one."""
    parts: Mapping[str, Mapping[str, Any]] = dc.field(default_factory=dict)
    """Changes of the configuration of a part, which then has random weights."""
    upscaler: Mapping[str, Mapping[str, Any]] | None = None
    """The same for a model that enlarges 4 times; None if no such model is measured."""
    family: str = "sd"
    steps: int = 20
    rows: tuple[str, ...] = ()
    """Names of the rows; all of the family if empty."""
    without: tuple[str, ...] = ()
    """Names of rows that diffusers does not support with it."""


UNET_15 = {
    "sample_size": 64,
    "layers_per_block": 2,
    "block_out_channels": (320, 640, 1280, 1280),
    "norm_num_groups": 32,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
UNET_XL = {
    **UNET_15,
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
UNET_MID = {
    "sample_size": 16,
    "block_out_channels": (64, 128, 256),
    "norm_num_groups": 16,
    "cross_attention_dim": 128,
    "attention_head_dim": 4,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
}
FLUX = {
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}


def autoencoder(*channels: int, layers: int, groups: int = 32, **more: Any) -> dict[str, Any]:
    return {
        "block_out_channels": channels,
        "layers_per_block": layers,
        "norm_num_groups": groups,
        "down_block_types": ("DownEncoderBlock2D",) * len(channels),
        "up_block_types": ("UpDecoderBlock2D",) * len(channels),
        **more,
    }


def clip(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "projection_dim": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


UPSCALER_TINY: Mapping[str, Mapping[str, Any]] = {"unet": {"sample_size": 8}}
UPSCALER_MID = {
    "unet": {**UNET_MID, "sample_size": 32},
    "vae": autoencoder(16, 32, 64, layers=1, groups=8, sample_size=128),
    "text_encoder": clip(128, 4, 4),
}
AUTOENCODER = autoencoder(128, 256, 512, 512, layers=2)
MODEL_CONFIGS: Mapping[str, ModelConfig] = {
    "emoji": ModelConfig(
        lambda folder: models()["emoji"].load(),
        steps=10,  # a divisor of its number of timesteps, as for FEW_STEPS
        # The first three need latents of 4 channels, and LEDITS++ divides by alpha, which is 0 at pure noise.
        without=("inpaint", "inpaint-made-for-it", "outpaint", "edit-friendly-inversion", "four-edits"),
    ),
    "tiny": ModelConfig(testing.stable_diffusion_folder, {"unet": {"sample_size": 16}}, UPSCALER_TINY, steps=4),
    "mid": ModelConfig(
        testing.stable_diffusion_folder,
        {
            "unet": UNET_MID,
            "vae": autoencoder(16, 32, 64, 64, layers=1, groups=8, sample_size=128),
            "text_encoder": clip(128, 4, 4),
        },
        UPSCALER_MID,
        steps=12,
        rows=(
            "img2img",
            "inpaint",
            "inpaint-made-for-it",
            "outpaint",
            "instruct-image-guidance-1",
            "control-end-half",
            "edit-friendly-inversion",
            "four-edits",
            "upscale",
        ),
    ),
    "sd15": ModelConfig(
        testing.stable_diffusion_folder,
        {"unet": UNET_15, "vae": {**AUTOENCODER, "sample_size": 512}, "text_encoder": clip(768, 12, 12)},
        steps=50,
    ),
    "sdxl": ModelConfig(
        testing.tiny.stable_diffusion_xl_folder,
        {
            "unet": UNET_XL,
            "vae": {**AUTOENCODER, "sample_size": 1024, "force_upcast": False},
            "text_encoder": clip(768, 12, 12),
            "text_encoder_2": clip(1280, 32, 20),
        },
        family="sdxl",
        steps=30,
    ),
    "flux": ModelConfig(
        testing.tiny.flux_folder,
        {
            "transformer": FLUX,
            "vae": {**AUTOENCODER, "latent_channels": 16, "sample_size": 1024},
            "text_encoder": clip(768, 12, 12),
            # One layer in place of 24: the prompt is encoded once per edit, which no row measures.
            "text_encoder_2": {"d_model": 4096, "d_kv": 64, "num_heads": 64, "d_ff": 10240},
        },
        family="flux",
        steps=28,
    ),
}


def write_model(config: ModelConfig, kind: str, folder: Path, device: str, dtype: torch.dtype) -> Path:
    """Return the folder of a model whose network is trained for ``kind``; new files are written below ``folder``.

    Parts with a changed configuration have random weights of a fixed seed.
    """
    (folder / "base").mkdir(parents=True)
    if kind == "upscaling":
        base, parts = testing.tiny.upscaler_folder(folder / "base"), config.upscaler or {}
    else:
        base, parts = config.base(folder / "base"), config.parts
    changes = {part: dict(changed) for part, changed in parts.items()}
    index = json.loads((base / "model_index.json").read_text())
    if kind in CONDITIONED:
        index["_class_name"], channels = CONDITIONED[kind]
        latent = json.loads((base / "unet" / "config.json").read_text())["out_channels"]
        changes.setdefault("unet", {})["in_channels"] = channels(latent)
    if not changes:
        return base
    result = folder / "model"
    shutil.copytree(base, result, ignore=shutil.ignore_patterns(*changes))
    (result / "model_index.json").write_text(json.dumps(index))
    for part, changed in changes.items():
        _write_part(base / part, index[part], changed, result / part, device, dtype)
    return result


def _write_part(
    base: Path, kind: tuple[str, str], changed: Mapping[str, Any], folder: Path, device: str, dtype: torch.dtype
) -> None:
    """Write a part of a model with a changed configuration and random weights."""
    import diffusers
    import transformers

    with torch.random.fork_rng(devices=[]), torch.device(device), quiet():
        torch.manual_seed(0)
        if kind[0] == "diffusers":
            cls = getattr(diffusers, kind[1])
            part = cls.from_config({**cls.load_config(base), **changed})
        else:
            cls = getattr(transformers, kind[1])
            config = cls.config_class.from_pretrained(base)
            config.update(dict(changed))
            part = cls(config)
        part.to(dtype).save_pretrained(folder)


def write_controlnet(unet: Any, reduction: int, folder: Path) -> Path:
    """Write a ControlNet with random weights for a UNet; unlike a new one, its residuals are not zero."""
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        channels = HINT_CHANNELS[: reduction.bit_length()]
        net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=channels)
        for zero_layer in (
            net.controlnet_cond_embedding.conv_out,
            *net.controlnet_down_blocks,
            net.controlnet_mid_block,
        ):
            zero_layer.reset_parameters()
    net.save_pretrained(folder)
    return folder
