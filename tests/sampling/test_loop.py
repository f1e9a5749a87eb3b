"""Laws of the loop: a generator over a path, up and down."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editkit import CLEAN, Control, Denoiser, Noise, Point, ddim_step, walk
from editkit.sampling.loop import final_state
from editkit.testing import GaussianDenoiser, flow_path, vp_path


def latents() -> Tensor:
    return torch.randn((2, 3, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def plain(denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
    return ddim_step(x, denoise(x, p), p, q)


def noisy(denoise: Denoiser, x: Tensor, p: Point, q: Point, noise: Noise) -> Tensor:
    return plain(denoise, x, p, q, noise) + noise()


class Recording(Control):
    """A control that records its calls in a shared list."""

    def __init__(self, seen: list[tuple[object, ...]], name: str = "") -> None:
        self.seen, self.label = seen, name

    def predict(self, index: int, point: Point, x0: Tensor) -> Tensor:
        self.seen.append(("predict", self.label, index, point))
        return x0

    def after_step(self, index: int, x: Tensor) -> Tensor:
        self.seen.append(("after", self.label, index))
        return x


class TestStep:
    def test_a_step_keeps_estimate_and_noise(self) -> None:
        x0, eps = latents(), latents().flip(0)
        for path in (vp_path(6), flow_path(6)):
            for p in path:
                for q in (*path, CLEAN):
                    stepped = ddim_step(p.alpha * x0 + p.sigma * eps, x0, p, q)
                    assert torch.allclose(stepped, q.alpha * x0 + q.sigma * eps, rtol=0, atol=1e-12), (p, q)

    def test_steps_compose_where_the_estimate_stays(self) -> None:
        x, x0 = latents(), latents().flip(0)
        p, q, r = vp_path(2)
        assert torch.allclose(ddim_step(ddim_step(x, x0, p, q), x0, q, r), ddim_step(x, x0, p, r), rtol=0, atol=1e-12)

    def test_a_step_to_where_it_is_changes_nothing(self) -> None:
        x, p = latents(), vp_path(2)[1]
        assert torch.allclose(ddim_step(x, latents().flip(0), p, p), x, rtol=0, atol=1e-14)


class TestWalk:
    def test_walk_is_lazy_and_yields_once_a_step(self) -> None:
        requests = 0

        def counting(x: Tensor, point: Point) -> Tensor:
            nonlocal requests
            requests += 1
            return GaussianDenoiser()(x, point)

        steps = walk(plain, counting, latents(), vp_path(5))
        assert requests == 0
        next(steps)
        assert requests == 1
        assert len(list(steps)) == 4
        assert requests == 5

    def test_a_path_without_steps_leaves_its_start(self) -> None:
        x = latents()
        assert final_state(walk(plain, GaussianDenoiser(), x, vp_path(5)[:1]), x) is x

    def test_a_walk_is_its_steps(self) -> None:
        x, path, denoise = latents(), flow_path(3), GaussianDenoiser()
        items = list(walk(plain, denoise, x, path))
        for p, q, item in zip(path, path[1:], items, strict=False):
            x = ddim_step(x, denoise(x, p), p, q)
            assert torch.equal(x, item)

    def test_up_and_down_is_the_same_loop(self) -> None:
        x = latents()
        for path in (vp_path(400), flow_path(400)):
            noise = final_state(walk(plain, GaussianDenoiser(), x, path[::-1]), x)
            again = final_state(walk(plain, GaussianDenoiser(), noise, path), noise)
            assert float((again - x).abs().max()) < 0.03

    def test_noise_comes_from_the_walk_or_a_control_or_not_at_all(self) -> None:
        x, path, denoise = latents(), vp_path(2), GaussianDenoiser()

        class Recorded(Control):
            def noise(self, index: int) -> Tensor | None:
                return torch.full((1,), 5.0, dtype=torch.float64) if index == 0 else None

        with pytest.raises(ValueError, match="noise"):
            final_state(walk(noisy, denoise, x, path), x)
        ones = lambda: torch.ones(1, dtype=torch.float64)  # noqa: E731
        first = next(walk(noisy, denoise, x, path, noise=ones, controls=(Recorded(),)))
        assert torch.equal(first, ddim_step(x, denoise(x, path[0]), *path[:2]) + 5)
        end = final_state(walk(noisy, denoise, x, path, noise=ones, controls=(Recorded(),)), x)
        assert torch.equal(end, ddim_step(first, denoise(first, path[1]), *path[1:]) + 1)

    def test_controls_see_every_step_in_their_order(self) -> None:
        x, path = latents(), vp_path(2)
        seen: list[tuple[object, ...]] = []
        final_state(walk(plain, GaussianDenoiser(), x, path, controls=(Recording(seen, "a"), Recording(seen, "b"))), x)
        expected = []
        for index in (0, 1):
            expected += [("predict", label, index, path[index]) for label in "ab"]
            expected += [("after", label, index) for label in "ab"]
        assert seen == expected
