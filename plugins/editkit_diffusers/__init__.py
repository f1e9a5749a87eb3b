"""Backends for models in diffusers' folder format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from editkit import BackendSpec, hookimpl

if TYPE_CHECKING:
    from editkit import Backend


def load_stable_diffusion() -> Callable[..., Backend]:
    from .stable_diffusion import StableDiffusion

    return StableDiffusion.from_folder


def load_upscaler() -> Callable[..., Backend]:
    from .upscaler import StableDiffusionUpscaler

    return StableDiffusionUpscaler.from_folder


def load_pixel_ddpm() -> Callable[..., Backend]:
    from .pixel_ddpm import PixelDdpm

    return PixelDdpm.from_folder


@hookimpl
def register_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name="stable-diffusion",
            summary="Models shaped like Stable Diffusion 1 and 2: UNet, autoencoder, CLIP text encoder.",
            load=load_stable_diffusion,
            pipelines=frozenset(
                {
                    "StableDiffusionPipeline",
                    "StableDiffusionImg2ImgPipeline",
                    "StableDiffusionInpaintPipeline",
                    "StableDiffusionInstructPix2PixPipeline",
                }
            ),
            provides=frozenset({"text", "controlnet"}),
            source="https://arxiv.org/abs/2112.10752",
        ),
        BackendSpec(
            name="stable-diffusion-upscaler",
            summary="Models shaped like the Stable Diffusion x4 upscaler, which see a smaller picture.",
            load=load_upscaler,
            pipelines=frozenset({"StableDiffusionUpscalePipeline"}),
            provides=frozenset({"text", "upscaling"}),
            source="https://arxiv.org/abs/2112.10752",
        ),
        BackendSpec(
            name="pixel-ddpm",
            summary="Unconditional models that work on pixels.",
            load=load_pixel_ddpm,
            pipelines=frozenset({"DDPMPipeline", "DDIMPipeline"}),
            source="https://arxiv.org/abs/2006.11239",
        ),
    ]
