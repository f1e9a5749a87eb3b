"""Loading of a diffusers folder as its own pipeline, part by part."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch

from editkit import LoadingOptions, WeightsUnavailable, identity_of, loading, quiet, read_index, reason_of

from ..components import read_part
from ..network_files.fitting import check_network
from ..network_files.reading import read_network
from ..pipeline.identity import identity_of_pipeline
from ..pipeline.sharing import check_networks
from ..quantisation import quantisation_config
from .backend import UniversalBackend
from .facts import REFUSED
from .part_classes import missing_package, part_class

_TASKS = re.compile(r"(ControlNet)?(PAG)?(Img2Img|Inpaint|Inpainting)?Pipeline$")
"""End of the names of pipelines that sample as another pipeline of the same parts does."""

ReadNetwork = Callable[[Any, Path], Any]
"""Function that returns a network by its class and folder."""


def load_folder(
    folder: Path,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    options: LoadingOptions = LoadingOptions(),  # noqa: B008 (it is frozen)
) -> UniversalBackend:
    """Load a diffusers folder of any image pipeline that samples from text.

    Raises WeightsUnavailable for a class that cannot be served, with the reason, and for damaged parts.
    """
    index = read_index(folder)
    kind = pipeline_class(str(index["_class_name"]), f"model {folder}")
    notes: list[str] = []
    pipe = build_pipeline(kind, folder, index, network_reader(dtype, options, folder, notes.append))
    pipe.to(device)
    return UniversalBackend(pipe, name=name, identity=identity_of(folder), warnings=notes)


def network_reader(
    dtype: torch.dtype, options: LoadingOptions, folder: Path, warn: Callable[[str], None]
) -> ReadNetwork:
    """Return a function that reads a network of a folder with its weights, or with those that replace them.

    Notes on the weights go to ``warn``, one sentence each. Raises WeightsUnavailable for a file that does not fit the
    folder's network, and for a missing package.
    """
    check_network(folder, options)
    config = quantisation_config(options.quantise, dtype)

    def read(network: Any, part: Path) -> Any:
        place = options.replacement(part.name)
        quantisation = config if options.quantisation(part.name) else None
        if place is not None:
            net = read_network(network, part, place, dtype, quantisation, warn)
        else:
            reading: dict[str, Any] = {"variant": options.variant, "quantisation": quantisation, "warn": warn}
            net = read_part(network, part, dtype=dtype, **reading)
        return net.requires_grad_(False).eval()

    return read


def build_pipeline(kind: Any, folder: Path, index: Mapping[str, Any], read: ReadNetwork) -> Any:
    """Build a pipeline of a folder, whose networks ``read`` returns by class and folder.

    Raises WeightsUnavailable for a part that cannot be loaded.
    """
    arguments: dict[str, Any] = {}
    for name in set(inspect.signature(kind.__init__).parameters) & set(index):
        entry = index[name]
        if not _names_class(entry):
            arguments[name] = entry  # a setting
        else:
            exists = entry[0] is not None and (folder / name).is_dir()
            arguments[name] = load_entry(entry, folder / name, read) if exists else None
    with loading(), quiet():
        return kind(**arguments)


def _names_class(entry: Any) -> bool:
    """Return whether an entry of the index is a library and a class, or two nulls for a part that is left out."""
    return isinstance(entry, list) and len(entry) == 2 and all(one is None or isinstance(one, str) for one in entry)


def share_pipeline(pipe: Any, *, name: str) -> UniversalBackend:
    """Build the backend on a pipeline in memory, which is left as it is.

    Raises WeightsUnavailable for a class that cannot be served, with the reason, and InvalidParameter for state that
    changes its outputs from one step to the next.
    """
    check_networks(pipe)
    kind = pipeline_class(type(pipe).__name__, "the pipeline")
    shared = pipe if type(pipe) is kind else kind(**parts_of(pipe, kind))
    model = UniversalBackend(shared, name=name, identity=identity_of_pipeline(pipe))
    model.device, model.lender = pipe._execution_device, pipe
    return model


def parts_of(pipe: Any, kind: Any) -> dict[str, Any]:
    """Return the parts and settings of a pipeline that another class of the same family takes."""
    available = {**pipe.config, **pipe.components}
    return {name: available[name] for name in inspect.signature(kind.__init__).parameters if name in available}


def pipeline_class(name: str, called: str) -> Any:
    """Return the class of a folder's pipeline; that of its text-to-image pipeline for other tasks with its parts.

    Raises WeightsUnavailable, whose message begins with ``called``, for a class that is not served.
    """
    sibling = _TASKS.sub("Pipeline", name)
    name = sibling if hasattr(diffusers, sibling) else name
    kind = getattr(diffusers, name, None)
    reason = _reason_against(name, kind)
    if reason:
        raise WeightsUnavailable(f"{called} is a {name}, which is not supported: {reason}")
    return kind


def _reason_against(name: str, kind: Any) -> str:
    """Return why a class of pipelines cannot be served; empty if nothing is known against it."""
    package = missing_package(name, kind) if isinstance(kind, type) else ""
    if package:
        return f"diffusers needs the package {package} for it: pip install {package}"
    if isinstance(kind, type) and issubclass(kind, diffusers.ModularPipeline):
        return "of this modular pipeline it is not known that its blocks can be called one by one"
    if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
        return f"diffusers {diffusers.__version__} has no pipeline of this name"
    parameters = inspect.signature(kind.__call__).parameters
    reasons = {
        "it samples videos": "num_frames" in parameters,
        "it samples sound": any("audio" in parameter for parameter in parameters),
        REFUSED.get(name, ""): name in REFUSED,
        "it takes no prompt": "prompt" not in parameters,
        "it samples from an image in a way of its own": "image" in parameters and not _is_optional(parameters["image"]),
        "it samples its noise inside its call": "latents" not in parameters,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _is_optional(parameter: inspect.Parameter) -> bool:
    return parameter.default is not inspect.Parameter.empty


def load_entry(entry: list[str], folder: Path, read: ReadNetwork) -> Any:
    """Return one part by its entry in the index: a network by ``read``, or a tokenizer, processor or scheduler."""
    library, name = entry
    kind = part_class(library, str(name))
    if not hasattr(kind, "from_pretrained"):
        raise WeightsUnavailable(f"{folder} is a {str(name)[:60]}, and the installed {library} has no such class")
    if issubclass(kind, diffusers.DiffusionPipeline):
        raise WeightsUnavailable(f"{folder} is a {name[:60]}, a whole pipeline and no part of one")
    if issubclass(kind, torch.nn.Module):
        return read(kind, folder)
    # Processors and automatic classes ask on the terminal whether code of the folder may run, unless they are told.
    foreign = not getattr(kind, "__module__", "").startswith("diffusers.") or name.startswith("Auto")
    code: dict[str, Any] = {"trust_remote_code": False} if foreign else {}
    try:
        with loading(), quiet():
            return kind.from_pretrained(folder, local_files_only=True, **code)
    except Exception as error:  # transformers raises many types for a damaged folder
        raise WeightsUnavailable(f"{folder} cannot be loaded ({reason_of(error)})") from error
