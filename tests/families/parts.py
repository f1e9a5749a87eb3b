"""Tokenizers, text encoders, autoencoders and schedulers of tiny pipelines.

All weights are random. :func:`shake` moves them away from their initial values, some of which are zero and would hide
a wrong order, sign or scale of what passes through them.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import diffusers as d
import torch
import transformers as t
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

NUMBERED = ("<pad>", "<s>", "</s>", "<unk>")
"""Special tokens whose numbers are their places."""

ADDED = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"),
    *("<|video_pad|>", "[IMG]", "[gMASK]", "<sop>"),
)
"""Special tokens of chat templates."""

WORDS = (*NUMBERED, *ADDED, *sorted(pre_tokenizers.ByteLevel.alphabet()))
VISION = {f"{name}_token_id": WORDS.index(f"<|{word}|>") for name, word in (
    ("vision_start", "vision_start"), ("vision_end", "vision_end"), ("image", "image_pad"), ("video", "video_pad")
)}  # fmt: skip

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'text' %}{{ c['text'] }}{% else %}<|vision_start|><|image_pad|><|vision_end|>{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

DYNAMIC_SHIFT = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "shift": 3.0}
SCALED_LINEAR = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def shake(network: Any, seed: int = 0, by: float = 0.08) -> Any:
    """Add normal values of standard deviation ``by`` to the weights, and return the network for inference."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(by * torch.randn(weights.shape, generator=generator))
    return network.eval()


def flow(**config: Any) -> Any:
    return d.FlowMatchEulerDiscreteScheduler(**config)


# Tokenizers and processors


def tokenizer(length: int = 512, template: str | None = None, side: str = "right") -> Any:
    """Return a tokenizer of bytes; ``template`` says which special tokens stand around a prompt."""
    words = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(WORDS)}, merges=[], unk_token="<unk>"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    if template:
        special = [(word, NUMBERED.index(word)) for word in ("<s>", "</s>")]
        words.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    return t.PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=length,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=list(ADDED),
        chat_template=CHAT_TEMPLATE,
        padding_side=side,
    )


def clip_tokenizer(length: int = 77) -> Any:
    return tokenizer(length, "<s> $A </s>")


def t5_tokenizer(length: int = 128) -> Any:
    return tokenizer(length, "$A </s>")


def qwen_processor(kind: Any = t.Qwen2VLProcessor, *, fixed: bool = True) -> Any:
    """Return a processor of this class for images of 4 x 4 patches, or without ``fixed`` of the size that they have.

    The class requires a video processor, and that requires torchvision. Where torchvision is missing, the result is
    the same class without its part for videos; only the construction differs.
    """
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    patch = 14 if kind is t.Qwen2VLProcessor else 16
    area = (4 * patch) ** 2
    images = Qwen2VLImageProcessorPil(patch_size=patch, min_pixels=area, max_pixels=area if fixed else 2**24)
    words = tokenizer(4096)
    if importlib.util.find_spec("torchvision"):
        videos = t.Qwen2VLVideoProcessor if kind is t.Qwen2VLProcessor else t.Qwen3VLVideoProcessor
        return kind(images, words, videos(), chat_template=CHAT_TEMPLATE)

    attributes = classmethod(lambda cls: ["image_processor", "tokenizer"])
    without_videos = type(kind.__name__, (kind,), {"__module__": kind.__module__, "get_attributes": attributes})
    return without_videos(images, words, chat_template=CHAT_TEMPLATE)


# Text encoders


def clip(size: int = 32, *, projected: bool = False, length: int = 77) -> Any:
    config = t.CLIPTextConfig(
        **{"vocab_size": len(WORDS), "hidden_size": size, "projection_dim": size, "intermediate_size": 32},
        **{"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": length},
        **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    )
    return shake((t.CLIPTextModelWithProjection if projected else t.CLIPTextModel)(config))


def t5(size: int = 32, model: Any = t.T5EncoderModel, config: Any = t.T5Config) -> Any:
    return shake(
        model(
            config(
                **{"vocab_size": len(WORDS), "d_model": size, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
                **{"feed_forward_proj": "gated-gelu", "pad_token_id": 0, "eos_token_id": 2},
            )
        )
    )


DECODER = {
    **{"vocab_size": len(WORDS), "hidden_size": 16, "intermediate_size": 16, "max_position_embeddings": 4096},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "num_hidden_layers": 2},
}
"""Sizes of a language model."""

SEEING = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
"""Sizes of the part of a language model that reads images."""


def qwen3(model: Any = t.Qwen3Model, layers: int = 2) -> Any:
    return shake(model(t.Qwen3Config(**DECODER | {"num_hidden_layers": layers})))


