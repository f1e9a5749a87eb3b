"""Tensors of networks by their names in the original code, from those by the names of diffusers.

The inverse of what diffusers does when it reads a file of such names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from editkit_diffusers.flux_key_names import DOUBLE, JOINED, SINGLE, TOP
from editkit_diffusers.ldm_key_names import original_name
from safetensors.torch import load_file
from torch import Tensor

Tensors = Mapping[str, Tensor]


def weights_of(folder: Path, part: str) -> dict[str, Tensor]:
    (file,) = (folder / part).glob("*.safetensors")
    return load_file(file)


def unet_network(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    """A U-Net of one layer a block."""
    for name, tensor in found.items():
        module, _, kind = name.rpartition(".")
        yield f"{original_name(module, layers=1)}.{kind}", tensor


SD3_TOP = {
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "context_embedder": "context_embedder",
    "pos_embed.proj": "x_embedder.proj",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
SD3_BLOCK = {
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "attn.to_out.0": "x_block.attn.proj",
    "attn2.to_out.0": "x_block.attn2.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
    "attn.norm_q": "x_block.attn.ln_q",
    "attn.norm_k": "x_block.attn.ln_k",
    "attn2.norm_q": "x_block.attn2.ln_q",
    "attn2.norm_k": "x_block.attn2.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q",
    "attn.norm_added_k": "context_block.attn.ln_k",
}
SD3_JOINED = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def swap(tensor: Tensor) -> Tensor:
    """Exchange shift and scale, which the original code has in the other order."""
    return torch.cat(tensor.chunk(2)[::-1])


def sd3_network(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    last = max(int(name.split(".")[1]) for name in found if name.startswith("transformer_blocks."))
    for name, tensor in found.items():
        module, _, kind = name.rpartition(".")
        if name == "pos_embed.pos_embed":
            yield "pos_embed", tensor
            continue
        if module in SD3_TOP:
            yield f"{SD3_TOP[module]}.{kind}", swap(tensor) if module == "norm_out.linear" else tensor
            continue
        _, number, layer = module.split(".", 2)
        block = f"joint_blocks.{number}"
        if layer in SD3_BLOCK:
            final = layer == "norm1_context.linear" and int(number) == last
            yield f"{block}.{SD3_BLOCK[layer]}.{kind}", swap(tensor) if final else tensor
        for merged, parts in SD3_JOINED.items():
            if layer == parts[0]:
                names = [f"transformer_blocks.{number}.{part}.{kind}" for part in parts]
                yield f"{block}.{merged}.{kind}", torch.cat([found[one] for one in names])


def flux_network(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    top = {new: old for old, new in TOP.items()}
    for name, tensor in found.items():
        module, _, kind = name.rpartition(".")
        if module in top:
            yield f"{top[module]}.{kind}", swap(tensor) if module == "norm_out.linear" else tensor
            continue
        side, number, layer = module.split(".", 2)
        single = side.startswith("single")
        block = f"{'single' if single else 'double'}_blocks.{number}"
        layers = {new: old for old, new in (SINGLE if single else DOUBLE).items()}
        if layer in layers:
            yield f"{block}.{layers[layer]}.{'scale' if 'norm_' in layer else kind}", tensor
        for merged, parts in JOINED.items():
            if layer == parts[0] and (merged == "linear1") == single:
                yield f"{block}.{merged}.{kind}", torch.cat([found[f"{side}.{number}.{part}.{kind}"] for part in parts])


def renamed(name: str, names: Mapping[str, str]) -> str:
    for new, old in names.items():
        name = name.replace(new, old)
    return name


Z_IMAGE = {
    "all_final_layer.2-1.": "final_layer.",
    "all_x_embedder.2-1.": "x_embedder.",
    ".attention.to_out.0.": ".attention.out.",
    ".attention.norm_k.": ".attention.k_norm.",
    ".attention.norm_q.": ".attention.q_norm.",
}


def z_image_network(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    yield "norm_final.weight", torch.ones(4)  # published files have it, and no computation uses it
    for name, tensor in found.items():
        if ".attention.to_q." in name:
            three = [found[name.replace("to_q", f"to_{one}")] for one in "qkv"]
            yield name.replace("to_q", "qkv"), torch.cat(three)
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            yield renamed(name, Z_IMAGE), tensor


KREA2_TOP = {
    "img_in.": "first.",
    "time_embed.linear_1.": "tmlp.0.",
    "time_embed.linear_2.": "tmlp.2.",
    "time_mod_proj.": "tproj.1.",
    "txt_in.norm.weight": "txtmlp.0.scale",
    "txt_in.linear_1.": "txtmlp.1.",
    "txt_in.linear_2.": "txtmlp.3.",
    "text_fusion.": "txtfusion.",
    "transformer_blocks.": "blocks.",
    "final_layer.linear.": "last.linear.",
    "final_layer.norm.weight": "last.norm.scale",
    "final_layer.scale_shift_table": "last.modulation.lin",
}
KREA2_BLOCK = {
    ".attn.to_q.": ".attn.wq.",
    ".attn.to_k.": ".attn.wk.",
    ".attn.to_v.": ".attn.wv.",
    ".attn.to_out.0.": ".attn.wo.",
    ".attn.to_gate.": ".attn.gate.",
    ".attn.norm_q.weight": ".attn.qknorm.qnorm.scale",
    ".attn.norm_k.weight": ".attn.qknorm.knorm.scale",
    ".ff.": ".mlp.",
    ".norm1.weight": ".prenorm.scale",
    ".norm2.weight": ".postnorm.scale",
    ".scale_shift_table": ".mod.lin",
}


def krea2_network(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in found.items():
        start = next((new for new in KREA2_TOP if name.startswith(new)), "")
        old = KREA2_TOP.get(start, "") + name.removeprefix(start)
        old = old if start.startswith("final_layer") else renamed(old, KREA2_BLOCK)
        yield old, tensor.flatten() if old.endswith(".mod.lin") else tensor


FLUX2_TOP = {
    "x_embedder": "img_in",
    "context_embedder": "txt_in",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_guidance_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_guidance_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
FLUX2_DOUBLE = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.to_out.0": "img_attn.proj",
    "ff.linear_in": "img_mlp.0",
    "ff.linear_out": "img_mlp.2",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
    "attn.to_add_out": "txt_attn.proj",
    "ff_context.linear_in": "txt_mlp.0",
    "ff_context.linear_out": "txt_mlp.2",
}
FLUX2_SINGLE = {
    "attn.to_qkv_mlp_proj": "linear1",
    "attn.to_out": "linear2",
    "attn.norm_q": "norm.query_norm",
    "attn.norm_k": "norm.key_norm",
}
FLUX2_JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}


def flux2_network(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in found.items():
        module, _, kind = name.rpartition(".")
        if module in FLUX2_TOP:
            yield f"{FLUX2_TOP[module]}.{kind}", swap(tensor) if module == "norm_out.linear" else tensor
            continue
        side, number, layer = module.split(".", 2)
        single = side.startswith("single")
        block, layers = f"{'single' if single else 'double'}_blocks.{number}", FLUX2_SINGLE if single else FLUX2_DOUBLE
        if layer in layers:
            yield f"{block}.{layers[layer]}.{'scale' if 'norm_' in layer else kind}", tensor
        for merged, parts in FLUX2_JOINED.items():
            if layer == parts[0]:
                yield f"{block}.{merged}.{kind}", torch.cat([found[f"{side}.{number}.{part}.{kind}"] for part in parts])


def unchanged(found: Tensors) -> Iterator[tuple[str, Tensor]]:
    """The names of diffusers, which are those of the original code of some families."""
    yield from found.items()


ORIGINAL_NAMES: dict[str, Callable[[Tensors], Iterator[tuple[str, Tensor]]]] = {
    "flux": flux_network,
    "flux-schnell": flux_network,
    "flux2": flux2_network,
    "flux2-klein": flux2_network,
    "krea2": krea2_network,
    "qwen-image": unchanged,
    "stable-diffusion": unet_network,
    "stable-diffusion-3": sd3_network,
    "stable-diffusion-xl": unet_network,
    "z-image": z_image_network,
}
"""Functions by the family of tests/families."""
