"""Open the session of a request on a loaded model."""

from __future__ import annotations

import torch

from ..errors import BadFile
from ..images.canvas import Canvas
from ..images.masks.tensors import mask_tensor
from ..images.tensors import to_tensor
from ..inversion.cache import InversionCache
from ..model.backend import Backend
from ..model.capabilities import warnings_of
from ..model.references import references_of
from ..registry.registry import Registry
from ..report import Usage
from ..sampling.params import DrawingParams
from ..sampling.progress import Progress
from .params import CanvasParams, EditParams, ImageInputParams, ReferenceParams
from .request import Request
from .session import Session


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
