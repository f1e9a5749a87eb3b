"""Metadata that a result takes over from its source: EXIF, XMP, resolution and texts, by lists of what is allowed.

Everything else is left out, since previews, maker notes, Photoshop resources, gain maps and second images of a camera
show the source as it was before the edit, and paths and serial numbers name its owner.
"""

from __future__ import annotations

import dataclasses as dc
import functools
import math
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

from PIL import Image, ImageFile, IptcImagePlugin
from PIL.ExifTags import IFD

_ORIENTATION = 0x0112
_COLOUR_SPACE = 0xA001
_RESOLUTION = {282, 283, 296}
_MAIN_TAGS = {270, 271, 272, 306, 315, 18246, 33432, *range(40091, 40096)} | _RESOLUTION
"""Description, camera, date, artist, rating, copyright, the texts of Windows, resolution (Exif 2.32, section 4.6.4)."""
_EXPOSURE_TAGS = (
    {33434, 33437, 34850, 34855, 34864, 36864, 36867, 36868, 40961, 42034, 42035, 42036}
    | set(range(36880, 36883))
    | set(range(37377, 37387))
    | set(range(37520, 37523))
    | set(range(41985, 41995))
)
"""Exposure, dates, colour space, lens (Exif 2.32, section 4.6.5); no maker notes, comments and serial numbers."""
_IPTC_TAGS = {(2, 120): 270, (2, 80): 315, (2, 116): 33432}
"""Tags of EXIF for the caption, the author and the copyright of IPTC-IIM 4.2, which older programs write alone."""
_MAX_EXIF_BYTES = 60_000  # with its header a JPEG segment has 65,533
_MAX_TEXT = 2000
_MAX_XMP_BYTES = 60_000
_TEXTS = ("Title", "Author", "Description", "Copyright", "Creation Time", "Disclaimer")
"""Keywords of PNG texts (PNG specification, section 11.3.3.2)."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_META = "adobe:ns:meta/"
_XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_PREFIXES = {
    _RDF: "rdf",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/xap/1.0/rights/": "xmpRights",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/": "exif",
    "http://creativecommons.org/ns#": "cc",
    "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/": "Iptc4xmpCore",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
}
_PROPERTIES = {
    *(f"dc:{name}" for name in ("title", "description", "creator", "rights", "subject", "date", "language", "type")),
    *(f"xmp:{name}" for name in ("CreateDate", "ModifyDate", "CreatorTool", "Rating", "Label")),
    *(f"xmpRights:{name}" for name in ("Marked", "Owner", "UsageTerms", "WebStatement")),
    *(f"photoshop:{name}" for name in ("AuthorsPosition", "Credit", "DateCreated", "Headline", "Source")),
    *(f"tiff:{name}" for name in ("Artist", "Copyright", "ImageDescription", "Make", "Model")),
    *(f"cc:{name}" for name in ("attributionName", "attributionURL", "license")),
    "exif:DateTimeOriginal",
    "Iptc4xmpCore:CreatorContactInfo",
    "Iptc4xmpExt:DigitalSourceType",
}


@dc.dataclass(frozen=True)
class Metadata:
    """Metadata of a source as far as a result may take them over; empty by default."""

    exif: bytes = b""
    """EXIF without its orientation, since pixels are upright, and with the position if the source has one."""
    xmp: bytes = b""
    dpi: tuple[float, float] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    """Texts of a PNG by keyword."""

    def __bool__(self) -> bool:
        return bool(self.exif or self.xmp or self.dpi or self.texts)

    def exif_to_write(self, *, keep_gps: bool = False, add_dpi: bool = False) -> bytes:
        """Return EXIF for a file, without its position unless ``keep_gps``; ``add_dpi`` is for formats without dpi."""
        source, exif = parse_exif(self.exif), Image.Exif()
        exif.update(as_stored({tag: source[tag] for tag in source if tag not in (IFD.Exif, IFD.GPSInfo)}))
        for ifd in (IFD.Exif, IFD.GPSInfo) if keep_gps else (IFD.Exif,):
            if entries := source.get_ifd(ifd):
                exif.get_ifd(ifd).update(as_stored(entries))
        if add_dpi and self.dpi and 282 not in exif:
            exif[282], exif[283], exif[296] = *self.dpi, 2
        return exif.tobytes() if len(exif) or exif.get_ifd(IFD.Exif) else b""

    def xmp_to_write(self, *, keep_gps: bool = False) -> bytes:
        """Return XMP for a file, without its position unless ``keep_gps``."""
        return self.xmp if keep_gps else _filter_xmp(self.xmp, keep_gps=False)


NO_METADATA = Metadata()


class _StoredText(str):
    """Text of EXIF as Pillow reads it, by Latin-1, that is written as the bytes it was read from.

    Most programs store UTF-8, of which Pillow would write question marks.
    """

    __slots__ = ()

    def encode(self, encoding: str = "", errors: str = "") -> bytes:
        return super().encode("latin-1", "replace")


def as_stored(entries: Mapping[int, Any]) -> dict[int, Any]:
    """Return entries of EXIF whose texts Pillow writes as they are stored."""
    return {tag: _StoredText(value) if isinstance(value, str) else value for tag, value in entries.items()}


def read_metadata(image: Image.Image) -> Metadata:
    """Return the allowed metadata of a decoded image; broken ones are left out."""
    texts = getattr(image, "text", None)
    texts = texts if isinstance(texts, dict) else {}
    found = tuple((key, str(texts[key])) for key in _TEXTS if key in texts and len(texts[key]) <= _MAX_TEXT)
    xmp = image.info.get("xmp") or _xmp_as_text(texts)
    return Metadata(
        _filter_exif(image), _filter_xmp(xmp, keep_gps=True) if isinstance(xmp, bytes) else b"", _read_dpi(image), found
    )


def _xmp_as_text(texts: Mapping[str, str]) -> bytes:
    """Return the XMP that ImageMagick writes to a PNG: a name, a length and hexadecimal digits; empty without one."""
    try:
        return bytes.fromhex("".join(texts["Raw profile type xmp"].split()[2:]))
    except (KeyError, ValueError):  # without one, or damaged
        return b""


def is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF says that an image is in Adobe RGB, as cameras do that embed no profile (DCF 2.0, R03)."""
    try:
        exif = image.getexif()
        camera = exif.get_ifd(IFD.Exif)
        interoperability = camera.get(IFD.Interop) or exif.get_ifd(IFD.Interop)
        rule = interoperability.get(1) if isinstance(interoperability, dict) else None
        return camera.get(_COLOUR_SPACE) == 2 or str(rule).rstrip("\0") == "R03"
    except Exception:  # absent or broken
        return False


