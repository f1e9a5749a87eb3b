"""The same bad and good calls on diffusers and on editkit, with the tiny weights of one folder, counted side by side.

Run ``python tests/reliability/diffusers_probes.py``; it prints a Markdown table. A bad call has a value outside the
range or the type that the documentation of either library gives. An image in answer to a bad call counts as silent; one
from pixels that are not finite counts as NaN too. A clear error is a ValueError or TypeError (of editkit, an
EditkitError) that names the argument; every other exception is cryptic.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

import editkit
from editkit import EditkitError
from editkit.testing.suite import sample_image
from editkit.testing.tiny import stable_diffusion_folder

SIZE = (16, 16)
SOURCE = sample_image(SIZE)
MASK = Image.new("L", SIZE, 255)
NAN, INF = math.nan, math.inf
COLUMNS = ("silent", "NaN", "cryptic", "clear")


class Call(NamedTuple):
    """One call: the operation, and the arguments that differ from those of a right call."""

    operation: str
    argument: str
    """Name in diffusers; :data:`NAMES` has that in editkit."""
    value: Any


NAMES = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "image": "image",
    "mask_image": "mask",
    "generator": "seed",
}
NUMBERS: dict[str, tuple[Any, ...]] = {
    "num_inference_steps": (0, -1, 2.5, NAN, INF, "2", None, True, 10**9),
    "guidance_scale": (NAN, INF, -INF, -1.0, "3", None, True, 1e9, [3.0]),
    "strength": (NAN, INF, -0.1, 1.1, 2, "0.5", None, [0.5]),
    "guidance_rescale": (NAN, INF, -1.0, 2.0, "0.5"),
    "width": (0, -8, 7.5, NAN, "16", True, 10**9),
    "height": (0, -8, 7.5, NAN, "16", True, 10**9),
}
TEXTS: dict[str, tuple[Any, ...]] = {
    "prompt": (5, None, 0.5, True, b"apple", ["a", 5], {"a": 1}, "\ud800"),
    "negative_prompt": (5, 0.5, True, b"apple", ["a", 5], "\ud800"),
}
SEEDS = ("7", 0.5, NAN, [7, 8], 2**64)


def bad_images() -> list[Any]:
    pixels = np.asarray(SOURCE)
    return [
        None,
        5,
        "no such file.png",
        b"no image",
        [],
        {},
        np.zeros((0, 0, 3), np.uint8),
        pixels.astype(np.float32) / 255 * NAN,
        pixels.astype(np.float32),
        pixels.astype(np.float32) / 255 - 2,
        np.full((*SIZE, 3), INF, np.float32),
        pixels.astype(np.int64) * 1000,
        pixels[..., :2],
        pixels.transpose(2, 0, 1),
        torch.full((3, *SIZE), NAN),
        torch.full((3, *SIZE), 300.0),
        np.zeros(SIZE, dtype=complex),
        np.array(["a", "b"]),
    ]


def bad_masks() -> list[Any]:
    ones = np.ones(SIZE, np.float32)
    return [None, 5, "no such file.png", b"no image", [], ones * NAN, ones * INF, ones * 300, -ones, np.zeros((0, 0))]


def bad_calls() -> Iterator[Call]:
    for operation in ("generate", "img2img", "inpaint"):
        for argument, values in (NUMBERS | TEXTS).items():
            sized = argument in ("width", "height")
            if sized != (operation == "generate") and (sized or argument == "strength"):
                continue
            if operation != "generate" and argument in ("guidance_rescale", "negative_prompt"):
                continue
            # The three pipelines read numbers and texts alike: all values are tried on two of them.
            few = values[:2] if operation == "inpaint" else values
            yield from (Call(operation, argument, value) for value in few)
    yield from (Call("img2img", "generator", seed) for seed in SEEDS)
    yield from (Call("img2img", "image", image) for image in bad_images())
    yield from (Call("inpaint", "mask_image", mask) for mask in bad_masks())


def good_images() -> Iterator[Image.Image]:
    yield SOURCE
    yield SOURCE.convert("L")
    yield SOURCE.convert("P")
    yield SOURCE.convert("1")
    yield SOURCE.convert("CMYK")
    yield SOURCE.convert("RGBA")
    yield SOURCE.convert("LA")
    yield SOURCE.convert("HSV").convert("RGB")
    for size in ((17, 13), (1, 1), (40, 3), (9, 31)):
        yield sample_image(size)
    turned = sample_image((16, 12))
    exif = turned.getexif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    turned.save(stream, "PNG", exif=exif)
    yield Image.open(io.BytesIO(stream.getvalue()))


# The two libraries


class Finite:
    """Whether the last image of a pipeline came from finite pixels."""

    def __init__(self) -> None:
        self.value = True


def of_diffusers(folder: Path) -> tuple[Callable[[Call], Any], Finite]:
    """Return a function that makes a call with diffusers and returns the image, and the state of its pixels."""
    from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline

    first = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipes = {"generate": first}
    pipes["img2img"] = StableDiffusionImg2ImgPipeline(**first.components, requires_safety_checker=False)
    pipes["inpaint"] = StableDiffusionInpaintPipeline(**first.components, requires_safety_checker=False)
    finite = Finite()
    for pipe in pipes.values():
        pipe.set_progress_bar_config(disable=True)
        pipe.image_processor.postprocess = watched(pipe.image_processor.postprocess, finite)
    given: dict[str, dict[str, Any]] = {
        "generate": {"width": SIZE[0], "height": SIZE[1]},
        "img2img": {"image": SOURCE, "strength": 0.5},
        "inpaint": {"image": SOURCE, "mask_image": MASK, "width": SIZE[0], "height": SIZE[1]},
    }

    def call(one: Call) -> Any:
        finite.value = True
        arguments = {"prompt": "a red apple", "num_inference_steps": 3, "guidance_scale": 3.0, **given[one.operation]}
        value = torch.Generator().manual_seed(one.value) if one.argument == "generator" else one.value
        return pipes[one.operation](**{**arguments, one.argument: value}).images[0]

    return call, finite


def watched(postprocess: Callable[..., Any], finite: Finite) -> Callable[..., Any]:
    def wrapped(image: Any, *args: Any, **kwargs: Any) -> Any:
        finite.value = not isinstance(image, torch.Tensor) or bool(torch.isfinite(image).all())
        return postprocess(image, *args, **kwargs)

    return wrapped


def of_editkit(folder: Path) -> tuple[Callable[[Call], Any], Finite]:
    """Return a function that makes a call with editkit and returns the image; its pixels are always checked."""
    model = editkit.load_model(str(folder))
    given: dict[str, dict[str, Any]] = {
        "generate": {"width": SIZE[0], "height": SIZE[1]},
        "img2img": {"strength": 0.5},
        "inpaint": {"mask": MASK},
    }

    def call(one: Call) -> Any:
        name = NAMES.get(one.argument, one.argument)
        image = one.value if name == "image" else None if one.operation == "generate" else SOURCE
        params = {"prompt": "a red apple", "steps": 3, "guidance": 3.0, **given[one.operation]}
        params |= {} if name == "image" else {name: one.value}
        return editkit.apply(one.operation, image, model=model, cache=False, **params).image

    return call, Finite()


def ending(call: Callable[[Call], Any], finite: Finite, one: Call) -> str:
    """Return how a bad call ended: one of :data:`COLUMNS`, of which NaN is a kind of silent."""
    names = {one.argument, NAMES.get(one.argument, one.argument), one.argument.partition("_")[0]}
    try:
        call(one)
    except (ValueError, TypeError, EditkitError) as error:
        return "clear" if any(name in str(error) for name in names) else "cryptic"
    except Exception:
        return "cryptic"
    return "silent" if finite.value else "NaN"


def is_right(call: Callable[[Call], Any], image: Image.Image) -> str:
    """Return how an edit of a good image ended: ``right`` has the size of the upright image."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    try:
        result = call(Call("img2img", "image", image))
    except Exception:
        return "refused"
    return "right" if result.size == upright.size else "wrong"


