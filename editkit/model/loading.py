"""Find and load models: a registered name, a diffusers folder, a checkpoint file or a hub id."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ..errors import InvalidParameter, MissingCapability, WeightsUnavailable, did_you_mean
from ..libraries import load_once, loading
from ..registry.registry import Registry, installed
from ..registry.specs import BackendSpec, ModelSpec
from .adapters import Adapter
from .backend import Backend, SupportsAdapters, SupportsExecutionOptions
from .execution import ExecutionOptions, check_compiler
from .single_file import find_backend
from .weights import BELOW, HUB_ID, check_weights, find_folder, read_json


def resolve_model(
    model: Backend | str | os.PathLike[str] | None,
    device: str | None,
    dtype: str | None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008 (it is frozen)
    *,
    operation: str | None = None,
) -> Backend:
    """Return a loaded model unchanged, or load one by name; None loads the default model of the operation."""
    if model is None or isinstance(model, (str, os.PathLike)):
        name = default_model(installed(), operation) if model is None else os.fspath(model)
        return cached_model(name, device, dtype, tuple(os.fspath(adapter) for adapter in adapters), execution)
    if device is not None or dtype is not None or adapters:
        raise InvalidParameter("device, dtype and adapters go with a model's name: this model is already loaded")
    if execution.requested:
        raise InvalidParameter(
            f"{execution.requested[0]}=True goes with a model's name: this model is already loaded; give it to "
            "load_model"
        )
    return model


DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


def load_model(
    name: str | os.PathLike[str] | None = None,
    *,
    device: str | None = None,
    dtype: str | None = None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    compile: bool = False,  # noqa: A002 (the name of the option)
    offload: bool = False,
    tiling: bool = False,
) -> Backend:
    """Load a model by registered name, diffusers folder, checkpoint file or hub id; without a name the bundled one.

    ``device`` is a torch device (default: cuda if available, else cpu), ``dtype`` one of float32 (default), float16,
    bfloat16, float64. ``adapters`` are files of LoRA or of textual inversion, each ``FILE`` or ``FILE:SCALE``.
    ``compile`` compiles the network, ``offload`` keeps only the active part of the model on the GPU, ``tiling`` lets
    the autoencoder work in tiles: they change time and memory, and results by rounding, tiling a little more. Only
    safetensors are read, and no code of a model runs.

    Raises WeightsUnavailable if the model does not exist or is incomplete, InvalidParameter for a device, dtype,
    adapter or execution option that does not fit this machine, MissingCapability if the model does not support it.
    """
    registry = installed()
    torch_device, torch_dtype = checked_device(device), checked_dtype(dtype)
    parsed = [Adapter.parse(call) for call in adapters]
    execution = ExecutionOptions(compile=compile, offload=offload, tiling=tiling)
    execution.check(torch_device)
    label, location = locate(registry, name)
    if location.is_file():
        family, files = family_of_file(registry, location)
    else:
        family, files = family_of(registry, location), {"folder": location}
    check_adapters(family, label, parsed)
    check_execution(family, label, execution)
    if execution.compile:
        check_compiler(torch_device.type)
    loader = registry.load("backends", family.name)
    first_device = torch.device("cpu") if execution.offload else torch_device
    with loading():
        model: Backend = loader(**files, name=label, device=first_device, dtype=torch_dtype)
        for adapter in parsed:
            cast(SupportsAdapters, model).add_adapter(adapter)
        if execution.requested:
            cast(SupportsExecutionOptions, model).set_execution(execution, torch_device)
    return model


@load_once(maxsize=2)
def cached_model(
    name: str,
    device: str | None,
    dtype: str | None,
    adapters: tuple[str, ...] = (),
    execution: ExecutionOptions = ExecutionOptions(),  # noqa: B008 (it is frozen)
) -> Backend:
    """Load a model and keep the last two, for calls that name a model instead of passing one."""
    return load_model(name, device=device, dtype=dtype, adapters=adapters, **dc.asdict(execution))


def check_adapters(family: BackendSpec, label: str, adapters: Sequence[Adapter]) -> None:
    """Raise MissingCapability if models of the family take no adapters."""
    if adapters and "adapters" not in family.provides:
        provided = ", ".join(sorted(family.provides)) or "nothing beyond images"
        raise MissingCapability(
            f"the adapter {adapters[0]} needs a model that takes adapters; the model {label!r} of the family "
            f"{family.name} provides {provided}"
        )


def check_execution(family: BackendSpec, label: str, execution: ExecutionOptions) -> None:
    """Raise MissingCapability if models of the family do not support an execution option."""
    missing = [name for name in execution.requested if name not in family.execution_options]
    if missing:
        supported = ", ".join(sorted(family.execution_options)) or "none of compile, offload and tiling"
        raise MissingCapability(
            f"{missing[0]}=True needs a model that supports it; the model {label!r} of the family {family.name} offers "
            f"{supported}: leave it out"
        )


def locate(registry: Registry, name: str | os.PathLike[str] | None) -> tuple[str, Path]:
    """Return the name of a model and its folder or file; raises WeightsUnavailable if there is none."""
    text = default_model(registry) if name is None else os.fspath(name)
    spec: ModelSpec | None = registry.specs["models"].get(text)
    if spec is not None:
        folder = registry.load("models", text)
        if not folder.is_dir():
            raise WeightsUnavailable(
                f"the model {text!r} should be in {folder}, which is not there: reinstall its package"
            )
        return text, folder
    if Path(text).is_file():
        return text, Path(text)
    if Path(text).exists() or HUB_ID.fullmatch(text):
        return text, find_folder(text, "model", BELOW)
    known = did_you_mean(text, registry.specs["models"])
    raise WeightsUnavailable(
        f"model {text!r} is neither a registered name ({known}) nor a folder, a file or a hub id 'org/name'"
    )


def default_model(registry: Registry, operation: str | None = None) -> str:
    """Return the name of the default model of an operation, else of all operations.

    Raises WeightsUnavailable if no plugin provides one.
    """
    for spec in sorted(registry.specs["models"].values(), key=lambda spec: operation not in spec.default_for):
        if spec.default or operation in spec.default_for:
            return str(spec.name)
    raise WeightsUnavailable("no model is given and no installed plugin brings a default one: pass model=FOLDER")


def family_of(registry: Registry, folder: Path) -> BackendSpec:
    """Return the backend that serves a diffusers folder; raises WeightsUnavailable if it is incomplete or unsafe."""
    index = read_index(folder)
    family = index.get("_class_name")
    for spec in registry.specs["backends"].values():
        if family in spec.pipelines:
            check_parts(folder, index)
            return spec  # type: ignore[no-any-return]
    served = sorted({kind for spec in registry.specs["backends"].values() for kind in spec.pipelines})
    raise WeightsUnavailable(
        f"model {folder} is a {family}, which no installed backend serves; served: {', '.join(served)}"
    )


def family_of_file(registry: Registry, file: Path) -> tuple[BackendSpec, dict[str, Path]]:
    """Return the backend that serves a checkpoint file, and the paths its loader takes."""
    family, folder = find_backend(registry, file)
    index = read_index(folder)
    if index.get("_class_name") not in family.pipelines:
        raise WeightsUnavailable(
            f"model {str(file)!r} is of the family {family.name}, and the configuration in {folder} that of a "
            f"{index.get('_class_name')}: put the right one into {str(file.with_suffix(''))!r}"
        )
    check_parts(folder, index, weights=False)
    return family, {"folder": folder, "weights": file}


def read_index(folder: Path) -> dict[str, Any]:
    """Return the content of ``model_index.json``; raises WeightsUnavailable if there is none."""
    file = folder / "model_index.json"
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise WeightsUnavailable(f"model {folder} has no model_index.json (found: {found}): give a diffusers folder")
    return read_json(file)


def parts_of(folder: Path, index: dict[str, Any]) -> list[Path]:
    """Return the component folders that an index names."""
    names = [part for part, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and entry[0]]
    return [folder / part for part in names if part != "safety_checker"]


def check_parts(folder: Path, index: dict[str, Any], *, weights: bool = True) -> None:
    """Raise WeightsUnavailable for missing parts, pickled weights, foreign code or shards outside the folder.

    Without ``weights`` the weights are not checked, because they come from another file.
    """
    for part in parts_of(folder, index):
        library = index[part.name][0]
        if library not in ("diffusers", "transformers"):
            raise WeightsUnavailable(
                f"model {folder}: {part.name} needs code from {library!r}, which editkit does not run"
            )
        if not part.is_dir():
            raise WeightsUnavailable(f"model {folder} is not whole: the folder {part.name} is missing")
        if weights and (part / "config.json").is_file():
            check_weights(part)


def identity_of(folder: Path, weights: Path | None = None) -> str:
    """Return a hash of a model's configuration and weights; of large files evenly spaced pieces are hashed.

    ``weights`` is a checkpoint file that is loaded instead of the weights in ``folder``.
    """
    digest = hashlib.sha256()
    suffixes = (".json", ".txt") if weights else (".json", ".safetensors", ".txt")
    files = [file for file in folder.rglob("*") if file.suffix in suffixes and file.is_file()]
    by_name = sorted((file.relative_to(folder).as_posix(), file) for file in files)
    for name, file in [*by_name, *([("", weights)] if weights else [])]:
        digest.update(f"{name}:{file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            for start in piece_offsets(file.stat().st_size):
                stream.seek(start)
                digest.update(stream.read(PIECE))
    return digest.hexdigest()[:16]


PIECE, PIECES = 2**20, 64
"""Bytes of a hashed piece, and the number of pieces of a large file."""


def piece_offsets(size: int) -> list[int]:
    """Return the offsets of the hashed pieces of a file: contiguous for a small file, else evenly spaced."""
    if size <= PIECE * PIECES:
        return list(range(0, size, PIECE))
    return [round(i * (size - PIECE) / (PIECES - 1)) for i in range(PIECES)]


def checked_device(name: str | None) -> torch.device:
    """Return a usable device, by default cuda if available; raises InvalidParameter for one that is not."""
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise InvalidParameter(f"device={name!r} cannot be used here ({reason}): try 'cpu'") from None
    return device


def checked_dtype(name: str | None) -> torch.dtype:
    """Return a dtype by name, by default float32; raises InvalidParameter for another name."""
    if name is not None and name not in DTYPES:
        raise InvalidParameter(f"dtype={name!r} is not allowed: one of {', '.join(DTYPES)}")
    return DTYPES[name or "float32"]
