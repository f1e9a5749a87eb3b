"""Folders of weights: found by path or hub id, and refused where they are not whole or not safe to load."""

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
"""Where the weights of a hub model are: those of transformers beside its configuration, those of diffusers in folders
of the parts, with whole checkpoints beside the folders that nothing here reads."""


def model_folder(name: str, *, called: str, advice: str) -> Path:
    """Return the folder of a model of transformers: ``name`` itself, or where the hub id ``org/name`` is kept.

    A hub model that is not here yet is downloaded, without pickles and code. ``called`` is what the messages call the
    model ("depth model"), and ``advice`` what they end with. Raises WeightsUnavailable where there is no such model, it
    has no configuration or no safetensors, or its shards are outside its folder.
    """
    folder = find_folder(os.path.expanduser(name), called, ON_TOP)  # noqa: PTH111 (Path's raises for unknown users)
    whose = f"{called} {name!r}"
    if not (folder / "config.json").is_file():
        raise WeightsUnavailable(f"{whose} has no config.json: {advice}")
    check_weights(folder, whose, advice)
    return folder


def find_folder(name: str, called: str, weights: str) -> Path:
    """A folder by its path, else the folder of a hub id; ``weights`` is the pattern of what to download of them."""
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise WeightsUnavailable(f"{called} {name!r} is a file: give the folder it belongs to")
    if not HUB_ID.fullmatch(name):
        raise WeightsUnavailable(f"{called} {name!r} is neither a folder nor a hub id 'org/name': check the path")
    return from_hub(name, called, weights)


def from_hub(name: str, called: str, weights: str) -> Path:
    """The folder of a hub model, from the local cache where it is there, else downloaded (safetensors only)."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", weights]))
    except Exception as error:  # the hub client raises many kinds, of several libraries
        raise WeightsUnavailable(
            f"{called} {name!r} is no folder here and could not be fetched from the hub ({reason_of(error)}): check "
            "the name and the network, or download it and pass its folder"
        ) from error


def check_weights(folder: Path, called: str = "", advice: str = "") -> None:
    """Refuse a folder whose weights are missing, are pickled, or are shards outside it.

    The messages begin with the folder unless it is ``called`` something, and end with ``advice`` where there is some.
    """
    called, other = called or str(folder), f", or {advice}" if advice else ""
    whole = [file for file in folder.glob("*.safetensors") if "-of-" not in file.name]
    indices = list(folder.glob("*.safetensors.index.json"))
    if not whole and not indices:
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
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict):
        raise WeightsUnavailable(f"{index} is damaged: it should hold a weight_map; download the model again")
    return {str(shard) for shard in placed.values()}


def read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsUnavailable(f"{file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise WeightsUnavailable(f"{file} is damaged: it should hold a JSON object")
    return content
