"""Names that the first implementations of FLUX, SD3 and PixArt give to the layers of diffusers' transformers.

Several layers here may be one there: then their rows follow each other. Written after the published state dicts.
"""

from __future__ import annotations

from typing import NamedTuple

from .. import flux_key_names


class Original(NamedTuple):
    """Layers of diffusers that one layer of the first implementation is made of, from its first row to its last."""

    layers: tuple[str, ...]
    swapped: bool = False
    """Whether the halves are swapped: shift before scale there, scale before shift in diffusers."""


def _attention(own: str, query: str, key: str, value: str) -> Original:
    return Original((f"{own}.{query}", f"{own}.{key}", f"{own}.{value}"))


def _names(pairs: dict[str, str]) -> dict[str, Original]:
    return {original: Original((name,)) for original, name in pairs.items()}


_TIME = "time_text_embed.timestep_embedder.linear"
_POOLED = "time_text_embed.text_embedder.linear"

_ORIGINAL_FLUX = {layer: Original(parts) for layer, parts in flux_key_names.JOINED.items()}

_FLUX_BLOCK = _names(
    {
        **flux_key_names.DOUBLE,
        # xlabs
        "proj1": "attn.to_out.0",
        "proj2": "attn.to_add_out",
    }
) | {
    "img_attn.qkv": _ORIGINAL_FLUX["img_attn.qkv"],
    "txt_attn.qkv": _ORIGINAL_FLUX["txt_attn.qkv"],
    "qkv1": _ORIGINAL_FLUX["img_attn.qkv"],
    "qkv2": _ORIGINAL_FLUX["txt_attn.qkv"],
}
_FLUX_SINGLE = _names(
    {
        **flux_key_names.SINGLE,
        "proj": "proj_out",  # xlabs
    }
) | {
    "linear1": _ORIGINAL_FLUX["linear1"],
    "qkv": _attention("attn", "to_q", "to_k", "to_v"),  # xlabs
}
_FLUX_TOP = _names(flux_key_names.TOP) | {
    "final_layer.adaLN_modulation.1": Original(("norm_out.linear",), swapped=True)
}

_SD3_BLOCK = _names(
    {
        "x_block.attn.proj": "attn.to_out.0",
        "context_block.attn.proj": "attn.to_add_out",
        "x_block.attn2.proj": "attn2.to_out.0",
        "x_block.mlp.fc1": "ff.net.0.proj",
        "x_block.mlp.fc2": "ff.net.2",
        "context_block.mlp.fc1": "ff_context.net.0.proj",
        "context_block.mlp.fc2": "ff_context.net.2",
        "x_block.adaLN_modulation.1": "norm1.linear",
        "context_block.adaLN_modulation.1": "norm1_context.linear",
        "x_block.attn.ln_q": "attn.norm_q",
        "x_block.attn.ln_k": "attn.norm_k",
        "x_block.attn2.ln_q": "attn2.norm_q",
        "x_block.attn2.ln_k": "attn2.norm_k",
        "context_block.attn.ln_q": "attn.norm_added_q",
        "context_block.attn.ln_k": "attn.norm_added_k",
    }
) | {
    "x_block.attn.qkv": _attention("attn", "to_q", "to_k", "to_v"),
    "context_block.attn.qkv": _attention("attn", "add_q_proj", "add_k_proj", "add_v_proj"),
    "x_block.attn2.qkv": _attention("attn2", "to_q", "to_k", "to_v"),
}
_SD3_TOP = _names(
    {
        "x_embedder.proj": "pos_embed.proj",
        "context_embedder": "context_embedder",
        "t_embedder.mlp.0": f"{_TIME}_1",
        "t_embedder.mlp.2": f"{_TIME}_2",
        "y_embedder.mlp.0": f"{_POOLED}_1",
        "y_embedder.mlp.2": f"{_POOLED}_2",
        "final_layer.linear": "proj_out",
    }
) | {"final_layer.adaLN_modulation.1": Original(("norm_out.linear",), swapped=True)}

_PIXART_BLOCK = _names(
    {
        "attn.proj": "attn1.to_out.0",
        "cross_attn.q_linear": "attn2.to_q",
        "cross_attn.proj": "attn2.to_out.0",
        "mlp.fc1": "ff.net.0.proj",
        "mlp.fc2": "ff.net.2",
    }
) | {
    "attn.qkv": _attention("attn1", "to_q", "to_k", "to_v"),
    "cross_attn.kv_linear": Original(("attn2.to_k", "attn2.to_v")),
}
_PIXART_TOP = _names(
    {
        "x_embedder.proj": "pos_embed.proj",
        "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
        "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
        "t_block.1": "adaln_single.linear",
        "y_embedder.y_proj.fc1": "caption_projection.linear_1",
        "y_embedder.y_proj.fc2": "caption_projection.linear_2",
        "final_layer.linear": "proj_out",
    }
)


class Blocks(NamedTuple):
    """Repeated blocks: their name there, their name in diffusers, and the layers of one block."""

    original: str
    name: str
    layers: dict[str, Original]


_FAMILIES: dict[str, tuple[dict[str, Original], tuple[Blocks, ...]]] = {
    "FluxTransformer2DModel": (
        _FLUX_TOP,
        (
            Blocks("double_blocks", "transformer_blocks", _FLUX_BLOCK),
            Blocks("single_blocks", "single_transformer_blocks", _FLUX_SINGLE),
        ),
    ),
    "SD3Transformer2DModel": (_SD3_TOP, (Blocks("joint_blocks", "transformer_blocks", _SD3_BLOCK),)),
    "PixArtTransformer2DModel": (_PIXART_TOP, (Blocks("blocks", "transformer_blocks", _PIXART_BLOCK),)),
}
"""By class of diffusers: layers outside blocks, and blocks."""


def original_layers(kind: str, names: set[str]) -> dict[str, Original]:
    """Return the layers of the first implementation by name, for a network of class ``kind`` with modules ``names``."""
    top, blocks = _FAMILIES.get(kind, ({}, ()))
    found = dict(top)
    for block in blocks:
        for number in {name.split(".")[1] for name in names if name.startswith(f"{block.name}.")}:
            for inside, original in block.layers.items():
                layers = tuple(f"{block.name}.{number}.{layer}" for layer in original.layers)
                found[f"{block.original}.{number}.{inside}"] = original._replace(layers=layers)
    if kind == "SD3Transformer2DModel":
        _swap_last_context(found, names)
    return {name: original for name, original in found.items() if names.issuperset(original.layers)}


def _swap_last_context(found: dict[str, Original], names: set[str]) -> None:
    """Swap the modulation of the last block's text, which is only normalised before its keys are computed."""
    last = max((int(name.split(".")[1]) for name in names if name.startswith("transformer_blocks.")), default=-1)
    name = f"joint_blocks.{last}.context_block.adaLN_modulation.1"
    if name in found:
        found[name] = found[name]._replace(swapped=True)
