"""Read image bytes from a path, standard input or a file object, within limits."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import BadImage, EditkitError, InvalidParameter
from ..files.paths import scheme_of
from ..files.read_errors import read_reason

if TYPE_CHECKING:
    from torch import Tensor

MAX_BYTES = 256 * 2**20
MAX_PIXELS = 64_000_000
BYTES_PER_PIXEL = 130
"""Memory that an edit takes for each pixel of its source beside the model's, measured with a mask on a CPU."""
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;[\w=.-]+)*,", re.IGNORECASE)


class HoldsImage(Protocol):
    """Object that holds one image, such as a Result."""

    @property
    def image(self) -> Image.Image: ...
    @property
    def frames(self) -> tuple[Image.Image, ...]: ...


Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[Any] | Tensor"
    " | HoldsImage"
)


def plain_source(source: Any, argument: str) -> Any:
    """Return the image of a Result, the array of a torch tensor, and any other source unchanged.

    A tensor is (H, W), (C, H, W) or (1, C, H, W) with 1, 3 or 4 channels, of the values that arrays have. Raises
    BadImage, naming ``argument``, for another shape, masked values and for a Result of several frames.
    """
    # Another thread may be importing torch: until it has the class, no object is of it.
    tensor = getattr(sys.modules.get("torch"), "Tensor", None)
    if tensor is not None and isinstance(source, tensor):
        return _array_of(source, describe_source(source, argument))
    if isinstance(source, np.ma.MaskedArray):
        if masked := int(np.count_nonzero(np.ma.getmaskarray(source))):
            name = describe_source(source, argument)
            raise BadImage(
                f"{name} has {masked} masked values, which stand for nothing: pass its .filled() or its .data"
            )
        return source.data
    image = None if isinstance(source, (str, bytes, Image.Image, np.ndarray)) else getattr(source, "image", None)
    if not isinstance(image, Image.Image):
        return source
    if len(getattr(source, "frames", ())) > 1:
        raise BadImage(f"{argument} is a result of {len(source.frames)} frames: pass one of its frames")
    return image


def _array_of(tensor: Tensor, name: str) -> NDArray[Any]:
    """Return a tensor as an array (H, W) or (H, W, C)."""
    if tensor.is_meta or tensor.is_quantized or tensor.layout != sys.modules["torch"].strided:
        kind = "no storage" if tensor.is_meta else "quantised values" if tensor.is_quantized else "a sparse layout"
        raise BadImage(f"{name} has {kind}: pass a dense tensor of numbers")
    layout = tensor.detach().cpu()
    layout = layout[0] if layout.ndim == 4 and layout.shape[0] == 1 else layout
    if layout.ndim == 3 and layout.shape[0] in (1, 3, 4):
        layout = layout[0] if layout.shape[0] == 1 else layout.permute(1, 2, 0)
    elif layout.ndim != 2:
        several = "; pass several images as a list" if layout.ndim == 4 else ""
        raise BadImage(
            f"{name} has the wrong shape: (H, W), (C, H, W) or (1, C, H, W) of 1, 3 or 4 channels is allowed{several}"
        )
    if layout.is_floating_point() and layout.itemsize < 4:  # numpy has no bfloat16
        layout = layout.float()
    return layout.contiguous().numpy()


def refuse_address(source: object, argument: str) -> None:
    """Raise BadImage for an address, with the call that opens one, and for a data URI."""
    if isinstance(source, str) and _DATA.match(source):
        raise BadImage(
            f"{argument} {source[:40]!r} is a data URI, and no file: pass its bytes, "
            "base64.b64decode(TEXT.partition(',')[2]), or write them to a file"
        )
    if scheme_of(source):
        raise BadImage(
            f"{describe_source(source, argument)} is an address, and only files are opened here: download it, or open "
            "it in Python by editkit.open_image(ADDRESS, allow_urls=True)"
        )


def read_source(source: Source, *, argument: str) -> bytes:
    """Return all bytes of a path, standard input (``"-"``), a binary file or a bytes object, at most MAX_BYTES.

    Raises BadImage, naming ``argument``, if the source does not exist, is no regular file, is empty or is too large.
    """
    refuse_address(source, argument)
    name = describe_source(source, argument)
    try:
        data = _read(source, name)
    except EditkitError:
        raise
    except OSError as error:
        raise BadImage(f"{name} cannot be read: {read_reason(error)}") from error
    except Exception as error:  # a file object from outside may raise anything
        raise BadImage(f"{name} cannot be read: {reason_text(error)}") from error
    if not isinstance(data, bytes):
        raise BadImage(f"{name} gives text, not bytes: open it in binary mode ('rb')")
    if not data:
        raise BadImage(f"{name} cannot be read: {_emptiness(source)}")
    if len(data) > MAX_BYTES:
        raise BadImage(f"{name} is too large: at most {MAX_BYTES // 2**20} MiB are allowed; save it smaller")
    return data


def _emptiness(source: Source) -> str:
    """Return why a source gives no bytes, and what helps: a buffer that was just written stands at its end."""
    position = 0
    with contextlib.suppress(Exception):  # a file object from outside may raise anything
        position = int(getattr(source, "tell", int)())
    if position > 0:
        return f"its position is at its end, byte {position}; call seek(0) on it first"
    return "it is empty (0 bytes); pass a whole file"


