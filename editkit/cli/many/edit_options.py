"""Options that commands of edits share, beside those of parameters and models."""

from __future__ import annotations

import click

from ...registry.specs import OperationSpec
from ...sampling.params import DrawingParams
from ..options import MOST_RESULTS, CompletedText
from ..outputs.options import replacing_options
from .file_names import name_option


def options_of_several(spec: OperationSpec) -> list[click.Parameter]:
    """Return the options for several inputs and results, as far as they apply to an operation."""
    options: list[click.Parameter] = [name_option(), *replacing_options(), exact_option()]
    if spec.takes != "image" or spec.gives != "image":  # others have the one for images and frames
        options.append(batch_option("Results that are computed together.  [default: 16]"))
    if issubclass(spec.params, DrawingParams):
        options.append(count_option())
    if spec.takes != "image":
        return options
    options.append(recursive_option())
    if "mask" in spec.params.model_fields:
        text = "Folder with a mask for each IMAGE, of the image's name."
        options.append(click.Option(["--mask-dir"], metavar="FOLDER", type=CompletedText("dir"), help=text))
    field = prompt_field(spec)
    if field is not None:
        text = f"Text file with a --{field} a line: one for each IMAGE, or several for one IMAGE."
        options.append(click.Option(["--prompt-file"], metavar="FILE", type=CompletedText(), help=text))
    return options


def recursive_option() -> click.Option:
    """Return the option to search folders inside a folder."""
    text = "Search folders inside a folder, too; results are in folders of the same names. ** in a pattern needs it."
    return click.Option(["--recursive"], is_flag=True, help=text)


def count_option() -> click.Option:
    """Return the option for the number of results of each input."""
    text = "Results of each input, with seeds from --seed on, or from a random one on."
    return click.Option(["--count"], type=click.IntRange(1, MOST_RESULTS), metavar="INTEGER", help=text)


def batch_option(text: str) -> click.Option:
    """Return the option for the number of edits that run together; ``text`` is its help."""
    return click.Option(["--batch"], type=click.IntRange(min=1), metavar="INTEGER", help=text)


def exact_option() -> click.Option:
    """Return the option for results whose bits do not depend on each other."""
    text = (
        "Give each of several results the same bits whatever is computed beside it, by calls of a few rows. --no-exact "
        "combines all of them, which keeps a GPU busy and takes more memory; results differ by rounding.  [default: on]"
    )
    return click.Option(["--exact/--no-exact"], default=True, help=text)


def output_option(operation: str, takes: str = "image", gives: str = "image") -> click.Option:
    """Return the option for the output, whose default depends on what the operation takes and gives."""
    suffix = "safetensors" if gives == "inversion" else "png"
    default = f"{operation}.{suffix} here" if takes == "nothing" else f"NAME-{operation}.{suffix} next to the input"
    kinds = "a file or a folder" if gives == "inversion" else "a file, a folder, or - for standard output"
    text = f"Output: {kinds}.  [default: {default}, numbered if that exists]"
    return click.Option(["-o", "--output"], metavar="PATH", type=CompletedText(), help=text)


def report_option() -> click.Option:
    """Return the option to print reports."""
    text = "Print the report as one line of JSON per image instead of the path of the output."
    return click.Option(["--json"], is_flag=True, help=text)


def sheet_option() -> click.Option:
    """Return the option for a contact sheet."""
    return click.Option(
        ["--sheet"], metavar="FILE", type=CompletedText(), help="Also write a labelled image of before and after."
    )


def mask_option() -> click.Option:
    """Return the option for the file of the mask."""
    text = (
        "Also write the mask of the edit, painted or found: white where it changes the image. Masks that controls find "
        "are numbered. Of several results, a folder for the masks."
    )
    return click.Option(["--mask-out"], metavar="PATH", type=CompletedText(), help=text)


def cache_option() -> click.Option:
    """Return the option for the cache of inversions."""
    text = "Reuse cached inversions of the same image, and cache new ones.  [default: on]"
    return click.Option(["--cache/--no-cache"], default=True, help=text)


def prompt_field(spec: OperationSpec) -> str | None:
    """Return the parameter that the lines of ``--prompt-file`` are for."""
    return next((name for name in ("prompt", "target") if name in spec.params.model_fields), None)
