"""Files go out here: written whole or not at all, and a PNG that carries the recipe it was made with."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path

from .errors import EditkitError, InvalidParameter

_USER_ERRORS = {
    errno.ENOENT: "there is no such folder; make it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EACCES: "permission is denied; choose a folder you can write to",
    errno.EPERM: "permission is denied; choose a folder you can write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EISDIR: "it is a folder; add a file name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its symbolic links form a circle; choose another path",
}


def check_output(path: str | os.PathLike[str], *, argument: str = "output") -> Path:
    """Find the file that writing to ``path`` replaces, before the work of making its content.

    Symbolic links are followed, so that a link stays and its target is replaced. Raises InvalidParameter, naming
    ``argument``, where the folder is missing or not writable, or the path is not that of a regular file.
    """
    text = os.fspath(path)
    name = f"{argument} {text!r}"
    try:
        kind = _kind(Path(text))
        if not text or text.endswith(("/", os.sep)) or kind == stat.S_IFDIR:
            raise InvalidParameter(f"{name} cannot be written: {_USER_ERRORS[errno.EISDIR]}")
        # Replacing /dev/null or a named pipe by a file would break it for everyone.
        if kind not in (None, stat.S_IFREG):
            raise InvalidParameter(f"{name} cannot be written: it is a pipe or a device; use '-' for standard output")
        target = Path(os.path.realpath(text))
        if not target.parent.is_dir():
            target.parent.stat()
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        blocked = not os.access(target.parent, os.W_OK | os.X_OK)
        # Asked in this order: another process may remove the file in between.
        if blocked or (not os.access(target, os.W_OK) and target.exists()):
            raise PermissionError(errno.EACCES, "not writable")
    except (OSError, ValueError) as error:
        raise _write_error(error, name) from error
    return target


def _kind(path: Path) -> int | None:
    """What is at a path, asked once, since another process may put something else there; None for nothing."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None


def write_atomically(
    path: str | os.PathLike[str], data: bytes, *, argument: str = "output", private: bool = False
) -> None:
    """Write a file so that it appears whole or not at all, even when the process is killed in between.

    A file that is replaced keeps its permissions, a new one gets those of the umask; a ``private`` one is its owner's
    alone. Raises InvalidParameter, naming ``argument``, like check_output, and EditkitError where the disk is full or
    fails; the old file then stays.
    """
    target = check_output(path, argument=argument)
    temporary = target.with_name(f".editkit-{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, data, 0o600 if private else 0o666)
        if target.exists() and not private:
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _write_error(error, f"{argument} {os.fspath(path)!r}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _write_error(error: OSError | ValueError, name: str) -> EditkitError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError) or number in _USER_ERRORS:
        reason = _USER_ERRORS.get(number or 0, "the path holds a character that is not allowed; choose another")
        return InvalidParameter(f"{name} cannot be written: {reason}")
    return EditkitError(f"{name} cannot be written: {error.strerror or type(error).__name__}; nothing was written")


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    # Not the tempfile module: its files are private, and their mode would be that of the output.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # Makes the new name survive a power cut; some file systems cannot, and the file is whole all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


VARIABLE = "EDITKIT_CACHE"
"""The environment variable that names another folder for caches than the user's."""


def cache_folder() -> Path | None:
    """The folder in ``EDITKIT_CACHE``, or where the user keeps caches; None for a user without a home."""
    try:
        home = os.environ.get("XDG_CACHE_HOME", "")
        shared = Path(home) if Path(home).is_absolute() else Path("~/.cache")
        named = os.environ.get(VARIABLE)
        return (Path(named) if named else shared / "editkit").expanduser()
    except RuntimeError:
        return None
