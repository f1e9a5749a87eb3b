"""Reasons for which files cannot be read, for messages, and the names that are probably meant."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import unicodedata

_READ_ERRORS = {
    errno.ENOTDIR: "a part of the path is a file, not a folder; check the path",
    errno.EISDIR: "it is a folder; name one file in it",
    errno.EACCES: "permission is denied; change the rights of the file and of its folders, or copy it",
    errno.EPERM: "permission is denied; change the rights of the file and of its folders, or copy it",
    errno.ELOOP: "its symbolic links form a circle; name the file itself",
    errno.ENAMETOOLONG: "the name is too long; check the path",
    errno.EIO: "the disk reports an error; try again, or take another copy",
    errno.ESTALE: "the network folder has changed; try again",
}

_MOST_NAMES = 10_000
"""Most names of a folder that are compared."""


def read_reason(error: OSError) -> str:
    """Return why a file cannot be read and what helps, in a few words."""
    path = error.filename
    if error.errno == errno.ENOENT and isinstance(path, (str, os.PathLike)):
        hint = _similar_path_hint(os.fspath(path))
        return f"there is no such file; {hint or 'check the path'}"
    return _READ_ERRORS.get(error.errno or 0) or error.strerror or type(error).__name__


def _similar_path_hint(path: str) -> str:
    """Return advice that names the file or folder which is probably meant by a missing path; empty if there is none.

    Its name differs in capitals or spaces, in the suffix alone, or in the Unicode form of its letters: an accent is one
    character in most names that are typed, and a character of its own in many that come from a Mac.
    """
    if path.startswith("~"):
        return "write the whole path in place of ~, which a shell replaces at the beginning of a word alone"
    above, name = _first_missing(path)
    if os.path.islink(os.path.join(above, name)):  # noqa: PTH114, PTH118 (a Path refuses some names)
        return "its symbolic link leads to a file that is missing"
    names: list[str] = []
    with contextlib.suppress(OSError, ValueError), os.scandir(above or ".") as entries:
        names = sorted(entry.name for entry in itertools.islice(entries, _MOST_NAMES))
    for simplify in (_composed, _simple, _stem):
        found = [other for other in names if simplify(other) == simplify(name) != ""]
        if len(found) == 1:
            other = os.path.join(above, found[0])  # noqa: PTH118 (a Path would lose the form in which it was named)
            if simplify is _composed:
                return (
                    f"the name of {other!r} looks the same and has another Unicode form: choose it by the Tab key, or "
                    "rename it"
                )
            return f"did you mean {other!r}?"
    return ""


def _first_missing(path: str) -> tuple[str, str]:
    """Return the innermost folder of a path that exists, and the name in it that is missing."""
    above, name = os.path.split(path.rstrip(os.sep))
    while above and not os.path.isdir(above):  # noqa: PTH112 (os.path answers False for any text)
        shorter, name = os.path.split(above)
        if shorter == above:
            break
        above = shorter
    return above, name


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _simple(name: str) -> str:
    return "".join(unicodedata.normalize("NFKC", name).casefold().split())


def _stem(name: str) -> str:
    return _simple(os.path.splitext(name)[0])  # noqa: PTH122
