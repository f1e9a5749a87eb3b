"""An edit of the page as a command and as Python, which give the same pixels."""

from __future__ import annotations

import io
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import editkit
from editkit import EditkitError, InvalidParameter

from .edits import Call, Entry
from .folder import ImageFolder
from .form import MASK, argument_names


class Copies:
    """Texts that repeat an edit outside of the page; its mask and its uploads are saved in the folder of the page."""

    def __init__(
        self, entry: Entry, folder: ImageFolder, *, device: str | None = None, dtype: str | None = None
    ) -> None:
        call = entry.call
        self.call = call
        self.image = None if call.source is None else _in_folder(call.source.path, folder)
        self.files = {name: value for name, value in call.values.items() if _is_file(value)}
        self.values = {name: value for name, value in call.values.items() if name not in self.files}
        self.files = {name: _files_in_folder(value, folder) for name, value in self.files.items()}
        if call.has_mask:
            stem = Path(call.source.name).stem if call.source else "image"
            self.files[MASK] = [_write(f"{stem}-mask.png", _png(call), folder)]
        self.output = folder.unused(entry.file.name)
        self.loading = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}

    def command(self) -> str:
        """Return the command line, quoted for a POSIX shell."""
        named = argument_names(editkit.operations()[self.call.operation].params)
        arguments = [str(self.values[name]) for name in named if name in self.values]
        arguments = [*([os.fspath(self.image)] if self.image else []), *arguments]
        words = _option("model", self.call.model) if self.call.model else []
        for name, value in self.values.items():
            words += [] if name in named else _options(name, value)
        for name, files in self.files.items():
            for file in files:
                words += _option(name, os.fspath(file))
        for name, value in self.loading.items():
            words += _option(name, value)
        words += _option("output", os.fspath(self.output))
        # After two hyphens, an argument may begin like an option.
        words = [*words, "--", *arguments] if any(one.startswith("-") for one in arguments) else [*arguments, *words]
        return shlex.join(["editkit", self.call.operation, *words])

    def python(self) -> str:
        """Return Python code."""
        arguments = [repr(self.call.operation)] + ([repr(os.fspath(self.image))] if self.image else [])
        named: dict[str, Any] = {"model": self.call.model} if self.call.model else {}
        named |= self.values
        named |= {name: _one_or_all([os.fspath(file) for file in files]) for name, files in self.files.items()}
        named |= self.loading
        arguments += [f"{name}={value!r}" for name, value in named.items()]
        lines = "".join(f"    {argument},\n" for argument in arguments)
        return f"import editkit\n\nresult = editkit.apply(\n{lines})\nresult.save({os.fspath(self.output)!r})\n"


def _is_file(value: Any) -> bool:
    return isinstance(value, Path) or (isinstance(value, tuple) and any(isinstance(one, Path) for one in value))


def _files_in_folder(value: Any, folder: ImageFolder) -> list[Path]:
    return [_in_folder(one, folder) for one in (value if isinstance(value, tuple) else (value,))]


def _one_or_all(files: list[str]) -> str | list[str]:
    return files[0] if len(files) == 1 else files


def _in_folder(path: Path, folder: ImageFolder) -> Path:
    """Return a path below the folder with the content of a file: itself, or a copy of an upload."""
    return path if path.is_relative_to(folder.path) else _write(path.name, path.read_bytes(), folder)


def _write(name: str, data: bytes, folder: ImageFolder) -> Path:
    """Write bytes below the folder under a new name, unless a file of that name has them already."""
    try:
        for path in _candidates(name, folder):
            if not path.exists():
                with path.open("xb") as file:
                    file.write(data)
                return path
            if path.is_file() and path.read_bytes() == data:
                return path
    except OSError as error:
        reason = error.strerror or error
        raise EditkitError(f"{name!r} cannot be saved in the folder of this page: {reason}") from error
    raise InvalidParameter(f"{name!r} cannot be saved in the folder of this page: too many files have that name")


def _candidates(name: str, folder: ImageFolder) -> Iterator[Path]:
    stem, suffix = Path(name).stem, Path(name).suffix
    yield folder.resolve(name)
    yield from (folder.resolve(f"{stem}-{number}{suffix}") for number in range(2, 1000))


def _png(call: Call) -> bytes:
    data = io.BytesIO()
    call.mask_image().save(data, "PNG")
    return data.getvalue()


def _options(name: str, value: Any) -> list[str]:
    """Return the words of an option of the command line for a value."""
    if isinstance(value, bool):
        return [f"--{'' if value else 'no-'}{name.replace('_', '-')}"]
    if isinstance(value, (tuple, list)):
        return [word for one in value for word in _option(name, str(one))]
    return _option(name, _text(value))


def _option(name: str, text: str) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    # A value that begins like an option has to be joined to its name.
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        raise InvalidParameter("a mapping has no form on the command line: copy the edit as Python")
    return repr(value) if isinstance(value, float) else str(value)
