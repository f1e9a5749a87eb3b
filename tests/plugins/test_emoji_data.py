"""Laws of the data of the bundled model: split, tones, captions, tokens, edit pairs. No image is needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from editkit_emoji.training.captions import natural_captions, sample_caption
from editkit_emoji.training.cases import Case
from editkit_emoji.training.data import (
    SETS,
    TONES,
    UNSEEN,
    Emoji,
    code_point_key,
    english_names,
    licences,
    plain,
    split_tone,
)
from editkit_emoji.training.evaluate import Score, nearest, score
from editkit_emoji.training.methods import EditResult
from editkit_emoji.training.pairs import Pair, evaluation_pairs, ordered, slots
from editkit_emoji.training.tokenizer import MAX_LENGTH, new_tokenizer, tokens_of
from transformers import PreTrainedTokenizerFast

from editkit import evaluation

SUBJECTS = ("red apple", "green apple", "waving hand", "man cook", "woman cook", "grinning face", "crying face", "star")


def emojis() -> list[Emoji]:
    """Three styles of every subject, and all tones of the hand."""
    untoned = [Emoji(style, subject, subject, None) for style in ("flat", "3d", "noto") for subject in SUBJECTS]
    hands = [Emoji("flat", f"waving hand {tone.replace('-', ' ')}", "waving hand", tone) for tone in TONES]
    return untoned + hands


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return new_tokenizer(emojis())


def test_the_hash_of_the_name_decides_held_out() -> None:
    for emoji in emojis():
        digest = hashlib.sha256(f"{emoji.style} {emoji.name}".encode()).hexdigest()
        assert emoji.held_out == (int(digest, 16) % 20 == 0)


def test_one_emoji_in_twenty_is_held_out() -> None:
    share = np.mean([Emoji("flat", f"thing {n}", f"thing {n}", None).held_out for n in range(20_000)])
    assert share == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize("ending", ["", " skin tone"])
@pytest.mark.parametrize("tone", TONES)
def test_a_tone_is_split_off_if_all_five_exist(tone: str, ending: str) -> None:
    siblings = {f"waving hand {other.replace('-', ' ')}{ending}" for other in TONES}
    assert split_tone(f"waving hand {tone.replace('-', ' ')}{ending}", siblings) == ("waving hand", tone)


def test_a_traffic_light_has_no_tone() -> None:
    assert split_tone("horizontal traffic light", {"horizontal traffic light"}) == ("horizontal traffic light", None)


def test_captions_spell_the_tone_the_same_in_every_set() -> None:
    assert Emoji("flat", "waving hand medium dark", "waving hand", "medium-dark").caption == (
        "flat waving hand medium dark skin tone"
    )
    assert Emoji("3d", "star", "star", None).caption == "3d star"


def test_names_have_plain_letters() -> None:
    assert plain("Man: Curly-Hair’s") == "man curly hair s"
    assert code_point_key("1F44B-FE0F-1F3FB") == "1f44b-1f3fb"


def test_names_written_as_one_word_are_found_by_label_character_and_short_code(tmp_path: Path) -> None:
    (tmp_path / "en" / "shortcodes").mkdir(parents=True)
    entries = [{"hexcode": "1F34E", "label": "red apple"}, {"hexcode": "1F44C", "label": "OK hand"}]
    (tmp_path / "en" / "data.json").write_text(json.dumps(entries))
    for name in ("github", "iamcal", "emojibase"):
        (tmp_path / "en" / "shortcodes" / f"{name}.json").write_text(json.dumps({"1F44C": ["ok_hand", "perfect"]}))
    names = english_names(tmp_path)
    assert names.labels == {"1f34e": "red apple", "1f44c": "OK hand"}
    assert names.one_word["redapple"] == "red apple"
    assert names.one_word["perfect"] == names.one_word["okhandsign"] == "ok hand"
    assert names.one_word["blackrightwardsarrow"] == "black rightwards arrow"


def test_every_set_is_attributed() -> None:
    text = licences(SETS)
    for artwork in SETS:
        assert f"| `{artwork.package}` | {artwork.style} | {artwork.licence} | {artwork.author} |" in text
    assert not {artwork.style for artwork in SETS} & {artwork.style for artwork in UNSEEN}


def test_captions_are_mostly_canonical_and_one_in_four_empty() -> None:
    emoji = Emoji("flat", "red apple", "red apple", None)
    captions = [sample_caption(emoji, torch.Generator().manual_seed(seed)) for seed in range(3000)]
    assert captions.count("") / 3000 == pytest.approx(0.25, abs=0.03)
    assert captions.count(emoji.caption) / 3000 == pytest.approx(0.50, abs=0.03)
    assert set(captions) == {"", emoji.caption, *natural_captions(emoji)}


def test_captions_repeat_with_their_generator() -> None:
    emoji = Emoji("flat", "waving hand dark", "waving hand", "dark")
    one, two = (torch.Generator().manual_seed(5) for _ in range(2))
    assert [sample_caption(emoji, one) for _ in range(50)] == [sample_caption(emoji, two) for _ in range(50)]


def test_natural_captions_can_omit_the_tone() -> None:
    emoji = Emoji("flat", "waving hand dark", "waving hand", "dark")
    assert all("dark skin tone" in caption for caption in natural_captions(emoji))
    assert not any("dark" in caption for caption in natural_captions(emoji, tone=False))
    assert "a flat emoji of a waving hand" in natural_captions(emoji, tone=False)


def test_words_of_captions_are_one_token_each(tokenizer: PreTrainedTokenizerFast) -> None:
    for emoji in emojis():
        tokens = tokenizer(emoji.caption).input_ids
        assert len(tokens) == len(emoji.caption.split()) + 2
        assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == emoji.caption


def test_case_hyphens_accents_and_spaces_do_not_matter(tokenizer: PreTrainedTokenizerFast) -> None:
    expected = tokenizer("red apple").input_ids
    assert all(tokenizer(text).input_ids == expected for text in ("Red-Apple", "  rèd   APPLE \n", "red apple"))


@pytest.mark.parametrize("text", ["zebracorn", "日本", "🍎", "...!?", "\x00"])
def test_no_word_is_unknown(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    assert len(tokenizer(text).input_ids) > 2
    assert tokenizer.decode(tokenizer(text).input_ids, skip_special_tokens=True).strip() == text


def test_tokens_are_padded_and_truncated(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokens_of(tokenizer, ["", "star " * 100])
    assert tokens.shape == (2, MAX_LENGTH)
    assert tokens[0].tolist()[2:] == [tokenizer.pad_token_id] * (MAX_LENGTH - 2)
    assert tokens[1, -1] == tokenizer.eos_token_id


def test_slots_replace_whole_words() -> None:
    assert list(slots("light blue heart", ("blue", "light blue"))) == [("_ heart", "light blue")]
    assert list(slots("blueberries", ("blue",))) == []


def test_pairs_differ_in_one_attribute_and_their_target_is_held_out() -> None:
    records = emojis()
    pairs = evaluation_pairs(records)
    assert len({(pair.source, pair.target) for pair in pairs}) == len(pairs)
    for pair in pairs:
        source, target = records[pair.source], records[pair.target]
        assert target.held_out
        assert (source.style == target.style) != (pair.attribute == "style")
        assert "noto" not in (source.style, target.style) or pair.attribute != "style"


def test_the_known_edits_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emoji, "held_out", True)
    records = emojis()
    found = {(records[p.source].caption, records[p.target].caption): p.attribute for p in evaluation_pairs(records)}
    assert found["flat red apple", "flat green apple"] == "colour"
    assert found["flat man cook", "flat woman cook"] == "gender"
    assert found["3d grinning face", "3d crying face"] == "expression"
    assert found["flat star", "3d star"] == "style"
    assert found["flat waving hand", "flat waving hand dark skin tone"] == "skin tone"
    assert ("flat star", "noto star") not in found
    assert ("flat star", "flat red apple") not in found


def test_the_order_of_pairs_is_fixed_and_takes_attributes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emoji, "held_out", True)
    records = emojis()
    pairs = evaluation_pairs(records)
    order = ordered(pairs, records)
    assert order == ordered(pairs[::-1], records)
    assert sorted(order, key=repr) == sorted(pairs, key=repr)
    attributes = {pair.attribute for pair in pairs}
    assert {pair.attribute for pair in order[: len(attributes)]} == attributes


def scored(output: np.ndarray) -> Score:
    source, target = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    target[0, 0] = 255
    one, other = emojis()[:2]
    case = Case(Pair(0, 1, "colour"), one, other, source, target)
    return score(case, EditResult(output, 1, 1, 0.0), target)


def test_score_of_no_edit_and_of_the_whole_edit() -> None:
    nothing, whole = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    whole[0, 0] = 255
    assert (scored(nothing).progress, scored(nothing).collateral, scored(nothing).success) == (0, 0, False)
    assert (scored(whole).progress, scored(whole).collateral, scored(whole).success) == (1, 0, True)


def test_a_change_outside_the_edit_is_collateral() -> None:
    elsewhere = np.zeros((2, 2, 3), np.uint8)
    elsewhere[1, 1] = 255
    assert scored(elsewhere).progress == 0
    assert scored(elsewhere).collateral == pytest.approx(1)


def test_statistics_equal_known_values() -> None:
    assert evaluation.wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert evaluation.wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert evaluation.decibels(np.zeros(4), np.full(4, 0.1)) == pytest.approx(20)
    assert evaluation.decibels(np.ones(3), np.ones(3)) == 100
    rows = torch.randn(5, 2, 3, 3)
    assert nearest(rows[[3, 1]] + 0.01, rows) == [3, 1]
