"""Facts about the pipeline in a folder, without its weights."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers

from editkit import ModelFacts, read_index

from ..outline import Outline
from . import modular_loading
from .backend import native_side, provided_by
from .block_call import WORKFLOW
from .facts import facts_of
from .guided import guider_warnings
from .loading import build_pipeline, pipeline_class
from .network_call import network_of
from .usual import scale_argument, usual_settings


def facts_of_modular_folder(folder: Path) -> ModelFacts:
    """Return facts about the modular pipeline in a folder; raises as :func:`facts_of_folder`."""
    outline = Outline(folder)
    pipe = modular_loading.build_pipeline(folder, lambda network, part: outline.network(network, part.name))
    return _facts_of(pipe)


def facts_of_folder(folder: Path) -> ModelFacts:
    """Return facts about the pipeline in a folder, by networks of its shapes without weights.

    Raises WeightsUnavailable for a class that cannot be served, with the reason, and for parts that do not fit.
    """
    index = read_index(folder)
    kind = pipeline_class(str(index["_class_name"]), f"model {folder}")
    outline = Outline(folder)
    pipe = build_pipeline(kind, folder, index, lambda network, part: outline.network(network, part.name))
    return _facts_of(pipe)


def _facts_of(pipe: Any) -> ModelFacts:
    """Return facts about a pipeline whose networks hold no weights."""
    reduction: int | None = getattr(pipe, "vae_scale_factor", None)
    processor = getattr(pipe, "image_processor", None)
    multiple: int | None = processor and processor.config.vae_scale_factor
    return ModelFacts(
        provides=provided_by(pipe),
        native_size=reduction and native_side(pipe) * reduction,
        warnings=guider_warnings(pipe),
        multiple=None if multiple == reduction else multiple,  # pipelines without packing check sizes in their call
        usual=_usual_of(pipe),
    )


def _usual_of(pipe: Any) -> dict[str, Any]:
    """Return the usual settings of a pipeline."""
    kind, facts = type(pipe), facts_of(type(pipe))
    if isinstance(pipe, diffusers.ModularPipeline):
        inputs = pipe.blocks.get_workflow(WORKFLOW).inputs
        return usual_settings(pipe, facts, {one.name: one.default for one in inputs}, "guidance_scale")
    defaults = {name: one.default for name, one in inspect.signature(kind.__call__).parameters.items()}
    argument = scale_argument(defaults, is_input=bool(network_of(pipe).config.get("guidance_embeds")))
    return usual_settings(pipe, facts, defaults, argument)
