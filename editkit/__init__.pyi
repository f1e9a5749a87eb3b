"""The public names and where they live."""

from . import testing as testing
from .api import annotators, invert, inverters, models, operations, reconstruct, samplers
from .diffusion.denoiser import Condition, Conditioned, Denoiser, Noise, blended, repeated
from .diffusion.paths import Grid, Path, make_path, start_at, with_jumps
from .diffusion.points import CLEAN, Point, Points, add_noise, eps_of
from .diffusion.predictions import from_x0, to_x0
from .diffusion.schedules import (
    RectifiedFlow,
    Schedule,
    SizedShift,
    VariancePreserving,
    cosine,
    linear,
    scaled_linear,
    timestep_of,
)
from .editing.apply import apply
from .editing.batch import apply_all
from .editing.composing import paint
from .editing.outcome import Edit, Painted
from .editing.params import CanvasParams, EditParams, PictureParams, RepromptParams, UsualSteps
from .editing.pipeline import Pipeline
from .editing.primitives import fill, invert_latents, redraw, reprompt, sample_from_inversion, to_inversion
from .editing.replay import replay
from .editing.result import Result
from .editing.session import Session
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
from .files import cache_folder
from .images.canvas import Canvas
from .images.condition_maps import Annotator, read_map
from .images.contact_sheet import draw_sheet
from .images.conversion import on_white
from .images.metrics import Judgement, judge
from .images.reading import open_image
from .images.writing import check_file, save_picture
from .inversion.inversion import Inversion
from .inversion.inverter import InversionContext, Inverter
from .inversion.record import Climb, Said
from .inversion.virtual import VirtualInversion
from .libraries import quiet, reason_of
from .literals import Prediction
from .model.adapters import Adapter
from .model.backend import (
    Adaptable,
    Backend,
    Distilled,
    Inpainter,
    Instructable,
    Steerable,
    Tunable,
    Upscaler,
    full_name,
    require,
)
from .model.execution import Running
from .model.loading import identity_of, load_model
from .model.weights import model_folder
from .registry.hookspecs import hookimpl
from .registry.params import Folder, Fraction, Params, Picture, Registered
from .registry.specs import (
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
    by_name,
)
from .registry.tables import Table
from .report import Report
from .sampling.controls import Control, PinnedSource
from .sampling.guidance import Guidance, classifier_free, interval
from .sampling.loop import Stepper, ddim_step, fresh_deviation, walk
from .sampling.params import DEFAULT_STEPS, DrawingParams, SamplingParams
from .version import __version__

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
    "InversionContext",
    "Inverter",
    "InverterSpec",
    "Judgement",
    "MissingCapability",
    "ModelSpec",
    "Noise",
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
    "by_name",
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
    "invert_latents",
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
    "require",
    "sample_from_inversion",
    "samplers",
    "save_picture",
    "scaled_linear",
    "start_at",
    "testing",
    "timestep_of",
    "to_inversion",
    "to_x0",
    "walk",
    "with_jumps",
]
