"""The public names and where they live: read by type checkers, and at run time to import each on first use."""

from . import testing as testing
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
from .params import CanvasParams, DrawingParams, EditParams, Params, PictureParams, Registered, SamplingParams
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
from .version import __version__

__all__ = [
    "CLEAN",
    "AnnotatorSpec",
    "Backend",
    "BackendSpec",
    "BadFile",
    "BadImage",
    "Cancelled",
    "Canvas",
    "CanvasParams",
    "ClassifierFreeGuidance",
    "Condition",
    "Conditioned",
    "Control",
    "Denoiser",
    "DrawingParams",
    "DuplicateName",
    "Edit",
    "EditParams",
    "EditkitError",
    "Grid",
    "InvalidParameter",
    "Inversion",
    "Inverter",
    "InverterSpec",
    "MissingCapability",
    "ModelSpec",
    "Noise",
    "OperationSpec",
    "Params",
    "Path",
    "PictureParams",
    "PinnedSource",
    "Pipeline",
    "PluginFailure",
    "Point",
    "Prediction",
    "RectifiedFlow",
    "Registered",
    "Report",
    "Result",
    "SamplerSpec",
    "SamplingParams",
    "Schedule",
    "Session",
    "Stepper",
    "UnknownName",
    "VariancePreserving",
    "WeightsUnavailable",
    "__version__",
    "add_noise",
    "annotators",
    "apply",
    "blended",
    "cosine",
    "ddim_step",
    "eps_of",
    "from_x0",
    "hookimpl",
    "identity_of",
    "invert",
    "inverters",
    "linear",
    "load_model",
    "make_path",
    "models",
    "open_image",
    "operations",
    "reconstruct",
    "replay",
    "samplers",
    "scaled_linear",
    "start_at",
    "testing",
    "to_x0",
    "walk",
]
