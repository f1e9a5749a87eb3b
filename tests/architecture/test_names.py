"""Names that were replaced by a standard term do not return."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

from architecture.syntax import nodes

ROOT = Path(__file__).parents[2]
FOLDERS = ("editkit", "plugins", "tests")

RETIRED = {
    # types
    "Adaptable": "SupportsAdapters",
    "Alternatives": "LiteralChoice",
    "Climb": "InversionRecord",
    "Declared": "TypedParam",
    "Distilled": "SupportsDistilledGuidance",
    "DrawnBy": "ModelReference",
    "Gathered": "BatchedBackend",
    "Grid": "TimestepGrid",
    "HeldToBranch": "SourceBranchChangeMap",
    "HeldToNoised": "NoisedSourceChangeMap",
    "Inpainter": "SupportsInpainting",
    "Instructable": "SupportsInstructions",
    "Known": "RecordedNetwork",
    "Moving": "EditThread",
    "Painted": "PixelEdit",
    "Points": "PointBatch",
    "Question": "NetworkRequest",
    "Raised": "RenoisePoint",
    "Registered": "RegisteredName",
    "Running": "ExecutionOptions",
    "Said": "RecordedEstimates",
    "SizedShift": "ResolutionShift",
    "Steerable": "SupportsControlNet",
    "Tally": "Usage or ErrorCollector",
    "Tunable": "SupportsExecutionOptions",
    "Upscaler": "SupportsUpscaling",
    "UsualSteps": "ModelDefaultSteps",
    "Written": "RecipeHeader",
    # fields and modules
    "Folder": "PathParam",
    "catalogue": "api",
    "editkit_infedit": "editkit_few_step_edit",
    "editkit_reconstruct": "editkit_invert",
    "gathering": "batching",
    "inversion_cache": "cache",
    "inversion_key": "cache_key",
    "likeness": "similarity",
    "redrawing": "primitives",
    "reprompting": "primitives",
    "round_trips": "autoencoder_cache",
    "shortcuts": "api",
    # members
    "adapt": "add_adapter",
    "decides": "exclusive_over",
    "leads_away": "sets_negative_prompt",
    "own_steps": "replaces_sampler",
    "recognise": "detect",
    "run_as": "set_execution",
    "see_masked": "inpainting_condition",
    "usual_steps": "default_steps",
    # functions
    "_bare": "strip_metadata",
    "answered": "evaluate_all",
    "arithmetic": "numerics_fingerprint",
    "beside_each_other": "concatenate_frames",
    "blended": "blend_conditions",
    "checked_params": "validate_params",
    "climb_of": "record_from_tensors",
    "code_of": "code_fingerprint",
    "collect_seldom": "reduce_gc",
    "colour_shift": "colour_correction",
    "complain": "report_error",
    "cropped": "Canvas.crop",
    "deliver": "save_result",
    "distilled_on": "distilled_timesteps",
    "endings_of": "output_suffixes",
    "extra_of": "field_metadata",
    "fetched": "download_config",
    "fidelity": "psnr_to_source",
    "finish": "to_stored_image",
    "fresh_deviation": "ddpm_noise_std",
    "in_lock_step": "run_in_lock_step",
    "inversion_of": "to_inversion",
    "joined": "concatenate or join_results",
    "key_of": "InversionInputs.key",
    "laid_out": "contiguous_copy",
    "lay_on": "apply_difference",
    "led_away": "has_custom_negative_prompt",
    "little_changed": "unchanged_weight",
    "little_departed": "latent_similarity",
    "look_at": "validate_images",
    "named_in": "resolve_names",
    "names_folder": "names_path",
    "names_of": "input_names",
    "on_latents": "mask_to_latents",
    "opened_inversion": "load_inversion_argument",
    "opened_sources": "load_sources",
    "overridden": "override_params",
    "pictures_of": "image_fields",
    "piped": "read_if_stdin",
    "pour": "write_stdout",
    "recalled": "load_or_compute",
    "recalling": "sample_from_inversion",
    "refuse_contradictions": "check_compatible",
    "refuse_running": "check_execution",
    "refuse_second_estimate": "check_single_estimate",
    "refuse_too_large": "check_result_size",
    "refuse_what_inverter_sets": "check_inverter_conflicts",
    "seeded": "pair_with_seeds",
    "shared_model": "cached_model",
    "starts_of": "piece_offsets",
    "summed": "sum_reports",
    "supplied": "noise_source",
    "unbroken": "wrap_names",
    "weights_in": "model_files",
    "with_jumps": "with_resampling",
    "with_pictures": "open_image_params",
    # constants
    "ENDINGS": "IMAGE_SUFFIXES",
    "MOVING": "ANIMATION_SUFFIXES",
    # plugins
    "Coupled": "Edict",
    "KeepsNegatives": "NegativeInverter",
    "LedAway": "NegativeConditions",
    "Midpoint": "RfMidpoint",
    "Pinned": "PinnedInverter",
    "SEES": "EXTRA_CHANNELS",
    "Sampled": "SamplerInverter",
    "Shelf": "FileCache",
    "Stage": "ComparisonFixture",
    "Side": "Runner",
    "Trained": "LoadedControlNet",
    "Turns": "SequentialOffload",
    "TwoStep": "Belm",
    "greys": "blank_latents",
    "teach": "add_embedding",
    "unrecorded": "inference_context",
}
"""Identifiers that stand nowhere, each with the term that replaced it."""

RETIRED_MEMBERS = {
    "Adapter": {"read", "mark"},
    "BackendSpec": {"runs", "recognise"},
    "Canvas": {"cropped", "to_picture"},
    "Control": {"decides"},
    "ExecutionOptions": {"asked"},
    "Guidance": {"guides", "asked", "mixed", "stacked", "by_rows"},
    "Inversion": {"climb"},
    "InversionRecord": {"kept"},
    "Inverter": {"climb", "fit", "said", "stepper", "uses"},
    "InverterSpec": {"own_steps", "leads_away"},
    "ModelSpec": {"usual"},
    "NetworkRequest": {"form", "put"},
    "PointBatch": {"times", "columns"},
    "RecordedEstimates": {"begin"},
    "Registry": {"make"},
    "SamplerSpec": {"to_zero"},
    "Schedule": {"sized", "spread"},
    "Session": {
        *("usual", "usual_steps", "part", "watch", "change", "decoded", "trip"),
        *("pictures", "tally"),
        *("climb", "climbed", "replay", "recalling", "inversion_of"),
    },
}
"""Ordinary words that are no members of a class of the core."""

RETIRED_DEFINITIONS = {
    "editkit/cli": {"described", "quiet", "Call"},
    "editkit/diffusion": {"raised", "repeated"},
    "editkit/editing": {
        *("check", "recorded", "run", "give", "measure", "made", "split", "edit", "model_of"),
        *("drawing", "filling", "redrawing", "reprompting"),
    },
    "editkit/images": {"falling", "spread", "mixed", "opened", "visible", "stretched", "fitted"},
    "editkit/inversion": {"keep", "whole", "switch", "plain"},
    "editkit/model": {
        "alone",
        "own",
        "alike",
        "stop",
        "embedded",
        "reference",
        "shared",
        "resolve",
        "served",
        "beside",
    },
    "editkit/registry": {"Picture", "Folder", "literal", "named", "written", "ruled", "explain"},
    "editkit/sampling": {"last", "steered", "supplied"},
    "plugins/editkit_bench": {"by_hand"},
    "plugins/editkit_diffusers": {"ask", "beside", "Shape"},
    "plugins/editkit_inverters": {"Ddim", "Controlled", "moved", "begun", "motion", "apart"},
    "plugins/editkit_samplers": {"Ddim", "consistency"},
}
"""Ordinary words that no module of a folder defines at its top level."""

RETIRED_MODULES = {
    "editkit": {
        *("adapters", "backends", "caches", "canvas", "catalogue", "change_map", "checkpoints", "composing"),
        *("controls", "edits", "embeddings", "filling", "gathering", "guidance", "images", "inversion"),
        *("inversion_cache", "inversion_key", "known", "likeness", "loading", "loop", "maps", "params", "paths"),
        *("pictures", "pipelines", "points", "predictions", "recipes", "redrawing", "reprompting", "results"),
        *("round_trips", "running", "schedules", "session", "sheets", "shortcuts", "specs", "tables", "tiles"),
        *("together", "transparency", "truth", "virtual", "weights"),
    },
    "editkit/cli": {"editing", "calls", "failures", "measuring"},
    "plugins/editkit_bench": {
        *("benching", "rows", "shapes", "stage", "starting", "growing", "repeating", "tuning", "on_gpu"),
        "cache_folder",
    },
    "plugins/editkit_captioners": {"captioning"},
    "plugins/editkit_compare": {"comparing"},
    "plugins/editkit_control": {"steering"},
    "plugins/editkit_diffusers": {
        *("asking", "classes", "checkpoints", "loading", "latent_model"),
        *("offloading", "original_names", "prompt_projections", "scheduling", "text"),
    },
    "plugins/editkit_instruct": {"instructing", "words", "prompts"},
    "plugins/editkit_inverters": {"explicit", "rectified_flow", "negatives"},
    "plugins/editkit_outpaint": {"membrane", "growing"},
    "plugins/editkit_samplers": {"single_step", "multistep"},
    "plugins/editkit_upscale": {"consistency", "enlarging"},
}
"""Names of modules that a folder does not have."""

IMAGE_EXCEPTIONS = {"save_picture", "pictures"}
"""A public function, and the field of a recipe that lists its images."""


def source_files() -> list[Path]:
    files = (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py*"))
    return [file for file in files if file.suffix in {".py", ".pyi"}]


@functools.cache
def identifiers(file: Path) -> frozenset[str]:
    return frozenset(identifiers_in(file))


def identifiers_in(file: Path) -> Iterator[str]:
    """Names of a file, its folders and everything that it defines, imports, passes by keyword or refers to."""
    yield from file.relative_to(ROOT).with_suffix("").parts
    for node in nodes(file):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.ImportFrom(module=str(name)):
                yield from name.split(".")
            case ast.alias(name=name, asname=alias):
                yield from name.split(".")
                yield alias or ""


def definitions(body: list[ast.stmt]) -> Iterator[str]:
    """Names that the statements of a module or class define."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("folder", FOLDERS)
