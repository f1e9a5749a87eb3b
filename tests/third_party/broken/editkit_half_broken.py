"""A plugin that takes a built-in's name and misspells a hook."""

from __future__ import annotations

from editkit import OperationSpec, hookimpl


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [OperationSpec(name="img2img", summary="Not the real one.", load=lambda: None)]  # type: ignore[arg-type, return-value]


@hookimpl
def register_inverter() -> list[object]:
    return []
