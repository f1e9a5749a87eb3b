"""Base class of the backends whose network takes style adapters."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from editkit import Condition, Point, PointBatch, to_x0

from ..attention.support import find_attention_sites
from ..controlnets.attached import SteeredModel
from .attached import Style, Styles, attached, estimate_by_style


class StyledModel(SteeredModel):
    """Base of backends of which each row of a batch is evaluated with the styles that act on it."""

    @abc.abstractmethod
    def load_style(self, weights: Path, image: Image.Image, **options: Any) -> Style:
        """Return the style of an image; arguments and errors are those of :meth:`SupportsStyle.with_style`."""

    @abc.abstractmethod
    def predict(
        self, x: Tensor, point: Point | PointBatch, condition: Condition, styles: Styles, roles: Sequence[int]
    ) -> Tensor:
        """Return the network's prediction for rows that the same styles act on; ``x`` is in the network's dtype.

        ``roles`` are the values of ``STYLE`` of the rows.
        """

    @contextlib.contextmanager
    def with_style(self, weights: Path, image: Image.Image, **options: Any) -> Iterator[None]:
        with attached(self, self.load_style(weights, image, **options)):
            yield

    @find_attention_sites
    def denoise(self, x: Tensor, point: Point | PointBatch, condition: Condition) -> Tensor:
        return estimate_by_style(self, self._estimate, x, point, condition)

    def _estimate(
        self, x: Tensor, point: Point | PointBatch, condition: Condition, styles: Styles, roles: Sequence[int]
    ) -> Tensor:
        return to_x0(self.prediction, self.predict(x.to(self.dtype), point, condition, styles, roles), x, point)
