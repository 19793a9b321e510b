"""RSM in parts is RSM."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.heads.association import similarity
from unitrack_edge.heads.association.similarity import rsm_costs
from unitrack_edge.heads.association.tracklets import ObjectFeatures

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
    monkeypatch.setattr(similarity, "_MOST_AFFINITIES", most)
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
