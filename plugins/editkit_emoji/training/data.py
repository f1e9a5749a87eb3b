"""Fetch the open emoji artwork, render it, and split it into training and held-out images.

    python -m editkit_emoji.training.data --data ~/.cache/editkit/emoji --size 64
    python -m editkit_emoji.training.data --data ~/.cache/editkit/emoji-unseen --size 64 --unseen

The artwork comes from the npm registry (``npm`` must be on the path) and is not redistributed: :data:`SETS` for
training, :data:`UNSEEN` for tests only. The folder then holds ``pictures-<size>.npy`` (N, size, size, 3) uint8 on
white, ``alpha-<size>.npy`` (N, size, size) uint8, ``pictures.json`` with one entry per image, and ``LICENCES.md``.
"""

from __future__ import annotations

import argparse
import dataclasses as dc
import hashlib
import io
import itertools
import json
import os
import re
import subprocess
import tarfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

import editkit


@dc.dataclass(frozen=True)
class ArtworkSet:
    """One npm package of emoji in one style."""

    style: str
    """Name of the set in captions."""
    package: str
    licence: str
    author: str
    named_by: Literal["icon", "code points", "joined words"] = "icon"
    """Form of the icon's own name: a name with hyphens, code points, or one word."""
    source: Literal["icons", "files"] = "icons"
    """Vector icons in one JSON file, or one WebP file per image."""


FLUENT = "Microsoft Corporation (Fluent Emoji)"
SETS = (
    ArtworkSet("gradient", "@iconify-json/fluent-emoji@1.2.7", "MIT", FLUENT),
    ArtworkSet("flat", "@iconify-json/fluent-emoji-flat@1.2.6", "MIT", FLUENT),
    ArtworkSet("noto", "@iconify-json/noto@1.2.9", "Apache-2.0", "Google Inc. (Noto Emoji)"),
    ArtworkSet(
        "3d", "@lobehub/fluent-emoji-3d@1.1.0", "MIT", f"LobeHub, from {FLUENT}", named_by="code points", source="files"
    ),
    ArtworkSet("blob", "@iconify-json/noto-v1@1.2.5", "Apache-2.0", "Google Inc. (Noto Emoji, first version)"),
    ArtworkSet("fxemoji", "@iconify-json/fxemoji@1.2.2", "Apache-2.0", "Mozilla (FxEmojis)", named_by="joined words"),
    ArtworkSet("twemoji", "@iconify-json/twemoji@1.2.5", "CC-BY-4.0", "Twitter, Inc and other contributors (Twemoji)"),
)
UNSEEN = (ArtworkSet("openmoji", "@iconify-json/openmoji@1.2.29", "CC-BY-SA-4.0", "OpenMoji"),)
"""Sets for tests only: nothing is trained on them, and nothing of them is distributed."""
NAMES = "emojibase-data@17.0.0"
"""English names of code points, MIT, Miles Johnson (Emojibase)."""
STYLES = tuple(artwork.style for artwork in SETS)
FIRST_STYLES = STYLES[:4]
"""Styles of the fixed split of earlier measurements."""

TONES = ("light", "medium-light", "medium", "medium-dark", "dark")
HELD_OUT_ONE_IN = 20


@dc.dataclass(frozen=True)
class Emoji:
    """One rendered emoji; its name decides whether it is held out."""

    style: str
    name: str
    """Name in the spelling of the set, which decides the split."""
    subject: str
    """Name without the skin tone."""
    tone: str | None
    """Depicted skin tone, one of :data:`TONES`, or None if the emoji has no tone variants.

    It may differ from the tone in :attr:`name`: see :func:`correct_tones`."""

    @property
    def key(self) -> str:
        return f"{self.style} {self.name}"

    @property
    def held_out(self) -> bool:
        """True for one image in twenty, chosen by a hash of its name and excluded from all training."""
        return int(hashlib.sha256(self.key.encode()).hexdigest(), 16) % HELD_OUT_ONE_IN == 0

    @property
    def title(self) -> str:
        """Name with a spelling of the tone that is common to all sets."""
        return self.subject if self.tone is None else f"{self.subject} {self.tone.replace('-', ' ')} skin tone"

    @property
    def caption(self) -> str:
        return f"{self.style} {self.title}"


def fetch(package: str, folder: Path) -> Path:
    """Download one npm package into ``folder`` (once) and return the unpacked folder."""
    target = folder / re.sub(r"[^a-z0-9.]+", "-", package).strip("-")
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        completed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True
        )
        archive = folder / completed.stdout.split()[-1]
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(target)
        archive.unlink()
    return target / "package"


def plain(name: str) -> str:
    """Convert a name to lower case and replace every run of other characters than letters and digits by one space."""
    return re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()


class Rendering(NamedTuple):
    """A name and its image."""

    name: str
    pixels: NDArray[np.uint8]
    """(size, size, 3), on white."""
    alpha: NDArray[np.uint8]
    """(size, size), 255 for opaque pixels."""


