"""Fetch the open emoji artwork, render it, and split it into training and held-out pictures.

    python -m editkit_emoji.training.data --data ~/.cache/editkit/emoji --size 64

Four styles of one catalogue, from the npm registry (``npm`` must be on the path), never redistributed here:

=========  ==================================  ==========
style      package                             licence
=========  ==================================  ==========
gradient   @iconify-json/fluent-emoji          MIT
flat       @iconify-json/fluent-emoji-flat     MIT
noto       @iconify-json/noto                  Apache-2.0
3d         @lobehub/fluent-emoji-3d            MIT
names      emojibase-data                      MIT
=========  ==================================  ==========

The folder then holds ``pictures-<size>.npy`` (N, size, size, 3) uint8 on white and ``pictures.json``, one entry a
picture.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

import editkit

ICONS = {
    "gradient": "@iconify-json/fluent-emoji@1.2.7",
    "flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "noto": "@iconify-json/noto@1.2.9",
}
PHOTOS = {"3d": "@lobehub/fluent-emoji-3d@1.1.0"}
NAMES = "emojibase-data@17.0.0"
STYLES = (*ICONS, *PHOTOS)

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
HELD_OUT_ONE_IN = 20


@dc.dataclass(frozen=True)
class Picture:
    """One rendered emoji: what it is called and which side of the split it is on."""

    style: str
    name: str
    """The name as the artwork's set spells it; the split is decided by this spelling."""
    subject: str
    """The name with the skin tone taken off."""
    tone: str | None
    """One of :data:`TONES`, or None where the picture has no variants of tone."""

    @property
    def key(self) -> str:
        return f"{self.style} {self.name}"

    @property
    def held_out(self) -> bool:
        """True for one picture in twenty, fixed by its name: never shown to any part in training."""
        return int(hashlib.sha256(self.key.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0

    @property
    def title(self) -> str:
        """The name with the tone spelled the same in every set."""
        return self.subject if self.tone is None else f"{self.subject} {self.tone.replace('-', ' ')} skin tone"

    @property
    def caption(self) -> str:
        return f"{self.style} {self.title}"


def fetch(package: str, folder: Path) -> Path:
    """Download one npm package into ``folder`` (once) and return the unpacked folder."""
    target = folder / re.sub(r"[^a-z0-9.]+", "-", package).strip("-")
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        said = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
        )
        archive = folder / said.stdout.split()[-1]
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(target)
        archive.unlink()
    return target / "package"


def plain(name: str) -> str:
    """Lower case, everything that is neither letter nor digit as one space."""
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


def render_icons(package: Path, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Draw every vector icon of an iconify package on white."""
    import resvg_py

    icons = json.loads((package / "icons.json").read_text())
    for name, icon in icons["icons"].items():
        if icon.get("hidden"):  # kept by the set for old links only
            continue
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        svg = f'<svg {spaces} viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        drawn = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
        yield name.replace("-", " "), on_white(Image.open(io.BytesIO(bytes(drawn))), size)


def render_photos(package: Path, names: dict[str, str], size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Shrink every picture of the 3d set on white; those without an English name are left out."""
    for file in sorted((package / "assets").glob("*.webp")):
        name = names.get(code_point_key(file.stem))
        if name is not None:
            yield plain(name), on_white(Image.open(file), size)


def on_white(image: Image.Image, size: int) -> np.ndarray:
    flat = editkit.on_white(image)
    square = Image.new("RGB", (max(flat.size),) * 2, "white")
    square.paste(flat, ((square.width - flat.width) // 2, (square.height - flat.height) // 2))
    return np.asarray(square if square.width == size else square.resize((size, size), Image.Resampling.LANCZOS))


def code_point_key(text: str) -> str:
    """Code points without the variation selector, which the sets write or leave out at will."""
    return "-".join(part for part in text.lower().split("-") if part != "fe0f")


def english_names(package: Path) -> dict[str, str]:
    """Code points to CLDR label, skin-tone variants included."""
    names: dict[str, str] = {}

    def add(entry: dict[str, Any]) -> None:
        names[code_point_key(entry["hexcode"])] = entry["label"]
        for skin in entry.get("skins", ()):
            add(skin)

    for entry in json.loads((package / "en" / "data.json").read_text()):
        add(entry)
    return names


def split_tone(name: str, siblings: set[str]) -> tuple[str, str | None]:
    """Take a skin tone off a name.

    ``light`` at the end of a name is a tone only where the same set has all five variants: "traffic light" is none.
    """
    for ending in (" skin tone", ""):
        for tone in sorted(TONES, key=len, reverse=True):
            tail = f" {tone.replace('-', ' ')}{ending}"
            if name.endswith(tail):
                subject = name.removesuffix(tail)
                if all(f"{subject} {other.replace('-', ' ')}{ending}" in siblings for other in TONES):
                    return subject, tone
    return name, None


def collect(folder: Path, size: int) -> tuple[list[Picture], np.ndarray]:
    """Fetch and render everything; the order is that of the sets, so runs are comparable."""
    raw = folder / "packages"
    names = english_names(fetch(NAMES, raw))
    drawn: dict[str, list[tuple[str, np.ndarray]]] = {}
    for style, package in ICONS.items():
        drawn[style] = list(tqdm(render_icons(fetch(package, raw), size), desc=style, unit=" pictures"))
    for style, package in PHOTOS.items():
        drawn[style] = list(tqdm(render_photos(fetch(package, raw), names, size), desc=style, unit=" pictures"))
    pictures, pixels = [], []
    for style, entries in drawn.items():
        siblings = {name for name, _ in entries}
        for name, image in entries:
            if image.min() < 250:  # a few icons of the sets are empty
                pictures.append(Picture(style, name, *split_tone(name, siblings)))
                pixels.append(image)
    return pictures, np.stack(pixels)


def save(folder: Path, size: int) -> None:
    pictures, pixels = collect(folder, size)
    np.save(folder / f"pictures-{size}.npy", pixels)
    (folder / "pictures.json").write_text(json.dumps([dc.asdict(picture) for picture in pictures]))
    held_out = sum(picture.held_out for picture in pictures)
    print(f"{len(pictures)} pictures of {size} px, {held_out} held out, in {folder}")


def load(folder: Path, size: int) -> tuple[list[Picture], np.ndarray]:
    """Read what :func:`save` wrote: the entries and their pixels (N, size, size, 3) uint8."""
    if not (folder / f"pictures-{size}.npy").exists():
        command = f"python -m editkit_emoji.training.data --data {folder} --size {size}"
        raise SystemExit(f"no data in {folder}: run {command}")
    entries = json.loads((folder / "pictures.json").read_text())
    return [Picture(**entry) for entry in entries], np.load(folder / f"pictures-{size}.npy")


def places(pictures: Sequence[Picture], *, held_out: bool) -> list[int]:
    """Where the pictures of one side of the split are."""
    return [place for place, picture in enumerate(pictures) if picture.held_out == held_out]


def add_data_options(parser: argparse.ArgumentParser, *, size: int = 64) -> None:
    """The two options every script of this folder shares."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument(
        "--data", type=Path, default=cache / "editkit" / "emoji", help="folder of the rendered pictures"
    )
    parser.add_argument("--size", type=int, default=size, help="side of a picture in pixels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser)
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    save(options.data, options.size)


if __name__ == "__main__":
    main()
