"""Report of an edit, with warnings of whatever had no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from ...model.batching import unwrap
from ...model.capabilities import adapters_of, warnings_of
from ...model.execution import accelerator_of
from ...model.prompt_text import word_warnings
from ...registry.params import Params, without_effect
from ...report import Report
from ...sampling.params import DrawingParams
from ...version import __version__
from ..params import PROMPTS, prompts_of
from ..request import Request
from ..session import Session
from ..validation import inverter_name


def build_report(
    session: Session,
    request: Request,
    frames: Sequence[Image.Image],
    quality: Mapping[str, Any],
    *,
    seconds: float,
    memory: float,
) -> Report:
    params, model = session.params, session.model  # an operation may have filled in parameters
    return Report(
        operation=request.spec.name,
        model=model.name,
        adapters=adapters_of(model),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        accelerator=accelerator_of(unwrap(model)),
        **_settings(params, request),
        network_calls=session.usage.calls,
        network_samples=session.usage.samples,
        seconds=round(seconds, 4),
        peak_memory_mb=memory,
        input_size=request.sources[0].size if request.sources else None,
        working_size=session.usage.working_size or session.canvas.work,
        output_size=frames[0].size if frames else None,
        params=params.model_dump(mode="json"),
        warnings=_warnings(session, request),
        version=__version__,
        **quality,
    )


def _warnings(session: Session, request: Request) -> tuple[str, ...]:
    """Warnings of the edit, and of parameters that had no effect; an inversion stores those of its replay."""
    idle = [*_idle_parameters(session), *_idle_inverter(session, request)] if request.spec.gives == "image" else ()
    return tuple(dict.fromkeys([*session.usage.warnings, *warnings_of(session.model), *idle]))


def _idle_inverter(session: Session, request: Request) -> Iterator[str]:
    """Yield a warning of an inverter that sets the negative prompt of an edit which evaluates none."""
    params, spec = session.params, request.inverter
    if spec is not None and spec.sets_negative_prompt and isinstance(params, DrawingParams) and not params.is_guided:
        yield (
            f"the inverter {spec.name} acts by the negative prompt alone, and guidance is 1, which evaluates none: "
            "give another guidance, or take another inverter"
        )


def _idle_parameters(session: Session) -> Iterator[str]:
    """Yield warnings of parameters, options of registered names such as ``controlnet:...`` and words without effect."""
    params = session.params
    yield from without_effect(params, session.model)
    for name, field in type(params).model_fields.items():
        for spec, options in session.registry.resolve_names(name, field, getattr(params, name)):
            yield from (f"{spec.name}:{warning}" for warning in without_effect(options, session.model))
    if any(name in type(params).model_fields for name in PROMPTS if name != "negative_prompt"):
        yield from word_warnings(session.model, [*prompts_of(params), *session.usage.prompts])


def _settings(params: Params, request: Request) -> dict[str, Any]:
    """Sampling settings of the report; None for those that the operation does not have."""
    inversion, inverter = request.inversion, request.inverter
    drawing = params if isinstance(params, DrawingParams) else None
    settings = params.model_dump(include={"steps"})
    return {
        "seed": drawing and drawing.seed,
        "steps": len(inversion.path) - 1 if inversion else settings.get("steps"),
        "sampler": None if drawing is None or (inverter and inverter.replaces_sampler) else drawing.sampler,
        "inverter": inversion.method if inversion else inverter_name(params),
        "guidance": drawing and drawing.guidance,
    }
