"""Backends for models in diffusers' folder format."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from editkit import BackendSpec, hookimpl

from .checkpoint_detection import recognise_stable_diffusion, recognise_stable_diffusion_xl, recognise_upscaler

if TYPE_CHECKING:
    from editkit import Backend

RUNS = frozenset({"compile", "offload", "tiling"})


def load_stable_diffusion() -> Callable[..., Backend]:
    from .stable_diffusion import StableDiffusion

    return StableDiffusion.from_folder


def load_stable_diffusion_xl() -> Callable[..., Backend]:
    from .stable_diffusion_xl import StableDiffusionXL

    return StableDiffusionXL.from_folder


def load_upscaler() -> Callable[..., Backend]:
    from .upscaler import StableDiffusionUpscaler

    return StableDiffusionUpscaler.from_folder


def load_pixel_ddpm() -> Callable[..., Backend]:
    from .pixel_ddpm import PixelDdpm

    return PixelDdpm.from_folder


def load_pixart() -> Callable[..., Backend]:
    from .pixart import PixArt

    return PixArt.from_folder


def load_dit() -> Callable[..., Backend]:
    from .dit import Dit

    return Dit.from_folder


def load_stable_diffusion_3() -> Callable[..., Backend]:
    from .stable_diffusion_3 import StableDiffusion3

    return StableDiffusion3.from_folder


def load_flux() -> Callable[..., Backend]:
    from .flux import Flux

    return Flux.from_folder


def load_flux_fill() -> Callable[..., Backend]:
    from .flux import FluxFill

    return FluxFill.from_folder


def load_flux_kontext() -> Callable[..., Backend]:
    from .flux import FluxKontext

    return FluxKontext.from_folder


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
            provides=frozenset({"text", "controlnet", "adapters"}),
            recognise=recognise_stable_diffusion,
            runs=RUNS,
            source="https://arxiv.org/abs/2112.10752",
        ),
        BackendSpec(
            name="stable-diffusion-xl",
            summary="Models shaped like SDXL and its refiner: a UNet that is told sizes, two text encoders.",
            load=load_stable_diffusion_xl,
            pipelines=frozenset(
                {
                    "StableDiffusionXLPipeline",
                    "StableDiffusionXLImg2ImgPipeline",
                    "StableDiffusionXLInpaintPipeline",
                    "StableDiffusionXLInstructPix2PixPipeline",
                }
            ),
            provides=frozenset({"text", "controlnet", "adapters"}),
            recognise=recognise_stable_diffusion_xl,
            runs=RUNS,
            source="https://arxiv.org/abs/2307.01952",
        ),
        BackendSpec(
            name="stable-diffusion-upscaler",
            summary="Models shaped like the Stable Diffusion x4 upscaler, which see a smaller picture.",
            load=load_upscaler,
            pipelines=frozenset({"StableDiffusionUpscalePipeline"}),
            provides=frozenset({"text", "upscaling"}),
            recognise=recognise_upscaler,
            runs=RUNS,
            source="https://arxiv.org/abs/2112.10752",
        ),
        BackendSpec(
            name="pixel-ddpm",
            summary="Models that work on pixels, unconditional or by classes.",
            load=load_pixel_ddpm,
            pipelines=frozenset({"DDPMPipeline", "DDIMPipeline"}),
            runs=frozenset({"compile"}),
            source="https://arxiv.org/abs/2006.11239",
        ),
        BackendSpec(
            name="latent-consistency",
            summary="Latent consistency models: like Stable Diffusion, told a guidance scale, and done in few steps.",
            load=load_stable_diffusion,
            pipelines=frozenset({"LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"}),
            provides=frozenset({"text", "controlnet", "adapters", "distilled-guidance"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2310.04378",
        ),
        BackendSpec(
            name="pixart",
            summary="Models shaped like PixArt-alpha and PixArt-Sigma: transformer, autoencoder, T5 text encoder.",
            load=load_pixart,
            pipelines=frozenset({"PixArtAlphaPipeline", "PixArtSigmaPipeline"}),
            provides=frozenset({"text"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2310.00426",
        ),
        BackendSpec(
            name="dit",
            summary="Class-conditional models shaped like DiT, whose prompts are names or numbers of classes.",
            load=load_dit,
            pipelines=frozenset({"DiTPipeline"}),
            provides=frozenset({"text"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2212.09748",
        ),
        BackendSpec(
            name="stable-diffusion-3",
            summary="Models shaped like Stable Diffusion 3 and 3.5: transformer, autoencoder, two CLIPs and maybe T5.",
            load=load_stable_diffusion_3,
            pipelines=frozenset(
                {"StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline", "StableDiffusion3InpaintPipeline"}
            ),
            provides=frozenset({"text"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2403.03206",
        ),
        BackendSpec(
            name="flux",
            summary="Models shaped like FLUX.1: transformer, autoencoder, CLIP and T5 text encoders.",
            load=load_flux,
            pipelines=frozenset({"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"}),
            provides=frozenset({"text"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2506.15742",
        ),
        BackendSpec(
            name="flux-fill",
            summary="Models shaped like FLUX.1 Fill, which see a mask and what it leaves.",
            load=load_flux_fill,
            pipelines=frozenset({"FluxFillPipeline"}),
            provides=frozenset({"text", "inpainting"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2506.15742",
        ),
        BackendSpec(
            name="flux-kontext",
            summary="Models shaped like FLUX.1 Kontext, which see a picture beside the one they draw.",
            load=load_flux_kontext,
            pipelines=frozenset({"FluxKontextPipeline"}),
            provides=frozenset({"text", "instructions"}),
            runs=RUNS,
            source="https://arxiv.org/abs/2506.15742",
        ),
    ]
