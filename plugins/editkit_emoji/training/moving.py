"""Other frames and grounds for the same image: mirrored, smaller, elsewhere, on a colour, a texture or a photograph.

A source and its target in one :class:`Scene` are still an edit with a known outcome, so that moved pairs distinguish a
model that memorised captions from one that uses the image.
"""

from __future__ import annotations

import dataclasses as dc
import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor

SIDED = re.compile(
    r"\b(left|right|leftwards?|rightwards?|facing|clockwise|anticlockwise|counterclockwise|clock|thirty|watch|hour|"
    r"waxing|waning|quarter|crescent|moon|arrows?|pointing|button|sign|mark|symbol|letters?|numbers?|digit|keycap|"
    r"latin|japanese|flag|increasing|decreasing|trend|north|south|east|west|regional indicator|key|banknote|yen|dollar|"
    r"euro|pound|calendar|newspaper|label|receipt|book|page|bookmark|id|atm|ballot|hundred|points|music\w*|notes?|"
    r"input|cross|check|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|first|last|next|previous|1st|2nd|"
    r"3rd|\d+|fast|reverse|play|eject|tm|copyright|registered|ok|vs|cl|sos|new|free|up|cool|ng|abc|map|globe|"
    r"zodiac|aries|taurus|gemini|cancer|leo|virgo|libra|scorpio|sagittarius|capricorn|aquarius|pisces|ophiuchus)\b"
)
"""Words of names whose mirror image has another meaning: sides, directions, times, phases, letters and signs."""


def may_be_mirrored(title: str) -> bool:
    """Return True if a name also describes the mirror image."""
    return SIDED.search(title) is None


@dc.dataclass(frozen=True)
class Frame:
    """Placement of an image in its square: mirrored, then scaled down about the centre, then shifted."""

    mirrored: bool = False
    scale: float = 1.0
    shift: tuple[int, int] = (0, 0)
    """Pixels down and to the right."""

    def __call__(self, image: Tensor, fill: float) -> Tensor:
        """Place an image (C, H, W), filled with ``fill`` around it and clipped to the square."""
        size = image.shape[-1]
        if self.mirrored:
            image = image.flip(-1)
        side = round(size * self.scale)
        if side != size:
            image = F.interpolate(image[None], (side, side), mode="bicubic", antialias=True)[0].clamp(-1, 1)
        placed = image.new_full((image.shape[0], size, size), fill)
        rows, columns = (span(side, size, by) for by in self.shift)
        placed[:, rows[1], columns[1]] = image[:, rows[0], columns[0]]
        return placed


def span(side: int, size: int, shift: int) -> tuple[slice, slice]:
    """Slices of the visible part in a length ``side`` and in a length ``size``, from whose centre it is shifted."""
    start = (size - side) // 2 + shift
    low, high = max(start, 0), min(start + side, size)
    return slice(low - start, high - start), slice(low, high)


def apply_frame(image: Tensor, alpha: Tensor, frame: Frame, ground: Tensor | None = None) -> Tensor:
    """Place an image (3, H, W) in [-1, 1] on white, alpha (1, H, W) in [0, 1], in a frame on a ground (3, H, W)."""
    placed = frame(image, 1.0)
    if ground is None:
        return placed
    bare = 1 - frame(alpha, 0.0).clamp(0, 1)
    return (placed + bare * (ground - 1)).clamp(-1, 1)


@dc.dataclass(frozen=True)
class Scene:
    """Frame of an image and the ground behind it."""

    frame: Frame = Frame()
    ground: Tensor | None = None
    """(3, H, W) in [-1, 1], or None for white."""

    def __call__(self, image: Tensor, alpha: Tensor) -> Tensor:
        """Place an image (3, H, W) on white, with alpha (1, H, W), in this scene."""
        return apply_frame(image, alpha, self.frame, self.ground)


