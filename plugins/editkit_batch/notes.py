"""Notes of the rows at work, by which a row that ends its worker is found."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence

from .storage import Storage

_DEATHS_IN_ONE_RUN, _DEATHS_IN_ALL = 2, 3
"""Numbers of deaths of a worker, with one row alone at work, after which the row counts as their cause.

A worker that died while its job lived on was ended by its row. One that died with its job may have been stopped with
it, so that such a death counts less.
"""


class Notes:
    """Notes of one part: files of ids at work, each removed when its rows are finished.

    A note that outlives its worker names the rows among which the cause of the worker's death may be. They are then
    edited alone, so that an innocent row is not blamed for another.
    """

    def __init__(self, storage: Storage, part: str, run: str) -> None:
        self.storage, self.run = storage, run
        self.folder = f"notes/{part}"
        self.suspects: set[str] = set()
        """Ids that were at work when a worker died."""
        alone: Counter[str] = Counter()
        in_this_run: Counter[str] = Counter()
        for name in storage.names(self.folder):
            note = self._read(name)
            self.suspects.update(note["ids"])
            if len(note["ids"]) == 1:
                alone.update(note["ids"])
                in_this_run.update(note["ids"] if note["run"] == run else [])
        self.crashed = {
            one for one, deaths in alone.items() if deaths >= _DEATHS_IN_ALL or in_this_run[one] >= _DEATHS_IN_ONE_RUN
        }
        """Ids that ended their workers."""

    def _read(self, name: str) -> dict[str, list[str] | str]:
        try:
            note: dict[str, list[str] | str] = json.loads(self.storage.read(f"{self.folder}/{name}") or b"")
        except ValueError:  # removed by a worker that is alive
            return {"run": "", "ids": []}
        return note

    @contextlib.contextmanager
    def at_work(self, ids: Sequence[str]) -> Iterator[None]:
        """Keep a note of ids during the block; an exception, such as of a full disk, is no end of the worker."""
        name = f"{self.folder}/{secrets.token_hex(8)}.json"
        self.storage.write(name, json.dumps({"run": self.run, "ids": list(ids)}).encode())
        try:
            yield
        except (Exception, KeyboardInterrupt):
            self.storage.remove(name)
            raise
        self.storage.remove(name)

    def clear(self) -> None:
        """Remove all notes of the part."""
        self.storage.remove_folder(self.folder)
