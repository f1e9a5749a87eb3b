"""Every image pipeline of the installed diffusers, by the package of its code; the others with the reason."""

from __future__ import annotations

import types
from collections.abc import Mapping

import diffusers

IMAGES = frozenset(
    {
        *("aura_flow", "bria", "bria_fibo", "bria_fibo2", "chroma", "cogview3", "cogview4", "consistency_models"),
        *("controlnet", "controlnet_hunyuandit", "controlnet_sd3", "ddim", "ddpm", "deepfloyd_if", "dit", "dreamlite"),
        *("ernie_image", "flux", "flux2", "glm_image", "hidream_image", "hunyuan_image", "hunyuandit", "ideogram4"),
        *("joyimage", "kandinsky", "kandinsky2_2", "kandinsky3", "kolors", "krea2", "latent_consistency_models"),
        *("latent_diffusion", "ledits_pp", "longcat_image", "lumina", "lumina2", "nucleusmoe_image", "omnigen"),
        *("ovis_image", "pag", "pixart_alpha", "prx", "qwenimage", "qwenimage21", "sana", "stable_cascade"),
        *("stable_diffusion", "stable_diffusion_3", "stable_diffusion_xl", "t2i_adapter", "visualcloze", "z_image"),
    }
)
"""Packages of diffusers whose pipelines sample images."""

OTHERS: Mapping[str, str] = types.MappingProxyType(
    {
        **dict.fromkeys(("ace_step", "audioldm2", "longcat_audio_dit", "stable_audio", "stable_audio_3"), "sound"),
        **dict.fromkeys(("allegro", "animatediff", "anyflow", "chronoedit", "cogvideo", "consisid"), "videos"),
        **dict.fromkeys(("easyanimate", "helios", "hunyuan_video", "hunyuan_video1_5", "kandinsky6"), "videos"),
        **dict.fromkeys(("latte", "ltx", "ltx2", "lucy", "mochi", "motif_video", "sana_video", "sana_wm"), "videos"),
        **dict.fromkeys(("skyreels_v2", "stable_video_diffusion", "wan"), "videos"),
        **dict.fromkeys(("diffusion_gemma", "llada2"), "text"),
        "deprecated": "withdrawn by diffusers",
        "marigold": "depth, normals and lighting of an image",
        "rfd4_proteina": "proteins",
        "shap_e": "three-dimensional shapes",
    }
)
"""Packages of diffusers whose pipelines sample something else."""

IMAGES_AMONG_VIDEOS = frozenset({"Cosmos2TextToImagePipeline", "Kandinsky5T2IPipeline", "Kandinsky5I2IPipeline"})
MIXED = frozenset({"cosmos", "kandinsky5"})
"""Packages of pipelines of both, whose pipelines of images are named above."""


def package_of(kind: type) -> str:
    """Return the package of a pipeline's code in ``diffusers.pipelines``."""
    return kind.__module__.split(".")[2]


def pipelines() -> dict[str, type]:
    """Return every class of pipelines that the installed diffusers has, by name."""
    found = {name: getattr(diffusers, name) for name in dir(diffusers) if "Pipeline" in name}
    base = diffusers.DiffusionPipeline
    return {
        name: kind
        for name, kind in found.items()
        if isinstance(kind, type)
        and kind.__module__.startswith("diffusers.pipelines.")
        and issubclass(kind, base)
        and kind is not base
    }


def image_pipelines() -> list[str]:
    """Return the names of the pipelines that sample images; those of unlisted packages are among them."""
    kinds = pipelines()
    listed = {*OTHERS, *MIXED}
    images = {name for name, kind in kinds.items() if package_of(kind) not in listed}
    missing = {
        "KolorsPipeline",
        "KolorsImg2ImgPipeline",
        "KolorsPAGPipeline",
    }  # without sentencepiece diffusers has stand-ins for them
    return sorted(images | (IMAGES_AMONG_VIDEOS & set(kinds)) | missing)


def unlisted() -> list[str]:
    """Return the names of pipelines of packages that stand in none of the tables above."""
    listed = {*IMAGES, *OTHERS, *MIXED}
    return sorted(name for name, kind in pipelines().items() if package_of(kind) not in listed)