def describe_source(source: object, argument: str) -> str:
    """Argument and value in a few words on one line, for messages."""
    name = _name_of(source)
    if name is not None:
        text = repr("standard input" if name == "-" else name)
        return f"{argument} {text if len(text) <= 300 else text[:140] + '...' + text[-140:]}"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"{argument} ({len(source)} bytes)"
    if isinstance(source, np.ndarray):
        return f"{argument} (array of shape {source.shape}, dtype {source.dtype})"
    if isinstance(source, Image.Image):
        return f"{argument} (PIL image, mode {source.mode}, {format_size(source.size)})"
    if hasattr(source, "dtype") and hasattr(source, "shape"):
        dtype = str(source.dtype).removeprefix("torch.")
        return f"{argument} (tensor of shape {tuple(source.shape)}, dtype {dtype})"
    return f"{argument} (object of type {type(source).__name__})"


def _name_of(source: object) -> str | bytes | None:
    """Return a path, or the name of an open file or of bytes that have one."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None) if isinstance(source, (bytes, io.IOBase)) else None
    return name if isinstance(name, str) else None


def _read(source: Source, name: str) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        if source == "-":
            if sys.stdin is None:
                raise BadImage(f"{name} cannot be read: it is closed; send an image to it")
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        check_regular(source, name)
        with Path(source).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    if hasattr(source, "read"):
        return _read_on(source)
    raise BadImage(
        f"{name} cannot be used: pass a path, '-', bytes, a binary file, a PIL image, a Result, or an array or tensor"
    )


def _read_on(file: Any) -> bytes:
    """Return the bytes of a file object from its position on, which it keeps: it may be the source of several edits."""
    position = file.tell() if getattr(file, "seekable", bool)() else None
    data: bytes = file.read(MAX_BYTES + 1)
    if position is not None:
        file.seek(position)
    return data


def check_regular(path: str | os.PathLike[str], name: str) -> None:
    """Raise BadImage unless a regular file of at most MAX_BYTES is at a path, and OSError if that cannot be found out.

    The message begins with ``name``.
    """
    # Checked before opening, because opening a named pipe blocks until it has a writer.
    if not os.fspath(path):
        raise BadImage(f"{name} cannot be read: its path is empty; name a file")
    try:
        status = Path(path).stat()
    except FileNotFoundError as error:
        raise BadImage(f"{name} cannot be read: {read_reason(error)}") from None
    if stat.S_ISDIR(status.st_mode):
        raise BadImage(f"{name} cannot be read: it is a folder; name one file in it")
    if not stat.S_ISREG(status.st_mode):
        raise BadImage(f"{name} cannot be read: it is a pipe or a device; pass '-' and send it to standard input")
    if status.st_size > MAX_BYTES:
        raise BadImage(
            f"{name} has {status.st_size} bytes: at most {MAX_BYTES // 2**20} MiB are allowed; save it smaller"
        )


def check_size(size: tuple[int, int], name: str) -> None:
    """Raise BadImage, beginning with ``name``, for no pixels or more than MAX_PIXELS."""
    width, height = size
    if width < 1 or height < 1:
        raise BadImage(f"{name} is {format_size(size)} pixels: width and height must be at least 1")
    if width * height > MAX_PIXELS:
        raise BadImage(f"{name} is {format_size(size)} pixels, too many: {pixel_limit()}")


def working_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Return the size at which a model works if the longest side of an image of ``size`` is scaled to ``longest``.

    Raises InvalidParameter if it is too large.
    """
    scale = longest / max(size)
    work = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    if work[0] * work[1] > MAX_PIXELS:
        raise InvalidParameter(
            f"resolution={longest} is not allowed: the model would work on {format_size(size)} pixels at "
            f"{format_size(work)}; at most {MAX_PIXELS // 10**6} million pixels are allowed"
        )
    return work


def format_size(size: tuple[int, int]) -> str:
    """Return a size (width, height) as text, such as "640 x 480"."""
    return f"{size[0]} x {size[1]}"


def memory_text(size: tuple[int, int]) -> str:
    """End of a message about an image that does not fit in memory, with the amount that an edit needs."""
    gigabytes = size[0] * size[1] * BYTES_PER_PIXEL / 1e9
    return (
        f"too many for the memory that is free: an edit takes about {BYTES_PER_PIXEL} bytes a pixel, {gigabytes:.2g} "
        "GB beside the model; scale it down"
    )


def pixel_limit() -> str:
    """End of a message about an image with more than MAX_PIXELS."""
    return f"at most {MAX_PIXELS // 10**6} million pixels are allowed; scale it down"


def reason_text(error: BaseException) -> str:
    """Return the message of an exception in one line of at most 160 characters; its class if it has none."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:160] or type(error).__name__


def file_size(image: Image.Image) -> float:
    """Bytes of the file behind an opened image; infinity if it is in memory."""
    try:
        return os.fstat(image.fp.fileno()).st_size  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return math.inf
