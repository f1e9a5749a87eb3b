"""Inverters that record extras and inverters with invertible steps, beyond their suite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from editkit_inverters.belm import two_step
from editkit_inverters.edit_friendly import MAX_VALUES_PER_CALL, noise_between
from editkit_inverters.null_text import NullText
from editkit_inverters.rex import Pair, euler_increment, replay_step
from torch import Tensor

import editkit
from editkit import (
    Condition,
    InvalidParameter,
    InversionRecord,
    Inverter,
    MissingCapability,
    Point,
    PointBatch,
    Prediction,
    RectifiedFlow,
    SamplingParams,
    Session,
    TimestepGrid,
    VariancePreserving,
    ddpm_noise_std,
    invert_latents,
    make_path,
    scaled_linear,
    walk,
)
from editkit.editing.primitives import collect_extras
from editkit.registry.registry import installed
from editkit.sampling.loop import final_state
from editkit.testing import GaussianDenoiser, MixtureDenoiser, ToyBackend, flow_path, stable_diffusion_folder, vp_path
from editkit.testing.suite import largest, noise_source, random_latents, sample_image, toy_session

PLAIN = VariancePreserving.from_betas(scaled_linear())
TO_PURE_NOISE = VariancePreserving.from_betas(scaled_linear(), zero_terminal_snr=True)
X0 = 0.3 + 0.5 * random_latents(2, seed=1)
PATHS = {
    "vp": vp_path,
    "flow": flow_path,
    "leading": lambda steps: make_path(PLAIN, steps, TimestepGrid("leading", offset=1)),
    "stands still at its end": lambda steps: make_path(PLAIN, steps, TimestepGrid("linspace")),
    "from pure noise": lambda steps: make_path(TO_PURE_NOISE, steps, TimestepGrid("trailing")),
    "flow from pure noise": lambda steps: make_path(RectifiedFlow(), steps, TimestepGrid("trailing")),
}

REVERSIBLE = ("edict", "belm", "rex", "rex:scheme=heun")


def build_inverter(call: str) -> Inverter:
    return installed().build("inverters", call)  # type: ignore[no-any-return]


def record_of(call: str, denoise: editkit.Denoiser, x0: Tensor, path: editkit.SamplingPath) -> InversionRecord:
    """Inversion record as a session makes it, without :meth:`Inverter.compute_extras`."""
    extras: dict[str, Tensor] = {}
    noise = noise_source((1, *x0.shape[1:]))
    latents = [x0, *collect_extras(build_inverter(call).invert(denoise, x0, path[::-1], noise), extras)]
    return InversionRecord(torch.stack(latents[::-1]), path, extras)


def replay_end(call: str, denoise: editkit.Denoiser, record: InversionRecord) -> Tensor:
    """End of a replay with the inverter's own steps and without its controls."""
    step = build_inverter(call).replay_stepper(record, torch.eye(record.trajectory.shape[1]).to(record.trajectory))
    assert step is not None
    return final_state(walk(step, denoise, record.trajectory[0], record.path), record.trajectory[0])


def session_of(model: editkit.Backend, **params: Any) -> Session:
    return toy_session(model, SamplingParams.parse("toy", params))


def record_of_session(session: Session, call: str, steps: int) -> InversionRecord:
    with torch.no_grad():
        path = session.inversion_path(steps)
        return invert_latents(session, build_inverter(call), session.latents, path, session.embed("a red apple"))


def unpinned_replay(session: Session, call: str, record: InversionRecord) -> Tensor:
    """End of the source row by the inverter's own steps, under the guidance of the session."""
    with torch.no_grad():
        guidance = session.guided(session.embed("a red apple"), 1, record.path)
        return replay_end(call, guidance, record)


def slopes(errors: Sequence[float]) -> list[float]:
    return [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]


