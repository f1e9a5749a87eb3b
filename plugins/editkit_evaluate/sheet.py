"""Contact sheet of the best and worst edits of each method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from editkit import draw_sheet, evaluation, on_white

TILE = 192
FADED = 0.75
"""Share of white over the part outside a mask."""

Row = tuple[str, evaluation.Case, Image.Image]
"""A label, a case, and the result of its edit."""


def edit_sheet(rows: Sequence[Row]) -> Image.Image:
    """Draw two edits in a row, each with its source, its result, and the true outcome or the region of the mask."""
    return draw_sheet([tile for row in rows for tile in _tiles(*row)], columns=6, tile=TILE)


def _tiles(label: str, case: evaluation.Case, result: Image.Image) -> Iterator[tuple[str, Image.Image]]:
    source = on_white(case.image)
    yield f"{case.name}: {case.source}", source
    yield label, result
    if case.truth is not None:
        yield f"true outcome: {case.target}", on_white(case.truth)
    else:
        yield case.target, source if case.mask is None else _fade(source, case.mask)


def _fade(source: Image.Image, mask: Image.Image) -> Image.Image:
    """Return an image that is pale outside a mask."""
    pixels = np.asarray(source, dtype=np.float64)
    pale = (1 - FADED) * pixels + FADED * 255
    return Image.fromarray(np.where(np.asarray(mask)[..., None] > 0, pixels, pale).round().astype(np.uint8))
