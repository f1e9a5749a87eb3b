"""Refuse what a model cannot do."""

from __future__ import annotations

from ..errors import MissingCapability
from ..models.backend import Backend
from ..registry.registry import Registry
from .request import Request, inverter_spec, led_away


def check_capabilities(registry: Registry, request: Request, model: Backend) -> None:
    """Refuse what the model cannot do, naming both sides."""
    missing = request.spec.needs - model.provides
    provided = ", ".join(sorted(model.provides)) or "nothing beyond pictures"
    if missing:
        wanted = ", ".join(sorted(missing))
        raise MissingCapability(f"{request.spec.name} needs {wanted}; the model {model.name!r} provides {provided}")
    for name in ("prompt", "negative_prompt", "source", "target"):
        if getattr(request.params, name, "") and "text" not in model.provides:
            raise MissingCapability(f"{name}= needs text; the model {model.name!r} provides {provided}: leave it out")
    if "distilled-guidance" in model.provides:
        refuse_second_estimate(request, model)
    spec = inverter_spec(registry, request)
    if spec is not None and model.prediction not in spec.predictions:
        raise MissingCapability(
            f"the inverter {spec.name} needs {' or '.join(sorted(spec.predictions))}; "
            f"the model {model.name!r} gives {model.prediction}: take another inverter"
        )
    estimates = 2 if "text" in model.provides and "distilled-guidance" not in model.provides else 1
    if spec is not None and spec.leads_away and estimates == 1:
        raise MissingCapability(
            f"the inverter {spec.name} needs text and guidance by two estimates; the model {model.name!r} provides "
            f"{provided}: take another inverter"
        )


def refuse_second_estimate(request: Request, model: Backend) -> None:
    """Refuse what only guidance by two estimates does: a network that is told the scale makes one."""
    params = request.params
    rescaled = getattr(params, "guidance_rescale", 0.0) > 0
    for name, asked in {"negative_prompt": led_away(params), "guidance_rescale": rescaled}.items():
        if asked:
            raise MissingCapability(
                f"{name}= needs guidance by two estimates; the model {model.name!r} provides distilled-guidance, "
                "which makes one: leave it out"
            )
