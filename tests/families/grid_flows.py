"""Rectified flows whose loop holds its latents as a grid (B, channels, height, width)."""

from __future__ import annotations

from typing import Any

import diffusers as d
import torch
import transformers as t
from diffusers.guiders import AdaptiveProjectedMixGuidance

from .family import Table
from .parts import (
    DECODER,
    DYNAMIC_SHIFT,
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
    qwen_processor,
    sana_autoencoder,
    shake,
    t5,
    t5_tokenizer,
    tokenizer,
)

GRID_FLOWS = Table()
NO_TEXT_OFF = {"unguided": {"guidance_scale": 0.0}}
"""The rule is ``positive + scale * (positive - negative)``."""


@GRID_FLOWS.entry(**NO_TEXT_OFF)
def z_image(kind: Any = d.ZImagePipeline, scheduler: Any = None, **more: Any) -> Any:
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
        **more,
    )


@GRID_FLOWS.entry(unguided={"guidance_scale": 0.0}, guided=None)
def z_image_turbo() -> Any:
    return z_image(scheduler=flow(shift=3.0))


SD3 = {
    **{"sample_size": 32, "patch_size": 2, "in_channels": 4, "num_layers": 2, "attention_head_dim": 8},
    **{"num_attention_heads": 4, "joint_attention_dim": 64, "caption_projection_dim": 32},
    **{"pooled_projection_dim": 64, "out_channels": 4},
}


@GRID_FLOWS.entry()
def stable_diffusion_3(kind: Any = d.StableDiffusion3Pipeline, **more: Any) -> Any:
    transformer = d.SD3Transformer2DModel(**SD3)
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


SANA = {
    **{"patch_size": 1, "in_channels": 4, "out_channels": 4, "num_layers": 2, "num_attention_heads": 2},
    **{"attention_head_dim": 4, "num_cross_attention_heads": 2, "cross_attention_head_dim": 4},
    **{"cross_attention_dim": 8, "caption_channels": 8, "sample_size": 32},
}


@GRID_FLOWS.entry(call={"use_resolution_binning": False})
def sana(kind: Any = d.SanaPipeline, scheduler: Any = None, **more: Any) -> Any:
    return kind(
        transformer=shake(d.SanaTransformer2DModel(**SANA)),
        vae=sana_autoencoder(),
        scheduler=scheduler or flow(shift=3.0),
        text_encoder=gemma2(),
        tokenizer=tokenizer(),
        **more,
    )


@GRID_FLOWS.entry(call={"use_resolution_binning": False})
def sana_dpm() -> Any:
    config = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    return sana(scheduler=d.DPMSolverMultistepScheduler(**config, algorithm_type="dpmsolver++"))


@GRID_FLOWS.entry()
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


@GRID_FLOWS.entry()
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


@GRID_FLOWS.entry(unguided={"guidance_scale": 4.5}, guided=None, call={"use_resolution_binning": False})
def sana_sprint() -> Any:
    transformer = d.SanaTransformer2DModel(**SANA, guidance_embeds=True, qk_norm="rms_norm_across_heads")
    return d.SanaSprintPipeline(
        transformer=shake(transformer),
        vae=sana_autoencoder(),
        scheduler=d.SCMScheduler(),
        text_encoder=gemma2(),
        tokenizer=tokenizer(),
    )


@GRID_FLOWS.entry()
def aura_flow() -> Any:
    transformer = d.AuraFlowTransformer2DModel(
        **{"sample_size": 16, "patch_size": 2, "in_channels": 4, "out_channels": 4, "num_mmdit_layers": 1},
        **{"num_single_dit_layers": 1, "attention_head_dim": 8, "num_attention_heads": 4, "pos_embed_max_size": 256},
        **{"caption_projection_dim": 32, "joint_attention_dim": 32},
    )
    return d.AuraFlowPipeline(
        transformer=shake(transformer),
        vae=autoencoder(),
        scheduler=flow(shift=1.73),
        text_encoder=t5(model=t.UMT5EncoderModel, config=t.UMT5Config),
        tokenizer=t5_tokenizer(256),
    )


