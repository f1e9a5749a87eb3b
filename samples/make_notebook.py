"""Make the images of ``docs/how-to/notebook.md`` by running its cells as a notebook does.

    .venv/bin/python samples/make_notebook.py

An image of the page is the display of the last expression in the cell above it. Run the script again when an edit or
the display of a result changes.
"""

from __future__ import annotations

import ast
import base64
import io
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "how-to" / "notebook.md"
_CELL = re.compile(r"^```python\n(.*?)^```\n(?:\n!\[[^]]*\]\([./]*samples/(\S+)\))?", re.MULTILINE | re.DOTALL)


def displays() -> Iterator[tuple[str, Image.Image]]:
    """Run the cells of the page in the current folder; yield the name of each image of the page with the display."""
    names: dict[str, Any] = {}
    for cell, image in _CELL.findall(PAGE.read_text(encoding="utf-8")):
        value = _run(cell, names)
        if image:
            yield image, value if isinstance(value, Image.Image) else _shown(value)


def _run(cell: str, names: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last line, if that is an expression."""
    tree = ast.parse(cell, PAGE.name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, PAGE.name, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)


def _shown(value: Any) -> Image.Image:
    bundle = value._repr_mimebundle_(include=None, exclude=None)
    return Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "samples").symlink_to(ROOT / "samples")
        (Path(folder) / "out").mkdir()
        os.chdir(folder)
        for name, image in displays():
            image.save(ROOT / "samples" / name, optimize=True)


if __name__ == "__main__":
    main()
