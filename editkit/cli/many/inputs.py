"""Inputs of a command: files, folders and patterns, and what belongs to each of them."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from ...errors import BadFile, BadImage
from ...files import is_folder, read_bounded
from ...read_errors import read_reason
from ..options import CompletedText
from ..targets import STREAM

READABLE = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".webp",
    ".avif",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
    ".pnm",
)
"""Suffixes of the files in a folder that are inputs."""


IMAGE_HELP = (
    "IMAGE is a file, a folder, a pattern such as 'in/*.png', or - for standard input. The images are edited together; "
    "with -o FOLDER the results have their names."
)


class _Images(click.Argument):
    """One image or more, before the other arguments of a command.

    Click gives a single word to the last argument, and would report the images as missing.
    """

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, click.core.ParameterSource]:
        arguments = [param for param in ctx.command.params if isinstance(param, click.Argument)]
        values = [opts.get(str(param.name)) for param in arguments]  # a missing one is (), None or a sentinel
        words = sum(isinstance(value, str) for value in values)
        if words and not any(isinstance(value, tuple) and value for value in values) and not ctx.resilient_parsing:
            raise click.MissingParameter(ctx=ctx, param=arguments[words])
        return super().consume_value(ctx, opts)


def image_argument() -> click.Argument:
    """Return the argument for one image or more."""
    return _Images(["image"], nargs=-1, required=True, metavar="IMAGE...", type=CompletedText())


class Input(NamedTuple):
    """One input of a command."""

    name: str
    folder: str = ""
    """Folder inside the folder that was named, in which the result is, too."""


def expand_inputs(names: Sequence[str], *, recursive: bool = False) -> list[Input]:
    """Return the inputs, with the images in folders, in the order of their names, and those that match a pattern.

    Raises BadImage for a folder or a pattern without images.
    """
    expanded: list[Input] = []
    for name in names:
        if "://" in name:
            from ...images.sources import refuse_address

            refuse_address(name, "image")
        if name != STREAM and is_folder(name):
            expanded += _in_folder(name, recursive)
        elif name != STREAM and glob.has_magic(name) and not os.path.lexists(name):
            expanded += _matching(name, recursive)
        else:
            expanded.append(Input(name))
    return expanded


def _in_folder(name: str, recursive: bool) -> list[Input]:
    def refuse(error: OSError) -> None:
        raise BadImage(f"image {name!r} is a folder that cannot be read: {read_reason(error)}") from error

    found: list[Input] = []
    for folder, folders, files in os.walk(name, onerror=refuse):
        folders[:] = sorted(one for one in folders if recursive and not one.startswith("."))
        inside = os.path.relpath(folder, name)
        paths = (Path(folder, file) for file in sorted(files) if not file.startswith("."))
        found += [Input(str(path), "" if inside == "." else inside) for path in paths if _is_image(path)]
    if not found:
        hint = "" if recursive else " (folders inside are searched with --recursive)"
        raise BadImage(f"image {name!r} is a folder without images in it{hint}")
    return found


def _matching(pattern: str, recursive: bool) -> list[Input]:
    # Path.glob takes no absolute pattern.
    paths = sorted(glob.glob(pattern, recursive=recursive))  # noqa: PTH207
    found = [Input(path) for path in paths if _is_image(Path(path))]
    if not found:
        raise BadImage(f"image {pattern!r} matches no image: check the pattern, or the path")
    return found


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in READABLE and path.is_file()


def masks_in(folder: str, inputs: Sequence[Input]) -> list[str]:
    """Return the file in a folder of masks for each input: of its name, with any suffix of an image.

    A missing one is named as a PNG, and is an error of its input. Raises BadImage if ``folder`` is none.
    """
    if not is_folder(folder):
        raise BadImage(f"mask_dir {folder!r} is not a folder: give the folder of the masks")
    return [_mask_for(Path(folder, one.folder), one.name) for one in inputs]


def _mask_for(folder: Path, name: str) -> str:
    if name == STREAM:
        raise click.UsageError("standard input has no name, and --mask-dir finds masks by names: give --mask")
    places: Iterator[Path] = (folder / (Path(name).stem + suffix) for suffix in (Path(name).suffix, *READABLE))
    return str(next((place for place in places if place.is_file()), folder / f"{Path(name).stem}.png"))


def read_prompts(path: str) -> list[str]:
    """Return the lines of a text file that are not empty; raises BadFile if it has none or cannot be read."""
    try:
        lines = [line.strip() for line in read_bounded(path).decode("utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = read_reason(error) if isinstance(error, OSError) else "it is not text in UTF-8; save it as such"
        raise BadFile(f"prompt_file {path!r} cannot be read: {reason}") from error
    prompts = [line for line in lines if line]
    if not prompts:
        raise BadFile(f"prompt_file {path!r} holds no prompt: write one a line")
    return prompts