def render(artwork: ArtworkSet, folder: Path, names: Names, size: int) -> Iterator[Rendering]:
    """Render all named images of a set whose package lies in ``folder``."""
    images = icons_of(folder, size) if artwork.source == "icons" else files_of(folder)
    name_of: dict[str, Callable[[str], str]] = {
        "icon": lambda key: key.replace("-", " "),
        "code points": lambda key: plain(names.labels.get(code_point_key(key), "")),
        "joined words": lambda key: names.one_word.get(without_spaces(key), ""),
    }
    done = {""}
    for key, image in images:
        name = name_of[artwork.named_by](key)
        if name not in done:
            if artwork.named_by == "joined words":  # several spellings of one name are one image
                done.add(name)
            yield Rendering(name, *center_on_square(image, size))


def icons_of(package: Path, size: int) -> Iterator[tuple[str, Image.Image]]:
    """Render every vector icon of an iconify package."""
    import resvg_py

    icons = json.loads((package / "icons.json").read_text())
    for name, icon in icons["icons"].items():
        if icon.get("hidden"):  # kept by the set for old links only
            continue
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        svg = f'<svg {spaces} viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        png = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size)
        yield name, Image.open(io.BytesIO(bytes(png)))


def files_of(package: Path) -> Iterator[tuple[str, Image.Image]]:
    """Open every file of the 3d set; file names are code points."""
    for file in sorted((package / "assets").glob("*.webp")):
        yield file.stem, Image.open(file)


