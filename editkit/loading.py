"""Finding and loading models: a registered name, a diffusers folder, or a hub id."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch

from .backends import Backend
from .errors import InvalidParameter, WeightsUnavailable, did_you_mean
from .registry import Registry, installed
from .specs import BackendSpec, ModelSpec

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


def load_model(
    name: str | os.PathLike[str] | None = None, *, device: str | None = None, dtype: str | None = None
) -> Backend:
    """Load a model by registered name, diffusers folder or hub id; without a name the bundled one.

    ``device`` is any that torch knows (default: cuda where there is one, else cpu), ``dtype`` one of float32
    (default), float16, bfloat16, float64. Only safetensors are read and no code that comes with a model is run.
    Raises WeightsUnavailable where there is no such model or it is not whole, InvalidParameter for device and dtype.
    """
    registry = installed()
    where, kind = checked_device(device), checked_dtype(dtype)
    called, folder = locate(registry, name)
    family = family_of(registry, folder)
    loader = registry.load("backends", family.name)
    return loader(folder, name=called, device=where, dtype=kind)  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=2)
def shared_model(name: str | None, device: str | None, dtype: str | None) -> Backend:
    """:func:`load_model`, keeping the last two, for calls that name a model instead of passing one."""
    return load_model(name, device=device, dtype=dtype)


def locate(registry: Registry, name: str | os.PathLike[str] | None) -> tuple[str, Path]:
    """Return what to call a model and the folder it is in."""
    if name is None:
        name = next((spec.name for spec in registry.specs["models"].values() if spec.default), "")
        if not name:
            raise WeightsUnavailable(
                "no model is given and no installed plugin brings a default one: pass model=FOLDER"
            )
    text = os.fspath(name)
    spec: ModelSpec | None = registry.specs["models"].get(text)
    if spec is not None:
        folder = registry.load("models", text)
        if not folder.is_dir():
            raise WeightsUnavailable(
                f"the model {text!r} should be in {folder}, which is not there: reinstall its package"
            )
        return text, folder
    if Path(text).is_dir():
        return text, Path(text)
    if Path(text).exists():
        raise WeightsUnavailable(f"model {text!r} is a file: give the diffusers folder it belongs to")
    if HUB_ID.fullmatch(text) and not text.startswith("."):
        return text, from_hub(text)
    known = did_you_mean(text, registry.specs["models"])
    raise WeightsUnavailable(
        f"model {text!r} is neither a registered name ({known}) nor a folder nor a hub id 'org/name'"
    )


def from_hub(name: str) -> Path:
    """The folder of a hub model, from the local cache where it is there, else downloaded (safetensors only)."""
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.txt", "*.model", "*/*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=wanted))
    except Exception as error:  # the hub client raises many kinds, of several libraries
        reason = " ".join(str(error).split())[:160]
        raise WeightsUnavailable(
            f"model {name!r} is no folder here and could not be fetched from the hub "
            f"({type(error).__name__}: {reason}): check the name and the network, or download it and pass its folder"
        ) from error


def family_of(registry: Registry, folder: Path) -> BackendSpec:
    """The backend that serves a diffusers folder, after checking that the folder is whole and safe."""
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


def read_index(folder: Path) -> dict[str, Any]:
    file = folder / "model_index.json"
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise WeightsUnavailable(f"model {folder} has no model_index.json (found: {found}): give a diffusers folder")
    return read_json(file)


def read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{file} is damaged: it should hold a JSON object")
    return content


def parts_of(folder: Path, index: dict[str, Any]) -> list[Path]:
    """The component folders that an index names."""
    named = [part for part, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and entry[0]]
    return [folder / part for part in named if part != "safety_checker"]


def check_parts(folder: Path, index: dict[str, Any]) -> None:
    """Refuse a folder with missing parts, pickled weights, or shards outside it, before anything is loaded."""
    for part in parts_of(folder, index):
        library = index[part.name][0]
        if library not in ("diffusers", "transformers"):
            raise WeightsUnavailable(
                f"model {folder}: {part.name} needs code from {library!r}, which editkit does not run"
            )
        if not part.is_dir():
            raise WeightsUnavailable(f"model {folder} is not whole: the folder {part.name} is missing")
        if (part / "config.json").is_file():
            check_weights(part)


def check_weights(part: Path) -> None:
    whole = [file for file in part.glob("*.safetensors") if "-of-" not in file.name]
    indices = list(part.glob("*.safetensors.index.json"))
    if not whole and not indices:
        pickles = sorted(file.name for file in part.iterdir() if file.suffix in PICKLES)
        if pickles:
            raise WeightsUnavailable(
                f"{part} has only pickled weights ({pickles[0]}), which can run code when loaded: "
                "convert them to safetensors"
            )
        raise WeightsUnavailable(f"{part} has no *.safetensors weights: download the model again")
    for index in indices:
        for shard in set(read_json(index).get("weight_map", {}).values()):
            if Path(shard).name != shard or not (part / shard).is_file():
                raise WeightsUnavailable(f"{index} names the shard {shard!r}, which is not in its folder")


def identity_of(folder: Path) -> str:
    """Hash of a model's configuration and weights; of large files size, beginning and end stand for the whole."""
    digest = hashlib.sha256()
    files = [file for file in folder.rglob("*") if file.suffix in (".json", ".safetensors", ".txt") and file.is_file()]
    for file in sorted(files, key=lambda file: file.relative_to(folder).as_posix()):
        digest.update(f"{file.relative_to(folder).as_posix()}:{file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            if file.stat().st_size <= SMALL:
                digest.update(stream.read())
            else:
                digest.update(stream.read(SMALL // 2))
                stream.seek(-SMALL // 2, os.SEEK_END)
                digest.update(stream.read())
    return digest.hexdigest()[:16]


SMALL = 64 * 2**20


def checked_device(name: str | None) -> torch.device:
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
    if name is not None and name not in DTYPES:
        raise InvalidParameter(f"dtype={name!r} is not allowed: one of {', '.join(DTYPES)}")
    return DTYPES[name or "float32"]