class TestReversible:
    """Invertible steps reconstruct the source without controls."""

    @pytest.mark.slow
    def test_a_replay_undoes_the_inversion(self) -> None:
        for (kind, path), call, steps in itertools.product(PATHS.items(), REVERSIBLE, (2, 7, 50)):
            # The flow of a mixture parts at the border of its components, which amplifies rounding errors.
            for data, tolerance in ((GaussianDenoiser(), 1e-10), (MixtureDenoiser.of_shape((4, 8, 8)), 3e-8)):
                record = record_of(call, data, X0, path(steps))
                error = largest(replay_end(call, data, record) - X0)
                assert error < tolerance, f"{call} on {kind}, {steps} steps: off by {error:.1e}"

    def test_a_guided_replay_undoes_the_guided_inversion(self) -> None:
        for schedule, spacing in itertools.product((PLAIN, TO_PURE_NOISE, RectifiedFlow()), ("leading", "trailing")):
            session = session_of(ToyBackend(native_size=8, schedule=schedule), guidance=7.5, spacing=spacing)
            for call in REVERSIBLE:
                record = record_of_session(session, call, 20)
                error = largest(unpinned_replay(session, call, record) - session.latents)
                assert error < 1e-10, f"{call}, {type(schedule).__name__}, {spacing}: off by {error:.1e}"

    def test_edict_starts_from_equal_latents_and_calls_twice_a_step(self) -> None:
        points: list[Point] = []

        def recording(x: Tensor, point: Point) -> Tensor:
            points.append(point)
            return GaussianDenoiser()(x, point)

        path = vp_path(5)
        record = record_of("edict", recording, X0, path)
        assert points == [point for point in path[-2::-1] for _ in range(2)]
        assert 0 < largest(record.extras["apart"]) < 0.5

    def test_the_latents_of_a_pair_are_closer_with_more_steps(self) -> None:
        apart = [largest(record_of("edict", GaussianDenoiser(), X0, vp_path(n)).extras["apart"]) for n in (50, 400)]
        assert apart[1] < apart[0], apart

    def test_the_two_step_method_is_of_second_order(self) -> None:
        for kind, path in {"vp": vp_path, "flow": flow_path}.items():
            errors = []
            for steps in (100, 200, 400, 800):
                points = path(steps)
                exact = GaussianDenoiser().transport(X0, points[-1], points[0])
                errors.append(largest(record_of("belm", GaussianDenoiser(), X0, points).trajectory[0] - exact))
            assert min(slopes(errors)) > 1.8, (kind, errors)

    def test_the_two_step_method_has_the_coefficients_of_the_paper(self) -> None:
        """Coefficients of O-BELM (arXiv 2410.07273): near sigma 0 the bound of sigma / alpha has no effect."""
        data, points = GaussianDenoiser(), [Point(math.cos(a), math.sin(a)) for a in (0.013, 0.008, 0.002)]
        o, p, q = points
        earlier, x = X0, X0 + 0.01 * random_latents(2, seed=2)
        before, here, after = (point.sigma / point.alpha for point in points)
        h, last_h = here - after, before - here
        eps = (x - p.alpha * data(x, p)) / p.sigma
        expected = q.alpha * (
            (h / last_h) ** 2 * earlier / o.alpha
            + (1 - (h / last_h) ** 2) * x / p.alpha
            - h * (h + last_h) / last_h * eps
        )
        assert largest(two_step(data, x, p, q, (earlier, o)) - expected) < 1e-4

    @pytest.mark.slow
    def test_rex_has_the_order_of_its_scheme(self) -> None:
        for (kind, path), (scheme, order) in itertools.product(
            {"vp": vp_path, "flow": flow_path}.items(), {"euler": 1, "heun": 2}.items()
        ):
            errors = []
            for steps in (256, 512, 1024):
                points = path(steps)
                exact = GaussianDenoiser().transport(X0, points[-1], points[0])
                record = record_of(f"rex:scheme={scheme}", GaussianDenoiser(), X0, points)
                errors.append(largest(record.trajectory[0] - exact))
            assert min(slopes(errors)) > order - 0.15, (kind, scheme, errors)

    def test_a_step_of_rex_has_the_formulas_of_the_paper(self) -> None:
        """Rex with Euler's method and eps (arXiv 2502.08834): near sigma 0 the bound of sigma / alpha has no effect."""
        data, (p, q) = GaussianDenoiser(), [Point(math.cos(a), math.sin(a)) for a in (0.008, 0.002)]
        x, partner, coupling = X0, X0 + 0.01 * random_latents(2, seed=2), 0.9
        step = q.sigma / q.alpha - p.sigma / p.alpha

        def eps(x: Tensor, point: Point) -> Tensor:
            return (x - point.alpha * data(x, point)) / point.sigma

        scale = q.alpha / p.alpha
        latents = scale * (coupling * x + (1 - coupling) * partner) + q.alpha * step * eps(partner, p)
        after = scale * partner + q.alpha * step * eps(latents, q)
        stepped = replay_step(euler_increment, data, Pair(x, partner), p, q, coupling)
        assert largest(stepped.latents - latents) < 1e-4
        assert largest(stepped.partner - after) < 1e-4
        assert largest(latents - x) > 1e-3

    def test_an_edited_row_starts_from_the_noise_of_its_source(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=3.0)
        record = record_of_session(session, "belm", 5)
        step = build_inverter("belm").replay_stepper(record, torch.ones(2, 1).double())
        assert step is not None
        start = torch.cat([record.trajectory[0]] * 2)
        rows = next(iter(walk(step, GaussianDenoiser(), start, record.path)))
        assert largest(rows - record.trajectory[1]) < 1e-12

    def test_a_replay_at_another_guidance_scale_is_pinned(self) -> None:
        for call in (*REVERSIBLE, "edit-friendly"):
            inversion = editkit.invert(image(), model=ToyBackend(), prompt="a", method=call, steps=5, guidance=3.0)
            for guidance in (1.0, 7.5):
                result = editkit.reconstruct(inversion, model=ToyBackend(), guidance=guidance)
                assert torch.equal(result.latents, inversion.trajectory[-1])


