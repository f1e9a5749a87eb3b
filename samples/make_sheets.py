"""Make the pictures of the README by running the commands it shows.

    .venv/bin/python samples/make_sheets.py

Every command of the README with ``--sheet out/NAME.png`` is run, and its sheet kept as ``samples/NAME.png``. Run it
again whenever an edit changes.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EDITKIT = Path(sys.executable).with_name("editkit")


def commands(text: str) -> list[str]:
    """What the README calls editkit with, wherever a sheet comes out."""
    return re.findall(r"editkit (\S.* --sheet out/\S+\.png)", text)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command in commands((ROOT / "README.md").read_text(encoding="utf-8")):
            words = [
                word.replace("out/", f"{folder}/", 1) if word.startswith("out/") else word
                for word in shlex.split(command)
            ]
            subprocess.run([EDITKIT, *words], cwd=ROOT, check=True)
            sheet = Path(words[-1])
            shutil.copyfile(sheet, ROOT / "samples" / sheet.name)


if __name__ == "__main__":
    main()
