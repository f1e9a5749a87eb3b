"""Check the parameters of an operation, before an image is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidParameter
from ..images.png_metadata import MAX_RECIPE_BYTES
from ..images.sources import MAX_PIXELS
from ..inversion.settings import inverter_field
from ..model.loading_params import OPTION_FIELDS
from ..registry.accelerators import MODULE_CAPABILITIES
from ..registry.params import Params
from ..registry.registry import Registry, installed
from ..registry.specs import ControlSpec, InverterSpec, OperationSpec
from ..sampling.params import DrawingParams
from .params import AutoMaskParams

LONGEST = 16384
"""Longest side in pixels of any result."""

_OF_APPLY = ("adapters", "device", "dtype", "model", "progress", *(field.name for field in OPTION_FIELDS))
"""Arguments of :func:`apply` beside the parameters of an operation."""
_STEP_BYTES = 5000
"""Upper bound of a step of a recipe without its parameters."""


def validate_params(registry: Registry, spec: OperationSpec, values: Mapping[str, Any]) -> Params:
    """Type the parameters of an operation and look up the registered names in them."""
    params = spec.params.parse(spec.name, dict(values), others=_OF_APPLY)
    registry.check_names(params)
    check_inverter_conflicts(params, inverter_spec(registry, inverter_name(params)))
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
    check_approximation(control_specs(registry, params), inverter_spec(registry, inverter_name(params)))
    return params


def check_approximation(controls: Sequence[ControlSpec], inverter: InverterSpec | None) -> None:
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


def repeated_controls(registry: Registry, params: Params) -> list[str]:
    """Return a warning for each control that is attached twice with equal options."""
    calls = params.attach if isinstance(params, DrawingParams) else ()
    read = [(spec.name, options) for spec, options in (registry.configure("controls", call) for call in calls)]
    twice = dict.fromkeys(call for number, call in enumerate(calls) if read[number] in read[:number])
    return [f"attach={call!r} is given twice, and acts twice: leave one of them out" for call in twice]


def usable_controls(registry: Registry, params: Params) -> tuple[ControlSpec, ...]:
    """Return the controls that parameters attach; raises an EditkitError for one whose files are not here."""
    attached = _attached(registry, params)
    for spec, options in attached:
        if spec.check is not None:
            with registry.running("controls", spec.name):
                spec.check(options)
    return tuple(spec for spec, _ in attached)


def inverter_name(params: Params) -> str | None:
    """Return the inverter that parameters name, found by the registry kind of its field; None if they have none."""
    name = inverter_field(type(params))
    call: str | None = getattr(params, name) if name else None
    return call


def inverter_spec(registry: Registry, call: str | None) -> InverterSpec | None:
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
