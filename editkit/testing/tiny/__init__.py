"""Real diffusers classes at tiny random configurations, as ordinary diffusers folders: one module a family."""

from .pixel_ddpm import pixel_ddpm_folder
from .stable_diffusion import (
    controlnet_folder,
    inpainting_folder,
    instruct_folder,
    stable_diffusion_folder,
    upscaler_folder,
)

FOLDERS = {
    "StableDiffusionPipeline": stable_diffusion_folder,
    "StableDiffusionUpscalePipeline": upscaler_folder,
    "DDPMPipeline": pixel_ddpm_folder,
}
"""By ``_class_name`` of the model index: how to make a tiny model of that family."""

__all__ = [
    "FOLDERS",
    "controlnet_folder",
    "inpainting_folder",
    "instruct_folder",
    "pixel_ddpm_folder",
    "stable_diffusion_folder",
    "upscaler_folder",
]
