"""The edit at hand for all images of a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from editkit import EditkitError

from ..batch import BatchOutcome, batch_work
from ..edits import Call
from ..jobs import Job
from ..site import Site
from .components import notify


class BatchPanel:
    """Names of two folders, and the outcome of each image."""

    def __init__(self, site: Site, read_call: Callable[[], Call | None], submit: Callable[[Job], None]) -> None:
        self.site, self._read_call, self._submit = site, read_call, submit
        self._rows: list[dict[str, Any]] = []

    def build(self) -> None:
        """Add the elements to the page."""
        ui.label("Edits all images of a folder with the operation, the parameters and the mask of the other tab.")
        with ui.element("div").classes("ek-row"):
            self.images = ui.input("Folder of images", value=".").classes("ek-grow").props("dense")
            self.results = ui.input("Folder of results", value="edited").classes("ek-grow").props("dense")
            ui.button("Edit the folder", on_click=self._start).props("no-caps")
        columns = [
            {"name": name, "label": name.capitalize(), "field": name, "align": "left"}
            for name in ("image", "result", "problem")
        ]
        self.table = (
            ui.table(columns=columns, rows=[], row_key="image", pagination=50).classes("ek-full").props("dense")
        )

    def take(self, outcome: BatchOutcome) -> None:
        """Add the outcome of an image."""
        problem = outcome.error or "; ".join(outcome.warnings)
        self._rows.append({"image": outcome.name, "result": outcome.output, "problem": problem})
        self.table.rows = list(self._rows)

    def _start(self) -> None:
        call = self._read_call()
        if call is None:
            return
        try:
            files = self.site.folder.images(self.images.value.strip() or ".")
            spec = self.site.operations[call.operation]
            if spec.takes != "image":
                raise EditkitError(f"{call.operation} takes no image: choose another operation for a folder")
            outputs = self.results.value.strip() or "edited"
            work = batch_work(call, files, outputs, self.site.folder, spec.params, self.site.dtype)
        except EditkitError as error:
            notify(str(error), "negative")
            return
        self._rows.clear()
        self.table.rows = []
        self._submit(Job(work, title=f"{call.operation} of {len(files)} images"))
