"""Model folders that share most files with the caption model and link to them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from editkit import WeightsUnavailable, cache_folder, untrusted_reason

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
    """Return a complete diffusers folder that links to ``files``: in the user's cache, or in a temporary folder.

    The latter serves a user without a cache folder that this user alone may write to, as in a container. Raises
    WeightsUnavailable if neither can be written to.
    """
    cache, name = cache_folder(), f"{model}-{_fingerprint(files)}"
    if cache is not None and untrusted_reason(cache / "models") is None:
        with contextlib.suppress(OSError):
            return _link_all(files, cache / "models" / name)
    try:
        return _link_all(files, Path(_temporary_folder().name) / name)
    except OSError as error:
        raise WeightsUnavailable(
            f"the model {model!r} needs a folder for its links, and neither {cache} nor the folder of temporary files "
            f"can be written to ({error.strerror}): set EDITKIT_CACHE to another folder"
        ) from error


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="editkit-")


def _link_all(files: Mapping[Path, Path], folder: Path) -> Path:
    """Link ``files`` in a folder, by their relative paths, and return it; raises OSError."""
    for name, file in files.items():
        _link_or_copy(file, folder / name)
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
    if _is_same(file, target):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{secrets.token_hex(8)}")
    try:
        partial.symlink_to(file)
    except OSError:
        shutil.copyfile(file, partial)
    partial.replace(target)


def _is_same(file: Path, target: Path) -> bool:
    """Return whether ``target`` is a link to ``file`` or a file of its size: a copy."""
    if target.is_symlink():
        return target.readlink() == file
    return target.is_file() and target.stat().st_size == file.stat().st_size
