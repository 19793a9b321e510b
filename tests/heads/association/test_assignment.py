"""`assign` against all assignments, tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from unitrack_edge.heads.association.assignment import assign

from ...reference.assignment_plain import best_total

costs = hnp.arrays(
    np.float64,
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    elements=st.floats(0, 1.5, width=32) | st.just(np.inf) | st.just(np.nan),
)


@settings(max_examples=200, deadline=None)
@given(cost=costs, limit=st.sampled_from([0.3, 0.5, 0.7, 1.0]))
def test_assignment_is_the_best_there_is(cost, limit):
    before = cost.copy()
    pairs, rows, columns = assign(cost, limit)
    assert np.array_equal(cost, before, equal_nan=True)
    assert sorted([*rows, *(row for row, _ in pairs)]) == list(range(cost.shape[0]))
    assert sorted([*columns, *(column for _, column in pairs)]) == list(range(cost.shape[1]))
    assert [row for row, _ in pairs] == sorted(row for row, _ in pairs)
    assert all(cost[pair] <= limit for pair in pairs)
    total = sum(cost[pair] - limit for pair in pairs)
    assert total == pytest.approx(best_total(cost, limit), abs=1e-9)


def test_two_good_pairs_beat_one_perfect_one():
    pairs, rows, columns = assign(np.array([[0.0, 0.3], [0.3, 0.9]]), 0.7)
    assert pairs == [(0, 1), (1, 0)]
    assert rows == columns == []


def test_nothing_above_the_limit():
    assert assign(np.full((2, 3), 0.71), 0.7) == ([], [0, 1], [0, 1, 2])
    pairs, rows, columns = assign(np.array([[0.71, 0.7], [0.1, np.nan]]), 0.7)
    assert pairs == [(0, 1), (1, 0)]
    assert rows == columns == []


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_assign(shape):
    assert assign(np.zeros(shape), 0.7) == ([], list(range(shape[0])), list(range(shape[1])))


def test_all_impossible():
    for value in (np.inf, np.nan):
        assert assign(np.full((2, 2), value), 0.7) == ([], [0, 1], [0, 1])


def test_types_and_size():
    rng = np.random.default_rng(0)
    cost = rng.uniform(0.2, 1.0, (60, 500)).astype(np.float32)
    cost.setflags(write=False)
    pairs, rows, columns = assign(cost, 0.7)
    assert len(pairs) + len(rows) == 60
    assert len(pairs) + len(columns) == 500
    assert all(type(row) is int and type(column) is int for row, column in pairs)
