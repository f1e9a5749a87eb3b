"""Read files and pipes of a limited size."""

from __future__ import annotations

import contextlib
import errno
import os
import stat

LFS_POINTER = b"version https://git-lfs"
"""First bytes of a pointer of git-lfs, which stands for a file that is elsewhere."""


MOST_TEXT = 16 * 2**20
"""Largest size in bytes of a text file."""


def read_bounded(path: str | os.PathLike[str], most: int = MOST_TEXT) -> bytes:
    """Return the bytes of a file or of a pipe such as that of ``<(...)``, at most ``most`` of them.

    A pipe is read until its writer closes it. Raises OSError for one without a writer, which would be waited for
    without end, for a device other than an empty one (/dev/null), and for more bytes.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer; Windows has O_BINARY in its place.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
        data = _first_bytes(descriptor, kind)
        while part := os.read(descriptor, 2**20):
            data += part
            if len(data) > most:
                raise OSError(0, f"it has more than {most} bytes; make it smaller")
    finally:
        os.close(descriptor)
    return data


def _first_bytes(descriptor: int, kind: int) -> bytes:
    """Return the first bytes of a pipe, none of a file; raises OSError for one without a writer and for a device."""
    if kind == stat.S_IFREG:
        return b""
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    data: bytes | None = None
    with contextlib.suppress(BlockingIOError):  # it has a writer, and no data yet
        data = os.read(descriptor, 1)
    if kind != stat.S_IFIFO and data != b"":
        raise OSError(0, "it is a device; name a file")
    if kind == stat.S_IFIFO and data == b"":
        raise OSError(0, "nobody writes to this pipe; name a file")
    os.set_blocking(descriptor, True)
    return data or b""
