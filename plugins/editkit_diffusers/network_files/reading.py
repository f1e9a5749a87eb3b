"""A network from one file on the configuration in a model's folder, in place of the network of the folder."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, GGUFQuantizationConfig, UNet2DConditionModel
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor

from editkit import InvalidParameter, WeightsUnavailable, loading, quiet, read_json, reason_of

from ..checkpoint_detection import stated_settings
from ..components import check_class, read_part
from ..flux_key_names import NETWORK, flux_tensors
from .families import EDM_TENSORS, FAMILIES, describe_tensors, family_of
from .gguf_file import GgufFile, dequantised
from .tensor_file import TensorFile, open_tensor_file

Tensors = dict[str, Tensor]
Naming = Callable[[Tensors], Tensors]
"""Function from the tensors of a file to the same by their names in a class of diffusers."""
_MARKER = re.compile(r"__\w+__|v_pred|ztsnr")
"""Tensors without weights, with which other programs mark what a network is."""
_NAMED_KEYS = 3


def read_network(kind: Any, folder: Path, place: Path, dtype: torch.dtype, quantisation: Any = None) -> Any:
    """Read a network from ``place``, a file or a folder of its own; ``folder`` has the configuration for a file.

    The weights of a folder alone can be quantised, as by :func:`read_part`.

    A file is safetensors, whose 8-bit weights may have scales, or GGUF; its tensors have the names of diffusers or of
    the original code. Raises WeightsUnavailable for a file of another family, and for tensors that are missing, left
    over, or of another shape than the configuration says, before any weights are read.
    """
    if place.is_dir():
        return read_part(kind, place, dtype=dtype, quantisation=quantisation)
    file = open_tensor_file(place, "transformer")
    if quantisation is not None:
        raise InvalidParameter(f"quantise has no use for {file.label}: leave it out, or get it as 8-bit floats or GGUF")
    if isinstance(file, GgufFile) and kind.__name__ not in SINGLE_FILE_LOADABLE_CLASSES:
        raise WeightsUnavailable(f"{file.label} is a GGUF file, and diffusers reads none of a {kind.__name__}")
    if not EDM_TENSORS.isdisjoint(file.stored):
        raise WeightsUnavailable(f"{file.label} is a network with noise levels of EDM, which is not supported")
    config = read_json(folder / "config.json")
    config.pop("quantization_config", None)  # that of the weights in the folder
    check_class(kind, config, folder)
    with loading(), quiet():
        with init_empty_weights():
            net = kind.from_config(config)
        naming = _find_naming(kind, config, file, net.state_dict(), folder)
        tensors = naming(file.values(dtype))
        if isinstance(file, GgufFile):
            return _quantised(kind, folder, net, tensors, dtype)
        net.load_state_dict(_converted(kind, tensors, dtype), strict=False, assign=True)
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


class _Fit(NamedTuple):
    """How the tensors of a file fit a network by one naming; names are those of diffusers."""

    naming: Naming
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected)


def _find_naming(
    kind: Any, config: Mapping[str, Any], file: TensorFile, expected: Mapping[str, Tensor], folder: Path
) -> Naming:
    """Return the naming by which a file fits a network; raises WeightsUnavailable if none does."""
    sketch = file.sketch()
    fits, reason = [], ""
    for naming in _namings(kind, config):
        try:
            fits.append(_fit(naming, sketch, expected))
        except Exception as error:  # a conversion of diffusers raises whatever the first missing tensor leads to
            reason = reason_of(error)
    best = min(fits, key=lambda fit: fit.misfits)
    if not best.missing and not best.unexpected and not best.mismatched:
        return best.naming
    family = family_of(sketch)
    if 2 * len(best.missing) > len(expected) or (family is not None and FAMILIES[family].kind != kind.__name__):
        raise _other_family(kind, file, sketch, folder, reason)
    place = f"the configuration in {folder}"
    if best.missing:
        raise WeightsUnavailable(f"{file.label} lacks weights that {place} names: {_listed(best.missing)}")
    if best.unexpected:
        raise WeightsUnavailable(f"{file.label} has weights that {place} lacks: {_listed(best.unexpected)}")
    raise WeightsUnavailable(f"{file.label} has weights of other shapes than {place}: {_listed(best.mismatched)}")


def _namings(kind: Any, config: Mapping[str, Any]) -> Iterator[Naming]:
    """Yield the namings of a class's files: that of diffusers, and the conversion from the original code's."""
    yield dict
    if kind is FluxTransformer2DModel:
        yield flux_tensors  # that of diffusers has a fixed width
        return
    entry = SINGLE_FILE_LOADABLE_CLASSES.get(kind.__name__)
    if entry is not None:
        prefix = NETWORK if kind is UNet2DConditionModel else ""
        yield functools.partial(_convert, entry["checkpoint_mapping_fn"], config, prefix)


def _convert(function: Any, config: Mapping[str, Any], prefix: str, tensors: Tensors) -> Tensors:
    """Convert tensors by a function of diffusers, which empties the dictionary that it gets."""
    converted: Tensors = function(
        checkpoint={f"{prefix}{name}": one for name, one in tensors.items()}, config=dict(config)
    )
    return converted


def _fit(naming: Naming, sketch: Tensors, expected: Mapping[str, Tensor]) -> _Fit:
    named = naming(dict(sketch))
    shared = [name for name in expected if name in named]
    mismatched = [
        f"{name} {tuple(named[name].shape)} for {tuple(expected[name].shape)}"
        for name in shared
        if named[name].shape != expected[name].shape
    ]
    # What has values already is a table that the class computes.
    missing = [name for name, one in expected.items() if name not in named and one.is_meta]
    unexpected = [name for name in named if name not in expected and not _MARKER.fullmatch(name)]
    return _Fit(naming, missing, unexpected, mismatched)


def _other_family(kind: Any, file: TensorFile, sketch: Iterable[str], folder: Path, reason: str) -> WeightsUnavailable:
    """Return the error of a file with few of a network's tensors."""
    names = list(sketch)
    family = family_of(names)
    if family is not None and FAMILIES[family].kind == kind.__name__:
        return WeightsUnavailable(
            f"{file.label} is the network of {family} and does not fit the configuration in {folder}"
            f"{f' ({reason})' if reason else ''}: get the folder of its own base model"
        )
    what = describe_tensors(names) or f"no known network (it begins with {min(names, default='nothing')!r})"
    return WeightsUnavailable(f"{file.label} is {what}, and the model in {folder.parent} needs a {kind.__name__}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_KEYS} more" if len(names) > _NAMED_KEYS else ""
    return ", ".join(names[:_NAMED_KEYS]) + more
