"""Cache key of an inversion: a hash of everything its result depends on.

If an input cannot be hashed, such as an inverter defined in a notebook, there is no key and the result is not cached.
"""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import hashlib
import importlib.metadata
import json
import operator
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import SamplingPath
from ..images.canvas import Canvas
from ..model.backend import Backend
from ..model.batching import grouping_of, unwrap
from ..model.capabilities import execution_of
from ..model.execution import accelerator_of
from .inverter import Inverter
from .record import contiguous_copy

LIBRARIES = ("diffusers", "torch")
"""Packages whose code is identified by their version."""


SWITCHES = (
    "cuda.matmul.allow_tf32",
    "cuda.matmul.fp32_precision",
    "cudnn.allow_tf32",
    "cudnn.conv.fp32_precision",
    "mkldnn.conv.fp32_precision",
    "mkldnn.matmul.fp32_precision",
)
"""Flags of ``torch.backends`` that decide how float32 is rounded."""


@dc.dataclass(frozen=True)
class InversionInputs:
    """Everything the result of an inversion depends on, apart from the noise it draws."""

    model: Backend
    inverter: Inverter
    latents: Tensor
    """(S, C, h, w) of the sources."""
    path: SamplingPath
    """Falling, as for sampling."""
    timesteps: tuple[float, ...]
    """The network's timestep at each point of the path."""
    canvas: Canvas
    pixels: Tensor
    """(S, 3, H, W) in [0, 1], the sources on the padded canvas."""
    condition: Condition
    drawing: Mapping[str, Any]
    """The parameters that :class:`DrawingParams` declares, without the seed."""

    def key(self) -> str | None:
        """Return the SHA-256 of all inputs, or None if one of them cannot be hashed."""
        model = unwrap(self.model)
        guided = self.inverter.depends_on_guidance or self.inverter.guided
        code = code_fingerprint(type(self.inverter), type(model), *self.inverter.code_dependencies())
        # The hash does not cover what attached controls read, such as the weights of a ControlNet.
        if code is None or (guided and self.drawing.get("attach")):
            return None
        settings = {
            "code": code,
            "arithmetic": numerics_fingerprint(model.device),
            "model": [str(type(model)), model.identity, model.prediction, str(model.device), str(model.dtype)],
            "running": [dc.asdict(execution_of(model)), accelerator_of(model)],
            # The rows of a call change the last bits of the network's result.
            "grouping": grouping_of(self.model),
            "inverter": [str(type(self.inverter)), self.inverter.__getstate__()],
            "path": [[type(point).__name__, *map(float, point)] for point in self.path],
            "timesteps": self.timesteps,
            "canvas": dc.asdict(self.canvas),
            "drawing": self.drawing if guided else None,
        }
        conditions = {f"condition.{name}": tensor for name, tensor in self.condition.items()}
        try:
            return digest(settings, {"pixels": self.pixels, "latents": self.latents, **conditions})
        except (TypeError, ValueError):  # the inverter holds a value that is not JSON
            return None


def digest(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of JSON values and of every bit of tensors; raises TypeError for other values."""
    from safetensors.torch import save

    return hashlib.sha256(save(to_cpu(tensors), {"editkit": json.dumps(values, sort_keys=True)})).hexdigest()


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as safetensors needs them: on the CPU, contiguous, in memory of their own."""
    return {name: contiguous_copy(tensor.detach().cpu()) for name, tensor in tensors.items()}


def code_fingerprint(*kinds: Callable[..., Any]) -> dict[str, str] | None:
    """Return a hash of the code of editkit and of the packages of classes and functions, by package.

    None if the code cannot be read, as in a notebook, or if one is defined inside a function.
    """
    if any("<locals>" in getattr(kind, "__qualname__", "<locals>") for kind in kinds):
        return None  # it may depend on variables of that function
    used = [base for kind in kinds for base in (kind.__mro__ if isinstance(kind, type) else (kind,))]
    bases = {base.__module__.partition(".")[0] for base in used} - {"builtins"}
    hashes = {name: code_hash(name) for name in {"editkit", *LIBRARIES, *bases}}
    return {name: value for name, value in hashes.items() if value} if all(hashes.values()) else None


@functools.cache
def code_hash(package: str) -> str | None:
    """Return the version of a library, or the SHA-256 of the Python files of any other package; None if unknown.

    Files are hashed because a plugin's author changes code without a new version. They are read once per process.
    """
    if package in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    module = sys.modules.get(package)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    single_file = getattr(module, "__file__", None)
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))]
    files = files or ([Path(single_file)] if single_file else [])
    total = hashlib.sha256()
    try:
        for file in files:
            total.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError:
        return None
    return total.hexdigest() if files else None


def numerics_fingerprint(device: torch.device) -> list[Any]:
    """Return what decides the rounding of a computation: the processor, the threads and torch's flags."""
    cuda = device.type == "cuda"
    processor = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return [processor, torch.get_num_threads(), [_torch_flag(name) for name in SWITCHES]]


def _torch_flag(name: str) -> str:
    """Return a flag of ``torch.backends`` as text, empty if this version of torch has none."""
    try:
        return str(operator.attrgetter(name)(torch.backends))
    except (
        AttributeError,
        RuntimeError,
    ):  # older versions of torch lack some flags, newer ones refuse to summarise mixed ones
        return ""
