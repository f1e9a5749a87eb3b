"""Laws of the controls of attention, on UNets, on joint attention, and on rows that are evaluated apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from editkit_attention import ValueInjectionParams
from editkit_attention.alignment import align, word_factors
from editkit_attention.value_injection import ValueInjection

from editkit import (
    AttentionInputs,
    AttentionSite,
    CallRow,
    InvalidParameter,
    MissingCapability,
    Word,
    apply,
    describe_rows,
    invert,
    load_model,
    reconstruct,
    replay,
)
from editkit.testing import flow_path
from editkit.testing.tiny import FOLDERS

FAMILIES = (
    "StableDiffusionPipeline",
    *(
        pytest.param(f"{name}Pipeline", marks=pytest.mark.slow)
        for name in ("PixArtAlpha", "StableDiffusion3", "Flux", "Chroma")
    ),
)
CONTROLS = (
    "prompt-to-prompt",
    "prompt-to-prompt:mode=replace,weights=pear:1.5",
    "plug-and-play",
    "mutual-attention",
    "mutual-attention:beside=true",
    "consist-edit",
    "value-injection:share=0.4,words=false",
)
PAGE = Path(__file__).parents[2] / "docs/explanation/controls-of-attention.md"
IMAGE = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_model(FOLDERS[request.param](tmp_path_factory.mktemp("controls") / "model"))


def edit(model: Any, target: str, **params: Any) -> Any:
    call = {"source": "a red apple", "target": target, "steps": 3, "seed": 0, "resolution": 64, **params}
    return apply("prompt-edit", IMAGE, model=model, **call)


@pytest.mark.parametrize("size", [(90, 300), (40, 300), (300, 70)])
def test_attention_of_a_long_image_has_its_grid_of_tokens(tiny_model: Any, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    how = {"model": tiny_model, "source": "a red apple", "steps": 2, "resolution": 136, "attach": ["mutual-attention"]}
    assert np.array_equal(apply("prompt-edit", image, target="a red apple", **how).image, image)
    assert not np.array_equal(apply("prompt-edit", image, target="a green pear", **how).image, image)


@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_changes_the_edit_and_keeps_the_source(model: Any, control: str) -> None:
    plain, held = edit(model, "a red pear"), edit(model, "a red pear", attach=[control])
    assert not np.array_equal(np.asarray(plain.image), np.asarray(held.image))
    assert held.report.recon_psnr == pytest.approx(held.report.vae_psnr, abs=1e-6)
    assert not held.report.warnings


@pytest.mark.parametrize("control", CONTROLS)
def test_an_edit_to_the_source_prompt_is_the_source(model: Any, control: str) -> None:
    if "weights" in control:
        control = control.replace("pear:1.5", "apple:1")
    held = edit(model, "a red apple", attach=[control])
    assert np.array_equal(np.asarray(held.image), IMAGE)


def test_pixels_outside_a_mask_stay_under_every_control(model: Any) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[8:24, 8:24] = 255
    held = edit(model, "a red pear", attach=list(CONTROLS[2:]), mask=mask)
    assert np.array_equal(np.asarray(held.image)[mask == 0], IMAGE[mask == 0])


@pytest.mark.slow
def test_controls_act_together_in_any_order(model: Any) -> None:
    first, second = ["prompt-to-prompt"], ["mutual-attention"]
    together = [
        np.asarray(edit(model, "a red pear", attach=attach).image) for attach in (first + second, second + first)
    ]
    alone = [np.asarray(edit(model, "a red pear", attach=attach).image) for attach in (first, second)]
    assert np.array_equal(*together)
    assert not any(np.array_equal(together[0], one) for one in alone)


@pytest.mark.slow
def test_plug_and_play_takes_features_before_the_last_level(tmp_path: Path) -> None:
    """Those of the last level of this network, which has two, would leave no edit."""
    model = load_model(FOLDERS["StableDiffusionPipeline"](tmp_path / "model"))
    plain, chosen, before, last = (
        np.asarray(edit(model, "a red pear", attach=[f"plug-and-play:queries=0,features={features}"]).image)
        for features in ("0", "1", "1,block=up_blocks.0.resnets.1", "1,block=up_blocks.1.resnets.1")
    )
    assert np.array_equal(chosen, before)
    assert not np.array_equal(chosen, last)
    assert not np.array_equal(chosen, plain)


def test_two_controls_of_the_same_words_are_refused(model: Any) -> None:
    names = "attach='prompt-to-prompt' and attach='prompt-to-prompt:mode=replace' contradict each other"
    with pytest.raises(InvalidParameter, match=f"{names}: both control the attention to words"):
        edit(model, "a red pear", attach=["prompt-to-prompt", "prompt-to-prompt:mode=replace"])


@pytest.mark.parametrize("model", FAMILIES[:1], indirect=True)
@pytest.mark.parametrize("call", ["mutual-attention:start=0.2", "consist-edit", "plug-and-play"])
def test_a_control_without_a_source_is_refused_as_it_was_given(model: Any, call: str) -> None:
    with pytest.raises(InvalidParameter, match=f"^attach='{call}' takes attention from the source"):
        apply("img2img", IMAGE, model=model, prompt="a red pear", attach=[call])


@pytest.mark.slow
def test_an_option_that_needs_words_is_named_where_a_model_attends_to_none(tmp_path: Path) -> None:
    model = load_model(FOLDERS["DiTPipeline"](tmp_path / "model"))
    attached = {"attach": ["ledits:edit=a face"], "prompt": "a face"}
    for options in (attached, {"auto_mask": "attention", "prompt": "a face"}):
        name, value = next(iter(options.items()))
        given = value[0] if isinstance(value, list) else value
        with pytest.raises(MissingCapability, match=f"^{name}={given!r}: the model .* has no words that its attention"):
            apply("img2img", IMAGE, model=model, steps=1, **options)


@pytest.mark.parametrize("model", FAMILIES[:1], indirect=True)
@pytest.mark.parametrize("prompts", [{"source": ""}, {"target": " "}], ids=str)
def test_a_prompt_without_words_is_named_in_place_of_the_model(model: Any, prompts: dict[str, str]) -> None:
    (prompt,) = prompts.values()
    with pytest.raises(MissingCapability, match=f"^attach='prompt-to-prompt': the prompt '{prompt}' has no words"):
        apply(
            "prompt-edit", IMAGE, model=model, attach=["prompt-to-prompt"], **{"source": "a", "target": "b"} | prompts
        )


@pytest.mark.parametrize("model", FAMILIES[:1], indirect=True)
def test_a_control_that_acts_nowhere_is_named(model: Any) -> None:
    with pytest.raises(InvalidParameter, match=r"start must be at most end, not 0\.8 and 0\.2"):
        edit(model, "a red pear", attach=["mutual-attention:start=0.8,end=0.2"])
    plain = edit(model, "a red pear")
    late = edit(model, "a red pear", attach=["mutual-attention:start=0.9"])
    levels = (np.asarray(result.image, np.int16) for result in (late, plain))
    assert abs(np.subtract(*levels)).max() <= 1  # a control computes what plain edits take from the inversion
    assert "none of 3 steps lies between the fractions 0.9 and 1" in late.report.warnings[-1]
    twice = edit(model, "a red pear", attach=["mutual-attention", "mutual-attention:start=0.1"])
    assert "is given twice, and acts twice" in twice.report.warnings[0]
    assert edit(model, "a red pear", attach=["mutual-attention"]).report.warnings == plain.report.warnings == ()


@pytest.mark.parametrize("model", FAMILIES[:1], indirect=True)
@pytest.mark.parametrize(
    ("call", "named"),
    [
        ("prompt-to-prompt:words=0,places=0", "prompt-to-prompt has no effect: words and places are 0"),
        ("plug-and-play:features=0,queries=0", "plug-and-play has no effect: features and queries are 0"),
        ("consist-edit:structure=0", "consist-edit has no effect: structure is 0"),
        ("value-injection:share=0", "value-injection has no effect: share is 0"),
        ("ledits:edit=red,scale=0", "ledits:edit=red has no effect: scale is 0"),
    ],
)
def test_a_control_whose_shares_are_0_is_named(model: Any, call: str, named: str) -> None:
    assert named in edit(model, "a red pear", attach=[call], steps=1).report.warnings


def test_an_option_without_a_mask_or_residual_blocks_is_named(model: Any) -> None:
    assert edit(model, "a red pear", keep="structure").report.warnings == ()
    (warning,) = edit(model, "a red pear", attach=["consist-edit:content=false"]).report.warnings
    assert warning == "consist-edit:content=false has no effect: there is no mask"
    warnings = edit(model, "a red pear", attach=["plug-and-play:features=0.3"]).report.warnings
    assert [one.partition(" has")[0] for one in warnings] == (
        [] if "UNet" in type(model.net).__name__ else ["plug-and-play:features=0.3"]
    )


@pytest.mark.parametrize("control", ["mutual-attention", "plug-and-play", "ledits:edit=green"])
@pytest.mark.parametrize("model", FAMILIES[:1], indirect=True)
def test_a_control_of_edits_does_nothing_to_a_reconstruction_and_is_named(model: Any, control: str) -> None:
    inversion = invert(IMAGE, model=model, prompt="a red apple", steps=2)
    plain, controlled = (reconstruct(inversion, model=model, attach=attach) for attach in ([], [control]))
    assert np.array_equal(plain.image, controlled.image)
    assert controlled.report.warnings == (f"attach={control!r} has no effect: nothing is edited beside the source",)
    assert controlled.masks == ()


def test_keep_attaches_controls_that_a_replay_attaches_again(model: Any) -> None:
    plain, kept = edit(model, "a red pear"), edit(model, "a red pear", keep="structure")
    assert not np.array_equal(np.asarray(kept.image), np.asarray(plain.image))
    assert kept.recipe.steps[0].params["keep"] == "structure"
    assert np.array_equal(np.asarray(replay(kept, model=model).image), np.asarray(kept.image))


@pytest.mark.parametrize("word", ["structure", "appearance", "both"])
@pytest.mark.parametrize("model", FAMILIES[:1], indirect=True)
def test_keep_is_the_edit_with_its_documented_controls(model: Any, word: str) -> None:
    row = re.search(rf"^\| `{word}` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert row is not None
    kept, attached = (
        edit(model, "a red pear", **how) for how in ({"keep": word}, {"attach": re.findall("`(.+?)`", row[1])})
    )
    assert np.array_equal(np.asarray(kept.image), np.asarray(attached.image))


def test_values_are_those_of_the_source_in_the_first_steps_of_the_paper() -> None:
    """DirectEdit: values of all tokens for int(share * steps) steps, in all blocks or in those of one stream."""
    random = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 4, generator=random, dtype=torch.float64) for _ in range(3))
    image, words = slice(2, 6), slice(0, 2)
    path, tokens = flow_path(5), {"image": image, "image_keys": image, "words": words, "grid": (2, 2)}
    for blocks, name, steps in (("all", "blocks.0.attn", 2), ("single", "blocks.0.attn", 0), ("single", "single.0", 2)):
        control = ValueInjection(ValueInjectionParams(share=0.5, blocks=blocks))
        control.begin(path, [0, 0])
        site = AttentionSite(name=name, number=0, kind="joint", depth="flat", **tokens)  # type: ignore[arg-type]
        for index, point in enumerate(path[:-1]):
            with describe_rows([CallRow(0, 0, point), CallRow(0, 1, point)]):
                result = control.edit(
                    AttentionInputs(site, query, key, value, None, lambda q, k, v, bias: (q @ k.mT / 2).softmax(-1) @ v)
                )
            own = value if index >= steps else value[[0, 0]]
            maps = (torch.einsum("bhqd,bhkd->bhqk", query, key) / 2).softmax(-1)
            expected = torch.einsum("bhqk,bhkd->bhqd", maps, own)
            assert torch.allclose(result, expected, rtol=0, atol=1e-12), (blocks, name, index)


def test_value_injection_is_refused_where_no_block_is_of_one_stream(tmp_path: Path) -> None:
    folder = FOLDERS["StableDiffusion3Pipeline"](tmp_path / "model")
    with pytest.raises(InvalidParameter, match=r"value-injection:blocks=single is not allowed"):
        edit(folder, "a red pear", attach=["value-injection:blocks=single"])


def test_kept_words_take_the_maps_of_their_own_source_word() -> None:
    source = [Word(text, token, place) for place, (text, token) in enumerate((("a", 1), ("red", 2), ("apple", 3)), 1)]
    target = [Word(text, token, place) for place, (text, token) in enumerate((("a", 1), ("big", 9), ("red", 2)), 1)]
    found = align(source, target, (6, 6), swap=False)
    assert found.kept.tolist() == [1, 1, 0, 1, 1, 1]  # big is new; the places around the words are kept
    assert found.mapper[2].tolist() == [0, 0, 0, 1, 0, 0]  # red moved by one place
    swapped = align(source, target, (4, 4), swap=True)
    assert torch.equal(swapped.mapper.sum(0), swapped.kept)


def swapped(source: str, target: str) -> list[list[float]]:
    """Shares of the tokens of a source in those of a target, by words of tokens as in ``tri-cera tops``."""
    words = [
        [Word(text, hash(text), place) for place, text in enumerate(prompt.replace("-", " ").split())]
        for prompt in (source, target)
    ]
    prompts = source.replace("-", ""), target.replace("-", "")
    return align(*words, (len(words[0]), len(words[1])), swap=True, prompts=prompts).mapper.tolist()


def test_swapped_words_take_the_maps_of_the_words_they_replace_one_by_one() -> None:
    """Hertz et al., arXiv 2208.01626, section 3.2: maps are duplicated or averaged where words have other tokens."""
    assert swapped("a red apple here", "a green pear here") == torch.eye(4).tolist()
    assert swapped("red apple", "blue tri-cera-tops") == [[1, 0, 0, 0], [0, 1, 1, 1]]
    assert swapped("tri-cera fish", "cat eel") == [[0.5, 0], [0.5, 0], [0, 1]]
    assert swapped("cat", "big dog") == [[1, 1]]  # not as many words: all of them share the maps
    assert swapped("big old", "tri-cera-tops") == [[1, 0.5, 0], [0, 0.5, 1]]


def test_factors_are_those_of_words_of_the_target() -> None:
    words = [Word("straw", 5, 1), Word("hat", 6, 2)]
    assert word_factors("hat:1.5", words, 4).tolist() == [1, 1, 1.5, 1]  # type: ignore[union-attr]
    assert word_factors("strawhat:0.5", words, 4).tolist() == [1, 0.5, 0.5, 1]  # type: ignore[union-attr]
    for wrong in ("coat:1.5", "hat", "hat:x", "hat:-1"):
        with pytest.raises(InvalidParameter, match="prompt-to-prompt:weights"):
            word_factors(wrong, words, 4)


def test_a_control_is_refused_where_it_cannot_act(tmp_path: Path) -> None:
    folder = FOLDERS["StableDiffusionPipeline"](tmp_path / "model")
    with pytest.raises(InvalidParameter, match="img2img has no source"):
        apply("img2img", IMAGE, model="no-such-model", prompt="a pear", attach=["prompt-to-prompt"])
    with pytest.raises(InvalidParameter, match="samples none beside the edit"):
        apply("img2img", IMAGE, model=folder, prompt="a pear", attach=["mutual-attention"])
    with pytest.raises(MissingCapability, match=r"has no up_blocks\.9"):
        apply(
            "prompt-edit", IMAGE, model=folder, source="a", target="a pear", attach=["plug-and-play:block=up_blocks.9"]
        )
