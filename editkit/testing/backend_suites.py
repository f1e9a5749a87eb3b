"""The suites of backends and of models with a name of their own."""

from __future__ import annotations

import functools
import itertools
import tempfile
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

import torch
from torch import Tensor

from ..diffusion.paths import make_path
from ..diffusion.points import Point, PointBatch
from ..diffusion.predictions import from_x0, to_x0
from ..model.backend import Backend
from ..registry.registry import installed
from ..registry.specs import BackendSpec
from .suite import Suite, largest, random_latents
from .tiny import FOLDERS


class BackendTests(Suite):
    """What every backend must do; of a family, its tiny model of random weights is asked."""

    kind = "backend"
    tolerance: ClassVar[float] = 1e-4
    """Largest difference that a batch may make, relative to the largest value (float32 sums in another order)."""

    @classmethod
    def folder(cls, path: Path) -> Path:
        """Write a small model of this family to ``path`` and return its folder; override for families of your own."""
        spec: BackendSpec = installed().spec("backends", cls.name)
        made = [FOLDERS[family] for family in sorted(spec.pipelines) if family in FOLDERS]
        if not made:
            raise SkipTest(
                f"no tiny model is known for {', '.join(sorted(spec.pipelines)) or 'this backend'}: override folder()"
            )
        return made[0](path)

    @classmethod
    def make(cls) -> Backend:
        """The backend to check."""
        with tempfile.TemporaryDirectory() as made:
            folder = cls.folder(Path(made))
            loader = installed().load("backends", cls.name)
            return loader(folder, name="tiny", device=torch.device("cpu"), dtype=torch.float32)  # type: ignore[no-any-return]

    @classmethod
    @functools.cache
    def backend(cls) -> Backend:
        return cls.make()

    def pixels(self, rows: int = 2) -> Tensor:
        """Pixels (rows, 3, H, W), wider than high."""
        side = self.backend().multiple * max(1, 16 // self.backend().multiple)
        shape = (rows, 3, side, 2 * side)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(self.backend().dtype)

    def noisy(self, rows: int = 2) -> Tensor:
        """Unit normal latents of the shape of :meth:`pixels`."""
        height, width = self.pixels(1).shape[-2:]
        shape = self.backend().latent_shape(width, height)
        return random_latents(rows, shape=shape).to(self.backend().dtype)

    def points(self) -> list[Point]:
        return list(make_path(self.backend().schedule, 4, self.backend().grid))[:4]

    def prompts(self, rows: int) -> list[str]:
        if "text" not in self.backend().provides:
            return [""] * rows
        return ["a red apple", "a green apple on white", ""][:rows]

    def assert_close(self, one: Tensor, other: Tensor, what: str) -> None:
        missed = largest(one - other) / max(1.0, largest(other))
        assert missed <= self.tolerance, f"{what} differs by {missed:.1e}"

    @torch.no_grad()
    def test_says_what_it_is(self) -> None:
        backend = self.backend()
        assert backend.name, "name is empty"
        assert backend.identity, "identity is empty"
        assert backend.identity == self.make().identity, "a second load of the same model has another identity"
        assert backend.native_size >= 1, f"native_size is {backend.native_size}"
        assert backend.multiple >= 1, f"multiple is {backend.multiple}"
        if self.name in installed().specs["backends"]:
            spec: BackendSpec = installed().spec("backends", self.name)
            assert backend.provides >= spec.provides, (
                f"provides {set(backend.provides)}, its spec says {set(spec.provides)}"
            )

    @torch.no_grad()
    def test_encodes_and_decodes_in_shape_and_range(self) -> None:
        backend, pixels = self.backend(), self.pixels()
        latents = backend.encode(pixels)
        shape = backend.latent_shape(pixels.shape[3], pixels.shape[2])
        assert latents.shape[1:] == shape, f"latents {tuple(latents.shape[1:])}, latent_shape says {shape}"
        assert latents.dtype == backend.dtype, f"latents are {latents.dtype}"
        decoded = backend.decode(latents * 3)
        assert decoded.shape == pixels.shape, f"decoded to {tuple(decoded.shape)}"
        assert float(decoded.min()) >= 0, f"pixels down to {float(decoded.min())}"
        assert float(decoded.max()) <= 1, f"pixels up to {float(decoded.max())}"

    @torch.no_grad()
    def test_encodes_without_drawing_noise(self) -> None:
        backend, pixels = self.backend(), self.pixels()
        copy = pixels.clone()
        assert torch.equal(backend.encode(pixels), backend.encode(pixels)), "encoding twice gives two answers"
        assert torch.equal(pixels, copy), "encoding changed the pixels in place"

    @torch.no_grad()
    def test_estimates_x0_in_the_shape_of_x(self) -> None:
        backend, x = self.backend(), self.noisy()
        condition = backend.embed(self.prompts(2))
        for point in self.points():
            x0 = backend.denoise(x, point, condition)
            assert x0.shape == x.shape, f"x0 is {tuple(x0.shape)} of x {tuple(x.shape)}"
            assert x0.dtype == x.dtype, f"x0 is {x0.dtype}, x is {x.dtype}"
            assert bool(torch.isfinite(x0).all()), f"x0 is not finite at {point}"

    @torch.no_grad()
    def test_denoises_the_same_way_twice_and_in_nothing_but_its_answer(self) -> None:
        backend, x = self.backend(), self.noisy()
        condition = backend.embed(self.prompts(2))
        before = x.clone(), {name: tensor.clone() for name, tensor in condition.items()}
        first, again = (backend.denoise(x, self.points()[1], condition) for _ in range(2))
        assert torch.equal(first, again), "the second answer differs from the first"
        assert torch.equal(x, before[0]), "x was changed in place"
        same = all(torch.equal(tensor, before[1][name]) for name, tensor in condition.items())
        assert same, "the condition was changed in place"

    @torch.no_grad()
    def test_a_batch_equals_its_rows(self) -> None:
        backend, pixels, x = self.backend(), self.pixels(3), self.noisy(3)
        prompts, point = self.prompts(3), self.points()[1]
        condition = backend.embed(prompts)
        rows = [backend.embed([prompt]) for prompt in prompts]
        for name, tensor in condition.items():
            self.assert_close(torch.cat([row[name] for row in rows]), tensor, f"the condition {name!r} in a batch")
        alone = torch.cat([backend.denoise(x[i : i + 1], point, row) for i, row in enumerate(rows)])
        self.assert_close(alone, backend.denoise(x, point, condition), "an estimate in a batch")
        encoded = torch.cat([backend.encode(pixels[i : i + 1]) for i in range(3)])
        self.assert_close(encoded, backend.encode(pixels), "an encoding in a batch")
        decoded = torch.cat([backend.decode(encoded[i : i + 1]) for i in range(3)])
        self.assert_close(decoded, backend.decode(encoded), "a decoding in a batch")

    @torch.no_grad()
    def test_rows_may_have_points_of_their_own(self) -> None:
        backend, x, points = self.backend(), self.noisy(3), self.points()[1:]
        condition = backend.embed(self.prompts(3))
        rows = [backend.embed([prompt]) for prompt in self.prompts(3)]
        alone = [backend.denoise(x[i : i + 1], point, rows[i]) for i, point in enumerate(points)]
        together = backend.denoise(x, PointBatch(tuple(points)), condition)
        self.assert_close(torch.cat(alone), together, "an estimate in a batch of several timesteps")

    @torch.no_grad()
    def test_prompts_matter_where_text_is_provided(self) -> None:
        backend, x = self.backend(), self.noisy(1)
        if "text" not in backend.provides:
            assert not backend.embed([""]), "without text the condition must be empty"
            return
        one, other = (backend.denoise(x, self.points()[1], backend.embed([prompt])) for prompt in self.prompts(2))
        assert not torch.equal(one, other), "two prompts give the same estimate"

    def test_its_schedule_goes_there_and_back(self) -> None:
        schedule = self.backend().schedule
        span = schedule.last - schedule.first
        for share in (0.0, 0.1, 0.37, 0.5, 0.9, 1.0):
            timestep = round(schedule.first + share * span)
            missed = abs(schedule.timestep(schedule.point(timestep)) - timestep)
            assert missed < 1e-6, f"timestep {timestep} comes back off by {missed:.1e}"
        angles = [schedule.point(schedule.first + span * i / 20).angle for i in range(21)]
        assert all(low < high for low, high in itertools.pairwise(angles)), "noise does not grow with the timestep"

    def test_predictions_convert_there_and_back_at_its_points(self) -> None:
        x, x0 = random_latents(1), random_latents(1, seed=1)
        for point in self.points():
            for kind in ("epsilon", "v_prediction", "sample", "flow_prediction"):
                if kind == "epsilon" and point.alpha < 1e-6:
                    continue
                again = to_x0(kind, from_x0(kind, x0, x, point), x, point)
                assert largest(again - x0) < 1e-8, f"{kind} at {point} comes back off by {largest(again - x0):.1e}"


class ModelTests(BackendTests):
    """What every model with a name of its own must do: the same, with its real weights."""

    kind = "model"
    tolerance = 1e-3

    @classmethod
    def make(cls) -> Backend:
        from ..model.loading import load_model

        return load_model(cls.name, device="cpu")