def test_retired_identifiers_do_not_return(folder: str) -> None:
    files = [file for file in source_files() if file.is_relative_to(ROOT / folder)]
    assert files
    uses = {(str(file.relative_to(ROOT)), name) for file in files for name in identifiers(file) if name in RETIRED}
    assert [f"{file}: {name} is now {RETIRED[name]}" for file, name in sorted(uses)] == []


def test_retired_members_do_not_return() -> None:
    classes = [node for file in source_files() for node in nodes(file) if isinstance(node, ast.ClassDef)]
    assert set(RETIRED_MEMBERS) <= {node.name for node in classes}
    members = {(node.name, name) for node in classes for name in definitions(node.body)}
    assert [one for one in sorted(members) if one[1] in RETIRED_MEMBERS.get(one[0], set())] == []


@pytest.mark.parametrize("folder", RETIRED_DEFINITIONS)
def test_retired_definitions_do_not_return(folder: str) -> None:
    files = list((ROOT / folder).glob("*.py"))
    assert files
    defined = {(file.name, name) for file in files for name in definitions(nodes(file)[0].body)}
    assert [one for one in sorted(defined) if one[1] in RETIRED_DEFINITIONS[folder]] == []


@pytest.mark.parametrize("folder", RETIRED_MODULES)
def test_retired_modules_do_not_return(folder: str) -> None:
    modules = {file.stem for file in (ROOT / folder).glob("*.py")}
    assert modules
    assert modules & RETIRED_MODULES[folder] == set()


def test_identifiers_say_image() -> None:
    uses = {
        (str(file.relative_to(ROOT)), name)
        for file in source_files()
        for name in identifiers(file)
        if "picture" in name.lower() and name not in IMAGE_EXCEPTIONS
    }
    assert sorted(uses) == []
