"""Make the before/after sheets of the documents by running the commands that they show.

    .venv/bin/python samples/make_sheets.py

The script runs every command of the README and of the pages in ``docs/`` that has ``--sheet out/NAME.png``, and stores
its sheet as ``samples/NAME.png``. Run it again when an edit changes.
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
    """Return these arguments for all pages."""
    return [command for page in PAGES for command in commands(page.read_text(encoding="utf-8"))]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for command in all_commands():
            arguments = [
                word.replace("out/", f"{folder}/", 1) if word.startswith("out/") else word
                for word in shlex.split(command)
            ]
            subprocess.run([EDITKIT, *arguments], cwd=ROOT, check=True)
            sheet = Path(arguments[-1])
            shutil.copyfile(sheet, ROOT / "samples" / sheet.name)


if __name__ == "__main__":
    main()
