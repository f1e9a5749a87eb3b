"""Figures of automatic masks against a true change."""

from __future__ import annotations

import numpy as np
import pytest
from editkit_emoji.training.evaluate_masks import score_mask


def test_overlap_precision_and_recall_are_those_of_marked_pixels() -> None:
    mask, truth = np.zeros((4, 4), np.uint8), np.zeros((4, 4), bool)
    mask[:2], mask[2], truth[1:3] = 255, 127, True  # below one half a pixel is not marked
    score = score_mask(mask, truth)
    assert score == pytest.approx((4 / 12, 4 / 8, 4 / 8, 8 / 16), abs=1e-9)
    assert score_mask(mask, np.zeros((4, 4), bool)).overlap == 0
