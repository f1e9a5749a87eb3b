"""``compare``: one edit by every inverter, side by side."""

from __future__ import annotations

from pydantic import Field

from editkit import CommandSpec, ModelParams, NameList, OutputParam, RegisteredName, by_name, hookimpl


class CompareParams(ModelParams):
    image: str = Field(description="Image to edit.", json_schema_extra={"argument": True})
    source: str = Field(description="Prompt that describes the image.")
    target: str = Field(description="Prompt that describes the result.")
    inverter: NameList = RegisteredName(
        "inverters", (), "Inverter by name, with options after a colon; all that support the model if not given."
    )
    truth: str | None = Field(None, description="Image file of the ideal result, to measure the edits against.")
    steps: int = Field(25, ge=1, le=1000, description="Network steps of a whole path, from noise to image.")
    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 evaluates only the prompt.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the noise of stochastic inverters.")
    sheet: str | None = OutputParam("Image file to write, with all results side by side and labelled.")


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="compare",
            summary="Edit one image with several inverters, and report the cost and quality of each.",
            usage='red-apple.png --source "noto red apple" --target "noto green apple" --inverter edict',
            load=by_name("editkit_compare.command:compare"),
            params=CompareParams,
        )
    ]
