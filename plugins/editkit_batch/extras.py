"""Packages that are installed with an extra of editkit."""

from __future__ import annotations

import importlib
from typing import Any

from editkit import EditkitError


def require_extra(module: str, extra: str) -> Any:
    """Import a module; raises EditkitError with the extra that installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise EditkitError(
            f"the package {module!r} is not installed or cannot be imported: pip install 'editkit[{extra}]'"
        ) from error
