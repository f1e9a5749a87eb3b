"""Laws of what an edit keeps of its source: everything at strength 0, nothing where sampling starts from noise."""

from __future__ import annotations

import logging
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import editkit
from editkit import Edit, Point, RectifiedFlow, Session, make_path, paint, start_at
from editkit.diffusion.points import detail_share
from editkit.editing.opening import open_session
from editkit.editing.request import prepare
from editkit.images.blending.pull_push_fill import erase
from editkit.registry.registry import installed
from editkit.sampling.kept_detail import kept_detail
from editkit.testing import ToyBackend
from editkit.testing.suite import sample_image

LOG = logging.getLogger(__name__)
LEFT = 0.03
"""Largest share of the contrast of erased text that a result may show."""
FLOW = RectifiedFlow()


def page(side: int, *, text: bool) -> Image.Image:
    """A white page with a red line, and text inside the box of :func:`middle`."""
    image = Image.new("RGB", (side, side), (250, 246, 236))
    draw = ImageDraw.Draw(image)
    draw.rectangle((side * 0.05, side * 0.04, side * 0.95, side * 0.12), fill=(200, 60, 40))
    if text:
        font = ImageFont.load_default(max(8, side // 16))
        for row in range(5):
            draw.text((side * 0.2, side * (0.3 + 0.1 * row)), "ERASE ME", fill=(20, 20, 30), font=font)
    return image


def middle(side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    mask.paste(255, tuple(round(side * edge) for edge in (0.15, 0.25, 0.9, 0.9)))
    return mask


def pair(side: int, operation: str, **params: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grey levels of the results of both pages, and the difference of the pages."""
    pages = [page(side, text=text) for text in (True, False)]
    results = (editkit.apply(operation, source, steps=6, seed=0, cache=False, **params).image for source in pages)
    with_text, without, first, second = (np.asarray(image.convert("L"), float) for image in (*results, *pages))
    return with_text, without, first - second


class TestShare:
    """The share of detail at a point, and under a change map."""

    def test_little_noise_keeps_nearly_all_detail(self) -> None:
        assert all(detail_share(point) > 0.99 for point in (Point(1.0, 0.0), Point(0.9, 0.1), Point(0.7, 0.3)))

    def test_the_share_of_detail_falls_from_one_to_zero(self) -> None:
        shares = [detail_share(point) for point in make_path(FLOW, 20, editkit.TimestepGrid("trailing"), to_zero=True)]
        assert shares[0] == 0
        assert shares[-1] == 1
        assert all(one < other for one, other in pairwise(shares))

    def test_each_value_of_a_change_map_keeps_by_its_own_start(self) -> None:
        path = make_path(FLOW, 5, editkit.TimestepGrid("trailing"), to_zero=True)[1:]
        shares = [detail_share(point) for point in path[::-1]]
        change = torch.tensor([0, 0.25, 0.5, 0.75, 1])
        for from_noise, whole in ((False, shares[-1]), (True, 0.0)):
            kept = kept_detail(change, path, from_noise=from_noise)
            assert torch.allclose(kept, torch.tensor([*shares[:-1], whole]), rtol=0, atol=1e-6)
        assert shares[-1] > 0


def test_an_erased_pixel_depends_on_kept_ones_alone() -> None:
    mask = torch.zeros(1, 1, 20, 30)
    mask[..., 5:15, 8:30] = 1
    mask[..., 5:7, 8:12] = 0.5
    first, second = torch.rand((2, 1, 3, 20, 30), generator=torch.Generator().manual_seed(0))
    second = torch.where(mask < 1, first, second)
    assert torch.equal(erase(first, mask), erase(second, mask))
    assert torch.equal(torch.where(mask < 1, erase(first, mask), 0), torch.where(mask < 1, first, 0))


@pytest.mark.parametrize(
    ("operation", "params"),
    [
        ("inpaint", {}),
        ("inpaint", {"context": 0.3}),
        ("inpaint", {"feather": 5.0}),
        ("inpaint", {"sampler": "euler-a", "resample": 2}),
        ("img2img", {"strength": 1.0}),
    ],
)
def test_two_sources_that_differ_under_the_mask_give_equal_pixels(
    tiny_model: editkit.Backend, operation: str, params: dict[str, Any]
) -> None:
    size = (60, 44)
    mask = Image.new("L", size)
    mask.paste(255, (17, 9, 49, 33))
    marked = np.asarray(mask) > 0
    if "feather" in params:
        marked[:16] = marked[26:] = marked[:, :24] = marked[:, 42:] = False
    one, other = (np.asarray(sample_image(size, seed=seed)) for seed in (0, 1))
    other = np.where(marked[..., None], other, one)
    first, second = (
        np.asarray(editkit.apply(operation, image, model=tiny_model, mask=mask, steps=3, seed=0, **params).image)
        for image in (one, other)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(one, other)


def test_two_sources_give_equal_pixels_at_strength_1() -> None:
    model = ToyBackend(schedule=FLOW)
    first, second = (
        editkit.apply("img2img", sample_image((50, 40), seed=seed), model=model, strength=1.0, steps=4, seed=0).image
        for seed in (0, 1)
    )
    assert np.array_equal(np.asarray(first), np.asarray(second))


def session_of(operation: str, image: Image.Image, model: editkit.Backend, **params: Any) -> Session:
    return open_session(installed(), prepare(installed(), operation, image, {"seed": 0, **params}), model, None, False)


def test_an_operation_that_names_no_share_keeps_what_its_noise_leaves() -> None:
    """A stranger's operation: it passes the source's latents as the outcome of no edit, whatever it starts from."""
    shares = []
    for strength in (0.25, 0.5, 0.75, 1.0):
        session = session_of("img2img", sample_image((40, 40)), ToyBackend(schedule=FLOW), steps=4)
        path = start_at(session.schedule, session.drawing_path(4), strength)
        with torch.no_grad():
            session.draw(session.noise(), path, session.embed("red"))
        shares.append(float(session.kept))
    assert shares[-1] == 0
    assert all(one > other for one, other in pairwise(shares))


def test_an_operation_with_a_loop_of_its_own_keeps_what_its_noise_leaves() -> None:
    session = session_of("img2img", sample_image((40, 40)), ToyBackend(schedule=FLOW), steps=4)
    assert session.kept == 1
    with torch.no_grad():
        session.network(session.noise(), Point(0.0, 1.0), session.embed("red"))
        session.network(session.noise(), Point(0.5, 0.5), session.embed("red"))
    assert session.kept == 0


@pytest.mark.model
@pytest.mark.parametrize(
    ("side", "operation", "params"),
    [
        (64, "inpaint", {}),
        (256, "inpaint", {}),
        (256, "inpaint", {"context": 0.2}),
        (256, "inpaint", {"feather": 8.0}),
        (256, "img2img", {"strength": 1.0}),
        (256, "control", {"control_image": Image.new("L", (256, 256))}),
        pytest.param(512, "inpaint", {}, marks=pytest.mark.slow),
        pytest.param(1024, "inpaint", {}, marks=pytest.mark.slow),
        pytest.param(1024, "img2img", {"strength": 1.0}, marks=pytest.mark.slow),
    ],
)
def test_erased_text_is_gone(side: int, operation: str, params: dict[str, Any]) -> None:
    mask = {"mask": middle(side)} if operation == "inpaint" else {}
    first, second, text = pair(side, operation, prompt="noto white square", **mask, **params)
    left = float(((first - second) * text).sum() / np.square(text).sum())
    LOG.info("%s %d px: %.2f %% of the contrast left", operation, side, 100 * left)
    assert abs(left) <= LEFT


def photograph(side: int) -> Image.Image:
    """Smooth shapes under fine grain, as a photograph has, in place of a file."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(60, 200, (8, 8, 3), dtype=np.uint8)).resize((side, side), 3)
    return Image.fromarray(np.clip(np.asarray(coarse) + random.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8))


def sharpness(pixels: Tensor) -> float:
    return float(pixels.diff(dim=-1).abs().mean())


@pytest.mark.model
@pytest.mark.slow
def test_a_low_strength_keeps_the_sharpness_of_a_large_photograph() -> None:
    session = session_of("img2img", photograph(1024), editkit.load_model("emoji"), strength=0.3, steps=10)
    with torch.no_grad():
        edit: Edit = installed().load("operations", "img2img")(session, session.params)
        now = paint(session, edit)
        everything = paint(session, Edit(edit.latents, reconstructed=edit.reconstructed, kept=1.0))
    share = sharpness(now) / sharpness(everything)
    LOG.info("img2img --strength 0.3, 1024 px: %.1f %% of the sharpness with all detail kept", 100 * share)
    assert share >= 0.9


@pytest.mark.parametrize(("strength", "decoded"), [(1.0, 1), (0.5, 2)])
def test_the_autoencoders_source_is_decoded_only_where_detail_is_kept(
    strength: float, decoded: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit that starts from noise everywhere equals its decoded latents, to which nothing is added."""
    model, images = ToyBackend(), []
    decode = model.decode

    def count(latents: Tensor) -> Tensor:
        images.extend(latents)
        return decode(latents)

    monkeypatch.setattr(model, "decode", count)
    result = editkit.apply("img2img", sample_image((16, 16)), model=model, prompt="a hat", strength=strength, steps=4)
    assert len(images) == decoded
    if strength == 1.0:
        levels = np.asarray(result.image.convert("RGB")).astype(int)
        pixels = decode(result.latents)[0].permute(1, 2, 0).numpy() * 255
        assert np.abs(levels - pixels).max() <= 0.5 + 1e-3
