"""Facts about the pipeline in a folder, without its weights."""

from __future__ import annotations

from pathlib import Path

from editkit import ModelFacts, read_index

from ..outline import Outline
from .backend import native_side, provided_by
from .loading import build_pipeline, pipeline_class


def facts_of_folder(folder: Path) -> ModelFacts:
    """Return facts about the pipeline in a folder, by networks of its shapes without weights.

    Raises WeightsUnavailable for a class that cannot be served, with the reason, and for parts that do not fit.
    """
    index = read_index(folder)
    kind = pipeline_class(str(index["_class_name"]), f"model {folder}")
    outline = Outline(folder)
    pipe = build_pipeline(kind, folder, index, lambda network, part: outline.network(network, part.name))
    reduction: int | None = getattr(pipe, "vae_scale_factor", None)
    processor = getattr(pipe, "image_processor", None)
    multiple: int | None = processor and processor.config.vae_scale_factor
    return ModelFacts(
        provides=provided_by(pipe),
        native_size=reduction and native_side(pipe) * reduction,
        multiple=None if multiple == reduction else multiple,  # pipelines without packing check sizes in their call
    )
