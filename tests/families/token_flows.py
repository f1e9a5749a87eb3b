"""Rectified flows whose loop holds its latents as tokens (B, height * width, channels)."""

from __future__ import annotations

from typing import Any

import diffusers as d
import transformers as t
from diffusers.pipelines.bria_fibo2.image_processor import BriaFibo2ImageProcessor

from .family import Table, small_area
from .parts import (
    DECODER,
    DYNAMIC_SHIFT,
    autoencoder,
    clip,
    clip_tokenizer,
    flow,
    flux2_autoencoder,
    mistral3,
    qwen2_5_vl,
    qwen3,
    qwen3_vl,
    qwen21_autoencoder,
    qwen_autoencoder,
    qwen_processor,
    shake,
    t5,
    t5_tokenizer,
    tokenizer,
    wan_autoencoder,
)

TOKEN_FLOWS = Table()
OWN_SIZE = BriaFibo2ImageProcessor.get_image_size
TRUE_CFG = {"unguided": {"true_cfg_scale": 1.0}, "guided": {"true_cfg_scale": 3.0, "negative_prompt": "grey"}}
NO_TEXT_OFF = {"unguided": {"guidance_scale": 0.0}}
"""The rule is ``positive + scale * (positive - negative)``."""


QWEN_IMAGE = {
    **{"patch_size": 2, "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16},
    **{"num_attention_heads": 3, "joint_attention_dim": 16, "axes_dims_rope": (8, 4, 4)},
}


@TOKEN_FLOWS.entry(**TRUE_CFG)
def qwen_image(kind: Any = d.QwenImagePipeline, **more: Any) -> Any:
    transformer = d.QwenImageTransformer2DModel(**QWEN_IMAGE)
    more.setdefault("vae", qwen_autoencoder())
    return kind(
        transformer=shake(transformer),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen2_5_vl(),
        tokenizer=tokenizer(2048),
        **more,
    )


def flux2_transformer(*, distilled: bool) -> Any:
    return shake(
        d.Flux2Transformer2DModel(
            **{"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16},
            **{"num_attention_heads": 2, "joint_attention_dim": 48, "timestep_guidance_channels": 256},
            **{"axes_dims_rope": [4, 4, 4, 4], "guidance_embeds": distilled},
        )
    )


@TOKEN_FLOWS.entry(reference="image", several=True, unguided={"guidance_scale": 4.0}, guided=None)
def flux2() -> Any:
    """With 30 layers of text encoder, as the call takes the 10th, 20th and 30th."""
    return d.Flux2Pipeline(
        transformer=flux2_transformer(distilled=True),
        vae=flux2_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=mistral3(layers=30),
        tokenizer=tokenizer(),
    )


@TOKEN_FLOWS.entry(reference="image", several=True)
def flux2_klein_base(*, distilled: bool = False, kind: Any = d.Flux2KleinPipeline) -> Any:
    return kind(
        transformer=flux2_transformer(distilled=False),
        vae=flux2_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3(t.Qwen3ForCausalLM, layers=27),
        tokenizer=tokenizer(),
        is_distilled=distilled,
    )


@TOKEN_FLOWS.entry(reference="image", several=True, guided=None)
def flux2_klein() -> Any:
    return flux2_klein_base(distilled=True)


@TOKEN_FLOWS.entry(**NO_TEXT_OFF)
def krea2(*, distilled: bool = False) -> Any:
    transformer = d.Krea2Transformer2DModel(
        **{"in_channels": 16, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4},
        **{"num_key_value_heads": 2, "intermediate_size": 32, "timestep_embed_dim": 8, "text_hidden_dim": 16},
        **{"num_text_layers": 3, "text_num_attention_heads": 2, "text_num_key_value_heads": 1},
        **{"text_intermediate_size": 16, "num_layerwise_text_blocks": 1, "num_refiner_text_blocks": 1},
        **{"axes_dims_rope": (4, 2, 2), "rope_theta": 1000.0},
    )
    return d.Krea2Pipeline(
        transformer=shake(transformer),
        vae=qwen_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT, max_image_seq_len=6400),
        text_encoder=qwen3_vl(),
        tokenizer=tokenizer(2048),
        text_encoder_select_layers=(0, 1, 2),
        is_distilled=distilled,
    )


@TOKEN_FLOWS.entry(unguided={"guidance_scale": 0.0}, guided=None)
def krea2_turbo() -> Any:
    return krea2(distilled=True)


FLUX = {
    **{"in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2},
    **{"joint_attention_dim": 32, "pooled_projection_dim": 32, "guidance_embeds": True, "axes_dims_rope": (2, 2, 4)},
}


@TOKEN_FLOWS.entry(unguided={"guidance_scale": 3.5}, guided={**TRUE_CFG["guided"], "guidance_scale": 3.5})
def flux(kind: Any = d.FluxPipeline, *, distilled: bool = True, channels: int = 16, **more: Any) -> Any:
    config = FLUX | {"guidance_embeds": distilled, "in_channels": channels, "out_channels": 16}
    return kind(
        transformer=shake(d.FluxTransformer2DModel(**config)),
        vae=autoencoder(4, 0.3611, 0.1159),
        scheduler=flow(**DYNAMIC_SHIFT) if distilled else flow(),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(512),
        **more,
    )


@TOKEN_FLOWS.entry(unguided={"guidance_scale": 0.0}, guided=None)
def flux_schnell() -> Any:
    return flux(distilled=False)


@TOKEN_FLOWS.entry(guided={"guidance_scale": 3.0, "negative_prompt": "grey"})
def chroma(kind: Any = d.ChromaPipeline) -> Any:
    transformer = d.ChromaTransformer2DModel(
        **{"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "joint_attention_dim": 32, "axes_dims_rope": [4, 4, 8]},
        **{"approximator_hidden_dim": 32, "approximator_layers": 1, "approximator_num_channels": 16},
    )
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.3611, 0.1159),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(512),
    )


@TOKEN_FLOWS.entry(reference="image", several=True, **TRUE_CFG, areas=small_area("qwenimage21.pipeline_qwenimage21"))
def qwen_image_21() -> Any:
    transformer = d.QwenImage21Transformer2DModel(
        **{"patch_size": 1, "in_channels": 4, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "context_in_dim": 16, "mlp_ratio": 2, "axes_dims_rope": (4, 6, 6)},
    )
    return d.QwenImage21Pipeline(
        transformer=shake(transformer),
        vae=qwen21_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3_vl(t.Qwen3VLForConditionalGeneration),
        processor=qwen_processor(t.Qwen3VLProcessor, fixed=False),
    )


@TOKEN_FLOWS.entry(unguided={"guidance_scale": 1.0}, call={"guidance_schedule": None})
def ideogram4() -> Any:
    """With 36 layers of text encoder, from 13 of which the call takes states, and a second network without text."""

    def transformer(seed: int) -> Any:
        network = d.Ideogram4Transformer2DModel(
            **{"in_channels": 16, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2},
            **{"intermediate_size": 32, "adaln_dim": 16, "llm_features_dim": 13 * 16, "mrope_section": (4, 2, 2)},
        )
        return shake(network, seed)

    return d.Ideogram4Pipeline(
        transformer=transformer(0),
        unconditional_transformer=transformer(1),
        vae=flux2_autoencoder(),
        scheduler=flow(),
        text_encoder=qwen3_vl(layers=36, heads=1),
        tokenizer=tokenizer(4096),
    )


@TOKEN_FLOWS.entry(call={"enable_prompt_rewrite": False})
def longcat_image(kind: Any = d.LongCatImagePipeline) -> Any:
    transformer = d.LongCatImageTransformer2DModel(
        **{"patch_size": 1, "in_channels": 64, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16},
        **{"num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": [4, 4, 8]},
    )
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(16, 0.3611, 0.1159, levels=3),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen2_5_vl(),
        tokenizer=tokenizer(2048),
        text_processor=qwen_processor(),
    )


