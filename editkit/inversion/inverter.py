"""Interface of inverters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from torch import Tensor

from ..diffusion.denoiser import Condition, Denoiser, Noise
from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point, PointBatch
from ..model.backend import Backend
from ..sampling.controls import Control
from ..sampling.guidance import Guidance
from ..sampling.loop import Stepper
from .record import InversionRecord, RecordedEstimates


class InversionContext(Protocol):
    """Interface that an inverter may use to compute its extras; a :class:`Session` provides it.

    The cache of inversions hashes all of it (see :class:`InversionInputs`), so an inverter must use nothing else.
    """

    @property
    def model(self) -> Backend:
        """The model of the edit."""

    @property
    def guidance_scale(self) -> float:
        """Guidance scale of the replay."""

    def embed(self, *prompts: str) -> Condition:
        """Return the condition of prompts, one row each."""

    def guided(self, condition: Condition, rows: int, path: SamplingPath) -> Guidance:
        """Return the network under a condition of ``rows`` rows, guided as the replay will be."""

    def network(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """Call the model's network and count the call."""

    def track(self, steps: Iterator[Tensor], total: int, label: str) -> Iterable[Tensor]:
        """Return ``steps``, shown to the caller's progress."""


class Inverter:
    """Base of all inverters: from clean latents along a path to noise, and the controls of a replay.

    Only :meth:`invert` must be implemented. Rows of a batch must not influence each other. An inverter holds its
    options as plain values and nothing else: tensors belong to the record, which a cache may store.
    """

    guided: ClassVar[bool] = False
    """Whether the inversion is guided like its replay, as methods need whose steps undo the steps of sampling."""
    depends_on_guidance: ClassVar[bool] = False
    """Whether settings of guidance change the record: set for every class that implements :meth:`compute_extras`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.depends_on_guidance = cls.compute_extras is not Inverter.compute_extras

    def code_dependencies(self) -> Sequence[Callable[..., Any]]:
        """Return classes and functions of other packages that the inversion runs, such as a sampler's.

        The cache of inversions identifies an inverter by the code of its own package and of theirs.
        """
        return ()

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        """Yield the latents (S, C, h, w) after each step of ``path``, which rises from clean to noise.

        A stochastic inverter draws from ``noise``. Tensors that a generator returns by name, (S, ...) each, become
        extras of the record.
        """
        raise NotImplementedError

    def compute_extras(
        self, context: InversionContext, record: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        """Compute the extra tensors, (S, ...) each, that a replay needs beyond the trajectory.

        ``condition`` is that of the S sources. The result may depend on ``context``, the record and the condition only.
        """
        return {}

    def recorded_estimates(
        self, record: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        """Return x0 estimates recorded during inversion that a replay can reuse.

        ``conditions`` are the active conditions of the replay's guidance, of S rows each. Callers check
        ``record.condition`` first: it is known here.
        """
        return ()

    def controls(self, record: InversionRecord, shares: Tensor) -> Sequence[Control]:
        """Return the controls of a replay; ``shares`` (B, S) weights the sources for each of its rows."""
        return ()

    def idle_options(self, path: SamplingPath) -> Iterator[str]:
        """Yield a warning of each option that has no effect, or not the one it names, on a replay along ``path``."""
        yield from ()

    def replay_stepper(self, record: InversionRecord, shares: Tensor) -> Stepper | None:
        """Return the stepper of a replay, or None if any sampler serves."""
        return None
