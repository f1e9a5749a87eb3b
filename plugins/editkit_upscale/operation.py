"""Enlargement with detail sampled in overlapping tiles that share their noise."""

from __future__ import annotations

import dataclasses as dc
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from editkit import (
    Condition,
    Control,
    Edit,
    InvalidParameter,
    PixelEdit,
    SamplingPath,
    Session,
    SupportsUpscaling,
    add_noise,
    latent_dtype,
    paint,
    repeat_condition,
    require,
    start_at,
    to_device,
)

from . import UpscaleParams
from .back_projection import back_project, crop_padded, enlarge, enlarge_box, view_box
from .tiles import Box, NoiseField, Tiling

_DEFAULT_STRENGTH = 0.3
"""Share of the path that is sampled by a model which is not an upscaling model."""
TILES_PER_BATCH = 4
"""Tiles in one batch."""


def upscale(session: Session, params: UpscaleParams) -> PixelEdit:
    """Enlarge the image, add sampled detail tile by tile, and correct the averages to equal the source again.

    Memory is that of the pixels of source and result and of a few tiles, whatever the size of the image.
    """
    strength = params.strength
    if strength is None:
        strength = (
            1.0 if "upscaling" in session.model.provides else session.model_default("strength", _DEFAULT_STRENGTH)
        )
    steps = session.default_steps(params.steps)
    session.params = params = params.model_copy(update={"strength": strength, "steps": steps})
    path = start_at(session.model.schedule, session.drawing_path(steps), strength)
    plain = _enlarge_plainly(session, params.scale) if session.images[0].mode == "RGBA" else None
    larger = enlarge(session.pixels, params.scale)
    if len(path) > 1:
        sampling = _TiledSampling.plan(session, params, path)
        for _ in session.track(sampling.add_to(larger), sampling.batches, "upscaling", pixels=larger):
            pass
    back_project(larger, session.pixels, params.scale)
    return PixelEdit(larger, plain=plain)


def _enlarge_plainly(session: Session, scale: int) -> Tensor:
    """Return the source enlarged without sampling, as at strength 0."""
    plain = enlarge(session.pixels, scale)
    back_project(plain, session.pixels, scale)
    return plain