def center_on_square(image: Image.Image, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Center an image on a square; return its colours on white (size, size, 3) and its alpha (size, size)."""
    flat, alpha = editkit.on_white(image), image.convert("RGBA").getchannel("A")
    side = max(flat.size)
    corner = (side - flat.width) // 2, (side - flat.height) // 2
    square, cover = Image.new("RGB", (side, side), "white"), Image.new("L", (side, side), 0)
    square.paste(flat, corner)
    cover.paste(alpha, corner)
    pixels, covered = (
        np.asarray(each if side == size else each.resize((size, size), Image.Resampling.LANCZOS))
        for each in (square, cover)
    )
    return pixels, covered


def code_point_key(text: str) -> str:
    """Code points without the variation selector, which the sets use inconsistently."""
    return "-".join(part for part in text.lower().split("-") if part != "fe0f")


class Names(NamedTuple):
    """English names of the images."""

    labels: dict[str, str]
    """CLDR labels by code points, skin-tone variants included."""
    one_word: dict[str, str]
    """Plain names by label, Unicode character name or short code, each written as one word."""


def english_names(package: Path) -> Names:
    labels: dict[str, str] = {}

    def add(entry: dict[str, Any]) -> None:
        labels[code_point_key(entry["hexcode"])] = entry["label"]
        for skin in entry.get("skins", ()):
            add(skin)

    for entry in json.loads((package / "en" / "data.json").read_text()):
        add(entry)
    return Names(labels, names_by_word(package, labels))


def names_by_word(package: Path, labels: Mapping[str, str]) -> dict[str, str]:
    """Names by their spelling in one word; labels take precedence over character names, and those over short codes."""
    found = {without_spaces(label): plain(label) for label in labels.values()}
    for number in itertools.chain(range(0x2000, 0x3300), range(0x1F000, 0x1FB00)):  # symbols and pictographs
        if character := unicodedata.name(chr(number), ""):
            found.setdefault(without_spaces(character), plain(labels.get(f"{number:x}", character)))
    for file in ("github", "iamcal", "emojibase"):
        codes = json.loads((package / "en" / "shortcodes" / f"{file}.json").read_text())
        for code_points, spellings in codes.items():
            label = labels.get(code_point_key(code_points))
            for code in [spellings] if isinstance(spellings, str) else spellings:
                if label:
                    found.setdefault(without_spaces(code), plain(label))
    return found


def without_spaces(name: str) -> str:
    """A name as one word."""
    return plain(name).replace(" ", "")


def split_tone(name: str, siblings: set[str]) -> tuple[str, str | None]:
    """Split a name into subject and skin tone.

    ``light`` at the end of a name is a tone only if the set has all five variants, unlike "traffic light".
    """
    for ending in (" skin tone", ""):
        for tone in sorted(TONES, key=len, reverse=True):
            tail = f" {tone.replace('-', ' ')}{ending}"
            if name.endswith(tail):
                subject = name.removesuffix(tail)
                if all(f"{subject} {other.replace('-', ' ')}{ending}" in siblings for other in TONES):
                    return subject, tone
    return name, None


class Artwork(NamedTuple):
    """Images and their records."""

    emojis: list[Emoji]
    pixels: NDArray[np.uint8]
    """(N, H, W, 3), on white."""
    alpha: NDArray[np.uint8]
    """(N, H, W)."""


def collect(folder: Path, size: int, sets: Sequence[ArtworkSet]) -> Artwork:
    """Fetch and render all images in the order of the sets, so that runs are comparable."""
    raw = folder / "packages"
    names = english_names(fetch(NAMES, raw))
    emojis, kept = [], []
    for artwork in sets:
        package = fetch(artwork.package, raw)
        renderings = list(
            tqdm(render(artwork, package, names, size), desc=artwork.style, unit=" images", mininterval=5)
        )
        siblings = {each.name for each in renderings}
        for each in renderings:
            if each.pixels.min() < 250:  # a few icons of the sets are empty
                emojis.append(Emoji(artwork.style, each.name, *split_tone(each.name, siblings)))
                kept.append(each)
    pixels, alpha = (np.stack([getattr(each, field) for each in kept]) for field in ("pixels", "alpha"))
    return Artwork(correct_tones(emojis, pixels), pixels, alpha)


EXCHANGEABLE = ("medium-light", "medium")
REFERENCE = "gradient"
"""The set whose tone names are assumed correct."""


def correct_tones(emojis: Sequence[Emoji], pixels: NDArray[np.uint8]) -> list[Emoji]:
    """Replace the tones of emojis by the depicted ones.

    Some families of the 3d set have the images of two neighbouring tones exchanged. The two images of a family count as
    exchanged if their mean colours differ in the direction opposite to that of the reference set for the same family,
    or for all its families if the reference set lacks this one.
    """
    steps = tone_steps(emojis, pixels)
    reference = {subject: step for (style, subject), step in steps.items() if style == REFERENCE}
    average = np.stack([*reference.values(), np.zeros(3)]).sum(0)
    exchanged = {
        (style, subject)
        for (style, subject), step in steps.items()
        if float(step @ reference.get(subject, average)) < 0
    }
    other = dict(zip(EXCHANGEABLE, reversed(EXCHANGEABLE), strict=True))
    return [
        dc.replace(emoji, tone=other.get(emoji.tone or "", emoji.tone))
        if (emoji.style, emoji.subject) in exchanged
        else emoji
        for emoji in emojis
    ]


def tone_steps(emojis: Sequence[Emoji], pixels: NDArray[np.uint8]) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Mean colour (3,) of the lighter tone of :data:`EXCHANGEABLE` minus that of the darker, by style and subject."""
    colours = {
        (emoji.style, emoji.subject, emoji.tone): image.mean((0, 1))
        for emoji, image in zip(emojis, pixels, strict=True)
        if emoji.tone in EXCHANGEABLE
    }
    lighter, darker = EXCHANGEABLE
    return {
        (style, subject): colour - colours[style, subject, darker]
        for (style, subject, tone), colour in colours.items()
        if tone == lighter and (style, subject, darker) in colours
    }


def licences(sets: Sequence[ArtworkSet]) -> str:
    """Return authors and licences of sets as a Markdown table."""
    rows = [(f"`{artwork.package}`", artwork.style, artwork.licence, artwork.author) for artwork in sets]
    rows.append((f"`{NAMES}`", "names", "MIT", "Miles Johnson (Emojibase)"))
    lines = [("package on npm", "style", "licence", "by"), ("---",) * 4, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def save(folder: Path, size: int, sets: Sequence[ArtworkSet]) -> None:
    emojis, pixels, alpha = collect(folder, size, sets)
    np.save(folder / f"pictures-{size}.npy", pixels)
    np.save(folder / f"alpha-{size}.npy", alpha)
    (folder / "pictures.json").write_text(json.dumps([dc.asdict(emoji) for emoji in emojis]))
    (folder / "LICENCES.md").write_text(licences(sets))
    held_out = sum(emoji.held_out for emoji in emojis)
    print(f"{len(emojis)} images of {size} px, {held_out} held out, in {folder}")


def load(folder: Path, size: int) -> tuple[list[Emoji], NDArray[np.uint8]]:
    """Load the records and the pixels (N, size, size, 3) uint8 on white from a folder of :func:`save`."""
    if not (folder / f"pictures-{size}.npy").exists():
        command = f"python -m editkit_emoji.training.data --data {folder} --size {size}"
        raise SystemExit(f"no data in {folder}: run {command}")
    entries = json.loads((folder / "pictures.json").read_text())
    return [Emoji(**entry) for entry in entries], np.load(folder / f"pictures-{size}.npy")


def load_artwork(folder: Path, size: int) -> Artwork:
    """Return the result of :func:`load` with the alpha (N, size, size) uint8."""
    emojis, pixels = load(folder, size)
    return Artwork(emojis, pixels, np.load(folder / f"alpha-{size}.npy"))


def places(emojis: Sequence[Emoji], *, held_out: bool) -> list[int]:
    """Return the places of the images on one side of the split."""
    return [place for place, emoji in enumerate(emojis) if emoji.held_out == held_out]


def add_data_options(parser: argparse.ArgumentParser, *, size: int = 64) -> None:
    """Add the two options that all scripts of this folder share."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    parser.add_argument("--data", type=Path, default=cache / "editkit" / "emoji", help="folder of the rendered images")
    parser.add_argument("--size", type=int, default=size, help="side of an image in pixels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_options(parser)
    parser.add_argument("--unseen", action="store_true", help="fetch the sets for tests instead of those for training")
    options = parser.parse_args()
    options.data.mkdir(parents=True, exist_ok=True)
    save(options.data, options.size, UNSEEN if options.unseen else SETS)


if __name__ == "__main__":
    main()
