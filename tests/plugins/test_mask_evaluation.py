"""Figures of automatic masks against a true change."""

from __future__ import annotations

import numpy as np
import pytest
from editkit_emoji.training.cases import Case
from editkit_emoji.training.data import Emoji
from editkit_emoji.training.evaluate_masks import score_edit, score_mask
from editkit_emoji.training.pairs import Pair


def test_overlap_precision_and_recall_are_those_of_marked_pixels() -> None:
    mask, truth = np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool)
    mask[:2], mask[2], truth[1:3] = 255, 127, True  # below one half a pixel is not marked
    score = score_mask(mask, truth)
    assert score == pytest.approx((4 / 12, 4 / 8, 4 / 8, 8 / 16), abs=1e-9)
    assert score_mask(mask, np.zeros((4, 4), bool)).overlap == 0


def test_leakage_of_an_edit_is_its_squared_change_outside_the_true_change() -> None:
    image, truth, result = (np.zeros((4, 4, 3), np.uint8) for _ in range(3))
    truth[:2], result[:2], result[3, 0] = 100, 90, 60
    emoji = Emoji("flat", "red apple", "red apple", None)
    score = score_edit(Case(Pair(0, 1, "colour"), emoji, emoji, image, truth), result)
    assert (score.success, score.progress) == (1.0, pytest.approx(0.9, abs=1e-9))
    assert score.collateral == pytest.approx(60 / (100 * 8**0.5), abs=1e-9)
    assert score.leakage == pytest.approx(60**2 / (60**2 + 8 * 90**2), abs=1e-9)
