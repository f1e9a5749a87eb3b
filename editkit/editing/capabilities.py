"""Check that a model can execute a request."""

from __future__ import annotations

import re

from ..errors import InvalidParameter, MissingCapability
from ..model.backend import Backend
from ..model.batching import unwrap
from ..model.capabilities import SupportsOwnGuidance, adapters_of, long_prompts_of, require
from ..model.execution import accelerator_of
from ..model.references import references_of
from ..registry.params import Params
from ..registry.paths import without_folder
from ..sampling.params import DrawingParams
from .params import PROMPTS, AutoMaskParams, ReferenceParams
from .request import Request
from .validation import check_accelerated, has_custom_negative_prompt

FEW_STEPS = 8
"""Most steps of a model that was distilled for few."""
FEW_STEP_WORDS = frozenset({"dmd", "hyper", "lcm", "lightning", "schnell", "tcd", "turbo"})
"""Words in the names of such models."""

SINGLE_ESTIMATE = frozenset({"distilled-guidance", "own-guidance"})
"""Capabilities of models whose guidance takes one estimate per step."""


def check_capabilities(request: Request, model: Backend) -> None:
    """Raise MissingCapability, naming both sides, if the model cannot execute the request."""
    check_accelerated(request.spec, request.params, accelerator_of(unwrap(model)))
    missing = request.spec.needs - model.provides
    provided = ", ".join(sorted(model.provides)) or "nothing beyond images"
    if missing:
        needed = ", ".join(sorted(missing))
        raise MissingCapability(f"{request.spec.name} needs {needed}; the model {model.name!r} provides {provided}")
    prompts = request.params.model_dump(include=set(PROMPTS))
    for name in PROMPTS:
        if prompts.get(name) and "text" not in model.provides:
            raise MissingCapability(f"{name}= needs text; the model {model.name!r} provides {provided}: leave it out")
    params = request.params
    if isinstance(params, DrawingParams) and params.long_prompts and long_prompts_of(model) is None:
        raise MissingCapability(
            f"long_prompts= needs a model whose text encoders are all CLIP; the model {model.name!r} provides "
            f"{provided}: leave it out, and shorten the prompt"
        )
    _check_automatic_mask(params, model, provided)
    _check_references(request, model, provided)
    check_single_estimate(request, model)
    for control in request.controls:
        if control.needs - model.provides:
            raise MissingCapability(
                f"attach={control.name!r} needs {', '.join(sorted(control.needs))}; the model {model.name!r} provides "
                f"{provided}: leave it out"
            )
    if request.inverter is not None:
        _check_inverter(request, model, provided)


def _check_automatic_mask(params: Params, model: Backend, provided: str) -> None:
    """Raise MissingCapability if the model has not what an automatic mask is found by."""
    if not isinstance(params, AutoMaskParams) or params.auto_mask is None:
        return
    needed = {"text"} if params.auto_mask == "difference" else {"text", "attention"}
    if needed - model.provides:
        raise MissingCapability(
            f"auto_mask={params.auto_mask!r} needs {', '.join(sorted(needed - model.provides))}; the model "
            f"{model.name!r} provides {provided}: "
            + ("use auto_mask='difference', or give a mask" if "text" in model.provides else "give a mask")
        )


def _check_references(request: Request, model: Backend, provided: str) -> None:
    """Raise an error if the model reads no references, fewer than are given, or one where the request has none."""
    reads, params = references_of(model), request.params
    further = params.reference if isinstance(params, ReferenceParams) else ()
    if reads is None:
        if further:
            raise MissingCapability(
                f"reference= needs references; the model {model.name!r} provides {provided}: leave it out, or use an "
                "edit model, such as FLUX.2 or Qwen-Image-Edit"
            )
        return
    if reads.required and len(request.sources) != 1:
        raise MissingCapability(
            f"the model {model.name!r} edits one image and draws nothing without: {request.spec.name} needs another "
            "model"
        )
    if 1 + len(further) > reads.most:
        limit = f"at most {reads.most - 1}" if reads.most > 1 else "none"
        raise InvalidParameter(
            f"reference: {len(further)} given, but beside the edited image the model {model.name!r} reads {limit}"
        )


def _check_inverter(request: Request, model: Backend, provided: str) -> None:
    """Raise MissingCapability if the inverter does not serve the model's prediction or needs two estimates."""
    spec = request.inverter
    assert spec is not None
    if model.prediction not in spec.predictions:
        raise MissingCapability(
            f"the inverter {spec.name} needs {' or '.join(sorted(spec.predictions))}; "
            f"the model {model.name!r} gives {model.prediction}: take another inverter"
        )
    two_estimates = "text" in model.provides and not SINGLE_ESTIMATE & model.provides
    if spec.sets_negative_prompt and not two_estimates:
        raise MissingCapability(
            f"the inverter {spec.name} needs text and guidance by two estimates; the model {model.name!r} provides "
            f"{provided}: take another inverter"
        )


def check_single_estimate(request: Request, model: Backend) -> None:
    """Raise MissingCapability if a parameter needs two estimates per step, and guidance of the model takes one."""
    params, provided = request.params, sorted(SINGLE_ESTIMATE & model.provides)
    if not isinstance(params, DrawingParams) or not provided:
        return
    takes_negative = "own-guidance" in provided and require(model, SupportsOwnGuidance).takes_negative_prompt
    single = params.negative_guidance == 1 or "distilled-guidance" not in provided
    needs = {
        "negative_prompt": single and has_custom_negative_prompt(params) and not takes_negative,
        "guidance_rescale": single and params.guidance_rescale > 0,
    }
    advice = "set negative_guidance, or leave it out" if "distilled-guidance" in provided else "leave it out"
    for name, needed in needs.items():
        if needed:
            raise MissingCapability(
                f"{name}= needs guidance by two estimates; the model {model.name!r} provides {', '.join(provided)}, "
                f"which makes one: {advice}"
            )


def unnoticed_distillation(params: Params, given: Params, model: Backend) -> str | None:
    """Return a warning if names of model and adapters promise few steps, and nothing else set fewer than usual.

    ``given`` are the parameters before the model's usual settings. Files of distilled weights in one file, and of LoRA
    such as those of Lightning, do not say that they are distilled.
    """
    steps = getattr(params, "steps", None)
    if not isinstance(given, DrawingParams) or "steps" in given.model_fields_set or "steps" not in given.from_model:
        return None
    names = (model.name, *(adapter.rpartition(":")[0] for adapter in adapters_of(model)))
    promising = [name for name in names if FEW_STEP_WORDS & set(re.split("[^a-z]+", without_folder(name).lower()))]
    if not promising or steps is None or steps <= FEW_STEPS:
        return None
    return (
        f"{without_folder(promising[0])} is named like a model of few steps, but its files do not say so, and the edit "
        f"takes {steps} steps: if it is one, pass --steps {FEW_STEPS} or fewer, and --guidance 1"
    )
