"""Numbers of live frames: arrivals count, gaps count by the clock, bursts count once."""

from __future__ import annotations

import pytest
from unitrack_edge.runtime.sources.live import FrameCounter


def count(counter, times, **options):
    return [counter.count(time, **options) for time in times]


def test_arrivals_count_whatever_the_announced_rate_is():
    counter = FrameCounter(fps=90.0)
    assert count(counter, [n / 10 for n in range(50)]) == list(range(50))
    assert counter.interval_s == pytest.approx(0.1)


@pytest.mark.parametrize(("fps", "number"), [(30.0, 300), (None, 300), (25.0, 250)])
def test_a_gap_counts_by_the_clock(fps, number):
    counter = FrameCounter(fps)
    assert count(counter, [5.0, 15.0]) == [0, number]


def test_a_gap_counts_by_the_measured_rate_once_there_is_one():
    counter = FrameCounter(fps=90.0)
    count(counter, [n / 10 for n in range(51)])  # up to 5 s, number 50
    assert counter.count(7.0) == 70
    assert counter.count(17.0) == 170  # still, though little was measured since


def test_the_burst_that_a_connection_begins_with_tells_no_rate():
    counter = FrameCounter(30.0)
    count(counter, [n / 1000 for n in range(40)])
    assert counter.interval_s == pytest.approx(1 / 30)
    steady = count(counter, [0.04 + n / 25 for n in range(1, 200)])
    assert counter.interval_s == pytest.approx(1 / 25)
    assert counter.count(20.0) - steady[-1] == pytest.approx(25 * (20 - 0.04 - 199 / 25), abs=1)


def test_a_short_hiccup_is_no_gap():
    counter = FrameCounter(30.0)
    assert count(counter, [0.0, 0.9, 0.95]) == [0, 1, 2]


def test_a_new_connection_counts_by_the_clock_however_short_it_was_away():
    counter = FrameCounter(30.0)
    counter.count(0.0)
    assert counter.count(0.5, reconnected=True) == 15
    assert counter.count(0.501, reconnected=True) == 16  # never the same number


def test_frames_held_up_in_a_gap_are_counted_once():
    counter = FrameCounter(30.0)
    assert count(counter, [0.0, 1 / 30, 1 / 30 + 2.0]) == [0, 1, 61]
    assert set(count(counter, [1 / 30 + 2.0 + n / 1000 for n in range(1, 60)])) == {61}
    # Back to the usual pace, from the number that the clock gave.
    after = count(counter, [2.1 + n / 30 for n in range(3)])
    assert after[1] - after[0] == after[2] - after[1] == 1


def test_a_burst_longer_than_the_gap_counts_again():
    counter = FrameCounter(30.0)
    counter.count(0.0)
    assert counter.count(0.1, reconnected=True) == 3
    assert count(counter, [0.101, 0.102, 0.103, 0.104]) == [3, 3, 4, 5]
