"""Files that parameters name, which no output of the command may replace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...errors import EditkitError
from ...registry.params import Params, field_metadata
from ...registry.registry import Registry


def files_of(registry: Registry, declaration: type[Params], values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of the parameters that are images or paths, also of those in the options of registered names.

    A value that cannot be read is left out: its parsing says why.
    """
    for name, field in declaration.model_fields.items():
        value, extra = values.get(name), field_metadata(field)
        if "image" in extra or "path" in extra:
            yield from (one for one in ([value] if isinstance(value, str) else value or ()) if isinstance(one, str))
            continue
        try:
            calls = registry.resolve_names(name, field, value)
        except EditkitError:
            continue
        for _, params in calls:
            yield from files_of(registry, type(params), params.model_dump())


def files_of_steps(registry: Registry, steps: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[str]:
    """Yield the files that the steps of a pipeline name."""
    for operation, values in steps:
        spec = registry.spec("operations", operation)
        yield from files_of(registry, spec.params, {**values, **spec.params.parse(operation, values).model_dump()})