def qwen2_5_vl(size: int = 16) -> Any:
    rope = {"mrope_section": [size // 16, size // 16, size // 8], "rope_type": "default"}
    config = t.Qwen2_5_VLConfig(
        text_config=DECODER | {"hidden_size": size, "head_dim": size // 2, "rope_scaling": rope, "rope_theta": 1e6},
        vision_config=SEEING | {"out_hidden_size": size},
        **VISION,
    )
    return shake(t.Qwen2_5_VLForConditionalGeneration(config))


def qwen3_vl(model: Any = t.Qwen3VLModel, layers: int = 2, heads: int = 2) -> Any:
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default"}
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": heads}
    text = DECODER | sizes | {"rope_scaling": rope}
    seeing = SEEING | {"out_hidden_size": 16, "deepstack_visual_indexes": [0]}
    return shake(model(t.Qwen3VLConfig(text_config=text, vision_config=seeing, **VISION)))


def mistral3(model: Any = t.Mistral3ForConditionalGeneration, layers: int = 3) -> Any:
    seeing = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    config = t.Mistral3Config(
        text_config=DECODER | {"model_type": "mistral", "num_hidden_layers": layers},
        vision_config=seeing | {"num_hidden_layers": 1, "image_size": 30, "patch_size": 6, "num_channels": 3},
        image_token_index=WORDS.index("[IMG]"),
    )
    return shake(model(config))


def gemma2() -> Any:
    return shake(t.Gemma2Model(t.Gemma2Config(**DECODER | {"hidden_size": 8})))


# Autoencoders


def autoencoder(channels: int = 4, scale: float = 0.18215, shift: float | None = None, levels: int = 2) -> Any:
    """Return a Kullback-Leibler autoencoder whose latents have 1 / 2 ** (levels - 1) of the width and height."""
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    return shake(
        d.AutoencoderKL(
            **{"latent_channels": channels, "scaling_factor": scale, "shift_factor": shift, "sample_size": 16},
            **{"block_out_channels": (8,) * levels, "norm_num_groups": 4, **blocks},
        )
    )


def flux2_autoencoder(levels: int = 2) -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    vae = d.AutoencoderKLFlux2(
        **{"sample_size": 32, "block_out_channels": (8,) * levels, "latent_channels": 4, "norm_num_groups": 4, **blocks}
    )
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    return shake(vae)


STATISTICS = {"latents_mean": [0.1, -0.2, 0.3, 0.0], "latents_std": [1.5, 0.7, 2.0, 1.1]}
"""Of four latent channels."""


def qwen_autoencoder(levels: int = 3) -> Any:
    """Return an autoencoder of still videos whose latents have 1 / 2 ** (levels - 1) of the width and height."""
    sizes = {"base_dim": 6, "z_dim": 4, "dim_mult": [1, 2, 4, 4, 4][:levels], "num_res_blocks": 1}
    vae = d.AutoencoderKLQwenImage(**sizes, temperal_downsample=[False, *[True] * (levels - 2)], **STATISTICS)
    return shake(vae, by=0.02)


def wan_autoencoder(channels: int = 4) -> Any:
    """Return an autoencoder of videos whose latents have a sixteenth of the width and height."""
    sizes = {"base_dim": 4, "z_dim": channels, "dim_mult": [1, 1, 1, 1, 1], "num_res_blocks": 1}
    statistics = {name: (values * channels)[:channels] for name, values in STATISTICS.items()}
    levels = {"temperal_downsample": [False, True, True, False], "scale_factor_spatial": 16}
    return shake(d.AutoencoderKLWan(**sizes, **levels, **statistics), by=0.05)


def qwen21_autoencoder() -> Any:
    sizes = {"base_dim": 8, "decoder_base_dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1, 1, 1], "num_res_blocks": 1}
    return shake(d.AutoencoderKLQwenImage21(**sizes, **STATISTICS), by=0.02)


def sana_autoencoder() -> Any:
    blocks = ("ResBlock", "EfficientViTBlock")
    sides = {
        **{"block_types": blocks, "block_out_channels": (8, 8), "qkv_multiscales": ((), (5,))},
        "layers_per_block": [1, 1],
    }
    return shake(
        d.AutoencoderDC(
            **{f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in sides.items()},
            **{"in_channels": 3, "latent_channels": 4, "attention_head_dim": 2, "scaling_factor": 0.41407},
            **{"downsample_block_type": "conv", "upsample_block_type": "interpolate"},
            **{"decoder_norm_types": "rms_norm", "decoder_act_fns": "silu"},
        )
    )
