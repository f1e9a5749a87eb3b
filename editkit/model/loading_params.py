"""Fields for the options with which models are loaded, for commands of plugins that load models by name."""

from __future__ import annotations

import dataclasses as dc
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import Field, create_model

from ..registry.params import Params
from .execution import ExecutionOptions
from .options import REPLACED, LoadingOptions

OPTION_FIELDS = (*dc.fields(LoadingOptions), *dc.fields(ExecutionOptions))
"""Fields of all options with which a model is loaded."""


def _field(option: dc.Field[Any]) -> tuple[Any, Any]:
    """Return type and field of an option in a parameter declaration."""
    about, default = option.metadata, cast(Any, option.default)
    kind = Literal[about["choices"]] if "choices" in about else about.get("type", bool)
    extra: dict[str, Any] = {"path": True} if option.name in REPLACED else {}
    extra |= {"registry": about["registry"]} if "registry" in about else {}
    whole = kind if option.default is False else kind | None
    return whole, Field(default, description=about["help"], json_schema_extra=extra or None)


if TYPE_CHECKING:
    _Options = Params
else:
    _Options = create_model("_Options", __base__=Params, **{option.name: _field(option) for option in OPTION_FIELDS})


class LoadingParams(_Options):
    """Base class of the parameters of a command that loads models: all of LoadingOptions and ExecutionOptions."""

    @property
    def loading(self) -> dict[str, Any]:
        """Options by name, as arguments of :func:`load_model`; checked, and raises InvalidParameter."""
        given = self.model_dump()
        execution = ExecutionOptions(**{field.name: given[field.name] for field in dc.fields(ExecutionOptions)})
        options = LoadingOptions.of(**{field.name: given[field.name] for field in dc.fields(LoadingOptions)})
        return {**dc.asdict(options), **dc.asdict(execution)}
