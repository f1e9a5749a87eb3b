"""Attach every control of attention to an edit of every family and write what happens.

``python tests/families/attention.py`` writes ``attention.json``, from which the table on the reference page of controls
is generated.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from PIL import Image

import editkit
from editkit import EditkitError
from editkit.registry.registry import installed
from editkit.testing.suite import sample_image
from editkit.testing.tiny import FOLDERS
from families.tables import SERVED

RESULTS = Path(__file__).with_name("attention.json")
WORKS = "works"
CONTROLS = [name for name, spec in installed().specs["controls"].items() if "attention" in spec.needs]
OPTIONS = {"mutual-attention": ":start=0", "plug-and-play": ":queries=1", "value-injection": ":share=1"}
"""Options of controls that would act on too little of an edit of two steps."""
NAMES = [*FOLDERS, *(name for name, family in SERVED.items() if family.importable)]
"""Tiny models of editkit by the class of their pipeline, and families of pipelines."""


def measure(name: str, folder: Path) -> dict[str, str]:
    """Return what every control does on a family, whose model is written to ``folder``."""
    write: Callable[[Path], Path] = FOLDERS[name] if name in FOLDERS else SERVED[name].write
    model = editkit.load_model(write(folder), device="cpu")
    index = json.loads(next(folder.glob("*model_index.json")).read_text(encoding="utf-8"))
    size = SERVED[name].size if name in SERVED else (32, 32)
    source, target = ("0", "1") if name == "DiTPipeline" else ("a red apple", "two green cats")
    image = sample_image(size)

    @functools.cache
    def edit(target: str, *controls: str, masked: bool = False) -> Any:
        given: dict[str, Any] = {"steps": 2, "guidance": 1.0, "seed": 3, "resolution": max(size), "attach": controls}
        given |= {"mask": middle(size)} if masked else {}
        return editkit.apply("prompt-edit", image, model=model, source=source, target=target, **given)

    def outcome(control: str) -> str:
        """Return ``works``, or the reason of the refusal without its remedy."""
        call, masked = control + OPTIONS.get(control, ""), installed().specs["controls"][control].needs_mask
        try:
            held = edit(target, call, masked=masked)
        except EditkitError as error:
            reason = re.sub("^attach='[^']*': ", "", str(error)).partition(": leave")[0]
            reason = re.sub("attach='[^']*'", "it", reason)
            return reason.replace(f"the model {model.name!r}", "the model")
        plain = edit(target, masked=masked)
        assert not torch.equal(held.latents, plain.latents), f"{name}: {control} changes nothing"
        same = np.asarray(edit(source, call, masked=masked).image.convert("RGB"))
        assert np.array_equal(same, np.asarray(image)), f"{name}: {control} changes the image for equal prompts"
        return WORKS

    return {"family": name, "pipeline": index["_class_name"], **{control: outcome(control) for control in CONTROLS}}


def middle(size: tuple[int, int]) -> Image.Image:
    """Return a mask of the middle quarter of an image."""
    width, height = size
    mask = Image.new("L", size, 0)
    mask.paste(255, (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return mask


def rows() -> Iterator[dict[str, str]]:
    for name in NAMES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["EDITKIT_CACHE"] = f"{folder}/cache"
            yield measure(name, Path(folder) / "model")


if __name__ == "__main__":
    RESULTS.write_text(json.dumps(list(rows()), indent=1) + "\n", encoding="utf-8")
