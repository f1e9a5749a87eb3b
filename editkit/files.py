"""Files go out here: written whole or not at all, and a PNG that carries the recipe it was made with."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
import stat
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from .errors import BadFile, BadImage, EditkitError, InvalidParameter
from .images import MAX_BYTES, MAX_PIXELS, Source, open_image, pixels, read_source

MAX_RECIPE_BYTES = 1_000_000  # Pillow refuses to open a PNG with a text chunk over 1 MiB
MAX_ATTACHMENTS = 64
MAX_ATTACHED_PIXELS = 4 * MAX_PIXELS
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
MOVING = (".gif", ".webp")

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 12 + 13
_END_CHUNK = 12
_KEYWORD = b"editkit"
# Ancillary, private, and not to be copied by a program that changes the picture.
_ATTACHMENT = b"ekAT"
_MAX_NAME_BYTES = 79
# What Pillow's encoders raise for a size that the format cannot hold, each another one.
_ENCODER_ERRORS = (OSError, ValueError, RuntimeError, OverflowError, struct.error)
_GREY = 0
_ATTACHMENT_LIMIT = (
    f"at most {MAX_ATTACHMENTS} of {MAX_ATTACHED_PIXELS // 10**6} million pixels together are allowed; "
    "use fewer or smaller ones"
)
_NO_ATTACHMENTS: Mapping[str, Image.Image] = MappingProxyType({})
_USER_ERRORS = {
    errno.ENOENT: "there is no such folder; make it first",
    errno.ENOTDIR: "a part of the path is a file, not a folder; choose another path",
    errno.EACCES: "permission is denied; choose a folder you can write to",
    errno.EPERM: "permission is denied; choose a folder you can write to",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EISDIR: "it is a folder; add a file name",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its symbolic links form a circle; choose another path",
}


def check_output(path: str | os.PathLike[str], *, argument: str = "output") -> Path:
    """Find the file that writing to ``path`` replaces, before the work of making its content.

    Symbolic links are followed, so that a link stays and its target is replaced. Raises InvalidParameter, naming
    ``argument``, where the folder is missing or not writable, or the path is not that of a regular file.
    """
    text = os.fspath(path)
    name = f"{argument} {text!r}"
    try:
        kind = _kind(Path(text))
        if not text or text.endswith(("/", os.sep)) or kind == stat.S_IFDIR:
            raise InvalidParameter(f"{name} cannot be written: {_USER_ERRORS[errno.EISDIR]}")
        # Replacing /dev/null or a named pipe by a file would break it for everyone.
        if kind not in (None, stat.S_IFREG):
            raise InvalidParameter(f"{name} cannot be written: it is a pipe or a device; use '-' for standard output")
        target = Path(os.path.realpath(text))
        if not target.parent.is_dir():
            target.parent.stat()
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        blocked = not os.access(target.parent, os.W_OK | os.X_OK)
        # Asked in this order: another process may remove the file in between.
        if blocked or (not os.access(target, os.W_OK) and target.exists()):
            raise PermissionError(errno.EACCES, "not writable")
    except (OSError, ValueError) as error:
        raise _write_error(error, name) from error
    return target


def check_file(path: str | os.PathLike[str], endings: Sequence[str] = ENDINGS, *, argument: str = "output") -> Path:
    """Check, before the work of making it, that a file of one of these kinds can be written to ``path``.

    Raises InvalidParameter, naming ``argument``, like check_output, and for another ending.
    """
    check_output(path, argument=argument)
    if Path(path).suffix.lower() not in endings:
        raise InvalidParameter(f"{argument} {os.fspath(path)!r} must end in one of {', '.join(endings)}")
    return Path(path)


def _kind(path: Path) -> int | None:
    """What is at a path, asked once, since another process may put something else there; None for nothing."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except FileNotFoundError:
        return None


def write_atomically(
    path: str | os.PathLike[str], data: bytes, *, argument: str = "output", private: bool = False
) -> None:
    """Write a file so that it appears whole or not at all, even when the process is killed in between.

    A file that is replaced keeps its permissions, a new one gets those of the umask; a ``private`` one is its owner's
    alone. Raises InvalidParameter, naming ``argument``, like check_output, and EditkitError where the disk is full or
    fails; the old file then stays.
    """
    target = check_output(path, argument=argument)
    temporary = target.with_name(f".editkit-{secrets.token_hex(8)}.tmp")
    try:
        _write_synced(temporary, data, 0o600 if private else 0o666)
        if target.exists() and not private:
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        raise _write_error(error, f"{argument} {os.fspath(path)!r}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def encode_image(
    image: Image.Image,
    ending: str,
    *,
    recipe: str | None = None,
    attachments: Mapping[str, Image.Image] = _NO_ATTACHMENTS,
    argument: str = "output",
) -> bytes:
    """Encode a picture as its file ending asks: lossless PNG (also for ``""``) or WebP, or JPEG at quality 95, 4:4:4.

    ``image`` has mode RGB or RGBA. Only PNG carries the recipe and its attachments; JPEG has no alpha and shows the
    picture on white. Raises InvalidParameter for other endings and for sizes that the format cannot hold.
    """
    kind = ending.lower()
    if kind in ("", ".png"):
        return encode_png(image, recipe=recipe, attachments=attachments)
    if kind not in ENDINGS:
        raise InvalidParameter(f"{argument} ends in {ending!r}, but must end in one of {', '.join(ENDINGS)}")
    buffer = io.BytesIO()
    try:
        if kind == ".webp":
            _bare(image, "image").save(buffer, "WEBP", lossless=True, exact=True)
        else:
            _on_white(image).save(buffer, "JPEG", quality=95, subsampling=0)
    except _ENCODER_ERRORS as error:
        raise _format_error(image, kind, argument) from error
    return buffer.getvalue()


