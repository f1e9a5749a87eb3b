"""Rows of a manifest: JSON lines, CSV or Parquet, read in a stream."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from editkit import BadFile, EditkitError, InvalidParameter

from .digests import tag_of
from .extras import require_extra
from .remote import file_system, folder_of, is_chain, is_remote, named_failures, reason_of

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".parquet")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LONGEST_LINE = 2**20
_BUFFER = 2**18
_ROWS_AT_ONCE = 1000


class ManifestRow(NamedTuple):
    """A row as the manifest has it."""

    number: int
    """Number of the row in the whole manifest, from 1; empty lines are not counted."""
    values: dict[str, Any] | None
    """Values by column; None if the row cannot be read."""
    problem: str = ""
    """Reason for which the row cannot be read."""
    text: bool = False
    """Whether every value is text, as in CSV."""
    content: str = ""
    """Content of a row that cannot be read, by which it is identified."""


class Manifest:
    """The files of a manifest; those below ``output``, the folder of a job, are none of them."""

    def __init__(self, url: str, output: str = "") -> None:
        try:
            self.fs, path = file_system(url)
            # A store may have an object and others below its name.
            is_folder = not (_kind_of(path) and self.fs.isfile(path)) and self.fs.isdir(path)
            found = [one for one in self.fs.find(path) if not _is_hidden(one, path)] if is_folder else []
            rows = [one for one in found if _kind_of(one) and not (output and one.startswith(f"{output}/"))]
            self.files = sorted(rows) if is_folder else [path]
            missing = not is_folder and not self.fs.isfile(path)
            is_pipe = missing and (url == "-" or self.fs.exists(path))
            reason = "it is a pipe or a device" if is_pipe else "there is no such file"
        except Exception as error:  # each file system raises its own
            raise InvalidParameter(f"manifest {url!r} cannot be opened: {reason_of(error)}") from error
        if missing:
            raise InvalidParameter(f"manifest {url!r} cannot be read: {reason}; give a file or a folder of files")
        if not self.files or not all(map(_kind_of, self.files)):
            raise InvalidParameter(
                f"manifest {url!r} must be a file that ends in {', '.join(SUFFIXES)}, or a folder of them"
            )
        columns = next((one for one in self.files for name in _inside(one, path)[:-1] if "=" in name), None)
        if is_folder and columns is not None:
            raise InvalidParameter(
                f"manifest {url!r} has columns in the names of its folders, such as {columns!r}, which are not read: "
                "write them as columns of the files"
            )
        whole = _absolute(url) if is_remote(url) else path
        self.folder = whole if is_folder else folder_of(whole)

    def digest(self) -> str:
        """Return a hash of the content of the files, of those of an object store by their tags."""
        digest = hashlib.sha256()
        for file in self.files:
            with named_failures(f"manifest {file!r} cannot be read", BadFile):
                digest.update((tag_of(self.fs.info(file)) or self._content_digest(file)).encode())
        return digest.hexdigest()

    def _content_digest(self, file: str) -> str:
        with self.fs.open(file, "rb") as stream:
            return hashlib.file_digest(_buffered(stream), "sha256").hexdigest()

    def rows(self) -> Iterator[ManifestRow]:
        """Yield all rows in the order of the files' names and of the rows in them; raises BadFile for a broken file."""
        numbers = itertools.count(1)
        for file in self.files:
            yield from self._rows_of(file, numbers)

    def _rows_of(self, file: str, numbers: Iterator[int]) -> Iterator[ManifestRow]:
        kind, fsspec = _kind_of(file), require_extra("fsspec", "batch")
        try:
            compression = None if kind == ".parquet" else fsspec.utils.infer_compression(_name_of(file))
            with self.fs.open(file, "rb", compression=compression) as stream:
                if kind == ".parquet":
                    yield from _parquet_rows(stream, numbers)
                elif kind == ".csv":
                    yield from _csv_rows(_buffered(stream), numbers)
                else:
                    yield from _json_rows(_buffered(stream), numbers)
        except EditkitError:
            raise
        except Exception as error:  # each file system raises its own
            raise BadFile(f"manifest {file!r} cannot be read: {reason_of(error)}") from error


def _inside(path: str, folder: str) -> list[str]:
    """Return the names of the folders and of the file on the way from a folder to a file in it."""
    return path.removeprefix(folder).strip("/").split("/")


