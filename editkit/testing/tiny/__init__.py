"""Real diffusers classes at tiny random configurations, as ordinary diffusers folders, one module per family."""

from .anima import anima_folder
from .chroma import chroma_folder
from .dit import dit_folder
from .flux import flux_control_folder, flux_controlnet_folder, flux_fill_folder, flux_folder, flux_kontext_folder
from .image_adapters import flux_ip_adapter_file, ip_adapter_file, redux_folder, sd3_ip_adapter_file
from .latent_consistency import latent_consistency_folder
from .pixart import pixart_folder
from .pixel_ddpm import pixel_ddpm_folder
from .stable_diffusion import (
    controlnet_folder,
    inpainting_folder,
    instruct_folder,
    stable_diffusion_folder,
    upscaler_folder,
)
from .stable_diffusion_3 import stable_diffusion_3_controlnet_folder, stable_diffusion_3_folder
from .stable_diffusion_xl import controlnet_xl_folder, stable_diffusion_xl_folder

FOLDERS = {
    "StableDiffusionPipeline": stable_diffusion_folder,
    "StableDiffusionUpscalePipeline": upscaler_folder,
    "StableDiffusionXLPipeline": stable_diffusion_xl_folder,
    "DDPMPipeline": pixel_ddpm_folder,
    "PixArtAlphaPipeline": pixart_folder,
    "DiTPipeline": dit_folder,
    "LatentConsistencyModelPipeline": latent_consistency_folder,
    "StableDiffusion3Pipeline": stable_diffusion_3_folder,
    "FluxPipeline": flux_folder,
    "FluxFillPipeline": flux_fill_folder,
    "FluxKontextPipeline": flux_kontext_folder,
    "ChromaPipeline": chroma_folder,
    "AnimaModularPipeline": anima_folder,
}
"""Function that writes a tiny model of a family, by the ``_class_name`` of its index."""

__all__ = [
    "FOLDERS",
    "anima_folder",
    "chroma_folder",
    "controlnet_folder",
    "controlnet_xl_folder",
    "dit_folder",
    "flux_control_folder",
    "flux_controlnet_folder",
    "flux_fill_folder",
    "flux_folder",
    "flux_ip_adapter_file",
    "flux_kontext_folder",
    "inpainting_folder",
    "instruct_folder",
    "ip_adapter_file",
    "latent_consistency_folder",
    "pixart_folder",
    "pixel_ddpm_folder",
    "redux_folder",
    "sd3_ip_adapter_file",
    "stable_diffusion_3_controlnet_folder",
    "stable_diffusion_3_folder",
    "stable_diffusion_folder",
    "stable_diffusion_xl_folder",
    "upscaler_folder",
]
