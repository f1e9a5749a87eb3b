"""Elements of the page with code of their own in the browser."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any, Literal

from nicegui import events, ui

ACCEPT = "image/*,*"
"""Files to choose from: images are proposed, and any other is judged by its content on the server."""

Handler = Callable[[dict[str, Any]], None]


class Brush(ui.element, component="brush.js"):
    """Image on which a pointer draws strokes; the mask over it comes from the server."""

    def __init__(self, on_stroke: Handler, on_point: Handler) -> None:
        super().__init__()
        self.on("stroke", lambda event: on_stroke(event.args))
        self.on("point", lambda event: on_point(event.args))

    def show(self, view: str, size: tuple[int, int]) -> None:
        """Show an image of ``size`` (width, height) in pixels."""
        self.props["src"], self.props["width"], self.props["height"] = view, *size
        self.update()

    def show_mask(self, view: str) -> None:
        """Show a mask over the image; none for an empty address."""
        self.props["overlay"] = view
        self.update()

    def set_brush(self, size: float, softness: float, mode: str) -> None:
        """Set the brush: diameter in pixels of the image, soft share of its radius, paint, erase, points or view."""
        self.props["size"], self.props["softness"], self.props["mode"] = size, softness, mode
        self.update()


class Compare(ui.element, component="compare.js"):
    """Result whose source is seen on the left of a line."""

    def show(self, before: str, after: str, size: tuple[int, int]) -> None:
        """Show two images of one shape; without ``before`` the result alone."""
        self.props["before"], self.props["after"] = before, after
        self.props["width"], self.props["height"] = size
        self.update()


class PageEvents(ui.element, component="page_events.js"):
    """Keys of the whole page, and files that are dropped or pasted anywhere, which it hands to an upload element.

    ``server`` names the run of the server: a page that was shown by another one calls ``on_restart``.
    """

    def __init__(
        self, uploader: ui.upload, server: str, on_stop: Callable[[], None], on_restart: Callable[[], None]
    ) -> None:
        super().__init__()
        self.props["uploader"], self.props["server"] = uploader.id, server
        self.on("stop", on_stop)
        self.on("restarted", on_restart)


def hidden_upload(on_upload: Callable[[events.UploadEventArguments], Any]) -> ui.upload:
    """Add an upload without a look of its own, whose ``pickFiles`` a button calls."""
    upload = ui.upload(on_upload=on_upload, auto_upload=True).classes("hidden")
    return report_failures(upload.props(f'accept="{ACCEPT}"'))


def report_failures(upload: ui.upload) -> ui.upload:
    """Say it when the browser cannot send a file, and return the element."""
    return upload.on(
        "failed", lambda: notify("The file cannot be sent: it is too large, or the server is gone", "negative")
    )


def code(text: str) -> ui.html:
    """Add a text as it is, in a font of one width; NiceGUI's own element reads it as Markdown."""
    return ui.html(html.escape(text), sanitize=False, tag="pre").classes("ek-code ek-full")


def notify(text: str, kind: Literal["warning", "negative", "positive"]) -> None:
    """Show a message for some seconds, above everything else."""
    ui.notify(text, type=kind, multi_line=True, position="top")
