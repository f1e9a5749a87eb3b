"""Recipe and images stored inside a PNG.

Pillow writes the chunks. They are read here, because Pillow neither verifies the checksums of chunks after the pixels
nor reports a second recipe, and finds attachments only after decoding the pixels.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import BadFile, BadImage, InvalidParameter
from .conversion import strip_metadata
from .reading import open_image
from .sources import MAX_BYTES, MAX_PIXELS
from .stored.encoding import DEFAULT, Encoding, encode_png_file
from .stored.image import StoredImage
from .stored.png_chunks import SIGNATURE, png_chunks

MAX_RECIPE_BYTES = 1_000_000  # Pillow refuses to open a PNG with a text chunk over 1 MiB
MAX_ATTACHMENTS = 64
MAX_ATTACHED_PIXELS = 4 * MAX_PIXELS
_KEYWORD = b"editkit"

# Not compressed (two bytes), no language, no translated keyword.
_RECIPE_HEADER = _KEYWORD + b"\0\0\0\0\0"

# Ancillary, private, and not to be copied by a program that changes the image.
_ATTACHMENT = b"ekAT"
_MAX_NAME_BYTES = 79

# Position of the colour type in a PNG, and its value for grey.
_COLOUR_TYPE = 25
_GREY = 0
_ATTACHMENT_LIMIT = (
    f"at most {MAX_ATTACHMENTS} of {MAX_ATTACHED_PIXELS // 10**6} million pixels together are allowed; "
    "use fewer or smaller ones"
)


NO_ATTACHMENTS: Mapping[str, Image.Image] = MappingProxyType({})


def encode_png(
    image: Image.Image,
    *,
    recipe: str | None = None,
    attachments: Mapping[str, Image.Image] = NO_ATTACHMENTS,
    encoding: Encoding = DEFAULT,
) -> bytes:
    """Encode an image as PNG with the JSON text of its recipe and the images that the recipe names.

    Images have mode RGB, RGBA or L; a name has 1 to 79 bytes. read_recipe returns recipe and attachments unchanged.
    Raises InvalidParameter for other modes and names, for attachments without a recipe, and for a recipe over
    MAX_RECIPE_BYTES, attachments over MAX_ATTACHMENTS or MAX_ATTACHED_PIXELS, or a file over MAX_BYTES.
    """
    if attachments and recipe is None:
        raise InvalidParameter("attachments are only stored with a recipe: pass recipe too")
    if _exceeds_limit(attachments):
        raise InvalidParameter(f"attachments are {len(attachments)} images, too many: {_ATTACHMENT_LIMIT}")
    chunks = recipe_chunks(recipe)
    for name, attached in attachments.items():
        chunks.add(_ATTACHMENT, _attachment_content(name, attached), after_idat=True)
    data = _png(image, "image", chunks, encoding)
    if len(data) > MAX_BYTES:
        raise InvalidParameter(
            f"image and attachments need {len(data)} bytes as PNG; at most {MAX_BYTES // 2**20} MiB are allowed, "
            "so that the file can be opened again: save without the recipe"
        )
    return data


def recipe_chunks(recipe: str | None) -> PngInfo:
    """Return the chunks of a PNG that hold a recipe; none without one."""
    chunks = PngInfo()
    if recipe is not None:
        chunks.add_itxt(_KEYWORD, _recipe_text(recipe))
    return chunks


def is_png(data: bytes) -> bool:
    """Whether bytes begin like a PNG."""
    return data.startswith(SIGNATURE)


def strip_recipe(data: bytes, name: str) -> bytes:
    """Return the bytes of a PNG without recipes and attached images, damaged ones included; ``name`` is for errors."""
    parts, position, kind = [SIGNATURE], len(SIGNATURE), b""
    while kind != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if end > len(data):
            raise BadFile(f"{name} is damaged: the file is cut short; get a whole copy")
        kind, content = data[position + 4 : position + 8], data[position + 8 : end - 4]
        is_recipe = kind in (b"iTXt", b"tEXt", b"zTXt") and content.startswith(_KEYWORD + b"\0")
        parts += [] if is_recipe or kind == _ATTACHMENT else [data[position:end]]
        position = end
    return b"".join([*parts, data[position:]])


def read_recipe(data: bytes, name: str) -> tuple[str, dict[str, Image.Image]]:
    """Read the recipe and the attached images from the bytes of a PNG that encode_png wrote.

    Attached images keep their mode (RGB, RGBA or L). Raises BadFile, which begins with ``name``, if there is no recipe,
    or a part is damaged or over a limit.
    """
    recipes: list[str] = []
    attachments: dict[str, Image.Image] = {}
    for kind, content in _chunks(data, name):
        if kind == b"iTXt" and content.startswith(_KEYWORD + b"\0"):
            recipes.append(_parse_recipe(content, name))
        elif kind == _ATTACHMENT:
            key, image = _parse_attachment(content, name)
            if key in attachments:
                raise BadFile(f"{name} is damaged: it holds two images {key!r}; get a whole copy")
            attachments[key] = image
            if _exceeds_limit(attachments):
                raise BadFile(f"{name} holds too many attached images: {_ATTACHMENT_LIMIT}")
    if len(recipes) != 1:
        count = "no editkit recipe" if not recipes else f"{len(recipes)} editkit recipes"
        raise BadFile(f"{name} holds {count}: pass a PNG as editkit saved it, not one saved by another program")
    return recipes[0], attachments


def _exceeds_limit(attachments: Mapping[str, Image.Image]) -> bool:
    area = sum(image.width * image.height for image in attachments.values())
    return len(attachments) > MAX_ATTACHMENTS or area > MAX_ATTACHED_PIXELS


def _png(image: Image.Image, name: str, chunks: PngInfo | None = None, encoding: Encoding = DEFAULT) -> bytes:
    """Encode an image as PNG, a view with the depth and the profile of its StoredImage."""
    plain, buffer = strip_metadata(image, name), io.BytesIO()
    if image.mode != "L":
        return encode_png_file(StoredImage.of(image), chunks or PngInfo(), encoding)
    plain.save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def _recipe_text(recipe: str) -> bytes:
    text = _utf8(recipe, "recipe")
    if len(text) > MAX_RECIPE_BYTES:
        raise InvalidParameter(f"recipe has {len(text)} bytes; at most {MAX_RECIPE_BYTES} are allowed: shorten it")
    return text


def _attachment_content(name: str, image: Image.Image) -> bytes:
    key = _utf8(name, "attachment name")
    if not 0 < len(key) <= _MAX_NAME_BYTES or b"\0" in key:
        raise InvalidParameter(f"attachment name {name!r} must have 1 to {_MAX_NAME_BYTES} bytes, none of them zero")
    return key + b"\0" + _png(image, f"attachment {name!r}")


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidParameter(f"{name} {text[:60]!r} is not valid Unicode text: remove lone surrogates") from None


def _chunks(data: bytes, name: str) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of each chunk of a PNG in order, with its checksum verified."""
    for chunk in png_chunks(data):
        if len(chunk.checksum) < 4:
            break
        if not chunk.is_whole:
            raise BadFile(f"{name} is damaged: chunk {chunk.kind!r} has a wrong checksum; get a whole copy")
        yield chunk.kind, chunk.content
        if chunk.kind == b"IEND":
            return
    raise BadFile(f"{name} is damaged: the file is cut short; get a whole copy")


def _parse_recipe(content: bytes, name: str) -> str:
    text = content[len(_RECIPE_HEADER) :]
    try:
        if content.startswith(_RECIPE_HEADER) and len(text) <= MAX_RECIPE_BYTES:
            return text.decode()
    except UnicodeDecodeError:
        pass
    raise BadFile(f"{name} holds a recipe that editkit did not write: pass the PNG as editkit saved it")


def _parse_attachment(content: bytes, name: str) -> tuple[str, Image.Image]:
    key, _, data = content.partition(b"\0")
    try:
        label = key.decode()
        if not 0 < len(key) <= _MAX_NAME_BYTES or not data.startswith(SIGNATURE):
            raise BadImage("it is not a named PNG")
        image = open_image(data, argument="it")
    except (BadImage, UnicodeDecodeError) as error:
        raise BadFile(
            f"{name} holds an attached image {key[:_MAX_NAME_BYTES]!r} that cannot be used: {error}"
        ) from error
    # A mask is returned in mode L; equal red, green and blue convert to exactly that grey.
    return label, image.convert("L") if data[_COLOUR_TYPE] == _GREY and image.mode == "RGB" else image
