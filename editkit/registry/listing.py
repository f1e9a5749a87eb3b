"""Registered names and their specs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .engines import Engine
from .params import Params
from .paths import map_paths, names_path
from .registry import installed
from .specs import (
    AcceleratorSpec,
    AnnotatorSpec,
    CaptionerSpec,
    ControlSpec,
    EngineSpec,
    InverterSpec,
    ModelSpec,
    OperationSpec,
    SamplerSpec,
    SegmenterSpec,
)


def operations() -> dict[str, OperationSpec]:
    """Registered operations by name."""
    return dict(installed().specs["operations"])


def inverters() -> dict[str, InverterSpec]:
    """Registered inverters by name."""
    return dict(installed().specs["inverters"])


def samplers() -> dict[str, SamplerSpec]:
    """Registered samplers by name."""
    return dict(installed().specs["samplers"])


def models() -> dict[str, ModelSpec]:
    """Registered models by name."""
    return dict(installed().specs["models"])


def annotators() -> dict[str, AnnotatorSpec]:
    """Registered annotators by name."""
    return dict(installed().specs["annotators"])


def controls() -> dict[str, ControlSpec]:
    """Registered controls of sampling by name."""
    return dict(installed().specs["controls"])


def captioners() -> dict[str, CaptionerSpec]:
    """Registered captioners by name."""
    return dict(installed().specs["captioners"])


def segmenters() -> dict[str, SegmenterSpec]:
    """Registered segmenters by name."""
    return dict(installed().specs["segmenters"])


def engines() -> dict[str, EngineSpec]:
    """Registered engines of batches by name."""
    return dict(installed().specs["engines"])


def accelerators() -> dict[str, AcceleratorSpec]:
    """Registered accelerators of networks by name."""
    return dict(installed().specs["accelerators"])


def build_engine(call: str) -> Engine:
    """Return the engine that ``name:option=value,...`` names; raises UnknownName or InvalidParameter."""
    engine: Engine = installed().build("engines", call)
    if not callable(getattr(engine, "start", None)):
        raise installed().wrong_result("engines", call, engine, "an editkit.Engine")
    return engine


def build_segmenter(call: str) -> Any:
    """Return the Segmenter that ``name:option=value,...`` names; raises UnknownName or InvalidParameter."""
    return installed().build("segmenters", call)


def path_params(params: Params) -> list[str]:
    """Return the parameters whose value names a file or folder, or a registered name with one among its options."""
    fields = type(params).model_fields
    return [name for name, field in fields.items() if names_path(installed(), name, field, getattr(params, name))]


def replace_paths(params: type[Params], values: Mapping[str, Any], replace: Callable[[str], str]) -> dict[str, Any]:
    """Return plain values of parameters, in each of which ``replace`` is called with every file or folder it names.

    Those are values of parameters and of options of registered names, such as ``attach="controlnet:image=map.png"``.
    """
    return map_paths(installed(), params, values, replace)
