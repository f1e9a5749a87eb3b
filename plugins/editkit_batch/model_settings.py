"""Options of a job with which each worker loads its models."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from editkit import Adapter, ExecutionOptions, LoadingOptions, dtype_name, find_identity

_FILES = ("vae", "transformer")
SAME_BITS = ("offload", "group_offload")
"""Options that change where a model is kept, and no image."""


@dc.dataclass(frozen=True)
class ModelSettings:
    """Adapters, dtype, loading and execution options of all models of a job; a key of caches."""

    adapters: tuple[str, ...] = ()
    dtype: str | None = None
    options: LoadingOptions = dc.field(default_factory=LoadingOptions)
    execution: ExecutionOptions = dc.field(default_factory=ExecutionOptions)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ModelSettings:
        """Return those of the settings of a job; what these do not name has its default."""
        options, execution = (
            {field.name: settings[field.name] for field in dc.fields(kind) if field.name in settings}
            for kind in (LoadingOptions, ExecutionOptions)
        )
        adapters = tuple(settings["adapter"])
        dtype_name(settings["dtype"])  # raises for a wrong name
        return cls(adapters, settings["dtype"], LoadingOptions.of(**options), ExecutionOptions(**execution))

    @property
    def variant(self) -> list[str]:
        """Options on which the images of a job depend, files by their content; empty for the defaults.

        Raises an EditkitError for a file that is missing or of no use.
        """
        dtype = [f"dtype {self.dtype}"] if self.dtype else []
        adapters = [adapter.combined_identity("adapter") for adapter in self._parsed]
        loaded = self.options.combined_identity("", self.options.find_files())
        chosen = {name: value for name, value in self.execution.requested.items() if name not in SAME_BITS}
        return [*dtype, *adapters, *filter(None, [loaded]), *(f"{name} {value}" for name, value in chosen.items())]

    @property
    def _parsed(self) -> list[Adapter]:
        return [Adapter.parse(call) for call in self.adapters]

    def identify(self, model: str | None, operation: str | None = None) -> tuple[str, str]:
        """Return the name of a model and the hash of its files; raises an EditkitError if an option is not for it."""
        more = {"adapters": self._parsed, "execution": self.execution, "options": self.options}
        return find_identity(model, operation=operation, **more)  # type: ignore[arg-type]

    @property
    def arguments(self) -> dict[str, Any]:
        """All of them as arguments of :func:`editkit.edit_rows`."""
        own = {"adapters": self.adapters, "dtype": self.dtype}
        return {**own, **dc.asdict(self.options), **dc.asdict(self.execution)}


def with_whole_paths(loading: Mapping[str, Any]) -> dict[str, Any]:
    """Return loading options whose files have absolute paths, which a worker in another folder finds, too."""
    places = {name: Path(loading[name]).expanduser() for name in _FILES if loading[name]}
    return {**loading, **{name: str(place.absolute()) for name, place in places.items() if place.exists()}}
