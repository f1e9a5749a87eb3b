"""Schedule, timestep grid and prediction kind from a diffusers scheduler configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from editkit import (
    Prediction,
    RectifiedFlow,
    ResolutionShift,
    Schedule,
    TimestepGrid,
    VariancePreserving,
    WeightsUnavailable,
    cosine,
    linear,
    scaled_linear,
)

NAMED_BETAS = {"linear": linear, "scaled_linear": scaled_linear}
UNSUPPORTED = ("invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
"""Options of a flow-matching scheduler that must be off."""


def read_config(folder: Path, part: str = "scheduler") -> dict[str, Any]:
    """Read a scheduler configuration; raises WeightsUnavailable if the file cannot be read."""
    file = folder / part / "scheduler_config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"{file} cannot be read: {error}") from error
    return config


def schedule_of(config: dict[str, Any]) -> Schedule:
    """Return the noise schedule of the training; raises WeightsUnavailable for unsupported schedulers."""
    if _is_flow(config):
        return flow_of(config)
    if config.get("_class_name", "").startswith("EDM"):
        raise WeightsUnavailable(
            f"the scheduler is a {config['_class_name']}, whose continuous noise levels are not supported"
        )
    steps = config.get("num_train_timesteps", 1000)
    kind = config.get("beta_schedule", "linear")
    zero = config.get("rescale_betas_zero_snr", False)
    if config.get("trained_betas"):
        return VariancePreserving.from_betas(config["trained_betas"], zero_terminal_snr=zero)
    if kind == "squaredcos_cap_v2":
        return VariancePreserving.from_betas(cosine(steps), zero_terminal_snr=zero)
    if kind not in NAMED_BETAS:
        raise WeightsUnavailable(
            f"the scheduler's beta_schedule {kind!r} is not supported; "
            f"supported: {', '.join(NAMED_BETAS)}, squaredcos_cap_v2"
        )
    betas = NAMED_BETAS[kind](steps, config.get("beta_start", 1e-4), config.get("beta_end", 0.02))
    return VariancePreserving.from_betas(betas, zero_terminal_snr=zero)


def _is_flow(config: dict[str, Any]) -> bool:
    return "FlowMatch" in config.get("_class_name", "")


def flow_of(config: dict[str, Any], patch: int = 2) -> RectifiedFlow:
    """Return the schedule of a flow-matching network with ``patch`` squared latents per token.

    Raises WeightsUnavailable for schedulers of another kind, and for options that are not supported.
    """
    if not _is_flow(config):
        raise WeightsUnavailable(
            f"the scheduler is a {config.get('_class_name')}; this model needs a FlowMatchEulerDiscreteScheduler"
        )
    for name in UNSUPPORTED:
        if config.get(name):
            raise WeightsUnavailable(f"the scheduler's {name} is not supported: set it to false in its configuration")
    steps, terminal = config.get("num_train_timesteps", 1000), config.get("shift_terminal") or None
    if config.get("use_dynamic_shifting"):
        shift_of = ResolutionShift(
            tokens=(config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)),
            values=(config.get("base_shift", 0.5), config.get("max_shift", 1.15)),
            patch=patch,
            exponential=config.get("time_shift_type", "exponential") == "exponential",
        )
        return RectifiedFlow(steps, terminal=terminal, shift_of=shift_of)
    shift = config.get("shift", 1.0)
    # diffusers shifts its table of timesteps, takes the ends from it, and shifts the values between them once more.
    return RectifiedFlow(steps, shift, first=steps * shift / (steps - 1 + shift), terminal=terminal)


def grid_of(config: dict[str, Any]) -> TimestepGrid:
    """Return the timestep grid that diffusers would use for this model."""
    if _is_flow(config):
        return TimestepGrid(spacing="linspace", ends_clean=True)
    spacing: Any = "karras" if config.get("use_karras_sigmas") else config.get("timestep_spacing", "leading")
    # Only DDIM has this key, with true as its default.
    ends_clean = config.get("set_alpha_to_one", config.get("_class_name") == "DDIMScheduler")
    if config.get("_class_name") == "LCMScheduler":
        return TimestepGrid("distilled", distilled=config.get("original_inference_steps", 50), ends_clean=ends_clean)
    return TimestepGrid(spacing=spacing, offset=config.get("steps_offset", 0), ends_clean=ends_clean)


def prediction_of(config: dict[str, Any]) -> Prediction:
    if _is_flow(config):
        return "flow_prediction"
    kind = config.get("prediction_type", "epsilon")
    if kind not in get_args(Prediction):
        raise WeightsUnavailable(
            f"the scheduler's prediction_type {kind!r} is not supported; supported: {get_args(Prediction)}"
        )
    return kind  # type: ignore[no-any-return]
