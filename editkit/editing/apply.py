"""Apply an operation: check the call, load the model, execute."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from PIL import Image

from ..errors import BadFile, Cancelled, EditkitError, PluginFailure
from ..images.canvas import Canvas
from ..images.masks.tensors import marked_share, mask_image, mask_tensor
from ..images.sources import format_size, memory_text
from ..images.stored.image import StoredImage
from ..images.tensors import to_tensor
from ..inversion.cache import InversionCache
from ..inversion.inversion import Inversion
from ..literals import AttentionBackend, CompileMode, ModelPrediction, Quantisation
from ..model.adapters import AdapterCall
from ..model.backend import Backend
from ..model.batching import unwrap
from ..model.capabilities import adapters_of, warnings_of
from ..model.execution import ExecutionOptions, accelerator_of, in_use, measured_memory
from ..model.loading import resolve_model
from ..model.options import LoadingOptions
from ..model.prompt_text import word_warnings
from ..model.references import references_of
from ..registry.arguments import check_arguments
from ..registry.failures import is_out_of_memory, raised_by_caller
from ..registry.params import Params, without_effect
from ..registry.registry import Registry, installed
from ..report import Report, Usage
from ..sampling.params import DrawingParams
from ..sampling.progress import Progress, check_cancelled, with_watcher
from ..sampling.usual import usual_of, with_usual
from ..version import __version__
from .capabilities import check_capabilities, unnoticed_distillation
from .composing import compose
from .framing.frame import Framing, frame_session
from .masks.automatic import mask_by_prompts
from .masks.of_controls import masks_of_controls
from .outcome import Contract, Edit, PixelEdit
from .params import PROMPTS, CanvasParams, EditParams, ImageInputParams, ReferenceParams, prompts_of
from .quality import measure_quality, untouched_part, warn_of_no_change
from .request import Request, check_accelerated, inverter_name, prepare
from .result import build_result
from .session import Session


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
        torch.no_grad(),
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
        quality = measure_quality(region, outcome) | {"frame": framing.as_dict() if framing else None}
        quality["gated_share"] = _gated_share(region, framing)
        mask = None if session.mask is None else mask_image(session.mask)
        quality["mask_share"] = None if mask is None else marked_share(mask)
        untouched = untouched_part(whole, request, mask)
        if untouched is not None:
            quality["untouched_max_diff"] = untouched.largest_difference(StoredImage.of(frames[0]))
        if region.left_out is None:  # a gate has a warning of its own
            warn_of_no_change(session, outcome, frames)
    report = _report(session, request, frames, quality, seconds=time.perf_counter() - start, memory=memory[0])
    return build_result(request, model, outcome, frames, report, untouched, mask, masks_of_controls(region, framing))


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
    if problem:
        raise PluginFailure(f"{session.operation} {problem}")
    return outcome  # type: ignore[no-any-return]


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


def _report(
    session: Session,
    request: Request,
    frames: Sequence[Image.Image],
    quality: Mapping[str, Any],
    *,
    seconds: float,
    memory: float,
) -> Report:
    params, model = session.params, session.model  # an operation may have filled in parameters
    return Report(
        operation=request.spec.name,
        model=model.name,
        adapters=adapters_of(model),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        accelerator=accelerator_of(unwrap(model)),
        **_settings(params, request),
        network_calls=session.usage.calls,
        network_samples=session.usage.samples,
        seconds=round(seconds, 4),
        peak_memory_mb=memory,
        input_size=request.sources[0].size if request.sources else None,
        working_size=session.usage.working_size or session.canvas.work,
        output_size=frames[0].size if frames else None,
        params=params.model_dump(mode="json"),
        warnings=_warnings(session, request),
        version=__version__,
        **quality,
    )


def _warnings(session: Session, request: Request) -> tuple[str, ...]:
    """Warnings of the edit, and of parameters that had no effect; an inversion stores those of its replay."""
    idle = _idle_parameters(session) if request.spec.gives == "image" else ()
    return tuple(dict.fromkeys([*session.usage.warnings, *warnings_of(session.model), *idle]))


def _idle_parameters(session: Session) -> Iterator[str]:
    """Yield warnings of parameters, options of registered names such as ``controlnet:...`` and words without effect."""
    params = session.params
    yield from without_effect(params, session.model)
    for name, field in type(params).model_fields.items():
        for spec, options in session.registry.resolve_names(name, field, getattr(params, name)):
            yield from (f"{spec.name}:{warning}" for warning in without_effect(options, session.model))
    if any(name in type(params).model_fields for name in PROMPTS if name != "negative_prompt"):
        yield from word_warnings(session.model, [*prompts_of(params), *session.usage.prompts])


def _settings(params: Params, request: Request) -> dict[str, Any]:
    """Sampling settings of the report; None for those that the operation does not have."""
    inversion, inverter = request.inversion, request.inverter
    drawing = params if isinstance(params, DrawingParams) else None
    settings = params.model_dump(include={"steps"})
    return {
        "seed": drawing and drawing.seed,
        "steps": len(inversion.path) - 1 if inversion else settings.get("steps"),
        "sampler": None if drawing is None or (inverter and inverter.replaces_sampler) else drawing.sampler,
        "inverter": inversion.method if inversion else inverter_name(params),
        "guidance": drawing and drawing.guidance,
    }


def open_session(
    registry: Registry, request: Request, model: Backend, progress: Progress | None, cache: bool
) -> Session:
    """Return the session of a request on a loaded model; ``cache`` is whether inversions of earlier edits are used."""
    params, name = request.params, request.spec.name
    masked = params if isinstance(params, EditParams) and params.mask is not None else None
    seed = params.seed if isinstance(params, DrawingParams) else None
    return Session(
        model,
        params,
        registry,
        canvas=_canvas(request, model),
        images=request.sources,
        pixels=torch.cat([to_tensor(source) for source in request.sources])
        if request.sources
        else torch.empty(0, dtype=torch.float32, device="cpu"),
        mask=mask_tensor(masked.mask, masked.feather) if masked else None,
        progress=progress,
        inversion=request.inversion,
        cache=InversionCache.of_user() if cache else None,
        random=torch.Generator().manual_seed(seed or 0),
        usage=Usage(warnings=[*request.warnings, *warnings_of(model)]),
        operation=f"operation {name!r} of plugin {registry.owners.get(('operations', name), 'unknown')}",
    )


def _canvas(request: Request, model: Backend) -> Canvas:
    """Return the canvas of the request's sources, or of the requested size if it has none."""
    params = request.params
    if not request.sources:
        assert isinstance(params, CanvasParams)
        size = (params.width or model.native_size, params.height or model.native_size)
        return Canvas.plan(size, max(size), model.multiple)
    size, inversion, reads = request.sources[0].size, request.inversion, references_of(model)
    whole = reads is not None and (reads.required or isinstance(params, ReferenceParams))
    plan = Canvas.plan_area if whole else Canvas.plan_native
    if inversion is None:
        longest = params.resolution if isinstance(params, ImageInputParams) else None
        return plan(size, model.native_size, model.multiple, longest)
    longest = inversion.params.get("resolution")
    canvas = plan(size, model.native_size, model.multiple, longest)
    # Earlier versions scaled long images like any other; an edit would not, so that its recipe would be another's.
    scaled = Canvas.plan(size, longest or model.native_size, model.multiple)
    canvases = (canvas, scaled) if request.spec.takes == "inversion" else (canvas,)
    shape = tuple(inversion.noise.shape[1:])
    fitting = [one for one in canvases if model.latent_shape(*one.padded) == shape]
    if not fitting and inversion.identity == model.identity:
        raise BadFile(
            f"the inversion has latents of shape {shape}, but the model {model.name!r} has "
            f"{model.latent_shape(*canvas.padded)} for its image and resolution: make it again with editkit invert"
        )
    return fitting[0] if fitting else canvas


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    """Raise Cancelled on an interrupt from the keyboard."""
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled("cancelled") from None
