"""The image with its brush, and everything that changes the mask."""

from __future__ import annotations

import asyncio
import dataclasses as dc
from collections.abc import Callable
from typing import Any

import numpy as np
from nicegui import events, ui

from editkit import EditkitError, MaskSpecification, build_segmenter, open_image

from ..edits import Source
from ..jobs import Job
from ..site import Site
from ..strokes import Drawing, Levels, MaskView, read_stroke
from ..tab import Tab
from .components import Brush, hidden_upload, notify

_LONGEST_SHOWN = 1024
_MODES = {"paint": "Paint", "erase": "Erase", "view": "Hand"}


class MaskPanel:
    """The image, the brush over it, and the tools of the mask."""

    def __init__(self, site: Site, tab: Callable[[], Tab], submit: Callable[[Job], None]) -> None:
        self.site, self._tab, self._submit = site, tab, submit
        self._overlay = ""
        self._is_used = True
        self._view = MaskView(_LONGEST_SHOWN)

    @property
    def tab(self) -> Tab:
        return self._tab()

    def build(self) -> None:
        """Add the elements to the page."""
        self.brush = Brush(self._take_stroke, self._take_point)
        with self.brush:
            ui.label("Drop or paste an image here, upload one, or name one of the folder.")
        with ui.element("div").classes("ek-column") as self.tools:
            with ui.element("div").classes("ek-row"):
                self.mode = ui.toggle(self._modes(), value="paint", on_change=self.update_brush).props("dense no-caps")
                ui.space()
                self._button("undo", "Undo (Ctrl+Z)", self.undo)
                self._button("redo", "Redo (Ctrl+Shift+Z)", self.redo)
                self._button("invert_colors", "Invert the mask (I)", self.invert)
                self._button("delete", "Clear the mask", self.clear)
                self._button("upload_file", "Load a mask file", lambda: self.files.run_method("pickFiles"))
                self.use_found = self._button("auto_fix_high", "Use the mask that the edit found", self.take_found)
            self.size = self._slider("Size", 1, 512, 32)
            self.softness = self._slider("Softness", 0, 1, 0, step=0.05)
            if "words" in self.site.segmenters:
                self.words = ui.input("Mask of words, such as: the hat").classes("ek-full").props("dense")
                self.words.on("keydown.enter", self._find_words)
        self.files = hidden_upload(self._take_mask).classes("ek-mask-file")
        self.update_brush()

    def show(self) -> None:
        """Show image and mask of the tab."""
        source = self.tab.source
        if source is None:
            self.brush.show("", (1, 1))
            self.show_mask()
            return
        self.brush.show(source.view, source.size)
        longest, shortest = max(source.size), min(source.size)
        self.size.props["max"] = min(max(8, longest // 2), 4096)
        self.size.set_value(max(1, round(min(longest / 10, shortest / 2))))
        self.show_mask()

    def set_used(self, used: bool) -> None:
        """Show or hide the mask and its tools, for an operation with or without one."""
        self._is_used = used
        self.tools.set_visibility(used)
        self.update_brush()
        self.show_mask()

    def show_mask(self) -> None:
        """Show the mask over the image."""
        tab, previous = self.tab, self._overlay
        is_empty = tab.drawing.is_empty or not self._is_used
        self._overlay = ""
        if tab.source is not None and not is_empty:
            self._overlay = self.site.store.show_mask(self._view.levels(tab.drawing, tab.source.size))
        self.brush.show_mask(self._overlay)
        if previous:
            self.site.store.forget(previous)
        self.use_found.set_visibility(tab.shown is not None and tab.shown.found_mask is not None)

    def update_brush(self) -> None:
        """Hand the settings of the brush to the browser."""
        self.brush.set_brush(self.size.value, self.softness.value, self.mode.value if self._is_used else "view")

    def undo(self) -> None:
        """Go back to the mask before."""
        self.tab.undo()
        self.show_mask()

    def redo(self) -> None:
        """Take back the last undoing."""
        self.tab.redo()
        self.show_mask()

    def invert(self) -> None:
        """Exchange marked and kept."""
        self._draw(dc.replace(self.tab.drawing, inverted=not self.tab.drawing.inverted))

    def clear(self) -> None:
        """Take the mask away."""
        self.tab.points = []
        self._draw(Drawing())

    def take_found(self) -> None:
        """Take the mask that the edit in view found by itself."""
        if self.tab.shown is not None and self.tab.shown.found_mask is not None:
            self.take_base(self.tab.shown.found_mask)

    def take_base(self, levels: Levels) -> None:
        """Take a mask that was loaded or found, unless it belongs to an image that is no longer open."""
        if self.tab.source is not None and levels.shape == self.tab.source.size[::-1]:
            self._draw(Drawing(base=levels))

    def change_size(self, factor: float) -> None:
        """Make the brush larger or smaller."""
        self.size.set_value(min(max(1, round(self.size.value * factor)), self.size.props["max"]))

    def _modes(self) -> dict[str, str]:
        return _MODES | ({"points": "Click"} if "points" in self.site.segmenters else {})

    def _button(self, icon: str, text: str, action: Callable[[], Any]) -> ui.button:
        button = ui.button(icon=icon, on_click=action).props("flat round dense")
        button.props["aria-label"] = button.props["title"] = text
        return button

    def _slider(self, label: str, low: float, high: float, value: float, step: float = 1) -> ui.slider:
        with ui.element("div").classes("ek-slider"):
            ui.html(label, sanitize=False, tag="span")
            slider = ui.slider(min=low, max=high, value=value, step=step, on_change=self.update_brush)
            slider.props["aria-label"] = label
        return slider.props("label")

    def _draw(self, drawing: Drawing) -> None:
        if self.tab.source is not None:
            self.tab.draw(drawing)
            self.show_mask()

    def _take_stroke(self, event: dict[str, Any]) -> None:
        try:
            self._draw(self.tab.drawing.with_stroke(read_stroke(event)))
        except EditkitError as error:
            notify(str(error), "negative")

    async def _take_mask(self, event: events.UploadEventArguments) -> None:
        source = self.tab.source
        if source is None:
            notify("Open an image first", "warning")
            return
        data = await event.file.read()
        try:
            levels, notes = await asyncio.to_thread(source.read_mask, data, event.file.name)
        except EditkitError as error:
            notify(str(error), "negative")
            return
        for note in notes:
            notify(note, "warning")
        self.take_base(levels)

    def _take_point(self, event: dict[str, Any]) -> None:
        source = self.tab.source
        if source is None:
            return
        place = [min(max(0, int(event[axis])), most - 1) for axis, most in zip("xy", source.size, strict=True)]
        self.tab.points.append((place[0], place[1], bool(event.get("outside"))))
        inside = tuple(point[:2] for point in self.tab.points if not point[2])
        outside = tuple(point[:2] for point in self.tab.points if point[2])
        if inside:
            self._find("points", MaskSpecification(inside=inside, outside=outside), source)

    def _find_words(self) -> None:
        if self.tab.source is not None and self.words.value.strip():
            self._find("words", MaskSpecification(words=self.words.value.strip()), self.tab.source)

    def _find(self, kind: str, specification: MaskSpecification, source: Source) -> None:
        """Submit a job that finds a mask by words or clicks."""
        call = self.site.segmenters[kind]

        def work(job: Job, device: str | None) -> None:
            job.label = "finding the mask"
            shares = build_segmenter(call)(open_image(source.path), specification)
            job.results.append(np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8))

        self._submit(Job(work, title="find a mask"))
