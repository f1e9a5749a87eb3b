"""The promises of every edit in the file on disk: its levels, depth, profile and metadata, for every kind of source.

Files are read by Pillow and OpenCV, not by editkit.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from PIL.ExifTags import IFD

import editkit
from editkit.images.stored.deep import encode_deep_png, insert_png_chunks
from editkit.testing.profiles import SRGB, WIDE

SIZE = (37, 23)
EDITS: dict[str, dict[str, Any]] = {
    "img2img": {"prompt": "blue", "strength": 0.7},
    "prompt-edit": {"source": "red", "target": "blue"},
    "flow-edit": {"source": "red", "target": "blue"},
    "few-step-edit": {"source": "red", "target": "blue"},
    "chord-edit": {"source": "red", "target": "blue"},
    "uni-edit": {"source": "red", "target": "blue"},
    "inpaint": {"prompt": "blue"},
    "instruct": {"instruction": "make it blue", "source": "red apple"},
    "control": {"prompt": "blue", "strength": 0.7},
}
LOSSLESS = (".png", ".tiff", ".webp")


def noise(channels: int, depth: int = 8) -> NDArray[Any]:
    dtype = np.uint8 if depth == 8 else np.uint16
    random = np.random.default_rng(channels + depth)
    levels: NDArray[Any] = random.integers(0, 2**depth, (SIZE[1], SIZE[0], channels), dtype=dtype)
    return levels


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def sources() -> dict[str, bytes]:
    """Files by kind, depth, channels and profile."""
    files: dict[str, bytes] = {}
    for profile, icc in (("none", None), ("sRGB", SRGB), ("wide", WIDE)):
        for channels in (3, 4):
            image = Image.fromarray(noise(channels))
            deep = encode_deep_png(noise(channels, 16))
            files[f"16-bit PNG {channels} {profile}"] = insert_png_chunks(deep, icc, PngImagePlugin.PngInfo())
            files[f"PNG {channels} {profile}"] = encoded(image, "PNG", icc_profile=icc)
            files[f"WebP {channels} {profile}"] = encoded(image, "WEBP", icc_profile=icc)
            files[f"AVIF {channels} {profile}"] = encoded(image, "AVIF", icc_profile=icc)
        files[f"JPEG {profile}"] = encoded(Image.fromarray(noise(3)), "JPEG", icc_profile=icc)
    colour = Image.fromarray(noise(3))
    files |= {f"{mode} PNG": encoded(colour.convert(mode), "PNG") for mode in ("L", "LA", "P", "1")}
    files |= {f"CMYK {kind}": encoded(colour.convert("CMYK"), kind) for kind in ("JPEG", "TIFF")}
    files["16-bit grey PNG"] = encoded(Image.fromarray(noise(1, 16)[..., 0]), "PNG")
    return files


def read(data: bytes) -> tuple[NDArray[Any], bytes | None]:
    """Levels (H, W, 3 or 4) and profile of a file."""
    image = Image.open(io.BytesIO(data))
    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is not None and deep.dtype == np.uint16:
        levels = np.dstack([deep] * 3) if deep.ndim == 2 else deep[..., [2, 1, 0, 3][: deep.shape[2]]]
    else:
        levels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    return levels, image.info.get("icc_profile")


def masks() -> dict[str, NDArray[np.uint8]]:
    hard, soft = np.zeros((2, SIZE[1], SIZE[0]), np.uint8)
    hard[5:15, 5:20] = 255
    soft[:, 10:30] = np.linspace(10, 255, 20)
    return {"hard": hard, "soft": soft}


def edit(model: editkit.Backend, operation: str, source: bytes, **more: Any) -> editkit.Result:
    params = {"steps": 2, "seed": 0, "cache": False, **EDITS[operation], **more}
    result: editkit.Result = editkit.apply(operation, source, model=model, **params)
    return result


def check_file(result: editkit.Result, path: Path, source: bytes, mask: NDArray[np.uint8] | None) -> None:
    """Save a result and compare the file with its source and the report."""
    result.save(path)
    (before, profile), (after, kept) = read(source), read(path.read_bytes())
    assert kept == profile
    if path.suffix in (".png", ".tiff"):
        assert after.dtype == before.dtype
        assert after.shape == before.shape
    reported = result.report.untouched_max_diff
    if mask is None:
        assert reported is None
        return
    if after.dtype != before.dtype:
        before = ((before.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if after.shape != before.shape:  # a file without alpha is opaque
        after = np.dstack([after, np.full(after.shape[:2], 255, np.uint8)])
    measured = np.abs(before.astype(int) - after)[mask == 0].max()
    assert measured == reported
    assert measured == 0 or path.suffix not in LOSSLESS
    assert path.suffix in LOSSLESS or not measured or "lossy" in result.report.warnings[-1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sources())
def test_file_differs_outside_the_mask_by_the_reported_levels(
    tiny_model: editkit.Backend, kind: str, tmp_path: Path
) -> None:
    source = sources()[kind]
    for name, mask in (*masks().items(), ("none", None)):
        more = {} if mask is None else {"mask": mask}
        result = edit(tiny_model, "img2img", source, **more)
        for suffix in (".png", ".webp", ".jpg", ".tiff", ".avif"):
            check_file(result, tmp_path / f"{name}{suffix}", source, mask)


@pytest.mark.slow
@pytest.mark.parametrize("operation", EDITS)
@pytest.mark.parametrize("kind", ["16-bit PNG 4 wide", "JPEG wide"])
def test_every_operation_keeps_depth_and_profile(
    tiny_model: editkit.Backend, tiny_controlnet: Path, operation: str, kind: str, tmp_path: Path
) -> None:
    more = {"controlnet": str(tiny_controlnet)} if operation == "control" else {}
    for mask in masks().values():
        result = edit(tiny_model, operation, sources()[kind], mask=mask, **more)
        check_file(result, tmp_path / "out.png", sources()[kind], mask)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 4])
def test_deep_image_with_profile_comes_back_where_nothing_is_asked(
    tiny_model: editkit.Backend, channels: int, tmp_path: Path
) -> None:
    first, second = noise(channels, 16), noise(channels, 16)[::-1]
    files = [insert_png_chunks(encode_deep_png(one), WIDE, PngImagePlugin.PngInfo()) for one in (first, second)]
    params = {"model": tiny_model, "steps": 2, "source": "red", "target": "red"}
    assert np.array_equal(editkit.apply("prompt-edit", files[0], **params).levels, first)
    frames = editkit.apply("interpolate", files, frames=3, **params)
    frames.save(tmp_path / "frames.png")
    levels, profile = read((tmp_path / "frames.png").read_bytes())
    assert np.array_equal(levels[:, : SIZE[0]], first)
    assert np.array_equal(levels[:, -SIZE[0] :], second)
    assert profile == WIDE
    wider = editkit.apply("outpaint", files[0], model=tiny_model, steps=2, left=4, right=9)
    wider.save(tmp_path / "wider.png")
    assert np.array_equal(read((tmp_path / "wider.png").read_bytes())[0][:, 4 : 4 + SIZE[0]], first)
    inversion = editkit.invert(files[0], model=tiny_model, prompt="red", steps=2)
    loaded = editkit.Inversion.load(inversion.save(tmp_path / "x.safetensors"))
    assert editkit.reconstruct(loaded, model=tiny_model).levels.dtype == np.uint16


def test_image_that_is_opened_first_is_edited_as_its_file(tiny_model: editkit.Backend) -> None:
    source = sources()["16-bit PNG 3 wide"]
    direct = edit(tiny_model, "img2img", source)
    assert np.array_equal(edit(tiny_model, "img2img", editkit.open_image(source)).levels, direct.levels)  # type: ignore[arg-type]
    assert direct.report.warnings == ()


@pytest.mark.parametrize(
    ("kind", "words"), [("CMYK JPEG", "CMYK"), ("16-bit PNG 3 wide", None), ("AVIF 3 none", None), ("L PNG", None)]
)
def test_warning_names_what_a_result_does_not_keep(tiny_model: editkit.Backend, kind: str, words: str | None) -> None:
    warnings = edit(tiny_model, "img2img", sources()[kind]).report.warnings
    assert bool(warnings) == bool(words)
    assert words is None or words in warnings[0]


def photo() -> bytes:
    """A JPEG with all that a camera and an editor add, turned by its orientation."""
    exif = Image.Exif()
    exif[0x0112], exif[0x8298], exif[0x0132] = 6, "(c) Ann", "2020:01:02 03:04:05"
    exif.get_ifd(IFD.Exif).update({36867: "2020:01:02 03:04:05", 37500: b"MAKERNOTE", 42033: "SERIAL"})
    exif.get_ifd(IFD.GPSInfo).update({1: "N", 2: (48.0, 1.0, 2.0)})
    exif.get_ifd(IFD.IFD1)[513] = 0
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
        b' xmlns:exif="http://ns.adobe.com/exif/1.0/"'
        b' xmlns:dc="http://purl.org/dc/elements/1.1/" exif:GPSLatitude="48,1N">'
        b"<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator><xmp:Thumbnails>THUMBNAIL</xmp:Thumbnails></rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    image = Image.fromarray(noise(3))
    return encoded(image, "JPEG", exif=exif, xmp=xmp, dpi=(300, 300), comment=b"COMMENT")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif", ".tiff"])
@pytest.mark.parametrize("keep_gps", [False, True])
def test_metadata_survive_by_a_list(tiny_model: editkit.Backend, suffix: str, keep_gps: bool, tmp_path: Path) -> None:
    result = edit(tiny_model, "img2img", photo())
    assert result.image.size == SIZE[::-1]
    data = result.save(tmp_path / f"out{suffix}", keep_gps=keep_gps).read_bytes()
    image = Image.open(io.BytesIO(data))
    image.load()
    exif = image.getexif()
    assert exif[0x8298] == "(c) Ann"
    assert exif.get(0x0112, 1) == 1
    assert exif.get_ifd(IFD.Exif)[36867] == "2020:01:02 03:04:05"
    assert bool(exif.get_ifd(IFD.GPSInfo)) == keep_gps
    assert not exif.get_ifd(IFD.IFD1)
    assert b"Ann" in image.info["xmp"]
    assert (b"GPSLatitude" in image.info["xmp"]) == keep_gps
    dpi = image.info.get("dpi") or (exif[282], exif[283])
    assert dpi == pytest.approx((300, 300), abs=0.01)
    assert not any(word in data for word in (b"MAKERNOTE", b"SERIAL", b"THUMBNAIL", b"COMMENT"))


def test_jpeg_names_what_it_loses_and_quality_is_obeyed(tiny_model: editkit.Backend, tmp_path: Path) -> None:
    result = edit(tiny_model, "img2img", sources()["16-bit PNG 4 none"], mask=masks()["hard"])
    sizes = [len(result.save(tmp_path / "x.jpg", quality=quality).read_bytes()) for quality in (30, 60, 100)]
    assert sizes == sorted(sizes)
    words = " ".join(result.report.warnings)
    assert all(word in words for word in ("transparency", "8 bits", "lossy"))
    result.save(tmp_path / "x.png")
    assert result.report.warnings == ()  # the warnings are those of the last file
    assert result.report.untouched_max_diff == 0
    with pytest.raises(editkit.InvalidParameter, match="quality=50 has no effect in PNG"):
        result.save(tmp_path / "y.png", quality=50)
    assert not (tmp_path / "y.png").exists()
