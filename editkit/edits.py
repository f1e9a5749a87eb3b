"""Applying an operation: everything is checked first, then the model loads, then the edit is composed."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from . import images, recipes
from .adapters import adapters_of
from .backends import Backend
from .canvas import Canvas, psnr, to_tensor
from .change_map import opened
from .composing import compose
from .errors import Cancelled, InvalidParameter, MissingCapability
from .inversion import Inversion
from .inversion_cache import InversionCache
from .loading import default_model, shared_model
from .params import CanvasParams, Params, pictures_of, shorten
from .pictures import open_picture
from .recipes import DrawnBy, Recipe, Step
from .registry import Registry, installed
from .report import Report
from .results import Result
from .running import Running
from .session import Edit, Painted, Progress, Session
from .specs import InverterSpec, OperationSpec
from .version import __version__

LONGEST = 16384
"""Pixels of a side of any result."""


class Request(NamedTuple):
    """An operation with everything checked that can be checked without the model."""

    spec: OperationSpec
    params: Any
    sources: tuple[Image.Image, ...]
    inversion: Inversion | None


def apply(
    operation: str,
    image: Any = None,
    *,
    model: Backend | str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    compile: bool = False,  # noqa: A002 (what it does has no other name)
    offload: bool = False,
    tiling: bool = False,
    progress: Progress | None = None,
    cache: bool = True,
    **params: Any,
) -> Any:
    """Apply a registered operation to a picture and return a Result (an Inversion for ``invert``).

    ``image`` is what the operation takes: anything :func:`open_image` reads, two of them, an Inversion, or nothing.
    ``model`` is a loaded model, or what :func:`load_model` loads; ``device``, ``dtype``, ``adapters``, ``compile``,
    ``offload`` and ``tiling`` go with the latter. ``params`` are the operation's own; pictures among them, such as
    ``mask``, are anything :func:`open_image` reads. ``progress`` is called as ``tqdm`` is, with each loop. Without
    ``cache`` inversions of earlier edits are not taken up, and none is kept. Raises an EditkitError before the model is
    loaded where anything given is wrong.
    """
    registry = installed()
    request = check(registry, operation, image, params)
    how = Running(compile=compile, offload=offload, tiling=tiling)
    backend = resolve(model, device, dtype, adapters, how, operation=operation)
    return run(registry, request, backend, progress, cache)


def check(registry: Registry, operation: str, image: Any, params: Mapping[str, Any]) -> Request:
    """Check a call and open its pictures; nothing heavy is imported or loaded."""
    spec: OperationSpec = registry.spec("operations", operation)
    inversion = opened_inversion(image) if spec.takes == "inversion" else None
    checked = checked_params(registry, spec, recorded(registry, spec, inversion, params) | dict(params))
    sources = (inversion.source,) if inversion else opened_sources(spec, image)
    if spec.size is not None:
        refuse_too_large(operation, spec.size(checked, sources[0].size))
    request = Request(spec, with_pictures(checked, sources), sources, inversion)
    refuse_what_inverter_sets(registry, request)
    return request


def refuse_what_inverter_sets(registry: Registry, request: Request) -> None:
    """Raise InvalidParameter for what the inverter sets itself; a recipe names all, also what is as by default."""
    spec, params = inverter_spec(registry, request), request.params
    sampler = getattr(params, "sampler", None)
    if spec is not None and spec.own_steps and sampler != type(params).model_fields["sampler"].default:
        raise InvalidParameter(
            f"sampler={sampler!r} is not allowed: the inverter {spec.name} draws by steps of its own; leave it out"
        )
    if spec is not None and spec.leads_away and led_away(params):
        raise InvalidParameter(
            f"negative_prompt={params.negative_prompt!r} is not allowed: the inverter {spec.name} says itself what "
            "guidance leads away from; leave it out"
        )


def led_away(params: Params) -> bool:
    """Whether guidance is asked to lead away from something; edits by inversion do from their source by default."""
    return getattr(params, "negative_prompt", "") not in ("", getattr(params, "source", ""))


def refuse_too_large(operation: str, size: tuple[int, int]) -> None:
    """Raise InvalidParameter where a result would be too large to be opened again."""
    if max(size) > LONGEST or size[0] * size[1] > images.MAX_PIXELS:
        raise InvalidParameter(
            f"{operation}: a result of {size[0]} x {size[1]} pixels is too large: sides of at most {LONGEST} and "
            f"{images.MAX_PIXELS // 10**6} million pixels in all are allowed"
        )


def checked_params(registry: Registry, spec: OperationSpec, values: dict[str, Any]) -> Params:
    """Type the parameters, look up the names in them, and draw a seed where one is wanted and none given."""
    checked = spec.params.parse(spec.name, values)
    registry.check_names(checked)
    if getattr(checked, "seed", 0) is None:
        checked = checked.model_copy(update={"seed": secrets.randbelow(2**32)})
    return checked


def with_pictures(params: Params, sources: Sequence[Image.Image]) -> Params:
    """Open the pictures among the parameters."""
    opened = {
        name: open_picture(kind, value, sources[0].size, argument=name)
        for name, kind in pictures_of(type(params)).items()
        if (value := getattr(params, name)) is not None
    }
    return params.model_copy(update=opened)


def recorded(
    registry: Registry, spec: OperationSpec, inversion: Inversion | None, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings an inversion was made with that its replay has too: the defaults of ``given``.

    Raises InvalidParameter where one of them is a path and the inversion was read from a file.
    """
    if inversion is None:
        return {}
    fields = spec.params.model_fields
    settings = {name: value for name, value in inversion.params.items() if name in fields and name not in given}
    paths = [name for name, value in settings.items() if registry.names_path(name, fields[name], value)]
    if inversion.from_file and paths:
        raise InvalidParameter(
            f"the inversion names {paths[0]}={shorten(settings[paths[0]])}; no path is taken from a file: "
            f"pass {paths[0]}= to {spec.name}"
        )
    return settings


