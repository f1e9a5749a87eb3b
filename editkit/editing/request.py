"""Check a call completely before any model is loaded."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image

from ..errors import InvalidParameter
from ..images.condition_maps import open_picture
from ..images.reading import open_image
from ..images.sources import MAX_PIXELS
from ..inversion.inversion import Inversion
from ..registry.params import Params, pictures_of, shorten
from ..registry.registry import Registry
from ..registry.specs import InverterSpec, OperationSpec

LONGEST = 16384
"""Pixels of a side of any result."""


class Request(NamedTuple):
    """An operation with everything checked that can be checked without the model."""

    spec: OperationSpec
    params: Any
    sources: tuple[Image.Image, ...]
    inversion: Inversion | None


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
    if max(size) > LONGEST or size[0] * size[1] > MAX_PIXELS:
        raise InvalidParameter(
            f"{operation}: a result of {size[0]} x {size[1]} pixels is too large: sides of at most {LONGEST} and "
            f"{MAX_PIXELS // 10**6} million pixels in all are allowed"
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
        return (open_image(given),)
    if not isinstance(given, Sequence) or isinstance(given, (str, bytes)) or len(given) != 2:
        raise InvalidParameter(f"{spec.name} needs two images: pass them as a pair")
    first, second = (open_image(one, argument=f"image {i + 1}") for i, one in enumerate(given))
    if first.size != second.size:
        raise InvalidParameter(
            f"{spec.name} needs two images of one size, not {first.size} and {second.size}: resize one"
        )
    mode = "RGBA" if "RGBA" in (first.mode, second.mode) else "RGB"
    return first.convert(mode), second.convert(mode)


def inverter_in(params: Params) -> str | None:
    """The inverter that an operation was told, under either of its two names."""
    return getattr(params, "inverter", getattr(params, "method", None))


def inverter_spec(registry: Registry, request: Request) -> InverterSpec | None:
    """The inverter of an edit, by its own parameters or by the inversion it starts from."""
    called = request.inversion.method if request.inversion else inverter_in(request.params)
    return None if called is None else registry.configure("inverters", called)[0]
