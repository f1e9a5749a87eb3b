"""The public names and where they live: read by type checkers, and at run time to import each on first use."""

from . import testing as testing
from .adapters import Adapter, full_name
from .backends import Adaptable, Backend, Distilled, Inpainter, Instructable, Steerable, Tunable, Upscaler
from .caches import cache_folder
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
from .files import check_file, save_picture
from .filling import fill
from .guidance import Condition, Conditioned, Guidance, blended, classifier_free, interval, repeated
from .hookspecs import hookimpl
from .images import open_image
from .inversion import Climb, Inversion, Inverter, Said
from .libraries import quiet, reason_of
from .loading import identity_of, load_model
from .loop import Denoiser, Noise, Stepper, ddim_step, fresh_deviation, walk
from .maps import Annotator, read_map
from .params import (
    DEFAULT_STEPS,
    CanvasParams,
    DrawingParams,
    EditParams,
    Folder,
    Fraction,
    Params,
    Picture,
    PictureParams,
    Prediction,
    Registered,
    RepromptParams,
    SamplingParams,
    UsualSteps,
)
from .paths import Grid, Path, make_path, start_at, with_jumps
from .pipelines import Pipeline, replay
from .points import CLEAN, Point, Points, add_noise, eps_of
from .predictions import from_x0, to_x0
from .redrawing import redraw
from .report import Report
from .reprompting import reprompt
from .results import Result
from .running import Running
from .schedules import (
    RectifiedFlow,
    Schedule,
    SizedShift,
    VariancePreserving,
    cosine,
    linear,
    scaled_linear,
    timestep_of,
)
from .session import Edit, Painted, Session
from .sheets import draw_sheet
from .shortcuts import invert, reconstruct
from .specs import (
    AnnotatorSpec,
    BackendSpec,
    CaptionerSpec,
    CommandSpec,
    ControlNetSpec,
    ControlSpec,
    InverterSpec,
    ModelSpec,
    OperationSpec,
    SamplerSpec,
)
from .tables import Table
from .tiles import Box, NoiseField, Tiling
from .together import apply_all
from .transparency import on_white
from .truth import Judgement, judge
from .version import __version__
from .virtual import VirtualInversion
from .weights import model_folder

__all__ = [
    "CLEAN",
    "DEFAULT_STEPS",
    "Adaptable",
    "Adapter",
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
    "Climb",
    "CommandSpec",
    "Condition",
    "Conditioned",
    "Control",
    "ControlNetSpec",
    "ControlSpec",
    "Denoiser",
    "Distilled",
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
    "Judgement",
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
    "Points",
    "Prediction",
    "RectifiedFlow",
    "Registered",
    "Report",
    "RepromptParams",
    "Result",
    "Running",
    "Said",
    "SamplerSpec",
    "SamplingParams",
    "Schedule",
    "Session",
    "SizedShift",
    "Steerable",
    "Stepper",
    "Table",
    "Tiling",
    "Tunable",
    "UnknownName",
    "Upscaler",
    "UsualSteps",
    "VariancePreserving",
    "VirtualInversion",
    "WeightsUnavailable",
    "__version__",
    "add_noise",
    "annotators",
    "apply",
    "apply_all",
    "blended",
    "cache_folder",
    "check_file",
    "classifier_free",
    "cosine",
    "ddim_step",
    "draw_sheet",
    "eps_of",
    "fill",
    "fresh_deviation",
    "from_x0",
    "full_name",
    "hookimpl",
    "identity_of",
    "interval",
    "invert",
    "inverters",
    "judge",
    "linear",
    "load_model",
    "make_path",
    "model_folder",
    "models",
    "on_white",
    "open_image",
    "operations",
    "paint",
    "quiet",
    "read_map",
    "reason_of",
    "reconstruct",
    "redraw",
    "repeated",
    "replay",
    "reprompt",
    "samplers",
    "save_picture",
    "scaled_linear",
    "start_at",
    "testing",
    "timestep_of",
    "to_x0",
    "walk",
    "with_jumps",
]
