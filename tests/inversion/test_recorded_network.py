"""Laws of recorded estimates: a replay that reuses them equals one that evaluates the network every time."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from editkit_inverters.edit_friendly import EditFriendly
from editkit_inverters.pinned import PinnedInverter
from torch import Tensor

from editkit import (
    Condition,
    Control,
    Guidance,
    InversionRecord,
    Point,
    RecordedEstimates,
    RectifiedFlow,
    SamplingParams,
    Session,
    blend_conditions,
    invert_latents,
    mark_source_rows,
    sample_from_inversion,
)
from editkit.diffusion.denoiser import stack_conditions
from editkit.inversion.recorded_network import GuidanceWithRecord, RecordedNetwork
from editkit.testing import ToyBackend
from editkit.testing.suite import largest, toy_session

STEPS = 6


class Forgetful(PinnedInverter):
    """An inverter that evaluates everything again."""

    def recorded_estimates(
        self, climb: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        return ()


class Watched(Control):
    """Does nothing to the model but to be attached to it."""

    def attach(self, backend: Any) -> Any:
        return super().attach(backend)


class Watching(PinnedInverter):
    def controls(self, climb: InversionRecord, shares: Tensor) -> Any:
        return (*super().controls(climb, shares), Watched())


def session(schedule: RectifiedFlow | None = None, **params: Any) -> Session:
    return toy_session(ToyBackend(native_size=8, schedule=schedule), SamplingParams.parse("toy", params))


def edited(session: Session, inverter: PinnedInverter, change: Tensor | None = None) -> tuple[Tensor, int]:
    """The latents (2, C, h, w) of a source and its edit, and the network samples of the replay."""
    source, target = session.embed("a red apple"), session.embed("a green apple")
    climb = invert_latents(session, inverter, session.latents, session.inversion_path(STEPS), source)
    assert session.usage.samples == STEPS
    noise = torch.cat([climb.trajectory[0]] * 2)
    drawn = sample_from_inversion(
        session, inverter, climb, noise, stack_conditions([source, target]), torch.ones(2, 1), change
    )
    return drawn, session.usage.samples - STEPS


LED = {"negative_prompt": "a red apple"}
ASKED: Mapping[str, tuple[dict[str, Any], int]] = {
    "unguided": ({}, STEPS + 1),
    "led away from the source": ({"guidance": 7.5, **LED}, 2 * STEPS + 2),
    "led away from another": ({"guidance": 7.5, "negative_prompt": "a pear"}, 3 * STEPS + 1),
    "rescaled": ({"guidance": 3.0, "guidance_rescale": 0.7, **LED}, 2 * STEPS + 2),
    "guided in the middle": ({"guidance": 3.0, "guidance_start": 1 / 3, "guidance_end": 2 / 3, **LED}, STEPS + 1 + 2),
    "fresh noise": ({"sampler": "ddpm", "guidance": 3.0, **LED}, 2 * STEPS + 2),
    "two steps of history": ({"sampler": "dpmpp-2m"}, STEPS + 1),
    "asked off the way too": ({"sampler": "heun"}, 3 * STEPS + 1),
}
"""Parameters of an edit of one image, and the network samples of its replay.