@TOKEN_FLOWS.entry()
def ovis_image() -> Any:
    transformer = d.OvisImageTransformer2DModel(
        **{"patch_size": 1, "in_channels": 16, "out_channels": 16, "num_layers": 1, "num_single_layers": 1},
        **{"attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 16, "axes_dims_rope": (4, 4, 8)},
    )
    return d.OvisImagePipeline(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.3611, 0.1159),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3(),
        tokenizer=tokenizer(),
    )


@TOKEN_FLOWS.entry()
def nucleus_image() -> Any:
    """With eight layers of text encoder, as the call takes the eighth from the end."""
    transformer = d.NucleusMoEImageTransformer2DModel(
        **{"patch_size": 2, "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16},
        **{"num_attention_heads": 4, "joint_attention_dim": 16, "axes_dims_rope": (8, 4, 4)},
        **{"moe_enabled": False, "capacity_factors": [8.0, 8.0]},
    )
    return d.NucleusMoEImagePipeline(
        transformer=shake(transformer),
        vae=qwen_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3_vl(t.Qwen3VLForConditionalGeneration, layers=9),
        processor=qwen_processor(t.Qwen3VLProcessor),
    )


@TOKEN_FLOWS.entry()
def bria() -> Any:
    transformer = d.BriaTransformer2DModel(
        **{"patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8},
        **{"num_attention_heads": 2, "joint_attention_dim": 32, "axes_dims_rope": [0, 4, 4]},
    )
    return d.BriaPipeline(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.13025, 0.0),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    )


def smollm3() -> Any:
    """Return a language model with a token of number 128000, which the call puts in place of an empty prompt."""
    sizes = DECODER | {"vocab_size": 128001, "num_hidden_layers": 2, "pad_token_id": 0}
    return shake(t.SmolLM3ForCausalLM(t.SmolLM3Config(**sizes)))


@TOKEN_FLOWS.entry()
def fibo(kind: Any = d.BriaFiboPipeline) -> Any:
    transformer = d.BriaFiboTransformer2DModel(
        **{"patch_size": 1, "in_channels": 4, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8},
        **{"num_attention_heads": 2, "joint_attention_dim": 32, "axes_dims_rope": [0, 4, 4], "text_encoder_dim": 16},
    )
    return kind(
        transformer=shake(transformer),
        vae=wan_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=smollm3(),
        tokenizer=tokenizer(),
    )


def smaller_size(processor: Any, aspect_ratio: float, area: int) -> tuple[int, int]:
    return OWN_SIZE(processor, aspect_ratio, area // 256)


@TOKEN_FLOWS.entry(
    reference="image",
    several=True,
    areas={"diffusers.pipelines.bria_fibo2.image_processor.BriaFibo2ImageProcessor.get_image_size": smaller_size},
)
def fibo_2() -> Any:
    """With 36 layers of text encoder, from which the call takes six times three states."""
    transformer = d.BriaFibo2Transformer2DModel(
        **{"in_channels": 4, "patch_size": 2, "dim": 32, "n_layers": 5, "n_refiner_layers": 1, "n_heads": 2},
        **{"cap_feat_dim": 48, "injection_layer_ids": (0, 1, 2, 3, 4), "perceiver_num_layers": 1},
        **{"min_num_gist_tokens": 8, "max_num_gist_tokens": 16, "gist_step": 8, "axes_dims": (8, 4, 4)},
    )
    return d.BriaFibo2Pipeline(
        transformer=shake(transformer),
        vae=flux2_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3_vl(t.Qwen3VLForConditionalGeneration, layers=36),
        processor=qwen_processor(t.Qwen3VLProcessor),
    )
