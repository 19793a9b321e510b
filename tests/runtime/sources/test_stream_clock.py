"""Times of live images: those of the source, on this machine's clock."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.runtime.sources.live import StreamClock

TRUE = np.arange(400) / 25


def times(arrivals, stamps):
    clock = StreamClock()
    return np.array([clock.captured(*both) for both in zip(arrivals, stamps, strict=True)])


def late(seed, most_s):
    """When frames of 25 FPS come through a network that delays them, in order."""
    delay = np.random.default_rng(seed).uniform(0.01, most_s, len(TRUE))
    return np.maximum.accumulate(100 + TRUE + delay)


@pytest.mark.parametrize("begin", [0.0, -3.0, 95000.0])
def test_jitter_of_the_network_is_none_of_the_times(begin):
    arrivals = late(0, 0.3)
    found = times(arrivals, TRUE + begin)
    assert (found <= arrivals).all()
    # Whenever one comes faster than any before, the clocks are laid closer.
    wrong = np.abs(np.diff(found) - 0.04)[100:]
    assert (wrong > 0.002).sum() <= 3
    assert (np.abs(np.diff(arrivals) - 0.04)[100:] > 0.02).sum() > 100


def test_frames_that_come_in_bursts_are_apart_as_they_were_made():
    arrivals = 100 + (np.arange(400) // 100 + 1) * 4.0 + np.arange(400) % 100 * 1e-3
    found = times(arrivals, TRUE)
    assert np.abs(np.diff(found[100:]) - 0.04).max() < 0.01


def test_without_timestamps_it_is_the_arrival():
    arrivals = late(1, 0.2)
    np.testing.assert_allclose(times(arrivals, [None] * 400), arrivals, atol=1e-3)


def test_clocks_that_drift_and_jump_are_followed():
    arrivals = 100 + TRUE * 1.0005
    assert np.abs(times(arrivals, TRUE) - arrivals).max() < 0.01
    stamps = TRUE.copy()
    stamps[200:] += 3600
    assert np.abs(times(100 + TRUE, stamps) - 100 - TRUE).max() < 0.01
    assert np.abs(times(100 + TRUE, np.r_[TRUE[:200] + 5000, TRUE[200:]]) - 100 - TRUE).max() < 0.01


def test_a_stamp_that_stands_or_goes_back_keeps_the_order():
    found = times(100 + TRUE[:50], np.zeros(50))
    assert (np.diff(found) > 0).all()
    found = times(100 + TRUE[:50], -TRUE[:50])
    assert (np.diff(found) > 0).all()


def test_a_new_connection_begins_anew():
    clock = StreamClock()
    clock.captured(100.0, 50.0)
    assert clock.captured(109.0, 51.0, reconnected=True) == 109.0
