"""Steps between two fractions of a path: one rule for guidance and controls."""

from __future__ import annotations

import pytest

from editkit import AttentionControl, Point, interval, step_starts, steps_between
from editkit.diffusion.attention import CallRow
from editkit.diffusion.paths import with_resampling
from editkit.testing import vp_path


def test_steps_are_those_that_begin_between_two_hundredths() -> None:
    """In whole numbers: step i of n begins at i / n and ends at (i + 1) / n."""
    for steps in range(1, 101):
        for part in range(101):
            before, after = steps_between(steps, 0.0, part / 100), steps_between(steps, part / 100, 1.0)
            assert [*before] == [step for step in range(steps) if 100 * step < part * steps]
            assert [*before, *after] == [*range(steps)]  # two intervals that meet leave out no step
            whole = steps_between(steps, 0.0, part / 100, whole=True)
            assert [*whole] == [step for step in range(steps) if 100 * (step + 1) <= part * steps]


@pytest.mark.parametrize("times", [1, 2, 5])
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.3), (0.25, 0.5), (0.34, 1.0), (0.0, 1.0), (0.5, 0.5)])
def test_a_step_that_is_taken_several_times_counts_once(start: float, end: float, times: int) -> None:
    path = vp_path(8)
    assert interval(with_resampling(path, times), start, end) == interval(path, start, end)


def test_attention_has_the_share_of_the_steps_behind() -> None:
    """Whether the path repeats its last point or not, and on the rising path of an inversion alike."""
    control, path = AttentionControl(), vp_path(8)
    for one in (path, (*path, path[-1]), path[::-1]):
        control.path = one
        shares = [control.share(CallRow(0, 0, point)) for point in step_starts(one)]
        assert shares == [step / len(shares) for step in range(len(shares))]


def test_an_interval_holds_the_starts_of_its_steps_alone() -> None:
    path = vp_path(5)
    low, high = interval(path, 0.3, 0.7)
    assert [low <= point.sigma <= high for point in path[:-1]] == [False, False, True, True, False]
    low, high = interval(path, 0.3, 0.7, whole=True)
    assert [low <= point.sigma <= high for point in path[:-1]] == [False, False, True, False, False]
    low, high = interval((Point(0.0, 1.0), Point(1.0, 0.0)), 0.0, 0.5, whole=True)
    assert low > high
