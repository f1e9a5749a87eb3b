"""A network from one file on the configuration in a model's folder, in place of the network of the folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import GGUFQuantizationConfig

from editkit import InvalidParameter, loading, quiet

from ..checkpoint_detection import stated_settings
from ..components import read_part, zero_weights
from .fitting import Tensors, fit_file
from .gguf_file import GgufFile, dequantised
from .leftovers import leftover_warning
from .tensor_file import open_tensor_file


def read_network(
    kind: Any,
    folder: Path,
    place: Path,
    dtype: torch.dtype,
    quantisation: Any = None,
    warn: Callable[[str], None] = lambda text: None,
) -> Any:
    """Read a network from ``place``, a file or a folder of its own; ``folder`` has the configuration for a file.

    The weights of a folder alone can be quantised, as by :func:`read_part`. Tensors that are left out go to ``warn`` as
    a sentence.

    A file is safetensors, whose 8-bit weights may have scales, or GGUF; its tensors have the names of diffusers or of
    the original code. Raises WeightsUnavailable for a file that does not fit, before any weights are read.
    """
    if place.is_dir():
        return read_part(kind, place, dtype=dtype, quantisation=quantisation, warn=warn)
    if quantisation is not None:
        raise InvalidParameter(
            f"quantise has no use for the file {str(place)!r}: leave it out, or get it in fp8 or GGUF"
        )
    file, net, naming, unused = fit_file(kind, folder, place)
    if unused:
        warn(leftover_warning(place.name, unused, folder))
    with loading(), quiet():
        tensors = naming(file.values(dtype))
        if isinstance(file, GgufFile):
            return _quantised(kind, folder, net, tensors, dtype)
        net.load_state_dict(_converted(kind, tensors, dtype), strict=False, assign=True)
    for text in zero_weights(net, place.name):
        warn(text)
    return net.eval()


def network_settings(place: Path) -> dict[str, Any]:
    """Return the scheduler settings that the file of a network states."""
    file = open_tensor_file(place, "transformer")
    return stated_settings(place, file.header, file.stored)


def _converted(kind: Any, tensors: Tensors, dtype: torch.dtype) -> Tensors:
    """Return tensors in the precision in which diffusers reads those of a folder."""
    kept = kind._keep_in_fp32_modules or ()

    def precision(name: str) -> torch.dtype:
        return torch.float32 if any(module in name.split(".") for module in kept) else dtype

    return {
        name: one.to(precision(name)).contiguous() if one.is_floating_point() else one for name, one in tensors.items()
    }


def _quantised(kind: Any, folder: Path, net: Any, tensors: Tensors, dtype: torch.dtype) -> Any:
    """Return a network with quantised weights in its linear layers, and all others in ``dtype``."""
    linear = {f"{name}.weight" for name, module in net.named_modules() if isinstance(module, torch.nn.Linear)}
    fitting = {name: one if name in linear else dequantised(one, dtype) for name, one in tensors.items()}
    return kind.from_single_file(
        fitting,
        config=str(folder),
        torch_dtype=dtype,
        quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
        local_files_only=True,
    )
