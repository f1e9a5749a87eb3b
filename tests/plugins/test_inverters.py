"""Every registered inverter passes its suite; the built-in ones are as exact as documented."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import torch
from torch import Tensor

import editkit
from editkit import Denoiser, Point, Prediction, RectifiedFlow, ddim_step, eps_of, from_x0, make_path, walk
from editkit.registry.registry import installed
from editkit.sampling.loop import final_state
from editkit.testing import (
    GaussianDenoiser,
    MixtureDenoiser,
    ToyBackend,
    flow_path,
    stable_diffusion_folder,
    suite_of,
    vp_path,
)
from editkit.testing.suite import largest, noise_source, random_latents, sample_image

for _name in editkit.inverters():
    _suite = suite_of("inverters", _name)
    globals()[_suite.__name__] = _suite


def path_of_backend(backend: ToyBackend) -> Callable[[int], tuple[Point, ...]]:
    return lambda steps: make_path(backend.schedule, steps, backend.grid)


PATHS: dict[str, Callable[[int], tuple[Point, ...]]] = {
    "vp": vp_path,
    "flow": flow_path,
    "vp backend": path_of_backend(ToyBackend()),
    "flow backend": path_of_backend(ToyBackend(schedule=RectifiedFlow())),
}


class RoundTripErrors(NamedTuple):
    """The errors of a replay of an inversion."""

    residual: float
    """Largest root mean square, over rows and steps, of the error of one replayed step."""
    error: float
    """Root mean square of the error of the whole replay at the clean latent."""


def measure_round_trip(name: str, denoise: Denoiser, x0: Tensor, path: tuple[Point, ...]) -> RoundTripErrors:
    noise = noise_source((1, *x0.shape[1:]))
    rising = [x0, *installed().build("inverters", name).invert(denoise, x0, path[::-1], noise)]
    steps = zip(itertools.pairwise(rising), itertools.pairwise(path[::-1]), strict=True)
    errors = [residual(denoise, low, high, p, q) for (low, high), (p, q) in steps]
    end = final_state(walk(installed().build("samplers", "ddim"), denoise, rising[-1], path), rising[-1])
    return RoundTripErrors(float(torch.stack(errors).max()), float((end - x0).square().mean().sqrt()))


def residual(denoise: Denoiser, low: Tensor, high: Tensor, p: Point, q: Point) -> Tensor:
    """The error of one step from ``high`` at q against ``low`` at p: (S,)."""
    return (ddim_step(high, denoise(high, q), q, p) - low).square().flatten(1).mean(1).sqrt()


class TestRoundTrips:
    """A replay returns to the source within the error that the method promises."""

    def test_ddim_error_halves_when_steps_double(self) -> None:
        x0 = 0.3 + 0.5 * random_latents(2)
        for kind, path in PATHS.items():
            errors = [measure_round_trip("ddim", GaussianDenoiser(), x0, path(steps)).error for steps in (50, 100, 200)]
            for coarse, fine in itertools.pairwise(errors):
                assert 0.4 < fine / coarse < 0.6, (kind, errors)

    def test_ddim_evaluates_at_the_point_it_starts_from(self) -> None:
        points: list[Point] = []

        def recording(x: Tensor, point: Point) -> Tensor:
            points.append(point)
            return GaussianDenoiser()(x, point)

        path = vp_path(5)[::-1]
        list(installed().build("inverters", "ddim").invert(recording, random_latents(1), path))
        assert points == list(path[:-1])

    def test_ddim_corrected_has_a_third_of_the_error_of_ddim(self) -> None:
        x0 = 0.3 + 0.5 * random_latents(2)
        for kind, path in PATHS.items():
            for steps in (20, 50, 100):
                corrected, plain = (
                    measure_round_trip(name, GaussianDenoiser(), x0, path(steps)).error
                    for name in ("ddim-corrected", "ddim")
                )
                assert corrected < plain / 3, (kind, steps, corrected, plain)


class TestFixedPoint:
    """The fixed-point inverter solves each step."""

    def test_fixed_point_inverts_the_gaussian_to_rounding(self) -> None:
        for kind, path in PATHS.items():
            for steps in (10, 20, 50):
                errors = measure_round_trip(
                    "fixed-point", GaussianDenoiser(), 0.3 + 0.5 * random_latents(2), path(steps)
                )
                assert errors.residual < 1e-10, (kind, steps, errors)
                assert errors.error < 1e-10, (kind, steps, errors)

    @pytest.mark.slow
    def test_fixed_point_never_ends_worse_than_its_guess_on_the_mixture(self) -> None:
        """For every step and row: the first guess steps along the last noise estimate."""
        data = MixtureDenoiser.of_shape((1, 4, 4))
        for kind, steps in itertools.product(PATHS, (10, 20, 50)):
            path = PATHS[kind](steps)[::-1]
            inverter = installed().build("inverters", "fixed-point")
            low = data.draw(16)
            eps = eps_of(low, data(low, path[0]), path[0])
            for (p, q), high in zip(itertools.pairwise(path), inverter.invert(data, low, path), strict=True):
                guess = q.alpha * (low - p.sigma * eps) / p.alpha + q.sigma * eps
                worse = residual(data, low, high, p, q) - residual(data, low, guess, p, q)
                assert float(worse.max()) < 1e-12, (kind, steps, p, q)
                low, eps = high, eps_of(high, data(high, q), q)

    @pytest.mark.slow
    def test_fixed_point_error_is_below_ddim_corrected_on_the_mixture(self) -> None:
        data = MixtureDenoiser.of_shape((1, 4, 4))
        for kind, steps in itertools.product(PATHS, (10, 20, 50)):
            path = PATHS[kind](steps)
            solved, corrected = (
                measure_round_trip(name, data, data.draw(16), path) for name in ("fixed-point", "ddim-corrected")
            )
            assert solved.residual < corrected.residual, (kind, steps, solved, corrected)
            assert solved.error < corrected.error, (kind, steps, solved, corrected)


def test_fixed_point_stops_at_its_tolerance() -> None:
    calls = 0

    def counting(x: Tensor, point: Point) -> Tensor:
        nonlocal calls
        calls += 1
        return GaussianDenoiser()(x, point)

    x0, path = random_latents(1), vp_path(5)[::-1]
    for iterations in (1, 3):
        calls = 0
        list(
            installed()
            .build("inverters", f"fixed-point:iterations={iterations},tolerance=1e-300")
            .invert(counting, x0, path)
        )
        assert calls == 1 + 5 * (1 + iterations)
    calls = 0
    list(installed().build("inverters", "fixed-point:tolerance=100.0").invert(counting, x0, path))
    assert calls == 1 + 5


def test_pinned_costs_no_network_call_more_than_ddim() -> None:
    for method in ("ddim", "pinned"):
        inversion = editkit.invert(image(), model=ToyBackend(), prompt="a", method=method, steps=10)
        assert inversion.report is not None
        assert inversion.report.network_calls == 10
        assert editkit.reconstruct(inversion, model=ToyBackend(), guidance=7.5).report.network_calls == 10


def test_pinned_reconstructs_at_the_bound_at_any_guidance() -> None:
    inversion = editkit.invert(image(), model=ToyBackend(), prompt="a", method="pinned", steps=10)
    for guidance in (0.0, 1.0, 7.5):
        report = editkit.reconstruct(inversion, model=ToyBackend(), guidance=guidance).report
        assert report.recon_psnr == report.vae_psnr == 100.0


def test_the_record_of_an_inversion_gives_the_controls_of_its_replay() -> None:
    inversion = editkit.invert(image(), model=ToyBackend(), prompt="a", method="pinned", steps=5)
    controls = installed().build("inverters", "pinned").controls(inversion.record, torch.ones(1, 1).double())
    other, step = GaussianDenoiser(-0.5), installed().build("samplers", "ddim")
    states = walk(step, other, inversion.noise, inversion.path, controls=controls)
    assert torch.equal(final_state(states, inversion.noise), inversion.trajectory[-1])


def test_plain_ddim_does_not_reconstruct_under_guidance() -> None:
    """The tests of pinned reconstruction depend on it: otherwise they would test nothing."""
    inversion = editkit.invert(image(), model=ToyBackend(), prompt="a", method="ddim", steps=10)
    report = editkit.reconstruct(inversion, model=ToyBackend(), guidance=7.5).report
    assert report.recon_psnr is not None
    assert report.recon_psnr < 30


def image() -> object:
    return sample_image((16, 16))


class Oracle:
    """Exact network of the Gaussian with any prediction kind; called as diffusers' UNets are."""

    def __init__(self, kind: Prediction, backend: editkit.Backend) -> None:
        self.kind, self.backend = kind, backend
        self.config = backend.unet.config  # type: ignore[attr-defined]

    def __call__(self, x: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        point = self.backend.schedule.point(float(timestep))
        return (from_x0(self.kind, GaussianDenoiser()(x, point), x, point),)


def test_inversion_does_not_depend_on_the_prediction_kind(tmp_path: Path) -> None:
    backend: Any = editkit.load_model(stable_diffusion_folder(tmp_path), dtype="float64")
    condition, heads = backend.embed(["a", "a"]), {kind: Oracle(kind, backend) for kind in get_args(Prediction)}
    x0, path = 0.3 + 0.5 * random_latents(2), make_path(backend.schedule, 10, backend.grid)
    for name, spec in editkit.inverters().items():
        if spec.predictions < set(get_args(Prediction)):
            continue  # the inverter needs one prediction kind
        errors, noises = {}, {}
        for kind, head in heads.items():
            backend.prediction, backend.unet = kind, head
            denoise = lambda x, point: backend.denoise(x, point, condition)  # noqa: E731
            inverter = installed().build("inverters", name)
            noises[kind] = list(inverter.invert(denoise, x0, path[::-1], noise_source((1, *x0.shape[1:]))))[-1]
            errors[kind] = measure_round_trip(name, denoise, x0, path).error
        for kind, error in errors.items():
            assert abs(error - errors["epsilon"]) < 1e-9, (name, errors)
            assert largest(noises[kind] - noises["epsilon"]) < 1e-9, (name, kind)
