"""``prompt-edit``: invert an image under one prompt and sample it again under another."""

from __future__ import annotations

from editkit import OperationSpec, RegisteredName, RepromptParams, by_name, hookimpl


class PromptEditParams(RepromptParams):
    inverter: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="prompt-edit",
            summary="Invert an image under a source prompt and sample it again under a target prompt.",
            load=by_name("editkit_prompt_edit.operation:prompt_edit"),
            params=PromptEditParams,
            needs=frozenset({"text"}),
            source="https://arxiv.org/abs/2310.01506",
        )
    ]
