"""Names of the tensors of a FLUX network in the original code, and their conversion to those of diffusers.

Diffusers converts networks of 3,072 channels alone; here the width follows from the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

TOP = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
}
SINGLE = {
    "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
    "linear2": "proj_out",
}
JOINED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
"""Layers that are one in the original code, by their names in a block."""
_BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)")
NETWORK = "model.diffusion_model."


def flux_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a FLUX network by their names in diffusers, without those of other parts."""
    own = _own_tensors(tensors)
    width = len(tensors[own["img_in.weight"]])
    return dict(pair for name, stored in own.items() for pair in _converted(name, tensors[stored], width))


def flux_ignored(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a FLUX network that :func:`flux_tensors` has no name for, by their names in the file."""
    ignored = {}
    for name, stored in _own_tensors(tensors).items():
        module = name.rpartition(".")[0]
        match = _BLOCK.fullmatch(module)
        layers = TOP if match is None else {**JOINED, **(DOUBLE if match[1] == "double" else SINGLE)}
        if (module if match is None else match[3]) not in layers:
            ignored[stored] = tensors[stored]
    return ignored


def _own_tensors(names: Iterable[str]) -> dict[str, str]:
    """Return the names of a file's tensors by those within the network, without those of other parts."""
    names = list(names)
    prefix = NETWORK if any(name.startswith(NETWORK) for name in names) else ""
    return {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}


def _converted(name: str, tensor: Tensor, width: int) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of diffusers that one of the original code becomes, in a network of ``width`` channels."""
    module, _, kind = name.rpartition(".")
    kind = "weight" if kind == "scale" else kind
    if module in TOP:
        # The last modulation is the shift before the scale in the original code.
        swapped = torch.cat(list(tensor.chunk(2)[::-1])) if module.startswith("final_layer.adaLN") else tensor
        yield f"{TOP[module]}.{kind}", swapped
    match = _BLOCK.fullmatch(module)
    if match is None:
        return
    side, number, layer = match.groups()
    block = f"{'transformer_blocks' if side == 'double' else 'single_transformer_blocks'}.{number}"
    if layer in JOINED:
        sizes = [width, width, width, len(tensor) - 3 * width][: len(JOINED[layer])]
        for part, piece in zip(JOINED[layer], torch.split(tensor, sizes), strict=True):
            yield f"{block}.{part}.{kind}", piece.contiguous()
    names = DOUBLE if side == "double" else SINGLE
    if layer in names:
        yield f"{block}.{names[layer]}.{kind}", tensor
