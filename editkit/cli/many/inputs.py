"""Inputs of a command: files, folders and patterns, and what belongs to each of them."""

from __future__ import annotations

import contextlib
import functools
import glob
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from ...errors import BadFile, BadImage
from ...files.paths import is_folder
from ...files.read_errors import read_reason
from ...files.reading import read_bounded
from ...inversion.settings import INVERSION_SUFFIXES
from ..options import CompletedText
from ..outputs.plan import STREAM

READABLE = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".webp",
    ".avif",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".ppm",
    ".pgm",
    ".pbm",
    ".pnm",
)
"""Suffixes of the files in a folder that are inputs."""

_UNREAD = (
    ".heic",
    ".heif",
    ".hif",
    ".jxl",
    ".jp2",
    ".j2k",
    ".psd",
    ".psb",
    ".xcf",
    ".kra",
    ".ora",
    ".svg",
    ".tga",
    ".pcx",
    ".pam",
    ".ico",
    ".exr",
    ".hdr",
    ".qoi",
    ".dds",
    ".eps",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".orf",
    ".raf",
    ".rw2",
    ".pef",
    ".srw",
)
"""Suffixes of images that are not read; a line names those in a folder."""

RECIPE_HELP = "FILE is an image that editkit saved, or - for standard input."

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
    unread: list[Path] = []
    for folder, folders, files in os.walk(name, onerror=refuse):
        folders[:] = sorted(one for one in folders if recursive and not one.startswith("."))
        inside = os.path.relpath(folder, name)
        paths = [Path(folder, file) for file in sorted(files) if not file.startswith(".")]
        unread += filter(_is_unread, paths)
        found += [Input(str(path), "" if inside == "." else inside) for path in paths if _is_image(path)]
    if not found:
        hint = "" if recursive else " (folders inside are searched with --recursive)"
        hint = f", but with {_unread_text(unread)}" if unread else hint
        raise BadImage(f"image {name!r} is a folder without images in it{hint}")
    _report_unread(name, unread)
    return found


def _matching(pattern: str, recursive: bool) -> list[Input]:
    # Path.glob takes no absolute pattern.
    paths = sorted(glob.glob(pattern, recursive=recursive))  # noqa: PTH207
    own = pattern.lower().endswith(INVERSION_SUFFIXES)  # files of invert, which some operations edit
    found = [Input(path) for path in paths if own or _is_image(Path(path))]
    unread = [path for path in map(Path, paths) if _is_unread(path)]
    if not found:
        problem = f"matches {_unread_text(unread)}" if unread else "matches no image: check the pattern, or the path"
        raise BadImage(f"image {pattern!r} {problem}")
    _report_unread(pattern, unread)
    return found


def _is_image(path: Path) -> bool:
    """Return whether a path is that of an image; a link to a missing file is one, whose error is that of its input."""
    return path.suffix.lower() in READABLE and (path.is_file() or (path.is_symlink() and not path.exists()))


def _is_unread(path: Path) -> bool:
    return path.suffix.lower() in _UNREAD and path.is_file()


def _unread_text(paths: Sequence[Path]) -> str:
    """Return the number of files of kinds that are not read, with one of them and the remedy."""
    count = f"{len(paths)} image{'s' * (len(paths) > 1)} of kinds that are not read"
    return f"{count}, such as {str(paths[0])!r}: convert them to PNG"


def _report_unread(name: str, paths: Sequence[Path]) -> None:
    """Print one line for the images in a folder or of a pattern that are left out."""
    if paths:
        click.echo(f"Left out: {name!r} has {_unread_text(paths)}", err=True)


def masks_in(folder: str, inputs: Sequence[Input]) -> list[str]:
    """Return the file in a folder of masks for each input: of its name, with any suffix of an image.

    A missing one is named as a PNG, and is an error of its input. Raises BadImage if ``folder`` is none.
    """
    if not is_folder(folder):
        raise BadImage(f"mask_dir {folder!r} is not a folder: give the folder of the masks")
    listed = functools.cache(_files_by_name)
    return [_mask_for(Path(folder, one.folder), one.name, listed) for one in inputs]


def _mask_for(folder: Path, name: str, listed: Callable[[Path], Mapping[str, Path]]) -> str:
    if name == STREAM:
        raise click.UsageError("standard input has no name, and --mask-dir finds masks by names: give --mask")
    path = Path(name)
    files = listed(folder)
    keys = [_key(path.stem + suffix) for suffix in (path.suffix, *READABLE)]
    return str(next((files[key] for key in keys if key in files), folder / f"{path.stem}.png"))


def _files_by_name(folder: Path) -> Mapping[str, Path]:
    """Return the files in a folder, if there is one, by their names, whose suffixes are in small letters."""
    with contextlib.suppress(OSError):  # of a folder that cannot be read: opening a mask in it says so
        return {_key(path.name): path for path in sorted(folder.iterdir()) if path.is_file()}
    return {}


def _key(name: str) -> str:
    """Return a file name with its suffix in small letters, and accents in one Unicode form: a Mac has another one."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 (of a name, not a path)
    return unicodedata.normalize("NFC", stem) + suffix.lower()


def read_prompts(path: str) -> list[str]:
    """Return the lines of a text file, or of standard input, that are not empty.

    Raises BadFile if it has none or cannot be read.
    """
    from ...images.sources import read_source

    try:
        data = read_source(STREAM, argument="prompt_file") if path == STREAM else read_bounded(path)
        # Not splitlines, which ends a line at characters that are within a prompt copied from a page, too.
        lines = [line.strip() for line in re.split(r"\r\n|\r|\n", data.decode("utf-8-sig"))]
    except (OSError, UnicodeDecodeError) as error:
        reason = read_reason(error) if isinstance(error, OSError) else "it is not text in UTF-8; save it as such"
        raise BadFile(f"prompt_file {path!r} cannot be read: {reason}") from error
    prompts = [line for line in lines if line]
    if not prompts:
        raise BadFile(f"prompt_file {path!r} holds no prompt: write one a line")
    return prompts
