"""What other libraries raise, told in one line."""

from __future__ import annotations


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
