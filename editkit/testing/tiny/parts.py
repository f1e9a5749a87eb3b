"""Parts shared by tiny models of several families: autoencoder, text encoder, tokenizer and index."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

WORDS = ("a", "red", "green", "blue", "yellow", "apple", "pear", "face", "picture", "of", "on", "white")
SPECIAL = ("<pad>", "<s>", "</s>")
TOKENS = 8
"""Length of every prompt in tokens."""

PredictionType = Literal["epsilon", "v_prediction", "sample"]

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "set_alpha_to_one": False,
    "clip_sample": False,
}


def autoencoder(
    tiny: bool,
    channels: tuple[int, ...] = (8, 16),
    scaling_factor: float = 0.18215,
    shift_factor: float | None = None,
    latent_channels: int = 4,
    sample_size: int = 16,
) -> Any:
    from diffusers import AutoencoderKL, AutoencoderTiny

    if tiny:
        return AutoencoderTiny(
            encoder_block_out_channels=(8, 8),
            decoder_block_out_channels=(8, 8),
            num_encoder_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
        )
    return AutoencoderKL(
        latent_channels=latent_channels,
        block_out_channels=channels,
        norm_num_groups=4,
        sample_size=sample_size,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
    )


def clip_text(hidden_size: int = 16, layers: int = 1, *, projected: bool = False, spread: float = 10.0) -> Any:
    """Return a text encoder; a ``projected`` one also gives one vector of ``hidden_size`` for all of a prompt.

    ``spread`` is larger than usual, so that an untrained encoder tells its words apart.
    """
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(SPECIAL) + len(WORDS),
        hidden_size=hidden_size,
        projection_dim=hidden_size,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_factor=spread,
    )
    return CLIPTextModelWithProjection(config) if projected else CLIPTextModel(config)


def t5_text(hidden_size: int = 16) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(
        vocab_size=len(SPECIAL) + len(WORDS),
        d_model=hidden_size,
        d_kv=8,
        d_ff=32,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        pad_token_id=0,
        eos_token_id=2,
    )
    return T5EncoderModel(config)


def tokenizer() -> Any:
    """Return a tokenizer like CLIP's: a prompt is between a start and an end token."""
    return _word_tokenizer("<s> $A </s>")


def t5_tokenizer() -> Any:
    """Return a tokenizer like T5's: a prompt has an end token only."""
    return _word_tokenizer("$A </s>")


def plain_tokenizer() -> Any:
    """Return a tokenizer like Qwen's: a prompt is its words alone."""
    return _word_tokenizer("$A")


def _word_tokenizer(template: str) -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    numbers = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(WordLevel(numbers, unk_token="<pad>"))
    words.normalizer, words.pre_tokenizer = Lowercase(), Whitespace()
    words.post_processor = TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        model_max_length=TOKENS,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<pad>",
    )


def save_part(model: Any, path: Path) -> None:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    model.save_pretrained(path)
    if shown:
        logging.enable_progress_bar()


def save_folder(path: Path, kind: str, parts: dict[str, Any], **entries: Any) -> Path:
    """Write the parts of a pipeline of class ``kind``, each to a folder of its name, and the index that names them.

    A part that is None stands in the index as left out; ``entries`` are further ones of the index.
    """
    import diffusers

    index: dict[str, Any] = {"_class_name": kind, "_diffusers_version": diffusers.__version__, **entries}
    for name, part in parts.items():
        if part is None:
            index[name] = (None, None)
            continue
        save_part(part, path / name)
        index[name] = (type(part).__module__.partition(".")[0], type(part).__name__)
    (path / "model_index.json").write_text(json.dumps(index, indent=2))
    return path


def save_modular_folder(path: Path, kind: str, parts: dict[str, Any]) -> Path:
    """Write the parts of a modular pipeline of class ``kind`` and the index that names them."""
    import diffusers

    blocks = getattr(diffusers, kind).default_blocks_name
    index = {"_class_name": kind, "_blocks_class_name": blocks, "_diffusers_version": diffusers.__version__}
    for name, part in parts.items():
        save_part(part, path / name)
        hint = (type(part).__module__.partition(".")[0], type(part).__name__)
        index[name] = (None, None, {"subfolder": name, "type_hint": hint})
    (path / "modular_model_index.json").write_text(json.dumps(index, indent=2))
    return path
