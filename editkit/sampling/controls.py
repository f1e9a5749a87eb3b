"""Controls: hooks that steer a walk from outside its solver."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Self

import torch
from torch import Tensor

from ..diffusion.points import Point
from ..diffusion.source_rows import mark_source_rows
from ..errors import InvalidParameter
from ..images.blending.similarity import latent_similarity
from ..model.batching import exclusive

if TYPE_CHECKING:
    from ..diffusion.denoiser import Denoiser
    from ..diffusion.paths import SamplingPath
    from ..model.backend import Backend


class Control:
    """Base of all controls; each method does nothing unless a subclass implements it.

    Latents are (B, C, h, w); ``index`` counts the steps of the walk from 0.
    """

    exclusive_over: ClassVar[frozenset[str]] = frozenset()
    """Names of the effects that only one control may have in a walk: two controls with the same effect are refused."""

    changes_model: ClassVar[bool] = False
    """Whether the control changes the model; set for every class that implements :meth:`attach`.

    Estimates recorded with the unchanged model are then not reused.
    """

    attached_first: ClassVar[bool] = False
    """Whether the control is attached before others: what it computes itself cannot be changed by those before it."""

    acts_on_inversion: ClassVar[bool] = False
    """Whether the control is attached while the source is inverted too; such an inversion is not cached."""

    keeps_estimates: ClassVar[bool] = False
    """Whether estimates of the source recorded during inversion hold although the control changes the model.

    Source rows are then not evaluated again.
    """

    restarts: ClassVar[bool] = False
    """Whether the control starts latents anew; set for every class that implements :meth:`start`.

    Sampling from an inversion then keeps the source's detail as sampling from noise does.
    """

    call: str = ""
    """Call of ``attach`` that the control was built from; empty for one that an operation or an inverter adds."""

    divisible: bool = False
    """Whether windows of a long canvas may be evaluated apart while the control changes the model."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.changes_model = cls.attach is not Control.attach
        cls.restarts = cls.start is not Control.start

    def called(self, call: str) -> Self:
        """Return this control, with the call of ``attach`` that it was built from."""
        object.__setattr__(self, "call", call)  # the class of a plugin may be a frozen dataclass
        return self

    @property
    def title(self) -> str:
        """Name of the control in messages: how the user gave it, else its class."""
        return f"attach={self.call!r}" if self.call else type(self).__name__

    @property
    def spares_sources(self) -> bool:
        """Whether rows that are their own source stay as they are: a walk of such rows alone warns of the control."""
        return False

    def begin(self, path: SamplingPath, sources: Sequence[int | None]) -> None:
        """Prepare a walk along ``path``; ``sources`` names the row of each row's source, or None.

        The path of an inversion rises, and each of its rows is its own source.
        Raises InvalidParameter if the control cannot be used in it.
        """

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        """Change the backend during a walk and restore it afterwards, also after an exception."""
        yield

    def start(self, x: Tensor) -> Tensor:
        """Return the latents that replace the first ones of a walk; rows that are their own source stay."""
        return x

    def guide(self, index: int, denoise: Denoiser) -> Denoiser:
        """Return the denoiser of a step: usually a :class:`Guidance` with other conditions."""
        return denoise

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        """Return the x0 estimate that replaces the network's at ``point``."""
        return x0

    def noise(self, index: int) -> Tensor | None:
        """Return the noise of a stochastic step, or None for fresh noise."""
        return None

    def after_step(self, index: int, x: Tensor) -> Tensor:
        """Return the latents that replace the result of a step."""
        return x

    def found_mask(self) -> Tensor | None:
        """Return the mask (1, 1, h, w) in [0, 1] of the latents that the control found in its last walk, if it did.

        The spec of a control that finds masks has ``finds_mask``.
        """
        return None


class PinnedSource(Control):
    """Control that keeps source rows on their recorded trajectories and corrects edited rows by the same error.

    The first S rows of a batch are the sources. The error of a step, recorded trajectory minus result, is added to
    each row by its shares of the sources; a source row thus replays without error (Ju et al., arXiv 2310.01506).

    ``trajectory`` is (N + 1, S, C, h, w) from noise to clean; ``shares`` is (B, S). Unlike the paper, which leaves
    edited rows uncorrected, and only if ``path`` is given, a row of one source is corrected where it still equals
    that source, because the error belongs to the source's content. Rows between several sources are corrected
    everywhere.
    """

    exclusive_over = frozenset({"the source branch"})

    def __init__(self, trajectory: Tensor, shares: Tensor, path: SamplingPath | None = None) -> None:
        self.trajectory = trajectory
        self.shares = shares
        self.path = path

    def after_step(self, index: int, x: Tensor) -> Tensor:
        recorded = self.trajectory[index + 1]
        sources, others = x[: len(recorded)], x[len(recorded) :]
        error = self._by_shares(recorded - sources)
        if self.path is not None:
            is_mixed = (self.shares[len(recorded) :].amax(1) < 1).view(-1, 1, 1, 1)
            change = (others - self._by_shares(sources)) / self.path[index + 1].alpha
            error = torch.where(is_mixed, error, error * latent_similarity(change))
        # The recorded latents are taken as they are: source plus error would differ by rounding.
        return mark_source_rows(torch.cat([recorded, others + error]), self.trajectory, index + 1)

    def _by_shares(self, sources: Tensor) -> Tensor:
        """Return tensors of the sources (S, C, h, w) mixed for the other rows by their shares."""
        shares = self.shares[len(sources) :]
        return (shares @ sources.flatten(1)).view(len(shares), *sources.shape[1:])


def check_compatible(controls: Sequence[Control]) -> None:
    """Raise InvalidParameter, naming both, if two controls have the same exclusive effect."""
    for one, other in itertools.combinations(controls, 2):
        for effect in sorted(one.exclusive_over & other.exclusive_over):
            raise InvalidParameter(
                f"{one.title} and {other.title} contradict each other: both control {effect}; leave one of them out"
            )


@contextlib.contextmanager
def attach_all(
    model: Backend, controls: Sequence[Control], path: SamplingPath, sources: Sequence[int | None]
) -> Iterator[None]:
    """Attach controls to a model for a walk along ``path``, whose rows have the rows ``sources`` as their sources."""
    for control in controls:
        control.begin(path, sources)
    with contextlib.ExitStack() as attached:
        if any(control.changes_model for control in controls):
            attached.enter_context(exclusive(model))
        for control in sorted(controls, key=lambda control: not control.attached_first):
            attached.enter_context(control.attach(model))
        yield
