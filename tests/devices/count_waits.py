"""Count the waits of every operation on the counting device, in few steps and in more, and print them as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from PIL import Image

import editkit
from editkit.testing import tiny
from editkit.testing.suite import sample_image

from .counting_device import DEVICE, counted_waits, register

STEPS = (3, 6)
SOURCE = sample_image((20, 14))
WORDS = {"source": "a red apple", "target": "a green apple"}
PROMPT = {"prompt": "a red apple"}
Maker = Callable[[Path], Path]


def rectangle() -> Image.Image:
    mask = Image.new("L", SOURCE.size)
    mask.paste(255, (4, 3, 15, 10))
    return mask


CASES: Mapping[str, tuple[Maker, Mapping[str, Any]]] = {
    "generate": (tiny.stable_diffusion_folder, PROMPT),
    "img2img": (tiny.stable_diffusion_folder, PROMPT),
    "inpaint": (tiny.stable_diffusion_folder, {**PROMPT, "mask": rectangle()}),
    "outpaint": (tiny.stable_diffusion_folder, {**PROMPT, "right": 8}),
    "control": (tiny.stable_diffusion_folder, {**PROMPT, "kind": "edge"}),
    "prompt-edit": (tiny.stable_diffusion_folder, WORDS),
    "interpolate": (tiny.stable_diffusion_folder, {"frames": 3}),
    "invert": (tiny.stable_diffusion_folder, PROMPT),
    "flow-edit": (tiny.stable_diffusion_folder, WORDS),
    "uni-edit": (tiny.stable_diffusion_folder, WORDS),
    "chord-edit": (tiny.stable_diffusion_folder, WORDS),
    "few-step-edit": (tiny.stable_diffusion_folder, {**WORDS, "sampler": "ddpm"}),
    "instruct": (tiny.instruct_folder, {"instruction": "make it green"}),
    "upscale": (tiny.upscaler_folder, {**PROMPT, "scale": 4}),
}
"""Model and parameters of each operation that takes an image or none; ``reconstruct`` takes an inversion."""


def count(operation: str, source: Any, model: editkit.Backend, params: Mapping[str, Any]) -> tuple[int, Any]:
    """Return the waits of an operation and its result."""
    with counted_waits() as waits:
        result = editkit.apply(operation, source, model=model, seed=1, cache=False, **params)
    return waits.total(), result


def main() -> None:
    register()
    counts: dict[str, list[int]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root, models = Path(folder), dict[Maker, editkit.Backend]()
        net = str(tiny.controlnet_folder(root / "net"))
        for operation, (maker, params) in CASES.items():
            if maker not in models:
                models[maker] = editkit.load_model(maker(root / maker.__name__), device=DEVICE)
            source = None if operation == "generate" else SOURCE
            source = [SOURCE, SOURCE.rotate(180)] if operation == "interpolate" else source
            more = {"controlnet": net} if operation == "control" else {}
            if more:  # the weights of a ControlNet are loaded once
                count(operation, source, models[maker], {**params, **more, "steps": 1})
            for steps in STEPS:
                waits, result = count(operation, source, models[maker], {**params, **more, "steps": steps})
                counts.setdefault(operation, []).append(waits)
                if operation == "invert":
                    with counted_waits() as counted:
                        editkit.reconstruct(result, model=models[maker])
                    counts.setdefault("reconstruct", []).append(counted.total())
    json.dump(counts, sys.stdout)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
