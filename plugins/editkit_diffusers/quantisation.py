"""Weights that a package stores and computes in fewer bits: the packages, and the errors where one is missing."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from editkit import WeightsUnavailable


class _Method(NamedTuple):
    package: str
    needs_gpu: bool = False
    """True if diffusers loads such weights on a GPU alone."""


_METHODS = {
    "bitsandbytes": _Method("bitsandbytes", needs_gpu=True),
    "bitsandbytes_4bit": _Method("bitsandbytes", needs_gpu=True),
    "bitsandbytes_8bit": _Method("bitsandbytes", needs_gpu=True),
    "torchao": _Method("torchao"),
    "quanto": _Method("optimum-quanto"),
}
_OTHERWISE = "get the model in float16 or bfloat16, or its network in one file of scaled fp8 or GGUF"


def is_quantised(net: Any) -> bool:
    """Return whether a network of diffusers or transformers holds quantised weights."""
    return bool(getattr(net, "is_quantized", False))


def quantisation_config(kind: str | None, dtype: torch.dtype) -> Any:
    """Return the configuration with which diffusers quantises weights while it reads them, None for no ``kind``.

    They are computed in ``dtype``. Raises WeightsUnavailable if a package or the GPU is not here.
    """
    if kind is None:
        return None
    method = _METHODS["bitsandbytes" if kind == "nf4" else "torchao"]
    if not _is_installed(method.package):
        raise WeightsUnavailable(f"quantise={kind!r} needs a package: pip install {method.package}")
    if method.needs_gpu and not _has_gpu():
        raise WeightsUnavailable(f"quantise={kind!r} needs a GPU, and there is none: int8 and fp8 work without")
    from diffusers import BitsAndBytesConfig, TorchAoConfig

    if kind == "nf4":
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
    from torchao.quantization import Float8WeightOnlyConfig, Int8WeightOnlyConfig

    return TorchAoConfig(Int8WeightOnlyConfig() if kind == "int8" else Float8WeightOnlyConfig())


def check_quantisation(config: Mapping[str, Any], folder: Path) -> bool:
    """Return whether a part's configuration names a quantisation.

    Raises WeightsUnavailable for one whose package or device is not here, or that is not supported.
    """
    entry = config.get("quantization_config")
    if not entry:
        return False
    name = str(entry.get("quant_method") if isinstance(entry, dict) else entry)[:60]
    start = f"{folder} holds weights quantised by {name}"
    method = _METHODS.get(name)
    if method is None:
        raise WeightsUnavailable(f"{start}, which is not supported: {_OTHERWISE}")
    if not _is_installed(method.package):
        raise WeightsUnavailable(f"{start}, which needs a package: pip install {method.package}, or {_OTHERWISE}")
    if method.needs_gpu and "_class_name" in config and not _has_gpu():
        raise WeightsUnavailable(f"{start}, which needs a GPU, and there is none: {_OTHERWISE}")
    return True


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _has_gpu() -> bool:
    return torch.cuda.is_available() or torch.xpu.is_available() or torch.backends.mps.is_available()