def save_picture(image: Image.Image, path: str | os.PathLike[str], *, argument: str = "output") -> None:
    """Write a picture in the kind that the path's ending says, whole or not at all.

    Raises InvalidParameter, naming ``argument``, where the ending or the place is not allowed.
    """
    write_atomically(path, encode_image(image, Path(path).suffix, argument=argument), argument=argument)


def encode_frames(
    frames: Sequence[Image.Image], ending: str, *, milliseconds: int = 100, argument: str = "output"
) -> bytes:
    """Encode pictures of one size as an endless animation: GIF shows them on white, WebP is lossless.

    ``frames`` have mode RGB or RGBA; each stays for ``milliseconds``, 1 or more. Raises InvalidParameter for no frames,
    frames of several sizes, endings other than MOVING, and for sizes that the format cannot hold.
    """
    kind = ending.lower()
    if kind not in MOVING:
        raise InvalidParameter(f"{argument} ends in {ending!r}, but an animation must end in {' or '.join(MOVING)}")
    if len({frame.size for frame in frames}) != 1 or milliseconds < 1:
        raise InvalidParameter("frames must be one or more pictures of one size, shown for 1 or more milliseconds")
    first, *rest = [_on_white(frame) if kind == ".gif" else _bare(frame, "frame") for frame in frames]
    buffer = io.BytesIO()
    try:
        first.save(
            buffer, kind[1:], save_all=True, append_images=rest, duration=milliseconds, loop=0, lossless=kind == ".webp"
        )
    except _ENCODER_ERRORS as error:
        raise _format_error(first, kind, argument) from error
    return buffer.getvalue()


def encode_png(
    image: Image.Image, *, recipe: str | None = None, attachments: Mapping[str, Image.Image] = _NO_ATTACHMENTS
) -> bytes:
    """Encode a picture as PNG, with the JSON text of its recipe and the pictures that the recipe names inside.

    Pictures have mode RGB, RGBA or L; a name has 1 to 79 bytes. read_recipe gives recipe and attachments back as they
    were. Raises InvalidParameter for other modes and names, for attachments without a recipe, and for a recipe over
    MAX_RECIPE_BYTES, over MAX_ATTACHMENTS or MAX_ATTACHED_PIXELS of attachments, or a file over MAX_BYTES.
    """
    if attachments and recipe is None:
        raise InvalidParameter("attachments are only stored with a recipe: pass recipe too")
    if _too_much(attachments):
        raise InvalidParameter(f"attachments are {len(attachments)} pictures, too many: {_ATTACHMENT_LIMIT}")
    plain = _png(image, "image")
    text = b"" if recipe is None else _recipe_chunk(recipe)
    pictures = b"".join(_attachment_chunk(name, picture) for name, picture in attachments.items())
    data = plain[:_HEADER_END] + text + plain[_HEADER_END:-_END_CHUNK] + pictures + plain[-_END_CHUNK:]
    if len(data) > MAX_BYTES:
        raise InvalidParameter(
            f"image and attachments need {len(data)} bytes as PNG; at most {MAX_BYTES // 2**20} MiB are allowed, "
            "so that the file can be opened again: save without the recipe"
        )
    return data


def read_recipe(source: Source, *, argument: str = "recipe") -> tuple[str, dict[str, Image.Image]]:
    """Read the recipe and the attached pictures from a PNG that encode_png made.

    ``source`` is a path, ``"-"``, bytes or a binary file. Attached pictures keep their mode (RGB, RGBA or L). Raises
    BadFile, naming ``argument``, where there is no recipe, the file is no PNG, or a part is damaged or over a limit.
    """
    name = f"{argument} {os.fspath(source)!r}" if isinstance(source, (str, os.PathLike)) else argument
    try:
        data = read_source(source, argument=argument)
    except BadImage as error:
        raise BadFile(str(error)) from error
    recipes: list[str] = []
    pictures: dict[str, Image.Image] = {}
    for kind, content in _chunks(data, name):
        if kind == b"iTXt" and content.startswith(_KEYWORD + b"\0"):
            recipes.append(_parse_recipe(content, name))
        elif kind == _ATTACHMENT:
            key, picture = _parse_attachment(content, name)
            if key in pictures:
                raise BadFile(f"{name} is damaged: it holds two pictures {key!r}; get a whole copy")
            pictures[key] = picture
            if _too_much(pictures):
                raise BadFile(f"{name} holds too many attached pictures: {_ATTACHMENT_LIMIT}")
    if len(recipes) != 1:
        found = "no editkit recipe" if not recipes else f"{len(recipes)} editkit recipes"
        raise BadFile(f"{name} holds {found}: pass a PNG as editkit saved it, not one saved by another program")
    return recipes[0], pictures


