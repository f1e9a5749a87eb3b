"""Options of a command that choose and load its model."""

from __future__ import annotations

import dataclasses as dc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..model.adapters import Adapter
from ..model.execution import ExecutionOptions
from ..model.options import REPLACED, LoadingOptions
from ..registry.registry import installed
from .options import CompletedText
from .outputs.printing import shown_loading

if TYPE_CHECKING:
    from ..model.backend import Backend


def model_option() -> click.Option:
    """Return the option for the model."""
    kinds = "Registered name, diffusers folder, checkpoint file, or hub id org/name."
    text = f"{kinds}  [default: see 'editkit models']"
    return click.Option(["-m", "--model"], metavar="MODEL", type=CompletedText(names=["models"]), help=text)


def adapter_option() -> click.Option:
    """Return the option for adapters, which may be repeated."""
    text = (
        "LoRA or a relative (DoRA, LoHa, LoKr), at scale 1 if none is given, or learned words, to add to the model: a "
        "file, or a folder or hub id that holds one. May be repeated."
    )
    return click.Option(["--adapter"], metavar="FILE[:SCALE]", type=CompletedText(), multiple=True, help=text)


def model_options() -> list[click.Parameter]:
    """Return the options of the model, its placement and its execution."""
    device = "Device, such as cpu or cuda:1.  [default: cuda if available, else cpu]"
    dtype = (
        "Precision: float32, float16, bfloat16 or float64 (or fp32, fp16, bf16, fp64), or auto.  "
        "[default: float32; on a GPU the half precision of the weights, else bfloat16]"
    )
    placement = [click.Option(["--device"], help=device), click.Option(["--dtype"], help=dtype)]
    execution = [_execution_option(field) for field in dc.fields(ExecutionOptions)]
    return [model_option(), adapter_option(), *loading_options(), *placement, *execution]


def _execution_option(field: dc.Field[Any]) -> click.Option:
    names, text = [f"--{field.name.replace('_', '-')}"], field.metadata["help"]
    if "choices" not in field.metadata:
        return click.Option(names, is_flag=True, help=text)
    return click.Option(names, type=click.Choice(field.metadata["choices"]), metavar="NAME", help=text)


def loading_options() -> list[click.Parameter]:
    """Return the options of LoadingOptions."""
    return [
        click.Option(
            [f"--{field.name.replace('_', '-')}"],
            type=_type_of(field),
            metavar=field.metadata["metavar"],
            help=field.metadata["help"],
        )
        for field in dc.fields(LoadingOptions)
    ]


def _type_of(field: dc.Field[Any]) -> Any:
    """Return the type of a loading option, by which a shell completes it."""
    if "choices" in field.metadata:
        return click.Choice(field.metadata["choices"])
    if "registry" in field.metadata:
        return CompletedText(None, [field.metadata["registry"]])
    return CompletedText() if field.name in REPLACED else field.metadata["type"]


def given_loading_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of LoadingOptions among the options of a command."""
    return {field.name: options[field.name] for field in dc.fields(LoadingOptions)}


def load_named_model(options: Mapping[str, Any], operation: str) -> Backend:
    """Load the model that the options name, or the default model of an operation."""
    from ..model.finding import default_model

    with shown_loading(options["model"] or default_model(installed(), operation)):
        from ..model.loading import resolve_model  # it imports torch

        execution = ExecutionOptions(**{field.name: options[field.name] for field in dc.fields(ExecutionOptions)})
        return resolve_model(
            options["model"],
            options["device"],
            options["dtype"],
            options["adapter"],
            execution,
            LoadingOptions.of(**given_loading_options(options)),
            operation=operation,
        )


def model_files(options: Mapping[str, Any]) -> list[str]:
    """Return the names in the options that may be files of models and adapters."""
    return [
        *filter(None, [options["model"], options["vae"], options["transformer"]]),
        *(str(Adapter.parse(text).file) for text in options["adapter"]),
    ]
