"""Sphinx configuration. The pages are Markdown; the site builds without the network."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from editkit.version import __version__  # noqa: E402 (the path above finds it)

project = "editkit"
author = "The editkit authors"
copyright = author  # noqa: A001 (Sphinx calls it so)
release = version = __version__

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"editkit {__version__}"
html_show_sourcelink = False
