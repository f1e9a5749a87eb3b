"""Names of a UNet's modules in the original code of latent diffusion models (arXiv 2112.10752)."""

from __future__ import annotations

import re

ENDS = {
    "conv_in": "input_blocks.0.0",
    "class_embedding": "label_emb",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}
MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
INSIDE = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
"""Layers of a residual block."""
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def original_name(name: str, layers: int) -> str:
    """Return the original name of a module, by its name in diffusers; the UNet has ``layers`` layers per block."""
    if name in ENDS:
        return ENDS[name]
    if name.startswith("mid_block."):
        _, kind, number, inside = name.split(".", 3)
        return f"middle_block.{MIDDLE[f'{kind}.{number}']}.{INSIDE.get(inside, inside)}"
    match = BLOCK.fullmatch(name)
    if match is None:
        return name
    side, block, kind, layer, inside = match.groups()
    first = int(block) * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.2.conv"
    prefix = f"input_blocks.{first + int(layer) + 1}" if side == "down" else f"output_blocks.{first + int(layer)}"
    return f"{prefix}.{'1' if kind == 'attentions' else '0'}.{INSIDE.get(inside, inside)}"
