"""Results of rows: the state of each with its image, its report or its error."""

from __future__ import annotations

import dataclasses as dc
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from editkit import EditkitError

from .extras import read_parquet, require_extra
from .row_check import PlannedRow
from .storage import Storage

Status = Literal["ok", "error", "crashed"]


@dc.dataclass(frozen=True)
class RowResult:
    """Result of one row."""

    id: str
    row: int
    """Number of the row in the manifest."""
    name: str
    status: Status
    error_type: str = ""
    error: str = ""
    output: str = ""
    """Path of the image below the output folder; in a tar or Parquet file its name follows ``#``."""
    sha256: str = ""
    """SHA-256 of the image file in hexadecimal digits."""
    seconds: float = 0.0
    network_samples: int = 0
    report: str = ""
    """The report as JSON."""

    @classmethod
    def failed(cls, row: PlannedRow, error_type: str, error: str, status: Status = "error") -> RowResult:
        """Return the result of a row without an image."""
        text = error.encode(errors="replace").decode()
        return cls(row.id, row.row, row.name, status, error_type, text)


COLUMNS = tuple(field.name for field in dc.fields(RowResult))


def results_file(part: str) -> str:
    """Return the path of the results of a part."""
    return f"results/{part}.parquet"


def write_results(storage: Storage, part: str, results: Sequence[RowResult]) -> None:
    """Write the results of a part, which is then done."""
    pa, parquet = require_extra("pyarrow", "batch"), require_extra("pyarrow.parquet", "batch")
    types = {"row": pa.int64(), "seconds": pa.float64(), "network_samples": pa.int64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    table = pa.Table.from_pylist([vars(result) for result in results], schema)
    with storage.open_new(results_file(part)) as file:
        parquet.write_table(table, file, compression="zstd")


def read_results(storage: Storage, part: str, columns: Sequence[str] = COLUMNS) -> list[dict[str, Any]]:
    """Return the columns of the results of a part; empty if it is not done."""
    data = storage.read(results_file(part))
    try:
        return [] if data is None else read_parquet(data, columns)
    except (OSError, ValueError) as error:
        path = storage.path(results_file(part))
        raise EditkitError(f"{path} is damaged ({error}): remove it, and its rows are edited again") from error


class Staged:
    """Results of the rows of a part that is not done: a file for each row, written before its image."""

    def __init__(self, storage: Storage, part: str) -> None:
        self.storage = storage
        self.folder = f"staged/{part}"

    def read(self) -> Iterator[RowResult]:
        """Yield the results of rows, whose images may be missing."""
        for name in self.storage.names(self.folder):
            if name.endswith(".json"):
                rows = json.loads(self.storage.read(f"{self.folder}/{name}") or b"[]")
                yield from (RowResult(**row) for row in rows)

    def write(self, results: Sequence[RowResult], name: str = "") -> None:
        """Write results to one file."""
        data = json.dumps([vars(result) for result in results]).encode()
        self.storage.write(f"{self.folder}/{name or results[0].id}.json", data)

    def count(self) -> int:
        """Return the number of files, by which it is seen whether a part makes progress."""
        return len(self.storage.names(self.folder))

    def clear(self) -> None:
        """Remove the files, when the part is done."""
        self.storage.remove_folder(self.folder)


@dc.dataclass
class Totals:
    """Sums over the results of a job."""

    states: Counter[str] = dc.field(default_factory=Counter)
    errors: Counter[tuple[str, str]] = dc.field(default_factory=Counter)
    """Failed rows by status and type of the error."""
    first: dict[tuple[str, str], Mapping[str, Any]] = dc.field(default_factory=dict)
    """The first failed row of each kind."""
    samples: int = 0
    seconds: float = 0.0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the results of a part."""
        for row in rows:
            self.states[row["status"]] += 1
            self.samples += row["network_samples"]
            self.seconds += row["seconds"]
            if row["status"] != "ok":
                kind = row["status"], row["error_type"]
                self.errors[kind] += 1
                self.first.setdefault(kind, row)
