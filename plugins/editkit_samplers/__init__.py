"""Solvers of the way from noise to picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from editkit import Params, SamplerSpec, hookimpl

if TYPE_CHECKING:
    from editkit import Stepper


class DdimParams(Params):
    eta: float = Field(0.0, ge=0.0, le=1.0, description="Fresh noise: 0 draws none, 1 as much as DDPM.")


def load_ddim() -> Callable[[DdimParams], Stepper]:
    from .ddim import Ddim

    return lambda params: Ddim(params.eta)


def load_ddpm() -> Callable[[Any], Stepper]:
    from .ddim import Ddim

    return lambda params: Ddim(eta=1.0)


def load_heun() -> Callable[[Any], Stepper]:
    from .ddim import heun

    return lambda params: heun


def load_dpmpp_2m() -> Callable[[Any], Stepper]:
    from .dpmpp import DpmSolver2M

    return lambda params: DpmSolver2M()


def load_dpmpp_2m_sde() -> Callable[[Any], Stepper]:
    from .dpmpp import DpmSolver2MSde

    return lambda params: DpmSolver2MSde()


def load_dpmpp_3m() -> Callable[[Any], Stepper]:
    from .dpmpp import DpmSolver3M

    return lambda params: DpmSolver3M()


def load_lcm() -> Callable[[Any], Stepper]:
    from .ddim import consistency

    return lambda params: consistency


@hookimpl
def register_samplers() -> list[SamplerSpec]:
    return [
        SamplerSpec(
            name="ddim",
            summary="First order, one call a step; ends where the model's schedule ends.",
            load=load_ddim,
            params=DdimParams,
            to_zero=False,
            source="https://arxiv.org/abs/2010.02502",
        ),
        SamplerSpec(
            name="ddpm",
            summary="Ancestral sampling: fresh noise at every step.",
            load=load_ddpm,
            stochastic=True,
            to_zero=False,
            source="https://arxiv.org/abs/2006.11239",
        ),
        SamplerSpec(
            name="euler",
            summary="Euler's method in sigma / alpha: the step of ddim, on a path that ends at zero noise.",
            load=load_ddim,
            params=DdimParams,
            source="https://arxiv.org/abs/2206.00364",
        ),
        SamplerSpec(
            name="euler-a",
            summary="Ancestral Euler: the step of ddpm, on a path that ends at zero noise.",
            load=load_ddpm,
            stochastic=True,
            source="https://arxiv.org/abs/2206.00364",
        ),
        SamplerSpec(
            name="heun",
            summary="Second order, two calls a step.",
            load=load_heun,
            order=2,
            source="https://arxiv.org/abs/2206.00364",
        ),
        SamplerSpec(
            name="dpmpp-2m",
            summary="Second order from one earlier estimate, one call a step.",
            load=load_dpmpp_2m,
            order=2,
            extra_node=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        SamplerSpec(
            name="dpmpp-2m-sde",
            summary="The stochastic form of dpmpp-2m: fresh noise at every step.",
            load=load_dpmpp_2m_sde,
            stochastic=True,
            extra_node=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        SamplerSpec(
            name="dpmpp-3m",
            summary="Third order from two earlier estimates, one call a step and one more at the start.",
            load=load_dpmpp_3m,
            order=3,
            extra_node=True,
            source="https://arxiv.org/abs/2211.01095",
        ),
        SamplerSpec(
            name="lcm",
            summary="Few steps of consistency models: to the clean end and back up with fresh noise, at every step.",
            load=load_lcm,
            stochastic=True,
            spacing="distilled",
            consistency=True,
            source="https://arxiv.org/abs/2310.04378",
        ),
    ]
