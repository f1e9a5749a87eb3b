"""Random scenes for batches of images on any device: moved, mirrored, smaller, on a ground, or beside another image.

The counterpart of :mod:`.moving` for training: a frame is a pair of resampling matrices, so that a GPU places a whole
batch in two products.
"""

from __future__ import annotations

import dataclasses as dc
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Frames(NamedTuple):
    """Placements of N images in their squares: mirrored, scaled to ``side`` pixels, then shifted."""

    side: Tensor
    """(N,) int64."""
    down: Tensor
    """(N,) int64, pixels down from the centre."""
    right: Tensor
    """(N,) int64, pixels to the right of the centre."""
    mirrored: Tensor
    """(N,) bool."""

    def where(self, chosen: Tensor, others: Frames) -> Frames:
        """Return these frames with those of ``others`` where ``chosen`` (N,) is True."""
        return Frames(*(torch.where(chosen, other, own) for own, other in zip(self, others, strict=True)))

    def matrices(self, size: int) -> tuple[Tensor, Tensor]:
        """Resampling matrices (N, size, size) of rows and of columns."""
        upright = torch.zeros_like(self.mirrored)
        return axis_matrix(size, self.side, self.down, upright), axis_matrix(size, self.side, self.right, self.mirrored)


def axis_matrix(size: int, side: Tensor, shift: Tensor, flipped: Tensor) -> Tensor:
    """Matrices (N, size, size) that scale an axis to ``side``, shift it, and give 0 outside, by antialiased cubics."""
    scale = (side / size)[:, None]
    start = ((size - side).div(2, rounding_mode="floor") + shift)[:, None]
    centres = torch.arange(size, device=side.device) + 0.5
    source = (centres[None] - start) / scale
    visible = (source > 0) & (source < size)
    source = torch.where(flipped[:, None], size - source, source)
    weights = cubic((source[:, :, None] - centres) * scale[..., None])
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1e-6)
    return weights * visible[..., None]


