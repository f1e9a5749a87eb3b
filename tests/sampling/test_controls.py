"""Laws of controls: the model is restored, other rows stay the same, and pinning is exact."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from editkit import Backend, Control, PinnedSource, Point, ddim_step, walk
from editkit.sampling.loop import final_state
from editkit.sampling.params import DrawingParams
from editkit.testing import GaussianDenoiser, ToyBackend, vp_path
from editkit.testing.suite import toy_session


def latents(rows: int = 2, seed: int = 0) -> Tensor:
    return torch.randn((rows, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(denoise: Any, x: Tensor, p: Point, q: Point, noise: Any) -> Tensor:
    return ddim_step(x, denoise(x, p), p, q)


class Brighter(Control):
    """Attaches itself to a toy backend by changing its variance."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.inside: list[float] = []

    @contextlib.contextmanager
    def attach(self, backend: Backend) -> Iterator[None]:
        assert isinstance(backend, ToyBackend)
        before, backend.variance = backend.variance, 0.5
        try:
            yield
        finally:
            backend.variance = before

    def after_step(self, index: int, x: Tensor) -> Tensor:
        if self.fails and index == 1:
            raise RuntimeError("in the middle")
        return x


class TestNoOp:
    def test_a_bare_control_changes_nothing(self) -> None:
        x = latents()
        with_it, without = (
            final_state(walk(plain, GaussianDenoiser(), x, vp_path(5), controls=controls), x)
            for controls in ((Control(),), ())
        )
        assert torch.equal(with_it, without)
        assert Control().noise(0) is None


class TestAttaching:
    def drawn(self, model: ToyBackend, *controls: Control) -> Tensor:
        session = toy_session(model, DrawingParams.parse("toy", {"seed": 1}))
        return session.draw(session.noise(), vp_path(4), session.embed("a red apple"), controls)

    def test_a_control_changes_the_model_only_during_a_walk(self) -> None:
        model = ToyBackend()
        before = self.drawn(model)
        assert not torch.equal(self.drawn(model, Brighter()), before)
        assert torch.equal(self.drawn(model), before)

    def test_a_control_restores_the_model_after_an_exception(self) -> None:
        model = ToyBackend()
        before = self.drawn(model)
        with pytest.raises(RuntimeError, match="middle"):
            self.drawn(model, Brighter(), Brighter(fails=True))
        assert model.variance == 0.25
        assert torch.equal(self.drawn(model), before)


class TestPinnedSource:
    """Two sources and two rows between them."""

    def setup_method(self) -> None:
        self.path = vp_path(6)
        self.trajectory = torch.stack([latents(2, seed) for seed in range(7)])
        self.shares = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]], dtype=torch.float64)

    def steps(self, x: Tensor) -> list[Tensor]:
        control = PinnedSource(self.trajectory, self.shares)
        return list(walk(plain, GaussianDenoiser(), x, self.path, controls=(control,)))

    def test_source_rows_are_on_their_trajectory_bit_for_bit(self) -> None:
        for index, x in enumerate(self.steps(latents(4, 9))):
            assert torch.equal(x[:2], self.trajectory[index + 1])

    def test_other_rows_move_by_their_shares_of_the_source_s_error(self) -> None:
        start = latents(4, 9)
        stepped = ddim_step(start, GaussianDenoiser()(start, self.path[0]), *self.path[:2])
        missed = self.trajectory[1] - stepped[:2]
        first = self.steps(start)[0]
        assert torch.allclose(first[2], stepped[2] + missed.mean(0), rtol=0, atol=1e-12)
        assert torch.equal(first[3], stepped[3])

    def test_rows_are_corrected_only_where_they_equal_their_sources(self) -> None:
        point, shares = self.path[1], torch.ones(4, 1, dtype=torch.float64)
        source, expected = latents(1, 1), latents(1, 2)
        away = torch.zeros_like(source)
        away[..., 0] = point.alpha  # on one side by the deviation of clean latents
        little = torch.full_like(source, 0.45 * point.alpha)
        rows = torch.cat([source, source, source + away, source + little])
        control = PinnedSource(torch.stack([source, expected]), shares, self.path[:2])
        moved = control.after_step(0, rows) - rows
        assert torch.allclose(moved[1], moved[0], rtol=0, atol=1e-12)
        assert torch.equal(moved[2, ..., 0], torch.zeros_like(moved[2, ..., 0]))
        assert torch.allclose(moved[2, ..., 1:], moved[0, ..., 1:], rtol=0, atol=1e-12)
        assert torch.allclose(moved[3], 0.5 * moved[0], rtol=0, atol=1e-9)

    def test_rows_between_two_sources_take_their_shares_of_both_also_then(self) -> None:
        rows, expected = latents(4, 9), latents(2, 2)
        moved = [
            PinnedSource(torch.stack([rows[:2], expected]), self.shares, path).after_step(0, rows)[2]
            for path in (None, self.path[:2])
        ]
        assert torch.equal(*moved)

    def test_a_row_equal_to_its_source_stays_equal(self) -> None:
        self.setup_method()
        self.shares = torch.tensor([[1.0], [1.0]], dtype=torch.float64)
        self.trajectory = self.trajectory[:, :1]
        end = self.steps(latents(1, 9).repeat(2, 1, 1, 1))[-1]
        assert torch.allclose(end[0], end[1], rtol=0, atol=1e-12)
