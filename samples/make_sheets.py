"""Make the before/after sheets of the documents by running the commands that they show.

    .venv/bin/python samples/make_sheets.py

Every command of the README and of the pages in ``docs/`` with ``--sheet out/NAME.png`` is run, and its sheet kept as
``samples/NAME.png``. Run it again when an edit changes.
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
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(text: str) -> list[str]:
    """Return the arguments of every editkit command in a page that writes a sheet."""
    return re.findall(r"editkit (\S.* --sheet out/\S+\.png)", text)


def all_commands() -> list[str]:
    return [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command in all_commands():
            words = [
                word.replace("out/", f"{folder}/", 1) if word.startswith("out/") else word
                for word in shlex.split(command)
            ]
            subprocess.run([EDITKIT, *words], cwd=ROOT, check=True)
            sheet = Path(words[-1])
            shutil.copyfile(sheet, ROOT / "samples" / sheet.name)


if __name__ == "__main__":
    main()
