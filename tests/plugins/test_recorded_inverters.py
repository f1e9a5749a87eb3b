"""Inverters that record extras, and inverters with invertible steps: laws beyond their suite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from editkit_inverters.belm import two_step
from editkit_inverters.edit_friendly import AT_ONCE, noise_between
from editkit_inverters.null_text import NullText
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
from editkit.testing.loop_suites import toy_session
from editkit.testing.suite import largest, noise_source, random_latents, sample_image

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


def made(call: str) -> Inverter:
    return installed().build("inverters", call)  # type: ignore[no-any-return]


def climbed(call: str, denoise: editkit.Denoiser, x0: Tensor, path: editkit.SamplingPath) -> InversionRecord:
    """An inversion record as a session makes it, without its extras."""
    kept: dict[str, Tensor] = {}
    noise = noise_source((1, *x0.shape[1:]))
    rising = [x0, *collect_extras(made(call).invert(denoise, x0, path[::-1], noise), kept)]
    return InversionRecord(torch.stack(rising[::-1]), path, kept)


def replayed(call: str, denoise: editkit.Denoiser, climb: InversionRecord) -> Tensor:
    """The end of a replay with the inverter's own steps alone: nothing is pinned."""
    step = made(call).replay_stepper(climb, torch.eye(climb.trajectory.shape[1]).to(climb.trajectory))
    assert step is not None
    return final_state(walk(step, denoise, climb.trajectory[0], climb.path), climb.trajectory[0])


def session_of(model: editkit.Backend, **params: Any) -> Session:
    return toy_session(model, SamplingParams.parse("toy", params))


def of_session(session: Session, call: str, steps: int) -> InversionRecord:
    with torch.no_grad():
        path = session.inversion_path(steps)
        return invert_latents(session, made(call), session.latents, path, session.embed("a red apple"))


def unpinned(session: Session, call: str, climb: InversionRecord) -> Tensor:
    """The source row as its own steps bring it back, under the guidance of the session."""
    with torch.no_grad():
        guidance = session.guided(session.embed("a red apple"), 1, climb.path)
        return replayed(call, guidance, climb)


def slopes(errors: Sequence[float]) -> list[float]:
    return [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]


class TestReversible:
    """Algebra brings the source back: nothing is pinned in these laws."""

    def test_a_replay_undoes_the_inversion(self) -> None:
        for (kind, path), call, steps in itertools.product(PATHS.items(), ("edict", "belm"), (2, 7, 50)):
            for data in (GaussianDenoiser(), MixtureDenoiser.of_shape((4, 8, 8))):
                climb = climbed(call, data, X0, path(steps))
                missed = largest(replayed(call, data, climb) - X0)
                assert missed < 1e-10, f"{call} on {kind}, {steps} steps: off by {missed:.1e}"

    def test_also_under_guidance(self) -> None:
        for schedule, spacing in itertools.product((PLAIN, TO_PURE_NOISE, RectifiedFlow()), ("leading", "trailing")):
            session = session_of(ToyBackend(native_size=8, schedule=schedule), guidance=7.5, spacing=spacing)
            for call in ("edict", "belm"):
                climb = of_session(session, call, 20)
                missed = largest(unpinned(session, call, climb) - session.latents)
                assert missed < 1e-10, f"{call}, {type(schedule).__name__}, {spacing}: off by {missed:.1e}"

    def test_edict_starts_from_equal_latents_and_calls_twice_a_step(self) -> None:
        asked: list[Point] = []

        def recording(x: Tensor, point: Point) -> Tensor:
            asked.append(point)
            return GaussianDenoiser()(x, point)

        path = vp_path(5)
        climb = climbed("edict", recording, X0, path)
        assert asked == [point for point in path[-2::-1] for _ in range(2)]
        assert 0 < largest(climb.extras["apart"]) < 0.5

    def test_a_pair_parts_no_more_where_steps_are_many(self) -> None:
        apart = [largest(climbed("edict", GaussianDenoiser(), X0, vp_path(n)).extras["apart"]) for n in (50, 400)]
        assert apart[1] < apart[0], apart

    def test_the_two_step_method_is_of_second_order(self) -> None:
        for kind, path in {"vp": vp_path, "flow": flow_path}.items():
            errors = []
            for steps in (100, 200, 400, 800):
                points = path(steps)
                exact = GaussianDenoiser().transport(X0, points[-1], points[0])
                errors.append(largest(climbed("belm", GaussianDenoiser(), X0, points).trajectory[0] - exact))
            assert min(slopes(errors)) > 1.8, (kind, errors)

    def test_in_the_papers_variables_the_two_step_method_is_the_papers(self) -> None:
        """Coefficients of O-BELM (arXiv 2410.07273): deep enough in the image the bound of sigma / alpha is none."""
        data, points = GaussianDenoiser(), [Point(math.cos(a), math.sin(a)) for a in (0.013, 0.008, 0.002)]
        o, p, q = points
        earlier, x = X0, X0 + 0.01 * random_latents(2, seed=2)
        before, here, after = (point.sigma / point.alpha for point in points)
        h, last_h = here - after, before - here
        eps = (x - p.alpha * data(x, p)) / p.sigma
        by_hand = q.alpha * (
            (h / last_h) ** 2 * earlier / o.alpha
            + (1 - (h / last_h) ** 2) * x / p.alpha
            - h * (h + last_h) / last_h * eps
        )
        assert largest(two_step(data, x, p, q, (earlier, o)) - by_hand) < 1e-4

    def test_an_edited_row_starts_from_the_noise_of_its_source(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=3.0)
        climb = of_session(session, "belm", 5)
        step = made("belm").replay_stepper(climb, torch.ones(2, 1).double())
        assert step is not None
        start = torch.cat([climb.trajectory[0]] * 2)
        rows = next(iter(walk(step, GaussianDenoiser(), start, climb.path)))
        assert largest(rows - climb.trajectory[1]) < 1e-12

    def test_a_replay_that_is_guided_otherwise_is_pinned(self) -> None:
        for call in ("edict", "belm", "edit-friendly"):
            inversion = editkit.invert(picture(), model=ToyBackend(), prompt="a", method=call, steps=5, guidance=3.0)
            for guidance in (1.0, 7.5):
                drawn = editkit.reconstruct(inversion, model=ToyBackend(), guidance=guidance)
                assert torch.equal(drawn.latents, inversion.trajectory[-1])