@GRID_FLOWS.entry(unguided={}, guided=None)
def hunyuan_image() -> Any:
    """Guided by a component of the pipeline, which is switched off."""
    transformer = d.HunyuanImageTransformer2DModel(
        **{"in_channels": 4, "out_channels": 4, "num_attention_heads": 4, "attention_head_dim": 8, "num_layers": 1},
        **{"num_single_layers": 1, "num_refiner_layers": 1, "patch_size": (1, 1), "guidance_embeds": False},
        **{"text_embed_dim": 32, "text_embed_2_dim": 32, "rope_axes_dim": (4, 4)},
    )
    vae = d.AutoencoderKLHunyuanImage(
        **{"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (32, 64, 64, 64)},
        **{"layers_per_block": 1, "scaling_factor": 0.476986, "spatial_compression_ratio": 8, "sample_size": 128},
    )
    return d.HunyuanImagePipeline(
        transformer=shake(transformer),
        vae=shake(vae, by=0.01),
        scheduler=flow(shift=7.0),
        text_encoder=qwen2_5_vl(32),
        tokenizer=tokenizer(2048),
        text_encoder_2=t5(),
        tokenizer_2=t.ByT5Tokenizer(extra_ids=0),
        guider=AdaptiveProjectedMixGuidance(enabled=False),
        ocr_guider=AdaptiveProjectedMixGuidance(enabled=False),
    )


@GRID_FLOWS.entry(call={"use_resolution_binning": False}, needs="ftfy")
def prx() -> Any:
    return d.PRXPipeline(
        transformer=prx_transformer(4),
        vae=autoencoder(4, 0.3611, 0.1159),
        scheduler=flow(shift=3.0),
        text_encoder=gemma2(),
        tokenizer=tokenizer(64),
    )


@GRID_FLOWS.entry(call={"use_resolution_binning": False}, needs="ftfy")
def prx_pixel() -> Any:
    """Without an autoencoder: the network denoises pixels."""
    return d.PRXPixelPipeline(
        transformer=prx_transformer(3), scheduler=flow(shift=3.0), text_encoder=gemma2(), tokenizer=tokenizer(64)
    )


def prx_transformer(channels: int) -> Any:
    return shake(
        d.PRXTransformer2DModel(
            **{"patch_size": 2, "in_channels": channels, "context_in_dim": 8, "hidden_size": 8, "mlp_ratio": 2.0},
            **{"num_heads": 2, "depth": 1, "axes_dim": [2, 2]},
        )
    )


@GRID_FLOWS.entry()
def lumina_next() -> Any:
    transformer = d.LuminaNextDiT2DModel(
        **{"sample_size": 4, "patch_size": 2, "in_channels": 4, "hidden_size": 16, "num_layers": 2},
        **{"num_attention_heads": 2, "num_kv_heads": 1, "multiple_of": 16, "learn_sigma": True, "qk_norm": True},
        **{"cross_attention_dim": 8, "scaling_factor": 1.0},
    )
    return d.LuminaPipeline(
        transformer=shake(transformer, by=0.02),
        vae=autoencoder(4, 0.13025, levels=4),
        scheduler=flow(),
        text_encoder=shake(t.GemmaForCausalLM(t.GemmaConfig(**DECODER | {"hidden_size": 8}))),
        tokenizer=tokenizer(256, "<s> $A"),
    )


@GRID_FLOWS.entry(sizing={"default_sample_size": 32})
def hidream() -> Any:
    transformer = d.HiDreamImageTransformer2DModel(
        **{"patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 1, "num_single_layers": 1},
        **{"attention_head_dim": 8, "num_attention_heads": 4, "caption_channels": [32, 16], "text_emb_dim": 64},
        **{"num_routed_experts": 4, "num_activated_experts": 2, "axes_dims_rope": (4, 2, 2)},
        **{"max_resolution": (32, 32), "llama_layers": (0, 1)},
    )
    llama = t.LlamaForCausalLM(t.LlamaConfig(**DECODER))
    llama.generation_config.pad_token_id = 0
    return d.HiDreamImagePipeline(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.3611, 0.1159),
        scheduler=flow(shift=3.0),
        text_encoder=clip(projected=True, length=248),
        tokenizer=clip_tokenizer(248),
        text_encoder_2=clip(projected=True, length=248),
        tokenizer_2=clip_tokenizer(248),
        text_encoder_3=t5(),
        tokenizer_3=t5_tokenizer(),
        text_encoder_4=shake(llama),
        tokenizer_4=tokenizer(128),
    )


@GRID_FLOWS.entry(sizing={"resolutions": [(64, 64)]})
def kandinsky5(kind: Any = d.Kandinsky5T2IPipeline, *, reference: bool = False) -> Any:
    transformer = d.Kandinsky5Transformer3DModel(
        **{"in_visual_dim": 4, "out_visual_dim": 4, "in_text_dim": 32, "in_text_dim2": 32, "time_dim": 16},
        **{"patch_size": (1, 2, 2), "model_dim": 16, "ff_dim": 32, "num_text_blocks": 1, "num_visual_blocks": 2},
        **{"axes_dims": (1, 1, 2), "visual_cond": reference, "attention_type": "regular"},
    )
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.3611, levels=4),
        scheduler=flow(shift=3.0),
        text_encoder=qwen2_5_vl(32),
        tokenizer=qwen_processor() if reference else tokenizer(2048),
        text_encoder_2=clip(),
        tokenizer_2=clip_tokenizer(),
    )


