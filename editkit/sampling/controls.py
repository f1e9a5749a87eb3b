"""Controls: what steers a walk from outside its solver. Every method does nothing unless a control says otherwise."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from ..diffusion.points import Point
from ..errors import InvalidParameter
from ..images.similarity import latent_similarity

if TYPE_CHECKING:
    from ..diffusion.denoiser import Denoiser
    from ..diffusion.paths import SamplingPath
    from ..model.backend import Backend


class Control:
    """Base of all controls; latents are (B, C, h, w), the index counts the steps of the walk from 0."""

    exclusive_over: ClassVar[frozenset[str]] = frozenset()
    """What this control alone may decide in a walk, in words: two that decide the same are refused."""

    changes_model: ClassVar[bool] = False
    """Whether the control changes the model: set for every class that implements :meth:`attach`.

    Estimates that were recorded of the unchanged model are then not reused.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.changes_model = cls.attach is not Control.attach

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        """Change the backend for the time of a walk and leave no trace after it, also after an exception."""
        yield

    def guide(self, index: int, denoise: Denoiser) -> Denoiser:
        """Change what is asked in a step: mostly the conditions of a :class:`Guidance`."""
        return denoise

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        """Change the clean estimate that the network made at ``point``."""
        return x0

    def noise(self, index: int) -> Tensor | None:
        """Supply the noise of a step of a stochastic solver."""
        return None

    def after_step(self, index: int, x: Tensor) -> Tensor:
        """Change the result of a step."""
        return x


class PinnedSource(Control):
    """Keep the source branches of a batch on their recorded trajectories, and move the others along by as much.

    The first rows of a batch are the source branches. What a step misses the recorded trajectory by is added to each
    row in the shares it takes in the sources; a source row takes all of its own, and so replays without error
    (Ju et al., arXiv 2310.01506).

    ``trajectory`` is (N + 1, S, C, h, w) from noise to clean, ``shares`` (B, S) for B rows, of which the first S are
    the sources. Given the ``path`` of the trajectory, rows of one source are moved only where they still are like it:
    what is missing of a source does not belong to what is drawn in its place. Rows between several are moved all over.
    """

    exclusive_over = frozenset({"where the source branch goes"})

    def __init__(self, trajectory: Tensor, shares: Tensor, path: SamplingPath | None = None) -> None:
        self.trajectory = trajectory
        self.shares = shares
        self.path = path

    def after_step(self, index: int, x: Tensor) -> Tensor:
        wanted = self.trajectory[index + 1]
        sources, others = x[: len(wanted)], x[len(wanted) :]
        missed = self.shared(wanted - sources)
        if self.path is not None:
            between = (self.shares[len(wanted) :].amax(1) < 1).view(-1, 1, 1, 1)
            change = (others - self.shared(sources)) / self.path[index + 1].alpha
            missed = torch.where(between, missed, missed * latent_similarity(change))
        # The source itself is taken, not corrected, so that not even rounding parts them.
        return torch.cat([wanted, others + missed])

    def shared(self, sources: Tensor) -> Tensor:
        """What the rows that are no sources have of (S, C, h, w), by their shares."""
        shares = self.shares[len(sources) :]
        return (shares @ sources.flatten(1)).view(len(shares), *sources.shape[1:])


def check_compatible(controls: Sequence[Control]) -> None:
    """Raise InvalidParameter, naming both, where two controls want to decide the same."""
    for one, other in itertools.combinations(controls, 2):
        for matter in sorted(one.exclusive_over & other.exclusive_over):
            names = f"{type(one).__name__} and {type(other).__name__}"
            raise InvalidParameter(f"{names} contradict each other: both decide {matter}; leave one of them out")
