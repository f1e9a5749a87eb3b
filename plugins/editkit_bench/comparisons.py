"""The comparisons: an edit by editkit, the class of diffusers that does the same job, and that class tuned by hand.

A row is declared in one place; most are a call of a pipeline and need nothing but the arguments of both sides.
"""

from __future__ import annotations

import contextlib
import dataclasses as dc
import functools
import itertools
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import DDIMScheduler
from PIL import Image
from torch import Tensor

import editkit
from editkit import Path, fresh_deviation, make_path

from .counters import decoded_by
from .fixture import PROMPT, SEED, TARGET, Side, Stage
from .isolated_cache import kept_in
from .tuned_diffusers import fused_and_not_decoded, sparing, two_branches

STRENGTH = 0.5
"""Of an even number of steps whole steps are left, as diffusers wants it."""

Arguments = Callable[[Stage], Mapping[str, Any]]
Results = tuple[Callable[[Stage], Tensor], Callable[[Stage], Tensor]]
"""Of editkit and of diffusers: does the job once, and returns what is compared, tensors of one shape."""
FAMILIES = {"sd": "StableDiffusion", "sdxl": "StableDiffusionXL", "flux": "Flux"}
"""What the classes of a family begin with."""


@dc.dataclass(frozen=True)
class Comparison:
    """A row: the three sides, and what is compared of their results with models of the family sd."""

    operation: str
    """Name of the row."""
    pipeline: str
    """Class of diffusers, for the family sd."""
    ours: Side
    theirs: Side
    tuned: Side | None
    results: Results | None
    same_maths: bool
    kind: str = "text"
    """What the network of its model is made for."""
    families: tuple[str, ...] = ("sd",)


def drawing(
    name: str,
    pipeline: str,
    operation: str,
    params: Arguments,
    arguments: Arguments,
    *,
    guidance: float = 7.5,
    kind: str = "text",
    parts: Arguments = lambda stage: {},
    spared: Callable[[Any], contextlib.AbstractContextManager[None]] | None = None,
    families: tuple[str, ...] = ("sd",),
) -> Comparison:
    """A row in which both draw by DDIM from the same noise, so that the latents they decode are the same.

    ``parts`` are components that the pipeline is built with; ``spared`` tunes the pipeline for a while.
    """

    def ours(stage: Stage) -> Any:
        given = {"guidance": guidance, "steps": stage.steps, **params(stage)}
        if operation != "instruct":
            given = {"prompt": PROMPT, **given}
        return stage.edit(operation, None if operation == "generate" else stage.picture, **given)

    def call(stage: Stage, **prompt: Any) -> Any:
        made = stage.pipeline(in_family(pipeline, stage), **parts(stage))
        given = {"num_inference_steps": stage.steps, "guidance_scale": guidance, "generator": stage.generator()}
        return made(**prompt, **{**given, **arguments(stage)})

    def theirs(stage: Stage) -> Any:
        return call(stage, prompt=PROMPT)

    def tuned(stage: Stage) -> Any:
        tuning = spared(stage.pipeline(pipeline, **parts(stage))) if spared else contextlib.nullcontext()
        with tuning, torch.inference_mode():
            return call(stage, **(stage.embedded if stage.shape.family == "sd" else {"prompt": PROMPT}))

    return Comparison(name, pipeline, ours, theirs, tuned, latents(ours, theirs), True, kind, families)


def in_family(pipeline: str, stage: Stage) -> str:
    """The class of a model's family that does what one of Stable Diffusion does."""
    return pipeline.replace(FAMILIES["sd"], FAMILIES[stage.shape.family], 1)


def latents(ours: Side, theirs: Side) -> Results:
    """What both decode, scaled as networks see it; weights lie alike, so that sums are rounded alike."""

    def of_diffusers(stage: Stage) -> Tensor:
        stage = stage.by_hand
        with stage.averaging():
            return decoded_by(lambda: theirs(stage), stage.base.vae) * float(stage.base.vae.config.scaling_factor)

    return lambda stage: decoded_by(lambda: ours(stage), stage.model), of_diffusers


def img2img(name: str, guidance: float, families: tuple[str, ...] = ("sd",)) -> Comparison:
    return drawing(
        name,
        "StableDiffusionImg2ImgPipeline",
        "img2img",
        lambda stage: {"strength": STRENGTH},
        lambda stage: {"image": stage.picture, "strength": STRENGTH},
        guidance=guidance,
        families=families,
    )


