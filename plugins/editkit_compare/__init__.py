"""``compare``: one edit by every inverter, side by side."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from editkit import CommandSpec, Params, RegisteredName, by_name, hookimpl


class CompareParams(Params):
    image: str = Field(description="Picture to edit.", json_schema_extra={"argument": True})
    source: str = Field(description="Prompt that says what the picture shows.")
    target: str = Field(description="Prompt that says what it should show.")
    inverter: Annotated[tuple[str, ...], Field(strict=False)] = RegisteredName(
        "inverters", (), "Inverter by name, with options after a colon; all that serve the model when not given."
    )
    truth: str | None = Field(None, description="What the edit should give, where that is known: a picture's file.")
    steps: int = Field(25, ge=1, le=1000, description="Network steps of a whole path, from noise to picture.")
    guidance: float = Field(1.0, ge=0.0, le=100.0, description="Guidance scale; 1 runs without the empty prompt.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of the noise, where an inverter draws any.")
    model: str | None = Field(None, description="A registered name, a diffusers folder, or a hub id org/name.")
    device: str | None = Field(None, description="Such as cpu or cuda:1; cuda where there is one when not given.")
    dtype: str | None = Field(None, description="float32, float16, bfloat16 or float64; float32 when not given.")
    sheet: str | None = Field(None, description="Picture of all results to write, labelled.")


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="compare",
            summary="Edit one picture with several inverters, and say what each costs and how good it is.",
            load=by_name("editkit_compare.command:compare"),
            params=CompareParams,
        )
    ]
