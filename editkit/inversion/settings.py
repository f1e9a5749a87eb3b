"""Settings of an inversion: the parameters of its replay, and of an edit that takes it in place of its image."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from ..errors import BadFile, InvalidParameter
from ..registry.params import Params, field_metadata, is_default, shorten
from ..registry.paths import names_path, without_folders
from ..registry.registry import Registry
from ..registry.specs import InverterSpec, OperationSpec
from ..sampling.params import DrawingParams

if TYPE_CHECKING:
    from .inversion import Inversion

INVERSION_SUFFIXES = (".safetensors",)
"""Suffixes of the files of inversions."""

_ALWAYS = frozenset({"steps", "spacing", "resolution", "long_prompts"})
"""Parameters on which every inversion depends, beside its prompt and its inverter."""

_GUIDANCE = frozenset(DrawingParams.model_fields) - {"seed", "attach"}
"""Parameters on which the inversion of an inverter depends that is guided like its replay."""


def is_inversion(given: Any) -> TypeGuard[Inversion | str | os.PathLike[str] | bytes]:
    """Return whether the input of an operation is an inversion, the name of a file of one by its suffix, or its bytes.

    The bytes begin with the length of a header in JSON, which those of no image do.
    """
    if isinstance(given, bytes):
        return given[8:9] == b"{" and int.from_bytes(given[:8], "little") < len(given)
    if isinstance(given, (str, os.PathLike)):
        return os.fsdecode(given).lower().endswith(INVERSION_SUFFIXES)
    # The module imports torch, and without it, or while another thread imports it, there is no Inversion.
    inversion = getattr(sys.modules.get(f"{__package__}.inversion"), "Inversion", None)
    return inversion is not None and isinstance(given, inversion)


def load_inversion(given: Any) -> Inversion:
    """Return an inversion or that in a file or its bytes.

    Raises InvalidParameter for other types, BadFile for a damaged file.
    """
    from .inversion import Inversion  # imports torch

    if isinstance(given, Inversion):
        return given
    if isinstance(given, (str, os.PathLike, bytes)):
        return Inversion.load(given)
    raise InvalidParameter(f"an inversion is needed, not {type(given).__name__}: pass the result of editkit.invert")


def inverter_field(params: type[Params]) -> str | None:
    """Return the name of the parameter that names an inverter; None if there is none."""
    fields = params.model_fields.items()
    return next((name for name, field in fields if field_metadata(field).get("registry") == "inverters"), None)


def settings_of_replay(
    registry: Registry, spec: OperationSpec, inversion: Inversion, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the settings an inversion was made with that an operation on it has too: the defaults of ``given``.

    Raises BadFile for wrong settings in a file, InvalidParameter if one of them is a path and comes from a file.
    """
    fields = spec.params.model_fields
    if inversion.from_file:
        _check_recorded(registry, inversion)
    settings = {name: value for name, value in inversion.params.items() if name in fields and name not in given}
    paths = [name for name, value in settings.items() if names_path(registry, name, fields[name], value)]
    if inversion.from_file and paths:
        raise InvalidParameter(
            f"the inversion names {paths[0]}={shorten(settings[paths[0]])}; no path is taken from a file: "
            f"pass {paths[0]}= to {spec.name}"
        )
    return settings


def _check_recorded(registry: Registry, inversion: Inversion) -> None:
    """Raise BadFile if settings in an inversion file are not allowed by the operation that writes them."""
    spec: OperationSpec = registry.spec("operations", "invert")
    fields = spec.params.model_fields
    recorded = {**inversion.params, "method": inversion.method, "prompt": inversion.prompt}
    try:
        spec.params.parse(spec.name, {name: value for name, value in recorded.items() if name in fields})
        takes_path = names_path(registry, "method", fields["method"], inversion.method)
    except InvalidParameter as error:
        raise BadFile(f"the inversion file has a wrong setting ({error}): make it again with editkit invert") from error
    if takes_path:
        raise InvalidParameter(
            f"the inversion names method={shorten(inversion.method)}; no path is taken from a file: invert the image "
            "again"
        )


