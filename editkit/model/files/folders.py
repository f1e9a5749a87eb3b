"""Model folders: the index, the parts that a family needs, and the identity of their files."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import WeightsUnavailable
from .headers import read_tensor_header
from .hub import BELOW, ON_TOP
from .weights import check_weights, count_tensors, read_json, variants_in

if TYPE_CHECKING:
    import torch


INDEX = "model_index.json"
"""File that every folder of a diffusers pipeline has."""
MODULAR_INDEX = "modular_model_index.json"
"""File that a folder of a modular pipeline has in its place."""
_BLOCKS = "modular_config.json"
"""File of a modular folder that has blocks of its own."""
LIBRARIES = ("diffusers", "transformers")
_UNUSED = (
    *("safety_checker", "feature_extractor", "image_encoder", "watermarker"),
    *("prompt_upsampler", "prompt_upsampler_processor"),
)
"""Parts that no family needs, for families that do not declare the parts they need."""
_MOST_LATENTS, _MOST_PIXELS = 1024, 16384
_SIDES = {"sample_size": _MOST_PIXELS, "pos_embed_max_size": _MOST_LATENTS}
"""Largest values of the sides in a configuration: networks compute tables for that many positions."""
_BOUNDS = ("max_window_layers",)
"""Numbers of layers that a network need not have."""


class Part(NamedTuple):
    """A part of a model, as the index of its folder names it."""

    name: str
    library: Any
    kind: Any
    """Name of the class in the library."""
    folder: Path
    source: str = ""
    """Place of its files by a modular index: a hub id or a path, which is not read."""


def read_index(folder: Path) -> dict[str, Any]:
    """Return the content of a folder's index; raises WeightsUnavailable if there is none or it names no pipeline.

    A community pipeline, whose class is a list of a module and a name, is code of its own, and so are blocks of a
    modular folder.
    """
    file = folder / INDEX
    if not file.is_file() and (folder / MODULAR_INDEX).is_file():
        file = folder / MODULAR_INDEX
        if (folder / _BLOCKS).exists():
            raise WeightsUnavailable(
                f"model {folder} has blocks with code of its own ({_BLOCKS}), which editkit does not run: if its parts "
                "are those of a known pipeline, remove that file"
            )
    if not file.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
        raise WeightsUnavailable(f"model {folder} has no {INDEX} (found: {found}): {_near(folder)}")
    index = read_json(file)
    name = index.get("_class_name")
    if isinstance(name, list):
        raise WeightsUnavailable(
            f"model {folder} is a community pipeline ({str(name)[:80]}) with code of its own, which editkit does not "
            f"run: if its parts are those of a known pipeline, name that as _class_name in {file.name}"
        )
    if not isinstance(name, str):
        raise WeightsUnavailable(f"{file} names no pipeline: its _class_name is {str(name)[:60]!r}; download it again")
    return index


def _near(folder: Path) -> str:
    """Return advice about a folder without an index: a model above it, in it, or in one file of it."""
    if (folder.parent / INDEX).is_file():
        return f"give the folder above it, {folder.parent}"
    files = [] if (folder / "config.json").is_file() else sorted(folder.glob("*.safetensors"))
    models = sorted(file.parent for file in folder.glob(f"*/{INDEX}"))
    nearest = next(iter([*models, *files]), None)
    return "give a diffusers folder" if nearest is None else f"give a model in it, such as {nearest}"


def parts_of(folder: Path, index: dict[str, Any], needed: Collection[str] = ()) -> list[Part]:
    """Return the parts in an index that a family needs; all but a few if it declares none.

    A modular index also names parts that no folder and no source is known for: they are left out. Raises
    WeightsUnavailable for a part outside the folder.
    """
    parts = []
    for name, entry in index.items():
        if not isinstance(entry, list) or (name not in needed if needed else name in _UNUSED):
            continue
        if len(entry) == 2 and entry[0]:
            parts.append(Part(name, entry[0], entry[1], folder / name))
        elif len(entry) == 3 and isinstance(entry[2], dict):
            part = _modular_part(folder, name, entry[2])
            if part.source or part.folder.is_dir():
                parts.append(part)
    return parts


def _modular_part(folder: Path, name: str, entry: dict[str, Any]) -> Part:
    """Return the part that an entry of a modular index describes."""
    hint = entry.get("type_hint")
    library, kind = hint if isinstance(hint, list) and len(hint) == 2 else (None, None)
    place = str(entry.get("subfolder") or name)
    if Path(place).is_absolute() or ".." in Path(place).parts:
        raise WeightsUnavailable(f"model {folder}: {name} is in {place[:60]!r}, which is outside the model's folder")
    source = entry.get("pretrained_model_name_or_path") or entry.get("repo")
    return Part(name, library, kind, folder / place, str(source or ""))


def check_parts(
    folder: Path,
    index: dict[str, Any],
    needed: Collection[str] = (),
    *,
    package: str = "",
    weights: bool = True,
    variant: str | None = None,
    replaced: Collection[str] = (),
) -> None:
    """Raise WeightsUnavailable for missing parts, foreign code, and files that cannot be loaded safely.

    Code of ``package``, the plugin of the family, is installed and not foreign.
    Without ``weights`` the weights are not checked, because they come from another file; nor are those of the parts
    ``replaced``. A ``variant`` of the weights must be there for one part at least.
    """
    parts = parts_of(folder, index, needed)
    for part in parts:
        if not is_own_module(part.library) and str(part.library).partition(".")[0] != package:
            raise WeightsUnavailable(
                f"model {folder}: {part.name} needs code from {str(part.library)[:60]!r}, which editkit does not run"
            )
        if not part.folder.is_dir():
            raise WeightsUnavailable(f"model {folder} is not whole: the folder {part.name} is missing{_advice(part)}")
        _check_files(part.folder)
    with_weights = [
        part.folder for part in parts if part.name not in replaced and (part.folder / "config.json").exists()
    ]
    for one in with_weights if weights else ():
        check_part(one, variant=variant)
    if weights and variant and not any(variant in variants_in(one) for one in with_weights):
        there = sorted({variant for one in with_weights for variant in variants_in(one)} - {""})
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


def _advice(part: Part) -> str:
    """Return where the files of a missing part are, by a modular index."""
    if not part.source:
        return ""
    return f"; its files are those of {part.source[:80]!r}, which editkit does not fetch: put them into {part.folder}"


def has_other_variant(folder: Path, index: dict[str, Any], needed: Collection[str], variant: str) -> bool:
    """Return whether ``variant`` names other weights of a part than those that are read without it."""
    parts = [part.folder for part in parts_of(folder, index, needed)]
    found = [variants_in(part) for part in parts if (part / "config.json").exists()]
    return any(variant in variants and "" in variants for variants in found)


def _check_files(folder: Path) -> None:
    """Raise WeightsUnavailable for entries of a folder that are no files, which could block for ever."""
    for entry in folder.iterdir():
        if not entry.is_file() and not entry.is_dir():
            kind = "no ordinary file" if entry.exists() else "a link to a missing file"
            raise WeightsUnavailable(f"{entry} is {kind}: download the model again")


def check_part(folder: Path, called: str = "", variant: str | None = None) -> str | None:
    """Return the variant of the weights to read in the folder of a part, as :func:`check_weights` does.

    Raises WeightsUnavailable like it, for damaged weights, and for a configuration that describes a network much larger
    than the weights.
    """
    chosen, file = check_weights(folder, called, variant=variant), folder / "config.json"
    config = read_json(file)
    check_config(file, config, count_tensors(folder, chosen, config))
    return chosen


def check_config(file: Path, config: dict[str, Any], tensors: int) -> None:
    """Raise WeightsUnavailable if the configuration in a file describes a network much larger than its weights.

    ``tensors`` is the number of tensors of the weights.
    """
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


def identity_of(place: Path, weights: Path | None = None) -> str:
    """Return a hash of a model folder's configuration and weights, or of a file; of large files pieces are hashed.

    ``weights`` is a checkpoint file that is loaded instead of the weights in the folder. The pieces are evenly spaced.
    """
    suffixes = (".json", ".txt", ".jinja", *(() if weights else (".safetensors",)))
    # Links to folders, as of an autoencoder that two models share, are no part of rglob.
    links = [one for one in place.iterdir() if one.is_symlink() and one.is_dir()] if place.is_dir() else []
    entries = (*place.rglob("*"), *(file for link in links for file in link.iterdir()))
    files = [file for file in entries if file.suffix in suffixes and file.is_file()]
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


def stored_dtype(place: Path) -> torch.dtype:
    """Return the dtype in which a file or most of a folder is stored; bfloat16 for quantised weights."""
    import torch

    if place.suffix == ".gguf":
        return torch.bfloat16
    within = (sorted(place.glob(pattern)) for pattern in (BELOW, ON_TOP))
    files = [place] if place.is_file() else next(filter(None, within), [])
    largest = max(files, key=lambda file: file.stat().st_size, default=None)
    counts = read_tensor_header(largest).count_numbers() if largest else {}
    most = max(counts, key=lambda name: counts[name], default="F32")
    names = {"F16": torch.float16, "BF16": torch.bfloat16, "F64": torch.float64}
    return torch.bfloat16 if most.startswith(("F8", "I8", "U8")) else names.get(most, torch.float32)
