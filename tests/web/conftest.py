"""A server of the page as ``editkit web`` starts it, and a browser, each once for all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import PngImagePlugin

from editkit.images.stored.deep import encode_deep_png, insert_png_chunks
from editkit.testing.profiles import WIDE

SIDE = 96

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def deep_levels() -> NDArray[np.uint16]:
    """Levels (H, W, 3) of a smooth image whose low bytes are noise, which 8 bits would lose."""
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    smooth = np.stack([rows, columns, 1 - rows], axis=-1) * 60000
    return (smooth + np.random.default_rng(0).integers(0, 4000, smooth.shape)).astype(np.uint16)


def write_images(folder: Path) -> None:
    """Write a 16-bit PNG with a profile, and a folder of small images."""
    deep = insert_png_chunks(encode_deep_png(deep_levels()), WIDE, PngImagePlugin.PngInfo())
    (folder / "deep.png").write_bytes(deep)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the page."""
    folder = tmp_path_factory.mktemp("photos")
    write_images(folder)
    return folder


@pytest.fixture(scope="session")
def address(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server; at its end no temporary file is left."""
    pytest.importorskip("nicegui", reason="the extra editkit[web] is not installed")
    temporary = tmp_path_factory.mktemp("temporary")
    command = [sys.executable, "-m", "editkit", "web", str(photos), "--port", "0", "--waiting", "4"]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, cwd=temporary, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        line = server.stderr.readline()
        assert line.startswith("http://127.0.0.1:"), line + server.stderr.read()
        yield line.split()[0]
    finally:
        server.terminate()
        status = server.wait(20)
    assert status == 0
    assert list(temporary.glob("editkit*")) == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Debian's chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