class TestDpmpp:
    """A sampler of second order run upward."""

    def errors(self, call: str, path: Any, counts: Sequence[int]) -> list[float]:
        """The root mean square error of a round trip."""
        missed = []
        for steps in counts:
            climb = climbed(call, GaussianDenoiser(), X0, path(steps))
            missed.append(float((replayed(call, GaussianDenoiser(), climb) - X0).square().mean().sqrt()))
        return missed

    def test_the_inversion_is_of_second_order(self) -> None:
        for kind, path in {"vp": vp_path, "flow": flow_path}.items():
            errors = []
            for steps in (200, 400, 800):
                points = path(steps)
                exact = GaussianDenoiser().transport(X0, points[-1], points[0])
                errors.append(largest(climbed("dpmpp", GaussianDenoiser(), X0, points).trajectory[0] - exact))
            assert min(slopes(errors)) > 1.8, (kind, errors)

    def test_round_trips_close_at_second_order(self) -> None:
        for kind, path in {"vp": vp_path, "flow": flow_path}.items():
            errors = self.errors("dpmpp", path, (25, 50, 100))
            assert min(slopes(errors)) > 1.9, (kind, errors)

    def test_each_step_evaluates_once_at_its_start(self) -> None:
        asked: list[Point] = []

        def recording(x: Tensor, point: Point) -> Tensor:
            asked.append(point)
            return GaussianDenoiser()(x, point)

        climbed("dpmpp", recording, X0, vp_path(6))
        assert asked == list(vp_path(6)[:0:-1])


class Knowing(ToyBackend):
    """A model whose estimate is always the latents of the image."""

    def encode(self, pixels: Tensor) -> Tensor:
        self.picture = super().encode(pixels)
        return self.picture

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        return self.picture.expand_as(x)


class Small(ToyBackend):
    """A model whose memory holds ``rows`` rows."""

    rows = 6

    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        if len(x) > self.rows:
            raise torch.cuda.OutOfMemoryError
        return super().denoise(x, point, condition)


