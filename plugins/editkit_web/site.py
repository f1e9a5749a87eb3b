"""Shared state of all tabs: the folder, the files, the workers, and the models on offer."""

from __future__ import annotations

from typing import Any

from editkit import OperationSpec, models, operations, segmenters

from . import WebParams
from .edits import Call, edit_work
from .folder import ImageFolder
from .jobs import Job, Workers
from .store import Store


class Site:
    """Parts that the tabs of one server share."""

    def __init__(self, params: WebParams) -> None:
        self.folder = ImageFolder(params.folder)
        self.devices = tuple(params.device)
        self.dtype = params.dtype
        self.most_bytes = params.upload * 2**20
        self.models = [*params.model, *sorted(models())]
        """Models on offer."""
        self.segmenters = {
            kind: call for call in params.segmenter for kind in segmenters()[call.partition(":")[0]].reads
        }
        """Segmenter by the kind of specification that it reads: ``words``, ``points``."""
        self.store = Store()
        self.workers = Workers(self.devices or (None,), most_waiting=params.waiting)
        self.tabs: dict[str, Any] = {}
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

    def close(self) -> None:
        """Stop all work and remove all files."""
        self.workers.close()
        self.store.close()
