"""Conformance suite of inverters, on Gaussian data whose exact denoiser is known."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args
from unittest import SkipTest

import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath
from ..diffusion.points import Point
from ..diffusion.schedules import RectifiedFlow
from ..editing.apply import apply
from ..editing.primitives import invert_latents, sample_from_inversion
from ..editing.session import Session
from ..inversion.inversion import Inversion
from ..inversion.inverter import Inverter
from ..inversion.record import InversionRecord
from ..literals import Spacing
from ..registry.registry import installed
from ..registry.specs import InverterSpec
from ..sampling.params import SamplingParams
from .suite import PATHS, Suite, largest, noise_source, random_latents, sample_image, toy_session
from .toy import GaussianDenoiser, ToyBackend


class InverterTests(Suite):
    """Checks of every inverter."""

    kind = "inverter"

    @property
    def declared(self) -> InverterSpec:
        return installed().spec("inverters", self.name)  # type: ignore[no-any-return]

    @property
    def paths(self) -> Mapping[str, Callable[[int], SamplingPath]]:
        """Paths of the models that the inverter serves."""
        flow = {"flow_prediction"}
        predictions = {"vp": self.declared.predictions - flow, "flow": self.declared.predictions & flow}
        return {kind: path for kind, path in PATHS.items() if predictions[kind]}

    def inverter(self) -> Inverter:
        return installed().build("inverters", self.name)  # type: ignore[no-any-return]

    def trajectory(self, x0: Tensor, path: SamplingPath) -> Tensor:
        """Return the trajectory (N + 1, S, C, h, w), from noise to clean, of an inversion along ``path``."""
        return torch.stack([x0, *self.rising(x0, path)][::-1])

    def rising(self, x0: Tensor, path: SamplingPath, seed: int = 0) -> Iterator[Tensor]:
        """Yield the latents of an inversion along the reverse of ``path``."""
        noise = noise_source((1, *x0.shape[1:]), seed)
        return self.inverter().invert(GaussianDenoiser(), x0, path[::-1], noise)

    def session(self, kind: str, **params: Any) -> Session:
        """Return a session with a toy model of one of the kinds of :attr:`paths`."""
        model = ToyBackend(native_size=8, schedule=RectifiedFlow() if kind == "flow" else None)
        return toy_session(model, SamplingParams.parse("toy", params))

    def replay(self, session: Session, x0: Tensor, path: SamplingPath) -> tuple[InversionRecord, Tensor]:
        """Return the record of S sources under one prompt, and the latents (S, C, h, w) of its replay."""
        inverter, prompts = self.inverter(), session.embed(*["a red apple"] * len(x0))
        record = invert_latents(session, inverter, x0, path, prompts)
        noise = record.trajectory[0]
        return record, sample_from_inversion(session, inverter, record, noise, prompts, torch.eye(len(x0)))

    def round_trip(self, kind: str, x0: Tensor, path: SamplingPath) -> float:
        """Return the largest error of the sources after inversion and replay."""
        return largest(self.replay(self.session(kind), x0, path)[1] - x0)

    def test_yields_one_item_a_step_and_keeps_the_shape(self) -> None:
        x0 = random_latents(2)
        for kind, path in self.paths.items():
            items = list(self.rising(x0, path(7)))
            assert len(items) == 7, f"{kind}: {len(items)} items for 7 steps"
            assert all(item.shape == x0.shape and item.dtype == x0.dtype for item in items), (
                f"{kind}: shape or dtype changed"
            )

    def test_does_not_modify_its_input(self) -> None:
        for kind, path in self.paths.items():
            x0 = random_latents(2)
            copy = x0.clone()
            list(self.rising(x0, path(3)))
            assert torch.equal(x0, copy), f"{kind}: the clean latents were changed in place"

    def test_rows_do_not_influence_each_other(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: rows may draw noise of their own")
        x0 = random_latents(3)
        for kind, path in self.paths.items():
            batch = self.trajectory(x0, path(5))[0]
            alone = torch.cat([self.trajectory(row[None], path(5))[0] for row in x0])
            assert largest(batch - alone) < 1e-10, f"{kind}: a row differs by {largest(batch - alone):.1e} in a batch"

    def test_extras_of_a_source_do_not_depend_on_others(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: rows may draw noise of their own")
        x0 = 0.3 + 0.5 * random_latents(2, seed=1, shape=(3, 8, 8))
        for kind, path in self.paths.items():
            both, replayed = self.replay(self.session(kind, guidance=3.0), x0, path(4))
            for source in range(2):
                alone, end = self.replay(self.session(kind, guidance=3.0), x0[source : source + 1], path(4))
                label = f"{kind}: in a batch"
                assert both.extras.keys() == alone.extras.keys(), f"{label} other extras are recorded"
                for name, tensor in both.extras.items():
                    error = largest(tensor[source : source + 1] - alone.extras[name])
                    assert error < 1e-8, f"{label} the extra {name!r} differs by {error:.1e}"
                error = largest(replayed[source] - end[0])
                assert error < 1e-8, f"{label} the replay of a source differs by {error:.1e}"

    def test_noise_determines_the_trajectory(self) -> None:
        x0 = random_latents(1)
        for kind, path in self.paths.items():
            first, again, other = (torch.stack(list(self.rising(x0, path(4), seed))) for seed in (1, 1, 2))
            assert torch.equal(first, again), f"{kind}: the same noise gives another trajectory"
            differs = not torch.equal(first, other)
            assert differs == self.declared.stochastic, (
                f"{kind}: declared stochastic={self.declared.stochastic}, but it depends on noise: {differs}"
            )

    def test_each_inversion_starts_afresh(self) -> None:
        """An inverter may invert several images; tensors of one belong to its record."""
        x0 = random_latents(1)
        for kind, path in self.paths.items():
            inverter, denoise = self.inverter(), GaussianDenoiser()
            both = [list(inverter.invert(denoise, x0, path(4)[::-1], noise_source(x0.shape))) for _ in range(2)]
            first, again = map(torch.stack, both)
            assert torch.equal(first, again), f"{kind}: a second inversion by the same inverter depends on the first"

    def test_inverts_to_pure_noise(self) -> None:
        x0 = random_latents(2)
        for kind, path in self.paths.items():
            noise = self.trajectory(x0, (Point(0.0, 1.0), *path(10)))[0]
            assert bool(torch.isfinite(noise).all()), f"{kind}: the step to pure noise (alpha = 0) is not finite"

    def test_reaches_the_exact_noise_as_steps_grow(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: its noise is not that of the probability flow")
        x0 = 0.3 + 0.5 * random_latents(2, seed=1)
        for kind, path in self.paths.items():
            errors = []
            for steps in (64, 256):  # at fewer steps errors of both signs may still cancel
                points = path(steps)
                exact = GaussianDenoiser().transport(x0, points[-1], points[0])
                errors.append(largest(self.trajectory(x0, points)[0] - exact))
            assert errors[1] < 0.4 * errors[0] + 1e-12, (
                f"{kind}: off by {errors[0]:.1e} at 64 steps, {errors[1]:.1e} at 256"
            )

    def test_round_trip_error_halves_when_steps_double(self) -> None:
        if self.declared.stochastic and not self.declared.exact:
            raise SkipTest("declared stochastic and not exact: it makes no promise about its replay")
        x0 = 0.3 + 0.5 * random_latents(2, seed=1, shape=(3, 8, 8))
        for kind, path in self.paths.items():
            coarse, fine = self.round_trip(kind, x0, path(50)), self.round_trip(kind, x0, path(100))
            assert fine < 0.6 * coarse or fine < 1e-9, f"{kind}: off by {coarse:.1e} at 50 steps, {fine:.1e} at 100"

    def test_exact_inverters_replay_the_source_at_any_guidance(self) -> None:
        if not self.declared.exact:
            raise SkipTest("not declared exact")
        for kind, guidance, spacing in itertools.product(self.paths, (1.0, 7.5), get_args(Spacing)):
            session = self.session(kind, guidance=guidance, spacing=spacing)
            self.check_edit(f"{kind}, {spacing}, guidance {guidance}", session, session.inversion_path(10))

    def test_exact_inverters_replay_the_source_from_pure_noise(self) -> None:
        if not self.declared.exact:
            raise SkipTest("not declared exact")
        for kind, path in self.paths.items():
            self.check_edit(kind, self.session(kind, guidance=7.5), (Point(0.0, 1.0), *path(10)))

    def check_edit(self, label: str, session: Session, path: SamplingPath) -> None:
        """Assert that an edit by two prompts reconstructs the source and changes the edited row."""
        inverter, latents = self.inverter(), session.latents
        record = invert_latents(session, inverter, latents, path, session.embed("a red apple"))
        both = torch.cat([record.trajectory[0], record.trajectory[0]])
        prompts = session.embed("a red apple", "a green apple")
        sampled = sample_from_inversion(session, inverter, record, both, prompts, torch.ones(2, 1))
        error = largest(sampled[:1] - latents)
        assert error < 1e-10, f"{label}: the source row is off by {error:.1e}"
        change = largest(sampled[1:] - latents)
        assert change > 1e-3, f"{label}: the edited row did not change ({change:.1e})"

    def test_has_a_stepper_of_its_own_if_declared(self) -> None:
        x0 = random_latents(1, shape=(3, 8, 8))
        for kind, path in self.paths.items():
            record, _ = self.replay(self.session(kind), x0, path(4))
            own = self.inverter().replay_stepper(record, torch.ones(1, 1).to(x0)) is not None
            assert own == self.declared.replaces_sampler, (
                f"{kind}: declared replaces_sampler={self.declared.replaces_sampler}, but has its own stepper: {own}"
            )

    def test_a_saved_inversion_replays_like_an_unsaved_one(self) -> None:
        for kind in self.paths:
            model = ToyBackend(schedule=RectifiedFlow() if kind == "flow" else None)
            given: dict[str, Any] = {"prompt": "a red apple", "method": self.name, "steps": 4, "guidance": 3.0}
            inversion = apply("invert", sample_image((20, 14)), model=model, seed=3, cache=False, **given)
            with tempfile.TemporaryDirectory() as folder:
                loaded = Inversion.load(inversion.save(Path(folder) / "x.safetensors"))
            first, again = (apply("reconstruct", one, model=model).latents for one in (inversion, loaded))
            assert torch.equal(first, again), f"{kind}: off by {largest(first - again):.1e} after saving"
