"""The inverters of rectified flow, and ``pinned`` on its paths, follow the methods of their papers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import editkit
from editkit import (
    Condition,
    Denoiser,
    InversionRecord,
    Inverter,
    PinnedSource,
    Point,
    RectifiedFlow,
    SamplingParams,
    eps_of,
    from_x0,
    invert_latents,
    sample_from_inversion,
    walk,
)
from editkit.registry.registry import installed
from editkit.sampling.loop import final_state
from editkit.testing import GaussianDenoiser, MixtureDenoiser, ToyBackend, flow_path, vp_path
from editkit.testing.suite import largest, noise_source, random_latents, sample_image, toy_session

FLOW = ("rf-euler", "rf-midpoint", "rf-controlled")
X0 = 0.3 + 0.5 * random_latents(2, seed=1)
ONE = torch.ones(2, 1, dtype=torch.float64)


def build_inverter(call: str) -> Inverter:
    return installed().build("inverters", call)  # type: ignore[no-any-return]


def inversion_latents(call: str, denoise: Denoiser, x0: Tensor, path: tuple[Point, ...]) -> list[Tensor]:
    """Latents of an inversion along the falling ``path``, the clean ones first."""
    return [x0, *build_inverter(call).invert(denoise, x0, path[::-1], noise_source((1, *x0.shape[1:]), 7))]


def record_of(call: str, denoise: Denoiser, x0: Tensor, path: tuple[Point, ...]) -> InversionRecord:
    return InversionRecord(torch.stack(inversion_latents(call, denoise, x0, path)[::-1]), path)


def recording(denoise: Denoiser) -> tuple[Denoiser, list[Point]]:
    points: list[Point] = []

    def record_call(x: Tensor, point: Point) -> Tensor:
        points.append(point)
        return denoise(x, point)

    return record_call, points


def measured_orders(error: Callable[[int], float]) -> list[float]:
    errors = [error(steps) for steps in (64, 128, 256)]
    return [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]


class TestEuler:
    def test_euler_steps_along_the_velocity_and_equals_ddim(self) -> None:
        path, denoise = flow_path(6), GaussianDenoiser()
        x, expected = X0, [X0]
        for p, q in itertools.pairwise(path[::-1]):
            x = x + (q.sigma - p.sigma) * from_x0("flow_prediction", denoise(x, p), x, p)
            expected.append(x)
        euler, ddim = (inversion_latents(call, denoise, X0, path) for call in ("rf-euler", "ddim"))
        assert largest(torch.stack(euler) - torch.stack(expected)) < 1e-12
        assert torch.equal(torch.stack(euler), torch.stack(ddim))


class TestMidpoint:
    def test_midpoint_is_of_second_order_in_inversion_and_replay(self) -> None:
        data = GaussianDenoiser()

        def inversion_error(steps: int) -> float:
            path = flow_path(steps)
            return largest(inversion_latents("rf-midpoint", data, X0, path)[-1] - data.transport(X0, path[-1], path[0]))

        def replay_error(steps: int) -> float:
            path = flow_path(steps)
            step = build_inverter("rf-midpoint").replay_stepper(InversionRecord(X0[None], path), ONE)
            assert step is not None
            return largest(final_state(walk(step, data, X0, path), X0) - data.transport(X0, path[0], path[-1]))

        for orders in (measured_orders(inversion_error), measured_orders(replay_error)):
            assert all(abs(order - 2) < 0.2 for order in orders), orders

    def test_midpoint_evaluates_at_midpoints_and_once_at_the_start(self) -> None:
        denoise, points = recording(GaussianDenoiser())
        path = flow_path(5)[::-1]
        list(build_inverter("rf-midpoint").invert(denoise, X0, path))
        middles = [(p.sigma + q.sigma) / 2 for p, q in itertools.pairwise(path)]
        assert [point.sigma for point in points] == [path[0].sigma, *middles]
        assert all(math.isclose(point.alpha + point.sigma, 1) for point in points)

    def test_midpoint_round_trip_has_a_fifth_of_the_error_of_euler(self) -> None:
        data = MixtureDenoiser.of_shape((1, 4, 4))
        x0, path = data.draw(8), flow_path(50)
        errors = []
        for call in ("rf-euler", "rf-midpoint"):
            record = record_of(call, data, x0, path)
            step = build_inverter(call).replay_stepper(record, torch.eye(8).double()) or installed().build(
                "samplers", "ddim"
            )
            back = final_state(walk(step, data, record.trajectory[0], path), record.trajectory[0])
            errors.append(float((back - x0).square().mean().sqrt()))
        assert errors[1] < errors[0] / 5, errors

    def test_a_round_trip_of_n_steps_is_2n_plus_2_calls(self) -> None:
        model = ToyBackend(schedule=RectifiedFlow())
        inversion = editkit.invert(sample_image((16, 16)), model=model, prompt="a", method="rf-midpoint", steps=10)
        assert inversion.report is not None
        assert inversion.report.network_calls == 11
        back = editkit.reconstruct(inversion, model=model).report
        assert back.network_calls == 11
        assert back.sampler is None

    def test_an_edit_with_midpoint_steps_replays_from_its_recipe(self) -> None:
        model = ToyBackend(schedule=RectifiedFlow())
        params = {"source": "a", "target": "b", "inverter": "rf-midpoint", "steps": 5}
        result = editkit.apply("prompt-edit", sample_image((16, 16)), model=model, **params)
        assert (
            editkit.replay(result.encoded(".png", recipe="full"), model=model).image.tobytes() == result.image.tobytes()
        )


class TestControlled:
    def test_controlled_inversion_without_pulls_equals_euler(self) -> None:
        path, data = flow_path(8), GaussianDenoiser()
        plain = record_of("rf-euler", data, X0, path)
        free = record_of("rf-controlled:gamma=0.0,eta=0.0", data, X0, path)
        assert largest(free.trajectory - plain.trajectory) < 1e-12
        controls = build_inverter("rf-controlled:gamma=0.0,eta=0.0").controls(free, ONE)
        step = installed().build("samplers", "ddim")
        ends = [final_state(walk(step, data, X0, path, controls=some), X0) for some in ((), controls)]
        assert torch.equal(ends[0], ends[1])

    def test_controlled_inversion_follows_the_velocity_of_the_paper(self) -> None:
        """Algorithm 1: interpolate by ``gamma`` to the velocity that leads straight to the sampled noise."""
        path, data, gamma = flow_path(8), GaussianDenoiser(), 0.5
        target, x, expected = noise_source((1, 4, 8, 8), 7)(), X0, [X0]
        for p, q in itertools.pairwise(path[::-1]):
            own = from_x0("flow_prediction", data(x, p), x, p)
            x = x + (q.sigma - p.sigma) * (own + gamma * ((target - x) / (1 - p.sigma) - own))
            expected.append(x)
        latents = inversion_latents(f"rf-controlled:gamma={gamma}", data, X0, path)
        assert largest(torch.stack(latents) - torch.stack(expected)) < 1e-12

    def test_inversion_with_gamma_1_ends_at_the_sampled_noise(self) -> None:
        path = (Point(0.0, 1.0), *flow_path(8))
        noise = inversion_latents("rf-controlled:gamma=1.0", GaussianDenoiser(), X0, path)[-1]
        assert largest(noise - noise_source((1, 4, 8, 8), 7)()) < 1e-12

    def test_controlled_replay_follows_the_velocity_of_the_paper(self) -> None:
        """Algorithm 2: interpolate by ``eta`` to the velocity that leads straight to the source."""
        path, data, eta = flow_path(8), GaussianDenoiser(), 0.9
        record = record_of("rf-controlled", data, X0, path)
        step = installed().build("samplers", "ddim")
        controls = build_inverter("rf-controlled:start=0.25,stop=0.5").controls(record, torch.eye(2).double())
        latents = list(walk(step, GaussianDenoiser(-0.5), record.trajectory[0], path, controls=controls))
        x, expected = record.trajectory[0], []
        for index, (p, q) in enumerate(itertools.pairwise(path)):
            own = from_x0("flow_prediction", GaussianDenoiser(-0.5)(x, p), x, p)
            pull = eta if index in (2, 3) else 0.0
            x = x + (q.sigma - p.sigma) * (own + pull * ((x - X0) / p.sigma - own))
            expected.append(x)
        assert largest(torch.stack(latents) - torch.stack(expected)) < 1e-12

    def test_replay_with_eta_1_to_the_end_returns_the_source(self) -> None:
        model = ToyBackend(schedule=RectifiedFlow())
        for call, exact in (("rf-controlled:eta=1.0,stop=1.0", True), ("rf-controlled:eta=0.0", False)):
            inversion = editkit.invert(sample_image((16, 16)), model=model, prompt="a", method=call, steps=10)
            report = editkit.reconstruct(inversion, model=model, guidance=7.5, seed=0).report
            assert report.recon_psnr is not None
            assert (report.recon_psnr > 50) == exact, (call, report.recon_psnr)

    def test_options_without_effect_in_few_steps_are_named(self) -> None:
        path = flow_path(3)
        for call, named in {
            "rf-controlled": "rf-controlled:eta=0.9 has no effect: none of 3 steps lies whole between",
            "edit-friendly:skip=0.1": "edit-friendly:skip=0.1 has no effect",
            "edit-friendly:skip=0.4": "edit-friendly:skip=0.4 follows the source for 1 of 3 steps",
        }.items():
            params = {"source": "a", "target": "b", "inverter": call, "steps": len(path) - 1, "seed": 0}
            model = ToyBackend(schedule=RectifiedFlow())
            warnings = editkit.apply("prompt-edit", sample_image((16, 16)), model=model, **params).report.warnings
            assert [warning for warning in warnings if warning.startswith(named)], (call, warnings)
            whole = editkit.apply("prompt-edit", sample_image((16, 16)), model=model, **params | {"steps": 10})
            assert not [text for text in whole.report.warnings if "has no effect" in text or "follows the" in text]

    def test_a_longer_pull_changes_less_of_the_image(self) -> None:
        model, image = ToyBackend(schedule=RectifiedFlow()), sample_image((16, 16))
        changes = []
        for stop in (0.25, 0.5, 0.75):
            params = {"source": "a", "target": "b", "inverter": f"rf-controlled:stop={stop}", "steps": 8, "seed": 0}
            edited = editkit.apply("prompt-edit", image, model=model, **params)
            source = editkit.apply("prompt-edit", image, model=model, **{**params, "target": "a"})
            changes.append(largest(edited.latents - source.latents))
        assert changes == sorted(changes, reverse=True), changes


def test_a_source_pinned_everywhere_equals_states_with_an_offset() -> None:
    """Each row has its own state, and the network is evaluated at the state plus the recorded offset.

    The offset of a step is the source trajectory minus the source branch's state; steps change the states. On flow
    paths this equals changing the corrected latents themselves, as :class:`PinnedSource` does without a path, which
    would limit the correction to regions that still equal the source.
    """
    path, up, down = flow_path(10), GaussianDenoiser(0.3), GaussianDenoiser(torch.tensor([0.6, -0.5]).view(2, 1, 1, 1))
    record = record_of("pinned", up, X0[:1], path)
    start = torch.cat([record.trajectory[0], record.trajectory[0]])
    (recorded,) = build_inverter("pinned").controls(record, ONE)
    assert isinstance(recorded, PinnedSource)
    controls = (PinnedSource(recorded.trajectory, recorded.shares),)
    pinned = list(walk(installed().build("samplers", "ddim"), down, start, path, controls=controls))
    state = start
    for index, (p, q) in enumerate(itertools.pairwise(path)):
        offset = record.trajectory[index] - state[:1]
        corrected = state + offset
        eps, x0 = eps_of(corrected, down(corrected, p), p), down(corrected, p)
        state = state + (q.sigma - p.sigma) * (eps - x0)
        assert largest(pinned[index] - (state + record.trajectory[index + 1] - state[:1])) < 1e-12
    assert torch.equal(pinned[-1][:1], X0[:1])
    assert largest(pinned[-1][1:] - X0[:1]) > 0.1


class TestAligned:
    """The inverter ``aligned`` is DirectEdit (arXiv 2605.02417)."""

    def test_aligned_edits_by_the_loop_of_the_authors(self) -> None:
        """Velocities at the cleaner latents and the noisier level; edited latents add the source's recorded step."""
        model = ToyBackend(native_size=8, schedule=RectifiedFlow())
        session = toy_session(model, SamplingParams.parse("toy", {}))
        source, target = model.embed(["a"]), model.embed(["b"])
        path = session.inversion_path(6)

        def velocity(x: Tensor, point: Point, condition: Condition) -> Tensor:
            return (x - model.denoise(x, point, condition)) / point.sigma

        latents, steps = [session.latents], []
        for p, q in itertools.pairwise(path[::-1]):
            latents.append(latents[-1] + (q.sigma - p.sigma) * velocity(latents[-1], q, source))
            steps.append(latents[-2] - latents[-1])
        edited = latents[-1]
        for p, q in itertools.pairwise(path):
            edited = edited + (q.sigma - p.sigma) * velocity(edited + steps.pop(), p, target)

        inverter = build_inverter("aligned")
        record = invert_latents(session, inverter, session.latents, path, source)
        assert largest(record.trajectory[:, 0] - torch.cat(latents[::-1])) < 1e-12
        both = torch.cat([record.trajectory[0], record.trajectory[0]])
        sampled = sample_from_inversion(
            session, inverter, record, both, model.embed(["a", "b"]), torch.ones(2, 1, dtype=torch.float64)
        )
        assert torch.equal(sampled[:1], session.latents)
        assert largest(sampled[1:] - edited) < 1e-12

    def test_no_step_of_aligned_has_an_error_of_its_own(self) -> None:
        for kind, path in (("vp", vp_path(7)), ("flow", flow_path(7))):
            record = record_of("aligned", GaussianDenoiser(), X0, path)
            step = build_inverter("aligned").replay_stepper(record, torch.eye(2, dtype=torch.float64))
            assert step is not None
            replayed = torch.stack(list(walk(step, GaussianDenoiser(), record.trajectory[0], path)))
            assert largest(replayed - record.trajectory[1:]) < 1e-12, kind

    def test_the_source_of_an_aligned_edit_is_evaluated_once(self) -> None:
        for guidance, samples in ((1.0, 12), (2.0, 18)):
            model = ToyBackend(schedule=RectifiedFlow())
            params = {"source": "a", "target": "b", "inverter": "aligned", "steps": 6, "guidance": guidance}
            report = editkit.apply("prompt-edit", sample_image((16, 16)), model=model, cache=False, **params).report
            assert report.network_samples == samples, guidance


