"""Packages that are installed with an extra of editkit."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
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


def read_parquet(data: bytes, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a Parquet file, without threads of Arrow: one that ends with the process may abort it.

    ``read_table`` reads data sets, whose files have threads whatever its arguments say.
    """
    pa, parquet = require_extra("pyarrow", "batch"), require_extra("pyarrow.parquet", "batch")
    names = None if columns is None else list(columns)
    table = parquet.ParquetFile(pa.BufferReader(data)).read(columns=names, use_threads=False)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
