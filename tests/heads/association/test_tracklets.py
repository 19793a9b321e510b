"""The feature bank: whose appearance is kept, and from when."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.heads.association.kalman import BoxFilter
from unitrack_edge.heads.association.tracklets import FeatureBank, ObjectFeatures, State, Tracklet


def tracklet(identity, detection=-1, first=0, last=0):
    box = BoxFilter(np.array([10.0, 10, 0.5, 8]))
    return Tracklet(identity, State.TRACKED, box, 0, first, last, detection)


def features(*values, absent=()):
    """One object a value, of two points filled with it; those numbered in `absent` have none."""
    points = np.repeat(np.array(values, np.float32), 32).reshape(-1, 2, 16)
    mask = np.ones((len(values), 2), np.float32)
    mask[list(absent)] = 0
    return ObjectFeatures(points, mask)


def kept(bank, tracklets):
    """What the bank holds of each tracklet; None where it holds nothing."""
    return [
        float(bank.features.points[t.row, 0, 0]) if bank.features and t.row >= 0 else None
        for t in tracklets
    ]


def test_present_is_any_point():
    mask = np.array([[1, 0], [0, 0], [1, 1]], np.float32)
    assert list(ObjectFeatures(np.zeros((3, 2, 4)), mask).present) == [True, False, True]


def test_age_counts_from_first_to_last_match():
    assert tracklet(1, first=3, last=11).age == 8


def test_matched_are_renewed_and_others_stay(tiny):
    bank = FeatureBank(tiny)
    a, b, c = tracklet(1, 1), tracklet(2, 0), tracklet(3, 2)
    bank.update([a, b, c], features(10, 11, 12))
    assert kept(bank, [a, b, c]) == [11, 10, 12]
    a.detection, b.detection, c.detection = -1, 0, -1
    bank.update([a, b, c], features(20))
    assert kept(bank, [a, b, c]) == [11, 20, 12]
    b.detection = -1
    before = bank.features
    bank.update([a, b, c], None)
    assert bank.features is before, "nothing was matched: nothing is copied"
    bank.update([c, a], None)
    assert kept(bank, [c, a]) == [12, 11]
    assert len(bank.features.mask) == 2


def test_a_match_without_points_keeps_what_was_known(tiny):
    bank = FeatureBank(tiny)
    a, b = tracklet(1, 0), tracklet(2, 1)
    bank.update([a, b], features(10, 11, absent=[1]))
    assert kept(bank, [a, b]) == [10, None]
    bank.update([a, b], features(20, 21, absent=[0]))
    assert kept(bank, [a, b]) == [10, 21]
    assert bank.features.present.all()


def test_nothing_left_and_a_new_beginning(tiny):
    bank = FeatureBank(tiny)
    a = tracklet(1, 0)
    bank.update([a], features(10))
    bank.update([], features(20))
    assert bank.features is None
    b = tracklet(2, 1)
    bank.update([b], features(30, 31))
    assert kept(bank, [b]) == [31]
    bank.update([], None)
    assert bank.features is None


@pytest.mark.parametrize("seed", range(5))
def test_bank_follows_a_plain_dictionary(tiny, seed):
    rng = np.random.default_rng(seed)
    bank, alive, plain, number = FeatureBank(tiny), [], {}, 0
    for _ in range(25):
        alive = [t for t in alive if rng.random() < 0.85]
        count = int(rng.integers(0, 6))
        values = rng.uniform(1, 100, count).astype(np.float32)
        absent = [row for row in range(count) if rng.random() < 0.3]
        rows = list(rng.permutation(count))
        for t in alive:
            t.detection = int(rows.pop()) if rows and rng.random() < 0.6 else -1
        for row in rows:
            number += 1
            alive.append(tracklet(number, int(row)))
        for t in alive:
            if t.detection >= 0 and t.detection not in absent:
                plain[t.id] = values[t.detection]
        bank.update(alive, features(*values, absent=absent) if count else None)
        assert kept(bank, alive) == [plain.get(t.id) for t in alive]
