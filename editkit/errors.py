"""Exception tree of editkit.

EditkitError
    UnknownName          no operation, inverter, sampler, model, ... has this name
    DuplicateName        two plugins registered one name
    InvalidParameter     a value that is not allowed, or a parameter that does not exist
    BadImage             a file or array that cannot be used as an image
    BadFile              a file of another kind that cannot be read (an inversion, a recipe, a pipeline)
    MissingCapability    an operation needs a capability that the model does not provide
    WeightsUnavailable   a model that is missing, incomplete, or not safe to load
    PluginFailure        a plugin that violated its contract
    Cancelled            the user stopped the work

``exit_status`` is the exit status of the command line: 2 for bad input, 1 for a failure, 130 for an interrupt, as of
shells.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EditkitError(Exception):
    """Base class of all errors that editkit raises on purpose; the message is one line for the user."""

    exit_status = 1


class UnknownName(EditkitError):
    """No operation, inverter, sampler, annotator or model has this name."""

    exit_status = 2


class DuplicateName(EditkitError):
    """Two plugins registered the same name."""


class InvalidParameter(EditkitError):
    """A parameter has a value that is not allowed, or does not exist."""

    exit_status = 2


class BadImage(EditkitError):
    """A file, an array or an object cannot be used as an image."""

    exit_status = 2


class BadFile(EditkitError):
    """A file is not of the required kind: an inversion, an image with a recipe, a pipeline."""

    exit_status = 2


class MissingCapability(EditkitError):
    """An operation needs a capability that the model does not provide."""

    exit_status = 2


class WeightsUnavailable(EditkitError):
    """A model is missing, incomplete, or not safe to load."""

    exit_status = 2


class PluginFailure(EditkitError):
    """A plugin failed, or returned a value that its contract does not allow."""


class Cancelled(EditkitError):
    """The user stopped the work; nothing was written."""

    exit_status = 130


OTHER_NAMES = {
    # parameters
    "context": ("padding_mask_crop", "inpaint_full_res_padding", "only_masked_padding"),
    "control_end": ("control_guidance_end",),
    "control_image": ("controlnet_image",),
    "control_scale": ("controlnet_conditioning_scale", "controlnet_strength", "control_weight"),
    "control_start": ("control_guidance_start",),
    "count": ("num_images_per_prompt", "num_images", "batch_count", "n_iter", "n_samples"),
    "feather": ("mask_blur", "blur_factor", "mask_feather"),
    "guidance": ("guidance_scale", "cfg_scale", "cfg", "unconditional_guidance_scale"),
    "guidance_rescale": ("rescale_cfg",),
    "image_guidance": ("image_guidance_scale", "image_cfg_scale"),
    "instruction": ("prompt", "edit_instruction", "edit_prompt"),
    "invert_mask": ("inpainting_mask_invert", "mask_invert"),
    "mask": ("mask_image", "mask_img", "inpaint_mask"),
    "negative_guidance": ("true_cfg_scale",),
    "resolution": ("width", "height", "size", "image_size", "max_size"),
    "sampler": ("scheduler", "sampler_name", "sampling_method"),
    "seed": ("generator", "noise_seed", "manual_seed"),
    "source": ("source_prompt", "inversion_prompt", "original_prompt"),
    "steps": ("num_inference_steps", "inference_steps", "num_steps", "sampling_steps", "ddim_steps"),
    "strength": ("denoising_strength", "denoise", "denoise_strength", "noise_strength"),
    "target": ("prompt", "target_prompt", "edit_prompt", "editing_prompt"),
    # arguments of apply, and options for them
    "adapter": ("lora", "loras", "lora_weights"),
    "adapters": ("lora", "loras", "lora_weights", "adapter", "cross_attention_kwargs", "lora_scale"),
    "dtype": ("torch_dtype", "precision"),
    "model": ("pipe", "pipeline", "checkpoint", "ckpt", "model_id"),
    "offload": ("cpu_offload", "enable_model_cpu_offload"),
    "progress": ("callback", "callback_on_step_end"),
    "tiling": ("vae_tiling", "enable_vae_tiling"),
    # samplers
    "ddim": ("ddimscheduler",),
    "ddpm": ("ddpmscheduler",),
    "dpmpp-2m": ("dpmsolvermultistepscheduler", "dpm++_2m", "dpm++_2m_karras"),
    "dpmpp-2m-sde": ("dpm++_2m_sde", "dpm++_2m_sde_karras"),
    "euler": ("eulerdiscretescheduler", "flowmatcheulerdiscretescheduler"),
    "euler-a": ("eulerancestraldiscretescheduler", "euler_ancestral", "euler_a"),
    "heun": ("heundiscretescheduler",),
    "lcm": ("lcmscheduler",),
}
"""Names of diffusers and of other editors, by the name that editkit has for the same."""
_ADVICE = {
    **dict.fromkeys(OTHER_NAMES["count"], "give several seeds to editkit.apply_all"),
    **dict.fromkeys(("ip_adapter_image", "ip_adapter"), "give attach=['style:image=FILE,model=FOLDER']"),
    "eta": "give it to the sampler: ddim:eta=0.5",
}
"""Ends of messages about other names of diffusers, for which editkit has an argument of another kind."""


def own_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name, also one of an option, of what diffusers or another editor calls ``name``."""
    plain = {_plain(one): one for one in known}
    called = (own for own, others in OTHER_NAMES.items() if _plain(name) in others)
    return next((plain[_plain(own)] for own in called if _plain(own) in plain), None)


def _plain(name: str) -> str:
    return name.lstrip("-").lower().replace("-", "_").replace(" ", "_")


def close_names(name: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Return the known name that means the same, else up to ``count`` that are written alike."""
    known = sorted(known)
    own = own_name(name, known)
    return [own] if own else difflib.get_close_matches(name, known, n=count)


def did_you_mean(name: str, known: Iterable[str], listing: str = "") -> str:
    """Return the end of an error message: the known name that means the same, else the closest one, or all known names.

    For many names ``listing`` is the command that prints them: it stands in place of all, after up to three close ones.
    """
    known = sorted(known)
    if own_name(name, known) is None and _plain(name) in _ADVICE:
        return _ADVICE[_plain(name)]
    close = close_names(name, known, 3 if listing else 1)
    question = f"did you mean {' or '.join(map(repr, close))}?" if close else ""
    if listing:
        return f"{question} {listing!r} lists all names".lstrip()
    if question:
        return question
    return f"known: {', '.join(known)}" if known else "none is known"