def is_costly(one: Call) -> bool:
    """Whether a value that a library may accept would take hours or all memory."""
    return one.value == 10**9 if isinstance(one.value, int) else False


def measure() -> list[str]:
    """Return the lines of the table."""
    with tempfile.TemporaryDirectory() as place:
        folder = stable_diffusion_folder(Path(place) / "tiny")
        bad, good = [one for one in bad_calls() if not is_costly(one)], list(good_images())
        lines = [
            f"| library | {len(bad)} bad calls: an image in silence | of these from NaN | cryptic error | clear error "
            f"| {len(good)} good images: right | wrong | refused |",
            "| --- |" + " ---: |" * 7,
        ]
        for library, start in (("diffusers", of_diffusers), ("editkit", of_editkit)):
            call, finite = start(folder)
            bad_counts = Counter(ending(call, finite, one) for one in bad)
            good_counts = Counter(is_right(call, image) for image in good)
            silent = bad_counts["silent"] + bad_counts["NaN"]
            figures = [silent, *(bad_counts[name] for name in COLUMNS[1:])]
            figures += [good_counts[name] for name in ("right", "wrong", "refused")]
            lines.append(f"| {library} | " + " | ".join(map(str, figures)) + " |")
    return lines


if __name__ == "__main__":
    logging.disable(logging.ERROR)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    with contextlib.redirect_stderr(io.StringIO()):
        table = measure()
    sys.stdout.write("\n".join(table) + "\n")
