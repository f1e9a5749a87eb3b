"""Description of a model by its files, without its weights: abilities, sizes, memory, licence, and what is missing."""

from __future__ import annotations

import dataclasses as dc
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import EditkitError, WeightsUnavailable
from ...files.paths import exists
from ...libraries import reason_of
from ...model.files.folders import check_parts, parts_of, read_index
from ...model.files.headers import read_tensor_header
from ...model.files.hub import HUB_ID, from_hub
from ...model.files.weights import check_weights, tensor_files
from ...model.finding import family_of_class, family_of_file, locate, package_of
from ...registry.registry import Registry, installed
from ...registry.specs import BackendSpec, ModelFacts, OperationSpec
from ..outputs.printing import size_text

_BITS = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "I8": 8,
    "U8": 8,
    "I32": 32,
    "I64": 64,
}
"""Bits of a value by the name of its type in safetensors."""
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "F8_E4M3": "float8"}
_PRECISIONS = {"float32": 4, "bfloat16": 2}
"""Bytes of a value by the dtype in which a model is loaded."""
_LICENCES = ("LICENSE*", "LICENCE*", "COPYING*")
_CARD_LICENCE = re.compile(r"^licen[sc]e(?:_name)?:\s*(\S+)", re.MULTILINE)


@dc.dataclass(frozen=True)
class PartWeights:
    """Weights of one part: the dtype of most values, bytes on disk, and the number of values."""

    dtype: str
    bytes: int
    values: int


