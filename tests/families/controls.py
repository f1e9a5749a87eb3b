"""Tiny ControlNets, each in a pipeline with the parts of another family; the folder's ``controlnet`` is one alone."""

from __future__ import annotations

from typing import Any

import diffusers as d

from .diffusion_models import HUNYUAN_DIT, UNET, WITH_SIZES, hunyuan_dit, stable_diffusion, stable_diffusion_xl
from .family import Table
from .grid_flows import SANA, SD3, sana, stable_diffusion_3, z_image
from .parts import shake
from .token_flows import FLUX, QWEN_IMAGE, TRUE_CFG, flux, qwen_image

CONTROLS = Table()
HINT = {"reference": "control_image", "call": {"controlnet_conditioning_scale": 0.8}}


def controlled(kind: Any, network: Any, pipeline: Any) -> Any:
    """Return a pipeline of this class of the parts of another and a ControlNet, shaken so far that it matters."""
    parts = {name: part for name, part in pipeline.components.items() if name in kind._get_signature_keys(kind)[0]}
    return kind(**parts, controlnet=shake(network, seed=3, by=0.2))


@CONTROLS.entry(base="stable-diffusion", reference="image", call=HINT["call"])
def stable_diffusion_controlnet() -> Any:
    network = d.ControlNetModel.from_unet(stable_diffusion().unet, conditioning_embedding_out_channels=(8, 16))
    return controlled(d.StableDiffusionControlNetPipeline, network, stable_diffusion())


@CONTROLS.entry(base="stable-diffusion-xl", reference="image", call=HINT["call"])
def stable_diffusion_xl_controlnet() -> Any:
    network = d.ControlNetModel.from_unet(stable_diffusion_xl().unet, conditioning_embedding_out_channels=(8, 16))
    return controlled(d.StableDiffusionXLControlNetPipeline, network, stable_diffusion_xl())


@CONTROLS.entry(base="stable-diffusion-xl", **HINT | {"call": {**HINT["call"], "control_mode": 1}})
def stable_diffusion_xl_union() -> Any:
    """For six kinds of hints, which the call names by number."""
    sizes = {name: value for name, value in (UNET | WITH_SIZES).items() if not name.startswith(("up_", "sample"))}
    network = d.ControlNetUnionModel(
        **sizes | {"cross_attention_dim": 64, "num_control_type": 6, "conditioning_embedding_out_channels": (8, 16)},
        **{"num_trans_channel": 8, "num_trans_head": 2, "num_trans_layer": 1, "num_proj_channel": 8},
    )
    return controlled(d.StableDiffusionXLControlNetUnionPipeline, network, stable_diffusion_xl())


@CONTROLS.entry(base="stable-diffusion-3", **HINT)
def stable_diffusion_3_controlnet() -> Any:
    network = d.SD3ControlNetModel(**SD3 | {"num_layers": 1})
    return controlled(d.StableDiffusion3ControlNetPipeline, network, stable_diffusion_3())


@CONTROLS.entry(base="flux", unguided={"guidance_scale": 3.5}, guided=None, **HINT)
def flux_controlnet() -> Any:
    return controlled(d.FluxControlNetPipeline, d.FluxControlNetModel(**FLUX), flux())


@CONTROLS.entry(base="flux", unguided={"guidance_scale": 3.5}, guided=None, **HINT | {"call": {"control_mode": 1}})
def flux_union() -> Any:
    """For ten kinds of hints, which the call names by number."""
    return controlled(d.FluxControlNetPipeline, d.FluxControlNetModel(**FLUX, num_mode=10), flux())


@CONTROLS.entry(base="qwen-image", **TRUE_CFG, **HINT)
def qwen_image_controlnet() -> Any:
    network = d.QwenImageControlNetModel(**QWEN_IMAGE | {"num_layers": 1})
    return controlled(d.QwenImageControlNetPipeline, network, qwen_image())


@CONTROLS.entry(base="z-image", unguided={"guidance_scale": 0.0}, **HINT)
def z_image_controlnet() -> Any:
    """Shares embedders and refiners with the transformer."""
    network = d.ZImageControlNetModel(
        **{"control_layers_places": [0, 1], "control_refiner_layers_places": [0], "control_in_dim": 16, "dim": 32},
        **{"n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2},
    )
    return controlled(d.ZImageControlNetPipeline, network, z_image())


@CONTROLS.entry(base="sana", **HINT | {"call": {**HINT["call"], "use_resolution_binning": False}})
def sana_controlnet() -> Any:
    names = ("out_channels", "guidance_embeds")
    sizes = {name: value for name, value in SANA.items() if name not in names}
    return controlled(d.SanaControlNetPipeline, d.SanaControlNetModel(**sizes), sana())


@CONTROLS.entry(base="hunyuan-dit", **HINT | {"call": {**HINT["call"], "use_resolution_binning": False}})
def hunyuan_dit_controlnet() -> Any:
    sizes = {name: value for name, value in HUNYUAN_DIT.items() if name != "num_layers"}
    network = d.HunyuanDiT2DControlNetModel(**sizes, transformer_num_layers=HUNYUAN_DIT["num_layers"])
    return controlled(d.HunyuanDiTControlNetPipeline, network, hunyuan_dit())
