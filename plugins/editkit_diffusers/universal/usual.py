"""Usual settings of a pipeline: the defaults of its own call, and those of models that were distilled for few steps."""

from __future__ import annotations

import inspect
from collections.abc import Container, Mapping
from typing import Any

import diffusers

from ..scheduler_config import usual_of
from .facts import FamilyFacts, facts_of

WORKFLOW = "text2image"
"""Name of the blocks of a modular pipeline that sample from a prompt, among those of a family."""


def scale_argument(names: Container[str], *, is_input: bool) -> str:
    """Return the argument of a pipeline's call that is the guidance scale; empty if it has none.

    ``is_input`` is whether the scale is an input of the network; a scale of two estimates may stand beside it.
    """
    candidates = ("distilled_guidance_scale", "guidance_scale") if is_input else ("true_cfg_scale", "guidance_scale")
    return next((name for name in candidates if name in names), "")


def usual_settings(pipe: Any, *, is_input: bool) -> dict[str, Any]:
    """Return ``steps``, ``guidance`` and ``sampler`` of a pipeline, as far as they are known.

    ``is_input`` is whether the guidance scale is an input of its network.
    """
    facts, defaults = facts_of(type(pipe)), _defaults_of(pipe)
    argument = scale_argument(defaults, is_input=is_input)
    config, kind = pipe.scheduler.config, type(pipe.scheduler).__name__
    if facts.few_steps and (pipe.config.get("is_distilled") or _has_distilled_scheduler(config, facts)):
        return {"steps": facts.few_steps, "guidance": 1.0}
    steps, scale = defaults.get("num_inference_steps"), defaults.get(argument)
    usual: dict[str, Any] = {"steps": steps} if isinstance(steps, int) else {}
    if argument not in defaults:
        usual["guidance"] = _scale_of(getattr(pipe, "guider", None))
    elif isinstance(scale, (int, float)):
        usual["guidance"] = float(scale + 1 - facts.unguided)
    return {**usual, **facts.usual, **_of_scheduler(kind), **usual_of({**config, "_class_name": kind})}


def _defaults_of(pipe: Any) -> Mapping[str, Any]:
    """Return the defaults of the arguments of a pipeline's call, or of the inputs of its blocks."""
    if isinstance(pipe, diffusers.ModularPipeline):
        return {entry.name: entry.default for entry in pipe.blocks.get_workflow(WORKFLOW).inputs}
    return {name: one.default for name, one in inspect.signature(type(pipe).__call__).parameters.items()}


def _scale_of(guider: Any) -> float:
    """Return editkit's guidance of a guider of diffusers; 1 for none, or for one that is switched off."""
    if guider is None or not guider._enabled:
        return 1.0
    return float(guider.guidance_scale + (1 if getattr(guider, "use_original_formulation", False) else 0))


def _has_distilled_scheduler(config: Mapping[str, Any], facts: FamilyFacts) -> bool:
    """Whether a scheduler has the shift of the distilled model of a family."""
    return facts.distilled_shift is not None and config.get("shift") == facts.distilled_shift


def _of_scheduler(kind: str) -> dict[str, Any]:
    """Return what a scheduler says of a model: that of Flash Diffusion adds fresh noise to each estimate."""
    return {"guidance": 1.0, "sampler": "lcm"} if kind.startswith("FlashFlowMatch") else {}
