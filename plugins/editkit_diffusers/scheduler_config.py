"""Schedule, timestep grid and prediction kind from a diffusers scheduler configuration."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, NoneType
from typing import Any, get_args

import diffusers
import torch
from torch import Tensor

from editkit import (
    InvalidParameter,
    Prediction,
    RectifiedFlow,
    ResolutionShift,
    Schedule,
    TimestepGrid,
    VariancePreserving,
    WeightsUnavailable,
    cosine,
    linear,
    quiet,
    read_json,
    scaled_linear,
)

Config = Mapping[str, Any]

NAMED_BETAS = {"linear": linear, "scaled_linear": scaled_linear}
_LEAST_SIGNAL = 1e-20
"""Smallest squared share of the image at the noisiest timestep, if it is not zero on purpose."""
MOST_TIMESTEPS = 10**5
"""Largest number of training timesteps that is read: a table of more only takes memory."""
RAMP_OPTIONS = {
    "use_karras_sigmas": "karras",
    "use_exponential_sigmas": "exponential",
    "use_lu_lambdas": "exponential",  # even steps of the logarithm, over the same range
    "use_beta_sigmas": "beta",
}
"""Spacings by the option of a scheduler."""
RAMPS = frozenset(RAMP_OPTIONS.values())
_WHOLE_RANGE = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPC", "DEIS", "SASolver")
"""Beginnings of the names of schedulers whose ramps span the schedule; others span the timesteps of their spacing."""
_DISTILLED = ("LCMScheduler", "TCDScheduler")
_SAMPLER_DEFAULTS: Config = MappingProxyType(
    {
        "invert_sigmas": False,
        "sigma_min": None,
        "sigma_max": None,
        "use_flow_sigmas": False,
        "thresholding": False,
        "interpolation_type": "linear",
        "timestep_type": "discrete",
        "snr_shift_scale": None,
        "scale_factors": None,
        "final_sigmas_type": "zero",
    }
)
"""Options of schedulers that must have these values: others change the path in a way that is not supported."""
_NUMBERS = {
    "num_train_timesteps": (2, MOST_TIMESTEPS),
    "beta_start": (0, 1),
    "beta_end": (0, 1),
    "steps_offset": (0, MOST_TIMESTEPS),
    "original_inference_steps": (1, MOST_TIMESTEPS),
    "shift": (1e-3, 1e3),
    "base_shift": (-1e3, 1e3),
    "max_shift": (-1e3, 1e3),
    "base_image_seq_len": (1, 10**9),
    "max_image_seq_len": (1, 10**9),
    "shift_terminal": (0, 1),
}
"""Lowest and highest value of the numbers that are read."""
_WHOLE_NUMBERS = ("num_train_timesteps", "steps_offset", "original_inference_steps")


def read_config(folder: Path, part: str = "scheduler", *, fixed: Config = MappingProxyType({})) -> dict[str, Any]:
    """Read a scheduler configuration, with the defaults of its class and the values that a pipeline sets in ``fixed``.

    Raises WeightsUnavailable if the file cannot be read, its class is unknown, or a value is not supported.
    """
    file = folder / part / "scheduler_config.json"
    return complete_config(read_json(file), str(file), fixed)


def complete_config(given: Config, called: str, fixed: Config = MappingProxyType({})) -> dict[str, Any]:
    """Return a scheduler configuration with the defaults of its class and the values in ``fixed``.

    Raises WeightsUnavailable if its class is unknown or a value is not supported; messages begin with ``called``.
    """
    defaults = _class_defaults(given.get("_class_name", "DDIMScheduler"), called)
    # Options that the class lacks are those of a scheduler that it replaced, and diffusers leaves them out.
    own = {key: value for key, value in given.items() if key in defaults or key.startswith("_")}
    config = defaults | own | {key: value for key, value in fixed.items() if key in defaults}
    _check_numbers(config, called)
    return config


def _class_defaults(name: Any, file: str) -> dict[str, Any]:
    """Return the default configuration of a scheduler class of diffusers."""
    kind = getattr(diffusers, name, None) if isinstance(name, str) and name.endswith("Scheduler") else None
    if not isinstance(kind, type) or not issubclass(kind, diffusers.SchedulerMixin):
        raise WeightsUnavailable(
            f"{file} names the scheduler class {str(name)[:60]!r}, which diffusers {diffusers.__version__} lacks: put "
            "the name of one of its schedulers there"
        )
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    return {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}


def clipping_warnings(config: Config) -> tuple[str, ...]:
    """Return a note if a scheduler would limit estimates of an image to -1 to 1, which is left out for latents."""
    if not config.get("clip_sample"):
        return ()
    return (
        "the scheduler's clip_sample is true and is left out, because latents are not limited to -1 to 1: set it to "
        "false in its configuration",
    )


def class_warnings(config: Config, index_class: Any) -> tuple[str, ...]:
    """Return a note if the class that a model's index names would give other values than that of ``config``.

    ``config`` is the content of the scheduler's file.
    """
    name = config.get("_class_name")
    if not isinstance(index_class, str) or not hasattr(diffusers, index_class) or name in (None, index_class):
        return ()
    own, other = (complete_config({**config, "_class_name": one}, "the scheduler") for one in (name, index_class))
    differing = sorted(key for key in {*own} & {*other} - {"_class_name"} if own[key] != other[key])
    if not differing and _is_flow(own) == _is_flow(other):
        return ()
    values = f", with other defaults of {', '.join(differing)}" if differing else ""
    return (
        f"the scheduler's configuration names the class {name}, which is used, and the model's index {index_class}"
        f"{values}: name one class in both",
    )


def _check_numbers(config: Config, file: str) -> None:
    """Raise WeightsUnavailable for numbers of another type or outside their range."""
    for name, (low, high) in _NUMBERS.items():
        value = config.get(name)
        if value is None:
            continue
        kinds = (int,) if name in _WHOLE_NUMBERS else (int, float)
        if type(value) not in kinds or not low <= value <= high:
            kind = "a whole number" if name in _WHOLE_NUMBERS else "a number"
            raise WeightsUnavailable(f"{file}: {name}={str(value)[:60]!r} is not {kind} from {low:g} to {high:g}")
    for name in (*RAMP_OPTIONS, "rescale_betas_zero_snr", "set_alpha_to_one", "use_dynamic_shifting"):
        if not isinstance(config.get(name), (bool, NoneType)):
            raise WeightsUnavailable(f"{file}: {name}={str(config[name])[:60]!r} is neither true nor false")


def schedule_of(config: Config) -> Schedule:
    """Return the noise schedule of the training; raises WeightsUnavailable for unsupported schedulers."""
    if _is_flow(config):
        return flow_of(config)
    name = config.get("_class_name", "")
    if name.startswith("EDM"):
        raise WeightsUnavailable(f"the scheduler is a {name}, whose continuous noise levels are not supported")
    if "beta_start" not in config:
        raise WeightsUnavailable(f"the scheduler is a {name}, which has no table of betas and is not supported")
    _check_options(config)
    zero = bool(config.get("rescale_betas_zero_snr", False))
    try:
        schedule = VariancePreserving.from_betas(_betas_of(config), zero_terminal_snr=zero)
    except (InvalidParameter, TypeError, ValueError) as error:  # of a list of anything
        raise WeightsUnavailable(f"the scheduler's betas cannot be used: {error}") from error
    if not zero and schedule.alphas_cumprod[-1] < _LEAST_SIGNAL:
        raise WeightsUnavailable(
            "the scheduler's betas leave no signal at the noisiest timestep: beta_start and beta_end are too large"
        )
    _check_clipping(config, schedule)
    return schedule


def _check_clipping(config: Config, schedule: VariancePreserving) -> None:
    """Raise WeightsUnavailable if a solver would leave out the noisiest timesteps, by log(alpha / sigma)."""
    least = config.get("lambda_min_clipped")
    if least is None:
        return
    noisiest = float(schedule.alphas_cumprod[-1])
    if type(least) not in (int, float) or (noisiest > 0 and least > math.log(noisiest / (1 - noisiest)) / 2):
        raise WeightsUnavailable(
            f"the scheduler's lambda_min_clipped {str(least)[:60]!r} leaves out the noisiest timesteps, which is not "
            "supported: remove it from its configuration"
        )


def _betas_of(config: Config) -> Any:
    """Return the betas (T,) of a configuration."""
    steps, kind = config.get("num_train_timesteps", 1000), config.get("beta_schedule", "linear")
    if config.get("trained_betas"):
        betas = config["trained_betas"]
        if isinstance(betas, list) and len(betas) != steps:
            raise WeightsUnavailable(
                f"the scheduler has {len(betas)} trained_betas and num_train_timesteps {steps}: set the latter to "
                f"{len(betas)}"
            )
        return betas
    if kind == "squaredcos_cap_v2":
        return cosine(steps)
    if not isinstance(kind, str) or kind not in NAMED_BETAS:
        raise WeightsUnavailable(
            f"the scheduler's beta_schedule {str(kind)[:60]!r} is not supported; "
            f"supported: {', '.join(NAMED_BETAS)}, squaredcos_cap_v2"
        )
    return NAMED_BETAS[kind](steps, config.get("beta_start", 1e-4), config.get("beta_end", 0.02))


def _check_options(config: Config) -> None:
    """Raise WeightsUnavailable for options that are not supported."""
    for name, needed in _SAMPLER_DEFAULTS.items():
        value = config.get(name, needed)
        if value != needed and (value or needed):
            advice = {False: "false", None: "null"}.get(needed, repr(needed))
            raise WeightsUnavailable(
                f"the scheduler's {name} {str(value)[:60]!r} is not supported: set it to {advice} in its configuration"
            )
    on = [name for name in RAMP_OPTIONS if config.get(name)]
    if len(on) > 1:
        raise WeightsUnavailable(f"the scheduler has {' and '.join(on)}: set all but one to false")


def _is_flow(config: Config) -> bool:
    return "FlowMatch" in config.get("_class_name", "")


def flow_of(config: Config, patch: int = 2) -> RectifiedFlow:
    """Return the schedule of a flow-matching network with ``patch`` squared latents per token.

    Raises WeightsUnavailable for schedulers of another kind, and for options that are not supported.
    """
    if not _is_flow(config):
        raise WeightsUnavailable(
            f"the scheduler is a {config.get('_class_name')}; this model needs a FlowMatchEulerDiscreteScheduler"
        )
    _check_options(config)
    steps, terminal = config.get("num_train_timesteps", 1000), config.get("shift_terminal") or None
    if config.get("use_dynamic_shifting"):
        kind = config.get("time_shift_type", "exponential")
        if kind not in ("exponential", "linear"):
            raise WeightsUnavailable(
                f"the scheduler's time_shift_type {str(kind)[:60]!r} is not supported: exponential or linear"
            )
        shift_of = ResolutionShift(
            tokens=(config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)),
            values=(config.get("base_shift", 0.5), config.get("max_shift", 1.15)),
            patch=patch,
            exponential=kind == "exponential",
        )
        return RectifiedFlow(steps, terminal=terminal, shift_of=shift_of)
    shift = config.get("shift", 1.0)
    # diffusers shifts its table of timesteps, takes the ends from it, and shifts the values between them once more.
    return RectifiedFlow(steps, shift, first=steps * shift / (steps - 1 + shift), terminal=terminal)


def grid_of(config: Config) -> TimestepGrid:
    """Return the timestep grid that diffusers would use for this model; raises WeightsUnavailable for another one."""
    ramp: Any = next((spacing for name, spacing in RAMP_OPTIONS.items() if config.get(name)), None)
    if _is_flow(config):
        return TimestepGrid(ramp or "linspace", ends_clean=True, ramp_within="linspace", ramp_by_sigma=True)
    spacing, name = config.get("timestep_spacing", "leading"), config.get("_class_name", "")
    if spacing not in ("leading", "trailing", "linspace"):
        raise WeightsUnavailable(
            f"the scheduler's timestep_spacing {str(spacing)[:60]!r} is not supported: leading, trailing or linspace"
        )
    offset, ends_clean = config.get("steps_offset") or 0, bool(config.get("set_alpha_to_one", False))
    if name in _DISTILLED:
        count = config.get("original_inference_steps") or 50
        return TimestepGrid("distilled", distilled=count, ends_clean=ends_clean)
    within = None if ramp is None or name.startswith(_WHOLE_RANGE) else spacing
    return TimestepGrid(ramp or spacing, offset=offset, ends_clean=ends_clean, ramp_within=within)


def whole_timesteps_of(config: Config) -> Callable[[Tensor], Tensor] | None:
    """Return how a scheduler makes timesteps between two whole ones whole, or None if it does not.

    Schedulers of the DPM-Solver family evaluate the network at whole timesteps, whose noise level differs a little from
    that of the point: the nearest one for Karras and Lu levels, else the one below.
    """
    ramps = [name for name in RAMP_OPTIONS if config.get(name)]
    if not ramps or not config.get("_class_name", "").startswith(_WHOLE_RANGE):
        return None
    if ramps[0] in ("use_karras_sigmas", "use_lu_lambdas"):
        return torch.round
    # The noisiest becomes the last timestep or the one below by a rounding error of the scheduler, which is repeated.
    options = {**config, **dict.fromkeys(ramps, False), "use_exponential_sigmas": True}
    with quiet():
        scheduler = getattr(diffusers, config["_class_name"]).from_config(options)
        scheduler.set_timesteps(2)
    noisiest = int(scheduler.timesteps[0])
    return lambda timesteps: torch.floor(timesteps + 1e-3).clamp(max=noisiest)


def usual_of(config: Config) -> dict[str, Any]:
    """Return the usual settings of models with a scheduler for distillations (arXiv 2310.04378, 2402.19159).

    Schedulers of flows that add fresh noise to each estimate say nothing about steps and guidance.
    """
    name = config.get("_class_name", "")
    if name.startswith("FlowMatchLCM") or (_is_flow(config) and config.get("stochastic_sampling")):
        return {"sampler": "lcm"}
    if name not in _DISTILLED:
        return {}
    return {"steps": 4, "guidance": 1.0} | ({"sampler": "lcm"} if config["_class_name"] == "LCMScheduler" else {})


def prediction_of(config: Config) -> Prediction:
    if _is_flow(config):
        return "flow_prediction"
    kind = config.get("prediction_type", "epsilon")
    allowed = tuple(one for one in get_args(Prediction) if one != "flow_prediction")
    if kind not in allowed:
        raise WeightsUnavailable(
            f"the scheduler's prediction_type {str(kind)[:60]!r} is not supported; supported: {', '.join(allowed)}"
        )
    return kind  # type: ignore[no-any-return]
