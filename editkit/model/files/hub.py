"""Models on the hub, and their local copies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ...errors import InvalidParameter, WeightsUnavailable
from ...libraries import reason_of
from .weights import other_variants

HUB_ID = re.compile(r"(?!.*\.(?:safetensors|gguf|ckpt|bin|pth)$)[\w-][\w.-]*/[\w.-]+(?:@[\w-][\w./-]*)?")
"""A hub id, with an optional revision; ``models/name.safetensors`` is the path of a file, also if it is missing."""


CONFIGURATION = ("*.json", "*.txt", "*.model", "*.jinja")
"""Patterns of a hub model's files beside its weights; the last one is that of chat templates."""

ON_TOP, BELOW = "*.safetensors", "*/*.safetensors"
"""Patterns of a hub model's weights: beside the configuration for transformers, in the parts' folders for diffusers,
whose complete checkpoints beside the folders are not read."""


def find_folder(
    name: str,
    called: str,
    weights: str,
    revision: str | None = None,
    variant: str | None = None,
    left_out: Iterable[str] = (),
) -> Path:
    """Return a folder by its path, else the folder of a hub id; ``weights`` is the pattern of files to download.

    A hub id may end with ``@`` and a revision. Of several variants of weights only one is downloaded, and none of the
    parts ``left_out``.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise WeightsUnavailable(f"{called} {name!r} is a file: give the folder it belongs to")
    if not HUB_ID.fullmatch(name):
        raise WeightsUnavailable(f"{called} {name!r} is neither a folder nor a hub id 'org/name': check the path")
    identifier, _, at = name.partition("@")
    if at and revision not in (None, at):
        raise InvalidParameter(f"revision={revision!r} is not allowed beside {name!r}, which names one: leave one out")
    return from_hub(identifier, called, weights, at or revision, variant, left_out)


def from_hub(
    name: str,
    called: str,
    weights: str,
    revision: str | None = None,
    variant: str | None = None,
    left_out: Iterable[str] = (),
) -> Path:
    """Return the folder of a hub model from the local cache, else download it (safetensors only)."""
    from huggingface_hub import HfApi, snapshot_download

    at = f"the revision {revision!r} of it " if revision else ""
    try:
        needless = other_variants(HfApi().list_repo_files(name, revision=revision), variant)
    except Exception:  # without network the local copy serves
        needless = []
    needless += [f"{part}/*.safetensors" for part in left_out]
    allowed = [*CONFIGURATION, weights]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=allowed, ignore_patterns=needless))
    except Exception as error:  # the hub client raises exceptions of several libraries
        raise WeightsUnavailable(
            f"{called} {name!r} is no folder here and {at}could not be fetched from the hub ({reason_of(error)}): "
            "check the name and the network, or download it and pass its folder"
        ) from error
