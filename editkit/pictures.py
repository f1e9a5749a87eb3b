"""Pictures among the parameters of an operation, opened as what they are declared to be."""

from __future__ import annotations

from typing import Any

from PIL import Image

from .images import open_mask
from .maps import map_image, read_map


def open_picture(kind: str, given: Any, size: tuple[int, int], *, argument: str) -> Image.Image:
    """Open a picture of a kind of :func:`editkit.Picture`, in mode L and in the ``size`` (width, height) of the edited.

    Raises BadImage and InvalidParameter, naming ``argument``, as open_mask and read_map do.
    """
    if kind == "mask":
        return open_mask(given, size, argument=argument)
    return map_image(read_map(given, size, argument=argument))
