"""A stranger's plugin: an operation and an inverter, as its author's documentation would have them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from editkit import InverterSpec, OperationSpec, Params, hookimpl

if TYPE_CHECKING:
    from torch import Tensor

    from editkit import Control, Denoiser, Edit, Path, Session


class NegativeParams(Params):
    strength: float = Field(1.0, ge=0.0, le=1.0, description="0 keeps the picture, 1 turns it into its negative.")


def negative(session: Session, params: NegativeParams) -> Edit:
    """Turn the latents around zero."""
    from editkit import Edit

    latents = session.latents
    return Edit(latents * (1 - 2 * params.strength), reconstructed=latents)


class Recorded:
    """DDIM upward, and every latent set to the recorded one on the way back."""

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path) -> Iterator[Tensor]:
        from editkit import ddim_step

        x = x0
        for p, q in itertools.pairwise(path):
            x = ddim_step(x, denoise(x, p), p, q)
            yield x

    def controls(self, trajectory: Tensor, shares: Tensor) -> Sequence[Control]:
        from editkit import PinnedSource

        return (PinnedSource(trajectory, shares),)


def load_operation() -> Callable[[Session, Any], Edit]:
    return negative


def load_inverter() -> Callable[[Any], Recorded]:
    return lambda params: Recorded()


@hookimpl
def register_operations() -> list[OperationSpec]:
    return [
        OperationSpec(
            name="negative",
            summary="Turn a picture into its negative.",
            load=load_operation,
            params=NegativeParams,
        )
    ]


@hookimpl
def register_inverters() -> list[InverterSpec]:
    return [
        InverterSpec(
            name="recorded",
            summary="DDIM upward, with every latent recorded.",
            load=load_inverter,
            exact=True,
        )
    ]
