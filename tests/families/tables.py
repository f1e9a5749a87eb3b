"""All families by name."""

from __future__ import annotations

from .text_to_image import TEXT_TO_IMAGE

FAMILIES = {**TEXT_TO_IMAGE}
