"""Files of other file systems: their addresses, and their failures in one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from editkit import EditkitError

from .extras import require_extra

_STORES = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "tos", "memory"})
"""Protocols of stores without folders, where a file that is written appears whole, in place of an earlier one."""


_WEB = frozenset({"http", "https"})
_WITHOUT_HOST = frozenset({"memory", "file", "local", "tar", "zip", "libarchive"})
"""Protocols whose addresses begin with the path; in others a bucket or a host stands first."""


def file_system(url: str) -> tuple[Any, str]:
    """Return the file system of an address and the path within it; a key of a store may hold ``::``."""
    fsspec = require_extra("fsspec", "batch")
    if "::" not in url or is_chain(url):
        fs, path = fsspec.url_to_fs(url)
        return fs, path
    fs = fsspec.filesystem(url.partition("://")[0])
    return fs, fs._strip_protocol(url)


def is_chain(address: str) -> bool:
    """Return whether ``::`` in an address joins file systems: stores are never on top of another one."""
    return "::" in address and address.partition("://")[0] not in (_STORES | _WEB) - {"memory"}


def is_store(fs: Any) -> bool:
    """Return whether a file system of fsspec is an object store."""
    return not _STORES.isdisjoint(protocols(fs))


def protocols(fs: Any) -> tuple[str, ...]:
    """Return the protocols of a file system."""
    return fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,)


def reason_of(error: BaseException) -> str:
    """Return the reason of a failure of a file system in one line."""
    if isinstance(error, NotImplementedError):
        return "its file system does not offer that"
    text = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
    return text or type(error).__name__


@contextlib.contextmanager
def named_failures(name: str, kind: type[EditkitError] = EditkitError) -> Iterator[None]:
    """Raise whatever a file system raises in the block as one error that begins with ``name``.

    Each has exceptions of its own. That there is no such file is left to the caller.
    """
    try:
        yield
    except (EditkitError, FileNotFoundError):
        raise
    except Exception as error:
        raise kind(f"{name}: {reason_of(error)}") from error


def is_remote(address: str) -> bool:
    """Return whether an address names another file system than this machine's."""
    if "://" in address:
        return True
    outer, chained, _ = address.partition("::")
    return bool(chained) and outer in require_extra("fsspec", "batch").available_protocols()


def local_path(address: str, folder: str) -> str:
    """Return an address of a manifest in ``folder`` as an absolute path or as an address with its file system."""
    if is_remote(address):
        outer, inside, last = address.rpartition("::")
        if (
            inside and is_chain(address) and "://" not in last
        ):  # a file in an archive whose path may count from the manifest
            return f"{outer}::{local_path(last, folder)}"
        return address
    if os.path.isabs(address):  # noqa: PTH117 (called for every row)
        return address
    before, place, after = _divide(folder)
    base = place.removeprefix("file://")
    if "://" not in base:
        return os.path.normpath(f"{base}/{address}")
    return f"{before}{_joined(base, address)}{after}"


def _joined(base: str, address: str) -> str:
    """Return a relative address in the folder ``base``; stores have no ``..``, so it is resolved, within the bucket."""
    protocol, _, path = base.partition("://")
    segments = path.removesuffix("/").split("/") if path else []
    least = 0 if protocol in _WITHOUT_HOST else 1
    for segment in address.split("/"):
        if segment == "..":
            segments = segments[: max(least, len(segments) - 1)]
        elif segment != ".":
            segments.append(segment)
    return f"{protocol}://{'/'.join(segments)}"


def folder_of(url: str) -> str:
    """Return the address of the folder that holds a file; of a file in an archive, within the same archive."""
    before, place, after = _divide(url)
    protocol, separator, path = place.rpartition("://")
    return f"{before}{protocol}{separator}{path.partition('?')[0].rpartition('/')[0]}{after}"


def _divide(url: str) -> tuple[str, str, str]:
    """Divide a chained address around the first element that has a path: caches before it have none."""
    elements = url.split("::") if is_remote(url) and is_chain(url) else [url]
    number = next((number for number, element in enumerate(elements) if "://" in element), len(elements) - 1)
    return (
        "".join(f"{one}::" for one in elements[:number]),
        elements[number],
        "".join(f"::{one}" for one in elements[number + 1 :]),
    )
