"""RSM in parts is RSM."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unitrack_edge.heads.association.mask_points import describe_grid
from unitrack_edge.heads.association.similarity import GROUPS, grouped_costs, rsm_costs
from unitrack_edge.heads.association.tracklets import ObjectFeatures, points_of
from unitrack_edge.runtime.inference.base import Graphs
from unitrack_edge.runtime.preprocessing import FeatureMap, Letterbox

from ...reference.rsm_plain import rsm_cost
from ...support.tolerance import assert_within, rsm_error


def objects(rng, count, points, base):
    stack = base[None, :points] + 0.8 * rng.standard_normal((count, points, 16))
    stack /= np.linalg.norm(stack, axis=2, keepdims=True)
    mask = (rng.random((count, points)) < 0.8).astype(np.float32)
    mask[0] = 0
    return ObjectFeatures(stack.astype(np.float32), mask)


@pytest.mark.parametrize("most", [1, 700, 1500, 10**9])
def test_parts_change_nothing(tiny, monkeypatch, most):
    monkeypatch.setattr(tiny, "values_at_once", lambda: most)
    rng = np.random.default_rng(0)
    base = rng.standard_normal((9, 16))
    tracks, detections = objects(rng, 7, 6, base), objects(rng, 5, 9, base)
    got = rsm_costs(tiny, tracks, detections, np.array([100], np.float32))
    want = rsm_cost(
        [p[m > 0] for p, m in zip(tracks.points, tracks.mask, strict=True)],
        [p[m > 0] for p, m in zip(detections.points, detections.mask, strict=True)],
        100.0,
    )
    assert_within(got, want, rsm_error(16, 100.0))
    assert (got[0] == 1).all()
    assert (got[:, 0] == 1).all()
    assert (tiny.calls.count("rsm") == 1) == (most == 10**9)


class Small(Graphs):
    """A runner whose engines take few objects, and refuse more."""

    on_device = False

    def __init__(self, graphs, limits):
        self._graphs, self._limits = graphs, limits

    def limit(self, graph, input_index, axis):
        assert axis == 0 or graph in GROUPS.values()
        return self._limits.get((graph, input_index))

    def run(self, graph, *feeds):
        for number, feed in enumerate(feeds):
            most = self._limits.get((graph, number))
            assert most is None or len(feed) <= most, (graph, number, len(feed))
        return self._graphs.run(graph, *feeds)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    counts=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    limits=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    points=st.sampled_from([(6, 9), (50, 41)]),
    seed=st.integers(0, 99),
)
def test_engines_of_limited_size_give_what_larger_ones_give(tiny, counts, limits, points, seed):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((max(points), 16))
    tracks, detections = (objects(rng, n, p, base) for n, p in zip(counts, points, strict=True))
    scale = np.array([100], np.float32)
    graph = "rsm" if max(points) <= 40 else "rsm_masks"
    small = Small(tiny, {(graph, 0): limits[0], (graph, 2): limits[1]})
    got = rsm_costs(small, tracks, detections, scale)
    assert_within(got, rsm_costs(tiny, tracks, detections, scale), 2 * rsm_error(16, 100.0))


@pytest.mark.parametrize(("size", "graph"), [(6, "rsm_groups"), (50, "rsm_mask_groups")])
@pytest.mark.parametrize(("most", "launches"), [(100, 1), (7, 2), (5, 3), (4, None)])
def test_groups_are_compared_in_as_few_launches_as_an_engine_takes(
    tiny, most, launches, size, graph
):
    rng = np.random.default_rng(7)
    base, scale = rng.standard_normal((size, 16)), np.array([100], np.float32)
    stacks = [objects(rng, 5, size, base), objects(rng, 6, size, base)]
    points, mask = (np.concatenate([getattr(s, k) for s in stacks]) for k in ("points", "mask"))
    groups = [([0, 1], [5]), ([4, 2, 4, 9, 0], [6, 8]), ([], [7]), ([10], [7, 9, 10, 5])]
    rows = [tuple(np.array(side, np.int64) for side in group) for group in groups]
    small = Small(tiny, {(graph, number): most for number in (2, 5)})
    small.spec = tiny.spec
    assert grouped_costs(small, stacks, rows, scale) is None, "on a CPU one by one is quicker"
    small.on_device = True
    found = grouped_costs(small, stacks, rows, scale)
    if launches is None:
        assert found is None
        return
    assert tiny.calls.count(graph) == launches
    for got, pair in zip(found, rows, strict=True):
        sides = (ObjectFeatures(points[side], mask[side]) for side in pair)
        assert_within(got, rsm_costs(tiny, *sides, scale), 2 * rsm_error(16, 100.0))


@pytest.mark.parametrize("most", [1, 3, 7])
def test_points_of_any_number_of_objects(tiny, most):
    rng = np.random.default_rng(most)
    features = rng.standard_normal((1, 5, 7, 16)).astype(np.float32)
    feeds = [rng.random((7, 2, 5)).astype(np.float32), rng.random((7, 3, 7)).astype(np.float32)]
    small = Small(tiny, {("box_features", 1): most, ("box_features", 2): most})
    got = points_of(small, "box_features", features, *feeds)
    np.testing.assert_allclose(got, tiny.run("box_features", features, *feeds)[0], atol=1e-6)


@pytest.mark.parametrize("most", [1, 2])
def test_masks_of_any_number_of_objects(tiny, most):
    rng = np.random.default_rng(most)
    array = rng.standard_normal((1, 6, 8, 16)).astype(np.float32)
    array /= np.linalg.norm(array, axis=3, keepdims=True)
    features = FeatureMap(array, Letterbox.fit((48, 64), (48, 64)), 8)
    grid = rng.random((5, 6, 8)) < 0.5
    small = Small(tiny, {("point_features", n): most for n in (1, 2)})
    got, want = (describe_grid(graphs, grid, features.array, 20) for graphs in (small, tiny))
    np.testing.assert_array_equal(got.mask, want.mask)
    np.testing.assert_allclose(got.points, want.points, atol=1e-6)
