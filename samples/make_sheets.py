"""Make the pictures of the README from the commands they stand for.

    .venv/bin/python samples/make_sheets.py

Run it again whenever an edit changes; every picture below comes out of the command shown with it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from editkit.sheets import draw_sheet

SAMPLES = Path(__file__).parent
EDITKIT = Path(sys.executable).with_name("editkit")
APPLE = SAMPLES / "red-apple.png"

PROMPT_EDIT = f'prompt-edit {APPLE} --source "noto red apple" --target "noto green apple" --guidance 1.5 --seed 0'

GALLERY = [
    ('generate --prompt "flat red heart" --seed 1', "generate\nflat red heart"),
    ('generate --prompt "3d blue book" --seed 1', "generate\n3d blue book"),
    (f'img2img {APPLE} --prompt "noto tomato" --strength 0.7 --seed 1', "img2img\nnoto tomato"),
    (
        f'prompt-edit {APPLE} --source "noto red apple" --target "noto green apple" --guidance 1.5 --seed 0',
        "prompt-edit\nred to green",
    ),
]


def run(command: str, output: Path) -> Image.Image:
    subprocess.run([EDITKIT, *shlex.split(command), "-o", str(output)], check=True)
    return Image.open(output).copy()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = [(label, run(command, Path(folder) / f"{n}.png")) for n, (command, label) in enumerate(GALLERY)]
        run(f"{PROMPT_EDIT} --sheet {SAMPLES / 'prompt-edit.png'}", Path(folder) / "green.png")
    draw_sheet([("samples/red-apple.png", Image.open(APPLE)), *made], columns=5, tile=192).save(SAMPLES / "gallery.png")


if __name__ == "__main__":
    main()
