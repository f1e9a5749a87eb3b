"""Laws of framing: the subject is found where it stands, and its edit moves with it."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage.data import chelsea
from torch import Tensor
from torch.nn import functional

import editkit
from editkit import Result
from editkit.editing.framing.cutting import cut_out
from editkit.editing.framing.extent import place_by_extent
from editkit.editing.framing.following import FollowedSubject
from editkit.editing.framing.frame import Framing
from editkit.editing.framing.ground import Standing, smooth_ground
from editkit.editing.framing.opaque import unexplained_beside
from editkit.editing.framing.placing import cuts, hold, place_by_outline
from editkit.editing.framing.registration import Placement, place_template, refine, whole_image
from editkit.editing.outcome import PixelEdit
from editkit.images.metrics import psnr
from editkit.images.tensors import to_tensor
from editkit.report import Usage
from editkit.testing import ToyBackend

SAMPLES = Path(__file__).parents[1] / "pictures"
APPLE = SAMPLES / "noto-red-apple.png"
WHITE, BLUE = (255, 255, 255), (30, 80, 190)
GRADIENT = Image.fromarray(np.linspace((30, 80, 190), (240, 200, 120), 64).astype(np.uint8)[None].repeat(64, 0))
PHOTOGRAPH = Image.fromarray(chelsea()[:300, :300]).resize((64, 64), Image.Resampling.LANCZOS)
Ground = tuple[int, int, int] | Image.Image


def subject(side: int, *, seed: int = 0) -> Tensor:
    """A random subject (3, side, side) that is not symmetric, as a difference to its ground, 0 at its border."""
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) - 0.5
    coarse = functional.pad(coarse, (1, 1, 1, 1))
    return functional.interpolate(coarse, (side, side), mode="bilinear", align_corners=True)[0]


def test_the_region_of_a_subject_moves_with_it_by_whole_pixels() -> None:
    def frame(left: int, top: int) -> Tensor:
        image = torch.ones(1, 3, 70, 90)
        image[:, :, 20 + top : 52 + top, 30 + left : 62 + left] += subject(32)
        return image

    following, first = FollowedSubject(), Placement(24, 14, 44, mirrored=False, cost=0.5)
    assert following.place(frame(0, 0)[0] - 1, first) == first
    for left, top in ((0, 0), (7, -5), (-20, 11), (28, 0)):
        found = following.place(frame(left, top)[0] - 1, whole_image(frame(0, 0)[0] - 1, subject(64)))
        assert found is not None and found[:4] == (24 + left, 14 + top, 44, False)
    other = torch.zeros(3, 70, 90)
    other[:, 30:50, 40:70] = -1
    assert following.place(other, None) is None
    assert following.place(None, first) == first


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(("left", "top"), [(0, 0), (7, 12), (-9, 5), (30, -8)])
def test_template_is_found_where_it_lies(left: int, top: int, mirrored: bool) -> None:
    template, wide = subject(64), torch.zeros(3, 248, 264)
    wide[:, 100 + top : 164 + top, 100 + left : 164 + left] = template.flip(-1) if mirrored else template
    image = wide[:, 100:148, 100:164]
    placement = place_template(image, template)
    assert placement[:4] == (left, top, 64, mirrored)
    assert placement.cost < whole_image(image, template).cost


@pytest.mark.parametrize("side", range(40, 56))
def test_a_placement_is_refined_to_the_pixel(side: int) -> None:
    template, image = subject(64), torch.zeros(3, 64, 64)
    image[:, 5 : 5 + side, 3 : 3 + side] = functional.interpolate(template[None], (side, side), mode="area")[0]
    assert refine(image, template, place_template(image, template))[:4] == (3, 5, side, False)


@pytest.mark.parametrize("places", [[], [(20, 140)], [(20, 140), (150, 30)]], ids=["none", "one", "two"])
def test_a_small_subject_on_a_photograph_is_found_and_another_one_named(places: list[tuple[int, int]]) -> None:
    apple, side = Image.open(APPLE).convert("RGB"), 66
    photograph = Image.fromarray(chelsea()[:256, :256])
    for place in places:
        small = apple.resize((side, side), Image.Resampling.LANCZOS)
        photograph.paste(small, place, ImageOps.invert(small.convert("L")).point(lambda level: 255 * (level > 8)))
    template = to_tensor(apple.resize((64, 64)))[0] - 1
    found = place_by_outline(to_tensor(photograph), None, template, torch.ones(3, 1, 1))
    assert (found.placement is not None, found.more) == (bool(places), len(places) > 1)
    if found.placement is not None:
        left, top, width, _, _ = found.placement
        distances = [max(abs(left - x), abs(top - y), abs(width - side)) for x, y in places]
        assert min(distances) <= 4


def test_a_shape_that_continues_beside_its_outline_is_not_explained() -> None:
    outline, shown = torch.zeros(1, 32, 32), torch.full((3, 32, 32), 0.9)
    outline[:, 8:24, 8:24] = 1
    place = Placement(20, 10, 32, mirrored=False, cost=0.0)
    plain, framed = torch.full((1, 3, 64, 64), 0.85), torch.full((1, 3, 64, 64), 0.2)
    framed[..., 18:34, 28:44] = 0.85
    assert unexplained_beside(plain, shown, outline, place) > 1
    assert unexplained_beside(framed, shown, outline, place) < 0.05
    assert (
        unexplained_beside(framed[..., 10:42, 20:52], shown, torch.ones(1, 32, 32), place._replace(left=0, top=0)) == 0
    )


def test_a_border_through_the_subject_cuts_it() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:50, 10:40] = True
    assert not cuts(mask, Placement(5, 5, 50, False, 0.1))
    assert cuts(mask, Placement(5, 5, 30, False, 0.1))
    assert not cuts(mask, Placement(-10, -10, 90, False, 0.1))
    other = mask.clone()
    other[:, 60:] = True  # another subject beside it
    assert not cuts(other, Placement(5, 5, 50, False, 0.1))


def test_a_placement_is_moved_and_enlarged_a_little_to_hold_its_subject() -> None:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[10:50, 10:40] = True
    mask[60:62, 60:62] = True  # a speck of something else
    assert hold(mask, Placement(5, 5, 50, False, 0.1))[:3] == (5, 5, 50)
    assert hold(mask, Placement(12, 8, 40, False, 0.1))[:3] == (10, 10, 40)
    assert hold(mask, Placement(8, 11, 38, False, 0.1))[:3] == (8, 10, 40)
    assert hold(mask, Placement(5, 5, 30, False, 0.1))[:3] == (5, 5, 30)


def test_template_of_another_subject_explains_nothing() -> None:
    assert place_template(subject(64), -subject(64)).cost > 0.8


def test_matte_and_ground_tell_subject_from_ground() -> None:
    image = framed(BLUE, 40, (12, 9))
    pixels = to_tensor(image)[0]
    standing = Standing.of(pixels[None], torch.ones(3, 1, 1))
    assert standing is not None and not standing.on_model_ground
    torch.testing.assert_close(standing.ground[:, 0, 0], torch.tensor(BLUE) / 255, rtol=0, atol=1e-6)
    shares = standing.subject[0, 0]
    assert float(shares[:8].max()) == 0 and float(shares[29, 32]) == 1


def test_a_smooth_ground_is_found_beside_a_subject_that_crosses_the_border() -> None:
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 60), torch.linspace(-1, 1, 80), indexing="ij")
    surface = torch.stack([0.5 + 0.2 * rows - 0.1 * columns**2, 0.4 - 0.2 * rows * columns, 0.6 - 0.3 * rows**2])
    pixels = surface.clone()
    pixels[:, 35:, 20:45] = torch.tensor([0.1, 0.9, 0.1])[:, None, None]
    ground = smooth_ground(pixels)
    assert ground is not None
    torch.testing.assert_close(ground, surface, rtol=0, atol=0.01)
    assert smooth_ground(to_tensor(PHOTOGRAPH)[0]) is None


def test_a_subject_is_cut_out_along_its_edges_and_not_along_a_coarse_outline() -> None:
    pixels, disc = to_tensor(PHOTOGRAPH.resize((128, 128))), torch.zeros(64, 64)
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc[(rows - 32) ** 2 + (columns - 32) ** 2 < 24**2] = 1
    place = Placement(40, 30, 64, mirrored=False, cost=0.1)
    pixels[0, :, 30:94, 40:104] = torch.where(
        disc > 0, torch.tensor([0.1, 0.7, 0.9])[:, None, None], pixels[0, :, 30:94, 40:104]
    )
    coarse = torch.zeros(64, 64)
    coarse[(rows - 33) ** 2 + (columns - 31) ** 2 < 23**2] = 1
    cut = cut_out(pixels, place, coarse[None])
    assert float((cut[0, 0, 30:94, 40:104] - disc).abs().sum()) < 0.3 * float((coarse - disc).abs().sum())
    cut[0, 0, 30:94, 40:104] = 0
    assert not cut.any()


def framed(ground: Ground, side: int, corner: tuple[int, int], *, size: int = 64) -> Image.Image:
    """The apple on a ground, on transparent white at a size and place."""
    apple = Image.open(APPLE).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    opacity = 255 - np.asarray(apple).min(axis=2)
    alpha = Image.fromarray(np.clip(opacity.astype(int) * 4, 0, 255).astype(np.uint8))
    plain = isinstance(ground, tuple)
    canvas = Image.new("RGB", (size, size), ground) if plain else ground.resize((size, size), Image.Resampling.BICUBIC)
    canvas.paste(apple, corner, alpha)
    return canvas


def edit(image: Image.Image, **options: object) -> Result:
    arguments = {"source": "noto red apple", "target": "noto green apple", "seed": 0, "steps": 4} | options
    return editkit.apply("prompt-edit", image, **arguments)


@pytest.mark.model
@pytest.mark.parametrize(
    ("ground", "side", "corner"),
    [
        (WHITE, 36, (4, 24)),
        (WHITE, 64, (9, -7)),
        (BLUE, 40, (12, 9)),
        (GRADIENT, 40, (12, 9)),
        (PHOTOGRAPH, 36, (20, 12)),
    ],
    ids=lambda value: "image" if isinstance(value, Image.Image) else str(value),
)
def test_edit_of_a_moved_subject_is_the_moved_edit(ground: Ground, side: int, corner: tuple[int, int]) -> None:
    """The visible part is compared with the edit of the subject in the model's own frame."""
    to_tomato = functools.partial(edit, target="noto tomato")
    left, top, right, bottom = (max(0, corner[0]), max(0, corner[1]), *(min(64, at + side) for at in corner))
    own = on_white(to_tomato(framed(WHITE, 64, (0, 0)))).resize((side, side), Image.Resampling.LANCZOS)
    own_part = to_tensor(own.crop((left - corner[0], top - corner[1], right - corner[0], bottom - corner[1])))
    inside = (own_part.amin(1, keepdim=True) < 0.5).expand_as(own_part)  # its rim mixes with the ground

    def agreement(result: Result) -> float:
        return psnr(to_tensor(on_white(result).crop((left, top, right, bottom)))[inside], own_part[inside])

    result = to_tomato(framed(ground, side, corner))
    assert result.report.frame is not None and abs(result.report.frame["side"] - side) <= 4
    assert agreement(result) > max(20, agreement(to_tomato(framed(ground, side, corner), frame="off")) + 1)