@GRID_FLOWS.entry(call={"use_pe": False})
def ernie_image() -> Any:
    transformer = d.ErnieImageTransformer2DModel(
        **{"hidden_size": 32, "num_attention_heads": 2, "num_layers": 2, "ffn_hidden_size": 32, "in_channels": 16},
        **{"out_channels": 16, "text_in_dim": 16, "rope_axes_dim": (4, 6, 6)},
    )
    return d.ErnieImagePipeline(
        transformer=shake(transformer),
        vae=flux2_autoencoder(levels=4),
        scheduler=flow(shift=3.0),
        text_encoder=mistral3(t.Mistral3Model),
        tokenizer=tokenizer(),
    )


@GRID_FLOWS.entry(needs="torchvision", unguided={"guidance_scale": 1.0, "img_guidance_scale": 1.0})
def omnigen() -> Any:
    factors = [1.0, 2.0, 3.0, 4.0]
    transformer = d.OmniGenTransformer2DModel(
        **{"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 32},
        **{"num_layers": 1, "in_channels": 4, "time_step_dim": 4, "vocab_size": len(WORDS), "pad_token_id": 0},
        rope_scaling={"long_factor": factors, "short_factor": factors},
    )
    return d.OmniGenPipeline(
        transformer=shake(transformer),
        vae=autoencoder(4, 0.13025, levels=4),
        scheduler=flow(invert_sigmas=True, num_train_timesteps=1),
        tokenizer=tokenizer(),
    )


@GRID_FLOWS.entry(reference="image")
def dreamlite(kind: Any = d.DreamLitePipeline) -> Any:
    unet = d.DreamLiteUNetModel(
        **{"block_out_channels": (8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4, "cross_attention_dim": 16},
        **{"attention_head_dim": 4, "sample_size": 32},
    )
    vae = d.AutoencoderTiny(
        **{"encoder_block_out_channels": (8, 8), "decoder_block_out_channels": (8, 8)},
        **{"num_encoder_blocks": (1, 1), "num_decoder_blocks": (1, 1)},
    )
    return kind(
        unet=shake(unet),
        vae=shake(vae),
        scheduler=flow(**DYNAMIC_SHIFT),
        text_encoder=qwen3_vl(t.Qwen3VLForConditionalGeneration),
        tokenizer=tokenizer(2048),
        processor=qwen_processor(t.Qwen3VLProcessor),
    )
