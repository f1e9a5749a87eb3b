"""editkit turns an image into noise and back, and lets plugins steer the way back."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from . import testing
    from .backends import Backend
    from .canvas import Canvas
    from .catalogue import annotators, inverters, models, operations, samplers
    from .controls import Control, PinnedSource
    from .edits import apply
    from .errors import (
        BadFile,
        BadImage,
        Cancelled,
        DuplicateName,
        EditkitError,
        InvalidParameter,
        MissingCapability,
        PluginFailure,
        UnknownName,
        WeightsUnavailable,
    )
    from .guidance import ClassifierFreeGuidance, Condition, Conditioned, blended
    from .hookspecs import hookimpl
    from .images import open_image
    from .inversion import Inversion, Inverter
    from .loading import identity_of, load_model
    from .loop import Denoiser, Noise, Stepper, ddim_step, walk
    from .params import CanvasParams, DrawingParams, EditParams, Params, Registered, SamplingParams
    from .paths import Grid, Path, make_path, start_at
    from .pipelines import Pipeline, replay
    from .points import CLEAN, Point, add_noise, eps_of
    from .predictions import Prediction, from_x0, to_x0
    from .report import Report
    from .results import Result
    from .schedules import RectifiedFlow, Schedule, VariancePreserving, cosine, linear, scaled_linear
    from .session import Edit, Session
    from .shortcuts import invert, reconstruct
    from .specs import AnnotatorSpec, BackendSpec, InverterSpec, ModelSpec, OperationSpec, SamplerSpec

# Imported on first use, so that a plugin's specs and the command line start without torch.
_HOMES = {
    "backends": ["Backend"],
    "canvas": ["Canvas"],
    "catalogue": ["annotators", "inverters", "models", "operations", "samplers"],
    "controls": ["Control", "PinnedSource"],
    "edits": ["apply"],
    "errors": [
        "BadFile",
        "BadImage",
        "Cancelled",
        "DuplicateName",
        "EditkitError",
        "InvalidParameter",
        "MissingCapability",
        "PluginFailure",
        "UnknownName",
        "WeightsUnavailable",
    ],
    "guidance": ["ClassifierFreeGuidance", "Condition", "Conditioned", "blended"],
    "hookspecs": ["hookimpl"],
    "images": ["open_image"],
    "inversion": ["Inversion", "Inverter"],
    "loading": ["identity_of", "load_model"],
    "loop": ["Denoiser", "Noise", "Stepper", "ddim_step", "walk"],
    "params": ["CanvasParams", "DrawingParams", "EditParams", "Params", "Registered", "SamplingParams"],
    "paths": ["Grid", "Path", "make_path", "start_at"],
    "pipelines": ["Pipeline", "replay"],
    "points": ["CLEAN", "Point", "add_noise", "eps_of"],
    "predictions": ["Prediction", "from_x0", "to_x0"],
    "report": ["Report"],
    "results": ["Result"],
    "schedules": ["RectifiedFlow", "Schedule", "VariancePreserving", "cosine", "linear", "scaled_linear"],
    "session": ["Edit", "Session"],
    "shortcuts": ["invert", "reconstruct"],
    "specs": ["AnnotatorSpec", "BackendSpec", "InverterSpec", "ModelSpec", "OperationSpec", "SamplerSpec"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__", "testing"])


def __getattr__(name: str) -> Any:
    if name == "testing":
        return importlib.import_module(".testing", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'editkit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
