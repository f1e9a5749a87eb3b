"""Plan of a job: the rows of a manifest with their ids, each once, in files that are handed to workers."""

from __future__ import annotations

import dataclasses as dc
import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editkit import EditkitError, InvalidParameter, __version__

from .extras import read_parquet, require_extra
from .manifest import Manifest
from .model_settings import ModelSettings
from .row_check import PlannedRow, RowChecker
from .storage import Storage

JOB = "job.json"
"""File that is written when the plan is complete."""
DUPLICATES = "duplicates.parquet"
_AT_ONCE = 1000
_COLUMNS = tuple(field.name for field in dc.fields(PlannedRow))


@dc.dataclass(frozen=True)
class Job:
    """A planned job."""

    settings: Mapping[str, Any]
    """Options on which the bytes or the files of the job depend."""
    manifest: str
    """Digest of the manifest."""
    rows: int
    """Number of rows in the manifest."""
    duplicates: int
    """Number of rows that are equal to an earlier one."""
    invalid: int
    """Number of rows that cannot be edited."""
    files: int
    """Number of files of the plan."""
    version: str = __version__
    variant: Sequence[str] = ()
    """Settings on which images depend, with the content of their files, as they were when the job was planned."""

    @property
    def parts(self) -> list[str]:
        """Names of the files of the plan."""
        return [part_name(number) for number in range(self.files)]


def part_name(number: int) -> str:
    """Return the name of a file of the plan without its suffix."""
    return f"{number:06d}"


def plan_file(part: str) -> str:
    """Return the path of a file of the plan."""
    return f"plan/{part}.parquet"


def read_job(storage: Storage) -> Job | None:
    """Return the job in a folder; None if its plan is not complete. Raises EditkitError for a damaged file."""
    data = storage.read(JOB)
    if data is None:
        return None
    try:
        return Job(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise EditkitError(f"{storage.path(JOB)} is damaged ({error}): choose another output folder") from error


def check_same_settings(job: Job, given: Mapping[str, Any], output: str) -> None:
    """Raise InvalidParameter if a folder belongs to a job with other settings or of another version of editkit."""
    for name, value in given.items():
        planned = job.settings.get(name)
        if planned != value:
            how = "without it; leave it out" if planned is None else f"with {planned!r}; give that"
            raise InvalidParameter(
                f"{name}={value!r} is not allowed: the job in {output!r} was planned {how}, or another output folder"
            )
    if job.version != __version__:
        raise InvalidParameter(
            f"{output!r} has a job of editkit {job.version}, and this is {__version__}: go on with that version, or "
            "choose another output folder"
        )


def make_plan(storage: Storage, manifest: Manifest, settings: Mapping[str, Any]) -> Job:
    """Check all rows and write the plan; the job is complete when its file is there.

    Two processes that plan the same job write the same files.
    """
    models = ModelSettings.of(settings)
    variant = models.variant
    checker = RowChecker(manifest.folder, settings["model"], variant, models)
    seen, counts = SeenIds(), Counter[str]()
    repeated: list[PlannedRow] = []

    def unique_rows() -> Iterator[PlannedRow]:
        for some in in_groups(manifest.rows(), _AT_ONCE):
            rows = list(checker.check(some))
            for row, is_new in zip(rows, seen.add([row.id for row in rows]), strict=True):
                counts["rows"] += 1
                counts["duplicates"] += not is_new
                counts["invalid"] += is_new and not row.call
                if is_new:
                    yield row
                else:
                    repeated.append(row)

    files = 0
    for rows in in_groups(unique_rows(), settings["rows_per_file"]):
        write_rows(storage, plan_file(part_name(files)), rows)
        files += 1
    storage.remove(DUPLICATES)
    if repeated:
        write_rows(storage, DUPLICATES, [dc.replace(row, call="") for row in repeated])
    kinds = counts["rows"], counts["duplicates"], counts["invalid"]
    job = Job(settings, manifest.digest(), *kinds, files, variant=variant)
    storage.write(JOB, json.dumps(dc.asdict(job), indent=1).encode())
    return job


def in_groups(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of at most ``size`` in order."""
    remaining = iter(rows)
    while group := list(itertools.islice(remaining, size)):
        yield group


def write_rows(storage: Storage, name: str, rows: Sequence[PlannedRow]) -> None:
    """Write rows of a plan."""
    pa, parquet = require_extra("pyarrow", "batch"), require_extra("pyarrow.parquet", "batch")
    table = pa.table({column: [getattr(row, column) for row in rows] for column in _COLUMNS})
    with storage.open_new(name) as file:
        parquet.write_table(table, file, compression="zstd")


def read_rows(storage: Storage, name: str) -> list[PlannedRow]:
    """Return the rows in a file of the plan."""
    data = storage.read(name)
    if data is None:
        raise EditkitError(f"{storage.path(name)} is missing: plan the job again in another output folder")
    try:
        return [PlannedRow(**row) for row in read_parquet(data)]
    except (OSError, ValueError) as error:
        raise EditkitError(
            f"{storage.path(name)} is damaged ({error}): plan the job again in another output folder"
        ) from error


class SeenIds:
    """Ids that were seen before, in 16 bytes each: sorted arrays of growing length, merged like the runs of a sort."""

    def __init__(self) -> None:
        self.runs: list[NDArray[np.bytes_]] = []

    def add(self, ids: Sequence[str]) -> list[bool]:
        """Return for each id whether it is new, and remember it."""
        keys = np.array([bytes.fromhex(one) + b"\1" for one in ids], dtype="S17")  # numpy cuts zeros at the end
        new = np.zeros(len(keys), dtype=bool)
        new[np.unique(keys, return_index=True)[1]] = True
        for run in self.runs:
            places = np.searchsorted(run, keys).clip(max=len(run) - 1)
            new &= run[places] != keys
        fresh = np.sort(keys[new])
        while self.runs and len(self.runs[-1]) <= len(fresh):
            fresh = np.concatenate([self.runs.pop(), fresh])
            fresh.sort(kind="stable")
        if len(fresh):
            self.runs.append(fresh)
        return new.tolist()