@dc.dataclass(frozen=True)
class ModelDescription:
    """Description of a model that is not loaded."""

    model: str
    place: str
    pipeline: str
    backend: str | None
    facts: ModelFacts | None
    """None if no backend serves it, or its files do not fit."""
    operations: Mapping[str, str]
    """Operations by name, with the reason why one does not work with the model."""
    weights: Mapping[str, PartWeights]
    licence: str
    warnings: tuple[str, ...]
    decoding: Mapping[str, int] = dc.field(default_factory=dict)
    """Bytes beside the weights that decoding an image needs, by dtype; empty if no size is named."""
    network_call: Mapping[str, int] = dc.field(default_factory=dict)
    """The same of a call of the network for one image with guidance."""
    size: tuple[int, int] | None = None
    """Size (width, height) of that image."""

    def memory(self) -> dict[str, dict[str, int]]:
        """Return the bytes of all weights and of the largest part by dtype; activations are not in them."""
        counts = [part.values for part in self.weights.values()]
        return {
            dtype: {"all": size * sum(counts), "offload": size * max(counts, default=0)}
            for dtype, size in _PRECISIONS.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``--json``."""
        facts = self.facts
        return {
            "model": self.model,
            "place": self.place,
            "pipeline": self.pipeline,
            "backend": self.backend,
            "provides": sorted(facts.provides) if facts else [],
            "operations": [name for name, reason in self.operations.items() if not reason],
            "refused_operations": {name: reason for name, reason in self.operations.items() if reason},
            "native_size": facts and facts.native_size,
            "multiple": facts and facts.multiple,
            "usual": dict(facts.usual) if facts else {},
            "weights": {name: dc.asdict(part) for name, part in self.weights.items()},
            "memory": self.memory(),
            **({"size": list(self.size), "decoding": dict(self.decoding)} if self.size else {}),
            **({"network_call": dict(self.network_call)} if self.size else {}),
            "licence": self.licence or None,
            "warnings": list(self.warnings),
        }

    def text(self) -> str:
        """Return the description in lines."""
        served = f"served by the backend {self.backend}" if self.backend else "which no backend serves"
        lines = [f"{self.model}: a {self.pipeline}, {served}", *self._ability_lines(), *self._weight_lines()]
        lines += [f"licence: {self.licence or 'no file names one'}"]
        lines += [f"warning: {warning}" for warning in self.warnings]
        return "\n    ".join(lines)

    def _ability_lines(self) -> Iterable[str]:
        if self.facts is None:
            return
        yield f"provides: {', '.join(sorted(self.facts.provides)) or 'nothing beyond images'}"
        yield f"operations: {', '.join(name for name, reason in self.operations.items() if not reason)}"
        yield from (f"no {name}: {reason}" for name, reason in self.operations.items() if reason)
        native, multiple = (
            f"{size or 'unknown until it is loaded'}" for size in (self.facts.native_size, self.facts.multiple)
        )
        yield f"longest side of its training images: {native}; sides are multiples of: {multiple}"
        usual = ", ".join(
            f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.facts.usual.items()
        )
        if usual:
            yield f"usual settings, of operations that leave them to the model: {usual}"

    def _weight_lines(self) -> Iterable[str]:
        for name, part in self.weights.items():
            yield f"{name}: {size_text(part.bytes)} in {part.dtype}"
        for dtype, memory in self.memory().items() if self.weights else ():
            whole, part_size = size_text(memory["all"]), size_text(memory["offload"])
            yield f"weights in {dtype}: {whole}, with --offload {part_size} at once"
        size = " x ".join(map(str, self.size or ()))
        for dtype, count in self.decoding.items():
            yield f"decoding {size} pixels in {dtype}: {size_text(count)} beside the weights; less with --tiling"
        for dtype, count in self.network_call.items():
            yield f"network call with guidance at that size in {dtype}: {size_text(count)} beside the weights"


def describe_model(name: str, size: tuple[int, int] | None = None) -> ModelDescription:
    """Describe a model by registered name, diffusers folder, checkpoint file or hub id.

    With a ``size`` (width, height) the memory of decoding an image and of a network call is measured, by tensors
    without storage.

    Of a hub model only the configuration is downloaded. Raises WeightsUnavailable if there is none, or its folder has
    no index.
    """
    registry = installed()
    label, place = _locate(registry, name)
    warnings: list[str] = []
    family: BackendSpec | None
    if place.is_file():
        family, files = family_of_file(registry, place)
        folder, weights = files["folder"], {place.name: _count([place])}
    else:
        family, folder = _family(registry, place, warnings), place
        weights = _weights_of(place, family, warnings)
    facts = _facts(registry, family, folder, warnings)
    if facts and (spec := registry.specs["models"].get(label)):
        facts = dc.replace(facts, usual={**facts.usual, **spec.defaults})
    activations = _activations(folder, size, warnings) if size else {}
    return ModelDescription(
        model=label,
        place=str(place),
        pipeline=str(read_index(folder).get("_class_name")),
        backend=family.name if family and facts else None,
        facts=facts,
        operations=_operations(registry, facts) if facts else {},
        weights=weights,
        licence=_licence(registry, label, place if place.is_dir() else place.parent),
        warnings=(*warnings, *(facts.warnings if facts else ())),
        **activations,
        size=size,
    )


def _activations(folder: Path, size: tuple[int, int], warnings: list[str]) -> dict[str, Mapping[str, int]]:
    """Return the memory of decoding and of a network call; a warning for each that cannot be measured."""
    from .activations import decoding_memory, network_memory

    measured: dict[str, Mapping[str, int]] = {}
    for name, measure in (("decoding", decoding_memory), ("network_call", network_memory)):
        try:
            measured[name] = measure(folder, size)
        except EditkitError as error:
            warnings.append(str(error))
        except Exception as error:  # libraries raise many types for a configuration that does not fit
            warnings.append(f"the memory of {name.replace('_', ' ')} cannot be measured ({reason_of(error)})")
    return measured


def _locate(registry: Registry, name: str) -> tuple[str, Path]:
    """Return the name of a model and its folder or file, with the configuration alone of a hub model."""
    if name in registry.specs["models"] or exists(name) or not HUB_ID.fullmatch(name):
        return locate(registry, name)
    identifier, _, revision = name.partition("@")
    return name, from_hub(identifier, "model", "*.json", revision or None)


def _family(registry: Registry, folder: Path, warnings: list[str]) -> BackendSpec | None:
    """Return the backend of a folder, None if there is none; a warning says so, or that the folder is not whole."""
    index = read_index(folder)
    family = None
    try:
        family = family_of_class(registry, index["_class_name"], f"model {folder}")
        check_parts(folder, index, family.parts, package=package_of(registry, family))
    except WeightsUnavailable as error:
        warnings.append(str(error))
    return family


def _facts(registry: Registry, family: BackendSpec | None, folder: Path, warnings: list[str]) -> ModelFacts | None:
    """Return the facts of a backend about a folder; None, with a warning, if the model would not load."""
    if family is None:
        return None
    if family.facts is None:
        return ModelFacts(provides=family.provides)
    try:
        facts: ModelFacts = registry.load("backends", family.name, "facts")(folder)
    except EditkitError as error:
        warnings.append(str(error))
        return None
    except Exception as error:  # libraries raise many types for a configuration that does not fit
        warnings.append(f"model {folder} would not load ({reason_of(error)})")
        return None
    return facts


def _operations(registry: Registry, facts: ModelFacts) -> dict[str, str]:
    """Return the operations by name, with the reason why one does not work."""
    return {name: _reason_against(spec, facts) for name, spec in sorted(registry.specs["operations"].items())}


def _reason_against(spec: OperationSpec, facts: ModelFacts) -> str:
    """Return why an operation does not work with a model; empty if it does."""
    if spec.needs - facts.provides:
        return f"needs {', '.join(sorted(spec.needs - facts.provides))}"
    if facts.needs_image and spec.takes in ("nothing", "two images"):
        return "the model edits one image and draws nothing without"
    return ""


def _weights_of(folder: Path, family: BackendSpec | None, warnings: list[str]) -> dict[str, PartWeights]:
    """Return the weights of each part that a family needs, of all parts without one."""
    weights = {}
    for part in parts_of(folder, read_index(folder), family.parts if family else ()):
        if not (part.folder / "config.json").is_file():
            continue
        try:
            weights[part.name] = _count(tensor_files(part.folder, check_weights(part.folder)))
        except WeightsUnavailable as error:
            if str(error) not in warnings:
                warnings.append(str(error))
    return weights


def _count(files: Iterable[Path]) -> PartWeights:
    """Return the weights in safetensors by their headers."""
    counts: Counter[str] = Counter()
    for file in files:
        counts += read_tensor_header(file).count_numbers()
    most = max(counts, key=lambda kind: counts[kind], default="F32")
    size = sum(count * _BITS.get(kind, 8) // 8 for kind, count in counts.items())
    return PartWeights(_NAMES.get(most, most.lower()), size, sum(counts.values()))


def _licence(registry: Registry, label: str, folder: Path) -> str:
    """Return the licence of a registered model, else that of the model card of a folder and the name of its file."""
    spec = registry.specs["models"].get(label)
    if spec is not None and spec.licence:
        return str(spec.licence)
    files = sorted({file.name for pattern in _LICENCES for file in folder.glob(pattern)})
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace")[:10_000] if card.is_file() else ""
    found = [match.strip("'\"") for match in _CARD_LICENCE.findall(text)]
    return ", ".join([*dict.fromkeys(found), *files])
