"""Facts about the pipeline in a folder, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from editkit import ModelFacts, read_index

from ..outline import Outline
from . import modular_loading
from .backend import native_size, provided_by
from .guided import guider_warnings
from .loading import build_pipeline, pipeline_class
from .network_call import network_of
from .references import needs_image
from .usual import usual_settings


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
        native_size=reduction and native_size(pipe, reduction),
        usual=usual_settings(pipe, is_input=bool(network_of(pipe).config.get("guidance_embeds"))),
        warnings=guider_warnings(pipe),
        multiple=None if multiple == reduction else multiple,  # pipelines without packing check sizes in their call
        needs_image=needs_image(pipe),
    )
