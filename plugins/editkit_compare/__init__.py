"""``compare``: one edit by every inverter, side by side."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from editkit import CommandSpec, NameList, Params, RegisteredName, by_name, hookimpl


class CompareParams(Params):
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
    model: str | None = Field(None, description="A registered name, a diffusers folder, or a hub id org/name.")
    device: str | None = Field(None, description="Such as cpu or cuda:1; cuda if available when not given.")
    dtype: str | None = Field(None, description="float32, float16, bfloat16, float64 or auto; float32 when not given.")
    prediction: Literal["epsilon", "v_prediction", "sample", "flow"] | None = Field(
        None, description="Prediction of the network, if the files lack it or have another."
    )
    variant: str | None = Field(None, description="Variant of the weights, such as fp16.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    vae: str | None = Field(None, description="Folder or file of an autoencoder in place of the model's own.")
    transformer: str | None = Field(
        None, description="File or folder of a network (transformer or U-Net) in place of the model's own."
    )
    quantise: Literal["int8", "fp8", "nf4"] | None = Field(
        None, description="Quantise the weights of the network while it is loaded."
    )
    clip_skip: int | None = Field(
        None, ge=0, le=100, description="Number of last layers of the CLIP text encoders to leave out."
    )
    sheet: str | None = Field(None, description="Image file to write, with all results side by side and labelled.")


@hookimpl
def register_commands() -> list[CommandSpec]:
    return [
        CommandSpec(
            name="compare",
            summary="Edit one image with several inverters, and report the cost and quality of each.",
            load=by_name("editkit_compare.command:compare"),
            params=CompareParams,
        )
    ]
