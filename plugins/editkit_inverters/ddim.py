"""Inverters that take each step once."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from editkit import (
    Climb,
    Condition,
    Control,
    Denoiser,
    Inverter,
    Noise,
    Path,
    PinnedSource,
    Point,
    Said,
    SamplerSpec,
    Stepper,
    ddim_step,
    eps_of,
    samplers,
    walk,
)


class Ddim(Inverter):
    """The sampler's own step upward, with the noise asked for at the point it starts from."""

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        for p, q in itertools.pairwise(path):
            x = ddim_step(x, denoise(x, p), p, q)
            yield x


class Pinned(Ddim):
    """DDIM upward; the replay adds what its own steps miss (Ju et al., arXiv 2310.01506).

    There an edit is corrected nowhere; here it is where it has changed nothing, so that what it was not asked for comes
    back as the source does. The source is held to where it was seen on the way up, and so what the network said of it
    there is kept.
    """

    def climb(
        self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None
    ) -> Generator[Tensor, None, dict[str, Tensor]]:
        said: list[Tensor] = []

        def noted(x: Tensor, point: Point) -> Tensor:
            said.append(denoise(x, point))
            return said[-1]

        yield from super().climb(noted, x0, path, noise)
        return {"estimates": torch.stack(said[::-1], 1)}

    def said(self, climb: Climb, conditions: Sequence[Condition]) -> Sequence[Said]:
        assert climb.condition is not None  # only of a climb whose condition is known is this asked
        return [Said(climb.condition, climb.kept["estimates"], 1)]

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        return (PinnedSource(climb.trajectory, shares, climb.path),)


class DdimCorrected(Inverter):
    """Predict the noisier latent with the last known noise, ask the network there, and step with that noise.

    The way down asks at the noisier end of each step; asking there on the way up is what makes both meet
    (Jiao et al., arXiv 2504.13109, algorithm 1).
    """

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        x = x0
        eps = eps_of(x, denoise(x, path[0]), path[0])
        for p, q in itertools.pairwise(path):
            predicted = moved(x, eps, p, q)
            eps = eps_of(predicted, denoise(predicted, q), q)
            x = moved(x, eps, p, q)
            yield x


class Sampled(Inverter):
    """A registered sampler, whose steps lead up as they lead down."""

    def __init__(self, sampler: str) -> None:
        self.sampler = sampler

    def uses(self) -> Sequence[Callable[..., Any]]:
        return (self.spec.load,)

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        return walk(self.made(), denoise, x0, path)

    def stepper(self, climb: Climb, shares: Tensor) -> Stepper:
        return self.made()

    @property
    def spec(self) -> SamplerSpec:
        return samplers()[self.sampler]

    def made(self) -> Stepper:
        return self.spec.load()(self.spec.params())


def moved(x: Tensor, eps: Tensor, p: Point, q: Point) -> Tensor:
    """Step from p to q along known noise."""
    return (q.alpha / p.alpha) * (x - p.sigma * eps) + q.sigma * eps
