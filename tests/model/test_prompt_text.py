"""Words behind the limit of a text encoder are named, or read in chunks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import editkit
from editkit import Backend, MissingCapability
from editkit.model.prompt_text import prompt_warnings
from editkit.testing import ToyBackend, tiny
from editkit.testing.suite import sample_image

SHORT = "a red apple"
LONG = "a red apple on white a green pear on blue face"
"""Longer than the 8 tokens of the tiny CLIP encoders."""
CUT = "green pear on blue face"
CLIP_FAMILIES = [tiny.stable_diffusion_folder, tiny.stable_diffusion_xl_folder, tiny.upscaler_folder]
OTHER_FAMILIES = [tiny.flux_folder, tiny.stable_diffusion_3_folder, tiny.pixart_folder]


def load(make: Callable[[Path], Path], folder: Path) -> Any:
    return editkit.load_model(str(make(folder / make.__name__)))


def edit(operation: str, model: Backend, **params: Any) -> editkit.Result:
    defaults = {"steps": 1, "seed": 0, "cache": False}
    image = None if operation == "generate" else sample_image((16, 16))
    result: editkit.Result = editkit.apply(operation, image, model=model, **{**defaults, **params})
    return result


@pytest.mark.slow
@pytest.mark.parametrize("make", [*CLIP_FAMILIES, *OTHER_FAMILIES])
def test_every_encoder_names_what_it_cuts(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = load(make, tmp_path)
    assert not list(prompt_warnings(model, SHORT))
    long = " ".join([LONG] * 40)
    warnings = "\n".join(prompt_warnings(model, long))
    for part, encoder in model.texts.items():
        tokens = encoder.tokenizer(long).input_ids
        if len(tokens) > encoder.length:
            assert f"{part}" in warnings and f"{encoder.length} tokens" in warnings


def test_the_words_behind_the_limit_are_named_and_no_others(tiny_model: Backend) -> None:
    (warning,) = prompt_warnings(tiny_model, LONG)
    assert f"not {CUT!r}" in warning
    kept = LONG.removesuffix(CUT)
    with torch.no_grad():
        assert torch.equal(tiny_model.embed([LONG])["text"], tiny_model.embed([kept])["text"])


CUT_CALLS: dict[str, dict[str, str]] = {
    "generate": {"prompt": LONG},
    "img2img": {"prompt": SHORT, "negative_prompt": LONG},
    "prompt-edit": {"source": SHORT, "target": LONG},
    "flow-edit": {"source": LONG, "target": SHORT},
    "instruct": {"instruction": "make it green", "source": LONG.replace("apple", "tomato")},
}


@pytest.mark.parametrize("operation", CUT_CALLS)
def test_every_prompt_of_an_edit_is_checked(tiny_model: Backend, operation: str) -> None:
    assert any("tokens" in text for text in edit(operation, tiny_model, **CUT_CALLS[operation]).report.warnings)
    again = edit(operation, tiny_model, **CUT_CALLS[operation])  # with cached embeddings
    assert any("tokens" in text for text in again.report.warnings)


@pytest.mark.parametrize("make", CLIP_FAMILIES)
def test_chunks_agree_with_the_embeddings_of_their_texts(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = load(make, tmp_path)
    with torch.no_grad():
        whole, first, second = (model.embed(*args) for args in (([LONG], 2), ([LONG],), ([CUT],)))
        # Rows of a batch are summed in another order than one row alone.
        assert torch.allclose(whole["text"], torch.cat([first["text"], second["text"]], 1), atol=1e-5)
        if "whole" in whole:
            assert torch.allclose(whole["whole"], first["whole"], atol=1e-5)
        empty = model.embed([SHORT], 2)["text"][:, first["text"].shape[1] :]
        assert empty.shape == first["text"].shape
    assert (model.count_chunks(SHORT), model.count_chunks(""), model.count_chunks(LONG)) == (1, 1, 2)


def test_a_short_prompt_gives_the_same_pixels_with_long_prompts(tiny_model: Backend) -> None:
    images = [edit("img2img", tiny_model, prompt=SHORT, long_prompts=long).image for long in (False, True)]
    assert images[0].tobytes() == images[1].tobytes()


@pytest.mark.parametrize("operation", CUT_CALLS)
def test_words_behind_the_limit_change_the_result_with_long_prompts(tiny_model: Backend, operation: str) -> None:
    params = CUT_CALLS[operation]
    shorter = {name: text.removesuffix(" face") for name, text in params.items()}
    one, other = (edit(operation, tiny_model, guidance=3.0, long_prompts=True, **words) for words in (params, shorter))
    assert one.report.warnings == ()
    assert one.image.tobytes() != other.image.tobytes()


def test_an_inversion_of_a_long_prompt_is_reconstructed(tiny_model: Backend) -> None:
    inversion = editkit.invert(sample_image((16, 16)), model=tiny_model, prompt=LONG, long_prompts=True, steps=2)
    report = editkit.reconstruct(inversion, model=tiny_model, negative_prompt=SHORT, guidance=3.0).report
    assert report.recon_psnr == pytest.approx(report.vae_psnr, abs=0.01)


@pytest.mark.parametrize("make", [tiny.flux_folder, tiny.pixart_folder])
def test_a_family_without_chunks_refuses_long_prompts(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="long_prompts"):
        edit("generate", load(make, tmp_path), prompt=SHORT, long_prompts=True)


@pytest.mark.parametrize("text", ["a (green:1.5) pear", "((red))", "[a:b:0.5]", "<lora:style:0.8>"])
def test_syntax_of_other_programs_is_named(text: str) -> None:
    (warning,) = prompt_warnings(ToyBackend(), text)
    assert "plain text" in warning


@pytest.mark.parametrize("text", ["a (red) apple", "at 10:30", "a [red] apple: big", "x < 3", ""])
def test_punctuation_is_no_syntax(text: str) -> None:
    assert not list(prompt_warnings(ToyBackend(), text))
