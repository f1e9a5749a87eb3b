"""Tiny modular pipelines: of families that have no other one, and of parts of other tiny pipelines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers as d
import torch
import transformers as t

from editkit.testing.tiny import anima_folder

from .parts import flux2_autoencoder, qwen3_vl, qwen_processor, shake
from .tables import FAMILIES

_OF_OTHERS = {
    "ernie-image": d.ErnieImageModularPipeline,
    "flux2-klein-base": d.Flux2KleinBaseModularPipeline,
    "stable-diffusion-3": d.StableDiffusion3ModularPipeline,
    "z-image": d.ZImageModularPipeline,
}
"""Modular pipelines by the families whose parts they take."""


def flux3_folder(path: Path, kind: Any = d.Flux3ModularPipeline, **more: Any) -> Path:
    """Write a FLUX.3 and return its folder; latents are (4, h / 2, w / 2). ``more`` configures the transformer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = d.Flux3Transformer2DModel(
            **{"in_channels": 16, "cond_in_channels": 16, "num_layers": 1, "num_single_layers": 1},
            **{"attention_head_dim": 16, "num_attention_heads": 2, "axes_dims_rope": (4, 4, 4, 4)},
            **{"timestep_channels": 16, "joint_attention_dim": 8 * 16, **more},
        )
        text_encoder = qwen3_vl(t.Qwen3VLForConditionalGeneration, layers=32)  # the pipeline reads layers up to 32
        parts = {"transformer": shake(transformer, by=0.25), "vae": flux2_autoencoder(), "text_encoder": text_encoder}
    return _write(path, kind(), {**parts, "tokenizer": qwen_processor(t.Qwen3VLProcessor)})


def _of_parts(name: str, path: Path) -> Path:
    pipeline = _OF_OTHERS[name]()
    parts = FAMILIES[name].pipeline().components
    taken = {part: parts[part] for part in pipeline.component_names if parts.get(part) is not None}
    return _write(path, pipeline, taken)


def _write(path: Path, pipeline: Any, parts: dict[str, Any]) -> Path:
    pipeline.update_components(**parts)
    pipeline.save_pretrained(str(path), safe_serialization=True, overwrite_modular_index=True)
    index = json.loads((path / "modular_model_index.json").read_text())
    for entry in index.values():
        if isinstance(entry, list):
            entry[2]["pretrained_model_name_or_path"] = None  # equal folders at all places are of one identity
    edit_index(path, **index)
    return path


def edit_index(folder: Path, **entries: Any) -> None:
    """Set entries of a modular index."""
    file = folder / "modular_model_index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


MODULAR: dict[str, Callable[[Path], Path]] = {
    "anima": anima_folder,
    "flux3": flux3_folder,
    **{name: lambda path, name=name: _of_parts(name, path) for name in _OF_OTHERS if name in FAMILIES},  # type: ignore[misc]
}
"""Function that writes a tiny folder, by family."""
