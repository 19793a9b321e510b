from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unitrack_edge.runtime.boxes import (
    box_areas,
    clip_boxes,
    iou_matrix,
    iou_pairs,
    mask_boxes,
    moved_mask,
    nms,
    rows_in_image,
    valid_rows,
    xywh_to_xyxy,
    xyxy_to_xywh,
)

PIXELS = st.integers(-20, 60)
SIDES = st.integers(1, 40)


@st.composite
def boxes(draw, max_size=8):
    rows = draw(st.lists(st.tuples(PIXELS, PIXELS, SIDES, SIDES), max_size=max_size))
    return xywh_to_xyxy(np.array(rows, np.float32).reshape(-1, 4))


def cells(box):
    """The set of whole pixels that an integer box covers."""
    left, top, right, bottom = (int(v) for v in box)
    return {(x, y) for x in range(left, right) for y in range(top, bottom)}


@given(boxes())
def test_corner_and_size_forms_are_inverse(xyxy):
    assert (xywh_to_xyxy(xyxy_to_xywh(xyxy)) == xyxy).all()
    assert xyxy_to_xywh(xyxy).dtype == np.float32


@given(boxes(4), boxes(4))
def test_iou_counts_pixels(a, b):
    iou = iou_matrix(a, b)
    assert iou.shape == (len(a), len(b))
    assert iou.dtype == np.float32
    for i, one in enumerate(a):
        assert box_areas(a)[i] == len(cells(one))
        for j, other in enumerate(b):
            shared, both = cells(one) & cells(other), cells(one) | cells(other)
            assert iou[i, j] == pytest.approx(len(shared) / len(both), abs=1e-6)


def test_iou_of_empty_and_huge_boxes():
    point = np.zeros((1, 4), np.float32)
    huge = np.array([[-3e38, -3e38, 3e38, 3e38]], np.float32)
    assert iou_matrix(point, point)[0, 0] == 0
    assert iou_matrix(huge, huge)[0, 0] == 1
    assert iou_matrix(np.zeros((0, 4), np.float32), huge).shape == (0, 1)


@given(boxes())
def test_clipped_boxes_lie_in_the_picture_and_nothing_else_is_lost(xyxy):
    clipped = clip_boxes(xyxy, (30, 40))
    inside = rows_in_image(xyxy, (30, 40))
    image = cells((0, 0, 40, 30))
    for box, cut, stays in zip(xyxy, clipped, inside, strict=True):
        assert bool(cells(box) & image) == stays
        if stays:
            assert cells(cut) == cells(box) & image


@pytest.mark.parametrize(
    ("row", "valid"),
    [
        ((0, 0, 1, 1), True),
        ((1, 0, 1, 1), False),
        ((0, 2, 1, 1), False),
        ((0, 0, np.nan, 1), False),
        ((0, 0, np.inf, 1), False),
        ((-np.inf, 0, 1, 1), False),
    ],
)
def test_valid_rows(row, valid):
    rows = valid_rows(np.array([row], np.float32))
    assert rows.dtype == np.bool_
    assert rows.tolist() == [valid]


@given(boxes(12), st.data())
def test_suppression_is_the_greedy_definition(xyxy, data):
    scores = data.draw(arrays(np.float32, len(xyxy), elements=st.integers(0, 4)))
    classes = data.draw(arrays(np.int64, len(xyxy), elements=st.integers(0, 1)))
    iou = iou_matrix(xyxy, xyxy)
    kept: list[int] = []
    for i in sorted(range(len(xyxy)), key=lambda i: (-scores[i], i)):
        if not any(classes[i] == classes[k] and iou[i, k] > 0.4 for k in kept):
            kept.append(i)
    assert nms(xyxy, scores, 0.4, classes).tolist() == kept
    for chosen in (nms(xyxy, scores, 0.4), nms(xyxy, scores, 0.4, np.zeros_like(classes))):
        pairs = iou_matrix(xyxy[chosen], xyxy[chosen])
        np.fill_diagonal(pairs, 0)
        assert not (pairs > 0.4).any()


@given(arrays(np.bool_, st.tuples(st.integers(0, 3), st.just(5), st.just(7))))
def test_mask_boxes_are_tight(masks):
    found = mask_boxes(masks)
    assert found.shape == (len(masks), 4)
    assert (valid_rows(found) == masks.any(axis=(1, 2))).all()
    for mask, box in zip(masks, found, strict=True):
        ys, xs = np.nonzero(mask)
        if len(xs):
            assert box.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@given(boxes(), boxes())
def test_pairs_overlap_as_in_the_matrix(a, b):
    rows, columns = np.indices((len(a), len(b))).reshape(2, -1)
    assert (iou_pairs(a[rows], b[columns]) == iou_matrix(a, b)[rows, columns]).all()


def test_a_mask_moves_and_grows_by_whole_pixels():
    mask = np.zeros((20, 20), np.bool_)
    mask[2:4, 3:6] = True
    before = np.array([3, 2, 6, 4], np.float32)
    moved = moved_mask(mask, before, before + 5)
    assert np.argwhere(moved).min(axis=0).tolist() == [7, 8]
    assert moved.sum() == mask.sum()
    grown = moved_mask(mask, before, np.array([3, 2, 9, 6], np.float32))
    assert grown[2:6, 3:9].all()
    assert grown.sum() == 24
    assert moved_mask(mask, before, before + np.float32(16)).sum() == 2
