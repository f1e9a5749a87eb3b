"""Loops of an edit whose steps a progress function is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from torch import Tensor

from ...diffusion.paths import SamplingPath
from ...images.canvas import Canvas
from ...model.backend import Backend
from ...sampling.latest_estimate import LatestEstimate
from ...sampling.progress import Progress, show_progress, wrapping
from .step import Step

Item = TypeVar("Item")


class TracksLoops:
    """Part of a :class:`Session` that shows its loops."""

    model: Backend
    canvas: Canvas
    pixels: Tensor
    progress: Progress | None

    def estimate(self, path: SamplingPath, sources: Sequence[int | None] = ()) -> LatestEstimate | None:
        """Return a control that keeps the estimates of a loop along a path, None if nobody looks at its steps.

        ``sources`` names the row of each row's source, or None.
        """
        return None if self.progress is None else LatestEstimate(path, sources)

    def track(
        self,
        steps: Iterator[Item],
        total: int,
        label: str,
        *,
        estimate: LatestEstimate | None = None,
        pixels: Tensor | None = None,
    ) -> Iterable[Item]:
        """Return ``steps``, shown to the caller's progress under a label; see :func:`show_progress` for its errors.

        Their previews are those of ``estimate``, else ``pixels`` (1, 3, H, W) in [0, 1], by default the sources.
        """
        if self.progress is None:
            return steps
        shown = show_progress(self.progress, self._steps(steps, total, label, estimate, pixels), total, label)
        return (step.item for step in shown)

    def _steps(
        self, items: Iterator[Any], total: int, label: str, estimate: LatestEstimate | None, pixels: Tensor | None
    ) -> Iterator[Step]:
        path = () if estimate is None else estimate.path
        for index, item in enumerate(items):
            yield Step(
                index,
                total,
                label,
                point=path[index + 1] if index + 1 < len(path) else None,
                x0=None if estimate is None else estimate.x0,
                sources=0 if estimate is None else estimate.sources,
                model=self.model,
                canvas=self.canvas,
                pixels=self.pixels if pixels is None else pixels,
                item=item,
            )


def steps_together(progress: Progress | None, count: int) -> list[Progress | None]:
    """Return the progress of each of ``count`` edits in lock step: the last one is shown, the others are beside it.

    Edits run in their order between two network calls, so that at a step of the last one the others have taken theirs.
    """
    if progress is None:
        return [None] * count
    latest: list[Step | None] = [None] * count

    def noting(number: int) -> Progress:
        def note(steps: Iterator[Step], *, total: int, desc: str) -> Iterator[Step]:
            try:
                for step in steps:
                    latest[number], step.beside = step, latest
                    yield step
            finally:
                if number == count - 1:
                    # A step among those beside it is a cycle, which would keep its tensors until a collection.
                    latest[:] = [None] * count

        return note

    last = noting(count - 1)

    def show(steps: Iterator[Step], *, total: int, desc: str) -> Any:
        return progress(last(steps, total=total, desc=desc), total=total, desc=desc)

    return [*(noting(number) for number in range(count - 1)), wrapping(progress, show)]
