"""Interface of inverters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from ..diffusion.denoiser import Condition, Denoiser, Noise
from ..diffusion.paths import Path
from ..sampling.controls import Control
from ..sampling.loop import Stepper
from .record import Climb, Said

if TYPE_CHECKING:
    from ..editing.session import Session


class Inverter:
    """Base of all inverters: a way from clean latents up a path to noise, and what a replay from there needs.

    All but :meth:`climb` does nothing unless an inverter says otherwise. Rows of a batch do not know of each other. An
    inverter holds its options alone, as plain values: what it records goes into the climb, which a cache may keep.
    """

    guided: ClassVar[bool] = False
    """Whether the climb is guided as its replay will be, as where each step up undoes one down."""

    def uses(self) -> Sequence[Callable[..., Any]]:
        """Classes and functions of other packages than its own that a climb is made by, such as a sampler's.

        A cache of inversions knows an inverter by the code of its own package and of theirs.
        """
        return ()

    def climb(self, denoise: Denoiser, x0: Tensor, path: Path, noise: Noise | None = None) -> Iterator[Tensor]:
        """Yield the latents (S, C, h, w) after each step of ``path``, which rises from clean to noise.

        Stochastic inverters draw from ``noise``. What a generator returns, by name with the sources on the first axis,
        is kept beside the trajectory.
        """
        raise NotImplementedError

    def fit(self, session: Session, climb: Climb, condition: Condition) -> Mapping[str, Tensor]:
        """Work out what is kept beside the trajectory, (S, ...) each, once that is known.

        ``condition`` is that of the S sources; the session's parameters say how a replay would be guided. A cache of
        inversions knows of the session what :class:`DrawingParams` declares, the model and the sources: nothing else
        of it may change what is kept.
        """
        return {}

    def said(self, climb: Climb, conditions: Sequence[Condition]) -> Sequence[Said]:
        """What the network said of the sources on the way up, where a replay can use it.

        ``conditions`` are those that the replay's guidance asks under, of the S sources; the climb's own is known here
        too. A replay asks the network for none of it again: what holds the source branch to the trajectory makes that
        cost nothing.
        """
        return ()

    def controls(self, climb: Climb, shares: Tensor) -> Sequence[Control]:
        """What steers a replay; ``shares`` (B, S) says how much of each source's corrections a row of it takes."""
        return ()

    def stepper(self, climb: Climb, shares: Tensor) -> Stepper | None:
        """The way down that belongs to this way up, where not every sampler will do."""
        return None
