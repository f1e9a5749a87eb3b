"""Tiny pipelines that draw from a prompt and images: references, or hints in further channels of the network."""

from __future__ import annotations

from typing import Any

import diffusers as d
import transformers as t

from .diffusion_models import stable_diffusion
from .family import Table, small_area
from .grid_flows import cogview4, kandinsky5, omnigen
from .parts import (
    flow,
    qwen3_vl,
    qwen_processor,
    shake,
    tokenizer,
    wan_autoencoder,
)
from .token_flows import TRUE_CFG, fibo, flux, flux2_klein_base, longcat_image, qwen_image

EDIT_MODELS = Table()


@EDIT_MODELS.entry(**TRUE_CFG, reference="image", areas=small_area("qwenimage.pipeline_qwenimage_edit"))
def qwen_image_edit(kind: Any = d.QwenImageEditPipeline) -> Any:
    return qwen_image(kind, processor=qwen_processor())


@EDIT_MODELS.entry(
    **TRUE_CFG,
    reference="image",
    several=True,
    areas={"diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus.VAE_IMAGE_SIZE": 64**2},
)
def qwen_image_edit_plus() -> Any:
    return qwen_image_edit(d.QwenImageEditPlusPipeline)


@EDIT_MODELS.entry(
    unguided={"guidance_scale": 2.5},
    guided={**TRUE_CFG["guided"], "guidance_scale": 2.5},
    reference="image",
    call={"_auto_resize": False, "max_area": 64**2},
)
def flux_kontext() -> Any:
    return flux(d.FluxKontextPipeline)


@EDIT_MODELS.entry(reference="image", sized=False, areas=small_area("longcat_image.pipeline_longcat_image_edit"))
def longcat_image_edit() -> Any:
    return longcat_image(d.LongCatImageEditPipeline)


@EDIT_MODELS.entry(guided=None, unguided={}, reference="image", several=True)
def flux2_klein_kv() -> Any:
    return flux2_klein_base(distilled=True, kind=d.Flux2KleinKVPipeline)


@EDIT_MODELS.entry(reference="image", prompt='{"edit_instruction": "a red apple"}')
def fibo_edit() -> Any:
    return fibo(d.BriaFiboEditPipeline)


@EDIT_MODELS.entry(reference="image", sizing={"resolutions": [(64, 64)]})
def kandinsky5_edit() -> Any:
    return kandinsky5(d.Kandinsky5I2IPipeline, reference=True)


BUCKETS = {"diffusers.pipelines.joyimage.image_processor.BUCKETS": {1024: [(64, 64)]}}
"""Sizes (height, width) of all images of JoyImage."""


@EDIT_MODELS.entry(reference="image", areas=BUCKETS)
def joyimage_edit(kind: Any = d.JoyImageEditPipeline, network: Any = d.JoyImageEditTransformer3DModel) -> Any:
    transformer = network(
        **{"patch_size": [1, 2, 2], "in_channels": 4, "out_channels": 4, "hidden_size": 32, "num_attention_heads": 2},
        **{"text_dim": 16, "mlp_width_ratio": 2.0, "num_layers": 1, "rope_dim_list": [4, 6, 6]},
    )
    return kind(
        transformer=shake(transformer),
        vae=wan_autoencoder(),
        scheduler=flow(shift=3.0),
        text_encoder=qwen3_vl(t.Qwen3VLForConditionalGeneration),
        tokenizer=tokenizer(2048),
        processor=qwen_processor(t.Qwen3VLProcessor),
    )


@EDIT_MODELS.entry(reference="images", several=True, areas=BUCKETS)
def joyimage_edit_plus() -> Any:
    return joyimage_edit(d.JoyImageEditPlusPipeline, d.JoyImageEditPlusTransformer3DModel)


@EDIT_MODELS.entry(
    needs="torchvision",
    reference="input_images",
    several=True,
    prompt="<img><|image_1|></img> a red apple",
    unguided={"guidance_scale": 1.0, "img_guidance_scale": 1.0},
)
def omnigen_edit() -> Any:
    return omnigen()


# Hints and images in further channels


@EDIT_MODELS.entry(unguided={"guidance_scale": 30.0}, guided=None, reference="control_image")
def flux_control() -> Any:
    return flux(d.FluxControlPipeline, channels=32)


@EDIT_MODELS.entry(reference="control_image")
def cogview4_control() -> Any:
    return cogview4(d.CogView4ControlPipeline, channels=8)


@EDIT_MODELS.entry(reference="image", unguided={"guidance_scale": 1.0, "image_guidance_scale": 1.0}, sized=False)
def instruct_pix2pix() -> Any:
    return stable_diffusion(d.StableDiffusionInstructPix2PixPipeline, channels=8)
