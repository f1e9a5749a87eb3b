"""Models shaped like FLUX.1, its inpainting variant (Fill), its instruction variant (Kontext), and a ControlNet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .parts import autoencoder, clip_text, save_folder, t5_text, t5_tokenizer, tokenizer

WIDTHS: dict[str, Any] = {
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 16,
    "pooled_projection_dim": 16,
    "axes_dims_rope": (2, 2, 4),
}
"""Configuration that a network shares with its ControlNets."""


def flux_folder(path: Path, *, scheduler: dict[str, Any] | None = None, distilled: bool = True, seed: int = 0) -> Path:
    """Write a Flux of random weights for images of 16 x 16 pixels, and return its folder.

    Latents are (16, h / 2, w / 2). ``scheduler`` configures the flow, whose shift otherwise depends on the size;
    without ``distilled`` the network has no guidance input. The folder loads in :func:`editkit.load_model` and in
    diffusers' own pipelines.
    """
    return _write_flux(path, "FluxPipeline", scheduler, distilled, seed)


def flux_fill_folder(path: Path, *, seed: int = 0) -> Path:
    """Write the same with a network conditioned on a mask and the unmasked latents, and return its folder."""
    return _write_flux(path, "FluxFillPipeline", None, True, seed, seen=16 + 2 * 2)


def flux_kontext_folder(path: Path, *, side: int = 16, halvings: int = 1, seed: int = 0) -> Path:
    """Write the same with a network conditioned on an image as further tokens, and return its folder.

    ``side`` is that of the training images; the autoencoder halves it ``halvings`` times.
    """
    return _write_flux(path, "FluxKontextPipeline", None, True, seed, side=side, halvings=halvings)


def flux_control_folder(path: Path, *, seed: int = 0) -> Path:
    """Write the same with a network that takes the latents of a condition map as channels, and return its folder."""
    return _write_flux(path, "FluxControlPipeline", None, True, seed, seen=16)


def flux_controlnet_folder(
    path: Path, *, kinds: int | None = None, pixels: bool = False, layers: tuple[int, int] = (1, 1), seed: int = 0
) -> Path:
    """Write a ControlNet of random weights for the models above, and return its folder.

    ``kinds`` is the number of those that a Union model has; with ``pixels`` it embeds its map itself, as those of XLabs
    do. ``layers`` are the numbers of its double and single blocks.
    """
    from diffusers import FluxControlNetModel

    embedding = {"conditioning_embedding_channels": 16, "patch_size": 2} if pixels else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FluxControlNetModel(
            in_channels=4 * 16,
            num_layers=layers[0],
            num_single_layers=layers[1],
            guidance_embeds=not pixels,
            num_mode=kinds,
            **WIDTHS,
            **embedding,
        )
        silent = [net.controlnet_x_embedder, *net.controlnet_blocks, *net.controlnet_single_blocks]
        for layer in [*silent, net.input_hint_block.conv_out] if pixels else silent:
            layer.reset_parameters()
    net.save_pretrained(path)
    return path


def _write_flux(
    path: Path,
    kind: str,
    scheduler: dict[str, Any] | None,
    distilled: bool,
    seed: int,
    *,
    seen: int = 0,
    side: int = 16,
    halvings: int = 1,
) -> Path:
    """``seen`` is the number of input channels beside those of the latents."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            in_channels=4 * (16 + seen),
            out_channels=4 * 16,
            num_layers=1,
            num_single_layers=1,
            guidance_embeds=distilled,
            **WIDTHS,
        )
        channels = (8,) * halvings + (16,)
        vae = autoencoder(
            False, channels, scaling_factor=0.3611, shift_factor=0.1159, latent_channels=16, sample_size=side
        )
        clip, longer = clip_text(), t5_text()
    return save_folder(
        path,
        kind,
        {
            "transformer": transformer,
            "vae": vae,
            "text_encoder": clip,
            "tokenizer": tokenizer(),
            "text_encoder_2": longer,
            "tokenizer_2": t5_tokenizer(),
            "scheduler": FlowMatchEulerDiscreteScheduler(
                **({"shift": 3.0, "use_dynamic_shifting": True} if scheduler is None else scheduler)
            ),
            **(
                {}
                if kind in ("FluxFillPipeline", "FluxControlPipeline")
                else {"image_encoder": None, "feature_extractor": None}
            ),
        },
    )
