"""Apply an operation to every frame of an animation."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...errors import InvalidParameter, MissingCapability
from ...images.animation.frames import same_mode
from ...model.backend import Backend
from ...model.batching import run_in_lock_step
from ...model.calls.combined import evaluate_all
from ...model.loading import resolve_model
from ...registry.arguments import check_arguments
from ...registry.registry import installed
from ...report import AnimationReport, Report
from ...sampling.params import DrawingParams
from ...sampling.progress import Progress
from ..apply import cancellable
from ..many.apply_all import split_options
from ..many.lock_step import bind_request
from ..result import Result
from .first_frame import AnchoredCalls
from .request import AnimationRequest, check_batch, prepare_animation
from .result import AnimationResult

BATCH = 4
"""Default number of frames that are edited together."""


@check_arguments()
def apply_to_animation(
    operation: str,
    animation: Any,
    *,
    anchor: bool | None = None,
    batch: int = BATCH,
    model: Backend | str | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    **given: Any,
) -> AnimationResult:
    """Apply a registered operation of one image to every frame of an animation.

    ``animation`` is an :class:`Animation` or anything :func:`open_animation` reads; the other arguments are those of
    :func:`apply`. All frames have the same noise, that of ``seed``. With ``anchor`` they attend to the first frame too,
    by default where the model provides attention and no control is attached; their inversions are then not cached.
    ``mask``, or another image among the parameters, is one for all frames or an animation of as many. ``batch`` frames
    are edited together, with an ``anchor`` one of them the first; memory grows accordingly.

    Each frame is an edit of its own, with all that holds for one: under a mask its other pixels stay as they are.
    Raises an EditkitError before the model is loaded if an argument is wrong, or if ``anchor`` is not possible.
    """
    check_batch(batch)
    registry = installed()
    options, params = split_options(given)
    request = prepare_animation(registry, operation, animation, params)
    backend = resolve_model(model, **options, operation=operation)
    return execute_animation(request, backend, anchor=anchor, batch=batch, progress=progress, cache=cache)


def execute_animation(
    request: AnimationRequest,
    model: Backend,
    *,
    anchor: bool | None = None,
    batch: int = BATCH,
    progress: Progress | None = None,
    cache: bool = True,
) -> AnimationResult:
    """Carry out a prepared edit of an animation with a loaded model.

    Raises MissingCapability if frames are to attend to the first one and cannot, and what :func:`execute` raises.
    """
    start, distinct = time.perf_counter(), request.distinct_frames()
    edits = _FrameEdits(request, model, _is_anchored(request, model, anchor), progress, cache)
    results: dict[int, Result] = {}
    with cancellable():
        for numbers in _batches(sorted(set(distinct)), batch, anchored=edits.anchored):
            results.update(edits.run(numbers))
    frames = [results[number] for number in distinct]
    edited = dc.replace(request.animation, frames=same_mode([frame.image for frame in frames]))
    report = _report(edits, frames, seconds=time.perf_counter() - start)
    return AnimationResult.of(request.animation, edited, frames, report)


def _is_anchored(request: AnimationRequest, model: Backend, anchor: bool | None) -> bool:
    """Return whether frames attend to the first one."""
    if anchor is False or len(request.animation) == 1:
        return False
    params = request.params
    attached = params.controls if isinstance(params, DrawingParams) else ()
    if anchor and "attention" not in model.provides:
        raise MissingCapability(
            f"anchor needs attention, which the model {model.name!r} does not provide: leave it out"
        )
    if anchor and attached:
        raise InvalidParameter(
            f"anchor is not allowed beside attach={attached[0]!r}: frames with controls of their own are edited one "
            "after another; leave one of them out"
        )
    return "attention" in model.provides and not attached


def _batches(numbers: Sequence[int], size: int, *, anchored: bool) -> Iterator[list[int]]:
    """Yield groups of at most ``size`` frames; with an anchor each begins with the first one."""
    if not anchored:
        yield from (list(numbers[start : start + size]) for start in range(0, len(numbers), size))
        return
    first, *others = numbers
    step = max(1, size - 1)
    yield from ([first, *others[start : start + step]] for start in range(0, max(1, len(others)), step))


@dc.dataclass
class _FrameEdits:
    """Edits of frames in lock step, with the network calls that they took."""

    request: AnimationRequest
    model: Backend
    anchored: bool
    progress: Progress | None
    cache: bool
    calls: AnchoredCalls = dc.field(default_factory=AnchoredCalls)
    reports: list[Report] = dc.field(default_factory=list)
    """Reports of all edits, also of those of the first frame in later batches."""

    def run(self, numbers: Sequence[int]) -> dict[int, Result]:
        """Return the results of frames by their numbers; raises the first error."""
        results: dict[int, Result] = {}
        edits = [
            bind_request(
                self.request.registry,
                self.request.frame(number),
                None if place else self._labelled(numbers),
                self.cache and not self.anchored,  # an inversion beside another frame is another one
            )
            for place, number in enumerate(numbers)
        ]
        evaluate = self.calls if self.anchored else evaluate_all
        with contextlib.closing(run_in_lock_step(self.model, edits, evaluate)) as outcomes:
            for place, outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                results[numbers[place]] = outcome
                self.reports.append(outcome.report)
        return results

    def _labelled(self, numbers: Sequence[int]) -> Progress | None:
        """Return the caller's progress with the last frame of a batch before each label."""
        progress = self.progress
        if progress is None:
            return None
        place = f"frame {numbers[-1] + 1} of {len(self.request.animation)}"

        def show(steps: Iterable[Any], *, total: int, desc: str) -> Iterable[Any]:
            return progress(steps, total=total, desc=f"{place}: {desc}")

        return show

    def warnings(self) -> Iterator[str]:
        """Yield warnings of the animation as a whole."""
        if self.anchored and self.calls.alone:
            yield (
                f"{self.calls.alone} network calls of single frames did not attend to the first frame, whose edit has "
                "others"
            )


