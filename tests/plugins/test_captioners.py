"""Captions by real model classes at tiny configurations, whose outputs are determined by their weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import editkit_captioners
import pytest
import torch
from editkit_captioners import transformers_captioner
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPModel,
    CLIPVisionConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from editkit import InvalidParameter, PluginFailure, WeightsUnavailable
from editkit.registry.registry import PluginSource, Registry

SPECIAL = ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
WORDS = ["a", "red", "apple", "green", "dog", "on", "the", "grass"]
SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 8,
    "initializer_range": 0.5,
}
"""Weights so large that the image determines the caption."""
TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}

Caption = Callable[[Image.Image], str]


def save_blip(folder: Path) -> Path:
    torch.manual_seed(0)
    text = {
        **TEXT,
        **{"vocab_size": len(SPECIAL + WORDS), "encoder_hidden_size": 16, "num_hidden_layers": 2},
        **{"max_position_embeddings": 64, "initializer_range": 0.5},
        **{"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3},
    }
    config = BlipConfig(text_config=text, vision_config=SMALL, projection_dim=16, image_text_hidden_size=16)
    return save(BlipForConditionalGeneration(config), folder)


def save_encoder_decoder(folder: Path) -> Path:
    torch.manual_seed(1)
    size = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "initializer_range": 0.5}
    decoder = GPT2Config(vocab_size=len(SPECIAL + WORDS), bos_token_id=2, eos_token_id=3, **size)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(**SMALL), decoder)
    model = VisionEncoderDecoderModel(config)
    for settings in (model.config, model.generation_config):
        settings.decoder_start_token_id, settings.pad_token_id, settings.eos_token_id = 2, 0, 3
    return save(model, folder)


def save(model: Any, folder: Path) -> Path:
    words = Tokenizer(WordLevel({word: index for index, word in enumerate(SPECIAL + WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    ).save_pretrained(folder)
    BlipImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=[save_blip, save_encoder_decoder])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = request.param(tmp_path_factory.mktemp("captioner") / "model")
    return folder


@pytest.fixture
def blip(tmp_path: Path) -> Path:
    """Folder of a model that a test may change."""
    return save_blip(tmp_path / "model")


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add(PluginSource("captioners", "editkit_captioners", "editkit", "0"), editkit_captioners)
    assert not registry.failures
    return registry


def images() -> list[Image.Image]:
    noise = torch.Generator().manual_seed(0)
    sizes = [(16, 16), (40, 23), (1, 1), (3, 300)]
    return [
        Image.frombytes("RGB", size, bytes(torch.randint(0, 256, (size[0] * size[1] * 3,), generator=noise).tolist()))
        for size in sizes
    ]


def test_captions_are_words_of_the_model_and_deterministic(registry: Registry, folder: Path) -> None:
    caption: Caption = registry.build("captioners", f"transformers:model={folder},max_tokens=7")
    for image in images():
        words = caption(image).split()
        assert caption(image).split() == words
        assert set(words) <= set(WORDS)
        assert len(words) <= 7


def test_a_caption_equals_the_one_generated_by_transformers(registry: Registry, folder: Path) -> None:
    caption: Caption = registry.build("captioners", f"transformers:model={folder}")
    kinds = {"blip": BlipForConditionalGeneration, "vision-encoder-decoder": VisionEncoderDecoderModel}
    model = kinds[json.loads((folder / "config.json").read_text())["model_type"]].from_pretrained(folder).eval()
    processor = BlipImageProcessorPil.from_pretrained(folder)
    captions = set()
    for image in images():
        pixels = processor(images=image, return_tensors="pt")["pixel_values"]
        tokens = model.generate(pixel_values=pixels, max_new_tokens=30, do_sample=False)[0].tolist()
        expected = [(SPECIAL + WORDS)[token] for token in tokens if token >= len(SPECIAL)]
        assert caption(image).split() == expected
        captions.add(" ".join(expected))
    assert len(captions) > 1


def test_a_captioner_whose_files_change_is_loaded_anew(registry: Registry, blip: Path) -> None:
    call, weights = f"transformers:model={blip}", blip / "model.safetensors"
    before = [registry.build("captioners", call)(image) for image in images()]
    save_file({name: -one for name, one in load_file(weights).items()}, weights, metadata={"format": "pt"})
    assert [registry.build("captioners", call)(image) for image in images()] != before


def test_a_caption_has_at_most_max_tokens_tokens(registry: Registry, blip: Path) -> None:
    model = BlipForConditionalGeneration.from_pretrained(blip)
    with torch.no_grad():
        model.text_decoder.cls.predictions.bias[(SPECIAL + WORDS).index("apple")] = 100
    model.save_pretrained(blip)
    for count in (1, 5, 12):
        caption: Caption = registry.build("captioners", f"transformers:model={blip},max_tokens={count}")
        assert caption(images()[0]) == " ".join(["apple"] * count)


def test_transparent_pixels_are_captioned_as_white(registry: Registry, folder: Path) -> None:
    caption: Caption = registry.build("captioners", f"transformers:model={folder}")
    hidden = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert caption(hidden) == caption(Image.new("RGB", (20, 20), "white"))
    for mode in ("L", "P", "LA", "I;16"):
        caption(Image.new(mode, (20, 20)))


def test_loading_and_captioning_print_nothing(
    registry: Registry, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    transformers_captioner.load.cache_clear()
    capfd.readouterr()
    registry.build("captioners", f"transformers:model={folder}")(images()[0])
    assert capfd.readouterr() == ("", "")


def test_invalid_parameters_are_refused(registry: Registry) -> None:
    with pytest.raises(InvalidParameter, match="needs the parameter 'model': Folder or hub id"):
        registry.configure("captioners", "transformers")
    for options in ("model=x/y,max_tokens=0", "model=x/y,max_tokens=1001", "model=x/y,tokens=3", "model="):
        with pytest.raises(InvalidParameter):
            registry.configure("captioners", f"transformers:{options}")


def refusal_of(registry: Registry, model: object) -> str:
    with pytest.raises(WeightsUnavailable) as error:
        registry.build("captioners", f"transformers:model={model}")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_or_incomplete_model_is_named(registry: Registry, tmp_path: Path) -> None:
    assert "neither a folder nor a hub id" in refusal_of(registry, tmp_path / "nowhere")
    (tmp_path / "file.safetensors").touch()
    assert "is a file" in refusal_of(registry, tmp_path / "file.safetensors")
    assert "no config.json" in refusal_of(registry, tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "config.json").write_text("{}")
    assert "no *.safetensors weights" in refusal_of(registry, tmp_path / "damaged")
    (tmp_path / "damaged" / "model.safetensors").write_bytes(b"no weights")
    assert "cannot be loaded" in refusal_of(registry, tmp_path / "damaged")


def test_pickled_weights_are_refused(registry: Registry, blip: Path) -> None:
    (blip / "model.safetensors").rename(blip / "pytorch_model.bin")
    assert "only pickled weights (pytorch_model.bin)" in refusal_of(registry, blip)


def test_missing_weights_are_named(registry: Registry, blip: Path) -> None:
    tensors = load_file(blip / "model.safetensors")
    name = next(name for name in tensors if "crossattention" in name)
    save_file({key: one for key, one in tensors.items() if key != name}, blip / "model.safetensors", {"format": "pt"})
    said = refusal_of(registry, blip)
    assert "has missing weights: " in said and name.removeprefix("text_decoder.") in said


def test_a_shard_outside_the_folder_is_refused(registry: Registry, blip: Path) -> None:
    (blip / "model.safetensors").rename(blip.parent / "model.safetensors")
    (blip / "other.safetensors").touch()
    index = {"metadata": {}, "weight_map": {"text_decoder.cls.predictions.bias": "../model.safetensors"}}
    (blip / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names the shard '../model.safetensors'" in refusal_of(registry, blip)


def test_code_of_a_model_is_not_run(registry: Registry, blip: Path) -> None:
    trace = blip.parent / "ran"
    (blip / "own.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Own: ...\nclass Config: ...\n")
    config = json.loads((blip / "config.json").read_text())
    config |= {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.Config", "AutoModelForImageTextToText": "own.Own"},
    }
    (blip / "config.json").write_text(json.dumps(config))
    assert "cannot be loaded" in refusal_of(registry, blip)
    assert not trace.exists()


@pytest.mark.slow
def test_a_model_of_another_task_is_refused(registry: Registry, tmp_path: Path) -> None:
    text = {**TEXT, "num_hidden_layers": 1, "vocab_size": 12}
    config = CLIPConfig(text_config=text, vision_config=SMALL, projection_dim=16)
    assert "CLIPConfig" in refusal_of(registry, save(CLIPModel(config), tmp_path / "model"))


def test_a_captioner_that_needs_a_prompt_is_an_error(registry: Registry, tmp_path: Path) -> None:
    language = LlamaConfig(**TEXT, num_hidden_layers=1, vocab_size=12, bos_token_id=2, eos_token_id=3, pad_token_id=0)
    config = LlavaConfig(vision_config=CLIPVisionConfig(**SMALL), text_config=language, image_token_index=11)
    folder = save(LlavaForConditionalGeneration(config), tmp_path / "model")
    caption: Caption = registry.build("captioners", f"transformers:model={folder}")
    with pytest.raises(PluginFailure, match=r"\(llava\) failed for an image of 16 x 16 pixels .* may need a prompt"):
        caption(images()[0])


def test_a_hub_model_that_cannot_be_fetched_is_named(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refusal_of(registry, "nobody/captions")
    assert "captioning model 'nobody/captions' is no folder here and could not be fetched from the hub" in message
    assert "download it and pass its folder" in message
