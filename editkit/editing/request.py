"""Check a call completely before any model is loaded."""

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
from ..images.png_metadata import MAX_RECIPE_BYTES
from ..images.reading import open_image
from ..images.sources import MAX_PIXELS, working_size
from ..images.stored.image import StoredImage, unify
from ..inversion.settings import (
    check_edit,
    inverter_field,
    is_inversion,
    load_inversion,
    settings_of_edit,
    settings_of_replay,
)
from ..registry.accelerators import MODULE_CAPABILITIES
from ..registry.params import Params, shorten
from ..registry.registry import Registry, installed
from ..registry.specs import ControlSpec, InverterSpec, OperationSpec, SegmenterSpec
from ..sampling.params import DrawingParams
from .params import AutoMaskParams, CanvasParams, ImageInputParams

if TYPE_CHECKING:
    from ..inversion.inversion import Inversion
    from .framing.following import FollowedSubject

LONGEST = 16384
"""Longest side in pixels of any result."""

_OF_APPLY = ("adapters", "device", "dtype", "model", "offload", "progress", "tiling")
"""Arguments of :func:`apply` beside parameters that other editors call otherwise."""
_STEP_BYTES = 5000
"""Upper bound of a step of a recipe without its parameters."""


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


def validate_params(registry: Registry, spec: OperationSpec, values: Mapping[str, Any]) -> Params:
    """Type the parameters of an operation and look up the registered names in them."""
    params = spec.params.parse(spec.name, dict(values), others=_OF_APPLY)
    registry.check_names(params)
    check_inverter_conflicts(params, _inverter_spec(registry, inverter_name(params)))
    for control in control_specs(registry, params):
        missing = control.reads - type(params).model_fields.keys()
        if missing:
            raise InvalidParameter(
                f"attach={control.name!r} is not allowed: it reads {' and '.join(sorted(control.reads))}, and "
                f"{spec.name} has no {sorted(missing)[0]}; leave it out, or use prompt-edit"
            )
        if control.needs_mask and not any(getattr(params, name, None) is not None for name in ("mask", "auto_mask")):
            raise InvalidParameter(
                f"attach={control.name!r} is not allowed without a mask: give mask or auto_mask, or leave it out"
            )
    _check_approximation(control_specs(registry, params), _inverter_spec(registry, inverter_name(params)))
    return params


def _check_approximation(controls: Sequence[ControlSpec], inverter: InverterSpec | None) -> None:
    """Raise InvalidParameter for a control that approximates estimates beside one that needs all of the network."""
    others = [f"attach={control.name!r}" for control in controls if _needs_every_step(control)]
    if inverter is not None and inverter.exact and inverter.replaces_sampler:
        others.append(f"the inverter {inverter.name}")
    for control in controls:
        if control.approximates and others:
            raise InvalidParameter(
                f"attach={control.name!r} is not allowed beside {others[0]}, which needs whole estimates at every "
                "step: leave one of them out"
            )


def _needs_every_step(control: ControlSpec) -> bool:
    return not control.approximates and bool(control.needs & MODULE_CAPABILITIES)


def check_params(operation: str, values: Mapping[str, Any]) -> Params:
    """Return the parameters of an operation, typed; no image is opened and neither torch nor a model is loaded.

    Raises UnknownName for the operation and for a registered name in a parameter, InvalidParameter for a wrong value.
    """
    registry = installed()
    return validate_params(registry, registry.spec("operations", operation), values)


def check_accelerated(spec: OperationSpec, params: Params, accelerator: str | None) -> None:
    """Raise InvalidParameter for an edit that needs the modules of a network which ``accelerator`` evaluates."""
    if accelerator is None:
        return
    needs = {spec.name: spec.needs}
    needs |= {f"attach={control.name!r}": control.needs for control in control_specs(installed(), params)}
    mask = params.auto_mask if isinstance(params, AutoMaskParams) else None
    needs[f"auto_mask={mask!r}"] = frozenset() if mask in (None, "difference") else frozenset({"attention"})
    for name, needed in needs.items():
        if needed & MODULE_CAPABILITIES:
            raise InvalidParameter(
                f"{name} is not allowed with the accelerator {accelerator}: it needs {', '.join(sorted(needed))}, and "
                "the network is evaluated as a whole; leave one of them out"
            )


def control_specs(registry: Registry, params: Params) -> list[ControlSpec]:
    """Return the controls that parameters attach."""
    return [spec for spec, _ in _attached(registry, params)]


