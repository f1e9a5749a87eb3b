"""Recognise files that are no adapters, and the models that adapters were trained for, by their tensor names."""

from __future__ import annotations

import re
from collections.abc import Collection

_USE_CONTROLNET = "which is not supported: give a ControlNet to the operation control"
FOREIGN = {
    r"image_proj|.*ip_adapter": "an IP-Adapter: give it to an operation with --attach style:image=FILE,model=",
    r".*_custom_diffusion\.": "a Custom Diffusion file, which is not supported: convert it to a LoRA",
    r"(unet|text_encoder\w*):\d+:(up|down)": "a LoRA of cloneofsimo's lora_diffusion, which numbers layers instead of "
    "naming them and is not supported: convert it to the spelling of diffusers",
    r"lllite_": f"a ControlNet-LLLite, {_USE_CONTROLNET}",
    r"lora_controlnet$": f"a Control-LoRA, {_USE_CONTROLNET}",
    r".*(query_norm\.scale|key_norm\.scale|attn\.norm_(added_)?[qk]\.weight)$": "a control LoRA of FLUX (Depth, "
    "Canny): its network also takes a condition image, which is not supported",
    r"controlnet_|control_model\.|input_hint_block": "a ControlNet: give it to the operation control with --controlnet",
    r"(adapter\.)?body\.\d+\.": f"a T2I-Adapter, {_USE_CONTROLNET}",
    r"\d+\.(0|1)\.linear\.": "a hypernetwork, which is not supported",
    r"(model\.diffusion_model|cond_stage_model|conditioner|first_stage_model)\.": "a whole model: give it with -m",
    r"(conv_in|conv_out|time_embedding|time_embed|input_blocks|x_embedder|img_in|pos_embed)\.": "a network: give it "
    "with --transformer, and an adapter with --adapter",
    r"(text_model\.)?(embeddings\.(token|position)_embedding|encoder\.layers\.\d+|final_layer_norm)\.": "a text "
    "encoder, not an adapter: put it into the model's folder",
    r"(encoder\.(down_blocks|down)\.|decoder\.(up_blocks|up)\.|quant_conv\.)": "an autoencoder, not an adapter",
}
"""Files that are given as adapters by mistake, by the beginning of a tensor name."""

BASES = {
    "AnimateDiff": r".*motion_modules",
    "FLUX": r"(double_blocks|single_blocks|single_transformer_blocks)_",
    "Stable Diffusion 3": r"joint_blocks_",
    "Qwen-Image": r"transformer_blocks_\d+_(img|txt)_m(lp|od)",
    "PixArt": r"(adaln_single|caption_projection)_|blocks_\d+_cross_attn_(q|kv)_linear",
    "Wan": r"blocks_\d+_(self_attn|cross_attn|ffn)_",
    "Z-Image or Lumina": r"layers_\d+_(attention|feed_forward)_",
    "Stable Diffusion 3 or a model like it": r"transformer_blocks_\d+_attn_add_[qkv]_proj",
    "SDXL": r"(text_encoder_2_)?(input|output|down|up|mid|middle)_.*transformer_blocks_[2-9]_",
    "Stable Diffusion or SDXL": r"(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)_",
}
"""Models by the beginning of the names of their layers, more particular ones first."""
WIDTHS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "SDXL"}
"""Models with a UNet by the width of the text that their cross-attention reads."""


def foreign_file(names: Collection[str]) -> str | None:
    """Return what a file of tensors ``names`` is, if it is something else than an adapter."""
    for beginning, kind in FOREIGN.items():
        if any(re.match(beginning, name) for name in names):
            return kind
    return None


def base_of(modules: Collection[str]) -> str | None:
    """Return the model that an adapter was trained for, by the names of layers that it changes."""
    flat = [module.replace(".", "_") for module in modules]
    return next((base for base, name in BASES.items() if any(re.match(name, one) for one in flat)), None)
