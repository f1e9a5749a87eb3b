"""Rows of a manifest as planned rows: checked without a model, with an id from their content."""

from __future__ import annotations

import dataclasses as dc
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit import (
    EditkitError,
    OperationSpec,
    UnknownName,
    check_params,
    models,
    operations,
    replace_paths,
)

from .digests import Digests, Place
from .manifest import ManifestRow
from .model_settings import ModelSettings
from .remote import is_remote, local_path
from .row_values import (
    MOST_KEPT,
    from_text,
    image_kinds,
    is_text,
    json_list,
    mask_without_file,
    plain_texts,
    whole_number,
)

_COLUMNS = ("operation", "image", "model", "name")
"""Columns that are no parameters."""
_LONGEST_NAME = 1000
_SOURCE = {"source": "recorded"}
"""Stands for the prompt of an inversion, which an edit of it takes in place of its own."""
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=repr)


@dc.dataclass(frozen=True)
class PlannedRow:
    """A row of the plan, which a worker edits without the manifest."""

    id: str
    """Hash of everything that the result depends on, in hexadecimal digits."""
    row: int
    """Number of the row in the manifest."""
    name: str
    """Name in the manifest, which is carried to the results and builds no path."""
    call: str
    """JSON of operation, image, digests, params and model; empty for a row that cannot be edited."""
    error_type: str = ""
    error: str = ""


class BadRow(EditkitError):
    """A row of a manifest that cannot be read."""

    exit_status = 2


