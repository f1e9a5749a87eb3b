"""Open what an evaluation needs: a data set by its registered name, and the model of a method."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from ..editing.params import ModelParams
from ..errors import InvalidParameter
from ..files.paths import exists
from ..model.backend import Backend
from ..model.loading import resolve_model
from ..model.options import LoadingOptions
from ..registry.registry import installed
from .cases import Dataset


def open_dataset(call: str, folder: Path) -> Dataset:
    """Open a folder as the registered data set ``name:option=value,...``.

    Raises InvalidParameter for a folder that is not there or that has no case, UnknownName for another name.
    """
    registry = installed()
    spec, params = registry.configure("datasets", call)
    if not exists(folder):
        raise InvalidParameter(f"folder {str(folder)!r} does not exist: give a folder in the layout of {spec.name}")
    dataset = registry.load("datasets", spec.name)(folder, params)
    if not all(hasattr(dataset, name) for name in ("floor", "warnings", "__len__", "__getitem__")):
        raise registry.wrong_result("datasets", call, dataset, "an editkit.evaluation.Dataset")
    if not len(dataset):
        raise InvalidParameter(f"folder {str(folder)!r} holds no case of {call}")
    return cast(Dataset, dataset)


def open_model(params: ModelParams, operation: str) -> Backend:
    """Load the model of parameters, by default that of an operation."""
    options = {name: value for name, value in params.loading.items() if name not in ("device", "dtype")}
    return resolve_model(
        params.model, params.device, params.dtype, options=LoadingOptions.of(**options), operation=operation
    )