def opened_inversion(given: Any) -> Inversion:
    if isinstance(given, Inversion):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Inversion.load(given)
    raise InvalidParameter(f"an inversion is needed, not {type(given).__name__}: pass what editkit.invert returned")


def opened_sources(spec: OperationSpec, given: Any) -> tuple[Image.Image, ...]:
    """Open the pictures an operation takes; two must have one size, and a picture without alpha gets a full one."""
    if spec.takes == "nothing":
        if given is not None:
            raise InvalidParameter(f"{spec.name} takes no image")
        return ()
    if spec.takes == "image":
        if given is None:
            raise InvalidParameter(f"{spec.name} needs an image")
        return (images.open_image(given),)
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or len(given) != 2:
        raise InvalidParameter(f"{spec.name} needs two images: pass them as a pair")
    first, second = (images.open_image(one, argument=f"image {i + 1}") for i, one in enumerate(given))
    if first.size != second.size:
        raise InvalidParameter(
            f"{spec.name} needs two images of one size, not {first.size} and {second.size}: resize one"
        )
    mode = "RGBA" if "RGBA" in (first.mode, second.mode) else "RGB"
    return first.convert(mode), second.convert(mode)


def resolve(
    model: Backend | str | os.PathLike[str] | None,
    device: str | None,
    dtype: str | None,
    adapters: Sequence[str | os.PathLike[str]] = (),
    how: Running = Running(),  # noqa: B008 (it is frozen)
    *,
    operation: str | None = None,
) -> Backend:
    """A model as it is or by its name; where none is given, the default for the operation that is asked of it."""
    if model is None or isinstance(model, (str, os.PathLike)):
        name = default_model(installed(), operation) if model is None else os.fspath(model)
        return shared_model(name, device, dtype, tuple(os.fspath(adapter) for adapter in adapters), how)
    if device is not None or dtype is not None or adapters:
        raise InvalidParameter("device, dtype and adapters go with a model's name: this model is already loaded")
    if how.asked:
        raise InvalidParameter(
            f"{how.asked[0]}=True goes with a model's name: this model is already loaded; give it to load_model"
        )
    return model


