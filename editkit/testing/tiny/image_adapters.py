"""Image adapters of random weights for tiny models: IP-Adapters and their CLIP image encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch

from .parts import save_folder, save_part

WIDTH = 16
"""Width of the image encoder's hidden states and of its embedding."""
TOKENS = 4
"""Tokens that an adapter makes of an image."""

AdapterKind = Literal["plain", "plus", "full"]


def ip_adapter_file(folder: Path, unet: Any, kind: AdapterKind = "plain", *, seed: int = 0) -> Path:
    """Write an IP-Adapter for a UNet and its image encoder, and return the adapter's file.

    The encoder is in ``image_encoder`` beside it. ``plus`` and ``full`` adapters take hidden states.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        names = [name for name in unet.attn_processors if not name.endswith("attn1.processor")]
        layers = [unet.get_submodule(name.removesuffix(".processor")) for name in names]
        text = int(unet.config.cross_attention_dim)
        weights = {
            f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight": torch.randn_like(layer.to_k.weight)
            for number, layer in enumerate(layers)
            for part in "kv"
        }
        weights |= {f"image_proj.{name}": tensor for name, tensor in _PROJECTIONS[kind](text).items()}
        encoder = clip_vision()
    return _write(folder, weights, encoder)


def flux_ip_adapter_file(folder: Path, transformer: Any, *, seed: int = 0) -> Path:
    """Write an IP-Adapter for a transformer of FLUX.1 in the names of XLabs, and return its file, as above."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text, width = transformer.config.joint_attention_dim, transformer.inner_dim
        weights = {f"ip_adapter_proj_model.{name}": tensor for name, tensor in _plain(text).items()}
        for number in range(len(transformer.transformer_blocks)):
            for part in "kv":
                layer = f"double_blocks.{number}.processor.ip_adapter_double_stream_{part}_proj"
                weights |= {f"{layer}.weight": torch.randn(width, text), f"{layer}.bias": torch.randn(width)}
        encoder = clip_vision()
    return _write(folder, weights, encoder)


def sd3_ip_adapter_file(folder: Path, transformer: Any, *, seed: int = 0) -> Path:
    """Write an IP-Adapter for a transformer of Stable Diffusion 3, and return its file; its encoder is a SigLIP."""
    from diffusers.models.attention_processor import SD3IPAdapterJointAttnProcessor2_0
    from diffusers.models.embeddings import IPAdapterTimeImageProjection

    head, heads = transformer.config.attention_head_dim, transformer.config.num_attention_heads
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights: dict[str, torch.Tensor] = {}
        for number in range(len(transformer.attn_processors)):
            layer = SD3IPAdapterJointAttnProcessor2_0(head * heads, head * heads, head, timesteps_emb_dim=32)
            weights |= {f"ip_adapter.{number}.{name}": tensor for name, tensor in layer.state_dict().items()}
        projection = IPAdapterTimeImageProjection(
            embed_dim=WIDTH, output_dim=head * heads, hidden_dim=32, heads=1, num_queries=TOKENS, timestep_in_dim=8
        )
        weights |= {f"image_proj.{name}": tensor for name, tensor in projection.state_dict().items()}
        encoder = siglip_vision(layers=2)
    return _write(folder, weights, encoder)


def redux_folder(path: Path, text: int = 16, *, seed: int = 0) -> Path:
    """Write a FLUX.1 Redux for a model that reads ``text`` values a token, and return its folder."""
    from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
    from transformers import SiglipImageProcessor

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vision = siglip_vision(layers=1)
        embedder = ReduxImageEncoder(WIDTH, text)
    parts = {
        "image_encoder": vision,
        "feature_extractor": SiglipImageProcessor(size={"height": 16, "width": 16}),
        "image_embedder": embedder,
    }
    return save_folder(path, "FluxPriorReduxPipeline", parts)


def _write(folder: Path, weights: dict[str, torch.Tensor], encoder: Any) -> Path:
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_part(encoder, folder / "image_encoder")
    file = folder / "ip-adapter.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)
    return file


def clip_vision() -> Any:
    """Return an image encoder like CLIP's, for images of 16 x 16 pixels."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=WIDTH,
            intermediate_size=32,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
            initializer_factor=5.0,
        )
    )


def siglip_vision(layers: int) -> Any:
    """Return an image encoder like SigLIP's, for images of 16 x 16 pixels."""
    from transformers import SiglipVisionConfig, SiglipVisionModel

    sizes = {"image_size": 16, "patch_size": 8, "num_hidden_layers": layers, "num_attention_heads": 2}
    return SiglipVisionModel(SiglipVisionConfig(hidden_size=WIDTH, intermediate_size=32, **sizes))


def _plain(text: int) -> dict[str, torch.Tensor]:
    return {
        "proj.weight": torch.randn(TOKENS * text, WIDTH),
        "proj.bias": torch.randn(TOKENS * text),
        "norm.weight": torch.ones(text),
        "norm.bias": torch.randn(text),
    }


def _full(text: int) -> dict[str, torch.Tensor]:
    return {
        "proj.0.weight": torch.randn(WIDTH, WIDTH),
        "proj.0.bias": torch.randn(WIDTH),
        "proj.2.weight": torch.randn(text, WIDTH),
        "proj.2.bias": torch.randn(text),
        "proj.3.weight": torch.ones(text),
        "proj.3.bias": torch.randn(text),
    }


def _plus(text: int) -> dict[str, torch.Tensor]:
    """A resampler of four layers, as diffusers builds it, with one head of 64 values."""
    hidden = 32
    weights = {
        "latents": torch.randn(1, TOKENS, hidden),
        "proj_in.weight": torch.randn(hidden, WIDTH),
        "proj_in.bias": torch.randn(hidden),
        "proj_out.weight": torch.randn(text, hidden),
        "proj_out.bias": torch.randn(text),
        "norm_out.weight": torch.ones(text),
        "norm_out.bias": torch.randn(text),
    }
    for number in range(4):
        weights |= {f"layers.{number}.{name}": tensor for name, tensor in _resampler_layer(hidden, 64).items()}
    return weights


def _resampler_layer(hidden: int, head: int) -> dict[str, torch.Tensor]:
    return {
        "0.norm1.weight": torch.ones(hidden),
        "0.norm1.bias": torch.zeros(hidden),
        "0.norm2.weight": torch.ones(hidden),
        "0.norm2.bias": torch.zeros(hidden),
        "0.to_q.weight": torch.randn(head, hidden),
        "0.to_kv.weight": torch.randn(2 * head, hidden),
        "0.to_out.weight": torch.randn(hidden, head),
        "1.0.weight": torch.ones(hidden),
        "1.0.bias": torch.zeros(hidden),
        "1.1.weight": torch.randn(4 * hidden, hidden),
        "1.3.weight": torch.randn(hidden, 4 * hidden),
    }


_PROJECTIONS: dict[AdapterKind, Callable[[int], dict[str, torch.Tensor]]] = {
    "plain": _plain,
    "plus": _plus,
    "full": _full,
}
