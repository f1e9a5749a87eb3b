"""Ways to make a known edit, by name: editkit's operations, and diffusers' own pipelines beside them.

A method is a name with options after a colon: ``prompt-edit:guidance=1.25,inverter=ddim``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from diffusers import DDIMInverseScheduler, StableDiffusionDiffEditPipeline, StableDiffusionImg2ImgPipeline
from numpy.typing import NDArray
from PIL import Image

import editkit
from editkit import DEFAULT_STEPS
from editkit_emoji.training.data import Picture
from editkit_emoji.training.instructions import TRAINED, UNSEEN, instruction_for, wordings
from editkit_emoji.training.pairs import Pair


class Made(NamedTuple):
    """An edited picture (H, W, 3) uint8 and what it cost."""

    pixels: NDArray[np.uint8]
    calls: int
    """Of the network."""
    samples: int
    """Rows of all those calls."""
    seconds: float


Method = Callable[[Pair, Sequence[Picture], Image.Image], Made]
"""Makes the edit of a pair of these pictures from its source."""


def method_of(text: str, model: Path, steps: int | None) -> Method:
    """Read a method; it edits with the model in a folder, in ``steps`` steps or the usual ones where it names none."""
    name, _, options = text.partition(":")
    parts = (option.partition("=") for option in options.split(",") if option)
    given = {} if steps is None else {"steps": steps}
    values = {**given, **{key: yaml.safe_load(value) for key, _, value in parts}}
    pipelines: dict[str, Callable[..., Method]] = {"diffusers-img2img": img2img, "diffusers-ddim": ddim_inversion}
    return pipelines[name](model, **values) if name in pipelines else operation(name, model, **values)


def operation(name: str, folder: Path, *, wording: str = "plain", **values: Any) -> Method:
    """An operation of editkit; ``wording`` says which instructions those that take one are given."""
    model = editkit.load_model(called(folder))
    sees = "instructions" in model.provides and values.get("method") != "inversion"

    def make(pair: Pair, pictures: Sequence[Picture], image: Image.Image) -> Made:
        source, target = pictures[pair.source], pictures[pair.target]
        was = {"source": source.caption}
        told = {
            "img2img": lambda: {"prompt": target.caption},
            "instruct": lambda: {"instruction": asked_for(pair, source, target, wording)} | ({} if sees else was),
        }.get(name, lambda: {**was, "target": target.caption})()
        result = editkit.apply(name, image, model=model, cache=False, **{"seed": 0, **told, **values})
        pixels, report = np.asarray(result.image.convert("RGB")), result.report
        return Made(pixels, report.network_calls, report.network_samples, report.seconds)

    return make


def called(folder: Path) -> str | Path:
    """The registered name of the model in a folder, by which it is known what is usual for it, or the folder itself."""
    names = {spec.load().resolve(): name for name, spec in editkit.models().items()}
    return names.get(folder.resolve(), folder)


def asked_for(pair: Pair, source: Picture, target: Picture, wording: str) -> str:
    """An instruction: the plain one, or one of those that were ``trained`` or kept ``unseen``, by the pair's lot."""
    if wording == "plain":
        return instruction_for(source, target)
    ways = wordings({"trained": TRAINED, "unseen": UNSEEN}[wording], pair.attribute, source, pair.was, pair.new)
    return ways[int(hashlib.sha256(f"{source.key} {target.key}".encode()).hexdigest(), 16) % len(ways)]


def img2img(folder: Path, *, steps: int = DEFAULT_STEPS, strength: float, guidance: float) -> Method:
    """Diffusers' StableDiffusionImg2ImgPipeline."""
    pipeline = quietly(StableDiffusionImg2ImgPipeline, folder)

    def draw(source: Picture, target: Picture, image: Image.Image) -> Image.Image:
        drawn = pipeline(
            target.caption,
            image,
            strength=strength,
            guidance_scale=guidance,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0),
        )
        return drawn.images[0]  # type: ignore[no-any-return]

    return measured(pipeline, draw)


def ddim_inversion(folder: Path, *, steps: int = DEFAULT_STEPS, guidance: float) -> Method:
    """Diffusers' own DDIM inversion, of StableDiffusionDiffEditPipeline with a mask of everything."""
    pipeline = quietly(StableDiffusionDiffEditPipeline, folder)
    pipeline.inverse_scheduler = DDIMInverseScheduler.from_config(pipeline.scheduler.config)

    def draw(source: Picture, target: Picture, image: Image.Image) -> Image.Image:
        told = {"num_inference_steps": steps, "inpaint_strength": 1.0, "generator": torch.Generator().manual_seed(0)}
        climb = pipeline.invert(source.caption, image, guidance_scale=1.0, **told).latents
        everywhere = np.ones((1, *climb.shape[-2:]), dtype=np.float32)
        drawn = pipeline(target.caption, everywhere, climb, guidance_scale=guidance, **told)
        return drawn.images[0]  # type: ignore[no-any-return]

    return measured(pipeline, draw)


def quietly(kind: Any, folder: Path) -> Any:
    with editkit.quiet():
        pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def measured(pipeline: Any, draw: Callable[[Picture, Picture, Image.Image], Image.Image]) -> Method:
    """A method of a diffusers pipeline, its network samples counted at the UNet's door."""
    asked: list[int] = []
    pipeline.unet.register_forward_pre_hook(lambda unet, given, named: asked.append(len(given[0])), with_kwargs=True)

    def make(pair: Pair, pictures: Sequence[Picture], image: Image.Image) -> Made:
        asked.clear()
        begun = time.perf_counter()
        drawn = draw(pictures[pair.source], pictures[pair.target], image)
        return Made(np.asarray(drawn), len(asked), sum(asked), time.perf_counter() - begun)

    return make
