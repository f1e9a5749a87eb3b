"""Images of a job: single files, or packed by part in tar or Parquet files."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import hashlib
import io
import tarfile
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from editkit import EditkitError

from .extras import read_parquet, require_extra
from .results import RowResult
from .storage import Storage

Outputs = Literal["files", "tar", "parquet"]
_ROWS_AT_ONCE = 64


class ImageStore:
    """Images of a part, by the id of their row; none is named by the manifest.

    Each image is written as a file of its own when its row is finished. At the end of a part, tar and Parquet files
    take the files' place.
    """

    def __init__(self, storage: Storage, part: str, outputs: Outputs) -> None:
        self.storage, self.part, self.outputs = storage, part, outputs
        self.packed = "" if outputs == "files" else f"images/{part}.{outputs}"

    def _file(self, identity: str) -> str:
        # 256 folders: a million images are 3,900 to a folder.
        return f"staged/{self.part}/{identity}.png" if self.packed else f"images/{identity[:2]}/{identity}.png"

    def output(self, identity: str) -> str:
        """Return the path of an image in the results."""
        return f"{self.packed}#{identity}.png" if self.packed else self._file(identity)

    def write(self, identity: str, data: bytes) -> None:
        """Write an image."""
        self.storage.write(self._file(identity), data)

    def are_whole(self, results: Sequence[RowResult], since: int) -> bool:
        """Return whether the images of a part that was finished at the time ``since`` are there and whole.

        Those that did not change after it are not read. The file system must be local.
        """
        done = [result for result in results if result.status == "ok"]
        if not self.packed:
            return all(self._is_whole(result, since) for result in done)
        time = self.storage.changed(self.packed)
        if not done or (time is not None and time <= since):
            return True
        found = {identity: hashlib.sha256(data).hexdigest() for identity, data in self._packed_images()}
        return all(found.get(result.id) == result.sha256 for result in done)

    def _is_whole(self, result: RowResult, since: int) -> bool:
        time = self.storage.changed(self._file(result.id))
        return time is not None and (time <= since or self.has(result))

    def has(self, result: RowResult) -> bool:
        """Return whether the image of a result is there and whole."""
        data = self.storage.read(self._file(result.id))
        return data is not None and hashlib.sha256(data).hexdigest() == result.sha256

    def pack(self, results: Sequence[RowResult]) -> None:
        """Write the tar or Parquet file of a part, from the files of its images."""
        done = [result for result in results if result.status == "ok"]
        if self.outputs == "tar":
            self._pack_tar(done)
        elif self.outputs == "parquet":
            self._pack_parquet(done)

    def _images(self, results: Sequence[RowResult]) -> Iterator[tuple[str, bytes]]:
        for result in results:
            data = self.storage.read(self._file(result.id))
            if data is None:
                raise EditkitError(f"{self.storage.path(self._file(result.id))} is missing: another process removed it")
            yield result.id, data

    def _pack_tar(self, results: Sequence[RowResult]) -> None:
        with self.storage.open_new(self.packed) as file, tarfile.open(fileobj=file, mode="w|") as tar:
            for identity, data in self._images(results):
                entry = tarfile.TarInfo(f"{identity}.png")  # without a time and a user: the same bytes everywhere
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, io.BytesIO(data))

    def _pack_parquet(self, results: Sequence[RowResult]) -> None:
        pa, parquet = require_extra("pyarrow", "batch"), require_extra("pyarrow.parquet", "batch")
        schema = pa.schema([("id", pa.string()), ("image", pa.binary())])
        with (
            self.storage.open_new(self.packed) as file,
            parquet.ParquetWriter(file, schema, compression="none") as writer,
        ):
            for begin in range(0, len(results), _ROWS_AT_ONCE):
                images = list(self._images(results[begin : begin + _ROWS_AT_ONCE]))
                columns: list[Any] = [list(column) for column in zip(*images, strict=True)]
                writer.write_table(pa.table(columns, schema=schema))

    def unpack(self, results: Sequence[RowResult]) -> list[RowResult]:
        """Write the files of a packed part again, and return the results whose images are there and whole."""
        if self.packed:
            ids = {result.id for result in results}
            for identity, data in self._packed_images():
                if identity in ids:  # the name of an entry builds no path unless it is one of these
                    self.write(identity, data)
        return [dc.replace(result) for result in results if result.status == "ok" and self.has(result)]

    def _packed_images(self) -> Iterator[tuple[str, bytes]]:
        """Yield name and bytes of each image in a packed file, up to the place where it is damaged."""
        data = self.storage.read(self.packed)
        with contextlib.suppress(tarfile.TarError, EOFError, OSError, ValueError, LookupError):
            yield from () if data is None else self._entries(data)

    def _entries(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        if self.outputs == "tar":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for entry in tar:
                    file = tar.extractfile(entry)
                    if file is not None:
                        yield entry.name.removesuffix(".png"), file.read()
            return
        for row in read_parquet(data):
            yield row["id"], row["image"]