def control(name: str, *, end: float = 1.0, strength: float = 1.0) -> Comparison:
    """A row with a ControlNet, from noise or from the picture."""

    def arguments(stage: Stage) -> Mapping[str, Any]:
        hint = stage.map.convert("RGB")
        given = {"control_guidance_end": end, "controlnet_conditioning_scale": 1.0}
        if strength == 1:
            return {**given, "image": hint}
        return {**given, "image": stage.picture, "control_image": hint, "strength": strength}

    return drawing(
        name,
        "StableDiffusionControlNetPipeline" if strength == 1 else "StableDiffusionControlNetImg2ImgPipeline",
        "control",
        lambda stage: {
            "controlnet": str(stage.controlnet[0]),
            "control_image": stage.map,
            "control_end": end,
            "strength": strength,
        },
        arguments,
        parts=lambda stage: {"controlnet": stage.controlnet[1]},
        spared=lambda pipeline: sparing(pipeline.controlnet),
    )


def inpaint(name: str, kind: str) -> Comparison:
    """A row under a mask, with any model or with one made for it.

    With the latter all is masked: what is not, editkit holds to the source and diffusers does not.
    """

    def mask_of(stage: Stage) -> Image.Image:
        return stage.mask if kind == "text" else stage.whole

    def arguments(stage: Stage) -> Mapping[str, Any]:
        side = stage.size
        return {"image": stage.picture, "mask_image": mask_of(stage), "height": side, "width": side}

    return drawing(
        name, "StableDiffusionInpaintPipeline", "inpaint", lambda s: {"mask": mask_of(s)}, arguments, kind=kind
    )


def instruct(name: str, image_guidance: float) -> Comparison:
    return drawing(
        name,
        "StableDiffusionInstructPix2PixPipeline",
        "instruct",
        lambda stage: {"instruction": PROMPT, "image_guidance": image_guidance},
        lambda stage: {"image": stage.picture, "image_guidance_scale": image_guidance},
        kind="instructions",
        spared=(lambda pipeline: two_branches(pipeline.unet)) if image_guidance == 1 else None,
    )


# Edit-friendly inversion: DDIM selects it in the pipeline of LEDITS++

GUIDED = 3.5
INVERSION_STEPS = 20
FEW = 4
"""Steps of the rows that take long, whose ratios hardly depend on them: an even divisor of the timesteps, without which
diffusers' DDIM steps past the ones it asks at."""
LEDITS = "LEditsPPPipelineStableDiffusion"


def steps_of(stage: Stage) -> int:
    """More than of a drawing, as the pipeline takes too, but where the shape is measured with few."""
    return INVERSION_STEPS if stage.steps > FEW else stage.steps


def our_inversion(stage: Stage) -> Any:
    """Led away from the prompt: the pipeline confuses its two embeddings (0.42), and so is compared with this."""
    return stage.edit(
        "invert",
        stage.picture,
        prompt="",
        negative_prompt=PROMPT,
        method="edit-friendly:skip=0",
        steps=steps_of(stage),
        guidance=GUIDED,
    )


def ledits(stage: Stage) -> Any:
    """The pipeline, with a DDIM that works in it: it asks for noise at a timestep that is no integer (0.42)."""
    made, diffused = stage.pipeline(LEDITS), DDIMScheduler.add_noise

    def add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        return diffused(scheduler, clean, noise, timesteps.long())  # type: ignore[no-any-return]

    vars(made.scheduler)["add_noise"] = functools.partial(add_noise, made.scheduler)
    return made


def their_inversion(stage: Stage, steps: int | None = None) -> Any:
    made = ledits(stage)
    attention = made.unet.attn_processors
    made.invert(
        stage.picture,
        source_prompt=PROMPT,
        source_guidance_scale=GUIDED,
        num_inversion_steps=steps or steps_of(stage),
        skip=0.0,
        generator=stage.generator(),
    )
    made.unet.set_attn_processor(attention)
    return made


def tuned_inversion(stage: Stage, steps: int | None = None) -> Any:
    with fused_and_not_decoded(stage.pipeline(LEDITS)), torch.inference_mode():
        return their_inversion(stage, steps)


def our_added_noise(stage: Stage) -> Tensor:
    """What the noise of every step adds to the latents (N, C, h, w) when it is replayed."""
    climb = our_inversion(stage).climb
    return added(climb.path, climb.kept["noise"][0])


