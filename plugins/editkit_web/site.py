"""Shared state of all tabs: the folder, the files, the workers, and the models on offer."""

from __future__ import annotations

import secrets
import threading
from pathlib import Path

import editkit
from editkit import OperationSpec, models, operations, segmenters

from . import WebParams
from .edits import Call, edit_work
from .folder import ImageFolder
from .jobs import Job, Workers
from .store import Store
from .tab import Tab

_MOST_TABS = 200


def _absolute(model: str) -> str:
    """Return a file or folder by a path that does not depend on the current folder, and any other name unchanged."""
    return str(Path(model).absolute()) if model not in models() and Path(model).exists() else model


class Site:
    """Parts that the tabs of one server share."""

    def __init__(self, params: WebParams) -> None:
        self.folder = ImageFolder(params.folder)
        self.devices = tuple(params.device)
        self.dtype = params.dtype
        self.most_bytes = params.upload * 2**20
        self.models = [*map(_absolute, params.model), *sorted(models())]
        """Models on offer."""
        self.segmenters = {
            kind: call for call in params.segmenter for kind in segmenters()[call.partition(":")[0]].reads
        }
        """Segmenter by the kind of specification that it reads: ``words``, ``points``."""
        self.identity = secrets.token_hex(8)
        """Name of this run of the server."""
        self.store = Store()
        self.workers = Workers(self.devices or (None,), most_waiting=params.waiting)
        self._is_warm = False
        self.tabs: dict[str, Tab] = {}
        """State of each tab, by the identity that the browser keeps for it."""

    @property
    def operations(self) -> dict[str, OperationSpec]:
        """Operations from one image, or from none, to an image."""
        return {
            name: spec
            for name, spec in sorted(operations().items())
            if spec.takes in ("image", "nothing") and spec.gives == "image"
        }

    def job(self, call: Call, seeds: list[int | None]) -> Job:
        """Return the job of an edit with each seed."""
        return Job(edit_work(call, seeds, self.store, self.dtype), title=call.operation)

    def tab_of(self, identity: str, new: Tab) -> Tab:
        """Return the state of a tab, ``new`` at the first call; of too many, the one that was opened first is lost."""
        tab = self.tabs.setdefault(identity, new)
        while len(self.tabs) > _MOST_TABS:
            oldest = self.tabs.pop(next(iter(self.tabs)))
            for entry in oldest.history:
                self.store.forget(*entry.addresses)
        return tab

    def warm_up(self) -> None:
        """Import torch in the background, at the first call: before an edit, and after the page has been sent."""
        if not self._is_warm:
            self._is_warm = True
            threading.Thread(target=lambda: editkit.apply, daemon=True).start()

    def close(self) -> None:
        """Stop all work and remove all files."""
        self.workers.close()
        self.store.close()