class TestEditFriendly:
    """The trajectory is sampled, and the noise of the replay is solved for."""

    def test_every_latent_is_noised_by_itself(self) -> None:
        path, noise = vp_path(6), noise_source((1, 4, 8, 8))
        climb = climbed("edit-friendly", GaussianDenoiser(), X0, path)
        for x, point in zip(climb.trajectory[:-1].flip(0), path[-2::-1], strict=True):
            assert largest(x - (point.alpha * X0 + point.sigma * noise())) < 1e-12

    def test_edit_friendly_noise_explains_the_difference_of_the_draws(self) -> None:
        """The network estimates the image itself; the maps vary more than unit noise (section 3.2 of the paper)."""
        session = session_of(Knowing(native_size=8))
        climb = of_session(session, "edit-friendly", 8)
        drawn = [
            (x - point.alpha * session.latents) / point.sigma
            for x, point in zip(climb.trajectory[:-1], climb.path, strict=False)
        ]
        for index, (p, q) in enumerate(itertools.pairwise(climb.path[:-1])):
            kept = p.alpha * q.sigma / (q.alpha * p.sigma)
            wanted = (drawn[index + 1] - kept * drawn[index]) / math.sqrt(1 - kept**2)
            assert largest(climb.extras["noise"][:, index] - wanted) < 1e-10

    def test_ddpm_noise_of_a_walk_of_ddpm_is_found_again(self) -> None:
        x, (p, q), data = X0, vp_path(4)[1:3], GaussianDenoiser()
        noise = random_latents(2, seed=9)
        after = next(iter(walk(installed().build("samplers", "ddpm"), data, x, (p, q), noise=lambda: noise)))
        assert ddpm_noise_std(p, q) > 0
        assert largest(noise_between(x, after, data(x, p), p, q) - noise) < 1e-10

    def test_recorded_noise_alone_leads_back(self) -> None:
        calls = ("edit-friendly", "edit-friendly:skip=0.36")
        for schedule, guidance, call in itertools.product((PLAIN, TO_PURE_NOISE, RectifiedFlow()), (1.0, 7.5), calls):
            session = session_of(ToyBackend(native_size=8, schedule=schedule), guidance=guidance)
            climb, inverter, one = of_session(session, call, 10), made(call), torch.ones(1, 1)
            noise, _ = inverter.controls(climb, one.double())
            step = inverter.replay_stepper(climb, one.double())
            assert step is not None
            denoise = session.guided(session.embed("a red apple"), 1, climb.path)
            drawn = walk(step, denoise, climb.trajectory[0], climb.path, controls=[noise])
            missed = largest(torch.stack(list(drawn)) - climb.trajectory[1:])
            assert missed < 1e-10, f"{schedule}, guidance {guidance}: off by {missed:.1e}"

    def test_many_steps_are_one_call(self) -> None:
        for guidance, rows in ((1.0, 1), (3.0, 2)):
            session = session_of(ToyBackend(native_size=8), guidance=guidance)
            of_session(session, "edit-friendly", 20)
            assert (session.usage.calls, session.usage.samples) == (1, 20 * rows)

    def test_no_call_is_larger_than_it_may_be(self) -> None:
        for guidance, rows in ((1.0, 1), (3.0, 2)):
            session = session_of(ToyBackend(native_size=64), guidance=guidance)
            of_session(session, "edit-friendly", 20)
            at_once = AT_ONCE // (rows * session.latents.numel())
            assert 1 < at_once < 20
            assert session.usage.calls == math.ceil(20 / at_once)

    def test_a_call_that_does_not_fit_is_halved(self) -> None:
        roomy, small = (session_of(kind(native_size=8), guidance=3.0) for kind in (ToyBackend, Small))
        one, other = (of_session(session, "edit-friendly", 20) for session in (roomy, small))
        assert largest(one.extras["noise"] - other.extras["noise"]) < 1e-12
        with pytest.raises(torch.cuda.OutOfMemoryError):
            small.model.rows = 1  # type: ignore[attr-defined]
            of_session(small, "edit-friendly", 20)

    def test_skipped_steps_cost_nothing_and_change_nothing(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=3.0)
        climb, inverter = of_session(session, "edit-friendly:skip=0.5", 10), made("edit-friendly:skip=0.5")
        assert climb.extras["noise"].shape[1] == 5
        assert session.usage.samples == 2 * 5
        before, shares = session.usage.calls, torch.ones(2, 1).double()
        start = torch.cat([climb.trajectory[0]] * 2)
        denoise = session.guided(session.embed("a red apple", "a green apple"), 2, climb.path)
        step, controls = inverter.replay_stepper(climb, shares), inverter.controls(climb, shares)
        assert step is not None
        rows = list(walk(step, denoise, start, climb.path, controls=controls))
        assert session.usage.calls - before == 5
        assert all(torch.equal(x[1:], recorded) for x, recorded in zip(rows[:5], climb.trajectory[1:], strict=False))
        assert largest(rows[-1][1:] - climb.trajectory[-1]) > 1e-3

    def test_the_seed_decides(self) -> None:
        given = {"prompt": "a red apple", "method": "edit-friendly", "steps": 5, "guidance": 3.0, "cache": False}
        first, again, other = (
            editkit.invert(picture(), model=ToyBackend(), seed=seed, **given).record for seed in (1, 1, 2)
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
            maps.append(invert_latents(session, made("edit-friendly"), rows, path, prompts).extras["noise"])
        assert largest(maps[0] - torch.cat(maps[1:])) < 1e-10


class TestNullText:
    """The negative condition is optimised, step by step."""

    def missed(self, method: str, **params: Any) -> tuple[float, editkit.Report]:
        """Root mean square that a reconstruction at guidance 7.5 misses its latents by, and the inversion's report."""
        given = {"prompt": "a red apple", "steps": 25, "guidance": 7.5, "cache": False, **params}
        inversion = editkit.invert(picture(), model=ToyBackend(), method=method, **given)
        drawn = editkit.reconstruct(inversion, model=ToyBackend()).latents
        assert inversion.report is not None
        return float((drawn - inversion.trajectory[-1]).square().mean().sqrt()), inversion.report

    def test_brings_the_source_back_far_nearer_than_ddim(self) -> None:
        plain, fitted, less = (self.missed(method)[0] for method in ("ddim", "null-text", "null-text:inner=1"))
        assert fitted < plain / 20, (plain, fitted)
        assert fitted < less < plain

    def test_null_text_costs_the_documented_network_calls(self) -> None:
        """An inversion, the prompt once a step, and at most ``inner + 1`` tries, each of one row per source."""
        for inner in (1, 3):
            report = self.missed(f"null-text:inner={inner},tolerance=0.0")[1]
            assert report.network_calls == report.network_samples == 25 * (1 + 1 + inner + 1)
        report = self.missed("null-text:tolerance=100.0")[1]
        assert report.network_calls == 25 * (1 + 1 + 1)

    def test_starts_from_the_empty_prompt_and_stays_where_nothing_is_missed(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=7.5, negative_prompt="")
        climb = of_session(session, "null-text:tolerance=100.0", 4)
        assert largest(climb.extras["text"] - session.embed("")["text"]) == 0
        assert climb.extras["text"].shape == (1, 4, 3)

    def test_nothing_is_fitted_without_guidance(self) -> None:
        session = session_of(ToyBackend(native_size=8))
        assert of_session(session, "null-text", 4).extras == {}
        assert session.usage.calls == 4
        assert made("null-text").controls(of_session(session, "null-text", 4), torch.ones(1, 1)) == ()

    def test_steps_that_are_not_guided_are_not_fitted(self) -> None:
        session = session_of(ToyBackend(native_size=8), guidance=7.5, guidance_start=0.5)
        of_session(session, "null-text:tolerance=0.0,inner=1", 4)
        assert session.usage.calls == 4 + 2 * 1 + 2 * (1 + 2)

    def test_a_step_keeps_the_best_that_was_tried(self) -> None:
        """Far too large a rate leads beyond the aim, and not back to where it began in one more try."""
        text, wanted = torch.tensor([[0.0], [0.9]]), torch.tensor([[0.1], [0.0]])
        found = NullText(inner=2, rate=1.0, tolerance=0.0).fitted(text, lambda tried: 1.0 * tried, wanted, 0.0)
        assert found.text[0] == 0.0
        assert 0 < found.text[1].abs() < 0.2
        assert torch.equal(found.after, found.text)


class TestNegatives:
    """Both inverters that set the negative condition."""

    def test_negative_prompt_is_ddim_without_guidance(self) -> None:
        ends = []
        for method, guidance in (("ddim", 1.0), ("negative-prompt", 7.5)):
            inversion = editkit.invert(picture(), model=ToyBackend(), prompt="a red apple", method=method, steps=5)
            ends.append(editkit.reconstruct(inversion, model=ToyBackend(), guidance=guidance).latents)
        assert largest(ends[0] - ends[1]) < 1e-10


PROMPTS = {"source": "a red apple", "target": "a green apple"}


def picture() -> object:
    return sample_image((16, 16))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Prediction, Path]]:
    """Folders of tiny models that predict each kind."""
    kinds: tuple[Any, ...] = ("epsilon", "v_prediction", "sample")
    yield {kind: stable_diffusion_folder(tmp_path_factory.mktemp(kind), prediction_type=kind) for kind in kinds}


