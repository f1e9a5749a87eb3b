"""The page in a real browser: paint with the mouse, edit, stop, wait, download, refill from the history."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from editkit.editing.recipe import read_recipe
from editkit.images.reading import open_stored

pytestmark = [pytest.mark.slow, pytest.mark.model]

PATIENCE = 60_000
"""Milliseconds that a busy machine may take for anything that is no limit of the page itself."""


class Tab:
    """A tab of the browser, driven as a user drives it."""

    def __init__(self, context: Any, address: str) -> None:
        self.page = context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.goto(address)
        self.page.get_by_label("Operation").wait_for()

    def open(self, name: str) -> None:
        self.page.get_by_label("Image of the folder").fill(name)
        self.page.get_by_label("Image of the folder").press("Enter")

    def open_image(self, name: str) -> None:
        self.open(name)
        self.page.locator(".ek-image").first.wait_for()

    def fill(self, **entries: str) -> None:
        for label, text in entries.items():
            self.page.get_by_label(label.replace("_", " ").capitalize(), exact=True).fill(text)
        self.page.keyboard.press("Tab")

    def paint(self, *places: tuple[float, float]) -> None:
        """Draw a stroke through places in shares of the image."""
        box = self.page.locator(".ek-canvas").bounding_box()
        points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in places]
        self.page.mouse.move(*points[0])
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*point, steps=4)
        self.page.mouse.up()
        self.page.locator(".ek-mask").first.wait_for()

    def click(self, name: str) -> None:
        self.page.get_by_role("button", name=name).click()

    def wait_for_status(self, text: str) -> None:
        self.page.locator(".ek-status", has_text=text).wait_for()

    def edits(self) -> int:
        return int(self.page.locator(".ek-history img").count())

    def edit(self) -> None:
        count = self.edits()
        self.click("Edit")
        self.page.locator(".ek-history img").nth(count).wait_for()

    def download(self) -> bytes:
        with self.page.expect_download() as download:
            self.page.get_by_text("Download", exact=True).click()
        return Path(download.value.path()).read_bytes()


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.requests = []
    context.on("request", lambda request: context.requests.append(request.url))
    yield context
    context.close()


@pytest.fixture(scope="module")
def edited(context: Any, address: str) -> Tab:
    """A tab with one painted edit."""
    tab = Tab(context, address)
    tab.open_image("deep.png")
    tab.paint((0.4, 0.4), (0.6, 0.5))
    tab.fill(prompt="a green apple", steps="4", seed="7")
    tab.edit()
    return tab


def test_a_painted_edit_keeps_every_level_outside_and_the_profile(edited: Tab, photos: Path) -> None:
    before, after = open_stored(photos / "deep.png"), open_stored(edited.download())
    assert after.depth == 16 and after.icc == before.icc and before.icc is not None
    changed = (before.levels != after.levels).any(axis=-1)
    rows, columns = np.nonzero(changed)
    assert changed.mean() > 0.01 and len(np.unique(after.levels[changed])) > 256
    assert rows.min() / 96 > 0.3 and rows.max() / 96 < 0.62 and columns.min() / 96 > 0.3 and columns.max() / 96 < 0.72
    assert "strokes:" in str(read_recipe(edited.download())[0].steps[0].specifications)
    report = edited.page.locator(".ek-figures").inner_text()
    assert "Largest difference outside the mask\n0" in report


def test_the_copied_command_and_python_give_the_same_file(
    edited: Tab, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from editkit.cli import main

    expected = open_stored(edited.download()).levels
    edited.click("Copy as command")
    words = shlex.split(edited.page.locator(".q-dialog code, .q-dialog pre").first.inner_text())
    edited.click("Close")
    assert words[0] == "editkit" and "--mask" in words
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    assert ended.value.code == 0
    output = Path(capsys.readouterr().out.strip())
    assert output.parent == photos and np.array_equal(open_stored(output).levels, expected)
    output.unlink()
    edited.click("Copy as Python")
    code = edited.page.locator(".q-dialog code, .q-dialog pre").first.inner_text()
    edited.click("Close")
    exec(compile(code, "copied", "exec"), {})
    assert np.array_equal(open_stored(output).levels, expected)


def test_stop_ends_an_edit_of_a_thousand_steps_before_the_last_one(edited: Tab) -> None:
    edited.fill(steps="1000", strength="1")
    count = edited.edits()
    edited.click("Edit")
    edited.page.locator(".ek-status", has_text="/1000").wait_for()
    edited.click("Stop")
    edited.wait_for_status("Stopped")
    share = float(edited.page.get_by_role("progressbar").get_attribute("aria-valuenow"))
    assert share < 1 and edited.edits() == count


def test_a_second_tab_waits_its_turn_and_sees_its_place(edited: Tab, context: Any, address: str) -> None:
    other = Tab(context, address)
    other.open_image("deep.png")
    other.fill(prompt="a red apple", steps="2")
    edited.fill(steps="1000", strength="1")
    count = edited.edits()
    edited.click("Edit")
    edited.page.locator(".ek-status", has_text="/1000").wait_for()
    other.click("Edit")
    other.wait_for_status("place 1")
    edited.click("Stop")
    other.page.locator(".ek-history img").first.wait_for()
    assert edited.edits() == count and other.edits() == 1
    other.page.close()


def test_the_history_refills_form_and_strokes_also_after_a_reload(edited: Tab) -> None:
    edited.page.reload()
    edited.page.locator(".ek-history img").first.wait_for()
    edited.click("Clear the mask")
    edited.page.locator(".ek-mask").first.wait_for(state="detached")
    edited.fill(prompt="something else", steps="9", seed="1")
    edited.page.reload()
    edited.page.locator(".ek-history img").first.wait_for()
    assert edited.page.get_by_label("Steps", exact=True).input_value() == "9"
    edited.page.get_by_role("button", name="History 1").click()
    edited.page.locator(".ek-mask").first.wait_for()
    for label, text in (("Prompt", "a green apple"), ("Steps", "4"), ("Seed", "7")):
        assert edited.page.get_by_label(label, exact=True).input_value() == text
    first = open_stored(edited.download()).levels
    edited.edit()
    assert np.array_equal(open_stored(edited.download()).levels, first)


def test_a_stroke_is_undone_and_no_field_with_it(edited: Tab) -> None:
    edited.click("Clear the mask")
    edited.page.locator(".ek-mask").wait_for(state="detached")
    edited.fill(prompt="a hat")
    edited.paint((0.1, 0.8), (0.3, 0.9))
    edited.page.keyboard.press("Control+z")
    edited.page.locator(".ek-mask").wait_for(state="detached")
    edited.page.keyboard.press("Control+Shift+z")
    edited.page.locator(".ek-mask").first.wait_for()
    edited.page.keyboard.press("Control+z")
    edited.page.locator(".ek-mask").wait_for(state="detached")
    assert edited.page.get_by_label("Prompt", exact=True).input_value() == "a hat"


_POINTERS = """(events) => {
    const canvas = document.querySelector(".ek-canvas"), box = canvas.getBoundingClientRect();
    for (const [name, pointerId, pointerType, isPrimary, at] of events) {
        const place = { clientX: box.x + at * box.width, clientY: box.y + at * box.height };
        canvas.dispatchEvent(new PointerEvent(name, { ...place, pointerId, pointerType, isPrimary, bubbles: true }));
    }
}"""


def test_two_fingers_are_no_stroke_and_a_hand_beside_a_pen_does_not_join_its_stroke(edited: Tab) -> None:
    def touch(*events: tuple[str, int, str, bool, float]) -> str:
        edited.page.evaluate(_POINTERS, [list(event) for event in events])
        edited.page.get_by_role("button", name="Hand").click()  # after the stroke, in order
        edited.page.locator(".ek-view").wait_for()
        shown = edited.page.locator(".ek-mask").count()
        edited.page.get_by_role("button", name="Paint").click()
        edited.page.locator(".ek-paint").wait_for()
        return "painted" if shown else "empty"

    if edited.page.locator(".ek-mask").count():  # by the tests before, of which this worker may have run none
        edited.click("Clear the mask")
        edited.page.locator(".ek-mask").wait_for(state="detached")
    finger, other = (2, "touch", True), (3, "touch", False)
    pen, palm = (4, "pen", True), (5, "touch", True)
    down, move, up = "pointerdown", "pointermove", "pointerup"
    fingers = [(down, *finger, 0.2), (down, *other, 0.8), (move, *finger, 0.3), (up, *other, 0.8), (up, *finger, 0.3)]
    assert touch(*fingers) == "empty"
    assert touch((down, *pen, 0.2), (down, *palm, 0.9), (up, *palm, 0.9)) == "empty"
    assert touch((up, *pen, 0.2)) == "painted"
    edited.click("Clear the mask")
    edited.page.locator(".ek-mask").wait_for(state="detached")


def test_problems_stand_at_their_fields_and_paths_outside_are_refused(edited: Tab) -> None:
    edited.fill(strength="3")
    edited.click("Edit")
    edited.page.get_by_text("less than or equal to 1").wait_for()
    edited.fill(strength="0.6")
    edited.open("../outside.png")
    edited.page.get_by_text("lies outside of the folder").wait_for()


def test_an_upload_and_a_mask_file_are_read_and_a_folder_is_edited(edited: Tab, photos: Path) -> None:
    small = photos / "small"
    small.mkdir()
    for number in range(2):
        Image.new("RGB", (48, 40), (200, 40 * number, 30)).save(small / f"{number}.png")
    data, mask = (small / "0.png").read_bytes(), io.BytesIO()
    Image.new("L", (48, 40), 255).save(mask, "PNG")
    file = {"name": "upload.png", "mimeType": "image/png", "buffer": data}
    edited.page.locator(".ek-upload input[type=file]").set_input_files(file)
    edited.page.wait_for_function("document.querySelector('.ek-stage').style.aspectRatio === '48 / 40'")
    masks = edited.page.locator(".ek-mask-file input[type=file]")
    masks.set_input_files({"name": "mask.txt", "mimeType": "text/plain", "buffer": b"text"})
    edited.page.get_by_text("it is not an image").wait_for()
    masks.set_input_files({**file, "buffer": mask.getvalue()})
    edited.page.get_by_text("marks the whole image").wait_for()
    edited.fill(steps="1")
    edited.page.get_by_role("tab", name="Batch").click()
    edited.page.get_by_label("Folder of images").fill("small")
    edited.click("Edit the folder")
    edited.wait_for_status("Done")
    edited.page.get_by_text("edited/1.png").wait_for()
    assert sorted(path.name for path in (photos / "edited").iterdir()) == ["0.png", "1.png"]


_HAND_OVER = """([event, argument, bytes]) => {
    const files = new DataTransfer();
    files.items.add(new File([new Uint8Array(bytes)], "no suffix"));
    const init = { bubbles: true, cancelable: true, [argument]: files };
    const made = event === "drop" ? new DragEvent(event, init) : new ClipboardEvent(event, init);
    document.querySelector(".ek-stage").dispatchEvent(made);
}"""


@pytest.mark.parametrize(
    ("event", "argument", "size"), [("drop", "dataTransfer", (10, 2000)), ("paste", "clipboardData", (2000, 10))]
)
def test_an_image_is_dropped_or_pasted_and_a_very_long_one_can_be_painted(
    context: Any, address: str, event: str, argument: str, size: tuple[int, int]
) -> None:
    tab, data = Tab(context, address), io.BytesIO()
    Image.new("RGB", size).save(data, "PNG")
    tab.page.evaluate(_HAND_OVER, [event, argument, list(data.getvalue())])
    tab.page.wait_for_function(f"document.querySelector('.ek-stage').style.aspectRatio === '{size[0]} / {size[1]}'")
    seen, stage = (tab.page.locator(name).first.bounding_box() for name in (".ek-scroll", ".ek-canvas"))
    assert seen["height"] <= 0.85 * 900 and min(stage["width"], stage["height"]) >= 48
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.page.mouse.click(stage["x"] + 20, stage["y"] + 24)
    tab.page.locator(".ek-mask").wait_for()
    tab.page.close()


def test_the_page_asks_no_other_host(edited: Tab, context: Any, address: str) -> None:
    assert edited.edits() > 0
    others = {url for url in context.requests if not url.startswith((address, "data:", "blob:"))}
    assert len(context.requests) > 20 and not others
