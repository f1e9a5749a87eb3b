"""Images and models as notebooks display them."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from .images.contact_sheet import draw_sheet
from .images.sources import format_size

TILE = 320
"""Longest side in pixels of an image in a notebook."""
_MOST = 8
"""Images after an edit in one display; of more, this many are shown, evenly spread."""


def mime_bundle(
    text: str,
    before: Sequence[tuple[str, Image.Image]],
    after: Sequence[tuple[str, Image.Image]] = (),
    *,
    columns: int | None = None,
) -> dict[str, str]:
    """Return the display of labelled images before and after an edit, and of ``text`` for front ends without images.

    Each image is fitted to a square of :data:`TILE` pixels, and its label says so if it is smaller then.
    """
    count = min(len(after), _MOST)
    shown = [after[round(place * (len(after) - 1) / max(1, count - 1))] for place in range(count)]
    sheet = draw_sheet([_fit(*one) for one in (*before, *shown)], columns=columns, tile=TILE, lines=3)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return {"image/png": base64.b64encode(data.getvalue()).decode("ascii"), "text/plain": text}


def _fit(label: str, image: Image.Image) -> tuple[str, Image.Image]:
    """Return a large image as it is shown, and its label with its size; others are unchanged."""
    longest = max(image.size)
    if longest <= TILE:
        return label, image
    width, height = (max(1, round(side * TILE / longest)) for side in image.size)
    # The gap skips most pixels of large images, whose display would take seconds.
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    return f"{label}; {format_size(image.size)}, shown smaller", small


class ModelDisplay:
    """Base of backends that a notebook shows as a table: name, family, device, capabilities and usual settings."""

    def __repr__(self) -> str:
        facts = self._facts()
        shown = [facts[name] for name in ("native size", "dtype", "device") if name in facts]
        return f"<{facts['family']} {facts['model']!r}: {', '.join(shown)}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the display of a notebook: one line, and a table in HTML."""
        rows = "".join(f"<tr><th>{name}</th><td>{html.escape(text)}</td></tr>" for name, text in self._facts().items())
        return {"text/plain": repr(self), "text/html": f"<table>{rows}</table>"}

    def _facts(self) -> dict[str, str]:
        """Return the facts of a model that it has, as texts by their names."""
        native, usual = getattr(self, "native_size", None), getattr(self, "usual", {})
        facts = {
            "model": str(getattr(self, "name", "")),
            "family": type(self).__name__,
            "device": str(getattr(self, "device", "")),
            "dtype": str(getattr(self, "dtype", "")).removeprefix("torch."),
            "native size": "" if native is None else f"{native} pixels",
            "prediction": str(getattr(self, "prediction", "")),
            "provides": ", ".join(sorted(getattr(self, "provides", ()))),
            "adapters": ", ".join(getattr(self, "adapters", ())),
            "usual settings": _settings(usual),
            "warnings": "; ".join(getattr(self, "warnings", ())),
            "identity": str(getattr(self, "identity", "")),
        }
        return {name: text for name, text in facts.items() if text or name == "model"}


def _settings(usual: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in usual.items())
