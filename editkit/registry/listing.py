"""Registered names and their specs."""

from __future__ import annotations

from .engines import Engine
from .registry import installed
from .specs import AnnotatorSpec, EngineSpec, InverterSpec, ModelSpec, OperationSpec, SamplerSpec


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


def engines() -> dict[str, EngineSpec]:
    """Registered engines of batches by name."""
    return dict(installed().specs["engines"])


def build_engine(call: str) -> Engine:
    """Return the engine that ``name:option=value,...`` names; raises UnknownName or InvalidParameter."""
    engine: Engine = installed().build("engines", call)
    return engine
