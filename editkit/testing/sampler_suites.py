"""Conformance suite of samplers, on Gaussian data whose exact denoiser is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from unittest import SkipTest

import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath, with_resampling
from ..diffusion.points import Point
from ..registry.registry import installed
from ..registry.specs import SamplerSpec
from ..sampling.loop import Stepper, final_state, walk
from .suite import PATHS, Suite, largest, noise_source, random_latents
from .toy import GaussianConsistency, GaussianDenoiser, vp_path


class SamplerTests(Suite):
    """Checks of every sampler."""

    kind = "sampler"

    def stepper(self) -> Stepper:
        return installed().build("samplers", self.name)  # type: ignore[no-any-return]

    @property
    def declared(self) -> SamplerSpec:
        return installed().spec("samplers", self.name)  # type: ignore[no-any-return]

    def walk(self, x: Tensor, path: SamplingPath, *, seed: int = 0, rows: int | None = None) -> Iterator[Tensor]:
        """Walk along a path with independent noise for each of ``rows`` rows, or one noise for all."""
        shape = (rows or 1, *x.shape[1:])
        return walk(self.stepper(), self.network(), x, path, noise=noise_source(shape, seed))

    def network(self) -> GaussianDenoiser:
        """Return the exact denoiser of the kind that this sampler is made for."""
        return GaussianConsistency() if self.declared.consistency else GaussianDenoiser()

    def error(self, path: SamplingPath) -> float:
        """Return the largest distance from the exact result of the probability flow."""
        x = random_latents(2)
        return largest(final_state(self.walk(x, path), x) - GaussianDenoiser().transport(x, path[0], path[-1]))

    def test_yields_one_item_a_step_and_keeps_the_shape(self) -> None:
        x = random_latents(2)
        for kind, path in PATHS.items():
            items = list(self.walk(x, path(7)))
            assert len(items) == 7, f"{kind}: {len(items)} items for 7 steps"
            assert all(item.shape == x.shape and item.dtype == x.dtype for item in items), (
                f"{kind}: shape or dtype changed"
            )
            assert all(bool(torch.isfinite(item).all()) for item in items), f"{kind}: not finite"

    def test_does_not_modify_its_input(self) -> None:
        for kind, path in PATHS.items():
            x = random_latents(2)
            items = [x]
            copies = [x.clone()]
            for item in self.walk(x, path(4)):
                items.append(item)
                copies.append(item.clone())
            same = all(torch.equal(item, copy) for item, copy in zip(items, copies, strict=True))
            assert same, f"{kind}: a latent that the sampler received was changed in place"

    def test_rows_do_not_influence_each_other(self) -> None:
        x = random_latents(3)
        for kind, path in PATHS.items():
            batch = final_state(self.walk(x, path(5)), x)
            alone = torch.cat([final_state(self.walk(row[None], path(5)), row[None]) for row in x])
            assert largest(batch - alone) < 1e-12, f"{kind}: a row differs by {largest(batch - alone):.1e} in a batch"

    def test_each_walk_starts_afresh(self) -> None:
        make = installed().load("samplers", self.name)
        params = self.declared.params()
        x, path = random_latents(1), vp_path(5)
        for _ in range(2):
            steps = walk(make(params), self.network(), x, path, noise=noise_source((1, 4, 8, 8)))
            again = final_state(steps, x)
            assert torch.equal(again, final_state(self.walk(x, path), x)), "a second walk depends on the first"

    def test_converges_at_the_declared_order(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: it follows no single trajectory")
        declared = self.declared.order
        for kind, path in PATHS.items():
            errors = [self.error(path(steps)) for steps in (64, 128, 256)]
            # Two slopes, because an error that changes its sign makes one of them look better.
            slopes = [
                math.log2(coarse / fine) if fine > 1e-13 else math.inf for coarse, fine in itertools.pairwise(errors)
            ]
            summary = f"{kind}: measured orders {slopes[0]:.2f} and {slopes[1]:.2f}, declared {declared}"
            assert min(slopes) > declared - 0.25, f"{summary} (errors {', '.join(f'{error:.1e}' for error in errors)})"

    def test_reaches_zero_noise(self) -> None:
        if not self.declared.ends_at_zero:
            raise SkipTest("declared to end at the schedule's least noise")
        x = random_latents(1)
        path = (*vp_path(20), Point(1.0, 0.0))
        end = final_state(self.walk(x, path), x)
        assert bool(torch.isfinite(end).all()), "the step to zero noise is not finite"

    def test_starts_at_pure_noise(self) -> None:
        x = random_latents(1)
        path = (Point(0.0, 1.0), *vp_path(20)[2:])
        end = final_state(self.walk(x, path), x)
        assert bool(torch.isfinite(end).all()), "the step from pure noise (alpha = 0) is not finite"

    def test_noise_determines_the_result(self) -> None:
        x = random_latents(1)
        first, again, other = (final_state(self.walk(x, vp_path(10), seed=seed), x) for seed in (1, 1, 2))
        assert torch.equal(first, again), "the same noise gives another result"
        differs = not torch.equal(first, other)
        assert differs == self.declared.stochastic, (
            f"declared stochastic={self.declared.stochastic}, but the result depends on noise: {differs}"
        )

    def test_keeps_the_statistics_of_the_data(self) -> None:
        self.check_statistics({kind: path(160) for kind, path in PATHS.items()})

    def test_keeps_the_statistics_on_a_path_with_resampling(self) -> None:
        self.check_statistics({kind: with_resampling(path(160), 2) for kind, path in PATHS.items()})

    def check_statistics(self, paths: Mapping[str, SamplingPath]) -> None:
        centre = 0.3
        data = GaussianDenoiser(centre)
        for kind, points in paths.items():
            unit = random_latents(4, seed=3, shape=(4, 32, 32))
            start = points[0].alpha * centre + data.deviation(points[0]) * unit
            end = final_state(self.walk(start, points, rows=4, seed=4), start)
            error = float(end.mean()) - points[-1].alpha * centre
            assert abs(error) < 0.03, f"{kind}: the mean is off by {error:.3f}"
            ratio = float(end.std()) / data.deviation(points[-1])
            assert abs(ratio - 1) < 0.04, f"{kind}: deviation {ratio:.3f} times the data's"