@dc.dataclass(frozen=True)
class _TiledSampling:
    """Sampling of the tiles of one larger image, in batches of any size."""

    session: Session
    params: UpscaleParams
    path: SamplingPath
    tiling: Tiling
    """Boxes of the result."""
    oversampling: int
    """Factor by which an upscaling model samples them larger than in the result."""
    longest: int
    """Longest side in pixels at which the model samples them."""
    noise: NoiseField

    @classmethod
    def plan(cls, session: Session, params: UpscaleParams, path: SamplingPath) -> _TiledSampling:
        """Lay out the tiles; raises InvalidParameter if an upscaling model does not support the scale."""
        oversampling = _oversampling(session, params.scale)
        side = params.resolution or session.model.native_size
        unit = math.lcm(session.model.multiple, params.scale * oversampling) // oversampling
        height, width = (params.scale * side for side in session.pixels.shape[-2:])
        tiling = Tiling.plan((width, height), side // oversampling, unit)
        longest = max(tiling.rows.side, tiling.columns.side) * oversampling
        if len(tiling) == 1 and "upscaling" not in session.model.provides:
            longest = side  # an image that fits one tile is sampled at its own size
        seed = int(torch.randint(2**62, (), generator=session.random, device="cpu"))
        return cls(dc.replace(session, progress=None), params, path, tiling, oversampling, longest, NoiseField(seed))

    @property
    def batch_size(self) -> int:
        # Attached controls read the image of a session, so every tile needs a session of its own.
        return 1 if self.params.controls else TILES_PER_BATCH

    @property
    def batches(self) -> int:
        return -(-len(self.tiling) // self.batch_size)

    def add_to(self, larger: Tensor) -> Iterator[Tensor]:
        """Add the sampled detail to the enlarged image (1, 3, H, W) in place; yields the tiles of each batch."""
        tiles = iter(self.tiling)
        height, width = larger.shape[-2:]
        while batch := list(itertools.islice(tiles, self.batch_size)):
            sampled = self.sample([box for box, _ in batch])
            for row, (box, window) in zip(sampled, batch, strict=True):
                change = window * (row - enlarge_box(self.session.pixels, self.params.scale, box))
                within = view_box(larger, box)
                within += change[..., : height - box.top, : width - box.left]
            yield sampled

    def sample(self, boxes: Sequence[Box]) -> Tensor:
        """Sample the tiles (B, 3, h, w) of the result."""
        scale, session = self.params.scale * self.oversampling, self.session
        views = [box.times(self.oversampling) for box in boxes]
        enlarged = torch.cat([enlarge_box(session.pixels, scale, view) for view in views])

        def crop(values: Tensor) -> Tensor:
            return torch.cat([enlarge_box(values, scale, view) for view in views]).clamp(0, 1)

        region = session.for_region(enlarged, longest=self.longest, crop=crop)
        shared = _SharedNoise(region, self.noise, views)
        condition = {
            **repeat_condition(session.embed(self.params.prompt), len(boxes)),
            **self.small_image_condition(boxes),
        }
        if self.params.strength == 1:
            edit = Edit(region.draw(shared.sample("start"), self.path, condition, [shared]))
        else:
            start = add_noise(region.latents, shared.sample("start"), self.path[0])
            edit = Edit(
                region.draw(start, self.path, condition, [shared]),
                reconstructed=region.latents,
                shares=torch.eye(len(boxes), dtype=torch.float32, device="cpu"),
            )
        return F.avg_pool2d(paint(region, edit), self.oversampling)

    def small_image_condition(self, boxes: Sequence[Box]) -> Condition:
        """Condition of an upscaling model on the small image; empty for other models."""
        if "upscaling" not in self.session.model.provides:
            return {}
        model = require(self.session.model, SupportsUpscaling)
        small = [Box(*(side // self.params.scale for side in box)) for box in boxes]
        pixels = torch.cat([crop_padded(self.session.pixels, box) for box in small])
        # The field's name seeds the noise: another name would change the pixels.
        noise = torch.cat([self.noise.part("seen", 3, box) for box in small])
        return model.upscaling_condition(
            to_device(pixels, model.device, latent_dtype(model.dtype)),
            self.params.noise_level,
            to_device(noise, model.device, latent_dtype(model.dtype)),
        )


def _oversampling(session: Session, scale: int) -> int:
    """Factor by which an upscaling model enlarges beyond ``scale``; raises InvalidParameter if it is not whole."""
    if "upscaling" not in session.model.provides:
        return 1
    factor = require(session.model, SupportsUpscaling).factor
    if factor % scale:
        raise InvalidParameter(
            f"scale={scale} is not allowed: the model {session.model.name!r} enlarges {factor} times"
        )
    return factor // scale


class _SharedNoise(Control):
    """Control that supplies the noise of a batch of tiles, equal where tiles overlap, for stochastic samplers too."""

    def __init__(self, region: Session, field: NoiseField, boxes: Sequence[Box]) -> None:
        model = region.model
        self.field, self.device, self.dtype = field, model.device, latent_dtype(model.dtype)
        self.channels, *size = model.latent_shape(*region.canvas.padded)
        self.boxes = [Box(*model.latent_shape(box.left, box.top)[1:], *size) for box in boxes]

    def sample(self, name: str) -> Tensor:
        """Noise (B, C, h, w) of the tiles, from the field of that name."""
        parts = [self.field.part(name, self.channels, box) for box in self.boxes]
        return to_device(torch.cat(parts), self.device, self.dtype)

    def noise(self, index: int) -> Tensor:
        return self.sample(f"step {index}")
