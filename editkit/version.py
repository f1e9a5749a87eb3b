"""Version of editkit, read by packaging and by reports."""

from __future__ import annotations

__version__ = "0.1.0"
