"""Editing methods by name: operations of editkit, and pipelines of diffusers for comparison.

A method is a name with options after a colon: ``prompt-edit:guidance=1.25,inverter=ddim``. Controls follow an
operation after spaces, as its ``attach`` takes them: ``prompt-edit:steps=8 plug-and-play:queries=0.4,features=0``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from diffusers import DDIMInverseScheduler, StableDiffusionDiffEditPipeline, StableDiffusionImg2ImgPipeline
from numpy.typing import NDArray
from PIL import Image

import editkit
from editkit import DEFAULT_STEPS, evaluation
from editkit_emoji.training.cases import Case
from editkit_emoji.training.instructions import TRAINED, UNSEEN, instruction_for, wordings


class EditResult(NamedTuple):
    """An edited image (H, W, 3) uint8 and its cost."""

    pixels: NDArray[np.uint8]
    calls: int
    """Network calls."""
    samples: int
    """Network samples: rows of all calls."""
    seconds: float


Method = Callable[[Case], EditResult]
"""Function that edits the image of a case."""


def method_of(text: str, model: Path, steps: int | None) -> Method:
    """Parse a method that edits with the model in a folder; ``steps`` applies if the text sets none."""
    specification, *controls = text.split()
    name, _, options = specification.partition(":")
    given = [option for option in options.split(",") if option]
    if steps is not None and not any(option.startswith("steps=") for option in given):
        given.append(f"steps={steps}")
    pipelines: dict[str, Callable[..., Method]] = {"diffusers-img2img": img2img, "diffusers-ddim": ddim_inversion}
    if name in pipelines:
        parts = (option.partition("=") for option in given)
        return pipelines[name](model, **{key: yaml.safe_load(value) for key, _, value in parts})
    wordings_of = [option.removeprefix("wording=") for option in given if option.startswith("wording=")]
    given = [option for option in given if not option.startswith("wording=")]
    given += [f"attach=[{control}]" for control in controls]
    method = evaluation.EditMethod.parse(f"{name}:{','.join(given)}")
    return operation(method, model, *wordings_of)


def operation(method: evaluation.EditMethod, folder: Path, wording: str = "plain") -> Method:
    """Return an operation of editkit as a method; ``wording`` selects the instructions of ``instruct``."""
    model = editkit.load_model(model_reference(folder))

    def make(case: Case) -> EditResult:
        text = instruction(case, wording) if method.operation == "instruct" else ""
        result = method.edit(case.for_evaluation(text), model, seed=0)
        pixels, report = np.asarray(result.image.convert("RGB")), result.report
        return EditResult(pixels, report.network_calls, report.network_samples, report.seconds)

    return make


def model_reference(folder: Path) -> str | Path:
    """Return the registered name of a model folder, whose spec has the defaults of the model, or the folder itself."""
    names = {spec.load().resolve(): name for name, spec in editkit.models().items()}
    return names.get(folder.resolve(), folder)


def instruction(case: Case, wording: str) -> str:
    """Return the plain instruction of a case, or a ``trained`` or ``unseen`` wording, selected by its hash."""
    if wording == "plain":
        return instruction_for(case.source, case.target)
    templates = {"trained": TRAINED, "unseen": UNSEEN}[wording]
    ways = wordings(templates, case.pair.attribute, case.source, case.pair.was, case.pair.new)
    return ways[case.lot % len(ways)]


def img2img(folder: Path, *, steps: int = DEFAULT_STEPS, strength: float, guidance: float) -> Method:
    """Return StableDiffusionImg2ImgPipeline of diffusers as a method."""
    pipeline = load_quietly(StableDiffusionImg2ImgPipeline, folder)

    def edit(case: Case) -> Image.Image:
        output = pipeline(
            case.target.caption,
            Image.fromarray(case.image),
            strength=strength,
            guidance_scale=guidance,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(0),
        )
        return output.images[0]  # type: ignore[no-any-return]

    return count_calls(pipeline, edit)


def ddim_inversion(folder: Path, *, steps: int = DEFAULT_STEPS, guidance: float) -> Method:
    """Return the DDIM inversion of StableDiffusionDiffEditPipeline in diffusers, with a full mask, as a method."""
    pipeline = load_quietly(StableDiffusionDiffEditPipeline, folder)
    pipeline.inverse_scheduler = DDIMInverseScheduler.from_config(pipeline.scheduler.config)

    def edit(case: Case) -> Image.Image:
        settings = {
            "num_inference_steps": steps,
            "inpaint_strength": 1.0,
            "generator": torch.Generator().manual_seed(0),
        }
        image = Image.fromarray(case.image)
        inverted = pipeline.invert(case.source.caption, image, guidance_scale=1.0, **settings).latents
        everywhere = np.ones((1, *inverted.shape[-2:]), dtype=np.float32)
        output = pipeline(case.target.caption, everywhere, inverted, guidance_scale=guidance, **settings)
        return output.images[0]  # type: ignore[no-any-return]

    return count_calls(pipeline, edit)


def load_quietly(kind: Any, folder: Path) -> Any:
    with editkit.quiet():
        pipeline = kind.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def count_calls(pipeline: Any, edit: Callable[[Case], Image.Image]) -> Method:
    """Return a method from a diffusers pipeline that counts the calls of its network and their rows."""
    rows: list[int] = []
    pipeline.unet.register_forward_pre_hook(
        lambda unet, arguments, named: rows.append(len(arguments[0])), with_kwargs=True
    )

    def make(case: Case) -> EditResult:
        rows.clear()
        start = time.perf_counter()
        output = edit(case)
        return EditResult(np.asarray(output), len(rows), sum(rows), time.perf_counter() - start)

    return make
