"""Apply an operation: check the call, load the model, execute."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.source_rows import version_of
from ..errors import Cancelled, EditkitError, PluginFailure
from ..images.masks.tensors import marked_share, mask_image
from ..images.sources import format_size, memory_text
from ..images.stored.image import StoredImage
from ..inversion.inversion import Inversion
from ..literals import AttentionBackend, CompileMode, ModelPrediction, Quantisation
from ..model.adapters import AdapterCall
from ..model.backend import Backend
from ..model.batching import unwrap
from ..model.execution import ExecutionOptions, in_use, measured_memory, plain_mode
from ..model.loading import resolve_model
from ..model.options import LoadingOptions
from ..registry.arguments import check_arguments
from ..registry.failures import is_out_of_memory, raised_by_caller
from ..registry.registry import Registry, installed
from ..sampling.progress import Progress, check_cancelled, with_watcher
from ..sampling.usual import usual_of, with_usual
from .capabilities import check_capabilities, unnoticed_distillation
from .framing.frame import Framing, frame_session
from .masks.automatic import mask_by_prompts
from .masks.of_controls import masks_of_controls, warn_of_missed_masks
from .opening import open_session
from .outcome import Contract, Edit, PixelEdit
from .request import Request, prepare
from .results.composing import compose
from .results.quality import measure_quality, untouched_part, warn_of_no_change
from .results.reporting import build_report
from .results.result import build_result
from .session import Session
from .validation import check_accelerated


@check_arguments()
def apply(
    operation: str,
    image: Any = None,
    *,
    model: Backend | str | None = None,
    device: str | int | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    adapters: Sequence[AdapterCall] = (),
    compile: bool = False,  # noqa: A002 (the name of the option)
    compile_mode: CompileMode | None = None,
    compile_decoder: bool = False,
    attention: AttentionBackend | None = None,
    offload: bool = False,
    group_offload: bool = False,
    tiling: bool = False,
    prediction: ModelPrediction | None = None,
    variant: str | None = None,
    revision: str | None = None,
    vae: str | os.PathLike[str] | None = None,
    transformer: str | os.PathLike[str] | None = None,
    quantise: Quantisation | None = None,
    accelerate: str | Mapping[str, Any] | None = None,
    clip_skip: int | None = None,
    progress: Progress | None = None,
    cache: bool = True,
    **params: Any,
) -> Any:
    """Apply a registered operation to an image and return a Result (an Inversion for ``invert``).

    ``image`` is the operation's input: anything :func:`open_image` reads, two of them, an Inversion, or None. ``model``
    is a loaded model or an argument of :func:`load_model`; the arguments from ``device`` to ``clip_skip`` belong to the
    latter. ``params`` are the operation's own; images among them, such as ``mask``, are anything :func:`open_image`
    reads. ``progress`` is called like ``tqdm`` for each loop. Without ``cache`` inversions of earlier edits are neither
    read nor stored. Raises an EditkitError before the model is loaded if an argument is wrong.
    """
    registry = installed()
    request = prepare(registry, operation, image, params)
    execution = ExecutionOptions(compile, compile_mode, compile_decoder, attention, offload, group_offload, tiling)
    options = LoadingOptions.of(prediction, variant, revision, vae, transformer, quantise, accelerate, clip_skip)
    check_accelerated(request.spec, request.params, options.accelerate)
    backend = resolve_model(model, device, dtype, adapters, execution, options, operation=operation)
    return execute(registry, request, backend, progress=progress, cache=cache)


def execute(
    registry: Registry, request: Request, model: Backend, *, progress: Progress | None = None, cache: bool = True
) -> Any:
    """Carry out a prepared call with a loaded model and return a Result, or an Inversion for ``invert``.

    Raises MissingCapability before any work if the model cannot execute it, PluginFailure if the operation fails,
    Cancelled on an interrupt.
    """
    check_cancelled()
    check_capabilities(request, model)
    request = _with_usual_settings(registry, request, model)
    start = time.perf_counter()
    with (
        in_use(unwrap(model)),
        plain_mode(model.device),
        cancellable(),
        _explained_memory(request),
        measured_memory(model.device) as memory,
    ):
        session = open_session(registry, request, model, with_watcher(progress), cache)
        framing = frame_session(session, request.following)
        region = framing.region if framing else session
        outcome = _call_operation(region, request, progress)
        if framing:
            session.mask = None if region.mask is None else framing.whole_mask(region.mask)
        whole = outcome if framing is None or isinstance(outcome, Inversion) else framing.lay_back(outcome)
        frames = [] if isinstance(whole, Inversion) else compose(session, whole)
        mask = None if session.mask is None else mask_image(session.mask)
        quality = _measure(region, framing, outcome, mask)
        untouched = untouched_part(whole, request, mask)
        if untouched is not None:
            quality["untouched_max_diff"] = untouched.largest_difference(StoredImage.of(frames[0]))
        warn_of_no_change(session, outcome, frames)
        warn_of_missed_masks(region)
    report = build_report(session, request, frames, quality, seconds=time.perf_counter() - start, memory=memory[0])
    return build_result(request, model, outcome, frames, report, untouched, mask, masks_of_controls(region, framing))


def _measure(
    region: Session, framing: Framing | None, outcome: Edit | PixelEdit | Inversion, mask: Image.Image | None
) -> dict[str, Any]:
    """Return the figures of the report, but that of the pixels outside the mask, which needs the finished image."""
    return {
        **measure_quality(region, outcome),
        "frame": framing.as_dict() if framing else None,
        "gated_share": _gated_share(region, framing),
        "mask_share": None if mask is None else marked_share(mask),
    }


def _gated_share(region: Session, framing: Framing | None) -> float | None:
    """Return the share of the source's pixels whose change the gate left out; None without a gate."""
    if region.left_out is None:
        return None
    left_out = region.left_out.float()
    return round(float((framing.whole_mask(left_out) if framing else left_out).mean()), 6)