def _is_hidden(path: str, folder: str) -> bool:
    """Return whether readers of data sets skip a file: its name, or that of a folder, begins with a dot or ``_``."""
    return any(name.startswith((".", "_")) for name in _inside(path, folder))


def _absolute(url: str) -> str:
    """Return a chained address whose last element, a path of this machine, is absolute."""
    outer, chained, last = url.rpartition("::")
    return f"{outer}::{os.path.abspath(last)}" if chained and is_chain(url) and "://" not in last else url  # noqa: PTH100


def _name_of(path: str) -> str:
    """Return a path without the query of an address, such as the signature of a link that expires."""
    return path.partition("?")[0] if path.startswith(("http://", "https://")) else path


def _kind_of(path: str) -> str | None:
    name = _name_of(path).lower()
    for suffix in _COMPRESSED:
        name = name.removesuffix(suffix) if not name.removesuffix(suffix).endswith(".parquet") else name
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), None)


def _json_rows(stream: BinaryIO, numbers: Iterator[int]) -> Iterator[ManifestRow]:
    for place, whole in enumerate(_lines(stream)):
        line = whole if place else whole.removeprefix(codecs.BOM_UTF8)
        if not line.strip():
            continue
        number = next(numbers)
        if len(line) > _LONGEST_LINE:
            yield _unreadable(number, f"the line is longer than {_LONGEST_LINE} bytes", line)
            continue
        try:
            values = _DECODER.decode(line.decode("utf-8").strip())
        except (ValueError, RecursionError) as error:
            yield _unreadable(number, f"the line is no JSON: {error}", line)
            continue
        is_row = isinstance(values, dict)
        yield ManifestRow(number, values) if is_row else _unreadable(number, "the line is no JSON object", line)


def _unreadable(number: int, problem: str, content: bytes) -> ManifestRow:
    return ManifestRow(number, None, problem, content=hashlib.sha256(content.rstrip(b"\r\n")).hexdigest())


class _Readable(io.RawIOBase):
    """A file of fsspec, of which some have no method but ``read``, as a raw stream."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _buffered(file: BinaryIO) -> io.BufferedReader:
    return io.BufferedReader(_Readable(file), _BUFFER)


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Yield lines; of a longer one than is allowed, only the beginning, and the rest is skipped."""
    while line := stream.readline(_LONGEST_LINE + 2):
        yield line
        while len(line) > _LONGEST_LINE + 1 and not line.endswith(b"\n"):
            line = stream.readline(_LONGEST_LINE + 2)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return values


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)


def _csv_rows(stream: BinaryIO, numbers: Iterator[int]) -> Iterator[ManifestRow]:
    lines = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    # Without strict, a quote that is not closed takes all lines behind it as a part of its value.
    reader = csv.reader(lines, skipinitialspace=True, strict=True)
    header = [name.strip() for name in next(reader, [])]
    if len(set(header)) < len(header) or not all(header):
        raise ValueError("the first line must hold the names of the columns, each once")
    if header and "operation" not in header:
        names = ", ".join(repr(name[:40]) for name in header[:9])
        raise ValueError(
            f"its first line has no column operation, but {names}: name the columns there, separate them by commas, "
            "and write the file in UTF-8"
        )
    for row in _csv_records(reader):
        if row == []:
            continue
        number = next(numbers)
        if isinstance(row, csv.Error):
            yield _unreadable(number, f"the line is no CSV: {row}", str(number).encode())
        elif len(row) != len(header):
            problem = f"the line has {len(row)} values for {len(header)} columns"
            yield _unreadable(number, problem, repr(row).encode())
        else:
            yield ManifestRow(number, {name: text for name, text in zip(header, row, strict=True) if text}, text=True)


def _csv_records(reader: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    while True:
        try:
            yield next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def _parquet_rows(stream: BinaryIO, numbers: Iterator[int]) -> Iterator[ManifestRow]:
    parquet = require_extra("pyarrow.parquet", "batch")
    file = parquet.ParquetFile(stream)
    names = file.schema_arrow.names
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"its column {twice!r} stands twice: give each column a name of its own")
    for block in file.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
        rows: Iterable[dict[str, Any]] = block.to_pylist()
        yield from (ManifestRow(next(numbers), row) for row in rows)
