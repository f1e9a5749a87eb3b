"""Learned words: how files name them, which encoders learn them, and where prompts hold them."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import editkit
from editkit import InvalidParameter
from editkit.testing.tiny import (
    flux_folder,
    pixart_folder,
    stable_diffusion_folder,
    stable_diffusion_xl_folder,
)

FOLDERS = {
    "sd": stable_diffusion_folder,
    "xl": stable_diffusion_xl_folder,
    "flux": flux_folder,
    "pixart": pixart_folder,
}
PLACE = tempfile.TemporaryDirectory(prefix="editkit-tests-")
"""Of the models that all tests here share, until Python ends."""
SMALL = torch.randn(3, 16, generator=torch.Generator().manual_seed(1))
LARGE = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))


@functools.cache
def folder(family: str) -> Path:
    return FOLDERS[family](Path(PLACE.name) / family)


def word_file(to: Path, tensors: dict[str, Tensor]) -> Path:
    save_file({name: one.clone().contiguous() for name, one in tensors.items()}, to)
    return to


@functools.cache
def taught(family: str, *files: Path) -> Any:
    """Return a model that has learned the words in files; tests do not change it."""
    return editkit.load_model(folder(family), device="cpu", adapters=files)


def text(model: Any, prompt: str) -> Tensor:
    embedded: Tensor = model.embed([prompt])["text"]
    return embedded


@pytest.mark.slow
def test_the_rows_of_pivotal_tuning_are_tokens_as_in_diffusers(tmp_path: Path) -> None:
    file = word_file(tmp_path / "embeddings.safetensors", {"clip_l": SMALL[:2], "clip_g": LARGE[:2]})
    model = taught("xl", file)
    theirs: Any = DiffusionPipeline.from_pretrained(folder("xl"))
    for rows, number in ((SMALL, ""), (LARGE, "_2")):
        parts = {part: getattr(theirs, f"{part}{number}") for part in ("tokenizer", "text_encoder")}
        theirs.load_textual_inversion(rows[:2], token=["<s0>", "<s1>"], **parts)
    for prompt in ("a <s0><s1>", "<s1> red"):
        assert float((text(model, prompt) - theirs.encode_prompt(prompt)[0]).abs().max()) < 1e-5
    assert torch.equal(text(model, "a embeddings"), text(model, "a <s0> <s1>"))
    assert not model.warnings


def test_a_pivotal_file_of_a_taken_name_has_its_tokens_alone(tmp_path: Path) -> None:
    file = word_file(tmp_path / "apple.safetensors", {"clip_l": SMALL[:2]})
    model: Any = editkit.load_model(folder("sd"), device="cpu", adapters=[file])
    (warning,) = model.warnings
    assert "'apple' is left out" in warning
    assert torch.equal(text(model, "an apple"), text(taught("sd"), "an apple"))
    assert not torch.equal(text(model, "an <s0>"), text(taught("sd"), "an <s0>"))
    model.add_adapter(editkit.Adapter(word_file(tmp_path / "other.safetensors", {"clip_l": SMALL[1:]})))
    assert "'<s0>' is left out" in " ".join(model.warnings)
    assert not torch.equal(text(model, "an other"), text(taught("sd"), "an other"))


def test_a_file_holds_several_words(tmp_path: Path) -> None:
    words = {"<a>": SMALL[0], "<b>": SMALL[1:]}
    together = taught("sd", word_file(tmp_path / "words.safetensors", words))
    apart = taught("sd", *(word_file(tmp_path / f"{name}.safetensors", {name: one}) for name, one in words.items()))
    assert torch.equal(text(together, "<b> and <a>"), text(apart, "<b> and <a>"))
    assert not torch.equal(text(together, "<b> and <a>"), text(taught("sd"), "<b> and <a>"))


def test_a_lora_file_may_bring_its_words(tmp_path: Path) -> None:
    layer = "lora_unet_down_blocks_1_attentions_0_proj_in"
    lora = {f"{layer}.lora_up.weight": torch.zeros(16, 1, 1, 1), f"{layer}.lora_down.weight": torch.zeros(1, 16, 1, 1)}
    bundle = {**lora, "bundle_emb.EasyNeg.string_to_param.*": SMALL}
    model = editkit.load_model(
        folder("sd"), device="cpu", adapters=[f"{word_file(tmp_path / 'lora.safetensors', bundle)}:0.5"]
    )
    alone = taught("sd", word_file(tmp_path / "EasyNeg.safetensors", {"emb_params": SMALL}))
    assert torch.equal(text(model, "an EasyNeg"), text(alone, "an EasyNeg"))


@pytest.mark.parametrize("vectors", [SMALL, SMALL[0]], ids=["three vectors", "one vector"])
def test_a_word_is_found_whole_in_capitals_or_small_letters(tmp_path: Path, vectors: Tensor) -> None:
    model = taught("sd", word_file(tmp_path / "EasyNeg.safetensors", {"emb_params": vectors}))
    for written in ("easyneg", "EASYNEG", "EasyNeg", "ea\N{LATIN SMALL LETTER LONG S}yneg"):
        assert torch.equal(text(model, f"a {written}"), text(model, "a EasyNeg"))
        assert not torch.equal(text(model, f"a {written}"), text(taught("sd"), "a EasyNeg"))
    assert torch.equal(text(model, "(easyneg)"), text(model, "( EasyNeg )"))
    for longer in ("easynegative", "uneasyneg", "easyneg_v2"):
        assert torch.equal(text(model, f"a {longer}"), text(taught("sd"), f"a {longer}"))


def test_a_longer_word_is_not_read_as_a_shorter_one(tmp_path: Path) -> None:
    files = [
        word_file(tmp_path / f"{name}.safetensors", {name: one})
        for name, one in (("<b>", SMALL[0]), ("<b>c", SMALL[1]))
    ]
    model = taught("sd", *files)
    assert torch.equal(text(model, "<b>c"), text(taught("sd", files[1]), "<b>c"))


def test_a_prompt_in_small_letters_reaches_a_word_with_capitals(tmp_path: Path) -> None:
    """PixArt puts prompts into small letters."""
    model = taught("pixart", word_file(tmp_path / "EasyNeg.safetensors", {"emb_params": SMALL}))
    assert not torch.equal(text(model, "a EasyNeg"), text(taught("pixart"), "a EasyNeg"))


def test_a_word_of_one_encoder_of_two_is_a_warning_until_the_other_learns_it(tmp_path: Path) -> None:
    first = word_file(tmp_path / "learned_embeds.safetensors", {"<dog>": SMALL[0]})
    second = word_file(tmp_path / "learned_embeds_2.safetensors", {"<dog>": LARGE[0]})
    (warning,) = taught("xl", first).warnings
    assert "<dog>" in warning and "text_encoder_2" in warning
    (warning,) = taught("xl", second).warnings
    assert "for text_encoder," in warning
    assert not taught("xl", first, second).warnings
    report = editkit.apply("generate", model=taught("xl", first), prompt="a <dog>", steps=1, seed=0).report
    assert any("<dog>" in warning for warning in report.warnings)


UNUSED = "no prompt of the edit holds the learned word"


@pytest.mark.parametrize(
    ("prompts", "unused"),
    [
        ({"prompt": "a red apple", "negative_prompt": "category"}, ["'cat'", "'<s0>' or '<s1>' or 'two'"]),
        ({"prompt": "a (CAT:1.3)"}, ["'<s0>' or '<s1>' or 'two'"]),
        ({"prompt": "a red <s1>", "negative_prompt": "cat"}, []),
    ],
    ids=["none", "with a weight", "of several words, and in a negative prompt that is not read"],
)
def test_a_file_of_which_no_prompt_holds_a_word_is_a_warning(
    tmp_path: Path, prompts: dict[str, str], unused: list[str]
) -> None:
    files = word_file(tmp_path / "cat.safetensors", {"cat": SMALL}), tmp_path / "two.safetensors"
    model = taught("sd", files[0], word_file(files[1], {"clip_l": SMALL[:2]}))
    report = editkit.apply("generate", model=model, steps=1, seed=0, **prompts).report
    assert [text.split(" word ")[1].split(":")[0] for text in report.warnings if text.startswith(UNUSED)] == unused


def test_one_step_that_uses_a_word_is_enough_in_a_pipeline(tmp_path: Path) -> None:
    model = taught("sd", word_file(tmp_path / "cat.safetensors", {"cat": SMALL}))
    for prompt, count in (("a cat", 0), ("a dog", 1)):
        steps = [("img2img", {"prompt": prompt, "steps": 1}), ("img2img", {"steps": 1})]
        report = editkit.Pipeline(steps)(Image.new("RGB", (16, 16)), model=model, seed=0).report
        assert sum(text.startswith(UNUSED) for text in report.warnings) == count


def test_flux_learns_words_by_its_clip_alone_or_with_t5(tmp_path: Path) -> None:
    alone = taught("flux", word_file(tmp_path / "one.safetensors", {"clip_l": SMALL[:2]}))
    both = taught("flux", word_file(tmp_path / "two.safetensors", {"clip_l": SMALL[:2], "t5": SMALL[1:]}))
    assert not alone.warnings and not both.warnings
    assert torch.equal(text(alone, "<s0>"), text(taught("flux"), "<s0>"))
    assert not torch.equal(text(both, "<s0>"), text(taught("flux"), "<s0>"))


REFUSED: dict[str, tuple[str, dict[str, Tensor], str]] = {
    "no name": ("sd", {"": SMALL}, "without letters"),
    "a blank name": ("sd", {" ": SMALL}, "without letters"),
    "no vector": ("sd", {"<a>": SMALL[:0]}, "0 vectors"),
    "more vectors than a prompt": ("sd", {"<a>": torch.ones(7, 16)}, "7 vectors"),
    "whole numbers": ("sd", {"bundle_emb.a.emb_params": SMALL.to(torch.int8)}, "values of torch.int8: it is quantised"),
    "NaN": ("sd", {"<a>": SMALL * torch.nan}, "NaN"),
    "another width": ("sd", {"<a>": LARGE}, "length 32, and the model's words have 16"),
    "words of SDXL": ("sd", {"clip_l": SMALL, "clip_g": LARGE}, "for text_encoder_2"),
    "an existing word": ("sd", {"apple": SMALL}, "'apple', which the model has already"),
    "an existing word in capitals": ("sd", {"Apple": SMALL}, "'Apple', which the model has already"),
    "a word in two spellings": ("sd", {"Neg": SMALL, "neg": SMALL}, "which the model has already"),
    "half of a LoRA": ("sd", {"lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight": SMALL}, "one half"),
    "a weight": ("sd", {"conv_in.weight": SMALL}, "a network: give it"),
    "nothing": ("sd", {}, "no tensors"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_word_that_cannot_be_added_is_refused_and_adds_nothing(tmp_path: Path, kind: str) -> None:
    family, tensors, complaint = REFUSED[kind]
    model: Any = editkit.load_model(folder(family), device="cpu")
    size = len(model.texts["text_encoder"].tokenizer)
    with pytest.raises(InvalidParameter, match=complaint) as raised:
        model.add_adapter(editkit.Adapter(word_file(tmp_path / "word.safetensors", tensors)))
    assert "\n" not in str(raised.value)
    assert len(model.texts["text_encoder"].tokenizer) == size
    assert not model.adapters


def test_a_word_too_large_for_the_dtype_is_refused(tmp_path: Path) -> None:
    file = word_file(tmp_path / "word.safetensors", {"<a>": 1e6 * SMALL})
    with pytest.raises(InvalidParameter, match="float16 cannot hold"):
        editkit.load_model(folder("sd"), dtype="float16", device="cpu", adapters=[file])


def test_a_pickled_word_is_refused_with_the_way_to_convert_it(tmp_path: Path) -> None:
    for suffix in (".pt", ".bin", ".ckpt"):
        (tmp_path / f"neg{suffix}").write_bytes(b"")
        with pytest.raises(InvalidParameter, match=r"convert it .*weights_only=True"):
            taught("sd", tmp_path / f"neg{suffix}")
