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

from .backends import Backend
from .canvas import Canvas, to_image
from .change_map import ChangeMap, HeldToBranch, HeldToNoised, on_latents
from .controls import Control, refuse_contradictions
from .errors import EditkitError
from .guidance import Condition, Conditioned, Guidance, interval, repeated
from .inversion import Inversion, Inverter
from .loop import last, walk
from .params import DrawingParams, Params
from .paths import Grid, Path, make_path
from .points import Point, eps_of
from .registry import Registry
from .specs import SamplerSpec

Progress = Callable[..., Iterable[Any]]
"""Called as ``progress(iterable, total=..., desc=...)``, and iterated in its place: ``tqdm.tqdm`` is one."""


@dc.dataclass(frozen=True)
class Edit:
    """What an operation hands back: latents, and how they lie to the pictures they came from."""

    latents: Tensor
    """(B, C, h, w), one row a resulting picture."""
    reconstructed: Tensor | None = None
    """(S, C, h, w): what the model made of each source by the same way without an edit."""
    inverted: bool = False
    """Whether ``reconstructed`` came from an inversion, and so says how good that was."""
    shares: Tensor | None = None
    """(B, S): how much of each source is in a row; ones where not given."""
    carry: bool = True
    """Whether the edit is laid on the sources' pixels; without it the pictures are what the model decoded."""


@dc.dataclass(frozen=True)
class Painted:
    """What an operation hands back that has made the pixels itself, mostly out of parts of its picture."""

    pixels: Tensor
    """(1, 3, H, W) in [0, 1], of the size of the result."""
    place: tuple[int, int] | None = None
    """Left and top of the source in a larger result, where all of it is kept as it is."""


@dc.dataclass
class Tally:
    """What an edit has cost so far, and what its user should know."""

    calls: int = 0
    samples: int = 0
    warnings: list[str] = dc.field(default_factory=list)


