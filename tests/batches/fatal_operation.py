"""Plugin for tests: an operation that ends its process, as a fault in native code or the killer of memory does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from editkit import EditParams, OperationSpec, hookimpl


class FatalParams(EditParams):
    prompt: str


def end_process(session: Any, params: FatalParams) -> Any:
    os._exit(9)


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="fatal", summary="End the process.", load=lambda: end_process, params=FatalParams, needs=frozenset()
        )
    ]


def install(folder: Path) -> Path:
    """Write the plugin as an installed distribution and return the folder for PYTHONPATH."""
    information = folder / "editkit_fatal-1.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: editkit-fatal\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[editkit]\nfatal = fatal_operation\n")
    (folder / "fatal_operation.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    return folder
