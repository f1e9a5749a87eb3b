"""The key of an inversion: a hash of everything that its bits depend on.

What cannot be told, such as the code of an inverter from a notebook, gives no key, and nothing is kept under a key that
says too little.
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
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import SamplingPath
from ..images.canvas import Canvas
from ..model.backend import Backend, execution_of
from ..model.batching import unwrap
from .inverter import Inverter
from .record import contiguous_copy

LIBRARIES = ("diffusers", "torch")
"""Code that its version stands for."""


SWITCHES = (
    "cuda.matmul.allow_tf32",
    "cuda.matmul.fp32_precision",
    "cudnn.allow_tf32",
    "cudnn.conv.fp32_precision",
    "mkldnn.conv.fp32_precision",
    "mkldnn.matmul.fp32_precision",
)
"""What of ``torch.backends`` says how float32 is rounded."""


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
            "running": dc.asdict(execution_of(model)),
            # The batch size changes the last bits of the network's result.
            "batched": model is not self.model,
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


def digest(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of plain values and tensors, by every bit of them; raises TypeError for values that are not plain."""
    from safetensors.torch import save

    return hashlib.sha256(save(to_cpu(tensors), {"editkit": json.dumps(said, sort_keys=True)})).hexdigest()


def to_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: on the CPU, contiguous, and in memory of their own."""
    return {name: contiguous_copy(tensor.detach().cpu()) for name, tensor in tensors.items()}


def code_fingerprint(*kinds: Callable[..., Any]) -> dict[str, str] | None:
    """What the code of editkit, of classes and of functions is, by package; None where it cannot be told.

    So it is in a notebook, and for what is made inside a function or is callable by other means.
    """
    if any("<locals>" in getattr(kind, "__qualname__", "<locals>") for kind in kinds):
        return None  # it may depend on the variables around it
    used = [base for kind in kinds for base in (kind.__mro__ if isinstance(kind, type) else (kind,))]
    bases = {base.__module__.partition(".")[0] for base in used} - {"builtins"}
    found = {name: code_hash(name) for name in {"editkit", *LIBRARIES, *bases}}
    return {name: said for name, said in found.items() if said} if all(found.values()) else None


@functools.cache
def code_hash(package: str) -> str | None:
    """A library's version, and of all others the sha256 of their Python files, since authors change these without one.

    They are read once a process.
    """
    if package in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    module = sys.modules.get(package)
    folders = [FilePath(folder) for folder in getattr(module, "__path__", ())]
    alone = getattr(module, "__file__", None)
    files = [file for folder in folders for file in sorted(folder.rglob("*.py"))] or (
        [FilePath(alone)] if alone else []
    )
    found = hashlib.sha256()
    try:
        for file in files:
            found.update(hashlib.sha256(file.read_bytes()).digest())
    except OSError:
        return None
    return found.hexdigest() if files else None


def numerics_fingerprint(device: torch.device) -> list[Any]:
    """What the rounding of one computation may differ by: the processor, its threads, and torch's switches."""
    cuda = device.type == "cuda"
    processor = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return [processor, torch.get_num_threads(), [torch_flag(name) for name in SWITCHES]]


def torch_flag(name: str) -> str:
    try:
        return str(operator.attrgetter(name)(torch.backends))
    except (AttributeError, RuntimeError):  # older torch lacks some, and newer gives no summary of what differs
        return ""