def _too_much(pictures: Mapping[str, Image.Image]) -> bool:
    area = sum(picture.width * picture.height for picture in pictures.values())
    return len(pictures) > MAX_ATTACHMENTS or area > MAX_ATTACHED_PIXELS


def _write_error(error: OSError | ValueError, name: str) -> EditkitError:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ValueError) or number in _USER_ERRORS:
        reason = _USER_ERRORS.get(number or 0, "the path holds a character that is not allowed; choose another")
        return InvalidParameter(f"{name} cannot be written: {reason}")
    return EditkitError(f"{name} cannot be written: {error.strerror or type(error).__name__}; nothing was written")


def _write_synced(path: Path, data: bytes, mode: int) -> None:
    # Not the tempfile module: its files are private, and their mode would be that of the output.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # Makes the new name survive a power cut; some file systems cannot, and the file is whole all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _bare(image: Image.Image, name: str) -> Image.Image:
    """A copy without metadata, which Pillow would otherwise write to the file."""
    if image.mode not in ("RGB", "RGBA", "L"):
        raise InvalidParameter(f"{name} has mode {image.mode}; RGB, RGBA or L is allowed: use open_image first")
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InvalidParameter(f"{name} has {width} x {height} pixels; 1 to {MAX_PIXELS} are allowed in all")
    copy = image.copy()
    copy.info.clear()
    return copy


def _on_white(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.rint(pixels(image) * 255).astype(np.uint8))


def _format_error(image: Image.Image, kind: str, argument: str) -> InvalidParameter:
    width, height = image.size
    return InvalidParameter(
        f"{argument} cannot be written as {kind}: {width} x {height} pixels do not fit that format; use .png"
    )


def _png(image: Image.Image, name: str) -> bytes:
    buffer = io.BytesIO()
    _bare(image, name).save(buffer, "PNG")
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def _recipe_chunk(recipe: str) -> bytes:
    text = _utf8(recipe, "recipe")
    if len(text) > MAX_RECIPE_BYTES:
        raise InvalidParameter(f"recipe has {len(text)} bytes; at most {MAX_RECIPE_BYTES} are allowed: shorten it")
    # Keyword, not compressed (two bytes), no language, no translated keyword.
    return _chunk(b"iTXt", _KEYWORD + b"\0\0\0\0\0" + text)


def _attachment_chunk(name: str, picture: Image.Image) -> bytes:
    key = _utf8(name, "attachment name")
    if not 0 < len(key) <= _MAX_NAME_BYTES or b"\0" in key:
        raise InvalidParameter(f"attachment name {name!r} must have 1 to {_MAX_NAME_BYTES} bytes, none of them zero")
    return _chunk(_ATTACHMENT, key + b"\0" + _png(picture, f"attachment {name!r}"))


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidParameter(f"{name} {text[:60]!r} is not valid Unicode text: remove lone surrogates") from None


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG in order, each with its checksum verified."""
    if not data.startswith(_SIGNATURE):
        raise BadFile(f"{name} is not a PNG, and only a PNG holds a recipe: pass the .png that editkit saved")
    position, kind = len(_SIGNATURE), b""
    while kind != b"IEND":
        length = int.from_bytes(data[position : position + 4])
        end = position + 8 + length
        if end + 4 > len(data):
            raise BadFile(f"{name} is damaged: the file is cut short; get a whole copy")
        kind, content = data[position + 4 : position + 8], data[position + 8 : end]
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end : end + 4]):
            raise BadFile(f"{name} is damaged: chunk {kind!r} has a wrong checksum; get a whole copy")
        yield kind, content
        position = end + 4


def _parse_recipe(content: bytes, name: str) -> str:
    header = _KEYWORD + b"\0\0\0\0\0"
    text = content[len(header) :]
    try:
        if content.startswith(header) and len(text) <= MAX_RECIPE_BYTES:
            return text.decode()
    except UnicodeDecodeError:
        pass
    raise BadFile(f"{name} holds a recipe that editkit did not write: pass the PNG as editkit saved it")


def _parse_attachment(content: bytes, name: str) -> tuple[str, Image.Image]:
    key, _, data = content.partition(b"\0")
    try:
        label = key.decode()
        if not 0 < len(key) <= _MAX_NAME_BYTES or not data.startswith(_SIGNATURE):
            raise BadImage("it is not a named PNG")
        picture = open_image(data, argument="it")
    except (BadImage, UnicodeDecodeError) as error:
        raise BadFile(
            f"{name} holds an attached picture {key[:_MAX_NAME_BYTES]!r} that cannot be used: {error}"
        ) from error
    # A mask comes back as it went in; equal red, green and blue give exactly that grey.
    return label, picture.convert("L") if data[25] == _GREY and picture.mode == "RGB" else picture