def _report(edits: _FrameEdits, frames: Sequence[Result], *, seconds: float) -> AnimationReport:
    """Return the report of all frames."""
    reports = [frame.report for frame in frames]
    first = reports[0]
    own = {field.name: getattr(first, field.name) for field in dc.fields(Report)}
    figures = ("vae_psnr", "recon_psnr", "vae_psnr_working", "recon_psnr_working")
    own |= {name: _figure(reports, name, min) for name in figures}
    own |= {
        "untouched_max_diff": _figure(reports, "untouched_max_diff", max),
        "frame": first.frame if all(one.frame == first.frame for one in reports) else None,
        "mask_share": _figure(reports, "mask_share", lambda shares: sum(shares) / len(shares)),
        "network_calls": sum(one.network_calls for one in edits.reports),
        "network_samples": sum(one.network_samples for one in edits.reports),
        "peak_memory_mb": max(one.peak_memory_mb for one in edits.reports),
        "seconds": round(seconds, 4),
        "warnings": (*_joined_warnings(reports), *edits.warnings()),
    }
    return AnimationReport(**own, frames=len(frames), anchored=edits.anchored)


def _figure(reports: Sequence[Report], name: str, choose: Any) -> Any:
    """Return one value for a figure of reports, chosen or computed from theirs; None if none of them has it."""
    values = [value for report in reports if (value := getattr(report, name)) is not None]
    return choose(values) if values else None


def _joined_warnings(reports: Sequence[Report]) -> Iterator[str]:
    """Yield each warning once, with the number of the frame if not all have it."""
    for text in dict.fromkeys(warning for report in reports for warning in report.warnings):
        having = [number for number, report in enumerate(reports, 1) if text in report.warnings]
        if len(having) == len(reports):
            yield text
        else:
            more = f" and {len(having) - 1} others" if len(having) > 1 else ""
            yield f"frame {having[0]}{more}: {text}"
