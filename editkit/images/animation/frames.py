"""Animation: frames as editkit passes images, with their times."""

from __future__ import annotations

import dataclasses as dc
import itertools
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

from PIL import Image

from ...errors import BadImage, InvalidParameter
from ..reading import open_image
from ..sources import MAX_PIXELS, format_size
from ..stored.image import StoredImage, unify

MAX_FRAMES = 1000
MAX_ANIMATION_PIXELS = 2 * MAX_PIXELS
"""Most pixels of all frames together: they are in memory at once."""


class VideoFile(NamedTuple):
    """Video file from which a result takes what frames do not hold."""

    data: bytes
    """Bytes of the file."""
    has_audio: bool
    start: float
    """Milliseconds from the start of the file at which its first frame is shown."""
    matrix: int
    """Code of the colour matrix (ITU-T H.273)."""
    pixel_shape: Fraction | None
    """Width of a pixel by its height."""


@dc.dataclass(frozen=True, eq=False)
class Animation:
    """Frames of one size with the time that each is shown, and how often they are played."""

    frames: tuple[Image.Image, ...]
    """Images as :func:`editkit.open_image` returns them, all of one size and mode."""
    durations: tuple[float, ...]
    """Milliseconds for which each frame is shown."""
    plays: int = 0
    """Number of times that the frames are played; 0 for endlessly."""
    suffix: str = ".gif"
    """File suffix of its format."""
    video: VideoFile | None = None
    """The file of a video; None for other formats."""

    @classmethod
    def of(cls, frames: Iterable[Any], *, milliseconds: float = 100, plays: int = 0) -> Animation:
        """Return an animation of images, anything :func:`editkit.open_image` reads, each shown for ``milliseconds``.

        Raises InvalidParameter for no frames, frames of several sizes or a time that is not above 0, and BadImage for
        more frames or pixels than are allowed.
        """
        images = [open_image(frame, argument=f"frame {number}") for number, frame in enumerate(frames, 1)]
        if len({image.size for image in images}) != 1 or not milliseconds > 0:
            raise InvalidParameter("frames must be one or more images of one size, shown for more than 0 milliseconds")
        check_length(len(images), images[0].size, "the animation")
        return cls(same_mode(images), (float(milliseconds),) * len(images), plays)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.frames[0].size

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        seconds = sum(self.durations) / 1000
        return f"<Animation: {len(self)} frames of {format_size(self.size)} pixels, {seconds:.3g} s, {self.suffix[1:]}>"

    def frame_at(self, milliseconds: float) -> Image.Image:
        """Return the frame that is shown at a time from the start."""
        ends = itertools.accumulate(self.durations)
        shown = (frame for frame, end in zip(self.frames, ends, strict=True) if milliseconds < end)
        return next(shown, self.frames[-1])

    def matched_to(self, other: Animation) -> tuple[Image.Image, ...]:
        """Return a frame for each frame of another animation: encoders merge equal neighbours into a longer one."""
        if len(self) == len(other):
            return self.frames
        # A format rounds times to its own unit: the middle of a frame is safe.
        starts = itertools.accumulate(other.durations, initial=0.0)
        return tuple(self.frame_at(start + length / 2) for start, length in zip(starts, other.durations, strict=False))


def check_length(count: int, size: tuple[int, int], name: str) -> None:
    """Raise BadImage for more frames than are allowed, or more pixels in all of them together."""
    if count > MAX_FRAMES:
        raise BadImage(f"{name} has more than {MAX_FRAMES} frames: cut it into shorter ones")
    if count * size[0] * size[1] > MAX_ANIMATION_PIXELS:
        raise BadImage(
            f"{name} has {count} frames of {format_size(size)} pixels, too many: at most "
            f"{MAX_ANIMATION_PIXELS // 10**6} million pixels in all frames are allowed; cut it or scale it down"
        )


def same_mode(images: Sequence[Image.Image]) -> tuple[Image.Image, ...]:
    """Return images with alpha if one of them has it, at one depth and in one colour profile."""
    return tuple(one.view() for one in unify([StoredImage.of(image) for image in images]))