def _attached(registry: Registry, params: Params) -> list[tuple[ControlSpec, Params]]:
    calls = params.controls if isinstance(params, DrawingParams) else ()
    return [registry.configure("controls", call) for call in calls]


def _usable_controls(registry: Registry, params: Params) -> tuple[ControlSpec, ...]:
    """Return the controls that parameters attach; raises an EditkitError for one whose files are not here."""
    attached = _attached(registry, params)
    for spec, options in attached:
        if spec.check is not None:
            spec.check(options)
    return tuple(spec for spec, _ in attached)


def open_request(registry: Registry, spec: OperationSpec, params: Params, image: Any) -> Request:
    """Open the images of a call whose parameters are valid, check its size and draw a seed if none is given."""
    check_recipe_size(spec.name, [params])
    sources = load_sources(spec, image)
    if spec.size is not None:
        check_result_size(spec.name, spec.size(params, sources[0].size))
    elif isinstance(params, CanvasParams):
        check_result_size(spec.name, (params.width or 1, params.height or 1))
    if sources and isinstance(params, ImageInputParams) and params.resolution:
        working_size(sources[0].size, params.resolution)
    opened = open_image_params(with_seed(params), sources[0] if sources else None, _find_mask_by(registry))
    inverter = _inverter_spec(registry, inverter_name(params))
    warnings = (*_source_warnings(sources), *opened.notes)
    controls = _usable_controls(registry, params)
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
    inverter = _inverter_spec(registry, inversion.method)
    check_inverter_conflicts(params, inverter)
    _check_approximation(control_specs(registry, params), inverter)
    check_recipe_size(spec.name, [params])
    opened = open_image_params(with_seed(params), inversion.source, _find_mask_by(registry))
    controls, sources = _usable_controls(registry, params), (inversion.source,)
    params = without_segmenter(opened)
    return Request(spec, params, sources, inversion, inverter, opened.notes, controls, opened.specifications)


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
        return segment(registry.build("segmenters", call), image, specification)

    return find


def inverter_name(params: Params) -> str | None:
    """Return the inverter that parameters name, found by the registry kind of its field; None if they have none."""
    name = inverter_field(type(params))
    call: str | None = getattr(params, name) if name else None
    return call


def _inverter_spec(registry: Registry, call: str | None) -> InverterSpec | None:
    return None if call is None else registry.configure("inverters", call)[0]


def check_inverter_conflicts(params: Params, inverter: InverterSpec | None) -> None:
    """Raise InvalidParameter for a parameter that the inverter sets itself.

    A recipe names every parameter, so a value that equals the default is no conflict.
    """
    if inverter is None or not isinstance(params, DrawingParams):
        return
    if inverter.replaces_sampler and params.sampler != type(params).model_fields["sampler"].default:
        raise InvalidParameter(
            f"sampler={params.sampler!r} is not allowed: the inverter {inverter.name} replays by steps of its own; "
            "leave it out"
        )
    if inverter.sets_negative_prompt and has_custom_negative_prompt(params):
        raise InvalidParameter(
            f"negative_prompt={params.negative_prompt!r} is not allowed: the inverter {inverter.name} sets the "
            "negative prompt itself; leave it out"
        )


def has_custom_negative_prompt(params: Params) -> bool:
    """Whether a negative prompt is given; edits by inversion use their source prompt by default."""
    if not isinstance(params, DrawingParams):
        return False
    source = params.model_dump(include={"source"}).get("source", "")
    return params.negative_prompt not in ("", source)


def check_result_size(operation: str, size: tuple[int, int]) -> None:
    """Raise InvalidParameter if a result of ``size`` (width, height) would be too large to be opened again."""
    if max(size) > LONGEST or size[0] * size[1] > MAX_PIXELS:
        raise InvalidParameter(
            f"{operation}: a result of {size[0]} x {size[1]} pixels is too large: sides of at most {LONGEST} and "
            f"{MAX_PIXELS // 10**6} million pixels in all are allowed"
        )


def check_recipe_size(owner: str, steps: Sequence[Params]) -> None:
    """Raise InvalidParameter if the recipe of steps with these parameters would be too long to be stored."""
    size = sum(len(params.model_dump_json().encode()) + _STEP_BYTES for params in steps)
    if size <= MAX_RECIPE_BYTES:
        return
    lengths = [(len(value), name) for params in steps for name, value in params if isinstance(value, str)]
    length, name = max(lengths, default=(0, "the list of steps"))
    raise InvalidParameter(
        f"{owner}: the recipe would have {size} bytes, and a file holds one of {MAX_RECIPE_BYTES}: shorten {name}, "
        f"which has {length} characters"
    )


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
