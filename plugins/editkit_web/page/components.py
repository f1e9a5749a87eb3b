"""Elements of the page with code of their own in the browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from nicegui import ui

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


def notify(text: str, kind: Literal["warning", "negative"]) -> None:
    """Show a message for some seconds, above everything else."""
    ui.notify(text, type=kind, multi_line=True, position="top")
