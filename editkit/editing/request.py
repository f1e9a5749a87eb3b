"""Open the inputs of a call before any model is loaded."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import InvalidParameter
from ..images.image_params import Find, OpenedImages, open_image_params
from ..images.masks.specification import MaskSpecification, segment
from ..images.reading import open_image
from ..images.sources import working_size
from ..images.stored.image import StoredImage, unify
from ..inversion.settings import (
    check_edit,
    is_inversion,
    load_inversion,
    settings_of_edit,
    settings_of_replay,
)
from ..registry.params import Params, shorten
from ..registry.registry import Registry
from ..registry.specs import ControlSpec, InverterSpec, OperationSpec, SegmenterSpec
from ..sampling.params import DrawingParams
from .params import CanvasParams, ImageInputParams
from .validation import (
    check_approximation,
    check_inverter_conflicts,
    check_recipe_size,
    check_result_size,
    control_specs,
    inverter_name,
    inverter_spec,
    repeated_controls,
    usable_controls,
    validate_params,
)

if TYPE_CHECKING:
    from ..inversion.inversion import Inversion
    from .framing.following import FollowedSubject


class Request(NamedTuple):
    """An operation with everything checked that can be checked without the model."""

    spec: OperationSpec
    params: Params
    sources: tuple[Image.Image, ...]
    inversion: Inversion | None = None
    inverter: InverterSpec | None = None
    """The inverter of the edit, by its parameters or by the inversion it starts from."""
    warnings: tuple[str, ...] = ()
    """Warnings of the check; the report begins with them."""
    controls: tuple[ControlSpec, ...] = ()
    """The controls that the parameters attach."""
    specifications: Mapping[str, str] = {}
    """Strokes of a mask, or words or points by which it was found, by parameter."""
    following: FollowedSubject | None = None
    """Subject that the frames of an animation share; None for an image of its own."""

    @property
    def result_size(self) -> tuple[int, int] | None:
        """(width, height) of the resulting image; None if only the model determines it, or there is no image."""
        if not self.sources or self.spec.gives != "image":
            return None
        size = self.sources[0].size
        return size if self.spec.size is None else self.spec.size(self.params, size)


def prepare(registry: Registry, operation: str, image: Any, params: Mapping[str, Any]) -> Request:
    """Check a call and open its images; torch and models are loaded for an inversion and a mask of words only.

    Raises an EditkitError if anything in the call is wrong.
    """
    spec: OperationSpec = registry.spec("operations", operation)
    if spec.takes == "inversion" or (spec.edits_inversion and is_inversion(image)):
        return _prepare_recorded(registry, spec, load_inversion(image), params)
    return open_request(registry, spec, validate_params(registry, spec, params), image)


def open_request(registry: Registry, spec: OperationSpec, params: Params, image: Any) -> Request:
    """Open the images of a call whose parameters are valid, check its size and draw a seed if none is given."""
    check_recipe_size(spec.name, [params])
    sources = load_sources(spec, image)
    if spec.size is not None:
        with registry.running("operations", spec.name):
            check_result_size(spec.name, spec.size(params, sources[0].size))
    elif isinstance(params, CanvasParams):
        check_result_size(spec.name, (params.width or 1, params.height or 1))
    if sources and isinstance(params, ImageInputParams) and params.resolution:
        working_size(sources[0].size, params.resolution)
    opened = open_image_params(with_seed(params), sources[0] if sources else None, _find_mask_by(registry))
    inverter = inverter_spec(registry, inverter_name(params))
    warnings = (*_source_warnings(sources), *opened.notes, *repeated_controls(registry, params))
    controls = usable_controls(registry, params)
    return Request(
        spec,
        without_segmenter(opened),
        sources,
        inverter=inverter,
        warnings=warnings,
        controls=controls,
        specifications=opened.specifications,
    )


def _prepare_recorded(
    registry: Registry, spec: OperationSpec, inversion: Inversion, given: Mapping[str, Any]
) -> Request:
    """Check a replay of an inversion, or an edit that takes it in place of its image."""
    edits = spec.takes != "inversion"
    recorded = (settings_of_edit if edits else settings_of_replay)(registry, spec, inversion, given)
    params = validate_params(registry, spec, recorded | dict(given))
    if edits:
        check_edit(registry, spec, params, inversion)
    inverter = inverter_spec(registry, inversion.method)
    check_inverter_conflicts(params, inverter)
    check_approximation(control_specs(registry, params), inverter)
    check_recipe_size(spec.name, [params])
    opened = open_image_params(with_seed(params), inversion.source, _find_mask_by(registry))
    controls, sources = usable_controls(registry, params), (inversion.source,)
    params = without_segmenter(opened)
    warnings = (*opened.notes, *repeated_controls(registry, params))
    return Request(spec, params, sources, inversion, inverter, warnings, controls, opened.specifications)


def without_segmenter(opened: OpenedImages) -> Params:
    """Return the opened parameters, without the segmenter if it has found a mask: the recipe holds that mask."""
    return opened.params.model_copy(update={"segmenter": None}) if opened.specifications else opened.params


def _find_mask_by(registry: Registry) -> Find:
    """Return a function that finds a mask by the segmenter of the parameters, which may import torch."""

    def find(params: Params, specification: MaskSpecification, image: Image.Image) -> NDArray[np.float32]:
        call = getattr(params, "segmenter", None)
        able = sorted(name for name, spec in registry.specs["segmenters"].items() if specification.kind in spec.reads)
        advice = f"give segmenter with its options, such as {able[0]}:model=FOLDER" if able else "none is installed"
        if call is None:
            raise InvalidParameter(f"mask={str(specification)!r} needs a segmenter: {advice}")
        spec: SegmenterSpec = registry.configure("segmenters", call)[0]
        if specification.kind not in spec.reads:
            raise InvalidParameter(
                f"segmenter={shorten(call)} is not allowed: {spec.name} reads no {specification.kind}; {advice}"
            )
        segmenter = registry.build("segmenters", call)
        with registry.running("segmenters", call):
            return segment(segmenter, image, specification, registry.title("segmenters", call))

    return find


def with_seed(params: Params) -> Params:
    """Draw a seed if the parameters have one and none is given."""
    if isinstance(params, DrawingParams) and params.seed is None:
        return params.model_copy(update={"seed": secrets.randbelow(2**32)})
    return params


def load_sources(spec: OperationSpec, given: Any) -> tuple[Image.Image, ...]:
    """Open the images an operation takes; two must have one size, and one without alpha gets a full one."""
    if spec.takes == "nothing":
        if given is not None:
            raise InvalidParameter(f"{spec.name} takes no image")
        return ()
    if spec.takes == "image":
        if given is None:
            raise InvalidParameter(f"{spec.name} needs an image")
        if isinstance(given, (list, tuple)):
            raise InvalidParameter(f"{spec.name} takes one image here: pass a list to editkit.apply_all")
        return (open_image(given),)
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or len(given) != 2:
        raise InvalidParameter(f"{spec.name} needs two images: pass them as a pair")
    first, second = (open_image(one, argument=f"image {i + 1}") for i, one in enumerate(given))
    if first.size != second.size:
        raise InvalidParameter(
            f"{spec.name} needs two images of one size, not {first.size} and {second.size}: resize one"
        )
    first, second = (image.view() for image in unify([StoredImage.of(first), StoredImage.of(second)]))
    return first, second


def _source_warnings(sources: Sequence[Image.Image]) -> tuple[str, ...]:
    """Return sentences about what of the sources a result cannot keep."""
    return tuple(dict.fromkeys(note for source in sources for note in StoredImage.of(source).notes))
