"""Conformance suites of backends and of registered models."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, cast
from unittest import SkipTest

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import Condition, latent_dtype
from ..diffusion.paths import make_path
from ..diffusion.points import Point, PointBatch
from ..diffusion.predictions import from_x0, to_x0
from ..model.backend import Backend
from ..model.references import SupportsReferences, references_of
from ..registry.registry import installed
from ..registry.specs import BackendSpec
from ..sampling.guidance import condition_at_scale
from ..sampling.params import SamplingParams
from .suite import Suite, largest, random_latents, sample_image
from .tiny import FOLDERS


class BackendTests(Suite):
    """Checks of every backend; a family is checked on its tiny model with random weights."""

    kind = "backend"
    tolerance: ClassVar[float] = 1e-4
    """Largest difference between a batch and its rows, relative to the largest value: float32 sums vary with order."""

    @classmethod
    def folder(cls, path: Path) -> Path:
        """Write a small model of this family to ``path`` and return its folder; override for families of your own."""
        spec: BackendSpec = installed().spec("backends", cls.name)
        listed = {family for other in installed().specs["backends"].values() for family in other.pipelines}
        served = FOLDERS.keys() - listed if spec.last_resort else spec.pipelines
        writers = [FOLDERS[family] for family in sorted(served) if family in FOLDERS]
        if not writers:
            raise SkipTest(
                f"there is no tiny model of {', '.join(sorted(spec.pipelines)) or 'this backend'}: override folder()"
            )
        return writers[0](path)

    @classmethod
    def make(cls) -> Backend:
        """Return the backend under test."""
        with tempfile.TemporaryDirectory() as path, torch.random.fork_rng(devices=()):
            torch.manual_seed(0)  # random weights of an author's folder() are then equal at every call
            folder = cls.folder(Path(path))
            loader = installed().load("backends", cls.name)
            return loader(folder, name="tiny", device=torch.device("cpu"), dtype=torch.float32)  # type: ignore[no-any-return]

    @classmethod
    @functools.cache
    def backend(cls) -> Backend:
        """Return the backend under test, loaded once."""
        return cls.make()

    def pixels(self, rows: int = 2) -> Tensor:
        """Return pixels (rows, 3, H, W), wider than high."""
        side = self.backend().multiple * max(1, 16 // self.backend().multiple)
        shape = (rows, 3, side, 2 * side)
        return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(latent_dtype(self.backend().dtype))

    def noisy(self, rows: int = 2) -> Tensor:
        """Return unit normal latents for :meth:`pixels`."""
        height, width = self.pixels(1).shape[-2:]
        shape = self.backend().latent_shape(width, height)
        return random_latents(rows, shape=shape).to(latent_dtype(self.backend().dtype))

    def points(self) -> list[Point]:
        """Return four points of a path of the model."""
        return list(make_path(self.backend().schedule, 4, self.backend().grid))[:4]

    def prompts(self, rows: int) -> list[str]:
        """Return up to three prompts; empty ones for a model without text."""
        if "text" not in self.backend().provides:
            return [""] * rows
        return ["a red apple", "a green apple on white", ""][:rows]

    def images(self, count: int) -> list[Image.Image]:
        """Return images that a model of ``references`` reads, of different proportions."""
        return [sample_image((96 + 16 * number, 80), seed=number) for number in range(count)]

    def condition(self, *prompts: str, images: Sequence[Image.Image] = ()) -> Condition:
        """Return the condition of prompts, together with images; by default with one if the model needs it."""
        backend, reads = self.backend(), references_of(self.backend())
        if reads is None or not (images or reads.required):
            return backend.embed(prompts)
        # Kept, because a condition may hold them weakly.
        self.read = [*images] or self.images(1)
        return cast(SupportsReferences, backend).instructed(prompts, self.read)

    def assert_close(self, one: Tensor, other: Tensor, label: str) -> None:
        """Assert that two tensors are equal up to :attr:`tolerance`."""
        error = largest(one - other) / max(1.0, largest(other))
        assert error <= self.tolerance, f"{label} differs by {error:.1e}"

    @torch.no_grad()
    def test_identifies_itself(self) -> None:
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
        assert latents.dtype == latent_dtype(backend.dtype), f"latents are {latents.dtype}"
        decoded = backend.decode(latents * 3)
        assert decoded.shape == pixels.shape, f"decoded to {tuple(decoded.shape)}"
        assert float(decoded.min()) >= 0, f"pixels down to {float(decoded.min())}"
        assert float(decoded.max()) <= 1, f"pixels up to {float(decoded.max())}"

    @torch.no_grad()
    def test_encodes_without_noise(self) -> None:
        backend, pixels = self.backend(), self.pixels()
        copy = pixels.clone()
        assert torch.equal(backend.encode(pixels), backend.encode(pixels)), "encoding twice gives different latents"
        assert torch.equal(pixels, copy), "encoding changed the pixels in place"

    @torch.no_grad()
    def test_estimates_x0_in_the_shape_of_x(self) -> None:
        backend, x = self.backend(), self.noisy()
        condition = self.condition(*self.prompts(2))
        for point in self.points():
            x0 = backend.denoise(x, point, condition)
            assert x0.shape == x.shape, f"x0 is {tuple(x0.shape)} of x {tuple(x.shape)}"
            assert x0.dtype == x.dtype, f"x0 is {x0.dtype}, x is {x.dtype}"
            assert bool(torch.isfinite(x0).all()), f"x0 is not finite at {point}"

    @torch.no_grad()
    def test_denoises_deterministically_and_changes_no_input(self) -> None:
        backend, x = self.backend(), self.noisy()
        condition = self.condition(*self.prompts(2))
        before = x.clone(), {name: tensor.clone() for name, tensor in condition.items()}
        first, again = (backend.denoise(x, self.points()[1], condition) for _ in range(2))
        assert torch.equal(first, again), "the second estimate differs from the first"
        assert torch.equal(x, before[0]), "x was changed in place"
        same = all(torch.equal(tensor, before[1][name]) for name, tensor in condition.items())
        assert same, "the condition was changed in place"

    @torch.no_grad()
    def test_a_batch_equals_its_rows(self) -> None:
        backend, pixels, x = self.backend(), self.pixels(3), self.noisy(3)
        prompts, point = self.prompts(3), self.points()[1]
        condition = self.condition(*prompts)
        rows = [self.condition(prompt) for prompt in prompts]
        for name, tensor in condition.items():
            self.assert_close(torch.cat([row[name] for row in rows]), tensor, f"the condition {name!r} in a batch")
        alone = torch.cat([backend.denoise(x[i : i + 1], point, row) for i, row in enumerate(rows)])
        self.assert_close(alone, backend.denoise(x, point, condition), "an estimate in a batch")
        encoded = torch.cat([backend.encode(pixels[i : i + 1]) for i in range(3)])
        self.assert_close(encoded, backend.encode(pixels), "an encoding in a batch")
        decoded = torch.cat([backend.decode(encoded[i : i + 1]) for i in range(3)])
        self.assert_close(decoded, backend.decode(encoded), "a decoding in a batch")

    @torch.no_grad()
    def test_rows_may_have_different_points(self) -> None:
        backend, x, points = self.backend(), self.noisy(3), self.points()[1:]
        condition = self.condition(*self.prompts(3))
        rows = [self.condition(prompt) for prompt in self.prompts(3)]
        alone = [backend.denoise(x[i : i + 1], point, rows[i]) for i, point in enumerate(points)]
        batch = backend.denoise(x, PointBatch(tuple(points)), condition)
        self.assert_close(torch.cat(alone), batch, "an estimate in a batch of several timesteps")

    @torch.no_grad()
    def test_prompts_change_the_estimate(self) -> None:
        backend, x = self.backend(), self.noisy(1)
        if "text" not in backend.provides:
            assert not backend.embed([""]), "without text the condition must be empty"
            return
        one, other = (backend.denoise(x, self.points()[1], self.condition(prompt)) for prompt in self.prompts(2))
        assert not torch.equal(one, other), "two prompts give the same estimate"

    @torch.no_grad()
    def test_a_guidance_of_one_does_not_guide(self) -> None:
        backend, x, point = self.backend(), self.noisy(1), self.points()[1]
        plain, negative = (self.condition(prompt) for prompt in self.prompts(2))
        unguided = condition_at_scale(backend, plain, lambda: negative, 1.0)
        guided = condition_at_scale(backend, plain, lambda: negative, 3.0)
        if unguided is None or guided is None:
            raise SkipTest("guidance takes several estimates")
        first, again, other = (backend.denoise(x, point, condition) for condition in (plain, unguided, guided))
        assert torch.equal(first, again), "a guidance of 1 gives another estimate than the prompt"
        assert not torch.equal(first, other), "guidance gives the same estimate as none"
        assert unguided.keys() == guided.keys(), "conditions of two scales have other names"

    def test_usual_settings_are_allowed_values(self) -> None:
        usual = dict(getattr(self.backend(), "usual", {}))
        installed().check_names(SamplingParams.parse(f"usual of {self.name}", usual))

    @torch.no_grad()
    def test_references_change_the_estimate(self) -> None:
        x, reads = self.noisy(2), references_of(self.backend())
        if reads is None:
            raise SkipTest("reads no references")
        prompts, point, images = self.prompts(2), self.points()[1], self.images(2)

        def estimate(*images: Image.Image, rows: slice = slice(2)) -> Tensor:
            return self.backend().denoise(x[rows], point, self.condition(*prompts[rows], images=images))

        first = estimate(images[0])
        assert first.shape == x.shape, f"x0 is {tuple(first.shape)} of x {tuple(x.shape)}"
        assert torch.equal(first, estimate(images[0].copy())), "equal images give different estimates"
        self.assert_close(estimate(images[0], rows=slice(1)), first[:1], "an estimate in a batch of instructions")
        assert not torch.equal(first, estimate(images[1])), "two images give the same estimate"
        if reads.most > 1:
            both = estimate(*images)
            assert not torch.equal(first, both), "a second image changes nothing"
        if not reads.required:
            assert not torch.equal(first, estimate()), "an image gives the same estimate as none"

    def test_timesteps_and_points_convert_both_ways(self) -> None:
        schedule = self.backend().schedule
        span = schedule.last - schedule.first
        for share in (0.0, 0.1, 0.37, 0.5, 0.9, 1.0):
            timestep = round(schedule.first + share * span)
            error = abs(schedule.timestep(schedule.point(timestep)) - timestep)
            assert error < 1e-6, f"timestep {timestep} is off by {error:.1e} after conversion"
        angles = [schedule.point(schedule.first + span * i / 20).angle for i in range(21)]
        assert all(low < high for low, high in itertools.pairwise(angles)), "noise does not grow with the timestep"

    def test_predictions_convert_both_ways_at_its_points(self) -> None:
        x, x0 = random_latents(1), random_latents(1, seed=1)
        for point in self.points():
            for kind in ("epsilon", "v_prediction", "sample", "flow_prediction"):
                if kind == "epsilon" and point.alpha < 1e-6:
                    continue
                error = largest(to_x0(kind, from_x0(kind, x0, x, point), x, point) - x0)
                assert error < 1e-8, f"{kind} at {point} is off by {error:.1e} after conversion"


class ModelTests(BackendTests):
    """Checks of every registered model: those of backends, with its real weights."""

    kind = "model"
    tolerance = 1e-3

    @classmethod
    def make(cls) -> Backend:
        from ..model.loading import load_model

        return load_model(cls.name, device="cpu")