def test_a_replay_undoes_the_inversion_of_a_network(tiny: dict[Prediction, Path]) -> None:
    for kind, folder in tiny.items():
        model = editkit.load_model(folder, dtype="float64")
        if kind == "v_prediction":
            model.schedule = TO_PURE_NOISE
        session = session_of(model, guidance=7.5, spacing="trailing")
        for call in ("edict", "belm"):
            missed = largest(unpinned(session, call, of_session(session, call, 10)) - session.latents)
            assert missed < 1e-9, f"{call}, {kind}: off by {missed:.1e}"


def test_rounding_errors_are_pinned(tiny: dict[Prediction, Path]) -> None:
    """A network that was never trained makes much of it: float32 alone comes back with 3 digits at guidance 7.5."""
    given = {"prompt": "a red apple", "steps": 5, "guidance": 7.5, "cache": False}
    for folder in tiny.values():
        model = editkit.load_model(folder, dtype="float32")
        for call in ("edict", "belm", "edit-friendly"):
            inversion = editkit.invert(picture(), model=model, method=call, **given)
            assert torch.equal(editkit.reconstruct(inversion, model=model).latents, inversion.trajectory[-1])


def test_null_text_follows_a_network_through_its_attention(tiny: dict[Prediction, Path]) -> None:
    model = editkit.load_model(tiny["epsilon"])
    given = {"prompt": "a red apple", "steps": 5, "guidance": 7.5, "cache": False}
    inversion = editkit.invert(picture(), model=model, method="null-text:inner=2", **given)
    text = inversion.record.extras["text"]
    assert text.shape[:2] == (1, 5)
    assert text.requires_grad is False
    assert 0 < largest(text - model.embed([""])["text"]) < 1


