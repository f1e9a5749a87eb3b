"""Folders of weights: find them by path or hub id, refuse incomplete and unsafe ones."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from ..errors import WeightsUnavailable
from ..libraries import reason_of

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


ON_TOP, BELOW = "*.safetensors", "*/*.safetensors"
"""Patterns of a hub model's weights: beside the configuration for transformers, in the parts' folders for diffusers,
whose complete checkpoints beside the folders are not read."""


def model_folder(name: str, *, called: str, advice: str) -> Path:
    """Return the folder of a model of transformers: ``name`` itself, or the local copy of the hub id ``org/name``.

    A hub model without a local copy is downloaded, without pickles and code. ``called`` names the model in messages
    ("depth model"); ``advice`` ends them. Raises WeightsUnavailable if there is no such model, it has no configuration
    or no safetensors, or its shards are outside its folder.
    """
    folder = find_folder(os.path.expanduser(name), called, ON_TOP)  # noqa: PTH111 (Path.expanduser raises for unknown users)
    label = f"{called} {name!r}"
    if not (folder / "config.json").is_file():
        raise WeightsUnavailable(f"{label} has no config.json: {advice}")
    check_weights(folder, label, advice)
    return folder


def find_folder(name: str, called: str, weights: str) -> Path:
    """Return a folder by its path, else the folder of a hub id; ``weights`` is the pattern of files to download."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise WeightsUnavailable(f"{called} {name!r} is a file: give the folder it belongs to")
    if not HUB_ID.fullmatch(name):
        raise WeightsUnavailable(f"{called} {name!r} is neither a folder nor a hub id 'org/name': check the path")
    return from_hub(name, called, weights)


def from_hub(name: str, called: str, weights: str) -> Path:
    """Return the folder of a hub model from the local cache, else download it (safetensors only)."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", weights]))
    except Exception as error:  # the hub client raises exceptions of several libraries
        raise WeightsUnavailable(
            f"{called} {name!r} is no folder here and could not be fetched from the hub ({reason_of(error)}): check "
            "the name and the network, or download it and pass its folder"
        ) from error


def check_weights(folder: Path, called: str = "", advice: str = "") -> None:
    """Raise WeightsUnavailable if the weights in a folder are missing, pickled, or shards outside it.

    Messages begin with ``called``, by default the folder, and end with ``advice``.
    """
    called, other = called or str(folder), f", or {advice}" if advice else ""
    single = [file for file in folder.glob("*.safetensors") if "-of-" not in file.name]
    indices = list(folder.glob("*.safetensors.index.json"))
    if not single and not indices:
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
        if pickles:
            raise WeightsUnavailable(
                f"{called} has only pickled weights ({pickles[0]}), which can run code when loaded: "
                f"convert them to safetensors{other}"
            )
        raise WeightsUnavailable(f"{called} has no *.safetensors weights: download the model again{other}")
    for index in indices:
        for shard in shards_of(index):
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise WeightsUnavailable(f"{index} names the shard {shard!r}, which is not in its folder")


def shards_of(index: Path) -> set[str]:
    """Return the file names of the shards in an index."""
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise WeightsUnavailable(f"{index} is damaged: it should hold a weight_map; download the model again")
    return {str(shard) for shard in weight_map.values()}


def read_json(file: Path) -> dict[str, Any]:
    """Return a JSON object; raises WeightsUnavailable if the file is damaged."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{file} is damaged: it should hold a JSON object")
    return content