class RowChecker:
    """Checks rows: operation, parameters, names, images and model.

    ``variant`` is that of ``settings``, the options of the job with which models are loaded.
    """

    def __init__(
        self,
        folder: str,
        model: str | None,
        variant: Sequence[str] = (),
        settings: ModelSettings = ModelSettings(),  # noqa: B008 (it is frozen)
    ) -> None:
        self.folder = folder
        self.model = model
        self.variant = variant
        self.settings = settings
        self.digests = Digests()
        self.operations = operations()
        self.models = models()
        self._checked: dict[str, dict[str, Any]] = {}
        self._models: dict[tuple[str | None, str], tuple[str, str] | EditkitError] = {}

    def check(self, rows: Iterable[ManifestRow]) -> Iterator[PlannedRow]:
        """Yield a planned row for each row, with its error where it cannot be edited."""
        drafts = [self._draft(row) for row in rows]
        digests = self.digests.of(place for draft in drafts if isinstance(draft, _Draft) for place in draft.places)
        for draft in drafts:
            yield draft.plan(digests, self.variant) if isinstance(draft, _Draft) else draft

    def _draft(self, row: ManifestRow) -> _Draft | PlannedRow:
        values = row.values
        if values is None:
            return _failed(row, BadRow(row.problem))
        try:
            return self._read(row, {name: value for name, value in values.items() if value is not None})
        except EditkitError as error:
            return _failed(row, error)

    def _read(self, row: ManifestRow, values: dict[str, Any]) -> _Draft:
        name = str(values.pop("name", ""))
        if len(name) > _LONGEST_NAME:
            raise BadRow(f"name has {len(name)} characters: at most {_LONGEST_NAME} are allowed")
        operation, image, model = (values.pop(column, None) for column in _COLUMNS[:3])
        spec = self._operation(operation)
        convert = from_text if row.text else whole_number
        values = {name: convert(spec.params, name, value) for name, value in values.items()}
        sources = self._sources(spec, image)
        fields = image_kinds(spec.params)
        named = {
            name: text for name in fields & values.keys() if (text := mask_without_file(fields[name], values[name]))
        }
        images = {name: self._addresses(name, values[name]) for name in fields & values.keys() if name not in named}
        recorded = _is_recorded(spec, sources)
        files: dict[str, str] = {}
        checked = self._canonical(spec, values, _SOURCE if recorded and "source" not in values else {})
        params = replace_paths(spec.params, checked, lambda path: self._file(path, files)) | named
        content = replace_paths(spec.params, params, lambda path: files.get(path, path))
        label, identity = self._identity(self._model(model), spec.name)
        return _Draft(row, name, spec, sources, params, images, label, identity, files, content, recorded)

    def _file(self, text: str, files: dict[str, str]) -> str:
        """Return the absolute path of a file or folder that a parameter names, and add its digest to ``files``.

        A path counts from the manifest, or else from the current folder. Other texts, such as a hub id, are returned.
        """
        if text in self.models or is_remote(text):
            return text
        path = os.path.expanduser(text)  # noqa: PTH111 (Path's raises for unknown users)
        for place in (local_path(path, self.folder), os.path.abspath(path)):  # noqa: PTH100
            if not is_remote(place) and os.path.exists(place):  # noqa: PTH110 (of any text)
                files[place] = self.digests.of_file(place)
                return place
        return text

    def _operation(self, name: Any) -> OperationSpec:
        if name is None:
            raise BadRow("the row has no operation: name one, such as img2img")
        if not isinstance(name, str) or name not in self.operations:
            check_params(str(name), {})  # raises UnknownName with the closest name
            raise UnknownName(f"no operation {name!r}")
        spec = self.operations[name]
        if spec.gives != "image":
            raise BadRow(f"the operation {name} gives no image: use one that does, or the command {name}")
        return spec

    def _model(self, model: Any) -> str | None:
        if model is None:
            return self.model
        if not isinstance(model, str):
            raise BadRow(f"model={model!r} is not allowed: give a name, a folder, a file or a hub id")
        return model

    def _sources(self, spec: OperationSpec, image: Any) -> list[str]:
        """Return the addresses of the images that the operation takes."""
        count = {"nothing": 0, "image": 1, "two images": 2, "inversion": 1}[spec.takes]
        if isinstance(image, str) and image.startswith("["):
            with_brackets = json_list(image)
            image = image if with_brackets is None else with_brackets
        addresses = [] if image is None else self._addresses("image", image)
        if len(addresses) != count:
            needs = ("no image", "one image", "a list of two images")[count]
            raise BadRow(f"{spec.name} takes {needs}, and the row has {len(addresses)}")
        return addresses

    def _addresses(self, name: str, value: Any) -> list[str]:
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) and one for one in listed):
            raise BadRow(f"{name} must be the address of a file, or a list of them")
        if any(one[:5].lower() == "data:" for one in listed):
            raise BadRow(f"{name} is a data URI, which is not read: write the image to a file and give its path")
        return [local_path(one, self.folder) for one in listed]

    def _canonical(self, spec: OperationSpec, values: dict[str, Any], recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a row, checked, in the form in which equal ones are equal.

        ``recorded`` stands for parameters of an inversion.

        A check takes longer than all else here. Rows that differ in the words of their prompts and in their seed alone
        are checked once; the edit checks each again.
        """
        names = plain_texts(spec.params)
        plain = {name: value for name, value in values.items() if name in names and is_text(value)}
        others = {name: value for name, value in values.items() if name not in plain}
        if type(others.get("seed")) is int and 0 <= others["seed"] < 2**63:
            plain["seed"] = others.pop("seed")
        texts = list(plain.values())
        pattern = [(name, not str(value).strip(), texts.index(value)) for name, value in plain.items()]
        key = repr((spec.name, sorted(others.items()), sorted(pattern), sorted(recorded)))
        if key not in self._checked:
            stand_ins = {name: value for name, value in recorded.items() if name in spec.params.model_fields}
            checked = check_params(spec.name, {**stand_ins, **values})
            dumped = checked.model_dump(mode="json", include=set(others) - image_kinds(spec.params).keys())
            if len(self._checked) > MOST_KEPT:
                self._checked.clear()
            self._checked[key] = dumped
        return {**self._checked[key], **plain}

    def _identity(self, model: str | None, operation: str) -> tuple[str, str]:
        """Return the name of a model, of a local one its absolute path, and the hash of its files."""
        if (model, operation) not in self._models:
            try:
                label, identity = self.settings.identify(model, operation)
                label = str(Path(label).absolute()) if model is not None and Path(label).exists() else label
                self._models[model, operation] = label, identity
            except EditkitError as error:
                self._models[model, operation] = error
        known = self._models[model, operation]
        if isinstance(known, EditkitError):
            raise known
        return known


@dc.dataclass(frozen=True)
class _Draft:
    """A checked row without the digests of its images."""

    row: ManifestRow
    name: str
    spec: OperationSpec
    sources: list[str]
    params: dict[str, Any]
    images: dict[str, list[str]]
    """Addresses of the images of parameters."""
    model: str
    identity: str
    files: dict[str, str]
    """Digests of the files and folders that parameters name."""
    content: dict[str, Any]
    """Parameters with the digests of their files in place of the paths."""
    recorded: bool
    """Whether the row edits an inversion, which has a seed."""

    @property
    def places(self) -> Iterator[Place]:
        """Places of all images."""
        for column, listed in {"image": self.sources, **self.images}.items():
            yield from (Place(address, column) for address in listed)

    def plan(self, digests: Mapping[Place, str | EditkitError], variant: Sequence[str]) -> PlannedRow:
        """Return the row with its id; a row without a seed gets one from its content, whatever the variant."""
        digest_of: dict[str, str] = {}
        for place in self.places:
            digest = digests[place]
            if isinstance(digest, EditkitError):
                return _failed(self.row, digest)
            digest_of[place.address] = digest
        images = {name: [digest_of[one] for one in listed] for name, listed in sorted(self.images.items())}
        content = [self.spec.name, self.identity, [digest_of[one] for one in self.sources], images, self.content]
        identity = hash_of(content)
        draws = "seed" in self.spec.params.model_fields and "seed" not in self.params and not self.recorded
        seed = {"seed": int(identity[:8], 16)} if draws else {}
        call = {
            "operation": self.spec.name,
            "image": self.sources,
            "images": self.images,
            "params": self.params | seed,
            "model": self.model,
            "identity": self.identity,
            "digests": digest_of,
            "files": self.files,
        }
        identity = hash_of([identity, *variant]) if variant else identity
        return PlannedRow(identity, self.row.number, self.name, _CANONICAL.encode(call))


def _is_recorded(spec: OperationSpec, sources: Sequence[str]) -> bool:
    """Return whether a row edits a local inversion, whose settings are defaults of the edit's."""
    inversion = spec.edits_inversion and all(one.lower().endswith(".safetensors") for one in sources)
    return spec.takes == "inversion" or (inversion and not any(map(is_remote, sources)))


def hash_of(content: Any) -> str:
    """Return 32 hexadecimal digits for a value of JSON."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()[:32]


def _failed(row: ManifestRow, error: EditkitError) -> PlannedRow:
    """Return the plan of a row that cannot be edited."""
    identity = hash_of(["failed", row.content if row.values is None else row.values])
    name = "" if row.values is None else str(row.values.get("name") or "")[:_LONGEST_NAME]
    printable = name.encode(errors="replace").decode()
    text = str(error).encode(errors="replace").decode()
    return PlannedRow(identity, row.number, printable, "", type(error).__name__, text)