def settings_of_edit(
    registry: Registry, spec: OperationSpec, inversion: Inversion, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of an edit that the inversion sets, as if its image were edited with the same settings.

    Those on which the inversion depends are set whether ``given`` has them or not, see :func:`check_edit`; the others
    are defaults of ``given``. Raises the errors of :func:`settings_of_replay`.
    """
    fields = spec.params.model_fields
    defaults = settings_of_replay(registry, spec, inversion, given)
    chosen = {name: value for name, value in defaults.items() if not is_default(fields[name], value)}
    return chosen | {name: value for name, value in _fixed(registry, spec, inversion).items() if name in fields}


def check_edit(registry: Registry, spec: OperationSpec, params: Params, inversion: Inversion) -> None:
    """Raise InvalidParameter for a parameter of an edit that contradicts the inversion it starts from."""
    fields = type(params).model_fields
    fixed = {name: value for name, value in _fixed(registry, spec, inversion).items() if name in fields}
    for name, value in fixed.items():
        if getattr(params, name) != value:
            raise _contradiction(name, getattr(params, name), _how_made(name, value, inverter_field(spec.params)))
    if not isinstance(params, DrawingParams):
        return
    # Samplers have a spacing of their own, by which an edit of the image would invert it.
    if _spacing(registry, params.sampler, fixed.get("spacing")) != fixed.get("spacing"):
        raise _contradiction("sampler", params.sampler, "has other timesteps than that sampler takes")
    attached = calls_without_folders(registry, params.attach)
    recorded = calls_without_folders(registry, inversion.params.get("attach", ()))
    missing = [call for call in recorded if call not in attached]
    if missing:
        raise InvalidParameter(
            f"attach={shorten(params.attach)} is not allowed: the inversion was made with {shorten(missing[0])}; "
            "attach that too, or edit the image"
        )


def calls_without_folders(registry: Registry, calls: Sequence[str]) -> list[str]:
    """Return attached controls as they are stored, to be compared with those of a file."""
    return list(without_folders(registry, DrawingParams, {"attach": calls})["attach"])


def _how_made(name: str, value: Any, inverter: str | None) -> str:
    """Return by which value of a parameter an inversion was made, as the end of "the inversion ..."."""
    if name == "frame":
        return "is of the whole image"
    if value is None:
        return f"was made without {name}"
    text = {"source": "under the prompt {}", inverter: "by {}", "steps": "in {} steps"}.get(name, name + "={}")
    return f"was made {'with ' if name + '=' in text else ''}{text.format(shorten(value))}"


def _contradiction(name: str, value: Any, reason: str) -> InvalidParameter:
    return InvalidParameter(
        f"{name}={shorten(value)} is not allowed: the inversion {reason}; leave it out, or edit the image"
    )


def _fixed(registry: Registry, spec: OperationSpec, inversion: Inversion) -> dict[str, Any]:
    """Return the parameters of an edit on which the inversion depends, with the values it was made with."""
    inverter: InverterSpec = registry.configure("inverters", inversion.method)[0]
    made = registry.build("inverters", inversion.method)
    names = set(_ALWAYS)
    names |= {"seed"} if inverter.stochastic else set()
    names |= _GUIDANCE if made.guided or made.depends_on_guidance else set()
    recorded = {name: value for name, value in inversion.params.items() if name in names}
    sampler = inversion.params.get("sampler", DrawingParams.model_fields["sampler"].default)
    spacing = _spacing(registry, sampler, recorded.get("spacing"))
    fixed = recorded | {"spacing": spacing, "source": inversion.prompt, "frame": "off"}
    field = inverter_field(spec.params)
    return fixed | ({field: inversion.method} if field else {})


def _spacing(registry: Registry, sampler: str, spacing: str | None) -> Any:
    """Return the spacing of timesteps: the given one, else the sampler's; None for the model's."""
    return spacing or registry.configure("samplers", sampler)[0].spacing
