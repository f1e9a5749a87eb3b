"""Public names and the modules that define them."""

from . import evaluation as evaluation
from . import ops as ops
from . import testing as testing
from .api import start as start
from .caching import FileCache as FileCache
from .caching import file_stamps as file_stamps
from .caching import load_once as load_once
from .diffusion.attention import AttentionEdit as AttentionEdit
from .diffusion.attention import AttentionInputs as AttentionInputs
from .diffusion.attention import AttentionSite as AttentionSite
from .diffusion.attention import CallRow as CallRow
from .diffusion.attention import Word as Word
from .diffusion.attention import current_rows as current_rows
from .diffusion.attention import describe_rows as describe_rows
from .diffusion.attention import marked_tokens as marked_tokens
from .diffusion.attention import select_rows as select_rows
from .diffusion.denoiser import Condition as Condition
from .diffusion.denoiser import Conditioned as Conditioned
from .diffusion.denoiser import Denoiser as Denoiser
from .diffusion.denoiser import Noise as Noise
from .diffusion.denoiser import blend_conditions as blend_conditions
from .diffusion.denoiser import latent_dtype as latent_dtype
from .diffusion.denoiser import repeat_condition as repeat_condition
from .diffusion.denoiser import stack_conditions as stack_conditions
from .diffusion.paths import SamplingPath as SamplingPath
from .diffusion.paths import TimestepGrid as TimestepGrid
from .diffusion.paths import make_path as make_path
from .diffusion.paths import start_at as start_at
from .diffusion.paths import with_resampling as with_resampling
from .diffusion.points import CLEAN as CLEAN
from .diffusion.points import Point as Point
from .diffusion.points import PointBatch as PointBatch
from .diffusion.points import add_noise as add_noise
from .diffusion.points import eps_of as eps_of
from .diffusion.predictions import from_x0 as from_x0
from .diffusion.predictions import to_x0 as to_x0
from .diffusion.schedules import RectifiedFlow as RectifiedFlow
from .diffusion.schedules import ResolutionShift as ResolutionShift
from .diffusion.schedules import Schedule as Schedule
from .diffusion.schedules import VariancePreserving as VariancePreserving
from .diffusion.schedules import cosine as cosine
from .diffusion.schedules import linear as linear
from .diffusion.schedules import scaled_linear as scaled_linear
from .diffusion.schedules import timestep_of as timestep_of
from .diffusion.source_rows import mark_source_rows as mark_source_rows
from .diffusion.transfer import numbers_on as numbers_on
from .diffusion.transfer import rows_on as rows_on
from .diffusion.transfer import to_device as to_device
from .display import ModelDisplay as ModelDisplay
from .editing.animation.apply import apply_to_animation as apply_to_animation
from .editing.animation.result import AnimationResult as AnimationResult
from .editing.apply import apply as apply
from .editing.many.apply_all import apply_all as apply_all
from .editing.many.row import EditRow as EditRow
from .editing.many.rows import edit_rows as edit_rows
from .editing.many.run_batch import run_batch as run_batch
from .editing.masks.attention import WordMaps as WordMaps
from .editing.masks.attention import smooth_maps as smooth_maps
from .editing.masks.automatic import mask_automatically as mask_automatically
from .editing.outcome import Edit as Edit
from .editing.outcome import PixelEdit as PixelEdit
from .editing.params import AutoMaskParams as AutoMaskParams
from .editing.params import CanvasParams as CanvasParams
from .editing.params import EditParams as EditParams
from .editing.params import FrameParams as FrameParams
from .editing.params import GatedParams as GatedParams
from .editing.params import ImageInputParams as ImageInputParams
from .editing.params import ModelDefaultSteps as ModelDefaultSteps
from .editing.params import ModelParams as ModelParams
from .editing.params import ReferenceParams as ReferenceParams
from .editing.params import RepromptParams as RepromptParams
from .editing.pipeline import Pipeline as Pipeline
from .editing.primitives import fill as fill
from .editing.primitives import invert_latents as invert_latents
from .editing.primitives import recorded_inversion as recorded_inversion
from .editing.primitives import redraw as redraw
from .editing.primitives import reprompt as reprompt
from .editing.primitives import sample_from_inversion as sample_from_inversion
from .editing.primitives import to_inversion as to_inversion
from .editing.replay import replay as replay
from .editing.results.composing import paint as paint
from .editing.results.result import Result as Result
from .editing.session import Session as Session
from .editing.steps.run import Run as Run
from .editing.steps.step import Step as Step
from .editing.validation import check_params as check_params
from .errors import BadFile as BadFile
from .errors import BadImage as BadImage
from .errors import Cancelled as Cancelled
from .errors import DuplicateName as DuplicateName
from .errors import EditkitError as EditkitError
from .errors import InvalidParameter as InvalidParameter
from .errors import MissingCapability as MissingCapability
from .errors import PluginFailure as PluginFailure
from .errors import UnknownName as UnknownName
from .errors import WeightsUnavailable as WeightsUnavailable
from .files.cache_folder import cache_folder as cache_folder
from .files.cache_folder import untrusted_reason as untrusted_reason
from .files.paths import unused_path as unused_path
from .images.animation.frames import Animation as Animation
from .images.animation.reading import open_animation as open_animation
from .images.blending.pull_push_fill import erase as erase
from .images.blending.pull_push_fill import mean_of_neighbours as mean_of_neighbours
from .images.blending.pull_push_fill import pull_push_fill as pull_push_fill
from .images.canvas import Box as Box
from .images.canvas import Canvas as Canvas
from .images.canvas import marked_box as marked_box
from .images.condition_maps import Annotator as Annotator
from .images.condition_maps import map_note as map_note
from .images.condition_maps import read_map as read_map
from .images.contact_sheet import draw_sheet as draw_sheet
from .images.conversion import on_white as on_white
from .images.masks.painted import PaintedMask as PaintedMask
from .images.masks.painted import Stroke as Stroke
from .images.masks.reading import read_mask as read_mask
from .images.masks.specification import MaskSpecification as MaskSpecification
from .images.masks.specification import Segmenter as Segmenter
from .images.metrics import Judgement as Judgement
from .images.metrics import judge as judge
from .images.reading import open_image as open_image
from .images.sources import describe_source as describe_source
from .images.writing import check_file as check_file
from .images.writing import save_picture as save_picture
from .inversion.inversion import Inversion as Inversion
from .inversion.inverter import InversionContext as InversionContext
from .inversion.inverter import Inverter as Inverter
from .inversion.record import InversionRecord as InversionRecord
from .inversion.record import RecordedEstimates as RecordedEstimates
from .inversion.virtual import VirtualInversion as VirtualInversion
from .libraries import hide_broken_torchvision as hide_broken_torchvision
from .libraries import loading as loading
from .libraries import quiet as quiet
from .libraries import reason_of as reason_of
from .literals import Prediction as Prediction
from .literals import Spacing as Spacing
from .model.adapters import Adapter as Adapter
from .model.backend import Backend as Backend
from .model.capabilities import STYLE as STYLE
from .model.capabilities import SupportsAdapters as SupportsAdapters
from .model.capabilities import SupportsAttention as SupportsAttention
from .model.capabilities import SupportsControlNet as SupportsControlNet
from .model.capabilities import SupportsDistilledGuidance as SupportsDistilledGuidance
from .model.capabilities import SupportsExecutionOptions as SupportsExecutionOptions
from .model.capabilities import SupportsInpainting as SupportsInpainting
from .model.capabilities import SupportsInstructions as SupportsInstructions
from .model.capabilities import SupportsLoadingOptions as SupportsLoadingOptions
from .model.capabilities import SupportsLongPrompts as SupportsLongPrompts
from .model.capabilities import SupportsOwnGuidance as SupportsOwnGuidance
from .model.capabilities import SupportsPromptLimits as SupportsPromptLimits
from .model.capabilities import SupportsStyle as SupportsStyle
from .model.capabilities import SupportsUpscaling as SupportsUpscaling
from .model.capabilities import full_name as full_name
from .model.capabilities import require as require
from .model.execution import ExecutionOptions as ExecutionOptions
from .model.execution import ReusedCalls as ReusedCalls
from .model.execution import SupportsAcceleration as SupportsAcceleration
from .model.execution import SupportsBlockCache as SupportsBlockCache
from .model.execution import SupportsFeatureReuse as SupportsFeatureReuse
from .model.files.folders import Part as Part
from .model.files.folders import check_config as check_config
from .model.files.folders import check_part as check_part
from .model.files.folders import identity_of as identity_of
from .model.files.folders import parts_of as parts_of
from .model.files.folders import read_index as read_index
from .model.files.headers import check_download as check_download
from .model.files.headers import read_tensor_header as read_tensor_header
from .model.files.pretrained import check_complete as check_complete
from .model.files.pretrained import load_pretrained as load_pretrained
from .model.files.pretrained import model_folder as model_folder
from .model.files.weights import check_weights as check_weights
from .model.files.weights import read_json as read_json
from .model.finding import find_identity as find_identity
from .model.finding import model_stamps as model_stamps
from .model.finite import is_finite as is_finite
from .model.finite import part_failed as part_failed
from .model.loading import from_pipe as from_pipe
from .model.loading import load_model as load_model
from .model.loading_params import LoadingParams as LoadingParams
from .model.options import LoadingOptions as LoadingOptions
from .model.options import dtype_name as dtype_name
from .model.prompt_text import PromptReading as PromptReading
from .model.prompt_text import SupportsLearnedWords as SupportsLearnedWords
from .model.prompt_text import embed_cached as embed_cached
from .model.references import ReferenceGuidance as ReferenceGuidance
from .model.references import References as References
from .model.references import SupportsReferences as SupportsReferences
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
from .registry.accelerators import MODULE_CAPABILITIES as MODULE_CAPABILITIES
from .registry.accelerators import Accelerator as Accelerator
from .registry.engines import Engine as Engine
from .registry.engines import EngineOptions as EngineOptions
from .registry.engines import WorkerEnded as WorkerEnded
from .registry.engines import Workers as Workers
from .registry.hookspecs import hookimpl as hookimpl
from .registry.listing import accelerators as accelerators
from .registry.listing import annotators as annotators
from .registry.listing import build_engine as build_engine
from .registry.listing import build_segmenter as build_segmenter
from .registry.listing import captioners as captioners
from .registry.listing import controls as controls
from .registry.listing import engines as engines
from .registry.listing import inverters as inverters
from .registry.listing import models as models
from .registry.listing import operations as operations
from .registry.listing import path_params as path_params
from .registry.listing import replace_paths as replace_paths
from .registry.listing import samplers as samplers
from .registry.listing import segmenters as segmenters
from .registry.loaders import by_name as by_name
from .registry.params import EffectIf as EffectIf
from .registry.params import Fraction as Fraction
from .registry.params import ImageParam as ImageParam
from .registry.params import ImagesParam as ImagesParam
from .registry.params import NameList as NameList
from .registry.params import OutputParam as OutputParam
from .registry.params import Params as Params
from .registry.params import PathParam as PathParam
from .registry.params import RegisteredName as RegisteredName
from .registry.plain_values import choices_of as choices_of
from .registry.plain_values import plain_default as plain_default
from .registry.specs import AcceleratorSpec as AcceleratorSpec
from .registry.specs import AnnotatorSpec as AnnotatorSpec
from .registry.specs import BackendSpec as BackendSpec
from .registry.specs import CaptionerSpec as CaptionerSpec
from .registry.specs import CommandSpec as CommandSpec
from .registry.specs import ControlNetSpec as ControlNetSpec
from .registry.specs import ControlSpec as ControlSpec
from .registry.specs import DatasetSpec as DatasetSpec
from .registry.specs import EngineSpec as EngineSpec
from .registry.specs import Frame as Frame
from .registry.specs import InverterSpec as InverterSpec
from .registry.specs import ModelFacts as ModelFacts
from .registry.specs import ModelSpec as ModelSpec
from .registry.specs import OperationSpec as OperationSpec
from .registry.specs import Paper as Paper
from .registry.specs import SamplerSpec as SamplerSpec
from .registry.specs import SegmenterSpec as SegmenterSpec
from .registry.tables import Estimate as Estimate
from .registry.tables import Table as Table
from .report import AnimationReport as AnimationReport
from .report import Report as Report
from .sampling.attention_control import AttentionControl as AttentionControl
from .sampling.change_map import ChangeMap as ChangeMap
from .sampling.controls import Control as Control
from .sampling.controls import PinnedSource as PinnedSource
from .sampling.guidance import Guidance as Guidance
from .sampling.guidance import classifier_free as classifier_free
from .sampling.guidance_rules import PromptedNorm as PromptedNorm
from .sampling.guidance_rules import SupportsGuidanceRule as SupportsGuidanceRule
from .sampling.guidance_rules import combine_predictions as combine_predictions
from .sampling.intervals import interval as interval
from .sampling.intervals import no_step_between as no_step_between
from .sampling.intervals import step_starts as step_starts
from .sampling.intervals import steps_between as steps_between
from .sampling.loop import Stepper as Stepper
from .sampling.loop import ddim_step as ddim_step
from .sampling.loop import ddpm_noise_std as ddpm_noise_std
from .sampling.loop import walk as walk
from .sampling.params import DEFAULT_STEPS as DEFAULT_STEPS
from .sampling.params import FROM_MODEL as FROM_MODEL
from .sampling.params import DrawingParams as DrawingParams
from .sampling.params import IfGuided as IfGuided
from .sampling.params import SamplingParams as SamplingParams
from .sampling.params import check_interval as check_interval
from .sampling.usual import SupportsUsualSettings as SupportsUsualSettings
from .version import __version__ as __version__

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
    "FileCache",
    "Fraction",
    "Frame",
    "FrameParams",
    "GatedParams",
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
    "LoadingParams",
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
    "OutputParam",
    "PaintedMask",
    "Paper",
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
    "ReusedCalls",
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
    "SupportsBlockCache",
    "SupportsControlNet",
    "SupportsDistilledGuidance",
    "SupportsExecutionOptions",
    "SupportsFeatureReuse",
    "SupportsGuidanceRule",
    "SupportsInpainting",
    "SupportsInstructions",
    "SupportsLearnedWords",
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
    "check_download",
    "check_file",
    "check_interval",
    "check_params",
    "check_part",
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
    "describe_source",
    "draw_sheet",
    "dtype_name",
    "edit_rows",
    "embed_cached",
    "engines",
    "eps_of",
    "erase",
    "evaluation",
    "few_step_edit",
    "file_stamps",
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
    "map_note",
    "mark_source_rows",
    "marked_box",
    "marked_tokens",
    "mask_automatically",
    "mean_of_neighbours",
    "model_folder",
    "model_stamps",
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
    "read_tensor_header",
    "reason_of",
    "reconstruct",
    "recorded_inversion",
    "redraw",
    "repeat_condition",
    "replace_paths",
    "replay",
    "reprompt",
    "require",
    "rows_on",
    "run_batch",
    "sample_from_inversion",
    "samplers",
    "save_picture",
    "scaled_linear",
    "segmenters",
    "select_rows",
    "smooth_maps",
    "stack_conditions",
    "start",
    "start_at",
    "testing",
    "timestep_of",
    "to_device",
    "to_inversion",
    "to_x0",
    "uni_edit",
    "untrusted_reason",
    "unused_path",
    "upscale",
    "walk",
    "with_resampling",
]
