"""The box filter against matrix formulas and the golden run."""

from __future__ import annotations

import copy
import pickle
import weakref

import numpy as np
import pytest
from unitrack_edge.heads.association.kalman import (
    EXPECTED_SURPRISE,
    GATE_FOUR,
    GATE_TWO,
    BoxFilter,
    Motion,
    advance_filters,
    gating_distances,
    move_filters,
    update_filters,
    xyah_to_xyxy,
    xyxy_to_xyah,
)

from ...reference import kalman_plain


def measurements(seed, count=30):
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, [4, 2, 0.01, 1.5], (count, 4))
    return np.array([320.0, 200.0, 0.4, 90.0]) + np.cumsum(steps, axis=0)


def relative(got, want):
    """Largest difference, measured by the size of the largest number."""
    return np.abs(got - want).max() / np.abs(want).max()


def test_golden_run(golden):
    """The public code's run, to 1e-9 of the numbers' size (both are float64)."""
    numbers = golden("kalman_xyah")
    z = numbers["measurements"]
    box = BoxFilter(z[0])
    assert relative(box.mean, numbers["means"][0]) < 1e-9
    assert relative(box.covariance, numbers["covariances"][0]) < 1e-9
    for i in range(1, len(z)):
        box.predict()
        for name, position_only in (("gate_xyah", False), ("gate_xy", True)):
            got = gating_distances([box], numbers["gate_candidates"], position_only=position_only)
            assert got[0] == pytest.approx(numbers[name][i - 1], rel=1e-9)
        box.update(z[i])
        assert box.mean == pytest.approx(numbers["means"][i], rel=1e-9, abs=1e-9)
        assert box.covariance == pytest.approx(numbers["covariances"][i], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_filter_is_the_plain_one(seed):
    """With gaps, in which the object counts as lost and its height stays."""
    rng = np.random.default_rng(seed)
    z = measurements(seed)
    box = BoxFilter(z[0])
    x, covariance = kalman_plain.start(z[0])
    for measured in z[1:]:
        steady = bool(rng.random() < 0.3)
        box.predict(height_is_steady=steady)
        x, covariance = kalman_plain.predict(x, covariance, height_is_steady=steady)
        assert box.mean == pytest.approx(x, rel=1e-9, abs=1e-9)
        assert box.covariance == pytest.approx(covariance, rel=1e-9, abs=1e-9)
        if not steady:
            box.update(measured)
            x, covariance = kalman_plain.update(x, covariance, measured)
            assert box.mean == pytest.approx(x, rel=1e-9, abs=1e-9)
            assert box.covariance == pytest.approx(covariance, rel=1e-9, abs=1e-9)


def test_gating_is_the_plain_one():
    filters, states = [], []
    for seed in range(4):
        z = measurements(seed, 6)
        box = BoxFilter(z[0])
        x, covariance = kalman_plain.start(z[0])
        for measured in z[1:]:
            box.predict()
            box.update(measured)
            x, covariance = kalman_plain.update(*kalman_plain.predict(x, covariance), measured)
        filters.append(box)
        states.append((x, covariance))
    candidates = measurements(9, 7)
    for position_only, size in ((False, 4), (True, 2)):
        got = gating_distances(filters, candidates, position_only=position_only)
        want = [[kalman_plain.gating(x, p, z, size) for z in candidates] for x, p in states]
        assert got == pytest.approx(np.array(want), rel=1e-9)


def test_gating_of_nothing():
    some = BoxFilter(np.array([1.0, 2, 0.5, 10]))
    assert gating_distances([], np.zeros((3, 4))).shape == (0, 3)
    assert gating_distances([some], np.zeros((0, 4))).shape == (1, 0)


def test_gates_are_the_quantiles_of_chi_squared():
    from scipy.stats import chi2

    assert pytest.approx(chi2.ppf(0.95, 4), abs=1e-4) == GATE_FOUR
    assert pytest.approx(chi2.ppf(0.95, 2), abs=1e-4) == GATE_TWO


def test_half_of_all_surprises_are_as_large_as_expected():
    """Objects that move as the filter believes, whose boxes are as unsteady as it believes."""
    from scipy.stats import chi2

    assert pytest.approx(chi2.ppf(0.5, 2) / 2, abs=1e-12) == EXPECTED_SURPRISE
    rng = np.random.default_rng(0)
    filters = [BoxFilter(np.array([100.0, 50, 0.5, h])) for h in np.linspace(40, 300, 4000)]
    advance_filters(filters, 1.0, [False] * len(filters), change=0.3)
    expected = [f.covariance[:2, :2] + np.eye(2) * (f.mean[3] / 20) ** 2 for f in filters]
    boxes = np.array([f.mean[:4] for f in filters])
    boxes[:, :2] = [
        rng.multivariate_normal(box, cov) for box, cov in zip(boxes[:, :2], expected, strict=True)
    ]
    distances = gating_distances(filters[:50], boxes[:50], position_only=True)
    found = update_filters(filters, boxes)
    assert found.mean() == pytest.approx(1, abs=0.05)
    assert np.median(found) == pytest.approx(EXPECTED_SURPRISE, abs=0.05)
    assert found[:50] == pytest.approx(np.diag(distances) / 2)
    assert update_filters([], boxes[:0]).shape == (0,)


def several():
    return [BoxFilter(np.array([100.0 + 9 * k, 50, 0.5, 40 + 30 * k])) for k in range(3)]


@pytest.mark.parametrize("size", [2, 4])
def test_some_that_move_on_together_are_as_one_by_one(size):
    together, alone = several(), several()
    motion = Motion(together)
    boxes = np.array([[131.0, 55, 0.6, 95], [105, 47, 0.4, 44]])[:, :size]
    for _ in range(3):
        assert motion.moves(list(together))
        motion.advance(1.0, [False, True, False])
        surprises = motion.update([2, 0], boxes)
        for box, is_steady in zip(alone, [False, True, False], strict=True):
            advance_filters([box], 1.0, [is_steady])
        wanted = [
            update_filters([alone[k]], box[None]) for k, box in zip([2, 0], boxes, strict=True)
        ]
        np.testing.assert_array_equal(surprises, np.concatenate(wanted))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.covariance, other.covariance)
        assert (one.covariance == one.covariance.T).all()
    np.testing.assert_array_equal(motion.boxes(), [box.box_xyxy() for box in alone])


