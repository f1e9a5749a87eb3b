"""``prompt-edit``: invert an image under one prompt and sample it again under another."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from editkit import Fraction, OperationSpec, Paper, RegisteredName, RepromptParams, by_name, hookimpl

_STRUCTURE = "plug-and-play:features=0.5"
_KEEP = {
    "structure": (_STRUCTURE,),
    "appearance": ("mutual-attention:start=0,end=0.7,beside=true",),
    "both": (_STRUCTURE, "mutual-attention:start=0.5,beside=true"),
}
"""Controls that keep more of the source, measured in docs/explanation/controls-of-attention.md."""


class PromptEditParams(RepromptParams):
    strength: Fraction = Field(
        1.0,
        description="Share of the path that is inverted and sampled, from its clean end; 0 keeps the image.",
    )
    inverter: str = RegisteredName("inverters", "pinned", "Inverter by name, with options after a colon.")
    keep: Literal["structure", "appearance", "both"] | None = Field(
        None,
        description="Part of the source to keep more of, at less effect of the edit: the structure (where things are), "
        "or the appearance (colours and surfaces).",
    )

    @property
    def controls(self) -> tuple[str, ...]:
        return (*super().controls, *(_KEEP[self.keep] if self.keep else ()))


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="prompt-edit",
            summary="Invert an image under a source prompt and sample it again under a target prompt.",
            usage='red-apple.png --source "noto red apple" --target "noto green apple" -o green.png',
            load=by_name("editkit_prompt_edit.operation:prompt_edit"),
            params=PromptEditParams,
            needs=frozenset({"text"}),
            edits_inversion=True,
            source="https://arxiv.org/abs/2310.01506",
            paper=Paper(
                "Direct Inversion: Boosting Diffusion-based Editing with 3 Lines of Code",
                "Xuan Ju and Ailing Zeng and Yuxuan Bian and Shaoteng Liu and Qiang Xu",
                2023,
            ),
        )
    ]