def run(
    registry: Registry, request: Request, model: Backend, progress: Progress | None = None, cache: bool = True
) -> Any:
    """Do what was checked."""
    spec = request.spec
    check_capabilities(registry, request, model)
    begun = time.perf_counter()
    with torch.no_grad(), cancellable(), measured_memory(model.device) as memory:
        session = open_session(registry, request, model, progress, cache)
        outcome = registry.load("operations", spec.name)(session, request.params)
        frames = [] if isinstance(outcome, Inversion) else compose(session, outcome)
        quality = measure(session, outcome, request, frames)
    params = session.params  # an operation may have filled in what was left to it
    inverter = inverter_spec(registry, request)
    report = Report(
        operation=spec.name,
        model=model.name,
        adapters=adapters_of(model),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        seed=getattr(params, "seed", None),
        steps=len(request.inversion.path) - 1 if request.inversion else getattr(params, "steps", None),
        sampler=None if inverter and inverter.own_steps else getattr(params, "sampler", None),
        inverter=request.inversion.method if request.inversion else inverter_in(params),
        guidance=getattr(params, "guidance", None),
        network_calls=session.tally.calls,
        network_samples=session.tally.samples,
        seconds=round(time.perf_counter() - begun, 4),
        peak_memory_mb=memory[0],
        input_size=request.sources[0].size if request.sources else None,
        output_size=frames[0].size if frames else None,
        params=params.model_dump(mode="json"),
        warnings=tuple(session.tally.warnings),
        version=__version__,
        **quality,
    )
    return give(request, model, outcome, frames, report)


def inverter_in(params: Params) -> str | None:
    """The inverter that an operation was told, under either of its two names."""
    return getattr(params, "inverter", getattr(params, "method", None))


def check_capabilities(registry: Registry, request: Request, model: Backend) -> None:
    """Refuse what the model cannot do, naming both sides."""
    missing = request.spec.needs - model.provides
    provided = ", ".join(sorted(model.provides)) or "nothing beyond pictures"
    if missing:
        wanted = ", ".join(sorted(missing))
        raise MissingCapability(f"{request.spec.name} needs {wanted}; the model {model.name!r} provides {provided}")
    for name in ("prompt", "negative_prompt", "source", "target"):
        if getattr(request.params, name, "") and "text" not in model.provides:
            raise MissingCapability(f"{name}= needs text; the model {model.name!r} provides {provided}: leave it out")
    if "distilled-guidance" in model.provides:
        refuse_second_estimate(request, model)
    spec = inverter_spec(registry, request)
    if spec is not None and model.prediction not in spec.predictions:
        raise MissingCapability(
            f"the inverter {spec.name} needs {' or '.join(sorted(spec.predictions))}; "
            f"the model {model.name!r} gives {model.prediction}: take another inverter"
        )
    estimates = 2 if "text" in model.provides and "distilled-guidance" not in model.provides else 1
    if spec is not None and spec.leads_away and estimates == 1:
        raise MissingCapability(
            f"the inverter {spec.name} needs text and guidance by two estimates; the model {model.name!r} provides "
            f"{provided}: take another inverter"
        )


def refuse_second_estimate(request: Request, model: Backend) -> None:
    """Refuse what only guidance by two estimates does: a network that is told the scale makes one."""
    params = request.params
    rescaled = getattr(params, "guidance_rescale", 0.0) > 0
    for name, asked in {"negative_prompt": led_away(params), "guidance_rescale": rescaled}.items():
        if asked:
            raise MissingCapability(
                f"{name}= needs guidance by two estimates; the model {model.name!r} provides distilled-guidance, "
                "which makes one: leave it out"
            )


def inverter_spec(registry: Registry, request: Request) -> InverterSpec | None:
    """The inverter of an edit, by its own parameters or by the inversion it starts from."""
    called = request.inversion.method if request.inversion else inverter_in(request.params)
    return None if called is None else registry.configure("inverters", called)[0]


