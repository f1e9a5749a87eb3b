"""Families of networks by the names of their tensors, for files that do not say what they hold."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from .tensor_file import open_tensor_file


class NetworkFamily(NamedTuple):
    """A family of networks: its class in diffusers, and sets of tensor names of which a file holds one whole."""

    kind: str
    markers: tuple[tuple[str, ...], ...]


_POOLED = "time_text_embed.text_embedder.linear_1.weight"
FAMILIES = {
    # Those first that have the tensors of others too.
    "Chroma": NetworkFamily("ChromaTransformer2DModel", (("distilled_guidance_layer.in_proj.bias",),)),
    "FLUX.2": NetworkFamily(
        "Flux2Transformer2DModel",
        (("single_stream_modulation.lin.weight",), ("single_stream_modulation.linear.weight",)),
    ),
    "FLUX.3": NetworkFamily(
        "Flux3Transformer2DModel", (("early_stream_modulations.image.lin.weight",), ("x_embedders.image_cond.weight",))
    ),
    "FLUX.1": NetworkFamily(
        "FluxTransformer2DModel",
        (("double_blocks.0.img_attn.qkv.weight",), ("single_transformer_blocks.0.proj_mlp.weight", _POOLED)),
    ),
    "Stable Diffusion 3": NetworkFamily(
        "SD3Transformer2DModel",
        (("joint_blocks.0.x_block.attn.qkv.weight",), ("pos_embed.proj.weight", _POOLED)),
    ),
    "Qwen-Image 2.1": NetworkFamily("QwenImage21Transformer2DModel", (("txt_in.text_norm.weight",),)),
    "Qwen-Image": NetworkFamily(
        "QwenImageTransformer2DModel", (("transformer_blocks.0.img_mod.1.weight", "txt_norm.weight"),)
    ),
    "Z-Image": NetworkFamily(
        "ZImageTransformer2DModel", (("layers.0.adaLN_modulation.0.weight", "cap_embedder.0.weight"),)
    ),
    "Lumina 2": NetworkFamily(
        "Lumina2Transformer2DModel",
        (
            ("layers.0.adaLN_modulation.1.weight", "cap_embedder.0.weight"),
            ("time_caption_embed.caption_embedder.0.weight",),
        ),
    ),
    "Krea 2": NetworkFamily(
        "Krea2Transformer2DModel", (("txtfusion.projector.weight",), ("text_fusion.projector.weight",))
    ),
    "HiDream": NetworkFamily(
        "HiDreamImageTransformer2DModel", (("double_stream_blocks.0.block.adaLN_modulation.1.bias",),)
    ),
    "ERNIE-Image": NetworkFamily(
        "ErnieImageTransformer2DModel", (("layers.0.self_attention.to_k.weight", "final_norm.linear.weight"),)
    ),
    "AuraFlow": NetworkFamily(
        "AuraFlowTransformer2DModel",
        (("double_layers.0.attn.w2q.weight",), ("joint_transformer_blocks.0.attn.to_add_out.weight",)),
    ),
    "Sana": NetworkFamily(
        "SanaTransformer2DModel",
        (("blocks.0.mlp.inverted_conv.conv.weight",), ("transformer_blocks.0.ff.conv_inverted.weight",)),
    ),
    "PixArt": NetworkFamily(
        "PixArtTransformer2DModel",
        (("blocks.0.cross_attn.q_linear.weight",), ("adaln_single.linear.weight", "scale_shift_table")),
    ),
    "CogView4": NetworkFamily(
        "CogView4Transformer2DModel", (("time_condition_embed.condition_embedder.linear_1.bias",),)
    ),
    "Wan (video)": NetworkFamily("WanTransformer3DModel", (("head.modulation",),)),
    "LTX (video)": NetworkFamily("LTXVideoTransformer3DModel", (("patchify_proj.weight",),)),
    "HunyuanVideo": NetworkFamily(
        "HunyuanVideoTransformer3DModel", (("txt_in.individual_token_refiner.blocks.0.adaLN_modulation.1.bias",),)
    ),
    "SDXL": NetworkFamily(
        "UNet2DConditionModel",
        (
            ("input_blocks.0.0.weight", "label_emb.0.0.weight"),
            ("down_blocks.0.resnets.0.conv1.weight", "add_embedding.linear_1.weight"),
        ),
    ),
    "Stable Diffusion": NetworkFamily(
        "UNet2DConditionModel",
        (
            ("input_blocks.0.0.weight", "middle_block.1.proj_in.weight"),
            ("down_blocks.0.resnets.0.conv1.weight", "mid_block.attentions.0.proj_in.weight"),
        ),
    ),
}
"""Families by name."""
EDM_TENSORS = {"edm_mean", "edm_vpred.sigma_max"}
"""Tensors of models shaped like SDXL with EDM noise levels, which are not supported."""
_OTHER = {
    "a LoRA, which goes with adapters": (".lora_A.weight", ".lora_up.weight", ".lora_B.weight", ".hada_w1_a"),
    "an autoencoder, which goes with vae": ("decoder.conv_in.weight", "decoder.conv1.weight"),
    "a text encoder": ("embed_tokens.weight", "token_embd.weight", "token_embedding.weight"),
}
"""Other files by the end of one tensor's name."""


def family_of(names: Collection[str]) -> str | None:
    """Return the family of the network that has tensors of these names, None for another."""
    held = set(names)
    for family, (_, markers) in FAMILIES.items():
        if any(held.issuperset(marker) for marker in markers):
            return family
    return None


def describe_tensors(names: Collection[str]) -> str | None:
    """Return what tensors of these names are, such as "the network of Z-Image"; None if they are unknown."""
    family = family_of(names)
    if family is not None:
        return f"the network of {family}"
    return next((what for what, ends in _OTHER.items() if any(name.endswith(ends) for name in names)), None)


def describe_file(file: Path) -> str | None:
    """Return what a safetensors or GGUF file holds; raises WeightsUnavailable for a file that cannot be read."""
    tensors = open_tensor_file(file, "model")
    return describe_tensors(tensors.names.values()) if EDM_TENSORS.isdisjoint(tensors.stored) else None
