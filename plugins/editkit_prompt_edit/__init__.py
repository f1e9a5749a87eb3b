"""``prompt-edit``: invert a picture under one prompt and draw it again under another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from editkit import OperationSpec, Registered, RepromptParams, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Session


class PromptEditParams(RepromptParams):
    inverter: str = Registered("inverters", "pinned", "Inverter by name, with options after a colon.")


def load() -> Callable[[Session, PromptEditParams], Edit]:
    from .operation import prompt_edit

    return prompt_edit


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="prompt-edit",
            summary="Invert a picture under a source prompt and draw it again under a target prompt.",
            load=load,
            params=PromptEditParams,
            needs=frozenset({"text"}),
            source="https://arxiv.org/abs/2310.01506",
        )
    ]