def _read_dpi(image: Image.Image) -> tuple[float, float] | None:
    """Return the resolution in pixels per inch, by the EXIF of formats without a place of their own."""
    try:
        exif = image.getexif()
        pair = image.info.get("dpi") or ((exif[282], exif[283]) if exif.get(296, 2) == 2 else ())
        across, down = (float(number) for number in pair)
    except Exception:  # absent or broken
        return None
    # Pillow gives 1 for a TIFF without resolution.
    return (across, down) if all(math.isfinite(number) and 1 < number <= 1e5 for number in (across, down)) else None


def parse_exif(data: bytes) -> Image.Exif:
    """Return EXIF as Pillow's mapping; empty bytes give an empty one."""
    exif = Image.Exif()
    if data:
        exif.load(data)
    return exif


def _filter_exif(image: Image.Image) -> bytes:
    try:
        source = image.getexif()
        result = Image.Exif()
        result.update(as_stored({tag: source[tag] for tag in _MAIN_TAGS & set(source) if _is_short(source[tag])}))
        result.update(as_stored({tag: text for tag, text in _iptc_texts(image).items() if tag not in result}))
        if _ORIENTATION in source:
            result[_ORIENTATION] = 1
        for ifd, allowed in ((IFD.Exif, _EXPOSURE_TAGS), (IFD.GPSInfo, set(range(32)))):
            entries = source.get_ifd(ifd)
            kept = {tag: entries[tag] for tag in allowed & set(entries) if _is_short(entries[tag])}
            if kept:
                result.get_ifd(ifd).update(as_stored(kept))
        data = result.tobytes() if len(result) or any(result.get_ifd(i) for i in (IFD.Exif, IFD.GPSInfo)) else b""
        return data if len(data) <= _MAX_EXIF_BYTES else b""
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return b""


