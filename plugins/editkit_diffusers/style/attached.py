"""Styles attached to models, and the rows of a batch that each of them acts on."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses as dc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from editkit import STYLE, Condition, Point, PointBatch, rows_on, select_rows


@dc.dataclass(frozen=True, eq=False)
class Style:
    """An image adapter that acts at sigmas from ``low`` to ``high`` with the strength ``scale``.

    Two styles are equal only if they are one object.
    """

    scale: float
    low: float
    high: float

    styles_negative = True
    """Whether rows of the negative prompt are evaluated with the adapter too, on the embedding of no image."""
    added_tokens = 0
    """Number of tokens that follow those of the prompt."""

    def acts_on(self, point: Point, role: int) -> bool:
        """Return whether the style changes the estimate of a row at ``point`` whose value of ``STYLE`` is ``role``."""
        return self.low <= point.sigma <= self.high and (role == 1 or (role == -1 and self.styles_negative))

    def release(self) -> None:
        """Release all that the style holds for its walk."""


Styles = tuple[Style, ...]
Estimate = Callable[[Tensor, Point | PointBatch, Condition, Styles, Sequence[int]], Tensor]
"""Estimate of a network whose rows have the same styles, with the roles of the rows."""

# A model may be used by several threads at once: a style changes only the walk that attached it.
_ATTACHED: contextvars.ContextVar[tuple[tuple[Any, Style], ...]] = contextvars.ContextVar("styles", default=())


@contextlib.contextmanager
def attached(model: Any, style: Style) -> Iterator[None]:
    """Attach a style to a model in this thread."""
    token = _ATTACHED.set((*_ATTACHED.get(), (model, style)))
    try:
        yield
    finally:
        _ATTACHED.reset(token)
        style.release()


def styles_of(model: Any) -> Styles:
    """Return the styles that are attached to a model in this thread."""
    return tuple(style for owner, style in _ATTACHED.get() if owner is model)


def estimate_by_style(
    model: Any, estimate: Estimate, x: Tensor, point: Point | PointBatch, condition: Condition
) -> Tensor:
    """Call ``estimate`` once for all rows that the same styles act on, and return the estimates of all rows."""
    styles, count = styles_of(model), len(x)
    roles: list[int] = condition[STYLE].tolist() if STYLE in condition else [0] * count
    condition = {name: tensor for name, tensor in condition.items() if name != STYLE}
    points = point.rows(count)
    acting = [
        tuple(style for style in styles if style.acts_on(point, role))
        for point, role in zip(points, roles, strict=True)
    ]
    groups = list(dict.fromkeys(acting))
    if len(groups) == 1:
        return estimate(x, point, condition, groups[0], roles)
    x0 = torch.empty_like(x)
    for group in groups:
        rows = [row for row in range(count) if acting[row] == group]
        part = point if isinstance(point, Point) else PointBatch(tuple(points[row] for row in rows))
        of_rows = {name: tensor[rows_on(rows, tensor.device)] for name, tensor in condition.items()}
        index = rows_on(rows, x.device)
        with select_rows(rows):
            x0.index_copy_(0, index, estimate(x[index], part, of_rows, group, [roles[row] for row in rows]))
    return x0
