"""References: images that an edit model reads together with an instruction."""

from __future__ import annotations

import dataclasses as dc
import math
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias, cast

from PIL import Image

from ..diffusion.denoiser import Condition
from ..errors import InvalidParameter
from .backend import Backend
from .capabilities import CAPABILITIES, require

ReferenceGuidance: TypeAlias = Literal["scale input", "two estimates", "three estimates", "none"]


@dc.dataclass(frozen=True)
class References:
    """Images that a family reads, and its guidance by them.

    Guidance is a ``scale input`` of the network; by ``two estimates``, both with the images, under the negative prompt
    and under the prompt; by ``three estimates``, whose first is without images (Brooks et al., arXiv 2211.09800); or
    ``none``, for models that are distilled to one estimate.
    """

    guidance: ReferenceGuidance
    most: int = 1
    """Most images, with the image to be edited."""
    required: bool = False
    """Whether the model draws nothing without an image."""
    shortest_side: int = 1
    """Pixels of the shortest side that is read; smaller images are scaled up to it."""
    longest_ratio: float = math.inf
    """Longest side relative to the shortest that is read."""

    def fit(self, images: Sequence[Image.Image], model: str) -> list[Image.Image]:
        """Return images, small ones scaled up; raises InvalidParameter for one that is too long for a named model."""
        for number, image in enumerate(images):
            if max(image.size) > self.longest_ratio * min(image.size):
                raise InvalidParameter(
                    f"{f'reference {number}' if number else 'the image'} is {image.width} x {image.height} pixels: the "
                    f"model {model!r} reads images of at most {self.longest_ratio:g}:1; crop it"
                )
        return [self._scale_up(image) for image in images]

    def _scale_up(self, image: Image.Image) -> Image.Image:
        scale = self.shortest_side / min(image.size)
        if scale <= 1:
            return image
        width, height = (math.ceil(side * scale) for side in image.size)
        return image.resize((width, height), Image.Resampling.BICUBIC)


class SupportsReferences(Backend, Protocol):
    """Model that provides ``references``: it reads images, at their own proportions, together with a prompt."""

    references: References
    """Images that it reads, and its guidance by them."""

    def instructed(self, prompts: Sequence[str], images: Sequence[Image.Image]) -> Condition:
        """Return the condition of prompts that refer to images, one row each; all rows have the same images.

        ``images`` have mode RGB and any size; the first is the image to be edited. They stay alive as long as the
        condition is used. Without images it is the condition of :meth:`embed`. If guidance uses three estimates,
        conditions with and without images can be stacked.
        """


CAPABILITIES[SupportsReferences] = "references"


def references_of(model: Backend) -> References | None:
    """Return what images a model reads, or None if it reads none."""
    return cast(SupportsReferences, model).references if "references" in model.provides else None


def requires_references(model: Backend) -> bool:
    """Return whether a model draws nothing without an image that it reads."""
    reads = references_of(model)
    return reads is not None and reads.required


def fit_references(model: Backend, images: Sequence[Image.Image]) -> list[Image.Image]:
    """Return images as a model reads them, small ones scaled up; raises InvalidParameter for one that is too long."""
    return require(model, SupportsReferences).references.fit(images, model.name)
