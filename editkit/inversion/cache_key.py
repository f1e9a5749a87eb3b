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
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..diffusion.denoiser import Condition
from ..diffusion.paths import Path
from ..models.backend import running_of
from ..models.batching import own
from ..sampling.params import DrawingParams
from .inverter import Inverter
from .record import laid_out

if TYPE_CHECKING:
    from ..editing.session import Session


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


def key_of(session: Session, inverter: Inverter, latents: Tensor, path: Path, condition: Condition) -> str | None:
    """The hash of all that a climb depends on, but for the noise it draws; None where that cannot be told."""
    model = own(session.model)
    fitted = type(inverter).fit is not Inverter.fit or inverter.guided
    drawing = session.params.model_dump(mode="json", include=set(DrawingParams.model_fields) - {"seed"})
    code = code_of(type(inverter), type(model), *inverter.uses())
    # What a fit would read for the controls that are attached, such as the weights of a ControlNet, is not known here.
    if code is None or (fitted and drawing.get("attach")):
        return None
    said = {
        "code": code,
        "arithmetic": arithmetic(model.device),
        "model": [str(type(model)), model.identity, model.prediction, str(model.device), str(model.dtype)],
        "running": dc.asdict(running_of(model)),
        # In a batch with others the network answers the same but for the last bits.
        "together": model is not session.model,
        "inverter": [str(type(inverter)), inverter.__getstate__()],
        "path": [[type(point).__name__, *map(float, point)] for point in path],
        "timesteps": [float(session.schedule.timestep(point)) for point in path],
        "canvas": dc.asdict(session.canvas),
        "drawing": drawing if fitted else None,
    }
    conditions = {f"condition.{name}": tensor for name, tensor in condition.items()}
    try:
        return digest(said, {"pixels": session.sources, "latents": latents, **conditions})
    except (TypeError, ValueError):  # the inverter holds something that is no plain value
        return None


def digest(said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """The sha256 of plain values and tensors, by every bit of them; raises TypeError for values that are not plain."""
    from safetensors.torch import save

    return hashlib.sha256(save(plain(tensors), {"editkit": json.dumps(said, sort_keys=True)})).hexdigest()


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: on the CPU, contiguous, and in memory of their own."""
    return {name: laid_out(tensor.detach().cpu()) for name, tensor in tensors.items()}


def code_of(*kinds: Callable[..., Any]) -> dict[str, str] | None:
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


def arithmetic(device: torch.device) -> list[Any]:
    """What the rounding of one computation may differ by: the processor, its threads, and torch's switches."""
    cuda = device.type == "cuda"
    processor = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return [processor, torch.get_num_threads(), [switch(name) for name in SWITCHES]]


def switch(name: str) -> str:
    try:
        return str(operator.attrgetter(name)(torch.backends))
    except (AttributeError, RuntimeError):  # older torch lacks some, and newer gives no summary of what differs
        return ""