@dc.dataclass
class Session:
    """Everything an operation may use. Latents are (B, C, h, w); the first rows of a batch are its sources."""

    model: Backend
    params: Params
    registry: Registry
    canvas: Canvas
    pictures: Sequence[Image.Image]
    """The S source pictures as they came."""
    pixels: Tensor
    """(S, 3, H, W) in [0, 1], the pictures as a viewer on white sees them; S is 0 where nothing is edited."""
    mask: Tensor | None = None
    """(1, 1, H, W) in [0, 1]: how much each pixel may change."""
    progress: Progress | None = None
    inversion: Inversion | None = None
    """The recorded inversion, for operations that take one."""
    random: torch.Generator = dc.field(default_factory=torch.Generator)
    tally: Tally = dc.field(default_factory=Tally)

    def part(self, pixels: Tensor, mask: Tensor | None = None, *, longest: int | None = None) -> Session:
        """A session on other pixels (B, 3, H, W) that draws, counts and warns as a part of this one.

        ``mask`` (1, 1, H, W) is that of the part; ``longest`` is its longest side in pixels at the model's scale, the
        model's own where not given.
        """
        height, width = pixels.shape[-2:]
        canvas = Canvas.plan((width, height), longest or self.model.native_size, self.model.multiple)
        return dc.replace(self, canvas=canvas, pictures=tuple(map(to_image, pixels)), pixels=pixels, mask=mask)

    def network(self, x: Tensor, point: Point, condition: Condition) -> Tensor:
        """The model's network, counted."""
        self.tally.calls += 1
        self.tally.samples += len(x)
        return self.model.denoise(x, point, condition)

    @functools.cached_property
    def sources(self) -> Tensor:
        """(S, 3, h, w) pixels in [0, 1] on the padded canvas."""
        return self.canvas.to_model(self.pixels).to(self.model.device, self.model.dtype)

    @functools.cached_property
    def change(self) -> Tensor | None:
        """The mask on the latents, (1, 1, h, w) in [0, 1]."""
        if self.mask is None:
            return None
        _, height, width = self.model.latent_shape(*self.canvas.padded)
        return on_latents(self.mask, self.canvas, (height, width)).to(self.model.device, self.model.dtype)

    @functools.cached_property
    def latents(self) -> Tensor:
        """The latents (S, C, h, w) of the sources: encoded once, for the operation and for the report alike."""
        return self.model.encode(self.sources)

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
    def grid(self) -> Grid:
        """The model's grid, with the spacing that was asked for."""
        spacing = getattr(self.params, "spacing", None)
        return dc.replace(self.model.grid, spacing=spacing) if spacing else self.model.grid

    def drawing_path(self, steps: int) -> Path:
        """The path on which the sampler draws: it ends where the sampler's convention says."""
        spec: SamplerSpec = self.registry.configure("samplers", self.drawing.sampler)[0]
        return make_path(self.model.schedule, steps, self.grid, extra_node=spec.extra_node, to_zero=spec.to_zero)

    def inversion_path(self, steps: int) -> Path:
        """The path of inversions and their replays: it ends at the schedule's least noise, from where it can rise."""
        return make_path(self.model.schedule, steps, dc.replace(self.grid, ends_clean=False))

    def embed(self, *prompts: str) -> Condition:
        """The condition of as many rows as prompts."""
        return self.model.embed(prompts)

    def guided(self, condition: Condition, rows: int, path: Path) -> Guidance:
        """The network under the condition of ``rows`` rows, guided as the parameters say."""
        # A model without text has one answer only: guiding it would ask twice for the same.
        scale = self.drawing.guidance if "text" in self.model.provides else 1.0
        negative = condition
        if scale != 1.0:
            negative = {**condition, **repeated(self.embed(self.drawing.negative_prompt), rows)}
        return self.weighted((negative, condition), (1 - scale, scale), path)

    def weighted(self, conditions: Sequence[Condition], weights: Sequence[float], path: Path) -> Guidance:
        """The network under several conditions, in the interval and with the rescaling that the parameters say."""
        params = self.drawing
        low, high = interval(path, params.guidance_start, params.guidance_end)
        return Guidance(self.network, conditions, weights, params.guidance_rescale, sigma_low=low, sigma_high=high)

    def draw(
        self,
        x: Tensor,
        path: Path,
        condition: Condition | Guidance,
        controls: Sequence[Control] = (),
        noise: Tensor | None = None,
    ) -> Tensor:
        """Run the sampler down a path from ``x`` (B, C, h, w) and return the clean latents.

        Where there is a mask, what it protects is held to the sources, noised with ``noise``; that is the noise in
        ``x`` where not given. Raises InvalidParameter where two controls contradict each other.
        """
        if self.change is not None and not any(isinstance(control, ChangeMap) for control in controls):
            noise = eps_of(x, self.latents, path[0]) if noise is None else noise
            controls = [*controls, HeldToNoised(self.change, path, self.latents, noise)]
        controls = [*self.attached(path), *controls]
        refuse_contradictions(controls)
        denoise = condition if isinstance(condition, Guidance) else self.guided(condition, len(x), path)
        step = self.registry.make("samplers", self.drawing.sampler)
        with contextlib.ExitStack() as attached:
            for control in controls:
                attached.enter_context(control.attach(self.model))
            walked = walk(step, denoise, x, path, noise=self.noise, controls=controls)
            return finite(last(self.watch(walked, len(path) - 1, "drawing"), x))

    def attached(self, path: Path) -> list[Control]:
        """The controls that the parameters name."""
        return [self.registry.make("controls", call)(self, path) for call in self.drawing.attach]

    def climb(self, inverter: Inverter, latents: Tensor, path: Path, condition: Condition) -> Tensor:
        """Invert latents (S, C, h, w) and return the trajectory (N + 1, S, C, h, w) from noise to clean.

        ``path`` falls, as for drawing. Inversion is not guided: it asks how the model itself sees the picture.
        """
        denoise = Conditioned(self.network, condition)
        climbed = inverter.climb(denoise, latents, path[::-1])
        rising = [latents, *self.watch(climbed, len(path) - 1, "inverting")]
        return finite(torch.stack(rising[::-1]))

    def inversion_of(self, trajectory: Tensor, path: Path, method: str, prompt: str) -> Inversion:
        """Keep the climb of this session's one picture, to be replayed in another."""
        return Inversion(
            trajectory=trajectory,
            path=path,
            source=self.pictures[0],
            method=method,
            prompt=prompt,
            model=self.model.name,
            identity=self.model.identity,
            params=self.params.model_dump(mode="json"),
        )

    def replay(
        self,
        inverter: Inverter,
        trajectory: Tensor,
        path: Path,
        x: Tensor,
        condition: Condition,
        shares: Tensor,
        change: Tensor | None = None,
    ) -> Tensor:
        """Draw ``x`` (B, C, h, w) with what the inversion recorded; the first rows are its sources.

        ``change`` (1, 1, h, w) is a change map in place of the mask's.
        """
        controls = list(inverter.controls(trajectory, shares.to(x)))
        change = self.change if change is None else change
        if change is not None:
            controls.append(HeldToBranch(change, path, shares.to(x)))
        return self.draw(x, path, condition, controls)

    def watch(self, steps: Iterator[Tensor], total: int, what: str) -> Iterable[Tensor]:
        return steps if self.progress is None else self.progress(steps, total=total, desc=what)


def finite(latents: Tensor) -> Tensor:
    if not bool(torch.isfinite(latents).all()):
        raise EditkitError(
            "the network answered with NaN or infinity: try another sampler, less guidance, or --dtype float32"
        )
    return latents
