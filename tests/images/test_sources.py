"""Objects and addresses in place of image files: tensors, results, lists, http and https."""

from __future__ import annotations

import http.server
import io
import sys
import threading
import types
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import editkit
from editkit import BadImage, EditkitError, InvalidParameter
from editkit.images import addresses
from editkit.images.sources import plain_source
from editkit.testing.toy import ToyBackend

LEVELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
PIXELS = torch.from_numpy(LEVELS).permute(2, 0, 1)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(LEVELS).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    "tensor",
    [
        PIXELS,
        PIXELS[None],
        PIXELS / 255,
        (PIXELS.double() / 255).requires_grad_(),
        (PIXELS[None] / 255).to(memory_format=torch.channels_last),
    ],
    ids=["uint8", "batch of one", "float32", "float64 with gradients", "channels last"],
)
def test_a_tensor_is_the_image_of_its_values(tensor: torch.Tensor) -> None:
    assert np.array_equal(np.asarray(editkit.open_image(tensor)), LEVELS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_tensors_are_images(dtype: torch.dtype) -> None:
    opened = np.asarray(editkit.open_image((PIXELS / 255).to(dtype)), dtype=int)
    assert abs(opened - LEVELS).max() <= 1  # bfloat16 has 8 bits of mantissa


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.rand(3, 6, 8) * 2 - 1, r"tensor|array.* has float pixels from -.*floats must lie in \[0, 1\]"),
        (torch.rand(6, 8, 3), r"tensor of shape \(6, 8, 3\).* has the wrong shape: \(H, W\), \(C, H, W\)"),
        (torch.rand(2, 3, 6, 8), "pass several images as a list"),
        (PIXELS.long(), "has the wrong dtype"),
        (torch.full((6, 8), torch.nan), "NaN"),
    ],
    ids=["range of a network", "channels last", "batch", "long", "nan"],
)
def test_a_tensor_of_another_range_or_layout_is_refused(tensor: torch.Tensor, reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        editkit.open_image(tensor)


def at_its_end() -> io.BytesIO:
    file = io.BytesIO()
    file.write(png())
    return file


def closed_image() -> Image.Image:
    image = Image.open(io.BytesIO(png()))
    image.close()
    return image


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (lambda: torch.zeros(3, 6, 8, device="meta"), r"has no storage: pass a dense tensor"),
        (PIXELS.to_sparse, "has a sparse layout"),
        (lambda: np.ma.masked_array(LEVELS, LEVELS > 200), r"has \d+ masked values"),
        (at_its_end, r"its position is at its end, byte \d+; call seek\(0\)"),
        (closed_image, "it, or its file, was closed"),
    ],
    ids=["meta", "sparse", "masked", "at its end", "closed"],
)
def test_an_object_that_gives_no_pixels_is_refused_with_its_own_reason(source: Callable[[], Any], reason: str) -> None:
    with pytest.raises(BadImage, match=reason):
        editkit.open_image(source())
    with pytest.raises(BadImage, match=reason):
        editkit.read_mask(source(), (8, 6))
    assert np.array_equal(editkit.open_image(np.ma.masked_array(LEVELS)), LEVELS)  # type: ignore[no-untyped-call]


def test_a_file_object_keeps_its_position_and_is_the_source_of_several_edits() -> None:
    mask, file = io.BytesIO(), io.BytesIO(b"head" + png())
    Image.new("L", (8, 6), 255).save(mask, "PNG")
    mask.seek(0), file.seek(4)
    results = editkit.apply_all("img2img", [file, file], mask=mask, steps=1, seed=0, strength=0, model=ToyBackend())
    assert [np.array_equal(one.image, LEVELS) for one in results] == [True, True]
    assert (mask.tell(), file.tell()) == (0, 4)


def test_a_closed_standard_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(BadImage, match=r"image 'standard input' cannot be read: it is closed"):
        editkit.open_image("-")


def test_a_tensor_is_a_mask() -> None:
    marks = torch.zeros(1, 1, 6, 8)
    marks[..., :4] = 1
    levels, _ = editkit.read_mask(marks, (8, 6))
    assert np.array_equal(levels, marks[0, 0].numpy())


def test_a_result_is_an_image_with_all_its_levels() -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (16, 16, 3)).astype(np.uint16)
    first = editkit.img2img(deep, prompt="a", steps=1, seed=1, strength=0, model=ToyBackend())
    again = editkit.img2img(first, prompt="a", steps=1, seed=1, strength=0, model=ToyBackend(), mask=first)
    assert again.levels.dtype == np.uint16
    assert np.array_equal(editkit.open_image(first), first.image)