The noisiest latents alone were not asked about on the way up.
"""


@pytest.mark.parametrize("kind", ["vp", "flow"])
@pytest.mark.parametrize("name", ASKED)
def test_reused_estimates_equal_those_of_the_network(name: str, kind: str) -> None:
    params, samples = ASKED[name]
    drawn = [
        edited(session(RectifiedFlow() if kind == "flow" else None, **params), inverter)
        for inverter in (PinnedInverter(), Forgetful())
    ]
    (actual, requests), (target, all_asked) = drawn
    assert largest(actual - target) < 1e-10
    assert requests == samples < all_asked


def test_a_mask_does_not_change_reused_estimates() -> None:
    change = torch.linspace(0, 1, 8).to(torch.float64).expand(1, 1, 8, 8)
    (actual, requests), (target, all_asked) = (
        edited(session(), inverter, change) for inverter in (PinnedInverter(), Forgetful())
    )
    assert largest(actual - target) < 1e-10 and requests < all_asked


def test_estimates_of_several_sources_are_reused() -> None:
    shares = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    drawn = []
    for inverter in (PinnedInverter(), Forgetful()):
        one = session(guidance=2.0, negative_prompt="a pear")
        prompts = one.embed("a red apple", "a green apple")
        latents = torch.cat([one.latents, one.latents.flip(-1)])
        climb = invert_latents(one, inverter, latents, one.inversion_path(STEPS), prompts)
        noise = torch.cat([climb.trajectory[0], climb.trajectory[0].mean(0, keepdim=True)])
        drawn.append(
            (
                sample_from_inversion(one, inverter, climb, noise, blend_conditions(prompts, shares), shares),
                one.usage.samples,
            )
        )
    assert largest(drawn[0][0] - drawn[1][0]) < 1e-10
    assert drawn[1][1] - drawn[0][1] == 2 * (STEPS - 1)


def asked_by(inverter: PinnedInverter, condition: Condition | None, **params: Any) -> int:
    """The network samples of a replay of one source, inverted under ``condition`` or under an unknown one."""
    one = session(**params)
    climb = invert_latents(one, inverter, one.latents, one.inversion_path(STEPS), one.embed("a red apple"))
    climb = dc.replace(climb, condition=condition)
    before = one.usage.samples
    sample_from_inversion(one, inverter, climb, climb.trajectory[0], one.embed("a red apple"), torch.ones(1, 1))
    return one.usage.samples - before


def test_estimates_of_other_inputs_are_not_reused() -> None:
    prompt_condition = session().embed("a red apple")
    assert asked_by(PinnedInverter(), prompt_condition) == 1
    assert asked_by(PinnedInverter(), None) == STEPS
    assert asked_by(PinnedInverter(), session().embed("a pear")) == STEPS
    assert asked_by(PinnedInverter(), {**prompt_condition, "more": torch.ones(1)}) == STEPS
    assert asked_by(Watching(), prompt_condition) == STEPS, "what is attached to the model may change its answers"


def test_only_latents_on_the_trajectory_have_recorded_estimates() -> None:
    """A condition may be a number for each row, as the guidance scale of a distilled model is."""
    one = session()
    climb = invert_latents(one, PinnedInverter(), one.latents, one.inversion_path(STEPS), one.embed("a red apple"))
    prompt_condition = {**one.embed("a red apple"), "scale": torch.ones(1)}
    (recorded,) = PinnedInverter().recorded_estimates(dc.replace(climb, condition=prompt_condition), [])
    network, x = RecordedNetwork(one.network, climb, [recorded], rows=1), climb.trajectory[2]
    mark_source_rows(x, climb.trajectory, 2)
    for scale, latents, samples in ((1.0, x, 0), (2.0, x, 1), (1.0, x.clone(), 1)):
        condition = {**prompt_condition, "scale": torch.full((1,), scale)}
        guidance = GuidanceWithRecord.of(Guidance(one.network, [condition], [1.0]), network)
        before = one.usage.samples
        assert torch.equal(guidance(latents, climb.path[2]), recorded.estimates[:, 1])
        assert one.usage.samples - before == samples


class Unpinned(PinnedInverter):
    """An inverter that declares its estimates and lets the sources leave their trajectory."""

    def controls(self, climb: InversionRecord, shares: Tensor) -> Any:
        return ()


def test_sources_that_left_their_trajectory_are_evaluated_again() -> None:
    latents, samples = edited(session(guidance=3.0, negative_prompt="a pear"), Unpinned())
    assert samples == 2 * 2 * STEPS
    assert torch.isfinite(latents).all()


def test_one_condition_of_a_replay_is_cut_once() -> None:
    """Networks cache the keys and values of a prompt as long as it is the same tensor."""
    one, seen = session(), []
    source, target = one.embed("a red apple"), one.embed("a green apple")
    climb = invert_latents(one, PinnedInverter(), one.latents, one.inversion_path(STEPS), source)
    denoise = one.model.denoise
    one.model.denoise = lambda x, point, condition: seen.append(condition["text"]) or denoise(x, point, condition)  # type: ignore[method-assign]
    noise = torch.cat([climb.trajectory[0]] * 2)
    sample_from_inversion(one, PinnedInverter(), climb, noise, stack_conditions([source, target]), torch.ones(2, 1))
    assert len(seen) == STEPS and len(set(map(id, seen))) == 2, "the first step, of both rows, and the others"


def test_an_inversion_records_the_estimate_of_each_of_its_latents() -> None:
    one = session()
    prompt_condition = one.embed("a red apple")
    climb = invert_latents(one, PinnedInverter(), one.latents, one.inversion_path(STEPS), prompt_condition)
    ((condition, estimates, begin, _),) = PinnedInverter().recorded_estimates(climb, [])
    assert condition is climb.condition and begin == 1
    assert estimates.shape == (1, STEPS, *one.latents.shape[1:])
    for x, point, recorded in zip(climb.trajectory[1:], climb.path[1:], estimates[0], strict=True):
        assert isinstance(point, Point)
        assert torch.equal(one.network(x, point, prompt_condition)[0], recorded)


class Resolving(EditFriendly):
    """An inverter that evaluates everything again."""

    def recorded_estimates(
        self, climb: InversionRecord, conditions: Sequence[Condition]
    ) -> Sequence[RecordedEstimates]:
        return ()


FRIENDLY: Mapping[str, tuple[dict[str, Any], int]] = {
    "unguided": ({}, STEPS),
    "guided": ({"guidance": 7.5, "negative_prompt": "a pear"}, 2 * STEPS),
    "rescaled": ({"guidance": 3.0, "guidance_rescale": 0.7, "negative_prompt": "a pear"}, 2 * STEPS),
}
"""Parameters of an edit-friendly edit, and the samples of its replay: none is of the source."""


@pytest.mark.parametrize("skip", [0.0, 0.4])
@pytest.mark.parametrize("name", FRIENDLY)
def test_noise_that_was_solved_for_needs_no_network_for_the_source(name: str, skip: float) -> None:
    params, samples = FRIENDLY[name]
    actual = []
    for inverter in (EditFriendly(skip), Resolving(skip)):
        one = session(**params)
        source, target = one.embed("a red apple"), one.embed("a green apple")
        climb = invert_latents(one, inverter, one.latents, one.inversion_path(STEPS), source)
        before = one.usage.samples
        noise = torch.cat([climb.trajectory[0]] * 2)
        drawn = sample_from_inversion(one, inverter, climb, noise, stack_conditions([source, target]), torch.ones(2, 1))
        actual.append((drawn, one.usage.samples - before))
    assert largest(actual[0][0] - actual[1][0]) < 1e-10
    drawn_steps = STEPS - inverter.first_step(climb.path)
    assert actual[0][1] == samples * drawn_steps // STEPS
    assert actual[1][1] == 2 * actual[0][1]


def test_a_guidance_interval_evaluates_the_source_again() -> None:
    one = session(guidance=3.0, guidance_start=1 / 3, negative_prompt="a pear")
    climb = invert_latents(one, EditFriendly(0.0), one.latents, one.inversion_path(STEPS), one.embed("a red apple"))
    assert set(climb.extras) == {"noise"}
