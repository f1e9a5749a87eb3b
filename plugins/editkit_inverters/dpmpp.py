"""Inversion by the steps of a registered sampler: DPM-Solver++ (2M)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from editkit import Denoiser, InversionRecord, Inverter, Noise, SamplerSpec, SamplingPath, Stepper, samplers, walk


class SamplerInverter(Inverter):
    """Inversion and replay by the steps of a registered sampler."""

    def __init__(self, sampler: str = "dpmpp-2m") -> None:
        self.sampler = sampler

    def code_dependencies(self) -> Sequence[Callable[..., Any]]:
        return (type(self._stepper()),)

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        return walk(self._stepper(), denoise, x0, path)

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper:
        return self._stepper()

    @property
    def _spec(self) -> SamplerSpec:
        return samplers()[self.sampler]

    def _stepper(self) -> Stepper:
        return self._spec.load()(self._spec.params())
