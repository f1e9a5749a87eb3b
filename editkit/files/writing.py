"""Atomic file writes, checks of output paths, and locks of folders."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import EditkitError, InvalidParameter
from .paths import scheme_of, type_of

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

_NAME_A_FILE = "name a file (only the option -o of the command line writes to standard output, by -o -)"

_TEMPORARY = (".editkit-", ".tmp")
"""First and last letters of a temporary file's name."""

_ABANDONED_SECONDS = 86400

_NO_UNNAMED_FILES = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS, errno.ENOENT}
"""Errors of systems and file systems without unnamed files."""


def check_output(path: str | os.PathLike[str], *, argument: str = "output") -> Path:
    """Return the file that writing to ``path`` replaces; call this before computing its content.

    Symbolic links are followed: a link stays and its target is replaced. Raises InvalidParameter, naming ``argument``,
    if it is empty or blank, if the folder is missing or not writable, or if the path belongs to something other than a
    regular file.
    """
    text = os.fspath(path)
    refuse_address(text, argument)
    name = _label(argument, text)
    if not text.strip() or text == "-":
        problem = "stands for standard output" if text == "-" else f"is {'blank' if text else 'empty'}"
        raise InvalidParameter(f"{name} cannot be written: it {problem}; {_NAME_A_FILE}")
    try:
        kind = type_of(Path(text))
        if text.endswith(("/", os.sep)) or kind == stat.S_IFDIR:
            raise InvalidParameter(f"{name} cannot be written: {_USER_ERRORS[errno.EISDIR]}")
        # Replacing /dev/null or a named pipe by a file would break it for everyone.
        if kind not in (None, stat.S_IFREG):
            raise InvalidParameter(f"{name} cannot be written: it is a pipe or a device; {_NAME_A_FILE}")
        target = Path(os.path.realpath(text))
        if not target.parent.is_dir():
            target.parent.stat()
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        blocked = not os.access(target.parent, os.W_OK | os.X_OK)
        # Access is checked before existence, because another process may remove the file in between.
        if blocked or (not os.access(target, os.W_OK) and target.exists()):
            raise PermissionError(errno.EACCES, "not writable")
    except (OSError, ValueError) as error:
        raise _write_error(error, name) from error
    return target


def refuse_address(text: str, argument: str) -> None:
    """Raise InvalidParameter for an address of another file system, whose scheme would become a folder here."""
    if scheme_of(text):
        raise InvalidParameter(
            f"{argument} {text!r} is an address, and only files of this machine are written here: write a file and "
            "copy it, or use 'editkit batch', whose --output may be an address"
        )


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Keep other blocks of this kind, of other processes too, out of a folder while the block runs.

    The system ends the lock with the process. Where a folder cannot be locked, the block runs without.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def write_atomically(
    path: str | os.PathLike[str], data: bytes, *, argument: str = "output", private: bool = False
) -> None:
    """Write a file completely or not at all, even if the process is killed during the write.

    A replaced file keeps its permissions and a new one gets those of the umask. Only the owner can access a ``private``
    one, and it replaces a symbolic link at its path, not the target of the link.
    Raises InvalidParameter, naming ``argument``, like check_output, and EditkitError if the disk is full or
    fails; the old file then stays.
    """
    target = Path(path) if private else check_output(path, argument=argument)
    temporary = target.with_name(f"{_TEMPORARY[0]}{secrets.token_hex(8)}{_TEMPORARY[1]}")
    mode = 0o600 if private else 0o666
    try:
        if not _write_unnamed(temporary, data, mode):
            _remove_abandoned(target.parent)
            _write_synced(temporary, data, mode)
        if target.exists() and not private:
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _write_error(error, _label(argument, os.fspath(path))) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_encoded(path: str | os.PathLike[str], encode: Callable[[str], bytes], *, argument: str = "output") -> Path:
    """Write the bytes that ``encode`` returns for the suffix of a path as :func:`write_atomically` does.

    The path is checked before, and returned.
    """
    check_output(path, argument=argument)
    target = Path(path)
    write_atomically(target, encode(target.suffix), argument=argument)
    return target


def _label(argument: str, path: str) -> str:
    """Return an argument with its path, cut after 1000 characters, for messages."""
    return f"{argument} {path if len(path) <= 1000 else f'{path[:997]}...'!r}"


def _write_error(error: OSError | ValueError, name: str) -> EditkitError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError) or number in _USER_ERRORS:
        reason = _USER_ERRORS.get(number or 0, "the path holds a character that is not allowed; choose another")
        return InvalidParameter(f"{name} cannot be written: {reason}")
    return EditkitError(f"{name} cannot be written: {error.strerror or type(error).__name__}; nothing was written")


def _write_unnamed(path: Path, data: bytes, mode: int) -> bool:
    """Write a file that gets its name ``path`` only when it is complete: a killed process leaves nothing behind.

    Returns False where the system cannot do that.
    """
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        descriptor = os.open(path.parent, os.O_WRONLY | os.O_TMPFILE, mode)
    except OSError as error:
        if error.errno in _NO_UNNAMED_FILES:
            return False
        raise
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        try:
            os.link(f"/proc/self/fd/{file.fileno()}", path, follow_symlinks=True)
        except OSError:  # without /proc
            return False
    return True


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary files of killed processes, those of this module that are a day old."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_TEMPORARY[0]) and entry.name.endswith(_TEMPORARY[1]):
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime < time.time() - _ABANDONED_SECONDS:
                        Path(entry.path).unlink()


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    # The tempfile module creates private files, and the output would inherit their mode.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # Makes the new name survive a power cut. File systems that cannot sync a folder still hold the complete file.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
