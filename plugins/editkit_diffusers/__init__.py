"""Backends for models in diffusers' folder format."""

from __future__ import annotations

from editkit import BackendSpec, by_name, hookimpl

from .checkpoint_detection import (
    detect_flux,
    detect_flux_fill,
    detect_flux_kontext,
    detect_stable_diffusion,
    detect_stable_diffusion_3,
    detect_stable_diffusion_xl,
    detect_upscaler,
)
from .network_files.families import describe_file

EXECUTION_OPTIONS = frozenset({"compile", "offload", "tiling"})
_LOADING_OPTIONS = frozenset({"prediction", "variant", "vae", "transformer"})
_UNET_PARTS = frozenset({"unet", "vae", "text_encoder", "tokenizer", "scheduler"})
_TRANSFORMER_PARTS = frozenset({"transformer", "vae", "text_encoder", "tokenizer", "scheduler"})
_SECOND_TEXT = frozenset({"text_encoder_2", "tokenizer_2"})


@hookimpl
def register_backends() -> list[BackendSpec]:
    return [
        BackendSpec(
            name="stable-diffusion",
            summary="Models shaped like Stable Diffusion 1 and 2: UNet, autoencoder, CLIP text encoder.",
            load=by_name("editkit_diffusers.stable_diffusion:StableDiffusion.from_folder"),
            from_pipe=by_name("editkit_diffusers.stable_diffusion:StableDiffusion.from_pipe"),
            facts=by_name("editkit_diffusers.stable_diffusion:StableDiffusion.facts_of_folder"),
            parts=_UNET_PARTS,
            pipelines=frozenset(
                {
                    "StableDiffusionPipeline",
                    "StableDiffusionImg2ImgPipeline",
                    "StableDiffusionInpaintPipeline",
                    "StableDiffusionInstructPix2PixPipeline",
                    "StableDiffusionControlNetPipeline",
                    "StableDiffusionControlNetImg2ImgPipeline",
                    "StableDiffusionControlNetInpaintPipeline",
                    "StableDiffusionAdapterPipeline",
                    "StableDiffusionPAGPipeline",
                }
            ),
            provides=frozenset({"text", "controlnet", "adapters", "attention", "style"}),
            detect=detect_stable_diffusion,
            loading_options=_LOADING_OPTIONS | {"clip_skip"},
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2112.10752",
        ),
        BackendSpec(
            name="stable-diffusion-xl",
            summary="Models shaped like SDXL and its refiner: a UNet conditioned on sizes, two text encoders.",
            load=by_name("editkit_diffusers.stable_diffusion_xl:StableDiffusionXL.from_folder"),
            from_pipe=by_name("editkit_diffusers.stable_diffusion_xl:StableDiffusionXL.from_pipe"),
            facts=by_name("editkit_diffusers.stable_diffusion_xl:StableDiffusionXL.facts_of_folder"),
            parts=_UNET_PARTS | _SECOND_TEXT,
            pipelines=frozenset(
                {
                    "StableDiffusionXLPipeline",
                    "StableDiffusionXLImg2ImgPipeline",
                    "StableDiffusionXLInpaintPipeline",
                    "StableDiffusionXLInstructPix2PixPipeline",
                    "StableDiffusionXLControlNetPipeline",
                    "StableDiffusionXLControlNetImg2ImgPipeline",
                    "StableDiffusionXLControlNetInpaintPipeline",
                    "StableDiffusionXLControlNetUnionPipeline",
                    "StableDiffusionXLAdapterPipeline",
                    "StableDiffusionXLPAGPipeline",
                }
            ),
            provides=frozenset({"text", "controlnet", "adapters", "attention", "style"}),
            detect=detect_stable_diffusion_xl,
            loading_options=_LOADING_OPTIONS | {"clip_skip"},
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2307.01952",
        ),
        BackendSpec(
            name="stable-diffusion-upscaler",
            summary="Models shaped like the Stable Diffusion x4 upscaler, conditioned on a smaller image.",
            load=by_name("editkit_diffusers.upscaler:StableDiffusionUpscaler.from_folder"),
            from_pipe=by_name("editkit_diffusers.upscaler:StableDiffusionUpscaler.from_pipe"),
            facts=by_name("editkit_diffusers.upscaler:StableDiffusionUpscaler.facts_of_folder"),
            parts=_UNET_PARTS | {"low_res_scheduler"},
            pipelines=frozenset({"StableDiffusionUpscalePipeline"}),
            provides=frozenset({"text", "upscaling"}),
            detect=detect_upscaler,
            loading_options=_LOADING_OPTIONS | {"clip_skip"},
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2112.10752",
        ),
        BackendSpec(
            name="pixel-ddpm",
            summary="Models on pixels, unconditional or class-conditional.",
            load=by_name("editkit_diffusers.pixel_ddpm:PixelDdpm.from_folder"),
            from_pipe=by_name("editkit_diffusers.pixel_ddpm:PixelDdpm.from_pipe"),
            facts=by_name("editkit_diffusers.pixel_ddpm:PixelDdpm.facts_of_folder"),
            parts=frozenset({"unet", "scheduler"}),
            pipelines=frozenset({"DDPMPipeline", "DDIMPipeline"}),
            loading_options=frozenset({"prediction", "variant", "transformer"}),
            execution_options=frozenset({"compile"}),
            source="https://arxiv.org/abs/2006.11239",
        ),
        BackendSpec(
            name="latent-consistency",
            summary="Latent consistency models: Stable Diffusion with the guidance scale as an input, in few steps.",
            load=by_name("editkit_diffusers.stable_diffusion:StableDiffusion.from_folder"),
            from_pipe=by_name("editkit_diffusers.stable_diffusion:StableDiffusion.from_pipe"),
            facts=by_name("editkit_diffusers.stable_diffusion:StableDiffusion.facts_of_folder"),
            parts=_UNET_PARTS,
            pipelines=frozenset({"LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline"}),
            provides=frozenset({"text", "controlnet", "adapters", "attention", "style", "distilled-guidance"}),
            loading_options=_LOADING_OPTIONS | {"clip_skip"},
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2310.04378",
        ),
        BackendSpec(
            name="pixart",
            summary="Models shaped like PixArt-alpha and PixArt-Sigma: transformer, autoencoder, T5 text encoder.",
            load=by_name("editkit_diffusers.pixart:PixArt.from_folder"),
            from_pipe=by_name("editkit_diffusers.pixart:PixArt.from_pipe"),
            facts=by_name("editkit_diffusers.pixart:PixArt.facts_of_folder"),
            parts=_TRANSFORMER_PARTS,
            pipelines=frozenset({"PixArtAlphaPipeline", "PixArtSigmaPipeline"}),
            provides=frozenset({"text", "adapters", "attention"}),
            loading_options=_LOADING_OPTIONS,
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2310.00426",
        ),
        BackendSpec(
            name="dit",
            summary="Class-conditional models shaped like DiT; a prompt is the name or number of a class.",
            load=by_name("editkit_diffusers.dit:Dit.from_folder"),
            from_pipe=by_name("editkit_diffusers.dit:Dit.from_pipe"),
            facts=by_name("editkit_diffusers.dit:Dit.facts_of_folder"),
            parts=frozenset({"transformer", "vae", "scheduler"}),
            pipelines=frozenset({"DiTPipeline"}),
            provides=frozenset({"text", "adapters", "attention"}),
            loading_options=_LOADING_OPTIONS,
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2212.09748",
        ),
        BackendSpec(
            name="stable-diffusion-3",
            summary="Models shaped like Stable Diffusion 3 and 3.5: transformer, autoencoder, two CLIPs, optional T5.",
            load=by_name("editkit_diffusers.stable_diffusion_3:StableDiffusion3.from_folder"),
            from_pipe=by_name("editkit_diffusers.stable_diffusion_3:StableDiffusion3.from_pipe"),
            facts=by_name("editkit_diffusers.stable_diffusion_3:StableDiffusion3.facts_of_folder"),
            parts=_TRANSFORMER_PARTS | _SECOND_TEXT | {"text_encoder_3", "tokenizer_3"},
            pipelines=frozenset(
                {
                    "StableDiffusion3Pipeline",
                    "StableDiffusion3Img2ImgPipeline",
                    "StableDiffusion3InpaintPipeline",
                    "StableDiffusion3ControlNetPipeline",
                }
            ),
            provides=frozenset({"text", "controlnet", "adapters", "attention", "style"}),
            detect=detect_stable_diffusion_3,
            loading_options=_LOADING_OPTIONS | {"clip_skip"},
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2403.03206",
        ),
        BackendSpec(
            name="flux",
            summary="Models shaped like FLUX.1: transformer, autoencoder, CLIP and T5 text encoders.",
            load=by_name("editkit_diffusers.flux:Flux.from_folder"),
            from_pipe=by_name("editkit_diffusers.flux:Flux.from_pipe"),
            facts=by_name("editkit_diffusers.flux:Flux.facts_of_folder"),
            parts=_TRANSFORMER_PARTS | _SECOND_TEXT,
            pipelines=frozenset(
                {"FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline", "FluxControlNetPipeline"}
            ),
            provides=frozenset({"text", "controlnet", "adapters", "attention", "style"}),
            detect=detect_flux,
            loading_options=_LOADING_OPTIONS,
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2506.15742",
        ),
        BackendSpec(
            name="flux-fill",
            summary="Models shaped like FLUX.1 Fill, conditioned on a mask and the masked image.",
            load=by_name("editkit_diffusers.flux:FluxFill.from_folder"),
            from_pipe=by_name("editkit_diffusers.flux:FluxFill.from_pipe"),
            facts=by_name("editkit_diffusers.flux:FluxFill.facts_of_folder"),
            parts=_TRANSFORMER_PARTS | _SECOND_TEXT,
            pipelines=frozenset({"FluxFillPipeline"}),
            provides=frozenset({"text", "adapters", "attention", "style", "inpainting"}),
            detect=detect_flux_fill,
            loading_options=_LOADING_OPTIONS,
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2506.15742",
        ),
        BackendSpec(
            name="flux-kontext",
            summary="Models shaped like FLUX.1 Kontext, conditioned on an image at its own proportions.",
            load=by_name("editkit_diffusers.flux:FluxKontext.from_folder"),
            from_pipe=by_name("editkit_diffusers.flux:FluxKontext.from_pipe"),
            facts=by_name("editkit_diffusers.flux:FluxKontext.facts_of_folder"),
            parts=_TRANSFORMER_PARTS | _SECOND_TEXT,
            pipelines=frozenset({"FluxKontextPipeline"}),
            provides=frozenset({"text", "adapters", "attention", "style", "references"}),
            detect=detect_flux_kontext,
            loading_options=_LOADING_OPTIONS,
            execution_options=EXECUTION_OPTIONS,
            source="https://arxiv.org/abs/2506.15742",
        ),
        BackendSpec(
            name="universal",
            summary="Any other image pipeline of diffusers, by one call of the pipeline for each estimate.",
            load=by_name("editkit_diffusers.universal.loading:load_folder"),
            from_pipe=by_name("editkit_diffusers.universal.loading:share_pipeline"),
            facts=by_name("editkit_diffusers.universal.description:facts_of_folder"),
            last_resort=True,
            provides=frozenset({"text", "adapters", "attention"}),
            loading_options=frozenset({"variant", "transformer"}),
            describe=describe_file,
            execution_options=EXECUTION_OPTIONS,
            source="https://huggingface.co/docs/diffusers/api/pipelines/overview",
        ),
    ]
