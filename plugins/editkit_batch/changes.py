"""Images, files and models that have changed since a job was planned."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from editkit import BadImage, EditkitError, WeightsUnavailable, file_stamps, load_once, model_stamps

from .digests import digest_of, path_digest
from .model_settings import ModelSettings
from .plan import Job, plan_file, read_rows
from .remote import is_remote
from .storage import Storage, last_change


def find_changes(storage: Storage, parts: Sequence[str], job: Job, planned: int) -> list[str]:
    """Return the first changed address, path or model of each row for which one changed after the time ``planned``.

    What did not change after it is not read. Remote images, missing ones, and models by their names are not looked at.
    """
    models = ModelSettings.of(job.settings)
    option = _file_option(models) if _changed_variant(job, models) else ""
    changes = _Changes(planned, models)
    files = (plan_file(part) for part in parts if storage.exists(plan_file(part)))
    calls = (json.loads(row.call) for file in files for row in read_rows(storage, file) if row.call)
    return [changed for call in calls if (changed := option or changes.of(call))]


def _changed_variant(job: Job, models: ModelSettings) -> bool:
    try:
        return bool(job.variant) and list(job.variant) != models.variant
    except EditkitError:  # a file that is missing
        return False


def _file_option(models: ModelSettings) -> str:
    """Return an adapter or another file among the options of a job."""
    return next(iter([*models.adapters, *models.options.places]), "")


class _Changes:
    """Answers whether a file is another one than when it was planned, once for each."""

    def __init__(self, planned: int, models: ModelSettings) -> None:
        self.planned, self.models = planned, models
        self.known: dict[tuple[str, str], bool] = {}

    def of(self, call: Mapping[str, Any]) -> str:
        """Return what has changed of a row; empty if nothing has."""
        named: list[tuple[str, str, Callable[[str], object]]] = [
            *((address, digest, digest_of) for address, digest in call["digests"].items() if not is_remote(address)),
            *((path, digest, path_digest) for path, digest in call.get("files", {}).items()),
            (call["model"], call.get("identity", ""), lambda model: self.models.identify(model)[1]),
        ]
        return next((name for name, digest, now in named if digest and self._is_other(name, digest, now)), "")

    def _is_other(self, name: str, digest: str, now: Callable[[str], object]) -> bool:
        if (name, digest) not in self.known:
            try:
                self.known[name, digest] = _newest(Path(name)) > self.planned and now(name) != digest
            except (OSError, EditkitError):  # it is missing, or the name of a model
                self.known[name, digest] = False
        return self.known[name, digest]


def _newest(place: Path) -> int:
    """Return the time of the last change of a file, or in a folder, in nanoseconds."""
    inside = place.rglob("*") if place.is_dir() else ()
    return max(last_change(str(one)) for one in (place, *inside))


def check_model(call: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise WeightsUnavailable if the model of a row, or an adapter, is not the planned one."""
    if not call.get("identity"):
        return
    models = ModelSettings.of(settings)
    if _model_digest(call["model"], models) != (call["identity"], *settings.get("planned_variant", ())):
        added = _file_option(models)
        raise WeightsUnavailable(
            f"model {call['model']!r}{f' or {added!r}' if added else ''} is not the one that was planned: use "
            "--retry-errors to plan again"
        )


@load_once(16, stamps=lambda name, models: model_stamps(name, models.adapters, models.options))
def _model_digest(name: str, models: ModelSettings) -> tuple[str, ...]:
    """Return the hash of a model's files and the variant of its job, until files change."""
    return models.identify(name)[1], *models.variant


def check_file(path: str, digest: str) -> None:
    """Raise BadImage if a file or folder that a parameter names is not the planned one."""
    if _path_digest(path) != digest:
        raise BadImage(f"{path!r} is not the one that was planned: use --retry-errors to plan again")


@load_once(256, stamps=file_stamps)
def _path_digest(path: str) -> str | None:
    """Return the digest of a file or folder until its files change; None if it cannot be read."""
    try:
        return path_digest(path)
    except OSError:
        return None
