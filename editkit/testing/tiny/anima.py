"""Models shaped like Anima, which is a modular pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .parts import SPECIAL, TOKENS, WORDS, plain_tokenizer, save_modular_folder, t5_tokenizer

_WIDTH = 16
"""Width of the embeddings of text."""


def anima_folder(path: Path, *, seed: int = 0) -> Path:
    """Write an Anima of random weights and return its folder; latents are (4, h / 4, w / 4)."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = {
            "transformer": _transformer(),
            "text_conditioner": _conditioner(),
            "text_encoder": _text_encoder(),
            "vae": _autoencoder(),
        }
        with torch.no_grad():
            for network in networks.values():  # some weights are zero at first, and their outputs too
                for weights in network.parameters():
                    weights.add_(0.05 * torch.randn_like(weights))
    parts = {**networks, "tokenizer": plain_tokenizer(), "t5_tokenizer": t5_tokenizer()}
    return save_modular_folder(
        path, "AnimaModularPipeline", {**parts, "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0)}
    )


def _transformer() -> Any:
    from diffusers import CosmosTransformer3DModel

    return CosmosTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=16,
        num_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=_WIDTH,
        adaln_lora_dim=8,
        max_size=(1, 256, 256),
        extra_pos_embed_type=None,
    )


def _conditioner() -> Any:
    from diffusers import AnimaTextConditioner

    return AnimaTextConditioner(
        source_dim=_WIDTH,
        target_dim=_WIDTH,
        model_dim=_WIDTH,
        num_layers=1,
        num_attention_heads=2,
        mlp_ratio=2.0,
        target_vocab_size=len(SPECIAL) + len(WORDS),
        min_sequence_length=TOKENS,
    )


def _text_encoder() -> Any:
    from transformers import Qwen3Config, Qwen3Model

    return Qwen3Model(
        Qwen3Config(
            vocab_size=len(SPECIAL) + len(WORDS),
            hidden_size=_WIDTH,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )


def _autoencoder() -> Any:
    from diffusers import AutoencoderKLQwenImage

    return AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 2, 2],
        num_res_blocks=1,
        temperal_downsample=[False, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.7, 2.0, 1.1],
    )
