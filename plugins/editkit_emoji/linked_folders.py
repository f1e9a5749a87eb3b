"""Model folders that share most files with the caption model and link to them."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from editkit import WeightsUnavailable, cache_folder

HERE = Path(__file__).parent
CAPTIONS, INSTRUCTIONS, UPSCALER = HERE / "model", HERE / "instruct", HERE / "upscaler"
SHARED_PARTS = ("text_encoder", "tokenizer", "scheduler")
"""Parts of the caption model that the upscaler shares."""


def instruct_folder() -> Path:
    """Return the folder of the instruction model; raises WeightsUnavailable as :func:`_link_folder` does."""
    return _link_folder("emoji-instruct", _files_in(CAPTIONS) | _files_in(INSTRUCTIONS))


def upscaler_folder() -> Path:
    """Return the folder of the upscaler; raises WeightsUnavailable as :func:`_link_folder` does."""
    shared = {name: file for name, file in _files_in(CAPTIONS).items() if name.parts[0] in SHARED_PARTS}
    return _link_folder("emoji-upscaler", shared | _files_in(UPSCALER))


def _files_in(folder: Path) -> dict[Path, Path]:
    """Return the files below a folder by relative path."""
    return {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}


def _link_folder(model: str, files: Mapping[Path, Path]) -> Path:
    """Return a complete diffusers folder in the user's cache that links to ``files``, creating it if needed.

    Raises WeightsUnavailable if there is no cache folder or it cannot be written to.
    """
    cache = cache_folder()
    if cache is None:
        raise WeightsUnavailable(f"the model {model!r} needs a cache folder: set EDITKIT_CACHE to one")
    folder = cache / "models" / f"{model}-{_fingerprint(files)}"
    try:
        for name, file in files.items():
            _link_or_copy(file, folder / name)
    except OSError as error:
        raise WeightsUnavailable(
            f"the model {model!r} cannot be linked in {folder} ({error.strerror}): set EDITKIT_CACHE to another folder"
        ) from error
    return folder


def _fingerprint(files: Mapping[Path, Path]) -> str:
    """Hash names, sizes and times of files, without reading them."""
    stamps = [
        (name.as_posix(), str(file), file.stat().st_size, file.stat().st_mtime_ns) for name, file in files.items()
    ]
    return hashlib.sha256(repr(stamps).encode()).hexdigest()[:16]


def _link_or_copy(file: Path, target: Path) -> None:
    """Link ``target`` to a file if it is missing, or copy the file if the disk does not support links.

    The target appears complete in one step, since other processes may create it at the same time.
    """
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{secrets.token_hex(8)}")
    try:
        partial.symlink_to(file)
    except OSError:
        shutil.copyfile(file, partial)
    partial.replace(target)