@pytest.mark.parametrize(
    "other",
    [
        lambda box: box.predict(),
        lambda box: box.update(np.array([100.0, 50, 0.5, 40])),
        lambda box: advance_filters([box], 1.0, [False]),
        lambda box: move_filters([box], np.eye(2, 3)),
        lambda box: setattr(box, "inner", copy.deepcopy(box.inner)),
    ],
)
def test_what_something_else_has_moved_is_read_anew(other):
    filters = several()
    motion = Motion(filters)
    assert motion.moves(filters)
    assert not motion.moves(filters[:2])
    other(filters[1])
    assert not motion.moves(filters)
    after = filters[1].mean.copy()
    motion.advance(1.0, [False] * 3)
    np.testing.assert_array_equal(filters[1].mean, after)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copy_reads_its_filters_anew(copied):
    """Views that are copied are arrays of their own."""
    filters = several()
    motion, others = copied((Motion(filters), filters))
    assert not motion.moves(others)


def test_filters_that_are_let_go_leave_no_circle():
    filters = several()
    Motion(filters)
    gone = weakref.ref(filters[2])
    del filters
    assert gone() is None


@pytest.mark.parametrize("change", [0.25, 1.0, 2.0])
def test_boxes_change_as_fast_as_is_said(change):
    box = BoxFilter(np.array([100.0, 50, 0.5, 80]))
    mean, before = box.mean, box.covariance
    advance_filters([box], 1.0, [False], change=change)
    p, v = change**1.5 * 80 / 20, change * 80 / 160
    added = np.diag(np.square([p, p, 1e-2, p, v, v, 1e-5, v]))
    moved = kalman_plain.F @ before @ kalman_plain.F.T
    np.testing.assert_allclose(box.covariance, moved + added, rtol=1e-12)
    np.testing.assert_allclose(box.mean, kalman_plain.F @ mean)


def test_box_forms_are_inverse():
    rng = np.random.default_rng(0)
    corner = rng.uniform(-50, 900, (40, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0.5, 300, (40, 2))], 1).astype(np.float32)
    xyah = xyxy_to_xyah(boxes)
    assert xyah[0, :2] == pytest.approx((boxes[0, :2] + boxes[0, 2:]) / 2.0)
    assert xyah_to_xyxy(xyah) == pytest.approx(boxes, abs=1e-3)
    assert xyxy_to_xyah(boxes[:0]).shape == (0, 4)


def test_filter_gives_its_box_and_follows_a_constant_velocity():
    box = BoxFilter(np.array([100.0, 50, 0.5, 40]))
    assert box.box_xyxy() == pytest.approx([90, 30, 110, 70])
    assert box.box_xyxy().dtype == np.float32
    for step in range(1, 40):
        box.predict()
        box.update(np.array([100.0 + 3 * step, 50, 0.5, 40]))
    box.predict()
    assert box.mean[0] == pytest.approx(220, abs=0.5)
    assert box.mean[4] == pytest.approx(3, abs=0.05)


def test_filters_are_independent():
    one, other = (BoxFilter(np.array([100.0, 50, 0.5, 40])) for _ in range(2))
    before = other.mean.copy(), other.covariance.copy()
    one.predict()
    one.update(np.array([130.0, 60, 0.6, 44]))
    assert (other.mean == before[0]).all()
    assert (other.covariance == before[1]).all()


def test_centres_alone_say_nothing_of_the_size():
    """Where the size is measured as it was expected, centres move alike; it gets no surer here."""
    one, other = (BoxFilter(np.array([100.0, 50, 0.5, 40])) for _ in range(2))
    for box in (one, other):
        box.predict()
    before = one.covariance[2:4, 2:4].copy()
    update_filters([one], np.array([[104.0, 51]]))
    update_filters([other], np.array([[104.0, 51, 0.5, 40]]))
    assert one.mean == pytest.approx(other.mean)
    assert 100 < one.mean[0] < 104
    assert one.covariance[2:4, 2:4] == pytest.approx(before)
    assert other.covariance[3, 3] < before[1, 1]
