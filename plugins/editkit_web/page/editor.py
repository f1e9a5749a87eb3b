"""The page: image and brush, form, result, history, batch, and the line at the bottom that shows the work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
from nicegui import events, ui

from editkit import EditkitError, InvalidParameter

from ..batch import BatchOutcome
from ..edits import Call, Entry, Source, resolve_file, variation_seeds
from ..form import form_fields, has_mask, needs_mask, read_values
from ..jobs import Job
from ..site import Site
from ..tab import Tab
from .batch_panel import BatchPanel
from .components import ACCEPT, PageEvents, notify, report_failures
from .fields import Form
from .mask_panel import MaskPanel
from .result_panel import ResultPanel

_PRIMARY = "#2b6cb0"
"""A blue on which white text is read well, and that on white."""
STYLE_ROUTE = "/editkit/page.css"
_UPLOAD_BUTTON = """
<q-btn class="ek-full" flat no-caps icon="upload" label="Upload an image" :loading="props.isUploading"
  @click="props.pickFiles" />
<div class="hidden"><q-uploader-add-trigger /></div>
"""
_SUFFIXES = {".png": "PNG", ".tiff": "TIFF", ".webp": "WebP", ".jpg": "JPEG", ".avif": "AVIF"}
_VARIATIONS = 4
_EVERY = 0.15
"""Seconds between two looks at a job."""


async def show_editor(site: Site) -> None:
    """Build the page, and give it the state of its tab when the browser has named it."""
    editor = Editor(site)
    editor.build()
    client = ui.context.client
    await client.connected()
    tab = site.tab_of(str(client.tab_id), editor.tab)
    tab.page = editor
    client.on_delete(editor.leave)
    if tab is not editor.tab:
        editor.tab = tab
        editor.show_all()


class Editor:
    """One page in a browser."""

    def __init__(self, site: Site) -> None:
        self.site, self.tab = site, Tab()
        self.tab.operation = "img2img" if "img2img" in site.operations else next(iter(site.operations))
        self.mask = MaskPanel(site, lambda: self.tab, self.submit)
        self.result = ResultPanel(site, lambda: self.tab, self.restore)
        self.batch = BatchPanel(site, self.read_call, self.submit)

    # Layout

    def build(self) -> None:
        """Add all elements to the page."""
        ui.add_head_html(f'<link rel="stylesheet" href="{STYLE_ROUTE}">')
        # Of a fault of the page; the server logs it.
        ui.on_exception(lambda error: notify(f"{type(error).__name__}: {error}", "negative"))
        ui.colors(primary=_PRIMARY)
        self.dark = ui.dark_mode(None)
        with ui.header().classes("items-center q-py-xs"):
            ui.label("editkit").classes("text-h6").props("role=heading aria-level=1")
            with ui.tabs().props("dense no-caps inline-label") as tabs:
                edit_tab, batch_tab = ui.tab("Edit"), ui.tab("Batch")
            ui.space()
            dark = ui.button(icon="dark_mode").props("flat round dense color=white")
            dark.props["aria-label"] = dark.props["title"] = "Dark or light"
            # Until it is chosen, the system decides, which the browser knows.
            dark.on("click", self._set_dark, js_handler="() => emit(!Quasar.Dark.isActive)")
        panels = ui.tab_panels(tabs, value=edit_tab, animated=False, keep_alive=True)
        with panels.classes("ek-full bg-transparent ek-panels"):
            with ui.tab_panel(edit_tab).classes("q-pa-none"), ui.element("div").classes("ek-columns"):
                with ui.element("div").classes("ek-column"):
                    self._build_source()
                    self.mask.build()
                with ui.element("div").classes("ek-column"):
                    self._build_call()
                with ui.element("div").classes("ek-column"):
                    self.result.build()
            with ui.tab_panel(batch_tab).classes("q-pa-none"):
                self.batch.build()
        self.result.build_history()
        self._build_footer()
        PageEvents(self.upload, self.site.identity, self.stop, self._report_restart)
        ui.keyboard(on_key=self._press)
        ui.keyboard(on_key=self._press_anywhere, ignore=[])
        self.timer = ui.timer(_EVERY, self._look)
        self.show_all()

    def _build_source(self) -> None:
        self.upload = report_failures(
            ui.upload(
                on_upload=self._take_upload,
                multiple=True,
                max_files=1,
                auto_upload=True,
                max_file_size=self.site.most_bytes,
            )
            .props(f'accept="{ACCEPT}" flat bordered')
            .classes("ek-full ek-upload")
        )
        # Quasar's own button has no name for a screen reader.
        self.upload.add_slot("header", _UPLOAD_BUTTON)
        self.upload.on("rejected", self._refuse_upload, js_handler="(files) => emit(files[0].failedPropValidation)")
        with ui.element("div").classes("ek-row"):
            names = self.site.folder.proposals()
            self.path = ui.input("Image of the folder", autocomplete=names).classes("ek-grow").props("dense")
            self.path.on("keydown.enter", self._open_path)
            ui.button("Open", on_click=self._open_path).props("flat no-caps")

    def _build_call(self) -> None:
        operations = {name: f"{name}: {spec.summary}" for name, spec in self.site.operations.items()}
        self.operation = ui.select(operations, label="Operation", on_change=self._choose_operation)
        self.operation.classes("ek-full").props("dense options-dense")
        models = {"": "the operation's own", **{name: name for name in self.site.models}}
        self.model = ui.select(models, label="Model", value="", on_change=self._choose_model).classes("ek-full")
        self.model.props("dense")
        self.form_box = ui.element("div").classes("ek-column")
        self.suffix = ui.select(_SUFFIXES, label="File of the result", value=".png", on_change=self._choose_suffix)
        self.suffix.classes("ek-full").props("dense")

    def _build_footer(self) -> None:
        with ui.footer().classes("ek-footer"):
            self.edit_button = ui.button("Edit", icon="brush", on_click=self.edit)
            self.edit_button.props("no-caps color=white text-color=primary title=Ctrl+Enter")
            self.vary_button = ui.button(f"{_VARIATIONS} variations", on_click=self.vary)
            self.vary_button.props("no-caps outline color=white")
            self.stop_button = ui.button("Stop", icon="stop", on_click=self.stop)
            self.stop_button.props("no-caps color=negative title=Escape")
            self.bar = ui.linear_progress(0, show_value=False, color="white").props(
                "instant-feedback aria-label=Progress"
            )
            self.status = ui.label().classes("ek-status").props("role=status aria-label=Work")

    # State

    def show_all(self) -> None:
        """Show the state of the tab."""
        self.operation.set_value(self.tab.operation)
        self.model.set_value(self.tab.model or "")
        self.suffix.set_value(self.tab.suffix)
        self.dark.value = self.tab.is_dark
        self._show_form()
        self.mask.show()
        self.result.show()
        self._look()

    def restore(self, entry: Entry) -> None:
        """Refill image, mask and form from an entry of the history, and show its result."""
        self.tab.restore(entry)
        self.show_all()

    def leave(self) -> None:
        """Stop the work of a tab that was closed; one that was reloaded has another page by now."""
        if self.tab.job is not None and self.tab.page is self:
            self.site.workers.stop(self.tab.job)

    def _show_form(self) -> None:
        spec = self.site.operations[self.tab.operation]
        self.form_box.clear()
        with self.form_box:
            entries = self.tab.entries.get(spec.name, {})
            self.form = Form(form_fields(spec.params), entries, self._keep_upload, self._keep_entries)
        self.mask.set_used(has_mask(spec.params))
        self.vary_button.set_visibility("seed" in spec.params.model_fields)

    def _keep_upload(self, name: str, data: bytes) -> str:
        return self.site.store.publish(self.site.store.keep(name, data))

    def _keep_entries(self) -> None:
        self.tab.entries[self.tab.operation] = self.form.entries

    def _choose_operation(self, event: events.ValueChangeEventArguments[Any]) -> None:
        if event.value != self.tab.operation:
            self._keep_entries()
            self.tab.operation = event.value
            self._show_form()

    def _choose_model(self, event: events.ValueChangeEventArguments[Any]) -> None:
        self.tab.model = event.value or None

    def _choose_suffix(self, event: events.ValueChangeEventArguments[Any]) -> None:
        self.tab.suffix = event.value

    def _set_dark(self, event: events.GenericEventArguments) -> None:
        self.dark.value = self.tab.is_dark = bool(event.args)

    def _report_restart(self) -> None:
        notify("The server was started again: the image, the mask and the history of this tab are gone", "warning")

    # Images

    async def _take_upload(self, event: events.UploadEventArguments) -> None:
        try:
            await self._open(self.site.store.keep(event.file.name, await event.file.read()))
        finally:
            self.upload.reset()

    def _refuse_upload(self, event: events.GenericEventArguments) -> None:
        if event.args == "max-files":
            notify("One image is edited at a time: the others are left out. The tab Batch edits a folder", "warning")
        else:
            notify(f"The file is too large: at most {self.site.most_bytes // 2**20} MiB are allowed", "negative")

    async def _open_path(self) -> None:
        try:
            await self._open(self.site.folder.resolve(self.path.value.strip()))
        except InvalidParameter as error:
            self.path.error = str(error)

    async def _open(self, path: Path) -> None:
        try:
            self.tab.open(await asyncio.to_thread(Source.open, path, self.site.store))
        except EditkitError as error:
            notify(self.site.store.without_folders(str(error)), "negative")
            return
        self.path.error = None
        self.mask.show()
        self.site.warm_up()

    # Work

    def read_call(self) -> Call | None:
        """Return the call that the page describes; None after its problems were shown at their fields."""
        tab, spec = self.tab, self.site.operations[self.tab.operation]
        entries = tab.entries[spec.name] = self.form.entries
        values, problems = read_values(spec, entries)
        for name in self._file_names(spec):
            if name in values:
                try:
                    values[name] = self._files(values[name])
                except EditkitError as error:
                    problems[name] = str(error)
        self.form.show_problems(problems)
        source = tab.source if spec.takes == "image" else None
        drawing = tab.drawing if has_mask(spec.params) else type(tab.drawing)()
        return None if problems else Call(spec.name, tab.model, source, drawing, entries, values, tab.suffix)

    def edit(self) -> None:
        """Edit once."""
        self._start(1)

    def vary(self) -> None:
        """Edit with several seeds."""
        self._start(_VARIATIONS)

    def stop(self) -> None:
        """Stop the work of this tab."""
        if self.tab.is_busy and self.tab.job is not None:
            self.site.workers.stop(self.tab.job)
            self._look()

    def submit(self, job: Job) -> None:
        """Hand a job to the workers, if none of this tab is under way."""
        if self.tab.is_busy:
            notify("This tab has an edit under way: stop it, or wait for its end", "warning")
            return
        try:
            self.site.workers.submit(job)
        except EditkitError as error:
            notify(str(error), "negative")
            return
        self.tab.job = job
        self._look()

    def _start(self, count: int) -> None:
        spec, call = self.site.operations[self.tab.operation], self.read_call()
        if call is None:
            return
        problem = None
        if spec.takes == "image" and call.source is None:
            problem = "Open an image first"
        elif needs_mask(spec.params) and not call.has_mask:
            problem = f"{spec.name} needs a mask: paint one on the image"
        if problem:
            notify(problem, "negative")
            return
        seeds: list[int | None] = [*variation_seeds(call.values, count)] if count > 1 else [None]
        self.submit(self.site.job(call, seeds))

    def _file_names(self, spec: Any) -> list[str]:
        return [field.name for field in form_fields(spec.params) if field.kind in ("file", "files")]

    def _files(self, value: Any) -> Any:
        if isinstance(value, str):
            return resolve_file(value, self.site.folder, self.site.store)
        return tuple(resolve_file(one, self.site.folder, self.site.store) for one in value)

    def _look(self) -> None:
        """Show the progress of the job, and take its results, unless another page does."""
        if self.tab.page not in (None, self):
            return
        job = self.tab.job
        busy = self.tab.is_busy
        while job is not None and job.results:
            self._take(job.results.popleft())
        preview = None if job is None or job.is_over else job.take_preview()
        if preview is not None:
            self.result.show_preview(preview)
        if job is not None and job.is_over and self.result.is_preview:
            self.result.show()
        self.edit_button.set_enabled(not busy)
        self.vary_button.set_enabled(not busy)
        self.stop_button.set_enabled(busy)
        self.bar.set_value(0 if job is None or not job.total else job.step / job.total)
        self.status.set_text("" if job is None else self._status(job))

    def _status(self, job: Job) -> str:
        if job.state == "waiting":
            place = self.site.workers.place(job)
            return f"Waiting: place {place} in the queue" if place else "Waiting"
        if job.state == "failed":
            return f"Failed: {self.site.store.without_folders(job.error)}"
        if job.state != "running":
            return job.state.capitalize()
        if job.is_stopping:
            return "Stopping"
        return f"{job.label} {job.step}/{job.total}" if job.total else (job.label or "Loading the model")

    def _take(self, result: Any) -> None:
        if isinstance(result, Entry):
            self.tab.add(result, self.site.store)
            self.result.show()
            self.mask.show_mask()
        elif isinstance(result, BatchOutcome):
            self.batch.take(result)
        elif isinstance(result, np.ndarray):
            self.mask.take_base(result)

    # Keys

    def _press(self, event: events.KeyEventArguments) -> None:
        """Keys that act unless a field has the focus."""
        if not event.action.keydown or event.action.repeat:
            return
        key, held = event.key.name.lower(), event.modifiers
        if key in ("y", "z") and (held.ctrl or held.meta):
            (self.mask.redo if key == "y" or held.shift else self.mask.undo)()
        elif held.ctrl or held.meta or held.alt:
            return
        elif key in ("[", "]"):
            self.mask.change_size(0.8 if key == "[" else 1.25)
        elif key in ("b", "e", "h"):
            self.mask.mode.set_value({"b": "paint", "e": "erase", "h": "view"}[key])
        elif key == "i":
            self.mask.invert()

    def _press_anywhere(self, event: events.KeyEventArguments) -> None:
        if not event.action.keydown or event.action.repeat:
            return
        if event.key.enter and (event.modifiers.ctrl or event.modifiers.meta) and not self.tab.is_busy:
            self.edit()
