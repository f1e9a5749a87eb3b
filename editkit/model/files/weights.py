"""Weights in a folder: choose a variant, refuse incomplete and unsafe ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import WeightsUnavailable
from ...libraries import reason_of
from .headers import check_download, read_tensor_header

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")

_IMPLEMENTATIONS = ("eager", "sdpa", "grouped_mm", "batched_mm")
"""Implementations of attention and of experts that are torch's own."""

MOST_JSON_BYTES = 10**8
"""Largest JSON file that is read: the index of a large model has less than a megabyte."""


_WEIGHTS = re.compile(r"(?:diffusion_pytorch_model|model)(?!.*-of-)(?:\.(?P<variant>[\w-]+))?\.safetensors")
_SHARD = re.compile(r"(?:diffusion_pytorch_model|model)(?:\.(?P<variant>[\w-]+?))?-\d{5}-of-\d{5}\.safetensors")
_INDEX = re.compile(r"(?:diffusion_pytorch_model|model)\.safetensors\.index(?:\.(?P<variant>[\w-]+))?\.json")
"""Names of weights and of the index of their shards, with an optional variant."""


def other_variants(files: Iterable[str], variant: str | None) -> list[str]:
    """Return the weights among the files of a hub model that :func:`check_weights` would not choose."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        match = _WEIGHTS.fullmatch(name) or _SHARD.fullmatch(name)
        if match:
            found.setdefault(folder, {}).setdefault(match["variant"] or "", []).append(file)
    others = []
    for variants in found.values():
        chosen = next((one for one in (variant or "", "", "fp16") if one in variants), min(variants))
        others += [file for one, names in variants.items() if one != chosen for file in names]
    return others


def check_weights(folder: Path, called: str = "", advice: str = "", variant: str | None = None) -> str | None:
    """Return the variant of the weights to read in a folder, None for the plain ones.

    Without ``variant`` it is the plain weights, else the only variant or ``fp16``. Raises WeightsUnavailable if the
    weights are missing, pickled, cut short, or shards outside the folder. Messages begin with ``called``, by default
    the folder, and end with ``advice``.
    """
    called, other = called or str(folder), f", or {advice}" if advice else ""
    found = variants_in(folder)
    if not found:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
        if pickles:
            raise WeightsUnavailable(
                f"{called} has only pickled weights ({pickles[0]}), which can run code when loaded: "
                f"convert them to safetensors{other}"
            )
        misnamed = sorted(file.name for file in folder.glob("*.safetensors") if not _SHARD.fullmatch(file.name))
        if misnamed:
            raise WeightsUnavailable(
                f"{called} has weights with the name {misnamed[0]}: rename them to model.safetensors (of transformers) "
                f"or diffusion_pytorch_model.safetensors (of diffusers){other}"
            )
        raise WeightsUnavailable(f"{called} has no *.safetensors weights: download the model again{other}")
    if variant is None and "" not in found:
        variant = "fp16" if "fp16" in found else min(found)
        if len(found) > 1 and variant != "fp16":
            raise WeightsUnavailable(f"{called} has weights of the variants {', '.join(sorted(found))}: choose variant")
    chosen = variant if variant in found else ""  # a part may have no weights of a variant that the others have
    if chosen not in found:
        raise WeightsUnavailable(f"{called} has no weights of the variant {variant!r}, only {', '.join(sorted(found))}")
    _check_settings(folder, called)
    tensor_files(folder, chosen)
    return chosen or None


def _check_settings(folder: Path, called: str) -> None:
    """Raise WeightsUnavailable for an adapter, other weights and code on the hub, which transformers would load."""
    if (folder / "adapter_config.json").exists():
        raise WeightsUnavailable(
            f"{called} has an adapter of PEFT beside its weights (adapter_config.json): move it to a folder of its own "
            "and give that as an adapter"
        )
    file = folder / "config.json"
    try:
        config = read_json(file)
    except WeightsUnavailable:  # whoever reads it for its content names its fault
        return
    for name, value in _settings(config):
        other = name.removesuffix("_internal").endswith("_implementation") and value not in _IMPLEMENTATIONS
        if value is not None and (other or name == "transformers_weights"):
            raise WeightsUnavailable(f"{file}: {name}={str(value)[:60]!r} is not supported: remove it from the file")


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the settings of a configuration and of those nested in it."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _settings(value)
        yield name, value


def variants_in(folder: Path) -> set[str]:
    """Return the variants of the safetensors in a folder, such as ``fp16``; an empty name for the plain ones."""
    names = [_WEIGHTS.fullmatch(file.name) or _INDEX.fullmatch(file.name) for file in folder.iterdir()]
    return {match["variant"] or "" for match in names if match}


def tensor_files(folder: Path, variant: str | None = None) -> list[Path]:
    """Return the files with the weights of a variant: shards if an index names them, else one file.

    Raises WeightsUnavailable for a file that is missing, outside the folder, or a pointer to a download.
    """
    matches = [(_INDEX.fullmatch(file.name), file) for file in sorted(folder.iterdir())]
    index = [file for match, file in matches if match and (match["variant"] or "") == (variant or "")]
    if index:
        names = sorted(_shards_of(index[0]))
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise WeightsUnavailable(f"{index[0]} names the shard {missing[0]!r}, which is not in its folder")
        files = [folder / name for name in names]
    else:
        weights = [(_WEIGHTS.fullmatch(file.name), file) for file in folder.iterdir()]
        files = [file for match, file in weights if match and (match["variant"] or "") == (variant or "")]
    for file in files:
        check_download(file)
    return files


_OTHER_TYPES = ("BOOL", "I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "C64")
"""Types in which weights are not stored as they are."""
_COUNTERS = ("ids", "num_batches_tracked", "index")
"""Endings of the names of tensors of whole numbers."""


def count_tensors(folder: Path, variant: str | None, config: Mapping[str, Any]) -> int:
    """Return the number of tensors in the weights of a part; raises WeightsUnavailable if they are damaged.

    They are of floating-point numbers unless its configuration names a quantisation, which may pack them into any type.
    """
    count = 0
    for file in tensor_files(folder, variant):
        kinds = read_tensor_header(file).types
        count += len(kinds)
        wrong = [name for name, kind in kinds.items() if kind in _OTHER_TYPES and not name.endswith(_COUNTERS)]
        if wrong and not config.get("quantization_config"):
            raise WeightsUnavailable(
                f"{file} holds {kinds[wrong[0]]} in {wrong[0][:80]}, not floating-point numbers: it is damaged, or "
                "quantised without its scales; get it in float16 or bfloat16"
            )
    return count


def _shards_of(index: Path) -> set[str]:
    """Return the file names of the shards in an index."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsUnavailable(f"{index} is damaged: it should hold a weight_map; download the model again")
    return {str(shard) for shard in weight_map.values()}


def read_json(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raises WeightsUnavailable if it is none, damaged, or nested without end."""
    try:
        if not file.is_file():
            reason = "is no ordinary file" if file.exists() else "is missing"
            raise WeightsUnavailable(f"{file} {reason}: download the model again")
        if file.stat().st_size > MOST_JSON_BYTES:
            raise WeightsUnavailable(f"{file} has more than {MOST_JSON_BYTES // 10**6} MB: it is no configuration")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsUnavailable(f"{file} cannot be read ({reason_of(error)}): download the model again") from error
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{file} is damaged: it should hold a JSON object; download the model again")
    return content
