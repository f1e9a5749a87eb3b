"""Applying an operation: everything is checked first, then the model loads, then the edit is composed."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from ..errors import Cancelled
from ..images.canvas import Canvas
from ..images.masks import opened
from ..images.tensors import to_tensor
from ..inversion.cache import InversionCache
from ..inversion.inversion import Inversion
from ..models.backend import Backend, adapters_of
from ..models.execution import Running
from ..models.loading import resolve
from ..registry.params import Params
from ..registry.registry import Registry, installed
from ..report import Report
from ..version import __version__
from .capabilities import check_capabilities
from .composing import compose
from .params import CanvasParams
from .quality import measure
from .request import Request, check, inverter_in, inverter_spec
from .result import give
from .session import Progress, Session


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
