"""A session: one edit's model, pictures, parameters and counters, and the few things every operation does with them."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import Condition, repeat_condition
from ..diffusion.paths import SamplingPath, TimestepGrid, make_path
from ..diffusion.points import Point, PointBatch, eps_of
from ..diffusion.schedules import Schedule
from ..errors import EditkitError
from ..images.canvas import Canvas
from ..images.masks import mask_to_latents
from ..images.tensors import to_image
from ..inversion.cache import InversionCache
from ..inversion.inversion import Inversion
from ..model.autoencoder_cache import RoundTrip, round_trip
from ..model.backend import Backend, SupportsDistilledGuidance, require
from ..model.batching import exclusive
from ..model.prompt_cache import embed_cached
from ..registry.params import Params
from ..registry.registry import Registry
from ..registry.specs import SamplerSpec
from ..report import Usage
from ..sampling.change_map import ChangeMap, NoisedSourceChangeMap
from ..sampling.controls import Control, check_compatible
from ..sampling.guidance import Guidance, interval
from ..sampling.loop import Stepper, final_state, walk
from ..sampling.params import DEFAULT_STEPS, DrawingParams

Progress = Callable[..., Iterable[Any]]
"""Called as ``progress(iterable, total=..., desc=...)``, and iterated in its place: ``tqdm.tqdm`` is one."""


@dc.dataclass
class Session:
    """Everything an operation may use. Latents are (B, C, h, w); the first rows of a batch are its sources."""

    model: Backend
    params: Params
    registry: Registry
    canvas: Canvas
    images: Sequence[Image.Image]
    """The S source pictures as they came."""
    pixels: Tensor
    """(S, 3, H, W) in [0, 1], the pictures as a viewer on white sees them; S is 0 where nothing is edited."""
    mask: Tensor | None = None
    """(1, 1, H, W) in [0, 1]: how much each pixel may change."""
    progress: Progress | None = None
    inversion: Inversion | None = None
    """The recorded inversion, for operations that take one."""
    cache: InversionCache | None = None
    """Where climbs are looked for and kept; None where each is made anew."""
    random: torch.Generator = dc.field(default_factory=torch.Generator)
    usage: Usage = dc.field(default_factory=Usage)
    decodings: list[tuple[Tensor, Tensor]] = dc.field(default_factory=list, init=False)
    """Latents that were decoded, and their pixels."""
    encoded: Tensor | None = dc.field(default=None, init=False)
    round_trip: RoundTrip | None = dc.field(default=None, init=False)

    def for_region(self, pixels: Tensor, mask: Tensor | None = None, *, longest: int | None = None) -> Session:
        """A session on other pixels (B, 3, H, W) that draws, counts and warns as a part of this one.

        ``mask`` (1, 1, H, W) is that of the part; ``longest`` is its longest side in pixels at the model's scale, the
        model's own where not given.
        """
        height, width = pixels.shape[-2:]
        canvas = Canvas.plan((width, height), longest or self.model.native_size, self.model.multiple)
        return dc.replace(self, canvas=canvas, images=tuple(map(to_image, pixels)), pixels=pixels, mask=mask)

    def network(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        """The model's network, counted."""
        self.usage.calls += 1
        self.usage.samples += len(x)
        return self.model.denoise(x, point, condition)

    @functools.cached_property
    def sources(self) -> Tensor:
        """(S, 3, h, w) pixels in [0, 1] on the padded canvas."""
        return self.canvas.to_model(self.pixels).to(self.model.device, self.model.dtype)

    @functools.cached_property
    def latent_mask(self) -> Tensor | None:
        """The mask on the latents, (1, 1, h, w) in [0, 1]."""
        if self.mask is None:
            return None
        _, height, width = self.model.latent_shape(*self.canvas.padded)
        return mask_to_latents(self.mask, self.canvas, (height, width)).to(self.model.device, self.model.dtype)

    @property
    def latents(self) -> Tensor:
        """The latents (S, C, h, w) of the sources: encoded once, for the operation and for the report alike."""
        # Before Python 3.12 a cached property is computed under a lock, and edits in lock step would wait for it.
        if self.encoded is None:
            self.round_trip = round_trip(self.model, self.sources)
            self.encoded = self.round_trip.latents.clone()  # should it be written into
            if self.round_trip.decoded is not None:
                self.decodings.append((self.round_trip.latents, self.round_trip.decoded))
        return self.encoded

    def decode_cached(self, latents: Tensor) -> Tensor:
        """The pixels (B, 3, h, w) in [0, 1] of latents, on the padded canvas; equal latents are decoded only once.

        Whoever asks gets the same tensor: it is not to be written into.
        """
        for known, pixels in self.decodings:
            if torch.equal(known, latents):
                return pixels
        pixels = self.model.decode(latents)
        self.decodings.append((latents.clone(), pixels))  # a copy, should the latents be written into
        if self.round_trip is not None and torch.equal(self.round_trip.latents, latents):
            self.round_trip.decoded = pixels
        return pixels

    def model_default(self, name: str, otherwise: float) -> float:
        """What a parameter is usually set to for this model, where it is a registered one that says so."""
        spec = self.registry.specs["models"].get(self.model.name)
        return otherwise if spec is None else spec.defaults.get(name, otherwise)

    def default_steps(self, given: int | None) -> int:
        """The network steps that were asked for, else what is usual for the model, else as many as by default."""
        return given or int(self.model_default("steps", DEFAULT_STEPS))

    def noise(self) -> Tensor:
        """Draw noise for one picture (1, C, h, w); drawn on the CPU, so that every device gets the same."""
        shape = (1, *self.model.latent_shape(*self.canvas.padded))
        return torch.randn(shape, generator=self.random).to(self.model.device, self.model.dtype)

    @property
    def drawing(self) -> DrawingParams:
        """The parameters of a session that draws."""
        assert isinstance(self.params, DrawingParams), f"{type(self.params).__name__} must extend DrawingParams to draw"
        return self.params

    @property
    def guidance_scale(self) -> float:
        """Guidance scale of the parameters."""
        return self.drawing.guidance

    @property
    def grid(self) -> TimestepGrid:
        """The model's grid, with the spacing that was asked for, or else the sampler's own."""
        spacing = getattr(self.params, "spacing", None)
        if spacing is None and isinstance(self.params, DrawingParams):
            spacing = self.registry.configure("samplers", self.params.sampler)[0].spacing
        return dc.replace(self.model.grid, spacing=spacing) if spacing else self.model.grid

    @property
    def schedule(self) -> Schedule:
        """The model's schedule, for latents of this session's size."""
        return self.model.schedule.for_shape(self.model.latent_shape(*self.canvas.padded))

    def drawing_path(self, steps: int) -> SamplingPath:
        """The path on which the sampler draws: it ends where the sampler's convention says."""
        spec: SamplerSpec = self.registry.configure("samplers", self.drawing.sampler)[0]
        return make_path(self.schedule, steps, self.grid, extra_node=spec.extra_node, to_zero=spec.ends_at_zero)

    def inversion_path(self, steps: int) -> SamplingPath:
        """The path of inversions and their replays: it ends at the schedule's least noise, from where it can rise."""
        return make_path(self.schedule, steps, dc.replace(self.grid, ends_clean=False))

    def embed(self, *prompts: str) -> Condition:
        """The condition of as many rows as prompts."""
        return embed_cached(self.model, prompts)

    def guided(self, condition: Condition, rows: int, path: SamplingPath) -> Guidance:
        """The network under the condition of ``rows`` rows, guided as the parameters say."""
        # A model without text has one answer only: guiding it would ask twice for the same.
        scale = self.drawing.guidance if "text" in self.model.provides else 1.0
        if "distilled-guidance" in self.model.provides:
            told = require(self.model, SupportsDistilledGuidance).with_guidance_scale(condition, scale)
            return self.weighted((told, condition), (1.0, 0.0), path)
        negative = condition
        if scale != 1.0:
            negative = {**condition, **repeat_condition(self.embed(self.drawing.negative_prompt), rows)}
        return self.weighted((negative, condition), (1 - scale, scale), path)

    def weighted(self, conditions: Sequence[Condition], weights: Sequence[float], path: SamplingPath) -> Guidance:
        """The network under several conditions, in the interval and with the rescaling that the parameters say."""
        params = self.drawing
        low, high = interval(path, params.guidance_start, params.guidance_end)
        return Guidance(self.network, conditions, weights, params.guidance_rescale, sigma_low=low, sigma_high=high)

    def draw(
        self,
        x: Tensor,
        path: SamplingPath,
        condition: Condition | Guidance,
        controls: Sequence[Control] = (),
        noise: Tensor | None = None,
        step: Stepper | None = None,
    ) -> Tensor:
        """Run ``step``, or the sampler, down a path from ``x`` (B, C, h, w) and return the clean latents.

        Where there is a mask, what it protects is held to the sources, noised with ``noise``; that is the noise in
        ``x`` where not given. Raises InvalidParameter where two controls contradict each other.
        """
        if self.latent_mask is not None and not any(isinstance(control, ChangeMap) for control in controls):
            noise = eps_of(x, self.latents, path[0]) if noise is None else noise
            controls = [*controls, NoisedSourceChangeMap(self.latent_mask, path, self.latents, noise)]
        controls = [*self.attached(path), *controls]
        check_compatible(controls)
        denoise = condition if isinstance(condition, Guidance) else self.guided(condition, len(x), path)
        step = step or self.registry.build("samplers", self.drawing.sampler)
        with contextlib.ExitStack() as attached:
            if any(control.changes_model for control in controls):
                attached.enter_context(exclusive(self.model))
            for control in controls:
                attached.enter_context(control.attach(self.model))
            walked = walk(step, denoise, x, path, noise=self.noise, controls=controls)
            return check_finite(final_state(self.track(walked, len(path) - 1, "drawing"), x))

    def attached(self, path: SamplingPath) -> list[Control]:
        """The controls that the parameters name."""
        return [self.registry.build("controls", call)(self, path) for call in self.drawing.attach]

    def track(self, steps: Iterator[Tensor], total: int, what: str) -> Iterable[Tensor]:
        return steps if self.progress is None else self.progress(steps, total=total, desc=what)


def check_finite(latents: Tensor) -> Tensor:
    if not bool(torch.isfinite(latents).all()):
        raise EditkitError(
            "the network answered with NaN or infinity: try another sampler, less guidance, or --dtype float32"
        )
    return latents
