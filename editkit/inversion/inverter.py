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
    """What an inverter may use to compute its extras. A :class:`Session` provides it.

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
    """Base of all inverters: a way from clean latents up a path to noise, and what a replay from there needs.

    All but :meth:`climb` does nothing unless an inverter says otherwise. Rows of a batch do not know of each other. An
    inverter holds its options alone, as plain values: what it records goes into the climb, which a cache may keep.
    """

    guided: ClassVar[bool] = False
    """Whether the inversion is guided as its replay will be, as where each step up undoes one down."""
    depends_on_guidance: ClassVar[bool] = False
    """Whether settings of guidance change the record: set for every class that implements :meth:`fit`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.depends_on_guidance = cls.compute_extras is not Inverter.compute_extras

    def code_dependencies(self) -> Sequence[Callable[..., Any]]:
        """Classes and functions of other packages than its own that a climb is made by, such as a sampler's.

        A cache of inversions knows an inverter by the code of its own package and of theirs.
        """
        return ()

    def invert(self, denoise: Denoiser, x0: Tensor, path: SamplingPath, noise: Noise | None = None) -> Iterator[Tensor]:
        """Yield the latents (S, C, h, w) after each step of ``path``, which rises from clean to noise.

        Stochastic inverters draw from ``noise``. What a generator returns, by name with the sources on the first axis,
        is kept beside the trajectory.
        """
        raise NotImplementedError

    def compute_extras(
        self, context: InversionContext, climb: InversionRecord, condition: Condition
    ) -> Mapping[str, Tensor]:
        """Work out what is kept beside the trajectory, (S, ...) each, once that is known.

        ``condition`` is that of the S sources; the session's parameters say how a replay would be guided. A cache of
        inversions knows of the session what :class:`DrawingParams` declares, the model and the sources: nothing else
        of it may change what is kept.
        """
        return {}

    def recorded_estimates(
        self, climb: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        """What the network said of the sources on the way up, where a replay can use it.

        ``conditions`` are those that the replay's guidance asks under, of the S sources; the climb's own is known here
        too. A replay asks the network for none of it again: what holds the source branch to the trajectory makes that
        cost nothing.
        """
        return ()

    def controls(self, climb: InversionRecord, shares: Tensor) -> Sequence[Control]:
        """What steers a replay; ``shares`` (B, S) says how much of each source's corrections a row of it takes."""
        return ()

    def replay_stepper(self, climb: InversionRecord, shares: Tensor) -> Stepper | None:
        """The way down that belongs to this way up, where not every sampler will do."""
        return None
