"""Enlarging a picture with what a model draws, in overlapping tiles that share their noise."""

from __future__ import annotations

import dataclasses as dc
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

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
    paint,
    repeat_condition,
    require,
    start_at,
)

from . import UpscaleParams
from .back_projection import back_project, crop_padded, enlarge, enlarge_box, view_box
from .tiles import Box, NoiseField, Tiling

if TYPE_CHECKING:
    pass

STRENGTH = 0.3
"""Share of the path that is drawn by a model which is not made for upscaling."""
TILES_PER_BATCH = 4
"""Tiles in one batch."""


def upscale(session: Session, params: UpscaleParams) -> PixelEdit:
    """Enlarge the picture, add what is drawn tile by tile, and make it agree with the picture again.

    Beside the pixels of the result and the picture, this takes the memory of a few tiles, whatever their size.
    """
    strength = params.strength
    if strength is None:
        strength = 1.0 if "upscaling" in session.model.provides else session.model_default("strength", STRENGTH)
    steps = session.default_steps(params.steps)
    session.params = params = params.model_copy(update={"strength": strength, "steps": steps})
    path = start_at(session.model.schedule, session.drawing_path(steps), strength)
    larger = enlarge(session.pixels, params.scale)
    if len(path) > 1:
        drawing = _TiledDrawing.plan(session, params, path)
        for _ in session.track(drawing.add_to(larger), drawing.batches, "upscaling"):
            pass
    back_project(larger, session.pixels, params.scale)
    return PixelEdit(larger)


@dc.dataclass(frozen=True)
class _TiledDrawing:
    """How tiles of one larger picture are drawn, in batches that may be of any size."""

    session: Session
    params: UpscaleParams
    path: SamplingPath
    tiling: Tiling
    """Boxes of the result."""
    finer: int
    """Times larger than in the result a model made for upscaling draws them."""
    longest: int
    """Longest side in pixels that the model draws them at."""
    noise: NoiseField

    @classmethod
    def plan(cls, session: Session, params: UpscaleParams, path: SamplingPath) -> _TiledDrawing:
        """Lay out the tiles; raises InvalidParameter where a model made for upscaling cannot enlarge as asked."""
        finer = _oversampling(session, params.scale)
        side = params.resolution or session.model.native_size
        unit = math.lcm(session.model.multiple, params.scale * finer) // finer
        height, width = (params.scale * side for side in session.pixels.shape[-2:])
        tiling = Tiling.plan((width, height), side // finer, unit)
        longest = max(tiling.rows.side, tiling.columns.side) * finer
        if len(tiling) == 1 and "upscaling" not in session.model.provides:
            longest = side  # a picture that one tile holds is shown to the model at its own size
        seed = int(torch.randint(2**62, (), generator=session.random))
        return cls(dc.replace(session, progress=None), params, path, tiling, finer, longest, NoiseField(seed))

    @property
    def batch_size(self) -> int:
        # What is attached looks at the picture of a session, and so wants one for every tile.
        return 1 if self.params.attach else TILES_PER_BATCH

    @property
    def batches(self) -> int:
        return -(-len(self.tiling) // self.batch_size)

    def add_to(self, larger: Tensor) -> Iterator[Tensor]:
        """Add to the enlarged picture (1, 3, H, W), in place, what is drawn beyond it; yields the tiles drawn."""
        tiles = iter(self.tiling)
        height, width = larger.shape[-2:]
        while batch := list(itertools.islice(tiles, self.batch_size)):
            drawn = self.draw([box for box, _ in batch])
            for row, (box, window) in zip(drawn, batch, strict=True):
                change = window * (row - enlarge_box(self.session.pixels, self.params.scale, box))
                within = view_box(larger, box)
                within += change[..., : height - box.top, : width - box.left]
            yield drawn

    def draw(self, boxes: Sequence[Box]) -> Tensor:
        """The tiles (B, 3, h, w) of the result."""
        scale, session = self.params.scale * self.finer, self.session
        before = torch.cat([enlarge_box(session.pixels, scale, box.times(self.finer)) for box in boxes])
        part = session.for_region(before, longest=self.longest)
        shared = _SharedNoise(part, self.noise, [box.times(self.finer) for box in boxes])
        condition = {
            **repeat_condition(session.embed(self.params.prompt), len(boxes)),
            **self.small_image_condition(boxes),
        }
        if self.params.strength == 1:
            drawn = Edit(part.draw(shared.sample("start"), self.path, condition, [shared]))
        else:
            start = add_noise(part.latents, shared.sample("start"), self.path[0])
            drawn = Edit(
                part.draw(start, self.path, condition, [shared]),
                reconstructed=part.latents,
                shares=torch.eye(len(boxes)),
            )
        return F.avg_pool2d(paint(part, drawn), self.finer)

    def small_image_condition(self, boxes: Sequence[Box]) -> Condition:
        """What a model made for upscaling sees of the picture itself."""
        if "upscaling" not in self.session.model.provides:
            return {}
        model = require(self.session.model, SupportsUpscaling)
        small = [Box(*(side // self.params.scale for side in box)) for box in boxes]
        pixels = torch.cat([crop_padded(self.session.pixels, box) for box in small])
        noise = torch.cat([self.noise.part("seen", 3, box) for box in small])
        return model.upscaling_condition(
            pixels.to(model.device, model.dtype), self.params.noise_level, noise.to(model.device, model.dtype)
        )


def _oversampling(session: Session, scale: int) -> int:
    """How much more a model enlarges than is asked for; raises InvalidParameter where it does not come out even."""
    if "upscaling" not in session.model.provides:
        return 1
    factor = require(session.model, SupportsUpscaling).factor
    if factor % scale:
        raise InvalidParameter(
            f"scale={scale} is not allowed: the model {session.model.name!r} enlarges {factor} times"
        )
    return factor // scale


class _SharedNoise(Control):
    """Noise of a batch of tiles, the same wherever two of them overlap, also in the steps of stochastic samplers."""

    def __init__(self, part: Session, field: NoiseField, boxes: Sequence[Box]) -> None:
        model = part.model
        self.field, self.device, self.dtype = field, model.device, model.dtype
        self.channels, *size = model.latent_shape(*part.canvas.padded)
        self.boxes = [Box(*model.latent_shape(box.left, box.top)[1:], *size) for box in boxes]

    def sample(self, name: str) -> Tensor:
        """The noise (B, C, h, w) of the tiles, of the field of that name."""
        parts = [self.field.part(name, self.channels, box) for box in self.boxes]
        return torch.cat(parts).to(self.device, self.dtype)

    def noise(self, index: int) -> Tensor:
        return self.sample(f"step {index}")
