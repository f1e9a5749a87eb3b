"""Diffusion models whose networks predict the noise or the velocity."""

from __future__ import annotations

import tempfile
from typing import Any

import diffusers as d
import torch
import transformers as t

from .family import Table
from .parts import SCALED_LINEAR, WORDS, autoencoder, clip, clip_tokenizer, shake, t5, t5_tokenizer

DIFFUSION_MODELS = Table()


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


@DIFFUSION_MODELS.entry()
def stable_diffusion(kind: Any = d.StableDiffusionPipeline, channels: int = 4, **more: Any) -> Any:
    return kind(
        unet=shake(d.UNet2DConditionModel(**UNET, in_channels=channels)),
        vae=autoencoder(),
        scheduler=d.EulerDiscreteScheduler(**SCALED_LINEAR),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        **UNCHECKED,
        **more,
    )


@DIFFUSION_MODELS.entry()
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


HUNYUAN_DIT = {
    **{"sample_size": 8, "num_layers": 4, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 3},
    **{"in_channels": 4, "cross_attention_dim": 32, "cross_attention_dim_t5": 32, "pooled_projection_dim": 16},
    **{"hidden_size": 24, "activation_fn": "gelu-approximate"},
}


@DIFFUSION_MODELS.entry(call={"use_resolution_binning": False})
def hunyuan_dit() -> Any:
    transformer = d.HunyuanDiT2DModel(**HUNYUAN_DIT)
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


@DIFFUSION_MODELS.entry(unguided={"guidance_scale": 8.5}, guided=None)
def latent_consistency() -> Any:
    """Few steps, with the guidance scale as an input of the network."""
    return d.LatentConsistencyModelPipeline(
        unet=shake(d.UNet2DConditionModel(**UNET, time_cond_proj_dim=16)),
        vae=autoencoder(),
        scheduler=d.LCMScheduler(**SCALED_LINEAR),
        text_encoder=clip(),
        tokenizer=clip_tokenizer(),
        **UNCHECKED,
    )


@DIFFUSION_MODELS.entry(call={"use_resolution_binning": False})
def pixart_alpha(kind: Any = d.PixArtAlphaPipeline) -> Any:
    transformer = d.PixArtTransformer2DModel(
        **{"sample_size": 32, "num_layers": 2, "patch_size": 2, "attention_head_dim": 8, "num_attention_heads": 2},
        **{"in_channels": 4, "out_channels": 8, "cross_attention_dim": 16, "caption_channels": 32},
    )
    config = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
    return kind(
        transformer=shake(transformer),
        vae=autoencoder(),
        scheduler=d.DPMSolverMultistepScheduler(**config, solver_order=2),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    )


@DIFFUSION_MODELS.entry(call={"use_resolution_binning": False})
def pixart_sigma() -> Any:
    return pixart_alpha(d.PixArtSigmaPipeline)


@DIFFUSION_MODELS.entry(needs="sentencepiece")
def kolors(kind: Any = d.KolorsPipeline) -> Any:
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    config = ChatGLMConfig(
        **{"num_layers": 2, "padded_vocab_size": 128, "hidden_size": 32, "ffn_hidden_size": 32, "kv_channels": 8},
        **{"num_attention_heads": 4, "seq_length": 256, "multi_query_attention": True, "multi_query_group_num": 2},
        **{"add_qkv_bias": True, "original_rope": True, "rope_ratio": 1},
    )
    encoder = ChatGLMModel(config).float()
    with torch.no_grad():  # made without values
        for weights in encoder.parameters():
            weights.copy_(torch.ones_like(weights) if weights.ndim == 1 else torch.randn(weights.shape) * 0.05)
    sizes = {"cross_attention_dim": 32, "projection_class_embeddings_input_dim": 32 + 6 * 8}
    return kind(
        unet=shake(d.UNet2DConditionModel(**UNET | WITH_SIZES | sizes)),
        vae=autoencoder(4, 0.13025),
        scheduler=d.EulerDiscreteScheduler(**SCALED_LINEAR | {"beta_end": 0.014}, num_train_timesteps=1100),
        text_encoder=encoder.eval(),
        tokenizer=sentencepiece_tokenizer(),
    )


def sentencepiece_tokenizer() -> Any:
    import sentencepiece
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    lines = iter(["a red apple on white", "a green pear", "the quick brown fox jumps over the lazy dog"] * 50)
    folder = tempfile.TemporaryDirectory()
    sentencepiece.SentencePieceTrainer.train(
        **{"sentence_iterator": lines, "model_prefix": f"{folder.name}/tokenizer", "vocab_size": 60},
        **{"model_type": "bpe", "minloglevel": 2},
    )
    words = ChatGLMTokenizer(f"{folder.name}/tokenizer.model")
    words.folder = folder  # saving the tokenizer copies its file
    return words


@DIFFUSION_MODELS.entry()
def cogview3_plus() -> Any:
    """With trailing timesteps: of linspace ones, its scheduler steps past the timestep that its loop takes next."""
    transformer = d.CogView3PlusTransformer2DModel(
        **{"patch_size": 2, "in_channels": 4, "out_channels": 4, "num_layers": 1, "attention_head_dim": 4},
        **{"num_attention_heads": 2, "text_embed_dim": 32, "time_embed_dim": 8, "condition_dim": 2},
        **{"pos_embed_max_size": 16, "sample_size": 8},
    )
    config = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    return d.CogView3PlusPipeline(
        transformer=shake(transformer),
        vae=autoencoder(),
        scheduler=d.CogVideoXDDIMScheduler(**config, snr_shift_scale=4.0),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(224),
    )


@DIFFUSION_MODELS.entry(size=(64, 128))
def kandinsky3() -> Any:
    unet = d.Kandinsky3UNet(
        **{"in_channels": 4, "time_embedding_dim": 4, "groups": 2, "attention_head_dim": 4, "layers_per_block": 3},
        **{"block_out_channels": (32, 64), "cross_attention_dim": 4, "encoder_hid_dim": 32},
    )
    movq = d.VQModel(
        **{"block_out_channels": [32] * 4, "in_channels": 3, "out_channels": 3, "latent_channels": 4},
        **{"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4},
        **{"layers_per_block": 1, "norm_num_groups": 8, "norm_type": "spatial", "num_vq_embeddings": 12},
        **{"vq_embed_dim": 4},
    )
    return d.Kandinsky3Pipeline(
        unet=shake(unet),
        movq=shake(movq, by=0.02),
        scheduler=d.DDIMScheduler(beta_schedule="squaredcos_cap_v2", clip_sample=False),
        text_encoder=t5(),
        tokenizer=t5_tokenizer(),
    )
