"""Usual settings of a model: the values of parameters with which its authors publish it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from ..model.backend import Backend
from .params import DrawingParams, ParamsT

if TYPE_CHECKING:
    from ..registry.specs import ModelSpec


class SupportsUsualSettings(Backend, Protocol):
    """Model with which its authors publish settings for sampling it."""

    usual: Mapping[str, Any]
    """Values of ``steps``, ``guidance`` and ``sampler``, as far as they are published. Guidance is editkit's: 1 is that
    of a model which is not guided. They are the defaults of the parameters that an operation leaves to the model
    (:attr:`editkit.DrawingParams.from_model`), after what the user and the spec of a registered model set."""


def usual_of(model: Backend, registered: Mapping[str, ModelSpec], operation: str | None = None) -> Mapping[str, Any]:
    """Return the usual settings of a model by parameter: those of the spec of a registered model, then its family's.

    With an ``operation`` a spec for other operations does not count.
    """
    spec, family = registered.get(model.name), getattr(model, "usual", {})
    if spec is None or (operation and spec.default_for and operation not in spec.default_for):
        return family
    return {**family, **spec.defaults}


def with_usual(params: ParamsT, usual: Mapping[str, Any]) -> ParamsT:
    """Return parameters with the usual values of a model in place of defaults; what is set explicitly stays.

    A model whose usual guidance is 1 was made to be sampled without: this is then the default of every operation.
    """
    if not isinstance(params, DrawingParams):
        return params
    names = params.from_model | ({"guidance"} if usual.get("guidance") == 1 else set())
    chosen = {name: usual[name] for name in names - params.model_fields_set if name in usual}
    return params.model_copy(update=chosen) if chosen else params
