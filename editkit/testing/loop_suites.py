"""The suites of samplers and inverters, on a Gaussian whose every answer is known."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args
from unittest import SkipTest

import torch
from torch import Tensor

from ..diffusion.paths import SamplingPath, with_resampling
from ..diffusion.points import Point
from ..diffusion.schedules import RectifiedFlow
from ..editing.apply import apply
from ..editing.primitives import invert_latents, sample_from_inversion
from ..editing.session import Session
from ..images.canvas import Canvas
from ..inversion.inversion import Inversion
from ..inversion.inverter import Inverter
from ..inversion.record import InversionRecord
from ..literals import Spacing
from ..model.backend import Backend
from ..registry.registry import installed
from ..registry.specs import InverterSpec, SamplerSpec
from ..sampling.loop import Stepper, final_state, walk
from ..sampling.params import DrawingParams, SamplingParams
from .suite import PATHS, Suite, largest, noise_source, random_latents, sample_image
from .toy import GaussianConsistency, GaussianDenoiser, ToyBackend, vp_path


class SamplerTests(Suite):
    """What every sampler must do."""

    kind = "sampler"

    def stepper(self) -> Stepper:
        return installed().build("samplers", self.name)  # type: ignore[no-any-return]

    @property
    def declared(self) -> SamplerSpec:
        return installed().spec("samplers", self.name)  # type: ignore[no-any-return]

    def walked(self, x: Tensor, path: SamplingPath, *, seed: int = 0, rows: int | None = None) -> Iterator[Tensor]:
        """Walk with noise of its own for each of ``rows`` rows, or one noise for all."""
        shape = (rows or 1, *x.shape[1:])
        return walk(self.stepper(), self.network(), x, path, noise=noise_source(shape, seed))

    def network(self) -> GaussianDenoiser:
        """What a perfect network answers that this sampler is made for."""
        return GaussianConsistency() if self.declared.consistency else GaussianDenoiser()

    def error(self, path: SamplingPath) -> float:
        """Distance from the exact answer of the probability flow."""
        x = random_latents(2)
        return largest(final_state(self.walked(x, path), x) - GaussianDenoiser().transport(x, path[0], path[-1]))

    def test_yields_one_item_a_step_and_keeps_the_shape(self) -> None:
        x = random_latents(2)
        for kind, path in PATHS.items():
            items = list(self.walked(x, path(7)))
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
            for item in self.walked(x, path(4)):
                items.append(item)
                copies.append(item.clone())
            same = all(torch.equal(item, copy) for item, copy in zip(items, copies, strict=True))
            assert same, f"{kind}: a latent that was handed in is not what it was"

    def test_rows_do_not_know_of_each_other(self) -> None:
        x = random_latents(3)
        for kind, path in PATHS.items():
            together = final_state(self.walked(x, path(5)), x)
            alone = torch.cat([final_state(self.walked(row[None], path(5)), row[None]) for row in x])
            assert largest(together - alone) < 1e-12, (
                f"{kind}: a row differs by {largest(together - alone):.1e} in a batch"
            )

    def test_each_walk_starts_afresh(self) -> None:
        make = installed().load("samplers", self.name)
        params = self.declared.params()
        x, path = random_latents(1), vp_path(5)
        for _ in range(2):
            walked = walk(make(params), self.network(), x, path, noise=noise_source((1, 4, 8, 8)))
            again = final_state(walked, x)
            assert torch.equal(again, final_state(self.walked(x, path), x)), "a second walk remembers the first"

    def test_converges_at_the_declared_order(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: it follows no single trajectory")
        wanted = self.declared.order
        for kind, path in PATHS.items():
            errors = [self.error(path(steps)) for steps in (64, 128, 256)]
            # Two slopes, since an error that changes its sign looks better once.
            slopes = [
                math.log2(coarse / fine) if fine > 1e-13 else math.inf for coarse, fine in itertools.pairwise(errors)
            ]
            said = f"{kind}: measured orders {slopes[0]:.2f} and {slopes[1]:.2f}, declared {wanted}"
            assert min(slopes) > wanted - 0.25, f"{said} (errors {', '.join(f'{error:.1e}' for error in errors)})"

    def test_reaches_zero_noise(self) -> None:
        if not self.declared.ends_at_zero:
            raise SkipTest("declared to end at the schedule's least noise")
        x = random_latents(1)
        path = (*vp_path(20), Point(1.0, 0.0))
        end = final_state(self.walked(x, path), x)
        assert bool(torch.isfinite(end).all()), "the step to zero noise is not finite"

    def test_starts_at_pure_noise(self) -> None:
        x = random_latents(1)
        path = (Point(0.0, 1.0), *vp_path(20)[2:])
        end = final_state(self.walked(x, path), x)
        assert bool(torch.isfinite(end).all()), "the step from pure noise (alpha = 0) is not finite"

    def test_noise_decides_the_result(self) -> None:
        x = random_latents(1)
        first, again, other = (final_state(self.walked(x, vp_path(10), seed=seed), x) for seed in (1, 1, 2))
        assert torch.equal(first, again), "the same noise gives another result"
        differs = not torch.equal(first, other)
        assert differs == self.declared.stochastic, (
            f"declared stochastic={self.declared.stochastic}, but noise matters: {differs}"
        )

    def test_keeps_the_statistics_of_the_data(self) -> None:
        self.check_statistics({kind: path(160) for kind, path in PATHS.items()})

    def test_keeps_the_statistics_where_a_path_goes_back_up(self) -> None:
        self.check_statistics({kind: with_resampling(path(160), 2) for kind, path in PATHS.items()})

    def check_statistics(self, paths: Mapping[str, SamplingPath]) -> None:
        centre = 0.3
        data = GaussianDenoiser(centre)
        for kind, points in paths.items():
            unit = random_latents(8, seed=3, shape=(4, 32, 32))
            start = points[0].alpha * centre + data.deviation(points[0]) * unit
            end = final_state(self.walked(start, points, rows=8, seed=4), start)
            missed = float(end.mean()) - points[-1].alpha * centre
            assert abs(missed) < 0.03, f"{kind}: the mean is off by {missed:.3f}"
            ratio = float(end.std()) / data.deviation(points[-1])
            assert abs(ratio - 1) < 0.04, f"{kind}: deviation {ratio:.3f} times the data's"


class InverterTests(Suite):
    """What every inverter must do."""

    kind = "inverter"

    @property
    def declared(self) -> InverterSpec:
        return installed().spec("inverters", self.name)  # type: ignore[no-any-return]

    @property
    def paths(self) -> Mapping[str, Callable[[int], SamplingPath]]:
        """The paths of the models that it serves."""
        flow = {"flow_prediction"}
        predictions = {"vp": self.declared.predictions - flow, "flow": self.declared.predictions & flow}
        return {kind: path for kind, path in PATHS.items() if predictions[kind]}

    def inverter(self) -> Inverter:
        return installed().build("inverters", self.name)  # type: ignore[no-any-return]

    def climbed(self, x0: Tensor, path: SamplingPath) -> Tensor:
        """The trajectory (N + 1, S, C, h, w) from noise to clean, of a climb up the falling ``path``."""
        return torch.stack([x0, *self.rising(x0, path)][::-1])

    def rising(self, x0: Tensor, path: SamplingPath, seed: int = 0) -> Iterator[Tensor]:
        noise = noise_source((1, *x0.shape[1:]), seed)
        return self.inverter().invert(GaussianDenoiser(), x0, path[::-1], noise)

    def session(self, kind: str, **params: Any) -> Session:
        """A session with a model of one of the kinds of :attr:`paths`."""
        model = ToyBackend(native_size=8, schedule=RectifiedFlow() if kind == "flow" else None)
        return toy_session(model, SamplingParams.parse("toy", params))

    def trip(self, session: Session, x0: Tensor, path: SamplingPath) -> tuple[InversionRecord, Tensor]:
        """The climb of S sources, all under one prompt, and the latents (S, C, h, w) that its replay ends in."""
        inverter, prompts = self.inverter(), session.embed(*["a red apple"] * len(x0))
        climb = invert_latents(session, inverter, x0, path, prompts)
        return climb, sample_from_inversion(session, inverter, climb, climb.trajectory[0], prompts, torch.eye(len(x0)))

    def round_trip(self, kind: str, x0: Tensor, path: SamplingPath) -> float:
        """Largest miss after climbing and walking down again with the controls and the inverter's or the plain step."""
        return largest(self.trip(self.session(kind), x0, path)[1] - x0)

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

    def test_rows_do_not_know_of_each_other(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: rows may draw noise of their own")
        x0 = random_latents(3)
        for kind, path in self.paths.items():
            together = self.climbed(x0, path(5))[0]
            alone = torch.cat([self.climbed(row[None], path(5))[0] for row in x0])
            assert largest(together - alone) < 1e-10, (
                f"{kind}: a row differs by {largest(together - alone):.1e} in a batch"
            )

    def test_what_is_kept_of_a_source_does_not_know_of_others(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: rows may draw noise of their own")
        x0 = 0.3 + 0.5 * random_latents(2, seed=1, shape=(3, 8, 8))
        for kind, path in self.paths.items():
            both, drawn = self.trip(self.session(kind, guidance=3.0), x0, path(4))
            for source in range(2):
                alone, end = self.trip(self.session(kind, guidance=3.0), x0[source : source + 1], path(4))
                said = f"{kind}: in a batch"
                assert both.extras.keys() == alone.extras.keys(), f"{said} other things are kept"
                for name, tensor in both.extras.items():
                    missed = largest(tensor[source : source + 1] - alone.extras[name])
                    assert missed < 1e-8, f"{said} what is kept as {name!r} differs by {missed:.1e}"
                missed = largest(drawn[source] - end[0])
                assert missed < 1e-8, f"{said} the replay of a source differs by {missed:.1e}"

    def test_noise_decides_the_climb(self) -> None:
        x0 = random_latents(1)
        for kind, path in self.paths.items():
            first, again, other = (torch.stack(list(self.rising(x0, path(4), seed))) for seed in (1, 1, 2))
            assert torch.equal(first, again), f"{kind}: the same noise gives another climb"
            differs = not torch.equal(first, other)
            assert differs == self.declared.stochastic, (
                f"{kind}: declared stochastic={self.declared.stochastic}, but noise matters: {differs}"
            )

    def test_climbs_to_pure_noise(self) -> None:
        x0 = random_latents(2)
        for kind, path in self.paths.items():
            noise = self.climbed(x0, (Point(0.0, 1.0), *path(10)))[0]
            assert bool(torch.isfinite(noise).all()), f"{kind}: the step to pure noise (alpha = 0) is not finite"

    def test_reaches_the_exact_noise_as_steps_grow(self) -> None:
        if self.declared.stochastic:
            raise SkipTest("declared stochastic: its noise is not that of the probability flow")
        x0 = 0.3 + 0.5 * random_latents(2, seed=1)
        for kind, path in self.paths.items():
            errors = []
            for steps in (32, 128):
                points = path(steps)
                exact = GaussianDenoiser().transport(x0, points[-1], points[0])
                errors.append(largest(self.climbed(x0, points)[0] - exact))
            assert errors[1] < 0.4 * errors[0] + 1e-12, (
                f"{kind}: off by {errors[0]:.1e} at 32 steps, {errors[1]:.1e} at 128"
            )

    def test_round_trip_error_halves_when_steps_double(self) -> None:
        if self.declared.stochastic and not self.declared.exact:
            raise SkipTest("declared stochastic and not exact: it promises no way back")
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

    def check_edit(self, said: str, session: Session, path: SamplingPath) -> None:
        """Assert that the source comes back in an edit by two prompts, and that the edit is another picture."""
        inverter, latents = self.inverter(), session.latents
        climb = invert_latents(session, inverter, latents, path, session.embed("a red apple"))
        both = torch.cat([climb.trajectory[0], climb.trajectory[0]])
        prompts = session.embed("a red apple", "a green apple")
        drawn = sample_from_inversion(session, inverter, climb, both, prompts, torch.ones(2, 1))
        missed = largest(drawn[:1] - latents)
        assert missed < 1e-10, f"{said}: the source row comes back off by {missed:.1e}"
        moved = largest(drawn[1:] - latents)
        assert moved > 1e-3, f"{said}: the edited row did not move ({moved:.1e})"

    def test_draws_by_its_own_steps_where_it_says_so(self) -> None:
        x0 = random_latents(1, shape=(3, 8, 8))
        for kind, path in self.paths.items():
            climb, _ = self.trip(self.session(kind), x0, path(4))
            own = self.inverter().replay_stepper(climb, torch.ones(1, 1).to(x0)) is not None
            assert own == self.declared.replaces_sampler, (
                f"{kind}: declared own_steps={self.declared.replaces_sampler}, but it has steps of its own: {own}"
            )

    def test_a_saved_inversion_replays_as_one_that_was_not(self) -> None:
        for kind in self.paths:
            model = ToyBackend(schedule=RectifiedFlow() if kind == "flow" else None)
            given: dict[str, Any] = {"prompt": "a red apple", "method": self.name, "steps": 4, "guidance": 3.0}
            inversion = apply("invert", sample_image((20, 14)), model=model, seed=3, cache=False, **given)
            with tempfile.TemporaryDirectory() as folder:
                loaded = Inversion.load(inversion.save(Path(folder) / "x.safetensors"))
            first, again = (apply("reconstruct", one, model=model).latents for one in (inversion, loaded))
            assert torch.equal(first, again), f"{kind}: off by {largest(first - again):.1e} after it was saved"


def toy_session(model: Backend, params: DrawingParams) -> Session:
    """A session with one picture of the toy's own size."""
    side = model.native_size
    canvas = Canvas.plan((side, side), side, model.multiple)
    picture = sample_image((side, side))
    pixels = 0.1 + 0.8 * torch.rand((1, 3, side, side), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return Session(model, params, installed(), canvas, [picture], pixels.to(model.dtype))