class TestDpmpp:
    """Inversion by a sampler of second order."""

    def round_trip_errors(self, call: str, path: Any, counts: Sequence[int]) -> list[float]:
        """RMS error of a round trip for each count of steps."""
        errors = []
        for steps in counts:
            record = record_of(call, GaussianDenoiser(), X0, path(steps))
            errors.append(float((replay_end(call, GaussianDenoiser(), record) - X0).square().mean().sqrt()))
        return errors

    def test_the_inversion_is_of_second_order(self) -> None:
        for kind, path in {"vp": vp_path, "flow": flow_path}.items():
            errors = []
            for steps in (200, 400, 800):
                points = path(steps)
                exact = GaussianDenoiser().transport(X0, points[-1], points[0])
                errors.append(largest(record_of("dpmpp", GaussianDenoiser(), X0, points).trajectory[0] - exact))
            assert min(slopes(errors)) > 1.8, (kind, errors)

    def test_round_trips_close_at_second_order(self) -> None:
        for kind, path in {"vp": vp_path, "flow": flow_path}.items():
            errors = self.round_trip_errors("dpmpp", path, (25, 50, 100))
            assert min(slopes(errors)) > 1.9, (kind, errors)

    def test_each_step_evaluates_once_at_its_start(self) -> None:
        points: list[Point] = []

        def recording(x: Tensor, point: Point) -> Tensor:
            points.append(point)
            return GaussianDenoiser()(x, point)

        record_of("dpmpp", recording, X0, vp_path(6))
        assert points == list(vp_path(6)[:0:-1])


class SourceOracle(ToyBackend):
    """Model whose estimate is always the latents of the image."""

    def encode(self, pixels: Tensor) -> Tensor:
        self.image = super().encode(pixels)
        return self.image

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        return self.image.expand_as(x)


class LimitedMemory(ToyBackend):
    """Model whose memory holds ``rows`` rows."""

    rows = 6

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        if len(x) > self.rows:
            raise torch.cuda.OutOfMemoryError
        return super().denoise(x, point, condition)


