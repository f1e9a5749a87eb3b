"""Cases: images with an edit whose outcome can be measured."""

from __future__ import annotations

import dataclasses as dc
import hashlib
from typing import Protocol

from PIL import Image


@dc.dataclass(frozen=True, kw_only=True)
class Case:
    """One edit of a data set: an image, prompts, and the mask or the true outcome by which a result is measured."""

    name: str
    """Unique in its data set."""
    source: str
    """Prompt that describes the image."""
    target: str
    """Prompt that describes the edited image."""
    image: Image.Image
    """The image to edit, as :func:`editkit.open_image` returns it."""
    instruction: str = ""
    """The edit as an instruction; empty if the data set has none."""
    mask: Image.Image | None = None
    """Region in which the edit belongs, mode L: 255 inside it and 0 outside; None if it is unknown."""
    truth: Image.Image | None = None
    """The true outcome, of the size of the image; None if it is unknown."""
    group: str = ""
    """Kind of the edit, for tables by kind."""

    @property
    def digest(self) -> str:
        """Hash of all that an edit of the case depends on."""
        images = [self.image, *([] if self.mask is None else [self.mask])]
        parts = [f"{self.source}\0{self.target}\0{self.instruction}".encode()]
        parts += [f"{image.mode}{image.size}".encode() + image.tobytes() for image in images]
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


class Dataset(Protocol):
    """A sequence of cases, read one at a time."""

    @property
    def floor(self) -> str | None:
        """Method that edits from the prompts without the image, over which methods show a gain; None without one."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on what a reader of the figures should know of the files."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, place: int) -> Case:
        """Return the case at a place in 0..len-1; raises an EditkitError for files that cannot be read."""
        ...
