"""Public names and the modules that define them."""

from . import evaluation as evaluation
from . import ops as ops
from . import testing as testing
from .api import start
from .diffusion.attention import (
    AttentionEdit,
    AttentionInputs,
    AttentionSite,
    CallRow,
    Word,
    current_rows,
    describe_rows,
    marked_tokens,
    select_rows,
)
from .diffusion.denoiser import (
    Condition,
    Conditioned,
    Denoiser,
    Noise,
    blend_conditions,
    latent_dtype,
    repeat_condition,
)
from .diffusion.paths import SamplingPath, TimestepGrid, make_path, start_at, with_resampling
from .diffusion.points import CLEAN, Point, PointBatch, add_noise, eps_of
from .diffusion.predictions import from_x0, to_x0
from .diffusion.schedules import (
    RectifiedFlow,
    ResolutionShift,
    Schedule,
    VariancePreserving,
    cosine,
    linear,
    scaled_linear,
    timestep_of,
)
from .diffusion.source_rows import mark_source_rows
from .diffusion.transfer import numbers_on, rows_on, to_device
from .display import ModelDisplay
from .editing.animation.apply import apply_to_animation
from .editing.animation.result import AnimationResult
from .editing.apply import apply
from .editing.composing import paint
from .editing.many.apply_all import apply_all
from .editing.many.row import EditRow
from .editing.many.rows import edit_rows
from .editing.masks.attention import WordMaps, smooth_maps
from .editing.masks.automatic import mask_automatically
from .editing.outcome import Edit, PixelEdit
from .editing.params import (
    AutoMaskParams,
    CanvasParams,
    EditParams,
    FrameParams,
    ImageInputParams,
    ModelDefaultSteps,
    ModelParams,
    ReferenceParams,
    RepromptParams,
)
from .editing.pipeline import Pipeline
from .editing.primitives import (
    fill,
    invert_latents,
    recorded_inversion,
    redraw,
    reprompt,
    sample_from_inversion,
    to_inversion,
)
from .editing.replay import replay
from .editing.request import check_params
from .editing.result import Result
from .editing.session import Session
from .editing.steps.run import Run
from .editing.steps.step import Step
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
from .files import cache_folder, untrusted_reason
from .images.animation.frames import Animation
from .images.animation.reading import open_animation
from .images.blending.pull_push_fill import erase, mean_of_neighbours, pull_push_fill
from .images.canvas import Box, Canvas, marked_box
from .images.condition_maps import Annotator, read_map
from .images.contact_sheet import draw_sheet
from .images.conversion import on_white
from .images.masks.painted import PaintedMask, Stroke
from .images.masks.reading import read_mask
from .images.masks.specification import MaskSpecification, Segmenter
from .images.metrics import Judgement, judge
from .images.reading import open_image
from .images.writing import check_file, save_picture
from .inversion.inversion import Inversion
from .inversion.inverter import InversionContext, Inverter
from .inversion.record import InversionRecord, RecordedEstimates
from .inversion.virtual import VirtualInversion
from .libraries import hide_broken_torchvision, load_once, loading, quiet, reason_of
from .literals import Prediction, Spacing
from .model.adapters import Adapter
from .model.backend import (
    STYLE,
    Backend,
    SupportsAdapters,
    SupportsAttention,
    SupportsControlNet,
    SupportsDistilledGuidance,
    SupportsExecutionOptions,
    SupportsInpainting,
    SupportsInstructions,
    SupportsLoadingOptions,
    SupportsLongPrompts,
    SupportsOwnGuidance,
    SupportsPromptLimits,
    SupportsStyle,
    SupportsUpscaling,
    full_name,
    require,
)
from .model.execution import ExecutionOptions, SupportsAcceleration
from .model.finding import find_identity
from .model.finite import is_finite, part_failed
from .model.folders import Part, check_config, identity_of, parts_of, read_index
from .model.loading import from_pipe, load_model
from .model.options import LoadingOptions
from .model.prompt_text import PromptReading, embed_cached
from .model.references import ReferenceGuidance, References, SupportsReferences
from .model.weights import check_complete, check_weights, load_pretrained, model_folder, read_json
from .ops import chord_edit as chord_edit
from .ops import control as control
from .ops import few_step_edit as few_step_edit
from .ops import flow_edit as flow_edit
from .ops import generate as generate
from .ops import img2img as img2img
from .ops import inpaint as inpaint
from .ops import instruct as instruct
from .ops import interpolate as interpolate
from .ops import invert as invert
from .ops import outpaint as outpaint
from .ops import prompt_edit as prompt_edit
from .ops import reconstruct as reconstruct
from .ops import uni_edit as uni_edit
from .ops import upscale as upscale
from .registry.accelerators import MODULE_CAPABILITIES, Accelerator
from .registry.engines import Engine, EngineOptions, WorkerEnded, Workers
from .registry.hookspecs import hookimpl
from .registry.listing import (
    accelerators,
    annotators,
    build_engine,
    build_segmenter,
    captioners,
    controls,
    engines,
    inverters,
    models,
    operations,
    path_params,
    samplers,
    segmenters,
)
from .registry.params import EffectIf, Fraction, ImageParam, ImagesParam, NameList, Params, PathParam, RegisteredName
from .registry.specs import (
    AcceleratorSpec,
    AnnotatorSpec,
    BackendSpec,
    CaptionerSpec,
    CommandSpec,
    ControlNetSpec,
    ControlSpec,
    DatasetSpec,
    EngineSpec,
    Frame,
    InverterSpec,
    ModelFacts,
    ModelSpec,
    OperationSpec,
    SamplerSpec,
    SegmenterSpec,
    by_name,
)
from .registry.tables import Estimate, Table
from .report import AnimationReport, Report
from .sampling.attention_control import AttentionControl
from .sampling.change_map import ChangeMap
from .sampling.controls import Control, PinnedSource
from .sampling.guidance import Guidance, classifier_free, interval, no_step_between
from .sampling.guidance_rules import PromptedNorm, SupportsGuidanceRule, combine_predictions
from .sampling.loop import Stepper, ddim_step, ddpm_noise_std, walk
from .sampling.params import DEFAULT_STEPS, FROM_MODEL, DrawingParams, IfGuided, SamplingParams, check_interval
from .sampling.usual import SupportsUsualSettings
from .version import __version__