class TestEditFriendly:
    """The trajectory is sampled, and the noise of the replay is solved for."""

    def test_every_latent_has_noise_of_its_own(self) -> None:
        path, noise = vp_path(6), noise_source((1, 4, 8, 8))
        record = record_of("edit-friendly", GaussianDenoiser(), X0, path)
        for x, point in zip(record.trajectory[:-1].flip(0), path[-2::-1], strict=True):
            assert largest(x - (point.alpha * X0 + point.sigma * noise())) < 1e-12

    def test_edit_friendly_noise_explains_the_sampled_trajectory(self) -> None:
        """The network estimates the image itself; the noise has more than unit variance (section 3.2 of the paper)."""
        session = session_of(SourceOracle(native_size=8))
        record = record_of_session(session, "edit-friendly", 8)
        noise = [
            (x - point.alpha * session.latents) / point.sigma
            for x, point in zip(record.trajectory[:-1], record.path, strict=False)
        ]
        for index, (p, q) in enumerate(itertools.pairwise(record.path[:-1])):
            ratio = p.alpha * q.sigma / (q.alpha * p.sigma)
            expected = (noise[index + 1] - ratio * noise[index]) / math.sqrt(1 - ratio**2)
            assert largest(record.extras["noise"][:, index] - expected) < 1e-10

    def test_noise_between_recovers_the_noise_of_a_ddpm_step(self) -> None:
        x, (p, q), data = X0, vp_path(4)[1:3], GaussianDenoiser()
        noise = random_latents(2, seed=9)
        after = next(iter(walk(installed().build("samplers", "ddpm"), data, x, (p, q), noise=lambda: noise)))
        assert ddpm_noise_std(p, q) > 0
        assert largest(noise_between(x, after, data(x, p), p, q) - noise) < 1e-10

    def test_recorded_noise_alone_reconstructs_the_trajectory(self) -> None:
        calls = ("edit-friendly", "edit-friendly:skip=0.36")
        for schedule, guidance, call in itertools.product((PLAIN, TO_PURE_NOISE, RectifiedFlow()), (1.0, 7.5), calls):
            session = session_of(ToyBackend(native_size=8, schedule=schedule), guidance=guidance)
            record, inverter, one = record_of_session(session, call, 10), build_inverter(call), torch.ones(1, 1)
            noise, _ = inverter.controls(record, one.double())
            step = inverter.replay_stepper(record, one.double())
            assert step is not None
            denoise = session.guided(session.embed("a red apple"), 1, record.path)
            latents = walk(step, denoise, record.trajectory[0], record.path, controls=[noise])
            error = largest(torch.stack(list(latents)) - record.trajectory[1:])
            assert error < 1e-10, f"{schedule}, guidance {guidance}: off by {error:.1e}"

    def test_many_steps_are_one_call(self) -> None:
        for guidance, rows in ((1.0, 1), (3.0, 2)):
            session = session_of(ToyBackend(native_size=8), guidance=guidance)
            record_of_session(session, "edit-friendly", 20)
            assert (session.usage.calls, session.usage.samples) == (1, 20 * rows)

    def test_no_network_call_exceeds_the_size_limit(self) -> None:
        for guidance, rows in ((1.0, 1), (3.0, 2)):
            session = session_of(ToyBackend(native_size=64), guidance=guidance)
            record_of_session(session, "edit-friendly", 20)
            steps_per_call = MAX_VALUES_PER_CALL // (rows * session.latents.numel())
            assert 1 < steps_per_call < 20
            assert session.usage.calls == math.ceil(20 / steps_per_call)

    def test_a_call_that_does_not_fit_is_halved(self) -> None:
        roomy, small = (session_of(kind(native_size=8), guidance=3.0) for kind in (ToyBackend, LimitedMemory))
        one, other = (record_of_session(session, "edit-friendly", 20) for session in (roomy, small))
        assert largest(one.extras["noise"] - other.extras["noise"]) < 1e-12
        with pytest.raises(torch.cuda.OutOfMemoryError):
            small.model.rows = 1  # type: ignore[attr-defined]
            record_of_session(small, "edit-friendly", 20)

    def test_an_edit_that_skips_every_step_is_its_source_without_a_network_call(self) -> None:
        image = sample_image((16, 16))
        given: dict[str, Any] = {"inverter": "edit-friendly:skip=1", "seed": 0}
        for steps in (1, 4):
            prompts = {"source": "a red apple", "target": "a green apple"}
            result = editkit.apply("prompt-edit", image, model=ToyBackend(), steps=steps, **prompts, **given)
            assert result.image.tobytes() == image.tobytes()
            assert result.report.network_calls == 0

    def test_skipped_steps_cost_nothing_and_change_nothing(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=3.0)
        record, inverter = (
            record_of_session(session, "edit-friendly:skip=0.5", 10),
            build_inverter("edit-friendly:skip=0.5"),
        )
        assert record.extras["noise"].shape[1] == 5
        assert session.usage.samples == 2 * 5
        before, shares = session.usage.calls, torch.ones(2, 1).double()
        start = torch.cat([record.trajectory[0]] * 2)
        denoise = session.guided(session.embed("a red apple", "a green apple"), 2, record.path)
        step, controls = inverter.replay_stepper(record, shares), inverter.controls(record, shares)
        assert step is not None
        rows = list(walk(step, denoise, start, record.path, controls=controls))
        assert session.usage.calls - before == 5
        assert all(torch.equal(x[1:], recorded) for x, recorded in zip(rows[:5], record.trajectory[1:], strict=False))
        assert largest(rows[-1][1:] - record.trajectory[-1]) > 1e-3

    def test_the_seed_determines_the_inversion(self) -> None:
        params = {"prompt": "a red apple", "method": "edit-friendly", "steps": 5, "guidance": 3.0, "cache": False}
        first, again, other = (
            editkit.invert(image(), model=ToyBackend(), seed=seed, **params).record for seed in (1, 1, 2)
        )
        assert torch.equal(first.trajectory, again.trajectory)
        assert torch.equal(first.extras["noise"], again.extras["noise"])
        assert largest(first.trajectory - other.trajectory) > 0.1

    def test_sources_of_one_batch_equal_single_sources(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=3.0)
        x0, path = 0.5 * random_latents(2, shape=(3, 8, 8)), session.inversion_path(5)
        maps = []
        for rows in (x0, x0[:1], x0[1:]):
            session.random.manual_seed(0)
            prompts = session.embed(*["a red apple"] * len(rows))
            maps.append(invert_latents(session, build_inverter("edit-friendly"), rows, path, prompts).extras["noise"])
        assert largest(maps[0] - torch.cat(maps[1:])) < 1e-10