@pytest.mark.model
@pytest.mark.parametrize("ground", [WHITE, BLUE])
def test_a_small_subject_of_a_large_image_and_one_of_many_are_edited_as_in_the_frame(
    ground: tuple[int, int, int],
) -> None:
    """Each is a small share of the image: of its side, or of all that stands on the ground."""
    own = on_white(edit(framed(WHITE, 64, (0, 0))))
    large = framed(ground, 64, (150, 70), size=420)
    row = Image.new("RGB", (5 * 70, 80), ground)
    for place in range(5):
        row.paste(framed(ground, 64, (0, 0)), (70 * place + 3, 9))
    for image, corner in ((large, (150, 70)), (row, None)):
        result = edit(image)
        assert result.report.frame is not None and abs(result.report.frame["side"] - 64) <= 4
        left, top = corner or ((result.report.frame["left"] // 70) * 70 + 3, 9)
        inside = (to_tensor(own).amin(1, keepdim=True) < 0.5).expand(-1, 3, -1, -1)
        part = to_tensor(on_white(result).crop((left, top, left + 64, top + 64)))
        assert psnr(part[inside], to_tensor(own)[inside]) > 20
        changed = np.any(np.asarray(result.image) != np.asarray(image), axis=2)
        changed[max(0, top - 8) : top + 72, max(0, left - 8) : left + 72] = False
        assert not changed.any()


@pytest.mark.model
def test_an_image_without_the_subject_of_the_source_prompt_is_named() -> None:
    image = Image.open(SAMPLES / "gradient-man-playing-handball.png").convert("RGB")
    assert "frame=auto finds no subject as emoji draws it" in edit(image).report.warnings[0]
    assert not any("frame=auto" in one for one in edit(image, frame="off").report.warnings)


def on_white(result: Result) -> Image.Image:
    return editkit.on_white(result.image)


class _Session:
    """The parts of a session that laying an edit back uses."""

    def __init__(self, pixels: Tensor, mask: Tensor | None = None) -> None:
        self.pixels, self.mask, self.usage = pixels, mask, Usage()


@pytest.mark.parametrize(
    ("painted", "place", "marked", "warned"),
    [
        ((slice(None), slice(None)), (10, 10, 30), None, True),
        ((slice(None), slice(0, 2)), (10, 10, 30), None, True),
        ((slice(2, -2), slice(2, -2)), (10, 10, 30), None, False),
        ((slice(0, 12), slice(None)), (0, 10, 64), None, True),
        ((slice(None), slice(None)), (-10, -10, 90), None, False),
        ((slice(None), slice(None)), (10, 10, 30), (slice(15, 35), slice(15, 35)), False),
    ],
    ids=["all", "one side", "inside", "wide", "beyond the image", "masked"],
)
def test_a_change_that_is_cut_off_at_the_border_of_its_square_is_named(
    painted: tuple[slice, slice], place: tuple[int, int, int], marked: tuple[slice, slice] | None, warned: bool
) -> None:
    mask = None
    if marked:
        mask = torch.zeros(1, 1, 64, 64)
        mask[0, 0, marked[0], marked[1]] = 1
    session, side = _Session(torch.ones(1, 3, 64, 64), mask), place[2]
    region = _Session(torch.ones(1, 3, side, side))
    session.model = region.model = ToyBackend(native_size=64)  # type: ignore[attr-defined]
    framing = Framing(session, region, Placement(*place, False, 0.0), torch.ones(3, 1, 1), None)  # type: ignore[arg-type]
    after = region.pixels.clone()
    after[0, :, painted[0], painted[1]] = 0.4
    framing.lay_back(PixelEdit(after))
    assert any("ends there in an edge" in text for text in session.usage.warnings) == warned


@pytest.mark.model
def test_image_in_the_frame_is_edited_as_it_stands() -> None:
    image = Image.open(APPLE).convert("RGB")
    auto, off = edit(image), edit(image, frame="off")
    assert auto.report.frame is None
    assert auto.image.tobytes() == off.image.tobytes()


@pytest.mark.model
@pytest.mark.parametrize("ground", [WHITE, BLUE, GRADIENT, PHOTOGRAPH], ids=["white", "blue", "gradient", "photograph"])
def test_framed_edit_without_a_change_returns_the_source(ground: Ground) -> None:
    image = framed(ground, 36, (4, 24), size=96)
    result = edit(image, target="noto red apple")
    assert result.report.frame is not None
    assert result.image.tobytes() == image.tobytes()


@pytest.mark.model
@pytest.mark.parametrize("operation", ["prompt-edit", "flow-edit", "uni-edit"])
def test_strength_0_returns_the_source_whether_it_is_framed_or_not(operation: str) -> None:
    for image in (Image.open(APPLE).convert("RGB"), framed(WHITE, 36, (4, 24), size=96)):
        prompts = {"source": "noto red apple", "target": "noto green apple"}
        assert editkit.apply(operation, image, steps=2, strength=0, **prompts).image.tobytes() == image.tobytes()


@pytest.mark.model
def test_mask_holds_in_a_framed_edit() -> None:
    image = framed(WHITE, 36, (4, 24))
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (0, 0, 22, 64))
    result = edit(image, mask=mask)
    assert result.report.frame is not None and result.report.untouched_max_diff == 0
    assert result.image.tobytes() != image.tobytes()


@pytest.mark.parametrize("marked", [(0, 0, 45, 64), (10, 20, 14, 24), (0, 0, 128, 64)], ids=str)
def test_a_mask_chooses_among_equal_subjects(marked: tuple[int, int, int, int]) -> None:
    template, image = subject(40), torch.zeros(3, 64, 128)
    image[:, 12:52, 4:44], image[:, 12:52, 80:120] = 0.98 * template, template
    mask = torch.zeros(1, 64, 128)
    mask[:, marked[1] : marked[3], marked[0] : marked[2]] = 1
    assert place_template(image, template).left > 70
    assert (place_template(image, template, mask).left > 70) == bool(mask.all())


@pytest.mark.model
@pytest.mark.parametrize("ground", [WHITE, GRADIENT], ids=["white", "gradient"])
def test_the_subject_under_the_mask_is_edited_and_others_are_named(ground: Ground) -> None:
    image = Image.new("RGB", (128, 64), ground) if isinstance(ground, tuple) else ground.resize((128, 64))
    for left in (4, 72):
        image.paste(framed(image.crop((left, 8, left + 48, 56)), 48, (0, 0), size=48), (left, 8))
    changed = {}
    for name, box in (("left", (0, 0, 60, 64)), ("right", (68, 0, 128, 64))):
        mask = Image.new("L", image.size, 0)
        mask.paste(255, box)
        result = edit(image, mask=mask)
        changed[name] = np.any(np.asarray(result.image) != np.asarray(image), axis=2)[:, box[0] : box[2]]
        assert changed[name].mean() > 0.2 and result.report.warnings == ()
    whole = edit(image)
    assert "frame=auto edits one subject" in whole.report.warnings[0]
    assert whole.report.frame is not None and not any(
        "frame=auto" in one for one in edit(image, frame="off").report.warnings
    )


@pytest.mark.model
def test_an_edit_that_changes_no_pixel_says_so() -> None:
    image = framed(WHITE, 36, (4, 24), size=64).convert("RGBA")
    image.putalpha(Image.fromarray(np.where(np.asarray(image)[..., :3].min(2) < 250, 255, 0).astype(np.uint8)))
    mask = Image.new("L", image.size, 0)
    mask.paste(255, (56, 2, 60, 6))
    result = edit(image, mask=mask)
    assert (
        result.image.tobytes() == image.tobytes()
        and "the edit changes no pixel under the mask" in result.report.warnings[-1]
    )
    equal = edit(image, target="noto red apple")
    assert len(equal.report.warnings) == 1 and "asks for no change" in equal.report.warnings[0]


@pytest.mark.model
def test_mirrored_subject_is_edited_as_its_mirror_image() -> None:
    image = Image.open(SAMPLES / "gradient-man-playing-handball.png").convert("RGB")
    prompts = {"source": "gradient man playing handball", "target": "gradient woman playing handball"}
    result = edit(ImageOps.mirror(image), **prompts)
    assert result.report.frame == {"left": 0, "top": 0, "side": 64, "mirrored": 1}
    own = np.asarray(ImageOps.mirror(on_white(edit(image, **prompts))), dtype=int)
    assert np.abs(np.asarray(on_white(result)) - own).max() <= 1  # levels


def place(
    left: int, top: int, right: int, bottom: int, *, size: tuple[int, int] = (200, 200)
) -> tuple[int, ...] | None:
    """Left, top and side of the placement of a box on white, whose frame holds subjects of 0.9 of its side."""
    pixels = torch.ones(1, 3, size[1], size[0])
    pixels[..., max(0, top) : bottom, max(0, left) : right] = 0.2
    standing = Standing.of(pixels, torch.ones(3, 1, 1))
    assert standing is not None
    found = place_by_extent(standing, None, 0.9, keep_whole=False).placement
    return None if found is None else found[:3]


def test_a_subject_without_a_prompt_is_placed_by_its_size_and_its_centre() -> None:
    assert place(10, 10, 190, 190) is place(12, 4, 182, 196) is None  # in the frame
    assert place(60, 20, 105, 65) == (57, 17, 50) and place(70, 27, 115, 72) == (67, 24, 50)
    assert place(1000, 700, 1090, 790, size=(1600, 900)) == (995, 695, 100)
    # The border may hide 20 of 180 pixels, of which half count: the centre is at 125, between 120 and 130.
    assert place(40, 10, 220, 190) == (25, 0, 200)


def instruct(image: Image.Image, **options: object) -> Result:
    return editkit.apply("instruct", image, instruction="make it green", seed=0, **options)


@pytest.mark.model
@pytest.mark.parametrize(("side", "corner", "size"), [(36, (14, 20), 64), (90, (150, 70), 420)], ids=str)
def test_an_instruction_edits_a_moved_subject_as_the_square_around_it(
    side: int, corner: tuple[int, int], size: int
) -> None:
    image = framed(WHITE, side, corner, size=size)
    result = instruct(image)
    frame = result.report.frame
    assert frame is not None and abs(frame["side"] - side) <= 8
    box = (frame["left"], frame["top"], frame["left"] + frame["side"], frame["top"] + frame["side"])
    own = np.asarray(on_white(instruct(image.crop(box), frame="off")), dtype=int)
    difference = np.abs(np.asarray(on_white(result).crop(box)) - own)
    assert np.percentile(difference, 99) <= 3 and difference.mean() < 0.5  # levels
    changed = np.any(np.asarray(result.image) != np.asarray(image), axis=2)
    changed[box[1] : box[3], box[0] : box[2]] = False
    assert not changed.any()


@pytest.mark.model
def test_an_instruction_in_the_frame_is_as_without_and_several_or_no_subjects_are_named() -> None:
    image = Image.open(APPLE).convert("RGB")
    assert instruct(image).image.tobytes() == instruct(image, frame="off").image.tobytes()
    two = Image.new("RGB", (140, 64), WHITE)
    two.paste(image, (0, 0))
    two.paste(image, (76, 0))
    assert "the image shows several things, which emoji-instruct takes for one" in instruct(two).report.warnings[0]
    mask = Image.new("L", two.size, 0)
    mask.paste(255, (72, 0, 140, 64))
    chosen = instruct(two, mask=mask)
    assert chosen.report.frame is not None and chosen.report.frame["left"] >= 70 and not chosen.report.warnings
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    assert "frame=auto finds no plain ground" in instruct(noise).report.warnings[0]


@pytest.mark.model
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_map_of_a_controlnet_is_framed_with_the_image(tmp_path: Path, mirrored: bool) -> None:
    def edited(image: Image.Image, edges: Image.Image, **options: object) -> Result:
        edges.save(tmp_path / "map.png")
        return edit(image, attach=[f"controlnet:image={tmp_path / 'map.png'},scale=2"], cache=False, **options)

    def turned(image: Image.Image) -> Image.Image:
        return ImageOps.mirror(image) if mirrored else image

    prompts = {"source": "gradient man playing handball", "target": "gradient woman playing handball"}
    man, edges = Image.open(SAMPLES / "gradient-man-playing-handball.png").convert("RGB"), Image.new("L", (64, 64))
    edges.paste(255, (8, 20, 30, 24))
    own = np.asarray(on_white(edited(man, edges, **prompts)), dtype=int)
    wide, wide_edges = Image.new("RGB", (100, 90), WHITE), Image.new("L", (100, 90))
    wide.paste(turned(man), (20, 14))
    wide_edges.paste(turned(edges), (20, 14))
    result = edited(wide, wide_edges, **prompts)
    assert result.report.frame == {"left": 20, "top": 14, "side": 64, "mirrored": int(mirrored)}
    found = np.asarray(turned(on_white(result).crop((20, 14, 84, 78))), dtype=int)
    assert np.abs(found - own).max() <= 1  # levels
    with pytest.raises(editkit.InvalidParameter, match="has 64 x 64 pixels, and the image has 100 x 90"):
        edited(wide, edges, **prompts)