def _iptc_texts(image: Image.Image) -> dict[int, str]:
    """Return caption, author and copyright by IPTC-IIM under their tags of EXIF, in the letters of their bytes."""
    if not isinstance(image, ImageFile.ImageFile):
        return {}
    try:
        entries = IptcImagePlugin.getiptcinfo(image) or {}
        values = {tag: entries.get(record) for record, tag in _IPTC_TAGS.items()}
        first = {tag: value[0] if isinstance(value, list) else value for tag, value in values.items()}
    except Exception:  # broken IPTC is no reason to refuse the pixels
        return {}
    return {tag: value.decode("latin-1") for tag, value in first.items() if value and len(value) <= _MAX_TEXT}


def _is_short(value: Any) -> bool:
    """Whether a value is too short to hold an image."""
    return not isinstance(value, (bytes, str, tuple)) or len(value) <= _MAX_TEXT


@functools.lru_cache(maxsize=16)
def _filter_xmp(data: bytes, *, keep_gps: bool) -> bytes:
    """Return a new XMP packet with the allowed properties of another; empty if there are none or it is broken."""
    # A document type may define entities that grow without bound; XMP has none.
    if not data or b"\0" in data.rstrip(b"\0") or b"<!DOCTYPE" in data.upper():
        return b""
    try:
        root = ET.fromstring(data.rstrip(b"\0 \r\n"))
        description = ET.Element("rdf:Description", {"rdf:about": ""})
        for source in root.iter(f"{{{_RDF}}}Description"):
            _copy_properties(source, description, keep_gps=keep_gps)
        if len(description.attrib) == 1 and not len(description):
            return b""
        meta = ET.Element("x:xmpmeta", {"xmlns:x": _META})
        rdf = ET.SubElement(meta, "rdf:RDF", {f"xmlns:{prefix}": uri for uri, prefix in _PREFIXES.items()})
        rdf.append(description)
        packet = ET.tostring(meta, encoding="utf-8", xml_declaration=False)
    except Exception:  # broken XMP is no reason to refuse the pixels
        return b""
    wrapped = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>' + packet + b'<?xpacket end="r"?>'
    return wrapped if len(wrapped) <= _MAX_XMP_BYTES else b""


def _copy_properties(source: ET.Element, target: ET.Element, *, keep_gps: bool) -> None:
    for key, value in source.attrib.items():
        name = _prefixed(key)
        if _is_allowed(name, keep_gps) and name is not None:
            target.set(name, value)
    for child in source:
        if _is_allowed(_prefixed(child.tag), keep_gps) and (copy := _copy_element(child)) is not None:
            target.append(copy)


def _is_allowed(name: str | None, keep_gps: bool) -> bool:
    return name in _PROPERTIES or (keep_gps and name is not None and name.startswith("exif:GPS"))


def _copy_element(source: ET.Element) -> ET.Element | None:
    """Copy a property with its values under the usual prefixes; None if it is of another namespace."""
    name = _prefixed(source.tag)
    if name is None:
        return None
    attributes = {key: value for old, value in source.attrib.items() if (key := _prefixed(old)) is not None}
    copy = ET.Element(name, attributes)
    copy.text = source.text
    copy.extend(child for one in source if (child := _copy_element(one)) is not None)
    return copy


def _prefixed(name: str) -> str | None:
    if name == _XML_LANGUAGE:
        return "xml:lang"
    uri, closed, local = name.removeprefix("{").partition("}")
    return f"{_PREFIXES[uri]}:{local}" if closed and uri in _PREFIXES else None