def their_added_noise(stage: Stage) -> Tensor:
    path = make_path(stage.model.schedule, steps_of(stage), stage.model.grid)
    return added(path, their_inversion(stage).zs[:, 0])


def added(path: Path, noise: Tensor) -> Tensor:
    """The noise (N, C, h, w) of the steps of a path, as strong as it is added."""
    strength = torch.tensor([fresh_deviation(p, q) for p, q in itertools.pairwise(path)]).to(noise)
    return strength.view(-1, 1, 1, 1) * noise


def ours_four(stage: Stage) -> Any:
    """Four edits of one picture, of which the last three find the inversion of the first."""
    with tempfile.TemporaryDirectory() as place, kept_in(place):
        return [
            stage.edit(
                "prompt-edit",
                stage.picture,
                source=PROMPT,
                target=target,
                inverter="edit-friendly:skip=0",
                steps=min(FEW, stage.steps),
                guidance=GUIDED,
                negative_prompt="",
                cache=True,
            )
            for target in FOUR
        ]


FOUR = tuple(f"a {colour} apple on white" for colour in ("green", "blue", "yellow", "red"))


def their_edit(stage: Stage, target: str) -> Any:
    """What is inverted, drawn towards a prompt."""
    made = ledits(stage)
    attention = made.unet.attn_processors
    drawn = made(
        editing_prompt=[target], edit_guidance_scale=GUIDED, use_intersect_mask=False, generator=stage.generator()
    )
    made.unet.set_attn_processor(attention)
    return drawn


def their_four(stage: Stage) -> Any:
    """An inversion for each edit, as a script that edits once does."""
    for target in FOUR:
        their_inversion(stage, min(FEW, stage.steps))
        their_edit(stage, target)


def tuned_four(stage: Stage) -> Any:
    """One inversion for all."""
    tuned_inversion(stage, min(FEW, stage.steps))
    with torch.inference_mode():
        for target in FOUR:
            their_edit(stage, target)


# Deterministic inversion


def our_ddim(stage: Stage) -> Any:
    return stage.edit("invert", stage.picture, prompt=PROMPT, method="ddim", steps=stage.steps)


def their_ddim(stage: Stage, guidance: float = 7.5, **prompt: Any) -> Any:
    """Guided unless told otherwise, as the pipeline is by default."""
    import diffusers

    made = stage.pipeline("StableDiffusionDiffEditPipeline", inverse_scheduler=None)
    made.inverse_scheduler = diffusers.DDIMInverseScheduler.from_config(stage.base.scheduler.config)
    return made.invert(
        **(prompt or {"prompt": PROMPT}),
        image=stage.picture,
        num_inference_steps=stage.steps,
        inpaint_strength=1.0,
        guidance_scale=guidance,
        generator=stage.generator(),
    )


def tuned_ddim(stage: Stage) -> Any:
    with torch.inference_mode():
        return their_ddim(stage, 1.0, **stage.embedded)


NOT_GUIDED: Results = (lambda stage: our_ddim(stage).noise, lambda stage: their_ddim(stage, 1.0).latents[:, -1])
"""The noise that both find: with guidance they find another."""


# Several pictures


def several(stage: Stage) -> Mapping[str, Any]:
    return {"prompt": PROMPT, "strength": STRENGTH, "guidance": 7.5, "steps": min(FEW, stage.steps)}


def ours_several(stage: Stage) -> Any:
    """Edits in lock step, each with the same seed."""
    return editkit.apply_all("img2img", stage.several, model=stage.model, seed=SEED, cache=False, **several(stage))


def their_several(stage: Stage) -> Any:
    """diffusers takes several in one call, each with a generator of its own."""
    made = stage.pipeline("StableDiffusionImg2ImgPipeline")
    return made(
        [PROMPT] * len(stage.several),
        image=stage.several,
        strength=STRENGTH,
        num_inference_steps=min(FEW, stage.steps),
        guidance_scale=7.5,
        generator=[stage.generator() for _ in stage.several],
    )


# Jobs that both do, each by mathematics of its own