def open_session(
    registry: Registry, request: Request, model: Backend, progress: Progress | None, cache: bool
) -> Session:
    params: Params = request.params
    if request.sources:
        size = request.sources[0].size
        longest = getattr(params, "resolution", None) or model.native_size
        if request.inversion is not None:
            longest = request.inversion.params.get("resolution") or model.native_size
    else:
        assert isinstance(params, CanvasParams)
        size = (params.width or model.native_size, params.height or model.native_size)
        longest = max(size)
    mask = getattr(params, "mask", None)
    return Session(
        model,
        params,
        registry,
        canvas=Canvas.plan(size, longest, model.multiple),
        pictures=request.sources,
        pixels=torch.cat([to_tensor(source) for source in request.sources]) if request.sources else torch.empty(0),
        mask=None if mask is None else opened(mask, getattr(params, "feather", 0.0)),
        progress=progress,
        inversion=request.inversion,
        cache=InversionCache.of_user() if cache else None,
        random=torch.Generator().manual_seed(getattr(params, "seed", None) or 0),
    )


def measure(
    session: Session, outcome: Edit | Painted | Inversion, request: Request, frames: list[Image.Image]
) -> dict[str, Any]:
    """The figures of the report that say how far the edit can be trusted."""
    figures: dict[str, Any] = {}
    mask = getattr(request.params, "mask", None)
    if mask is not None:
        figures["untouched_max_diff"] = images.largest_difference(request.sources[0], frames[0], mask)
    if isinstance(outcome, Painted):
        if outcome.place is not None:
            left, top = outcome.place
            source = request.sources[0]
            kept = frames[0].crop((left, top, left + source.width, top + source.height))
            figures["untouched_max_diff"] = images.largest_difference(source, kept)
        return figures
    reconstructed = None if isinstance(outcome, Inversion) or not outcome.inverted else outcome.reconstructed
    if reconstructed is None and not isinstance(outcome, Inversion):
        return figures
    figures["vae_psnr"] = fidelity(session, session.latents)
    if reconstructed is not None:
        figures["recon_psnr"] = fidelity(session, reconstructed)
    return figures


def fidelity(session: Session, latents: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of decoded latents (S, C, h, w) against the sources, at the model's scale."""
    found, wanted = (session.canvas.cropped(pixels) for pixels in (session.decoded(latents), session.sources))
    return round(psnr(found, wanted), 4)


def give(
    request: Request, model: Backend, outcome: Edit | Painted | Inversion, frames: list[Image.Image], report: Report
) -> Any:
    if isinstance(outcome, Inversion):
        return dc.replace(outcome, report=report)
    given = {name: value for name in pictures_of(request.spec.params) if (value := getattr(request.params, name))}
    drawn_by = DrawnBy(model=model.name, identity=model.identity, adapters=report.adapters, dtype=report.dtype)
    steps = [Step(operation=request.spec.name, drawn_by=drawn_by, params=report.params, pictures=tuple(given))]
    if request.inversion is not None:  # it travels as the way to make it again
        steps.insert(0, Step(operation="invert", drawn_by=drawn_by, params=request.inversion.params))
    attachments = {recipes.source_name(i): source for i, source in enumerate(request.sources)}
    attachments |= {recipes.picture_name(name, 0): picture for name, picture in given.items()}
    recipe = Recipe(version=__version__, steps=tuple(steps), sources=len(request.sources))
    return Result(
        image=beside_each_other(frames),
        report=report,
        recipe=recipe,
        attachments=attachments,
        sources=request.sources,
        frames=tuple(frames),
        latents=outcome.latents if isinstance(outcome, Edit) else None,
    )


def beside_each_other(frames: Sequence[Image.Image]) -> Image.Image:
    if len(frames) == 1:
        return frames[0]
    strip = Image.new(frames[0].mode, (sum(frame.width for frame in frames), frames[0].height))
    for index, frame in enumerate(frames):
        strip.paste(frame, (index * frame.width, 0))
    return strip


@contextlib.contextmanager
def cancellable() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Cancelled("cancelled") from None


@contextlib.contextmanager
def measured_memory(device: torch.device) -> Iterator[list[float]]:
    """A list that holds the peak memory in MB once the block has ended."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    peak = [0.0]
    yield peak
    if device.type == "cuda":
        peak[0] = round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    else:
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak[0] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)
