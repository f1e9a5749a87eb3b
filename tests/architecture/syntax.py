"""Syntax trees of the files of this repository, parsed once for all tests of a process."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any


@functools.cache
def nodes(file: Path) -> tuple[Any, ...]:
    """Return all nodes of a file's tree, the module first."""
    return tuple(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
