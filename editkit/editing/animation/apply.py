"""Apply an operation to every frame of an animation."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ...errors import InvalidParameter, MissingCapability
from ...model.backend import Backend
from ...model.batching import run_in_lock_step
from ...model.calls.combined import evaluate_all
from ...model.loading import resolve_model, split_options
from ...registry.arguments import check_arguments
from ...registry.registry import installed
from ...report import AnimationReport, Report
from ...sampling.params import DrawingParams
from ...sampling.progress import Progress, with_watcher, wrapping
from ..apply import cancellable
from ..framing.following import FollowedSubject
from ..many.lock_step import bind_request
from ..recipe import AnimationRecipe, Recipe
from ..steps.tracking import steps_together
from .first_frame import AnchoredCalls
from .request import AnimationRequest, check_batch, prepare_animation
from .result import AnimationResult, EditedFrame

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
    by default where the model provides attention and no control is attached. ``mask``, or another image among
    the parameters, is one for all frames or an animation of as many. ``batch`` frames are edited together, with an
    ``anchor`` one of them the first; memory grows accordingly, and their inversions are not cached.

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
    numbers = sorted(set(distinct))
    edits = _FrameEdits(request, model, _is_anchored(request, model, anchor, len(numbers)), progress, cache)
    edited: dict[int, EditedFrame] = {}
    with cancellable():
        for group in _batches(numbers, batch, anchored=edits.anchored):
            edited = edits.run(group) | edited  # of the first frame the first edit, those after it differ by rounding
    frames = [edited[number] for number in distinct]
    reason = None if edits.anchored or anchor is False or len(numbers) == 1 else _reason_against(request, model)
    report = _report(edits, frames, reason, seconds=time.perf_counter() - start)
    assert edits.recipe is not None
    recipe = AnimationRecipe.of(edits.recipe, request.animation.frames, anchor=anchor, batch=batch)
    return AnimationResult.of(request.animation, frames, report, recipe)


def _is_anchored(request: AnimationRequest, model: Backend, anchor: bool | None, frames: int) -> bool:
    """Return whether frames attend to the first one; raises an EditkitError if they are to and cannot."""
    reason = _reason_against(request, model)
    if anchor and reason:
        kind = InvalidParameter if "attention" in model.provides else MissingCapability
        raise kind(f"anchor=True is not allowed: {reason}; leave it out")
    return anchor is not False and frames > 1 and reason is None


def _reason_against(request: AnimationRequest, model: Backend) -> str | None:
    """Return why frames cannot attend to the first one; None if they can."""
    attached = request.params.controls if isinstance(request.params, DrawingParams) else ()
    if "attention" not in model.provides:
        return f"the model {model.name!r} provides no attention"
    return f"frames with controls of their own (attach={attached[0]!r}) are edited one by one" if attached else None


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
    following: FollowedSubject = dc.field(default_factory=FollowedSubject)
    reports: list[Report] = dc.field(default_factory=list)
    """Reports of all edits, also of those of the first frame in later batches."""
    recipe: Recipe | None = None
    """Recipe of the first frame."""

    def run(self, numbers: Sequence[int]) -> dict[int, EditedFrame]:
        """Return the edits of frames by their numbers; raises the first error."""
        edited: dict[int, EditedFrame] = {}
        # An inversion beside other frames is another one, by their keys or by the rounding of shared calls.
        cache = self.cache and len(numbers) == 1
        edits = [
            bind_request(
                self.request.registry,
                self.request.frame(number)._replace(following=self.following),
                shown,
                cache,
            )
            for number, shown in zip(numbers, steps_together(self._labelled(numbers), len(numbers)), strict=True)
        ]
        evaluate = self.calls if self.anchored else evaluate_all
        with contextlib.closing(run_in_lock_step(self.model, edits, evaluate)) as outcomes:
            for place, outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                number = numbers[place]
                edited[number] = EditedFrame.of(outcome, self.request.animation.frames[number])
                self.reports.append(outcome.report)
                if number == 0 and self.recipe is None:  # edits end in any order
                    self.recipe = outcome.recipe
        return edited

    def _labelled(self, numbers: Sequence[int]) -> Progress | None:
        """Return the caller's progress with the last frame of a batch before each label."""
        progress = with_watcher(self.progress)
        if progress is None:
            return None
        place = f"frame {numbers[-1] + 1} of {len(self.request.animation)}"

        def show(steps: Iterable[Any], *, total: int, desc: str) -> Iterable[Any]:
            return progress(steps, total=total, desc=f"{place}: {desc}")

        return wrapping(progress, show)

    def warnings(self, reason: str | None) -> Iterator[str]:
        """Yield warnings of the animation as a whole; ``reason`` is why the frames are edited without an anchor."""
        if self.anchored and not self.calls.together:
            reason = f"{self.request.spec.name} changes the network for one image at a time"
        if reason:
            yield f"the frames do not attend to the first one: {reason}"
        elif self.calls.alone:
            yield (
                f"{self.calls.alone} network calls of single frames did not attend to the first frame, whose edit has "
                "others"
            )


def _report(
    edits: _FrameEdits, frames: Sequence[EditedFrame], reason: str | None, *, seconds: float
) -> AnimationReport:
    """Return the report of all frames."""
    reports = [frame.report for frame in frames]
    first = reports[0]
    own = {field.name: getattr(first, field.name) for field in dc.fields(Report)}
    figures = ("vae_psnr", "recon_psnr", "vae_psnr_working", "recon_psnr_working")
    own |= {name: _figure(reports, name, min) for name in figures}
    own |= {name: _figure(reports, name, statistics.fmean) for name in ("mask_share", "gated_share")}
    own |= {
        "untouched_max_diff": _figure(reports, "untouched_max_diff", max),
        "frame": first.frame if all(one.frame == first.frame for one in reports) else None,
        "network_calls": sum(one.network_calls for one in edits.reports),
        "network_samples": sum(one.network_samples for one in edits.reports),
        "peak_memory_mb": max(one.peak_memory_mb for one in edits.reports),
        "seconds": round(seconds, 4),
        "warnings": (*_joined_warnings(reports), *edits.warnings(reason)),
    }
    return AnimationReport(**own, frames=len(frames), anchored=edits.calls.together > 0)


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
