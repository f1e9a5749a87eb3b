"""Make ``samples/web.png`` and ``samples/web-phone.png``: the page of ``editkit web`` after an edit, by a real browser.

    .venv/bin/python samples/make_web_pages.py

Chromium has to be installed: ``apt-get install chromium``.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

SAMPLES = Path(__file__).parent
PAGES = (("web.png", (1280, 860), "light"), ("web-phone.png", (390, 844), "dark"))
"""File, width and height in pixels, and colours of each page."""
GAP = 16
COLOURS = 128


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the page of a folder and give its address."""
    command = [sys.executable, "-m", "editkit", "web", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        yield server.stderr.readline().split()[0]
    finally:
        server.terminate()
        server.wait(20)


def paint_and_edit(page: Any) -> None:
    """Open the apple, paint its body, fill in the form, edit, and compare."""
    page.get_by_label("Image of the folder").fill("red-apple.png")
    page.get_by_label("Image of the folder").press("Enter")
    page.locator(".ek-image").first.wait_for()
    page.get_by_label("Operation").click()
    page.get_by_role("option", name="instruct").click()
    page.get_by_label("Instruction *", exact=True).fill("make it green")
    page.get_by_label("Seed", exact=True).fill("3")
    page.locator(".ek-canvas").hover()
    page.locator(".ek-canvas").evaluate("() => document.activeElement.blur()")
    for _ in range(3):
        page.keyboard.press("]")
    box = page.locator(".ek-canvas").bounding_box()
    rows = [(0.2, 0.8, 0.46), (0.84, 0.17, 0.6), (0.24, 0.78, 0.74), (0.68, 0.36, 0.84)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for *ends, y in rows for x in ends]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=12)
    page.mouse.up()
    page.locator(".ek-mask").wait_for()
    page.get_by_role("button", name="Edit").click()
    page.locator(".ek-history img").first.wait_for()
    compare = page.locator(".ek-range")
    compare.fill("45")


def shot(page: Any) -> Image.Image:
    """Return the visible part of a page."""
    page.mouse.move(1, 1)
    page.wait_for_timeout(1500)  # tooltips and ripples fade
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def save(images: Sequence[Image.Image], name: str) -> None:
    """Save images side by side as a small PNG."""
    width, height = sum(image.width + GAP for image in images) - GAP, images[0].height
    sheet = Image.new("RGB", (width, height), "white")
    left = 0
    for image in images:
        sheet.paste(image, (left, 0))
        left += image.width + GAP
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(SAMPLES / name, optimize=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as address, sync_playwright() as playwright:
        shutil.copy(SAMPLES / "red-apple.png", folder)
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (width, height), scheme in PAGES:
            page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            page.goto(address)
            page.get_by_label("Operation").wait_for()
            paint_and_edit(page)
            page.evaluate("scrollTo(0, 0)")
            shots = [shot(page)]
            if width < 900:
                page.locator(".ek-download").evaluate("element => element.scrollIntoView({block: 'center'})")
                shots.append(shot(page))
            save(shots, name)
        chromium.close()


if __name__ == "__main__":
    main()
