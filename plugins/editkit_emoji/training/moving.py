"""Other frames and grounds for the same image: mirrored, smaller, elsewhere, on a colour, a texture or a photograph.

A source and its target in one :class:`Scene` are still an edit with a known outcome, so that moved pairs distinguish a
model that memorised captions from one that uses the image.
"""

from __future__ import annotations

import dataclasses as dc
import re

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
