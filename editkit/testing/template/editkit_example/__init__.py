"""The plugin: its parameters and specs. This module imports neither torch nor diffusers."""

from __future__ import annotations

from pydantic import Field

from editkit import AnnotatorSpec, EditParams, InverterSpec, OperationSpec, Params, SamplerSpec, by_name, hookimpl


class ExampleParams(EditParams):
    prompt: str = Field(description="Prompt of the edited image.")
    strength: float = Field(0.6, ge=0.0, le=1.0, description="Share of the path to sample: 0 keeps the image.")


class AnnotatorParams(Params):
    gain: float = Field(4.0, gt=0.0, description="Factor on the gradient of the image.")


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="example",
            summary="Add noise to an image and sample it again under a prompt.",
            load=by_name("editkit_example.operation:edit"),
            params=ExampleParams,
        )
    ]


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="example-inverter",
            summary="DDIM inversion whose replay is pinned to the source.",
            load=by_name("editkit_example.inverter:PinnedDdim"),
            exact=True,
        )
    ]


@hookimpl
def register_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            name="example-sampler",
            summary="First order, one network call per step.",
            load=by_name("editkit_example.sampler:FirstOrder"),
            order=1,
        )
    ]


@hookimpl
def register_annotators() -> list[AnnotatorSpec]:
    return [
        AnnotatorSpec(
            name="example-annotator",
            summary="Gradient of the luminance.",
            load=by_name("editkit_example.annotator:Gradient"),
            params=AnnotatorParams,
        )
    ]
