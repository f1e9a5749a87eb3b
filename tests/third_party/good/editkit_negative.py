"""A third-party plugin with an operation and an inverter, as described for plugin authors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

from editkit import InverterSpec, OperationSpec, Params, hookimpl

if TYPE_CHECKING:
    from editkit import Edit, Inverter, Session


class NegativeParams(Params):
    strength: float = Field(1.0, ge=0.0, le=1.0, description="0 keeps the image, 1 turns it into its negative.")


def negative(session: Session, params: NegativeParams) -> Edit:
    """Scale the latents towards their negative."""
    from editkit import Edit

    latents = session.latents
    return Edit(latents * (1 - 2 * params.strength), reconstructed=latents)


def load_operation() -> Callable[[Session, Any], Edit]:
    return negative


def load_inverter() -> Callable[[Any], Inverter]:
    from editkit_negative_inverter import Recorded

    return lambda params: Recorded()


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="negative",
            summary="Turn an image into its negative.",
            load=load_operation,
            params=NegativeParams,
        )
    ]


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="recorded",
            summary="DDIM inversion that records every latent.",
            load=load_inverter,
            exact=True,
        )
    ]
