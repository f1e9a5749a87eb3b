"""The public names and where they live: read by type checkers, and at run time to import each on first use."""

from . import testing as testing
from .backends import Backend, Inpainter, Instructable, Steerable, Upscaler
from .canvas import Canvas
from .catalogue import annotators, inverters, models, operations, samplers
from .composing import paint
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
from .filling import fill
from .guidance import Condition, Conditioned, Guidance, blended, classifier_free, interval, repeated
from .hookspecs import hookimpl
from .images import open_image
from .inversion import Inversion, Inverter
from .loading import identity_of, load_model
from .loop import Denoiser, Noise, Stepper, ddim_step, walk
from .maps import Annotator, read_map
from .params import (
    CanvasParams,
    DrawingParams,
    EditParams,
    Folder,
    Fraction,
    Params,
    Picture,
    PictureParams,
    Registered,
    SamplingParams,
)
from .paths import Grid, Path, make_path, start_at, with_jumps
from .pipelines import Pipeline, replay
from .points import CLEAN, Point, add_noise, eps_of
from .predictions import Prediction, from_x0, to_x0
from .report import Report
from .reprompting import reprompt
from .results import Result
from .schedules import RectifiedFlow, Schedule, VariancePreserving, cosine, linear, scaled_linear
from .session import Edit, Painted, Session
from .shortcuts import invert, reconstruct
from .specs import (
    AnnotatorSpec,
    BackendSpec,
    CaptionerSpec,
    ControlNetSpec,
    ControlSpec,
    InverterSpec,
    ModelSpec,
    OperationSpec,
    SamplerSpec,
)
from .tiles import Box, NoiseField, Tiling
from .version import __version__

__all__ = [
    "CLEAN",
    "Annotator",
    "AnnotatorSpec",
    "Backend",
    "BackendSpec",
    "BadFile",
    "BadImage",
    "Box",
    "Cancelled",
    "Canvas",
    "CanvasParams",
    "CaptionerSpec",
    "Condition",
    "Conditioned",
    "Control",
    "ControlNetSpec",
    "ControlSpec",
    "Denoiser",
    "DrawingParams",
    "DuplicateName",
    "Edit",
    "EditParams",
    "EditkitError",
    "Folder",
    "Fraction",
    "Grid",
    "Guidance",
    "Inpainter",
    "Instructable",
    "InvalidParameter",
    "Inversion",
    "Inverter",
    "InverterSpec",
    "MissingCapability",
    "ModelSpec",
    "Noise",
    "NoiseField",
    "OperationSpec",
    "Painted",
    "Params",
    "Path",
    "Picture",
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
    "Steerable",
    "Stepper",
    "Tiling",
    "UnknownName",
    "Upscaler",
    "VariancePreserving",
    "WeightsUnavailable",
    "__version__",
    "add_noise",
    "annotators",
    "apply",
    "blended",
    "classifier_free",
    "cosine",
    "ddim_step",
    "eps_of",
    "fill",
    "from_x0",
    "hookimpl",
    "identity_of",
    "interval",
    "invert",
    "inverters",
    "linear",
    "load_model",
    "make_path",
    "models",
    "open_image",
    "operations",
    "paint",
    "read_map",
    "reconstruct",
    "repeated",
    "replay",
    "reprompt",
    "samplers",
    "scaled_linear",
    "start_at",
    "testing",
    "to_x0",
    "walk",
    "with_jumps",
]
