"""The command ``strip``: a file without its recipe."""

from __future__ import annotations

import contextlib
import dataclasses as dc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from ..errors import InvalidParameter
from ..inversion.settings import INVERSION_SUFFIXES
from .errors import Command
from .jobs import read_if_stdin
from .many.inputs import RECIPE_HELP
from .options import CompletedText
from .outputs.plan import STREAM, OutputPlan, ResultName
from .outputs.printing import print_bytes
from .outputs.writing import output_place


def strip_command() -> Command:
    """Return the ``strip`` command."""
    text = "Output: a file, or - for standard output.  [default: NAME-strip next to the input, numbered if that exists]"
    return Command(
        "strip",
        example="editkit strip green.png -o plain.png",
        params=[
            click.Argument(["file"], metavar="FILE", type=CompletedText()),
            click.Option(["-o", "--output"], metavar="PATH", type=CompletedText(), help=text),
            click.Option(["--in-place"], is_flag=True, help="Replace FILE itself."),
        ],
        callback=lambda **options: _strip(options),
        help="Write a file without its recipe and the images embedded beside it. Pixels are not encoded again.\n\n"
        f"{RECIPE_HELP}",
    )


def _strip(options: Mapping[str, Any]) -> None:
    from ..files.writing import check_output, write_atomically
    from ..images.recipes.stripping import strip_recipe

    file, output, in_place = options["file"], options["output"], options["in_place"]
    if in_place and (output is not None or file == STREAM):
        raise click.UsageError("--in-place replaces FILE: leave -o out, and give a file")
    if file.lower().endswith(INVERSION_SUFFIXES):
        raise InvalidParameter(f"{file!r} is an inversion, which cannot do without its settings: nothing was removed")
    suffixes = _suffixes_of(file, output)
    if in_place:
        check_output(file)
    plan = dc.replace(OutputPlan.of(options, suffixes), remedy="give --in-place in its stead")
    results = [ResultName(file)]
    target = Path(file) if in_place else plan.targets(results, "strip")[0]
    data = strip_recipe(read_if_stdin(file, "file"))
    if target is None:
        print_bytes(data)
        return
    own = contextlib.nullcontext(target)
    with own if in_place else output_place(target, replace=plan.replaces(results)) as path:
        write_atomically(path, data)
    print_bytes(os.fsencode(path) + b"\n")


def _suffixes_of(file: str, output: str | None) -> Sequence[str]:
    """Return the suffix of a file, which its copy has too."""
    suffix = Path(output if file == STREAM and output else file).suffix
    return (suffix.lower(),) if suffix else (".png",)