def cubic(x: Tensor) -> Tensor:
    """Cubic kernel with a = -0.5 (Keys 1981), of which antialiased resizing of Pillow and torch consists."""
    x = x.abs()
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def resample(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Multiply images (N, C, H, W) by matrices (N, H, H) and (N, W, W), with 0 outside the images."""
    return rows[:, None] @ images @ columns[:, None].transpose(-1, -2)


@dc.dataclass(frozen=True)
class Scenes:
    """Frames of N images and the grounds (N, 3, H, W) in [-1, 1] behind them."""

    frames: Frames
    ground: Tensor

    def __getitem__(self, rows: slice) -> Scenes:
        return Scenes(Frames(*(part[rows] for part in self.frames)), self.ground[rows])

    def __call__(self, images: Tensor) -> Tensor:
        """Place images (N, 4, H, W), colours on white in [-1, 1] and alpha in [0, 1]; returns (N, 3, H, W)."""
        placed = resample(torch.cat([images[:, :3] - 1, images[:, 3:]], 1), *self.frames.matrices(images.shape[-1]))
        bare = 1 - placed[:, 3:].clamp(0, 1)
        return (1 + placed[:, :3] + bare * (self.ground - 1)).clamp(-1, 1)


@dc.dataclass(frozen=True)
class Moves:
    """Probabilities and ranges of random moves, scales, mirroring and grounds."""

    moved: float = 0.6
    smallest: float = 0.5
    same_scale: float = 0.35
    """Share of the moved images that keep their size."""
    furthest: int = 10
    """Largest shift in pixels of 64; scaled images may lie anywhere in the square."""
    mirrored: float = 0.35
    grounds: float = 0.25
    company: float = 0.0
    """Share of images with another image beside them."""
    near: float = 1.0
    """Exponent of lengths: 1 is uniform, larger values make short moves more frequent."""

    def sample(self, size: int, mirror: Tensor, others: Tensor, generator: torch.Generator) -> Scenes:
        """Sample scenes of N images; ``mirror`` (N,) allows mirroring, ``others`` (N, 4, H, W) are company."""
        count, device = len(mirror), mirror.device
        ground = sample_grounds(count, size, generator)
        on_white = torch.rand(count, 1, 1, 1, generator=generator, device=device) >= self.grounds
        ground = torch.where(on_white, 1.0, ground)
        frames = self.frames(size, mirror, generator)
        if not self.company:
            return Scenes(frames, ground)
        alone, left = torch.rand(2, count, generator=generator, device=device)
        beside = alone < self.company
        behind = Scenes(side_frames(size, left < 0.5), ground)(others)
        frames = frames.where(beside, side_frames(size, left >= 0.5))
        return Scenes(frames, torch.where(beside[:, None, None, None], behind, ground))

    def frames(self, size: int, mirror: Tensor, generator: torch.Generator) -> Frames:
        """Sample frames for images of ``size`` pixels."""
        numbers = torch.rand(6, len(mirror), generator=generator, device=mirror.device)
        moved, kept, scale, down, right, flipped = numbers
        scaled = (moved < self.moved) & (kept >= self.same_scale)
        side = torch.where(scaled, size * (1 - (1 - self.smallest) * scale**self.near), size).round().long()
        reach = torch.where(scaled, (size - side) // 2 + size // 32, self.furthest * size // 64)
        reach = torch.where(moved < self.moved, reach, 0)
        down, right = (self.lengths(value, reach) for value in (down, right))
        return Frames(side, down, right, mirror & (flipped < self.mirrored))

    def lengths(self, values: Tensor, reach: Tensor) -> Tensor:
        """Convert values (N,) in [0, 1] to shifts of at most ``reach`` (N,) in either direction."""
        signed = 2 * values - 1
        return (signed.sign() * signed.abs() ** self.near * reach).round().long()


def side_frames(size: int, left: Tensor) -> Frames:
    """Frames of one of two images side by side; ``left`` (N,) says on which side."""
    half, quarter = torch.full_like(left, size // 2, dtype=torch.long), size // 4
    return Frames(half, torch.zeros_like(half), torch.where(left, -quarter, quarter), torch.zeros_like(left))


def sample_grounds(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Sample grounds (count, 3, size, size) in [-1, 1]: half plain, a quarter gradients, a quarter textures."""
    device = generator.device
    first, second = 2 * torch.rand(2, count, 3, 1, 1, generator=generator, device=device) - 1
    kind, angle = torch.rand(2, count, 1, 1, 1, generator=generator, device=device)
    along = torch.linspace(-1, 1, size, device=device)
    angle = 2 * torch.pi * angle
    share = ((along[:, None] * angle.sin() + along * angle.cos() + 1) / 2).clamp(0, 1)
    second = torch.where(kind < 0.5, first, second)
    return torch.where(kind < 0.75, first.lerp(second, share), sample_textures(count, size, generator))


def sample_textures(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Sample coloured noise (count, 3, size, size) whose power falls with frequency, as in photographs.

    The amplitude falls as a power of the frequency between 0.8 and 2. The channels are mixed so that they share most of
    the contrast. Half of the textures have an edge between two such noises.
    """
    first, second, border = power_noise(3 * count, size, generator).chunk(3)
    undivided = torch.rand(count, 1, 1, 1, generator=generator, device=generator.device) < 0.5
    middle = border[:, :1].flatten(1).median(1).values[:, None, None, None]
    return torch.where(undivided | (border[:, :1] > middle), first, second)


def power_noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Textures of :func:`sample_textures` without edges."""
    device = generator.device
    power, contrast, level = torch.rand(3, count, 1, 1, 1, generator=generator, device=device)
    down, right = torch.fft.fftfreq(size, device=device), torch.fft.rfftfreq(size, device=device)
    frequency = torch.hypot(down[:, None], right)
    frequency[0, 0] = 1.0
    spectrum = torch.fft.rfft2(torch.randn(count, 3, size, size, generator=generator, device=device))
    spectrum = spectrum * frequency ** -(0.8 + 1.2 * power)
    spectrum[..., 0, 0] = 0.0
    noise = torch.fft.irfft2(spectrum, (size, size))
    noise = noise / noise.std((-1, -2), keepdim=True)
    mixing = torch.eye(3, device=device) * 0.4 + torch.rand(count, 3, 1, generator=generator, device=device)
    channels = torch.einsum("nij,njhw->nihw", mixing, noise)
    textures: Tensor = channels * (0.1 + 0.3 * contrast) + (1.4 * level - 0.7)
    return textures.clamp(-1, 1)


STYLE_NUMBERS = 9
"""Random numbers that :func:`restyle` takes per image."""


def restyle(images: Tensor, draw: Tensor) -> Tensor:
    """Redraw images (N, 4, H, W), as of :class:`Scenes`, in other styles that keep their captions true.

    The style follows from ``draw``, (9, N) uniform numbers in [0, 1].

    Saturation, gamma and number of colour levels change, and a third to half get dark lines around the drawing or
    along its inner borders. A model trained on them continues an unknown style instead of replacing it.
    """
    draw = draw[..., None, None, None]
    colours, alpha = (images[:, :3] + 1) / 2, images[:, 3:]
    grey = colours.mean(1, keepdim=True)
    colours = (grey + (0.6 + 0.8 * draw[0]) * (colours - grey)).clamp(1e-3, 1) ** (0.75 + 0.6 * draw[1])
    levels = 3 + (4 * draw[3]).floor()
    colours = torch.where(draw[2] < 0.4, (colours * levels).round() / levels, colours)
    wide, wider = (F.max_pool2d(alpha, kernel, 1, kernel // 2) for kernel in (3, 5))
    cover = torch.where(draw[4] < 0.5, wide, wider)
    line = (cover - alpha).clamp(0, 1)
    spread = F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)
    inner = ((spread - 0.15 - 0.2 * draw[5]) * 5).clamp(0, 1) * alpha
    line = torch.where(draw[6] < 0.5, line, 0.0) + torch.where(draw[7] < 0.35, inner, 0.0)
    line = line.clamp(0, 1)
    colours = colours * (1 - line) + 0.25 * draw[8] * line
    return torch.cat([2 * colours - 1, torch.maximum(alpha, line)], 1)