def test_results_of_several_frames_are_no_image() -> None:
    frames = editkit.interpolate(LEVELS, LEVELS, frames=3, steps=1, model=ToyBackend())
    with pytest.raises(BadImage, match="image is a result of 3 frames: pass one of its frames"):
        editkit.open_image(frames)


def test_a_function_returns_a_list_for_a_list_of_images() -> None:
    model = ToyBackend()
    images: list[Any] = [LEVELS, PIXELS / 255]
    results: Any = editkit.img2img(images, prompt="a", steps=1, seed=1, model=model)  # type: ignore[arg-type]
    assert [np.asarray(one.image).tolist() for one in results] == [np.asarray(results[0].image).tolist()] * 2
    with pytest.raises(InvalidParameter, match=r"img2img takes one image here: pass a list to editkit\.apply_all"):
        editkit.apply("img2img", images, prompt="a", model=model)


def test_a_function_returns_an_animation_for_an_animation() -> None:
    animation: Any = editkit.Animation.of([LEVELS, LEVELS[::-1]])
    edited = editkit.img2img(animation, prompt="a", steps=1, seed=1, model=ToyBackend())
    assert isinstance(edited, editkit.AnimationResult)


TARGETS = {"/file": "file:///etc/hostname", "/ftp": "ftp://127.0.0.1/", "/loop": "/loop", "/moved": "/a.png"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Server of one image, of redirections and of a body that is too long."""

    def do_GET(self) -> None:
        target = TARGETS.get(self.path)
        if target:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
            return
        data = png() if self.path in ("/a.png", "/short") else b"x" * 5000
        self.send_response(404 if self.path == "/missing" else 200)
        if self.path != "/endless":  # a body without a length
            self.send_header("Content-Length", str(len(data) + (10 if self.path == "/short" else 0)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{one.server_address[1]}"
        one.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("path", ["/a.png", "/moved"])
def test_an_address_is_opened_where_the_call_allows_it(server: str, path: str) -> None:
    assert np.array_equal(np.asarray(editkit.open_image(server + path, allow_urls=True)), LEVELS)


@pytest.mark.parametrize("parameter", ["image", "mask"])
def test_an_address_is_refused_by_every_other_call(server: str, parameter: str) -> None:
    given: Any = {"image": LEVELS, parameter: f"{server}/a.png"}
    with pytest.raises(BadImage, match=rf"{parameter} 'http.* is an address.* allow_urls=True"):
        editkit.apply("img2img", prompt="a", model=ToyBackend(), **given)


@pytest.mark.parametrize("uri", ["data:image/png;base64,iVBORw0KGgo=" + "A" * 5000, "data:,x"])
def test_a_data_uri_is_refused_with_the_call_that_decodes_it(uri: str) -> None:
    with pytest.raises(BadImage, match=r"image 'data:.{,40} is a data URI, and no file: pass its bytes, base64"):
        editkit.open_image(uri)


def test_an_address_is_refused_in_place_of_an_animation_and_of_a_recipe(server: str) -> None:
    for call in (editkit.open_animation, editkit.replay):
        with pytest.raises(EditkitError, match=r"'http.* is an address"):
            call(f"{server}/a.png")


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("{}/file", "file:///etc/hostname' is not allowed"),
        ("{}/ftp", "leads to 'ftp://127.0.0.1/', which is no http or https address"),
        ("{}/loop", "redirect"),
        ("{}/missing", "the server answers 404"),
        ("{}/short", "cut short|IncompleteRead"),
        ("{}/large", "is too large"),
        ("{}/endless", "is too large"),
        ("file:///etc/hostname", "is no http or https address"),
        ("ftp://127.0.0.1/a.png", "is no http or https address"),
        ("http://127.0.0.1:1/a.png", "cannot be read: "),
        ("http://[::1", "cannot be read: "),
    ],
)
def test_an_address_that_gives_no_image_is_refused_in_one_line(
    server: str, address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "MAX_BYTES", 4000)
    with pytest.raises(BadImage, match=reason) as caught:
        editkit.open_image(address.format(server), allow_urls=True)
    assert "\n" not in str(caught.value)


def test_no_redirection_leads_from_https_to_http() -> None:
    request = urllib.request.Request("https://127.0.0.1/a.png")
    follow = addresses._Redirects("image 'a'").redirect_request
    with pytest.raises(BadImage, match=r"leads from https to 'http://127\.0\.0\.1/a\.png'"):
        follow(request, io.BytesIO(), 302, "", None, "http://127.0.0.1/a.png")  # type: ignore[arg-type]


def test_an_image_is_opened_while_another_thread_imports_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert plain_source(LEVELS, "image") is LEVELS