class TestNullText:
    """The negative condition is optimised, step by step."""

    def reconstruction_error(self, method: str, **params: Any) -> tuple[float, editkit.Report]:
        """RMS error of the latents of a reconstruction at guidance 7.5, and the inversion's report."""
        params = {"prompt": "a red apple", "steps": 25, "guidance": 7.5, "cache": False, **params}
        inversion = editkit.invert(image(), model=ToyBackend(), method=method, **params)
        latents = editkit.reconstruct(inversion, model=ToyBackend()).latents
        assert inversion.report is not None
        return float((latents - inversion.trajectory[-1]).square().mean().sqrt()), inversion.report

    def test_null_text_has_a_twentieth_of_the_error_of_ddim(self) -> None:
        plain, fitted, less = (
            self.reconstruction_error(method)[0] for method in ("ddim", "null-text", "null-text:inner=1")
        )
        assert fitted < plain / 20, (plain, fitted)
        assert fitted < less < plain

    def test_null_text_costs_the_documented_network_calls(self) -> None:
        """An inversion, the prompt once per step, and at most ``inner + 1`` candidates, each of one row per source."""
        for inner in (1, 3):
            report = self.reconstruction_error(f"null-text:inner={inner},tolerance=0.0")[1]
            assert report.network_calls == report.network_samples == 25 * (1 + 1 + inner + 1)
        report = self.reconstruction_error("null-text:tolerance=100.0")[1]
        assert report.network_calls == 25 * (1 + 1 + 1)

    def test_null_text_keeps_the_empty_prompt_within_the_tolerance(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=7.5, negative_prompt="")
        record = record_of_session(session, "null-text:tolerance=100.0", 4)
        assert largest(record.extras["text"] - session.embed("")["text"]) == 0
        assert record.extras["text"].shape == (1, 4, 3)

    def test_null_text_fits_nothing_without_guidance(self) -> None:
        session = session_of(ToyBackend(native_size=8))
        assert record_of_session(session, "null-text", 4).extras == {}
        assert session.usage.calls == 4
        assert build_inverter("null-text").controls(record_of_session(session, "null-text", 4), torch.ones(1, 1)) == ()

    def test_null_text_does_not_fit_unguided_steps(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=7.5, guidance_start=0.5)
        record_of_session(session, "null-text:tolerance=0.0,inner=1", 4)
        assert session.usage.calls == 4 + 2 * 1 + 2 * (1 + 2)

    def test_a_step_keeps_the_best_text(self) -> None:
        """Far too large a rate overshoots the target and does not return to the start in one more update."""
        text, expected = torch.tensor([[0.0], [0.9]]), torch.tensor([[0.1], [0.0]])
        fitted = NullText(inner=2, rate=1.0, tolerance=0.0).fit_text(text, lambda x: 1.0 * x, expected, 0.0)
        assert fitted.text[0] == 0.0
        assert 0 < fitted.text[1].abs() < 0.2
        assert torch.equal(fitted.after, fitted.text)


class TestNegatives:
    """The inverters that set the negative condition."""

    def test_negative_prompt_is_ddim_without_guidance(self) -> None:
        ends = []
        for method, guidance in (("ddim", 1.0), ("negative-prompt", 7.5)):
            inversion = editkit.invert(image(), model=ToyBackend(), prompt="a red apple", method=method, steps=5)
            ends.append(editkit.reconstruct(inversion, model=ToyBackend(), guidance=guidance).latents)
        assert largest(ends[0] - ends[1]) < 1e-10