def our_outpainting(stage: Stage) -> Any:
    return stage.edit("outpaint", stage.picture, prompt=PROMPT, right=stage.size // 2, guidance=7.5, steps=stage.steps)


def their_outpainting(stage: Stage) -> Any:
    """diffusers has no class for it: the picture on a wider canvas, and a mask over what is new."""
    canvas = Image.new("RGB", (stage.size * 3 // 2, stage.size), (128, 128, 128))
    mask = Image.new("L", canvas.size, 255)
    canvas.paste(stage.picture)
    mask.paste(0, (0, 0, stage.size, stage.size))
    return stage.pipeline("StableDiffusionInpaintPipeline")(
        PROMPT,
        image=canvas,
        mask_image=mask,
        width=canvas.width,
        height=canvas.height,
        num_inference_steps=stage.steps,
        guidance_scale=7.5,
        generator=stage.generator(),
    )


def our_found_edit(stage: Stage) -> Any:
    return stage.edit(
        "instruct",
        stage.picture,
        instruction="make it green",
        method="inversion",
        source=PROMPT,
        target=TARGET,
        auto_mask=True,
        guidance=7.5,
        steps=min(FEW, stage.steps),
    )


def their_found_edit(stage: Stage) -> Any:
    """DiffEdit: the mask from where two prompts disagree, the inversion, the edit."""
    import diffusers

    made = stage.pipeline("StableDiffusionDiffEditPipeline", inverse_scheduler=None)
    made.inverse_scheduler = diffusers.DDIMInverseScheduler.from_config(stage.base.scheduler.config)
    given = {"num_inference_steps": min(FEW, stage.steps), "generator": stage.generator()}
    mask = made.generate_mask(image=stage.picture, source_prompt=PROMPT, target_prompt=TARGET, **given)
    inverted = made.invert(prompt=PROMPT, image=stage.picture, inpaint_strength=1.0, **given).latents
    return made(
        prompt=TARGET, mask_image=mask, image_latents=inverted, negative_prompt=PROMPT, inpaint_strength=1.0, **given
    )


def our_upscaling(stage: Stage) -> Any:
    return stage.edit("upscale", quarter(stage), prompt=PROMPT, scale=4, guidance=7.5, steps=FEW)


def their_upscaling(stage: Stage) -> Any:
    return stage.pipeline("StableDiffusionUpscalePipeline")(
        PROMPT,
        image=quarter(stage),
        num_inference_steps=FEW,
        guidance_scale=7.5,
        generator=stage.generator(),
    )


def quarter(stage: Stage) -> Image.Image:
    """The picture, of the size that becomes the model's own."""
    return stage.picture.resize((stage.size // 4, stage.size // 4))


ROWS: tuple[Comparison, ...] = (
    drawing(
        "generate",
        "StableDiffusionPipeline",
        "generate",
        lambda stage: {},
        lambda stage: {"height": stage.size, "width": stage.size},
        families=("sd", "sdxl", "flux"),
    ),
    img2img("img2img", 7.5, ("sd", "sdxl", "flux")),
    img2img("img2img-not-guided", 1.0),
    inpaint("inpaint", "text"),
    inpaint("inpaint-made-for-it", "inpainting"),
    instruct("instruct", 1.5),
    instruct("instruct-image-guidance-1", 1.0),
    control("control"),
    control("control-end-half", end=0.5),
    control("control-img2img", strength=STRENGTH),
    Comparison(
        "edit-friendly-inversion",
        LEDITS,
        our_inversion,
        their_inversion,
        tuned_inversion,
        (our_added_noise, their_added_noise),
        True,
    ),
    Comparison("four-edits", LEDITS, ours_four, their_four, tuned_four, None, False),
    Comparison(
        "ddim-inversion",
        "StableDiffusionDiffEditPipeline",
        our_ddim,
        their_ddim,
        tuned_ddim,
        NOT_GUIDED,
        False,
    ),
    Comparison(
        "sixteen-pictures",
        "StableDiffusionImg2ImgPipeline",
        ours_several,
        their_several,
        None,
        latents(ours_several, their_several),
        True,
    ),
    Comparison(
        "upscale", "StableDiffusionUpscalePipeline", our_upscaling, their_upscaling, None, None, False, "upscaling"
    ),
    Comparison("outpaint", "StableDiffusionInpaintPipeline", our_outpainting, their_outpainting, None, None, False),
    Comparison(
        "instruct-by-inversion",
        "StableDiffusionDiffEditPipeline",
        our_found_edit,
        their_found_edit,
        None,
        None,
        False,
    ),
)
