"""Folder of a job on any file system of fsspec, whose files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from editkit import EditkitError, InvalidParameter

from .remote import file_system, is_store, named_failures, protocols, reason_of


def last_change(path: str) -> int:
    """Return the time in nanoseconds at which a file got its content or its place; raises OSError if there is none."""
    status = os.stat(path)  # noqa: PTH116 (called for every row)
    return max(status.st_mtime_ns, status.st_ctime_ns)  # a copy may keep the time of the content


class Storage:
    """Files below a folder, by names with slashes.

    An object store replaces an object in one step; on other file systems a file gets its name when it is complete. A
    bucket that is missing is not made: its name may be misspelt.
    """

    def __init__(self, url: str) -> None:
        try:
            self.fs, self.root = file_system(url)
        except Exception as error:  # a file system may connect now
            raise InvalidParameter(f"output {url!r} cannot be opened: {reason_of(error)}") from error
        self.local = "file" in protocols(self.fs)
        self.in_memory = "memory" in protocols(self.fs)
        """Whether the files are seen by this process alone."""
        if not self.local and not self.root.strip("/"):
            raise InvalidParameter(f"output {url!r} names no folder: add its path")
        self._writes_whole = is_store(self.fs)
        self.url = url
        self._folders: set[str] = set()

    def path(self, name: str) -> str:
        """Return the path of a file within the file system."""
        return f"{self.root}/{name}"

    def exists(self, name: str) -> bool:
        """Return whether there is a file."""
        if self.local:
            return Path(self.path(name)).exists()
        with self._failures("read"):
            self.fs.invalidate_cache()
            return bool(self.fs.exists(self.path(name)))

    def changed(self, name: str) -> int | None:
        """Return the time of the last change of a local file in nanoseconds; None if there is none."""
        try:
            return last_change(self.path(name))
        except OSError:
            return None

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file; None if there is none."""
        try:
            if self.local:
                return Path(self.path(name)).read_bytes()
            with self._failures("read"):
                return cast(bytes, self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            raise InvalidParameter(f"output {self.url!r} is a file, or below one: give a folder") from error

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in place of one that exists."""
        with self.open_new(name) as file:
            file.write(data)

    @contextlib.contextmanager
    def open_new(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing, which appears at the end of the block unless the block raises an exception."""
        path = self.path(name)
        self._make_folder(path)
        folder = path.rpartition("/")[0]
        # Readers of data sets skip names that begin with a dot.
        hidden = f"{folder}/.{secrets.token_hex(8)}.tmp"
        if not self.local:
            with self._open_remote(path, path if self._writes_whole else hidden) as remote:
                yield remote
            return
        temporary = Path(hidden)
        try:
            with temporary.open("wb") as local:
                yield local
            temporary.replace(path)
        except BaseException as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            if isinstance(error, OSError):
                raise EditkitError(f"output {path!r} cannot be written: {error.strerror or error}") from error
            raise

    @contextlib.contextmanager
    def _open_remote(self, path: str, temporary: str) -> Iterator[BinaryIO]:
        try:
            with self._failures("written"):
                file = self.fs.open(temporary, "wb")
                try:
                    yield file
                except BaseException:
                    _discard(file)
                    raise
                file.close()
                if temporary != path:
                    self.fs.mv(temporary, path)
        except FileNotFoundError as error:
            raise EditkitError(
                f"output {self.url!r} cannot be written: {reason_of(error)}; check the address"
            ) from error
        except BaseException:
            if temporary != path:
                with contextlib.suppress(Exception):
                    self.fs.rm_file(temporary)
            raise

    def _failures(self, done: str) -> contextlib.AbstractContextManager[None]:
        """Raise what the file system raises, but a missing file, as an error that names the output."""
        return named_failures(f"output {self.url!r} cannot be {done}")

    def _make_folder(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        if folder in self._folders or self._writes_whole:
            return
        try:
            self.fs.makedirs(folder, exist_ok=True)
        except Exception as error:  # each file system raises its own
            raise InvalidParameter(f"output folder {folder!r} cannot be made: {reason_of(error)}") from error
        self._folders.add(folder)

    def names(self, folder: str) -> list[str]:
        """Return the sorted names of the files in a folder, without those that are not complete."""
        try:
            if self.local:
                names = [entry.name for entry in Path(self.path(folder)).iterdir()]
            else:
                with self._failures("read"):
                    self.fs.invalidate_cache()
                    paths = self.fs.ls(self.path(folder), detail=False)
                names = [path.rstrip("/").rpartition("/")[2] for path in paths]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(name for name in names if name and not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with contextlib.suppress(FileNotFoundError):
            if self.local:
                Path(self.path(name)).unlink()
            else:
                with self._failures("changed"):
                    self.fs.rm_file(self.path(name))

    def remove_folder(self, folder: str) -> None:
        """Remove a folder with all files in it, if it exists."""
        self._folders.clear()
        with contextlib.suppress(FileNotFoundError):
            if self.local:
                shutil.rmtree(self.path(folder))
            else:
                with self._failures("changed"):
                    self.fs.rm(self.path(folder), recursive=True)

    def sync(self) -> None:
        """Wait until the files written so far would survive a power cut, where the system offers that."""
        if self.local and hasattr(os, "sync"):
            os.sync()


def _discard(file: BinaryIO) -> None:
    """Give up a file of an object store whose upload is not complete."""
    discard = getattr(file, "discard", None)
    if discard is not None:
        with contextlib.suppress(Exception):
            discard()
    with contextlib.suppress(AttributeError):  # some are no uploads
        file.closed = True  # type: ignore[misc]  # or its destructor completes the upload