def _with_usual_settings(registry: Registry, request: Request, model: Backend) -> Request:
    """Return a request with the usual settings of the model in place of defaults, and what may be wrong with them."""
    params = with_usual(request.params, usual_of(model, registry.specs["models"], request.spec.name))
    warning = unnoticed_distillation(params, request.params, model)
    return request._replace(params=params, warnings=(*request.warnings, *([warning] if warning else [])))


@contextlib.contextmanager
def _explained_memory(request: Request) -> Iterator[None]:
    """Raise an EditkitError with the size of the source and what helps if memory runs out."""
    try:
        yield
    except EditkitError:
        raise
    except Exception as error:
        if not request.sources or not is_out_of_memory(error):
            raise
        size = request.sources[0].size
        raise EditkitError(f"the image is {format_size(size)} pixels, {memory_text(size)}") from error


def _call_operation(session: Session, request: Request, progress: Progress | None) -> Edit | PixelEdit | Inversion:
    """Return the outcome of the operation; raises PluginFailure if it breaks its contract or raises an exception.

    An exception of the caller's own code, its model or its progress function, is raised unchanged.
    """
    registry = session.registry
    operation = registry.load("operations", request.spec.name)
    try:
        mask_by_prompts(session)
        shared = _shared_tensors(session)
        outcome = operation(session, request.params)
    except EditkitError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            size = "x".join(map(str, session.canvas.padded))
            raise EditkitError(
                f"there is not enough memory to edit at {size} pixels on {session.model.device}: use a smaller "
                "resolution, --tiling, --offload or a smaller --dtype"
            ) from error
        if raised_by_caller(error, (unwrap(session.model), progress), registry.packages()):
            raise
        raise PluginFailure(f"{session.operation} failed: {registry.describe_failure(error)}") from error
    problem = _contract(session, request).violation(outcome)
    if any(version_of(tensor) != version for tensor, version in shared):
        problem = "wrote into the pixels or the mask of its session: write into a clone()"
    if problem:
        raise PluginFailure(f"{session.operation} {problem}")
    return outcome  # type: ignore[no-any-return]


def _shared_tensors(session: Session) -> list[tuple[Tensor, int]]:
    """Return the tensors of a session with which its result is composed, and their versions."""
    tensors = [session.pixels] if session.mask is None else [session.pixels, session.mask]
    return [(tensor, version_of(tensor)) for tensor in tensors]


def _contract(session: Session, request: Request) -> Contract:
    """Return the requirements on the outcome of a request's operation."""
    spec, size = request.spec, session.canvas.size
    return Contract(
        gives=spec.gives,
        sources=len(session.images),
        latents=session.model.latent_shape(*session.canvas.padded),
        source_size=size,
        size=size if spec.size is None else spec.size(request.params, size),
    )


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Raise Cancelled on an interrupt from the keyboard."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled("cancelled") from None
