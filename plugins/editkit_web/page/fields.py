"""Fields of a form as elements of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import events, ui

from ..form import FormField
from .components import hidden_upload

Upload = Callable[[str, bytes], str]
"""Function of a file's name and bytes that keeps them and returns the address, which an entry names."""


class Form:
    """Elements for the fields of an operation; what is not usual stands under "More"."""

    def __init__(
        self, fields: list[FormField], entries: Mapping[str, Any], upload: Upload, on_change: Callable[[], None]
    ) -> None:
        self.elements: dict[str, Any] = {}
        self._on_change = on_change
        for field in (one for one in fields if one.usual):
            self._add(field, entries, upload)
        others = [one for one in fields if not one.usual]
        if others:
            with ui.expansion("More").classes("ek-full").props('dense header-class="q-px-none"') as self.more:
                for field in others:
                    self._add(field, entries, upload)
            self.more.set_value(any(entries.get(one.name, one.default) != one.default for one in others))
        self.problem = ui.label().classes("ek-error").props("role=alert")

    @property
    def entries(self) -> dict[str, Any]:
        """Entries by field."""
        return {name: element.value for name, element in self.elements.items()}

    def show_problems(self, problems: Mapping[str, str]) -> None:
        """Show problems at their fields, and those of several fields below the form."""
        for name, element in self.elements.items():
            if hasattr(element, "error"):
                element.error = problems.get(name)
        others = [text for name, text in problems.items() if not hasattr(self.elements.get(name), "error")]
        self.problem.set_text("; ".join(others))

    def _add(self, field: FormField, entries: Mapping[str, Any], upload: Upload) -> None:
        value = entries.get(field.name, field.default)
        element = _element(field, value, upload).classes("ek-full")
        element.on_value_change(lambda: self._take_change(field.name))
        if field.kind == "switch":
            element.props["title"] = field.help
        else:
            element.props["hint"] = field.help
            element.props("hide-hint hide-bottom-space dense")
        self.elements[field.name] = element

    def _take_change(self, name: str) -> None:
        element = self.elements.get(name)
        if element is not None and hasattr(element, "error"):
            element.error = None
        self._on_change()


def _element(field: FormField, value: Any, upload: Upload) -> Any:
    """Return the element of a field."""
    label = f"{field.label}{' *' if field.required else ''}"
    match field.kind:
        case "switch":
            element: Any = ui.switch(label, value=bool(value))
        case "integer" | "number":
            element = _number(field, label, value)
        case "choice":
            element = _choice(field, label, value)
        case "names":
            options = [*field.choices, *(one for one in value or [] if one not in field.choices)]
            several: dict[str, Any] = {"multiple": True, "new_value_mode": "add-unique"}
            element = ui.select(options, label=label, value=list(value or []), **several)
        case "file" | "files":
            element = _file(label, value, upload, several=field.kind == "files")
        case "text":
            element = ui.textarea(label, value=value or "").props("autogrow rows=1")
        case _:
            element = ui.input(label, value=value if isinstance(value, str) else "")
    return element


def _number(field: FormField, label: str, value: Any) -> Any:
    """Return a field of a number.

    The element would replace a value beyond bounds by the nearest, and the browser refuse one between steps: both
    without a word. The declaration checks them, with its reason.
    """
    number = ui.number(label, value=value, suffix=field.unit or None)
    return number.props("step=any" if field.kind == "number" else "step=1")


def _choice(field: FormField, label: str, value: Any) -> Any:
    """Return a selection; a registered name may be written with options after a colon."""
    options = [*field.choices, *([value] if value not in (None, *field.choices) else [])]
    if all(isinstance(one, str) for one in field.choices) and field.is_registered:
        return ui.select(options, label=label, value=value, new_value_mode="add-unique", clearable=True)
    return ui.select(options, label=label, value=value, clearable=field.default is None)


def _file(label: str, value: Any, upload: Upload, *, several: bool) -> Any:
    """Return a field for a path within the folder, with a button for an upload."""
    element: Any = ui.input_chips(label, value=list(value or [])) if several else ui.input(label, value=value or "")

    async def take(event: events.UploadEventArguments) -> None:
        address = upload(event.file.name, await event.file.read())
        element.set_value([*element.value, address] if several else address)

    hidden = hidden_upload(take)
    with element.add_slot("append"):
        button = ui.button(icon="upload", on_click=lambda: hidden.run_method("pickFiles"))
        button.props('flat round dense title="Upload" aria-label="Upload"')
    return element
