"""Check that a network in a file fits the configuration in a model's folder, before its weights are read."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from torch import Tensor

from editkit import LoadingOptions, WeightsUnavailable, check_config, loading, quiet, read_json, reason_of

from ..components import check_class
from ..flux_key_names import NETWORK, flux_ignored, flux_tensors
from .families import EDM_TENSORS, FAMILIES, describe_tensors, family_of
from .gguf_file import GgufFile
from .leftovers import MARKER, leftover_names
from .tensor_file import TensorFile, open_tensor_file

Tensors = dict[str, Tensor]
Naming = Callable[[Tensors], Tensors]
"""Function from the tensors of a file to the same by their names in a class of diffusers."""
_NAMED_KEYS = 3


class FittingFile(NamedTuple):
    """A file that fits a network: ``net`` has no weights yet, ``naming`` gives the file's tensors its names.

    ``unused`` are the names of those that it ignores.
    """

    file: TensorFile
    net: Any
    naming: Naming
    unused: list[str]


def check_network(folder: Path, options: LoadingOptions) -> None:
    """Raise WeightsUnavailable if a file that replaces the network of a folder does not fit it.

    The other parts of a model can be large: this is done before they are read.
    """
    for part in ("transformer", "unet"):
        place, config = options.replacement(part), folder / part / "config.json"
        if place is not None and place.is_file() and config.is_file():
            kind = getattr(diffusers, str(read_json(config).get("_class_name")), None)
            if kind is not None and kind.__name__ != "Transformer2DModel":  # an old name of several classes
                fit_file(kind, config.parent, place)


def fit_file(kind: Any, folder: Path, place: Path) -> FittingFile:
    """Open the file of a network of class ``kind`` on the configuration in ``folder``.

    Raises WeightsUnavailable for a file of another family, and for tensors that are missing, left over, or of another
    shape than the configuration says.
    """
    file = open_tensor_file(place, "transformer")
    if isinstance(file, GgufFile) and kind.__name__ not in SINGLE_FILE_LOADABLE_CLASSES:
        raise WeightsUnavailable(f"{file.label} is a GGUF file, and diffusers reads none of a {kind.__name__}")
    if not EDM_TENSORS.isdisjoint(file.stored):
        raise WeightsUnavailable(f"{file.label} is a network with noise levels of EDM, which is not supported")
    config = read_json(folder / "config.json")
    config.pop("quantization_config", None)  # that of the weights in the folder
    check_class(kind, config, folder)
    sketch = file.sketch()
    try:
        check_config(folder / "config.json", config, len(sketch))
    except WeightsUnavailable as error:
        raise _misfit(kind, file, sketch, folder, str(error)) from error
    with loading(), quiet(), init_empty_weights():
        net = kind.from_config(config)
    fit = _best_fit(kind, config, file, net.state_dict(), folder)
    return FittingFile(file, net, fit.naming, fit.ignored)


class _Fit(NamedTuple):
    """How the tensors of a file fit a network by one naming; names are those of diffusers."""

    naming: Naming
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]
    ignored: list[str]

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unexpected)


def _best_fit(
    kind: Any, config: Mapping[str, Any], file: TensorFile, expected: Mapping[str, Tensor], folder: Path
) -> _Fit:
    """Return how a file fits a network; raises WeightsUnavailable if it does not by any naming."""
    sketch = file.sketch()
    fits, reason = [], ""
    for naming in _namings(kind, config):
        try:
            fits.append(_fit(naming, sketch, expected))
        except Exception as error:  # a conversion of diffusers raises whatever the first missing tensor leads to
            reason = reason_of(error)
    best = min(fits, key=lambda fit: fit.misfits)
    if not best.missing and not best.unexpected and not best.mismatched:
        return best
    family = family_of(sketch)
    if 2 * len(best.missing) > len(expected) or (family is not None and FAMILIES[family].kind != kind.__name__):
        raise _misfit(kind, file, sketch, folder, reason)
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
    """Convert tensors by a function of diffusers, which takes some out of the dictionary that it gets.

    They are taken out of ``tensors`` too.
    """
    rest = {f"{prefix}{name}": one for name, one in tensors.items()}
    converted: Tensors = function(checkpoint=rest, config=dict(config))
    left = {id(one) for one in rest.values()}
    for name in [name for name, one in tensors.items() if id(one) not in left]:
        del tensors[name]
    return converted


def _fit(naming: Naming, sketch: Tensors, expected: Mapping[str, Tensor]) -> _Fit:
    rest = dict(sketch)
    named = naming(rest)
    ignored = flux_ignored(rest) if naming is flux_tensors else rest
    shared = [name for name in expected if name in named]
    mismatched = [
        f"{name} {tuple(named[name].shape)} for {tuple(expected[name].shape)}"
        for name in shared
        if named[name].shape != expected[name].shape
    ]
    # What has values already is a table that the class computes.
    missing = [name for name, one in expected.items() if name not in named and one.is_meta]
    unexpected = [name for name in named if name not in expected and not MARKER.fullmatch(name)]
    return _Fit(naming, missing, unexpected, mismatched, leftover_names(sketch, ignored, named, expected))


def _misfit(kind: Any, file: TensorFile, sketch: Iterable[str], folder: Path, reason: str) -> WeightsUnavailable:
    """Return the error of a file with few of a network's tensors; ``reason`` is that of a failed conversion."""
    names = list(sketch)
    family, because = family_of(names), f" ({reason})" if reason else ""
    if family is not None and FAMILIES[family].kind == kind.__name__:
        return WeightsUnavailable(
            f"{file.label} is the network of {family} and does not fit the configuration in {folder}{because}: get the "
            "folder of its own base model"
        )
    what = describe_tensors(names) or f"no known network (it begins with {min(names, default='nothing')!r})"
    return WeightsUnavailable(f"{file.label} is {what}, and the model in {folder.parent} needs a {kind.__name__}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED_KEYS} more" if len(names) > _NAMED_KEYS else ""
    return ", ".join(names[:_NAMED_KEYS]) + more
