"""What shows through where a picture is transparent."""

from __future__ import annotations

from PIL import Image


def on_white(picture: Image.Image) -> Image.Image:
    """Lay a picture of any mode on white, as models and annotators see it; returns a picture of mode RGB."""
    if picture.has_transparency_data:
        ground = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(ground, picture.convert("RGBA"))
    return picture.convert("RGB")