def test_pinned_reconstructs_flow_at_the_bound_at_any_guidance() -> None:
    model = ToyBackend(schedule=RectifiedFlow())
    inversion = editkit.invert(sample_image((16, 16)), model=model, prompt="a", method="pinned", steps=10)
    for guidance in (0.0, 1.0, 7.5):
        report = editkit.reconstruct(inversion, model=model, guidance=guidance).report
        assert report.recon_psnr == report.vae_psnr == 100.0


@pytest.mark.parametrize("call", FLOW)
def test_flow_inverters_refuse_other_models_by_name(call: str) -> None:
    with pytest.raises(editkit.MissingCapability, match=f"{call} needs flow_prediction; the model 'toy' gives sample"):
        editkit.apply(
            "prompt-edit", sample_image((8, 8)), model=ToyBackend(), source="a", target="b", steps=2, inverter=call
        )


@pytest.mark.parametrize("call", FLOW)
def test_an_edit_from_pure_noise_is_reproducible(call: str) -> None:
    model = ToyBackend(schedule=RectifiedFlow())
    params = {"source": "a", "target": "b", "inverter": call, "steps": 4, "seed": 3}
    first, again = (editkit.apply("prompt-edit", sample_image((7, 5)), model=model, **params) for _ in range(2))
    assert first.image.tobytes() == again.image.tobytes() != sample_image((7, 5)).tobytes()