__all__ = [
    "CLEAN",
    "DEFAULT_STEPS",
    "FROM_MODEL",
    "MODULE_CAPABILITIES",
    "STYLE",
    "Accelerator",
    "AcceleratorSpec",
    "Adapter",
    "Animation",
    "AnimationReport",
    "AnimationResult",
    "Annotator",
    "AnnotatorSpec",
    "AttentionControl",
    "AttentionEdit",
    "AttentionInputs",
    "AttentionSite",
    "AutoMaskParams",
    "Backend",
    "BackendSpec",
    "BadFile",
    "BadImage",
    "Box",
    "CallRow",
    "Cancelled",
    "Canvas",
    "CanvasParams",
    "CaptionerSpec",
    "ChangeMap",
    "CommandSpec",
    "Condition",
    "Conditioned",
    "Control",
    "ControlNetSpec",
    "ControlSpec",
    "DatasetSpec",
    "Denoiser",
    "DrawingParams",
    "DuplicateName",
    "Edit",
    "EditParams",
    "EditRow",
    "EditkitError",
    "EffectIf",
    "Engine",
    "EngineOptions",
    "EngineSpec",
    "Estimate",
    "ExecutionOptions",
    "Fraction",
    "Frame",
    "FrameParams",
    "Guidance",
    "IfGuided",
    "ImageInputParams",
    "ImageParam",
    "ImagesParam",
    "InvalidParameter",
    "Inversion",
    "InversionContext",
    "InversionRecord",
    "Inverter",
    "InverterSpec",
    "Judgement",
    "LoadingOptions",
    "MaskSpecification",
    "MissingCapability",
    "ModelDefaultSteps",
    "ModelDisplay",
    "ModelFacts",
    "ModelParams",
    "ModelSpec",
    "NameList",
    "Noise",
    "OperationSpec",
    "PaintedMask",
    "Params",
    "Part",
    "PathParam",
    "PinnedSource",
    "Pipeline",
    "PixelEdit",
    "PluginFailure",
    "Point",
    "PointBatch",
    "Prediction",
    "PromptReading",
    "PromptedNorm",
    "RecordedEstimates",
    "RectifiedFlow",
    "ReferenceGuidance",
    "ReferenceParams",
    "References",
    "RegisteredName",
    "Report",
    "RepromptParams",
    "ResolutionShift",
    "Result",
    "Run",
    "SamplerSpec",
    "SamplingParams",
    "SamplingPath",
    "Schedule",
    "Segmenter",
    "SegmenterSpec",
    "Session",
    "Spacing",
    "Step",
    "Stepper",
    "Stroke",
    "SupportsAcceleration",
    "SupportsAdapters",
    "SupportsAttention",
    "SupportsControlNet",
    "SupportsDistilledGuidance",
    "SupportsExecutionOptions",
    "SupportsGuidanceRule",
    "SupportsInpainting",
    "SupportsInstructions",
    "SupportsLoadingOptions",
    "SupportsLongPrompts",
    "SupportsOwnGuidance",
    "SupportsPromptLimits",
    "SupportsReferences",
    "SupportsStyle",
    "SupportsUpscaling",
    "SupportsUsualSettings",
    "Table",
    "TimestepGrid",
    "UnknownName",
    "VariancePreserving",
    "VirtualInversion",
    "WeightsUnavailable",
    "Word",
    "WordMaps",
    "WorkerEnded",
    "Workers",
    "__version__",
    "accelerators",
    "add_noise",
    "annotators",
    "apply",
    "apply_all",
    "apply_to_animation",
    "blend_conditions",
    "build_engine",
    "build_segmenter",
    "by_name",
    "cache_folder",
    "captioners",
    "check_complete",
    "check_config",
    "check_file",
    "check_interval",
    "check_params",
    "check_weights",
    "chord_edit",
    "classifier_free",
    "combine_predictions",
    "control",
    "controls",
    "cosine",
    "current_rows",
    "ddim_step",
    "ddpm_noise_std",
    "describe_rows",
    "draw_sheet",
    "edit_rows",
    "embed_cached",
    "engines",
    "eps_of",
    "erase",
    "evaluation",
    "few_step_edit",
    "fill",
    "find_identity",
    "flow_edit",
    "from_pipe",
    "from_x0",
    "full_name",
    "generate",
    "hide_broken_torchvision",
    "hookimpl",
    "identity_of",
    "img2img",
    "inpaint",
    "instruct",
    "interpolate",
    "interval",
    "invert",
    "invert_latents",
    "inverters",
    "is_finite",
    "judge",
    "latent_dtype",
    "linear",
    "load_model",
    "load_once",
    "load_pretrained",
    "loading",
    "make_path",
    "mark_source_rows",
    "marked_box",
    "marked_tokens",
    "mask_automatically",
    "mean_of_neighbours",
    "model_folder",
    "models",
    "no_step_between",
    "numbers_on",
    "on_white",
    "open_animation",
    "open_image",
    "operations",
    "ops",
    "outpaint",
    "paint",
    "part_failed",
    "parts_of",
    "path_params",
    "prompt_edit",
    "pull_push_fill",
    "quiet",
    "read_index",
    "read_json",
    "read_map",
    "read_mask",
    "reason_of",
    "reconstruct",
    "recorded_inversion",
    "redraw",
    "repeat_condition",
    "replay",
    "reprompt",
    "require",
    "rows_on",
    "sample_from_inversion",
    "samplers",
    "save_picture",
    "scaled_linear",
    "segmenters",
    "select_rows",
    "smooth_maps",
    "start",
    "start_at",
    "testing",
    "timestep_of",
    "to_device",
    "to_inversion",
    "to_x0",
    "uni_edit",
    "untrusted_reason",
    "upscale",
    "walk",
    "with_resampling",
]
