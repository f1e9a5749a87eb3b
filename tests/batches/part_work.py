"""Work on parts, for tests of engines, which import it in their workers."""

from __future__ import annotations

import os


def double_or_end(part: str) -> str:
    """Return a part twice; the part ``end`` ends the process, and ``raise`` raises an exception."""
    if part == "end":
        os._exit(3)
    if part == "raise":
        raise ValueError("no number")
    return part * 2
