"""Reading a diffusers scheduler configuration: which schedule, which grid, which prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

from editkit import (
    Grid,
    Prediction,
    RectifiedFlow,
    Schedule,
    VariancePreserving,
    WeightsUnavailable,
    cosine,
    linear,
    scaled_linear,
)

NAMED_BETAS = {"linear": linear, "scaled_linear": scaled_linear}


def read_config(folder: Path, part: str = "scheduler") -> dict[str, Any]:
    file = folder / part / "scheduler_config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"{file} cannot be read: {error}") from error
    return config


def schedule_of(config: dict[str, Any]) -> Schedule:
    """The curve of points a network was trained on."""
    steps = config.get("num_train_timesteps", 1000)
    if "FlowMatch" in config.get("_class_name", ""):
        return RectifiedFlow(steps, config.get("shift", 1.0))
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


def grid_of(config: dict[str, Any]) -> Grid:
    """How diffusers would space this model's timesteps."""
    spacing: Any = "karras" if config.get("use_karras_sigmas") else config.get("timestep_spacing", "leading")
    # DDIM alone has this key, and takes it for true where it is missing.
    ends_clean = config.get("set_alpha_to_one", config.get("_class_name") == "DDIMScheduler")
    return Grid(spacing=spacing, offset=config.get("steps_offset", 0), ends_clean=ends_clean)


def prediction_of(config: dict[str, Any]) -> Prediction:
    kind = config.get("prediction_type", "epsilon")
    if kind not in get_args(Prediction):
        raise WeightsUnavailable(
            f"the scheduler's prediction_type {kind!r} is not supported; supported: {get_args(Prediction)}"
        )
    return kind  # type: ignore[no-any-return]
