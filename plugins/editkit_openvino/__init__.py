"""Accelerator of networks on CPUs: OpenVINO."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from editkit import AcceleratorSpec, Params, by_name, hookimpl


class OpenVinoParams(Params):
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of the network alone; latents, sampler and autoencoder stay in float32. bfloat16 needs "
        "a processor that computes in it.",
    )


@hookimpl
def register_accelerators() -> list[AcceleratorSpec]:
    return [
        AcceleratorSpec(
            name="openvino",
            summary="The network compiled by OpenVINO, for the CPU.",
            load=by_name("editkit_openvino.compiled:OpenVino"),
            params=OpenVinoParams,
            source="https://docs.openvino.ai",
        )
    ]
