"""The list of comparisons, in the order of the table."""

from __future__ import annotations

from .comparison import STRENGTH, Comparison, decoded_latents, drawing_row
from .drawing_rows import (
    control_row,
    diffusers_batch,
    diffusers_outpainting,
    diffusers_upscaling,
    editkit_batch,
    editkit_outpainting,
    editkit_upscaling,
    img2img_row,
    inpaint_row,
    instruct_row,
)
from .inversion_rows import (
    LEDITS,
    UNGUIDED_NOISES,
    diffusers_added_noise,
    diffusers_ddim,
    diffusers_four_edits,
    diffusers_instruct_by_inversion,
    diffusers_inversion,
    editkit_added_noise,
    editkit_ddim,
    editkit_four_edits,
    editkit_instruct_by_inversion,
    editkit_inversion,
    tuned_ddim,
    tuned_four_edits,
    tuned_inversion,
)

ROWS: tuple[Comparison, ...] = (
    drawing_row(
        "generate",
        "StableDiffusionPipeline",
        "generate",
        lambda fixture: {},
        lambda fixture: {"height": fixture.size, "width": fixture.size},
        families=("sd", "sdxl", "flux"),
    ),
    img2img_row("img2img", 7.5, ("sd", "sdxl", "flux")),
    img2img_row("img2img-not-guided", 1.0),
    inpaint_row("inpaint", "text"),
    inpaint_row("inpaint-made-for-it", "inpainting"),
    instruct_row("instruct", 1.5),
    instruct_row("instruct-image-guidance-1", 1.0),
    control_row("control"),
    control_row("control-end-half", end=0.5),
    control_row("control-img2img", strength=STRENGTH),
    Comparison(
        "edit-friendly-inversion",
        LEDITS,
        editkit_inversion,
        diffusers_inversion,
        tuned_inversion,
        (editkit_added_noise, diffusers_added_noise),
        True,
    ),
    Comparison("four-edits", LEDITS, editkit_four_edits, diffusers_four_edits, tuned_four_edits, None, False),
    Comparison(
        "ddim-inversion",
        "StableDiffusionDiffEditPipeline",
        editkit_ddim,
        diffusers_ddim,
        tuned_ddim,
        UNGUIDED_NOISES,
        False,
    ),
    Comparison(
        "sixteen-pictures",
        "StableDiffusionImg2ImgPipeline",
        editkit_batch,
        diffusers_batch,
        None,
        decoded_latents(editkit_batch, diffusers_batch),
        True,
    ),
    Comparison(
        "upscale",
        "StableDiffusionUpscalePipeline",
        editkit_upscaling,
        diffusers_upscaling,
        None,
        None,
        False,
        "upscaling",
    ),
    Comparison(
        "outpaint", "StableDiffusionInpaintPipeline", editkit_outpainting, diffusers_outpainting, None, None, False
    ),
    Comparison(
        "instruct-by-inversion",
        "StableDiffusionDiffEditPipeline",
        editkit_instruct_by_inversion,
        diffusers_instruct_by_inversion,
        None,
        None,
        False,
    ),
)