@pytest.mark.parametrize("method", ["negative-prompt", "null-text"])
def test_another_negative_prompt_is_refused(method: str) -> None:
    given = {"source": "a red apple", "target": "a green apple", "inverter": method, "steps": 4, "guidance": 3.0}
    editkit.apply("prompt-edit", picture(), model=ToyBackend(), **given)
    with pytest.raises(InvalidParameter, match=f"negative_prompt='a pear'.*{method}"):
        editkit.apply("prompt-edit", picture(), model=ToyBackend(), negative_prompt="a pear", **given)


@pytest.mark.parametrize("method", ["negative-prompt", "null-text"])
@pytest.mark.parametrize("provides", [(), ("text", "distilled-guidance")])
def test_a_model_that_makes_one_estimate_is_refused(method: str, provides: tuple[str, ...]) -> None:
    model = ToyBackend()
    model.provides = frozenset(provides)
    with pytest.raises(MissingCapability, match=f"{method} needs text and guidance by two estimates"):
        editkit.invert(picture(), model=model, method=method, steps=4)


@pytest.mark.parametrize("method", ["edit-friendly", "edict", "belm", "dpmpp"])
def test_a_sampler_beside_own_steps_is_refused_before_any_work(method: str) -> None:
    with pytest.raises(InvalidParameter, match=f"sampler='heun' is not allowed: the inverter {method}"):
        editkit.apply("prompt-edit", picture(), model=ToyBackend(), sampler="heun", inverter=method, **PROMPTS)


@pytest.mark.parametrize("method", ["edit-friendly", "edict", "belm", "dpmpp"])
def test_an_edit_by_own_steps_replays_from_its_recipe(method: str) -> None:
    params = {"inverter": method, "steps": 4, "guidance": 3.0, **PROMPTS}
    result = editkit.apply("prompt-edit", picture(), model=ToyBackend(), **params)
    assert result.report.sampler is None
    assert editkit.replay(result.encoded(".png"), model=ToyBackend()).image.tobytes() == result.image.tobytes()
