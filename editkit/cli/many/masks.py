"""Files for the masks of edits, ``--mask-out``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ...files.paths import is_folder
from ...registry.registry import Registry
from ...registry.specs import OperationSpec
from ..outputs.options import existing_of
from ..outputs.plan import STREAM, OutputPlan, ResultName

MASK_SUFFIXES = (".png",)
"""Suffixes of files for masks."""


def count_masks(
    registry: Registry, spec: OperationSpec, options: Mapping[str, Any], values: Mapping[str, Any], *, animated: bool
) -> int:
    """Return the number of masks of an edit, those of controls only of a still image.

    Raises UsageError if they are to be written and there is none.
    """
    count = int(bool(values.get("mask") or values.get("auto_mask")))
    if not animated:
        controls = [registry.configure("controls", call)[0] for call in values.get("attach", ())]
        count += sum(control.finds_mask for control in controls)
    if options.get("mask_out") is not None and not count:
        also = " or --auto-mask" if "auto_mask" in spec.params.model_fields else ""
        raise click.UsageError(f"--mask-out needs a mask: give --mask{also}")
    return count


def plan_masks(
    options: Mapping[str, Any],
    results: Sequence[ResultName],
    protected: Sequence[str],
    count: int,
) -> tuple[Sequence[Sequence[Path]], bool]:
    """Return the files for the ``count`` masks of each result, if any, and whether files that exist are replaced.

    Raises like ``OutputPlan.targets``.
    """
    given = options.get("mask_out")
    if given is None:
        return [()] * len(results), False
    if given == STREAM:
        raise click.UsageError("--mask-out cannot be standard output: give a file")
    plan = OutputPlan(given, MASK_SUFFIXES, existing_of(options), argument="mask_out")
    numbers = [f"-{number}" for number in range(1, count + 1)] if count > 1 else [""]
    single = len(results) == 1 and not is_folder(given)
    masks = [
        ResultName(one.input, ("" if single else f"-mask{one.label}") + number) for one in results for number in numbers
    ]
    files = plan.targets(masks, "mask", protected)
    groups = [[file for file in files[start : start + count] if file] for start in range(0, len(files), count)]
    return groups, plan.replaces(masks)