PROMPTS = {"source": "a red apple", "target": "a green apple"}


def image() -> object:
    return sample_image((16, 16))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Prediction, Path]]:
    """Folders of tiny models, one for each prediction kind."""
    kinds: tuple[Any, ...] = ("epsilon", "v_prediction", "sample")
    yield {kind: stable_diffusion_folder(tmp_path_factory.mktemp(kind), prediction_type=kind) for kind in kinds}


@pytest.mark.slow
def test_a_replay_with_a_network_undoes_the_inversion(tiny: dict[Prediction, Path]) -> None:
    for kind, folder in tiny.items():
        model = editkit.load_model(folder, dtype="float64")
        if kind == "v_prediction":
            model.schedule = TO_PURE_NOISE
        session = session_of(model, guidance=7.5, spacing="trailing")
        for call in REVERSIBLE:
            error = largest(unpinned_replay(session, call, record_of_session(session, call, 5)) - session.latents)
            assert error < 1e-9, f"{call}, {kind}: off by {error:.1e}"


@pytest.mark.slow
def test_pinning_corrects_rounding_errors(tiny: dict[Prediction, Path]) -> None:
    """An untrained network amplifies them: float32 without pinning keeps 3 digits at guidance 7.5."""
    params = {"prompt": "a red apple", "steps": 5, "guidance": 7.5, "cache": False}
    for folder in tiny.values():
        model = editkit.load_model(folder, dtype="float32")
        for call in ("edict", "belm", "edit-friendly"):
            inversion = editkit.invert(image(), model=model, method=call, **params)
            assert torch.equal(editkit.reconstruct(inversion, model=model).latents, inversion.trajectory[-1])


@pytest.mark.slow
def test_null_text_optimises_through_the_attention_of_a_network(tiny: dict[Prediction, Path]) -> None:
    model = editkit.load_model(tiny["epsilon"])
    params = {"prompt": "a red apple", "steps": 5, "guidance": 7.5, "cache": False}
    inversion = editkit.invert(image(), model=model, method="null-text:inner=2", **params)
    text = inversion.record.extras["text"]
    assert text.shape[:2] == (1, 5)
    assert text.requires_grad is False
    assert 0 < largest(text - model.embed([""])["text"]) < 1


@pytest.mark.parametrize("method", ["negative-prompt", "null-text"])
def test_a_negative_prompt_beside_the_inverter_s_is_refused(method: str) -> None:
    params = {"source": "a red apple", "target": "a green apple", "inverter": method, "steps": 4, "guidance": 3.0}
    editkit.apply("prompt-edit", image(), model=ToyBackend(), **params)
    with pytest.raises(InvalidParameter, match=f"negative_prompt='a pear'.*{method}"):
        editkit.apply("prompt-edit", image(), model=ToyBackend(), negative_prompt="a pear", **params)


@pytest.mark.parametrize("method", ["negative-prompt", "null-text"])
@pytest.mark.parametrize("provides", [(), ("text", "distilled-guidance")])
def test_a_model_without_guidance_by_two_estimates_is_refused(method: str, provides: tuple[str, ...]) -> None:
    model = ToyBackend()
    model.provides = frozenset(provides)
    with pytest.raises(MissingCapability, match=f"{method} needs text and guidance by two estimates"):
        editkit.invert(image(), model=model, method=method, steps=4)


@pytest.mark.parametrize("method", ["edit-friendly", "edict", "belm", "rex", "dpmpp"])
def test_a_sampler_beside_the_inverter_s_steps_is_refused_early(method: str) -> None:
    with pytest.raises(InvalidParameter, match=f"sampler='heun' is not allowed: the inverter {method}"):
        editkit.apply("prompt-edit", image(), model=ToyBackend(), sampler="heun", inverter=method, **PROMPTS)


@pytest.mark.parametrize("method", ["edit-friendly", "edict", "belm", "rex", "dpmpp"])
def test_an_edit_with_the_inverter_s_steps_replays_from_its_recipe(method: str) -> None:
    params = {"inverter": method, "steps": 4, "guidance": 3.0, **PROMPTS}
    result = editkit.apply("prompt-edit", image(), model=ToyBackend(), **params)
    assert result.report.sampler is None
    assert (
        editkit.replay(result.encoded(".png", recipe="full"), model=ToyBackend()).image.tobytes()
        == result.image.tobytes()
    )
