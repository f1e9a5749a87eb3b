"""Tiny pipelines that draw an image of a prompt."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch
import transformers as t

from .family import Table
from .parts import (
    DECODER,
    DYNAMIC_SHIFT,
    SCALED_LINEAR,
    WORDS,
    autoencoder,
    clip,
    clip_tokenizer,
    flow,
    flux2_autoencoder,
    gemma2,
    mistral3,
    qwen2_5_vl,
    qwen3,
    qwen3_vl,
    qwen_autoencoder,
    sana_autoencoder,
    shake,
    t5,
    t5_tokenizer,
    tokenizer,
)

TEXT_TO_IMAGE = Table()
TRUE_CFG = {"unguided": {"true_cfg_scale": 1.0}, "guided": {"true_cfg_scale": 3.0, "negative_prompt": "grey"}}
NO_TEXT_OFF = {"unguided": {"guidance_scale": 0.0}}
"""The rule is ``positive + scale * (positive - negative)``."""


# Rectified flow


@TEXT_TO_IMAGE.entry(**NO_TEXT_OFF)
def z_image(kind: Any = d.ZImagePipeline, scheduler: Any = None) -> Any:
    transformer = d.ZImageTransformer2DModel(
        **{"all_patch_size": (2,), "all_f_patch_size": (1,), "in_channels": 16, "dim": 32, "cap_feat_dim": 16},
        **{"n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2},
        **{"axes_dims": [8, 4, 4], "axes_lens": [2048, 64, 64]},
    )
    with torch.no_grad():  # made without values
        transformer.x_pad_token.fill_(1)
        transformer.cap_pad_token.fill_(1)
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(16, 0.3611, 0.1159),
        scheduler=scheduler or flow(shift=6.0),
        text_encoder=qwen3(),
        tokenizer=tokenizer(),
    )


@TEXT_TO_IMAGE.entry(unguided={"guidance_scale": 0.0}, guided=None)
def z_image_turbo() -> Any:
    return z_image(scheduler=flow(shift=3.0))


@TEXT_TO_IMAGE.entry(**TRUE_CFG)
def qwen_image(kind: Any = d.QwenImagePipeline, **more: Any) -> Any:
    transformer = d.QwenImageTransformer2DModel(
        **{"patch_size": 2, "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16},
        **{"num_attention_heads": 3, "joint_attention_dim": 16, "axes_dims_rope": (8, 4, 4)},
    )
    return kind(
        transformer=shake(transformer),
        vae=qwen_autoencoder(),
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


@TEXT_TO_IMAGE.entry(unguided={"guidance_scale": 4.0}, guided=None)
def flux2() -> Any:
    """With 30 layers of text encoder, as the call takes the 10th, 20th and 30th."""
    return d.Flux2Pipeline(
        transformer=flux2_transformer(distilled=True),
        vae=flux2_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=mistral3(layers=30),
        tokenizer=tokenizer(),
    )


@TEXT_TO_IMAGE.entry()
def flux2_klein_base(*, distilled: bool = False, kind: Any = d.Flux2KleinPipeline) -> Any:
    return kind(
        transformer=flux2_transformer(distilled=False),
        vae=flux2_autoencoder(),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3(t.Qwen3ForCausalLM, layers=27),
        tokenizer=tokenizer(),
        is_distilled=distilled,
    )


@TEXT_TO_IMAGE.entry(guided=None)
def flux2_klein() -> Any:
    return flux2_klein_base(distilled=True)


@TEXT_TO_IMAGE.entry(**NO_TEXT_OFF)
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


@TEXT_TO_IMAGE.entry(unguided={"guidance_scale": 0.0}, guided=None)
def krea2_turbo() -> Any:
    return krea2(distilled=True)


@TEXT_TO_IMAGE.entry()
def stable_diffusion_3(kind: Any = d.StableDiffusion3Pipeline, **more: Any) -> Any:
    transformer = d.SD3Transformer2DModel(
        **{"sample_size": 32, "patch_size": 2, "in_channels": 4, "num_layers": 2, "attention_head_dim": 8},
        **{"num_attention_heads": 4, "joint_attention_dim": 64, "caption_projection_dim": 32},
        **{"pooled_projection_dim": 64, "out_channels": 4},
    )
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(4, 1.5305, 0.0609),
        scheduler=flow(shift=3.0),
        text_encoder=clip(projected=True),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(projected=True),
        tokenizer_2=clip_tokenizer(),
        text_encoder_3=t5(64),
        tokenizer_3=t5_tokenizer(),
        **more,
    )


FLUX = {
    **{"in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 8, "num_attention_heads": 2},
    **{"joint_attention_dim": 32, "pooled_projection_dim": 32, "guidance_embeds": True, "axes_dims_rope": (2, 2, 4)},
}


@TEXT_TO_IMAGE.entry(unguided={"guidance_scale": 3.5}, guided={**TRUE_CFG["guided"], "guidance_scale": 3.5})
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


@TEXT_TO_IMAGE.entry(unguided={"guidance_scale": 0.0}, guided=None)
def flux_schnell() -> Any:
    return flux(distilled=False)


@TEXT_TO_IMAGE.entry(guided={"guidance_scale": 3.0, "negative_prompt": "grey"})
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


SANA = {
    **{"patch_size": 1, "in_channels": 4, "out_channels": 4, "num_layers": 1, "num_attention_heads": 2},
    **{"attention_head_dim": 4, "num_cross_attention_heads": 2, "cross_attention_head_dim": 4},
    **{"cross_attention_dim": 8, "caption_channels": 8, "sample_size": 32},
}


@TEXT_TO_IMAGE.entry(call={"use_resolution_binning": False})
def sana(kind: Any = d.SanaPipeline, scheduler: Any = None, **more: Any) -> Any:
    return kind(
        transformer=shake(d.SanaTransformer2DModel(**SANA)),
        vae=sana_autoencoder(),
        scheduler=scheduler or flow(shift=3.0),
        text_encoder=gemma2(),
        tokenizer=tokenizer(),
        **more,
    )


@TEXT_TO_IMAGE.entry(call={"use_resolution_binning": False})
def sana_dpm() -> Any:
    config = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    return sana(scheduler=d.DPMSolverMultistepScheduler(**config, algorithm_type="dpmsolver++"))


@TEXT_TO_IMAGE.entry()
def lumina2() -> Any:
    transformer = d.Lumina2Transformer2DModel(
        **{"sample_size": 4, "patch_size": 2, "in_channels": 4, "hidden_size": 24, "num_layers": 2},
        **{"num_attention_heads": 3, "num_kv_heads": 1, "multiple_of": 16, "axes_dim_rope": [4, 2, 2]},
        **{"cap_feat_dim": 8},
    )
    return d.Lumina2Pipeline(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.3611, 0.1159, levels=4),
        scheduler=flow(shift=6.0),
        text_encoder=gemma2(),
        tokenizer=tokenizer(),
    )


@TEXT_TO_IMAGE.entry()
def cogview4(kind: Any = d.CogView4Pipeline, channels: int = 4) -> Any:
    transformer = d.CogView4Transformer2DModel(
        **{"patch_size": 2, "in_channels": channels, "out_channels": 4, "num_layers": 2, "attention_head_dim": 4},
        **{"num_attention_heads": 4, "text_embed_dim": 32, "time_embed_dim": 8, "condition_dim": 4},
    )
    shift = {"base_shift": 0.25, "max_shift": 0.75, "base_image_seq_len": 256, "use_dynamic_shifting": True}
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(),
        scheduler=flow(**shift, time_shift_type="linear"),
        text_encoder=shake(t.GlmModel(t.GlmConfig(**DECODER | {"hidden_size": 32, "pad_token_id": 0}))),
        tokenizer=tokenizer(1024, "<s> $A", side="left"),
    )


# Diffusion by epsilon or velocity


UNET = {
    **{"block_out_channels": (8, 16), "layers_per_block": 1, "sample_size": 32, "norm_num_groups": 4},
    **{"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 4},
    **{"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "cross_attention_dim": 32},
}
WITH_SIZES = {
    **{"addition_embed_type": "text_time", "addition_time_embed_dim": 8},
    "projection_class_embeddings_input_dim": 32 + 6 * 8,
}
"""Of networks whose condition has the sizes of the image and of its crop."""

UNCHECKED = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}


@TEXT_TO_IMAGE.entry()
def stable_diffusion() -> Any:
    return d.StableDiffusionPipeline(
        unet=shake(d.UNet2DConditionModel(**UNET)),
        vae=autoencoder(),
        scheduler=d.EulerDiscreteScheduler(**SCALED_LINEAR),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        **UNCHECKED,
    )


@TEXT_TO_IMAGE.entry()
def stable_diffusion_xl(kind: Any = d.StableDiffusionXLPipeline, **more: Any) -> Any:
    return kind(
        unet=shake(d.UNet2DConditionModel(**UNET | WITH_SIZES | {"cross_attention_dim": 64})),
        vae=autoencoder(4, 0.13025),
        scheduler=d.EulerDiscreteScheduler(**SCALED_LINEAR),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        text_encoder_2=clip(projected=True),
        tokenizer_2=clip_tokenizer(),
        **more,
    )


@TEXT_TO_IMAGE.entry(call={"use_resolution_binning": False})
def hunyuan_dit() -> Any:
    transformer = d.HunyuanDiT2DModel(
        **{"sample_size": 8, "num_layers": 2, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 3},
        **{"in_channels": 4, "cross_attention_dim": 32, "cross_attention_dim_t5": 32, "pooled_projection_dim": 16},
        **{"hidden_size": 24, "activation_fn": "gelu-approximate"},
    )
    bert = t.BertConfig(
        **{"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
        **{"intermediate_size": 32, "max_position_embeddings": 512},
    )
    velocity = {"prediction_type": "v_prediction", "beta_end": 0.02, "clip_sample": False}
    return d.HunyuanDiTPipeline(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.13025, levels=4),
        scheduler=d.DDIMScheduler(**SCALED_LINEAR | velocity),
        text_encoder=shake(t.BertModel(bert)),
        tokenizer=clip_tokenizer(),
        text_encoder_2=t5(),
        tokenizer_2=t5_tokenizer(256),
        **UNCHECKED,
    )
