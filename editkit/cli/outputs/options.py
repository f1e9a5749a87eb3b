"""Options that say how and where results are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ...images.stored.encoding import Encoding


FORMAT_SUFFIXES = {
    "png": ".png",
    "jpeg": ".jpg",
    "webp": ".webp",
    "avif": ".avif",
    "tiff": ".tif",
    "gif": ".gif",
    "mp4": ".mp4",
}
"""File suffix by the value of ``--format``."""

EXISTING = ("number", "replace", "skip", "refuse")


def output_options(*, animated: bool = False) -> list[click.Parameter]:
    """Return the options that say how images are written; ``animated`` is for results of several frames."""
    formats = [name for name in FORMAT_SUFFIXES if animated or name not in ("gif", "mp4")]
    quality = "Quality of JPEG, AVIF and lossy WebP.  [1 to 100; default: 95, 90, a lossless WebP]"
    form = "Format of results in a folder or a pipe.  [default: png]"
    return [
        click.Option(["--format"], type=click.Choice(formats), help=form),
        click.Option(["--quality"], type=click.IntRange(1, 100), metavar="INTEGER", help=quality),
        click.Option(["--keep-gps"], is_flag=True, help="Keep the position in the metadata of the source."),
        *_recipe_options(),
        existing_option(),
    ]


def _recipe_options() -> list[click.Parameter]:
    """Return the options that say how much of the recipe is stored in an image."""
    text = (
        "Part of the recipe that the image stores: text, without any image; full, a PNG with the source and the mask "
        "inside, which everybody who gets it can read; or none.  [default: text]"
    )
    return [
        click.Option(["--recipe"], type=click.Choice(["text", "full", "none"]), help=text),
        click.Option(["--embed-sources"], is_flag=True, help="The same as --recipe full."),
    ]


def existing_option() -> click.Option:
    """Return the option for output files that exist."""
    text = (
        "Where an output exists: number keeps both, also of inputs with one name; skip leaves its input out, as after "
        "an interruption.  [default: replace for -o FILE, else number]"
    )
    return click.Option(["--existing"], type=click.Choice(EXISTING), help=text)


def replacing_options() -> list[click.Parameter]:
    """Return the short forms of ``--existing``."""
    skip = "The same as --existing skip: continue after an interruption."
    overwrite = "The same as --existing replace; each replaced file is named."
    return [
        click.Option(["--skip-existing"], is_flag=True, help=skip),
        click.Option(["--overwrite"], is_flag=True, help=overwrite),
    ]


def existing_of(options: Mapping[str, Any]) -> str | None:
    """Return the value of ``--existing`` or of its short form; raises UsageError if they contradict each other."""
    given = [options.get("existing"), *(mode for name, mode in _SHORT_FORMS.items() if options.get(name))]
    modes = set(filter(None, given))
    if len(modes) > 1:
        raise click.UsageError("--existing, --skip-existing and --overwrite contradict each other: give one of them")
    return next(iter(modes), None)


_SHORT_FORMS = {"skip_existing": "skip", "overwrite": "replace"}


def encoding_of(options: Mapping[str, Any]) -> Encoding:
    """Return the choices of a command line for its files."""
    from ...images.stored.encoding import Encoding

    recipe = options.get("recipe")
    if options.get("embed_sources"):
        if recipe not in (None, "full"):
            raise click.UsageError(f"--embed-sources contradicts --recipe {recipe}: leave one out")
        recipe = "full"
    return Encoding(options.get("quality"), bool(options.get("keep_gps")), recipe or "text")
