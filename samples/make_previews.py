"""Make ``samples/previews.png``: previews of an edit with the bundled model above the decoded estimates.

    .venv/bin/python samples/make_previews.py
    .venv/bin/python samples/make_previews.py --measure

``--measure`` prints the tables of ``docs/how-to/previews.md``: the PSNR of previews to decoded estimates of held-out
images, both shrunk to the size of the latents, beside that of their mean colour, and the times.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import editkit
from editkit.editing.steps.preview import LatentColours, preview_pixels
from editkit.images.tensors import to_image

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "tests" / "pictures"
STEPS = 20
SHOWN = (0, 3, 7, 11, 15, 19)
"""Steps in the sheet."""
MEASURED = {"first": 0, "a quarter": STEPS // 4, "half": STEPS // 2, "last": -1}
"""Steps in the table."""


def draw_steps(model: editkit.Backend) -> Image.Image:
    """Return a sheet of the previews of an edit, and of the decoded estimates below them."""
    prompts = {"source": "noto red apple", "target": "noto green apple"}
    source = ROOT / "samples" / "red-apple.png"
    with editkit.start("prompt-edit", source, model=model, steps=STEPS, seed=0, **prompts) as run:
        steps = [step for step in run if step.label == "sampling"]
    shown = [steps[number] for number in SHOWN]
    previews = [(f"preview, step {step.index + 1}", step.preview()) for step in shown]
    decoded = [(f"decoded, step {step.index + 1}", decode(model, step)) for step in shown]
    return editkit.draw_sheet([*previews, *decoded], columns=len(SHOWN), tile=128)


@torch.no_grad()
def decode(model: editkit.Backend, step: editkit.Step) -> Image.Image:
    """Return the estimate of a step by the autoencoder's decoder."""
    assert step.x0 is not None
    return to_image(step.canvas.crop(model.decode(step.x0[-1:]))[0])


@torch.no_grad()
def psnr(model: editkit.Backend, x0: Tensor) -> tuple[float, float]:
    """Return the PSNR of the preview of latents (1, C, h, w), and of the mean colour, to what they decode to."""
    height, width = x0.shape[-2:]
    decoded, preview = (
        F.adaptive_avg_pool2d(pixels.float(), (height, width))
        for pixels in (model.decode(x0), preview_pixels(model, x0))
    )
    grey = decoded.mean((2, 3), keepdim=True)
    first, second = (-10 * float((decoded - other).square().mean().log10()) for other in (preview, grey))
    return first, second


def measure(model: editkit.Backend) -> None:
    captions = json.loads((IMAGES / "pictures.json").read_text(encoding="utf-8"))["held_out"][::2]
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in MEASURED}
    for caption in captions:
        image = IMAGES / f"{caption.replace(' ', '-')}.png"
        run = editkit.start("img2img", image, model=model, prompt=caption, strength=1.0, steps=STEPS, seed=0)
        estimates = [step.x0 for step in run if step.x0 is not None]
        for name, number in MEASURED.items():
            rows[name].append(psnr(model, estimates[number]))
    for name, figures in rows.items():
        preview, grey = (sum(column) / len(column) for column in zip(*figures, strict=True))
        sys.stdout.write(f"| {name} | {preview:.1f} dB | {grey:.1f} dB |\n")
    with torch.no_grad():
        ways: dict[str, Callable[[], object]] = {
            "fit": lambda: LatentColours.fit(model),
            "preview": lambda: preview_pixels(model, estimates[-1]),
            "decode": lambda: model.decode(estimates[-1]),
        }
        for name, way in ways.items():
            sys.stdout.write(f"{name}: {1000 * least_seconds(way):.1f} ms\n")
    sys.stdout.write(f"{len(captions)} images\n")


def least_seconds(way: Callable[[], object]) -> float:
    """Return the least time in seconds of five calls."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        way()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main() -> None:
    model = editkit.load_model()
    draw_steps(model).save(ROOT / "samples" / "previews.png", optimize=True)
    if "--measure" in sys.argv[1:]:
        measure(model)


if __name__ == "__main__":
    main()
