"""Loading of the folder of a modular pipeline, part by part."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from editkit import (
    LoadingOptions,
    Part,
    WeightsUnavailable,
    identity_of,
    loading,
    parts_of,
    quiet,
    read_index,
    read_json,
)

from ..pipeline.identity import identity_of_pipeline
from ..pipeline.sharing import check_networks, shared_network
from .backend import UniversalBackend
from .block_call import sampling_blocks
from .facts import FLOW_MAP, REFUSED
from .loading import ReadNetwork, load_entry, network_reader
from .without_torchvision import needs_padding, pad_by_torch

_OF_BASE = "SequentialPipelineBlocks"
"""Class of blocks in an index that stands for the pipeline's own ones."""

_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
"""Files of a processor, one of which names its class."""


def load_folder(
    folder: Path,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
) -> UniversalBackend:
    """Load a folder with a ``modular_model_index.json``.

    Raises WeightsUnavailable for a class or blocks that are not served, and for missing or damaged parts.
    """
    notes: list[str] = []
    pipe = build_pipeline(folder, network_reader(dtype, options, folder, notes.append))
    pipe.to(device)
    return UniversalBackend(pipe, name=name, identity=identity_of(folder), warnings=notes)


def build_pipeline(folder: Path, read: ReadNetwork) -> Any:
    """Build the pipeline of a folder, whose networks ``read`` returns by class and folder; raises as above."""
    index = read_index(folder)
    kind = _pipeline_class(index, f"model {folder}")
    settings = {name: value for name, value in index.items() if not (isinstance(value, list) and len(value) == 3)}
    with quiet():
        pipe = kind(modular_config_dict={**settings, "_blocks_class_name": kind.default_blocks_name})
    known = [part for part in parts_of(folder, index) if part.name in pipe.components]
    parts = {part.name: _load_part(part, read) for part in known}
    with loading(), quiet():
        pipe.update_components(**parts)
    _check_whole(pipe, f"model {folder}")
    return pipe


def share_pipeline(pipe: Any, *, name: str) -> UniversalBackend:
    """Build the backend on a modular pipeline in memory, which is left as it is.

    Raises WeightsUnavailable for blocks that are not served and for missing parts, InvalidParameter for state that
    changes its outputs from one step to the next.
    """
    check_networks(pipe)
    blocks = type(pipe.blocks).__name__
    _pipeline_class({"_class_name": type(pipe).__name__, "_blocks_class_name": blocks}, "the pipeline")
    _check_whole(pipe, "the pipeline")
    shared = pipe
    if needs_padding(pipe.transformer):
        shared = copy.copy(pipe)
        shared.transformer = shared_network(pipe.transformer, "transformer", changed=True)
        pad_by_torch(shared.transformer)
    model = UniversalBackend(shared, name=name, identity=identity_of_pipeline(pipe))
    model.device, model.lender = pipe._execution_device, pipe
    return model


def _load_part(part: Part, read: ReadNetwork) -> Any:
    """Load one part by its class in the index, or by that in its own files where the index leaves it open."""
    kind = part.kind
    if kind == "AutoProcessor":
        files = [file for name in _PROCESSOR_FILES if (file := part.folder / name).is_file()]
        kind = next((name for file in files if (name := read_json(file).get("processor_class"))), kind)
    loaded = load_entry([part.library, kind], part.folder, read)
    pad_by_torch(loaded)
    return loaded


def _pipeline_class(index: Mapping[str, Any], called: str) -> Any:
    """Return the class of a pipeline by its index; raises WeightsUnavailable if it or its blocks are not served."""
    name = str(index["_class_name"])
    kind: Any = getattr(diffusers, name, None)
    if diffusers.ModularPipeline not in getattr(kind, "__mro__", ()):
        raise WeightsUnavailable(
            f"{called} is a {name}, which is not supported: diffusers {diffusers.__version__} has no modular "
            "pipeline of this name"
        )
    if name in REFUSED:
        raise WeightsUnavailable(f"{called} is a {name}, which is not supported: {REFUSED[name]}")
    blocks = index.get("_blocks_class_name")
    if blocks not in (None, _OF_BASE, kind.default_blocks_name):
        raise WeightsUnavailable(
            f"{called} samples by the blocks {str(blocks)[:60]!r}, which is not supported: those of a {name} are "
            f"{kind.default_blocks_name}"
        )
    return kind


def _check_whole(pipe: Any, called: str) -> None:
    """Raise WeightsUnavailable for a pipeline without a part that it samples with, or with a flow map for a network."""
    needed = {spec.name for block in sampling_blocks(pipe) for spec in block.expected_components}
    missing = sorted(name for name in needed if getattr(pipe, name, None) is None)
    if missing:
        raise WeightsUnavailable(
            f"{called} is not whole: the {'folder' if len(missing) == 1 else 'folders'} {', '.join(missing)} "
            "missing from it and its index: download it again"
        )
    if pipe.transformer.config.get("flow_map"):
        raise WeightsUnavailable(f"{called} is not supported: {FLOW_MAP}")
