"""Real diffusers classes at tiny random configurations, as ordinary diffusers folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

WORDS = ("a", "red", "green", "blue", "yellow", "apple", "pear", "face", "picture", "of", "on", "white")
SPECIAL = ("<pad>", "<s>", "</s>")
TOKENS = 8
"""Length of every prompt in tokens."""

PredictionType = Literal["epsilon", "v_prediction", "sample"]

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "set_alpha_to_one": False,
    "clip_sample": False,
}


def stable_diffusion_folder(
    path: Path, *, prediction_type: PredictionType = "epsilon", tiny_autoencoder: bool = False, seed: int = 0
) -> Path:
    """Write a Stable Diffusion of random weights for pictures of 16 x 16 pixels, and return its folder.

    Latents are (4, h / 2, w / 2). The folder loads in :func:`editkit.load_model` and in diffusers' own pipelines.
    """
    return write_stable_diffusion(
        path, "StableDiffusionPipeline", 4, prediction_type, tiny_autoencoder=tiny_autoencoder, seed=seed
    )


def inpainting_folder(path: Path, *, prediction_type: PredictionType = "epsilon", seed: int = 0) -> Path:
    """Write the same with a network that sees a mask and the latents of what it leaves, and return its folder."""
    return write_stable_diffusion(path, "StableDiffusionInpaintPipeline", 9, prediction_type, seed=seed)


def instruct_folder(path: Path, *, prediction_type: PredictionType = "epsilon", seed: int = 0) -> Path:
    """Write the same with a network that sees the latents of a picture, and return its folder."""
    return write_stable_diffusion(path, "StableDiffusionInstructPix2PixPipeline", 8, prediction_type, seed=seed)


def controlnet_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a ControlNet of random weights for the models above, and return its folder.

    Unlike one whose training has not begun, it has something to say.
    """
    from diffusers import ControlNetModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = ControlNetModel.from_unet(text_unet(), conditioning_embedding_out_channels=(8, 16))
        for silent in (net.controlnet_cond_embedding.conv_out, *net.controlnet_down_blocks, net.controlnet_mid_block):
            silent.reset_parameters()
    net.save_pretrained(path)
    return path


def upscaler_folder(path: Path, *, seed: int = 0) -> Path:
    """Write a model that enlarges 4 times, of random weights, for pictures of 32 x 32 pixels, and return its folder.

    Latents are (4, h / 4, w / 4). The folder loads in :func:`editkit.load_model` and in diffusers' own pipeline.
    """
    from diffusers import DDIMScheduler, DDPMScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = text_unet(in_channels=7, num_class_embeds=1000)
        vae, text_encoder = autoencoder(False, (8, 8, 16), scaling_factor=0.08333), clip_text()
    unet.save_pretrained(path / "unet")
    vae.save_pretrained(path / "vae")
    save_quietly(text_encoder, path / "text_encoder")
    tokenizer().save_pretrained(path / "tokenizer")
    DDIMScheduler(**SCHEDULER, prediction_type="v_prediction").save_pretrained(path / "scheduler")
    DDPMScheduler(beta_schedule="squaredcos_cap_v2").save_pretrained(path / "low_res_scheduler")
    parts = {
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", type(vae).__name__),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
        "scheduler": ("diffusers", "DDIMScheduler"),
        "low_res_scheduler": ("diffusers", "DDPMScheduler"),
        "safety_checker": (None, None),
        "feature_extractor": (None, None),
        "watermarker": (None, None),
    }
    return write_index(path, "StableDiffusionUpscalePipeline", {**parts, "max_noise_level": 350})


def pixel_ddpm_folder(path: Path, *, seed: int = 0) -> Path:
    """Write an unconditional model of random weights for pictures of 16 x 16 pixels, and return its folder."""
    from diffusers import DDPMScheduler, UNet2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = UNet2DModel(
            sample_size=16,
            layers_per_block=1,
            block_out_channels=(8, 16),
            norm_num_groups=4,
            attention_head_dim=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )
    unet.save_pretrained(path / "unet")
    DDPMScheduler().save_pretrained(path / "scheduler")
    parts = {"unet": ("diffusers", "UNet2DModel"), "scheduler": ("diffusers", "DDPMScheduler")}
    return write_index(path, "DDPMPipeline", parts)


FOLDERS = {
    "StableDiffusionPipeline": stable_diffusion_folder,
    "StableDiffusionUpscalePipeline": upscaler_folder,
    "DDPMPipeline": pixel_ddpm_folder,
}
"""By ``_class_name`` of the model index: how to make a tiny model of that family."""


def write_stable_diffusion(
    path: Path,
    kind: str,
    in_channels: int,
    prediction_type: PredictionType,
    *,
    tiny_autoencoder: bool = False,
    seed: int = 0,
) -> Path:
    from diffusers import DDIMScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet, vae, text_encoder = text_unet(in_channels), autoencoder(tiny_autoencoder), clip_text()
    unet.save_pretrained(path / "unet")
    vae.save_pretrained(path / "vae")
    save_quietly(text_encoder, path / "text_encoder")
    tokenizer().save_pretrained(path / "tokenizer")
    DDIMScheduler(**SCHEDULER, prediction_type=prediction_type).save_pretrained(path / "scheduler")
    parts = {
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", type(vae).__name__),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "PreTrainedTokenizerFast"),
        "scheduler": ("diffusers", "DDIMScheduler"),
        "safety_checker": (None, None),
        "feature_extractor": (None, None),
        "image_encoder": (None, None),
    }
    return write_index(path, kind, {**parts, "requires_safety_checker": False})


def text_unet(in_channels: int = 4, num_class_embeds: int | None = None) -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=in_channels,
        out_channels=4,
        num_class_embeds=num_class_embeds,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def autoencoder(tiny: bool, channels: tuple[int, ...] = (8, 16), scaling_factor: float = 0.18215) -> Any:
    from diffusers import AutoencoderKL, AutoencoderTiny

    if tiny:
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
    return AutoencoderKL(
        latent_channels=4,
        block_out_channels=channels,
        norm_num_groups=4,
        sample_size=16,
        scaling_factor=scaling_factor,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
    )


def clip_text() -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        # Larger than usual, so that an untrained encoder tells its words apart.
        initializer_factor=10.0,
    )
    return CLIPTextModel(config)


def tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(WordLevel(numbers, unk_token="<pad>"))
    words.normalizer, words.pre_tokenizer = Lowercase(), Whitespace()
    words.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=TOKENS,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<pad>",
    )


def save_quietly(model: Any, path: Path) -> None:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(path)
    if shown:
        logging.enable_progress_bar()


def write_index(path: Path, kind: str, parts: dict[str, Any]) -> Path:
    import diffusers

    index = {"_class_name": kind, "_diffusers_version": diffusers.__version__, **parts}
    (path / "model_index.json").write_text(json.dumps(index, indent=2))
    return path
