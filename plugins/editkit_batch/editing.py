"""Edits of rows that a worker does together, with models that it keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import editkit
from editkit import BadImage, EditkitError

from .changes import check_file, check_model
from .digests import read_remote
from .model_settings import ModelSettings
from .remote import is_remote
from .row_check import PlannedRow

if TYPE_CHECKING:
    from editkit import Result


def kind_of(row: PlannedRow) -> tuple[str, str]:
    """Return model and settings of a row; edits with equal settings call the network at the same points."""
    call = json.loads(row.call)
    settings = {name: value for name, value in call["params"].items() if not isinstance(value, str) and name != "seed"}
    return call["model"], json.dumps([call["operation"], settings], sort_keys=True)


def edit_rows(rows: Sequence[PlannedRow], settings: Mapping[str, Any]) -> Iterator[tuple[int, Result | EditkitError]]:
    """Edit rows and yield the place of each with its result or its error, in any order; never raises for a row."""
    from editkit import Inversion  # torch is loaded by workers only

    places, calls = [], []
    for place, row in enumerate(rows):
        try:
            calls.append(_arguments(row, settings))
            places.append(place)
        except EditkitError as error:
            yield place, error
    together = {"batch": max(1, len(calls)), "exact": settings["exact"], "cache": False}
    loading = {"device": settings["device"], **ModelSettings.of(settings).arguments}
    outcomes = editkit.edit_rows(calls, **together, **loading)
    for number, outcome in outcomes:
        assert not isinstance(outcome, Inversion), "the plan has no operation that gives one"
        yield places[number], outcome


def _arguments(row: PlannedRow, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the arguments of an edit; raises an EditkitError if its images or its model cannot be used."""
    call = json.loads(row.call)
    digests = call["digests"]
    for path, digest in call.get("files", {}).items():
        check_file(path, digest)
    sources = [open_address(address, digests[address]) for address in call["image"]]
    images = {name: [open_address(one, digests[one]) for one in listed] for name, listed in call["images"].items()}
    given = {name: listed[0] if len(listed) == 1 else listed for name, listed in images.items()}
    image = None if not sources else sources[0] if len(sources) == 1 else sources
    check_model(call, settings)
    return {"operation": call["operation"], "image": image, "model": call["model"], **call["params"], **given}


def open_address(address: str, digest: str) -> str | bytes:
    """Return the path of a local image or the bytes of a remote one; raises BadImage if it is not the planned one."""
    data, tag = read_remote(address) if is_remote(address) else (_content(address), None)
    if digest.startswith("sha256:"):
        tag = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if tag not in (None, digest):
        raise BadImage(f"image {address!r} is not the one that was planned: use --retry-errors to plan again")
    return data if is_remote(address) else address


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadImage(
            f"image {path!r} cannot be read: {error.strerror}; it was there when the job was planned"
        ) from error
