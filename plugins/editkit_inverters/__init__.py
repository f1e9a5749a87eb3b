"""Ways from a picture up to the noise it would be drawn from."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from editkit import InverterSpec, Params, hookimpl

if TYPE_CHECKING:
    from editkit import Inverter


class FixedPointParams(Params):
    iterations: int = Field(60, ge=1, le=1000, description="Most network calls a step after the first.")
    tolerance: float | None = Field(None, gt=0.0, description="Residual to stop at; by the precision when not given.")


def load_ddim() -> Callable[[Any], Inverter]:
    from .explicit import Ddim

    return lambda params: Ddim()


def load_corrected() -> Callable[[Any], Inverter]:
    from .explicit import DdimCorrected

    return lambda params: DdimCorrected()


def load_fixed_point() -> Callable[[FixedPointParams], Inverter]:
    from .fixed_point import FixedPoint

    return lambda params: FixedPoint(params.iterations, params.tolerance)


def load_pinned() -> Callable[[Any], Inverter]:
    from .explicit import Pinned

    return lambda params: Pinned()


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="ddim",
            summary="DDIM run upward: cheap, and off by the first order of a step.",
            load=load_ddim,
            source="https://arxiv.org/abs/2010.02502",
        ),
        InverterSpec(
            name="ddim-corrected",
            summary="A predicted step, and one evaluation at the corrected point: as cheap, and nearer.",
            load=load_corrected,
            calls_per_step="1, and one more",
            source="https://arxiv.org/abs/2504.13109",
        ),
        InverterSpec(
            name="fixed-point",
            summary="Solves each step's implicit equation, damped, never ending worse than it began.",
            load=load_fixed_point,
            params=FixedPointParams,
            calls_per_step="2 to 61",
            source="https://arxiv.org/abs/2309.04907",
        ),
        InverterSpec(
            name="pinned",
            summary="DDIM upward, with the trajectory recorded and the source held to it on the way back.",
            load=load_pinned,
            exact=True,
            source="https://arxiv.org/abs/2310.01506",
        ),
    ]
