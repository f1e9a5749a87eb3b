"""Contract of an accelerator, which evaluates the network of a model by another library than torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..errors import InvalidParameter
from .params import shorten
from .registry import Registry

MODULE_CAPABILITIES = frozenset({"attention", "block-cache", "feature-reuse", "style"})
"""Capabilities by the modules of a network, which an accelerated model does not provide."""


class Accelerator(Protocol):
    """Evaluates networks by a library; estimates of one identity and one network are equal."""

    identity: str
    """Library, its version and precision, for reports and the keys of caches: ``OpenVINO 2026.4 float32``."""
    warnings: tuple[str, ...]
    """Warnings for the report, one sentence each, such as that of another precision than the model's."""

    def accelerate(self, net: Any) -> Callable[..., Any]:
        """Return a function in place of the ``forward`` of a network of diffusers, with its arguments and results.

        The modules of the network and their hooks need not be called. Calls that need gradients have to return them.
        """
        ...


def build_accelerator(
    registry: Registry, call: str, *, device: str, dtype: str, beside: Sequence[str] = ()
) -> Accelerator:
    """Return the accelerator that ``name:option=value,...`` names.

    ``device`` and ``dtype`` are those of the model, ``beside`` its options that change the network too, for the
    message. Raises UnknownName for the name, InvalidParameter for options, and for a device, a dtype or another option
    that the accelerator cannot be used with.
    """
    spec, params = registry.configure("accelerators", call)
    start = f"accelerate={shorten(call)} is not allowed"
    if device not in spec.devices:
        raise InvalidParameter(f"{start} on the device {device}: it serves {', '.join(sorted(spec.devices))}")
    if beside:
        raise InvalidParameter(f"{start} beside {beside[0]}: leave one of them out")
    if dtype not in spec.dtypes:
        allowed = " or ".join(sorted(spec.dtypes))
        raise InvalidParameter(f"{start} for a model in {dtype}: load it with dtype={allowed}")
    accelerator: Accelerator = registry.load("accelerators", spec.name)(params)
    if not callable(getattr(accelerator, "accelerate", None)):
        raise registry.wrong_result("accelerators", spec.name, accelerator, "an editkit.Accelerator")
    return accelerator
