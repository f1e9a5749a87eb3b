"""Digests of the content of images, which identify the rows of a manifest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from editkit import BadImage, EditkitError, describe_source, open_image

from .remote import file_system, is_remote, reason_of

_MOST_BYTES = 256 * 2**20
_MOST_KEPT = 100_000
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "md5")
"""Entries of the information of a remote file that change with its content."""
_READERS = 16
"""Number of remote files that are looked up at a time."""


class Place(NamedTuple):
    """Address of an image, and the column of a row that holds it, which messages name."""

    address: str
    column: str


def path_digest(path: str) -> str:
    """Return the SHA-256 of a file, or of the files in a folder with their names."""
    place = Path(path)
    if not place.is_dir():
        return f"sha256:{_file_digest(place)}"
    files = sorted((file.relative_to(place).as_posix(), file) for file in place.rglob("*") if file.is_file())
    return f"sha256:{hashlib.sha256(repr([(name, _file_digest(file)) for name, file in files]).encode()).hexdigest()}"


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Digests:
    """Digests of images by their address and their column, of which the latest are kept."""

    def __init__(self) -> None:
        self.kept: dict[Place, str | EditkitError] = {}
        self.files: dict[str, str] = {}
        """Digests of files and folders that parameters name."""

    def of_file(self, path: str) -> str:
        """Return the digest of a file or folder; raises BadImage if it cannot be read."""
        if path not in self.files:
            try:
                self.files[path] = path_digest(path)
            except OSError as error:
                raise BadImage(f"{path!r} cannot be read: {error.strerror}") from error
        return self.files[path]

    def of(self, places: Iterable[Place]) -> dict[Place, str | EditkitError]:
        """Return the digest of each image, or the reason for which it cannot be read."""
        wanted = set(places)
        missing = wanted - self.kept.keys()
        remote = [place for place in missing if is_remote(place.address)]
        found = {place: digest_of(*place) for place in missing.difference(remote)}
        if remote:
            with ThreadPoolExecutor(_READERS) as pool:
                found |= dict(zip(remote, pool.map(digest_of, *zip(*remote, strict=True)), strict=True))
        if len(self.kept) > _MOST_KEPT:
            self.kept = {place: self.kept[place] for place in wanted - missing}
        self.kept |= found
        return {place: self.kept[place] for place in wanted}


def digest_of(address: str, column: str = "image") -> str | EditkitError:
    """Return the ETag of a remote image, else the SHA-256 of an image, or the reason for which it cannot be read."""
    try:
        return _remote_digest(address, column) if is_remote(address) else _local_digest(address, column)
    except EditkitError as error:
        return error


def _local_digest(path: str, column: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 (called for every row)
        if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= _MOST_BYTES:
            with open(path, "rb") as file:  # noqa: PTH123
                return f"sha256:{hashlib.sha256(file.read()).hexdigest()}"
    except (OSError, ValueError):
        pass
    open_image(path, argument=column)  # raises the error that says why it cannot be read
    raise BadImage(f"{column} {path!r} cannot be read")


def _remote_digest(address: str, column: str) -> str:
    try:
        fs, path = file_system(address)
        about = fs.info(path)
    except Exception as error:  # each file system raises its own
        raise _unreadable(address, column, error) from error
    if about.get("type") == "directory":
        raise BadImage(f"{describe_source(address, column)} cannot be read: it is a folder; give a file")
    tag = tag_of(about)
    return tag or f"sha256:{hashlib.sha256(read_remote(address, column)[0]).hexdigest()}"


class Download(bytes):
    """Bytes of a remote file, which messages name by its address."""

    name: str


def tag_of(about: Mapping[str, Any] | None) -> str | None:
    """Return the tag of a remote file in its information; None if the file system has none."""
    return next((f"tag:{about[name]}" for name in _TAGS if about and about.get(name)), None)


def read_remote(address: str, column: str = "image") -> tuple[bytes, str | None]:
    """Return the bytes of a remote image, and its tag if the file system has one; ``column`` is for messages.

    Raises BadImage if it cannot be read or is too large.
    """
    try:
        fs, path = file_system(address)
        with fs.open(path, "rb") as file:
            data = Download(file.read(_MOST_BYTES + 1))
            tag = tag_of(getattr(file, "details", None))
    except Exception as error:
        raise _unreadable(address, column, error) from error
    if len(data) > _MOST_BYTES:
        raise BadImage(
            f"{describe_source(address, column)} is too large: at most {_MOST_BYTES // 2**20} MiB are allowed"
        )
    data.name = address
    return data, tag


def _unreadable(address: str, column: str, error: BaseException) -> BadImage:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else reason_of(error)
    return BadImage(f"{describe_source(address, column)} cannot be read: {reason}; check the address")