def side_frame(size: int, *, left: bool, scale: float = 0.5) -> Frame:
    """The frame of one of two images side by side."""
    return Frame(scale=scale, shift=(0, -size // 4 if left else size // 4))


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

    def frame(self, size: int, generator: torch.Generator, *, mirror: bool) -> Frame:
        """Sample a frame for an image of ``size`` pixels; it is mirrored only if ``mirror`` allows it."""
        moved, kept, scale, down, right, flipped = torch.rand(6, generator=generator).tolist()
        flip = mirror and flipped < self.mirrored
        if moved >= self.moved:
            return Frame(mirrored=flip)
        scale = 1.0 if kept < self.same_scale else 1 - (1 - self.smallest) * scale**self.near
        reach = self.furthest * size // 64 if scale == 1.0 else (size - round(size * scale)) // 2 + size // 32
        shift = self.length(down, reach), self.length(right, reach)
        return Frame(flip, scale, shift)

    def length(self, value: float, reach: int) -> int:
        """Convert a value in [0, 1] to a shift of at most ``reach`` in either direction."""
        signed = 2 * value - 1
        return round(math.copysign(abs(signed) ** self.near * reach, signed))

    def ground(self, size: int, generator: torch.Generator) -> Tensor | None:
        """Sample a ground (3, size, size), or None for white."""
        if float(torch.rand((), generator=generator)) >= self.grounds:
            return None
        return sample_ground(size, generator)

    def scene(
        self, size: int, generator: torch.Generator, *, mirror: bool, other: tuple[Tensor, Tensor] | None = None
    ) -> Scene:
        """Sample a scene; ``other``, an image (3, H, W) with alpha (1, H, W), may lie beside the image of the scene."""
        ground = self.ground(size, generator)
        alone, left = torch.rand(2, generator=generator).tolist()
        if other is None or alone >= self.company:
            return Scene(self.frame(size, generator, mirror=mirror), ground)
        behind = apply_frame(*other, side_frame(size, left=left >= 0.5), ground)
        return Scene(side_frame(size, left=left < 0.5), behind)


def sample_ground(size: int, generator: torch.Generator) -> Tensor:
    """Sample a ground (3, size, size) in [-1, 1]: half plain, a quarter two-colour gradients, a quarter textures."""
    kind = float(torch.rand((), generator=generator))
    first, second = (2 * torch.rand(3, 1, 1, generator=generator) - 1 for _ in range(2))
    if kind < 0.5:
        return first.repeat(1, size, size)
    if kind < 0.75:
        angle = 2 * torch.pi * torch.rand((), generator=generator)
        along = torch.linspace(-1, 1, size)
        share = (along[:, None] * angle.sin() + along[None] * angle.cos() + 1).div(2).clamp(0, 1)
        return first.lerp(second, share)
    return sample_texture(size, generator)


def sample_texture(size: int, generator: torch.Generator) -> Tensor:
    """Sample coloured noise (3, size, size) whose power falls with frequency, as in photographs.

    The amplitude falls as a power of the frequency between 0.8 and 2. The channels are mixed so that they share most of
    the contrast. Half of the textures have an edge between two such noises.
    """
    first = power_noise(size, generator)
    if float(torch.rand((), generator=generator)) < 0.5:
        return first
    border = power_noise(size, generator)[:1]
    return torch.where(border > border.median(), first, power_noise(size, generator))


def power_noise(size: int, generator: torch.Generator) -> Tensor:
    """One texture of :func:`sample_texture`."""
    power = 0.8 + 1.2 * float(torch.rand((), generator=generator))
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1.0
    spectrum = torch.fft.rfft2(torch.randn(3, size, size, generator=generator)) * frequency**-power
    spectrum[:, 0, 0] = 0.0
    noise = torch.fft.irfft2(spectrum, (size, size))
    noise = noise / noise.std((1, 2), keepdim=True)
    channels = torch.einsum("ij,jhw->ihw", torch.eye(3) * 0.4 + torch.rand(3, 1, generator=generator), noise)
    contrast, level = torch.rand(2, generator=generator).tolist()
    ground: Tensor = channels * (0.1 + 0.3 * contrast) + (1.4 * level - 0.7)
    return ground.clamp(-1, 1)
