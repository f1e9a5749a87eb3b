"""The result in view, its report, the history, and the texts that repeat an edit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import events, ui
from PIL import Image

from editkit import EditkitError

from ..commands import Copies
from ..edits import Entry
from ..site import Site
from ..tab import Tab
from .components import Compare, code, notify

_FIGURES = {
    "operation": "Operation",
    "model": "Model",
    "device": "Device",
    "seed": "Seed",
    "steps": "Steps",
    "network_calls": "Network calls",
    "seconds": "Seconds",
    "output_size": "Size",
    "mask_share": "Marked share",
    "gated_share": "Share left out as faint",
    "untouched_max_diff": "Largest difference outside the mask",
    "output": "File",
}


_COPY = """
const area = document.createElement("textarea");
area.value = text;
event.currentTarget.parentElement.append(area);
area.select();
const copied = document.execCommand("copy");
area.remove();
emit(copied);
"""
"""Copies a text. navigator.clipboard exists at https addresses and on the server's own computer alone."""


class ResultPanel:
    """The result in view, and the history of the tab."""

    def __init__(self, site: Site, tab: Callable[[], Tab], restore: Callable[[Entry], None]) -> None:
        self.site, self._tab, self._restore = site, tab, restore
        self._preview = ""
        """Address of a view of an edit under way."""

    def build(self) -> None:
        """Add the elements to the page."""
        self.compare = Compare()
        with self.compare:
            ui.label("The result appears here.")
        with ui.element("div").classes("ek-row") as self.actions:
            self.download = ui.link("Download", target="#").classes("ek-download").props("download")
            self._button("terminal", "Copy as command", self._copy_command)
            self._button("code", "Copy as Python", self._copy_python)
        self.warnings = ui.element("div").classes("ek-column").props("role=status aria-label=Warnings")
        self.report = ui.element("div").classes("ek-column")
        self.actions.set_visibility(False)

    def build_history(self) -> None:
        """Add the history to the page."""
        self.history = ui.element("div").classes("ek-history").props("role=group aria-label=History")

    def show(self) -> None:
        """Show the entry in view, and the history."""
        entry = self._tab().shown
        self._forget_preview()
        self.actions.set_visibility(entry is not None)
        if entry is None:
            self.compare.show("", "", (1, 1))
        if entry is not None:
            size = entry.report["output_size"]
            before = entry.call.source.view if entry.call.source and _same_shape(entry.call.source.size, size) else ""
            self.compare.show(before, entry.view, size)
            self.download.props["href"] = f"{entry.address}?download=true"
            self._show_report(entry.report)
        self.history.clear()
        with self.history:
            for number, one in enumerate(self._tab().history, 1):
                self._thumbnail(number, one)

    @property
    def is_preview(self) -> bool:
        """Whether an edit under way is in view."""
        return bool(self._preview)

    def show_preview(self, image: Image.Image) -> None:
        """Show an edit under way."""
        self._forget_preview()
        self._preview = self.site.store.show(image)
        self.compare.show("", self._preview, image.size)

    def _forget_preview(self) -> None:
        if self._preview:
            self.site.store.forget(self._preview)
        self._preview = ""

    def _thumbnail(self, number: int, entry: Entry) -> None:
        text = f"{number}: {entry.call.operation}, seed {entry.report['seed']}"
        with ui.element("button").on("click", lambda: self._restore(entry)) as button:
            ui.element("img").props(f'src="{entry.thumbnail}" alt=""')
        button.props["aria-label"] = f"History {text}"
        button.classes("ek-shown" if entry is self._tab().shown else "")
        button.props["title"] = text

    def _show_report(self, report: Mapping[str, Any]) -> None:
        self.warnings.clear()
        with self.warnings:
            for warning in report["warnings"]:
                with ui.element("div").classes("ek-warning"):
                    ui.icon("warning", color="warning").props("aria-hidden=true")
                    ui.label(warning)
        self.report.clear()
        with self.report:
            with ui.element("div").classes("ek-figures"):
                for name, label in _FIGURES.items():
                    if report.get(name) is not None:
                        ui.label(label)
                        ui.label(_figure(name, report[name]))
            with ui.expansion("Whole report").classes("ek-full").props("dense"):
                code(json.dumps(report, indent=1))

    def _button(self, icon: str, text: str, action: Callable[[], Any]) -> None:
        ui.button(text, icon=icon, on_click=action).props("flat dense no-caps")

    async def _copy_command(self) -> None:
        await self._show_text("Command", Copies.command)

    async def _copy_python(self) -> None:
        await self._show_text("Python", Copies.python)

    async def _show_text(self, title: str, text_of: Callable[[Copies], str]) -> None:
        """Show a text to copy, after its mask and its uploads were saved in the folder."""
        entry = self._tab().shown
        if entry is None:
            return
        device = self.site.devices[0] if self.site.devices else None
        try:
            text = await asyncio.to_thread(
                lambda: text_of(Copies(entry, self.site.folder, device=device, dtype=self.site.dtype))
            )
        except EditkitError as error:
            notify(str(error), "negative")
            return
        with ui.dialog(value=True).props(f'aria-label="{title}"') as dialog, ui.card().classes("ek-card"):
            ui.label(title).classes("text-h6")
            code(text).mark("copy")
            with ui.element("div").classes("ek-row"):
                copy = ui.button("Copy", icon="content_copy").props("no-caps")
                copy.on("click", _report_copy, js_handler=f"(event) => {{ const text = {json.dumps(text)}; {_COPY} }}")
                ui.button("Close", on_click=dialog.close).props("flat no-caps")


def _report_copy(event: events.GenericEventArguments) -> None:
    notify(*(("Copied", "positive") if event.args else ("Select the text and copy it with Ctrl+C", "warning")))


def _same_shape(first: Any, second: Any) -> bool:
    """Return whether two sizes (width, height) are one image at two scales, up to a pixel."""
    return bool(abs(first[0] * second[1] - first[1] * second[0]) <= max(*first, *second))


def _figure(name: str, value: Any) -> str:
    if name == "output_size":
        return f"{value[0]} x {value[1]}"
    if name in ("mask_share", "gated_share"):
        return f"{value:.1%}"
    return f"{value:g}" if isinstance(value, float) else str(value)
