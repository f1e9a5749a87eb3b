"""What the modules of a UNet were called in the code that these models were first trained with (arXiv 2112.10752)."""

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
"""The layers of a residual block."""
BLOCK = re.compile(r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)")


def original_name(name: str, layers: int) -> str:
    """The first name of a module of a UNet with ``layers`` layers a block, by its present one."""
    if name in ENDS:
        return ENDS[name]
    if name.startswith("mid_block."):
        _, kind, number, inside = name.split(".", 3)
        return f"middle_block.{MIDDLE[f'{kind}.{number}']}.{INSIDE.get(inside, inside)}"
    found = BLOCK.fullmatch(name)
    if found is None:
        return name
    side, block, kind, layer, inside = found.groups()
    first = int(block) * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.2.conv"
    where = f"input_blocks.{first + int(layer) + 1}" if side == "down" else f"output_blocks.{first + int(layer)}"
    return f"{where}.{'1' if kind == 'attentions' else '0'}.{INSIDE.get(inside, inside)}"
