"""Model folders: the index, the parts that a family needs, and the identity of their files."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from ..errors import WeightsUnavailable
from .weights import check_weights, read_json, tensor_files, variants_in

INDEX = "model_index.json"
"""File that every diffusers folder has."""
LIBRARIES = ("diffusers", "transformers")
_UNUSED = ("safety_checker", "feature_extractor", "image_encoder", "watermarker")
"""Parts that no family needs, for families that do not declare the parts they need."""
_MOST_LATENTS, _MOST_PIXELS = 1024, 16384
_SIDES = {"sample_size": _MOST_PIXELS, "pos_embed_max_size": _MOST_LATENTS}
"""Largest values of the sides in a configuration: networks compute tables for that many positions."""


_BOUNDS = ("max_window_layers",)
"""Numbers of layers that a network need not have."""


def read_index(folder: Path) -> dict[str, Any]:
    """Return the content of ``model_index.json``; raises WeightsUnavailable if there is none or it names no pipeline.

    A community pipeline, whose class is a list of a module and a name, is code of its own.
    """
    file = folder / INDEX
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise WeightsUnavailable(f"model {folder} has no {INDEX} (found: {found}): give a diffusers folder")
    index = read_json(file)
    name = index.get("_class_name")
    if isinstance(name, list):
        raise WeightsUnavailable(
            f"model {folder} is a community pipeline ({str(name)[:80]}) with code of its own, which editkit does not "
            f"run: if its parts are those of a known pipeline, name that as _class_name in {INDEX}"
        )
    if not isinstance(name, str):
        raise WeightsUnavailable(f"{file} names no pipeline: its _class_name is {str(name)[:60]!r}; download it again")
    return index


def needed_parts(folder: Path, index: dict[str, Any], needed: Collection[str]) -> list[Path]:
    """Return the folders of the parts in an index that a family needs; all but a few if it declares none."""
    names = [name for name, entry in index.items() if isinstance(entry, list) and len(entry) == 2 and entry[0]]
    return [folder / name for name in names if (name in needed if needed else name not in _UNUSED)]


def check_parts(
    folder: Path,
    index: dict[str, Any],
    needed: Collection[str] = (),
    *,
    weights: bool = True,
    variant: str | None = None,
    replaced: Collection[str] = (),
) -> None:
    """Raise WeightsUnavailable for missing parts, foreign code, and files that cannot be loaded safely.

    Without ``weights`` the weights are not checked, because they come from another file; nor are those of the parts
    ``replaced``. A ``variant`` of the weights must be there for one part at least.
    """
    parts = needed_parts(folder, index, needed)
    for part in parts:
        library = index[part.name][0]
        if not is_own_module(library):
            raise WeightsUnavailable(
                f"model {folder}: {part.name} needs code from {str(library)[:60]!r}, which editkit does not run"
            )
        if not part.is_dir():
            raise WeightsUnavailable(f"model {folder} is not whole: the folder {part.name} is missing")
        _check_files(part)
        if weights and part.name not in replaced and (part / "config.json").exists():
            check_part(part, check_weights(part, variant=variant))
    with_weights = [part for part in parts if part.name not in replaced and (part / "config.json").exists()]
    if weights and variant and not any(variant in variants_in(part) for part in with_weights):
        there = sorted({one for part in with_weights for one in variants_in(part)} - {""})
        raise WeightsUnavailable(
            f"model {folder} has no weights of the variant {variant!r}; its variants: {', '.join(there) or 'none'}"
        )


def is_own_module(name: object) -> bool:
    """Return whether an index names a module without foreign code: a library, or a package of pipelines in diffusers.

    Nothing is imported. A module of the folder, a dotted name and a path are foreign.
    """
    if name in LIBRARIES:
        return True
    spec = importlib.util.find_spec("diffusers")
    places = [Path(place) / "pipelines" for place in (spec and spec.submodule_search_locations) or ()]
    # Names are compared rather than joined to a path, which "..", "/tmp" and letters of another case would lead astray.
    packages = {file.parent.name for place in places for file in place.glob("*/__init__.py")}
    return isinstance(name, str) and name in packages


def has_other_variant(folder: Path, index: dict[str, Any], needed: Collection[str], variant: str) -> bool:
    """Return whether ``variant`` names other weights of a part than those that are read without it."""
    parts = needed_parts(folder, index, needed)
    found = [variants_in(part) for part in parts if (part / "config.json").exists()]
    return any(variant in variants and "" in variants for variants in found)


def _check_files(folder: Path) -> None:
    """Raise WeightsUnavailable for entries of a folder that are no files, which could block for ever."""
    for entry in folder.iterdir():
        if not entry.is_file() and not entry.is_dir():
            kind = "no ordinary file" if entry.exists() else "a link to a missing file"
            raise WeightsUnavailable(f"{entry} is {kind}: download the model again")


def check_part(folder: Path, variant: str | None) -> None:
    """Raise WeightsUnavailable if the configuration of a part describes a network much larger than its weights."""
    file = folder / "config.json"
    config = read_json(file)
    tensors = _count_tensors(folder, variant)
    for name, value in _integers(config):
        counts = ("layers" in name or name in ("depth", "num_blocks")) and name not in _BOUNDS
        if counts and not 0 <= value <= tensors:
            raise WeightsUnavailable(f"{file}: {name}={value}, and the weights hold {tensors} tensors: they differ")
        if name in _SIDES and not 1 <= value <= _SIDES[name]:
            raise WeightsUnavailable(f"{file}: {name}={value} is not from 1 to {_SIDES[name]}")
    if isinstance(config.get("sample_size"), (str, float, bool, dict)):
        raise WeightsUnavailable(f"{file}: sample_size={str(config['sample_size'])[:60]!r} is no whole number")


def _integers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield the whole numbers in a configuration by name, those in lists and nested configurations too."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _integers(value)
        for one in value if isinstance(value, list) else [value]:
            if type(one) is int:
                yield name, one


_WHOLE = ("BOOL", "I16", "I32", "I64")
"""Types in which no weights are stored, quantised ones neither."""
_COUNTERS = ("ids", "num_batches_tracked", "index")
"""Endings of the names of tensors of whole numbers."""


def _count_tensors(folder: Path, variant: str | None) -> int:
    """Return the number of tensors in the weights of a part; raises WeightsUnavailable if they are damaged."""
    from safetensors import SafetensorError, safe_open

    count = 0
    for file in tensor_files(folder, variant):
        try:
            with safe_open(file, framework="np") as tensors:
                names = tensors.keys()
                kinds = {name: tensors.get_slice(name).get_dtype() for name in names}
                count += len(names)
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            raise WeightsUnavailable(f"{file} is damaged ({error}): download the model again") from error
        wrong = [name for name, kind in kinds.items() if kind in _WHOLE and not name.endswith(_COUNTERS)]
        if wrong:
            raise WeightsUnavailable(
                f"{file} is damaged ({wrong[0][:80]} holds {kinds[wrong[0]]}, not floating-point numbers): download "
                "the model again"
            )
    return count


def identity_of(place: Path, weights: Path | None = None) -> str:
    """Return a hash of a model folder's configuration and weights, or of a file; of large files pieces are hashed.

    ``weights`` is a checkpoint file that is loaded instead of the weights in the folder. The pieces are evenly spaced.
    """
    suffixes = (".json", ".txt") if weights else (".json", ".safetensors", ".txt")
    files = [file for file in place.rglob("*") if file.suffix in suffixes and file.is_file()]
    by_name = sorted((file.relative_to(place).as_posix(), file) for file in files)
    digest = hashlib.sha256()
    for name, file in [*by_name, *(("", one) for one in (weights, place) if one and one.is_file())]:
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
