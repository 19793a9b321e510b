"""Label maps to the grid of cells and back."""

import cv2
import numpy as np
import pytest
from unitrack_edge.evaluation.metrics.davis import jaccard
from unitrack_edge.heads.propagation.label_maps import (
    best_labels,
    downsample_labels,
    ids_in,
    upsample_labels,
)
from unitrack_edge.runtime.preprocessing import Letterbox

from ...support.tolerance import assert_within, sum_error


def blobs(size_hw, count):
    labels = np.zeros(size_hw, np.uint8)
    height, width = size_hw
    for k in range(count):
        x = width * k // count
        labels[height // 5 : height * 4 // 5, x + 3 : x + width // count - 3] = 10 + k
    return labels


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8])
@pytest.mark.parametrize("network_hw", [(90, 160), (128, 128), (180, 320), (64, 160)])
def test_labels_come_back_from_the_grid(network_hw, count):
    """Through a grid as fine as the network's image, only the scaling is lost."""
    labels = blobs((90, 160), count)
    ids = np.unique(labels[labels > 0])
    letterbox = Letterbox.fit((90, 160), network_hw)
    scores = downsample_labels(labels, ids, letterbox, network_hw)
    assert scores.shape == (*network_hw, count + 1)
    assert scores.dtype == np.float32
    # Channels are scaled four at a time, which may place a sample a rounding apart on both axes.
    error = 2 * sum_error(1, max(160, *network_hw)) + sum_error(4 * (count + 1) + 10)
    assert_within(scores.sum(axis=2), np.ones(network_hw), error)
    back = upsample_labels(scores, letterbox)
    assert back.shape == (90, 160, count + 1)
    which = np.concatenate([[0], ids])[back.argmax(axis=2)]
    assert np.mean(which != labels) < 0.03
    for identity in ids:
        assert jaccard(which == identity, labels == identity) > 0.85


def test_padding_is_background():
    labels = np.full((50, 100), 5, np.uint8)
    scores = downsample_labels(
        labels, np.array([5], np.uint8), Letterbox.fit((50, 100), (100, 100)), (10, 10)
    )
    assert (scores[:2, :, 0] == 1).all()
    assert (scores[-2:, :, 0] == 1).all()
    assert (scores[4:6, :, 1] == 1).all()


@pytest.mark.parametrize("channels", [2, 5, 9])
def test_resizing_is_that_of_pytorch(channels):
    """`interpolate(mode="bilinear", align_corners=False)`, as the method's numbers were made."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(channels)
    labels = rng.integers(0, channels, (37, 51)).astype(np.uint8)
    ids = np.arange(1, channels, dtype=np.uint8)
    one_hot = (labels[None] == np.arange(channels)[:, None, None]).astype(np.float32)
    got = downsample_labels(labels, ids, Letterbox.fit((37, 51), (37, 51)), (5, 7))

    def resized(planes, size):
        return torch.nn.functional.interpolate(
            torch.from_numpy(planes)[None], size, mode="bilinear", align_corners=False
        )[0].numpy()

    # Places along both axes pass three roundings, and a value changes by at most 1 a cell.
    error = 2 * sum_error(3, 51) + sum_error(8)
    assert_within(got, resized(one_hot, (5, 7)).transpose(1, 2, 0), error)
    back = upsample_labels(got, Letterbox.fit((37, 51), (37, 51)))
    want = resized(np.ascontiguousarray(got.transpose(2, 0, 1)), (37, 51)).transpose(1, 2, 0)
    assert_within(back, want, error)


def scores_like(kind, shape, rng):
    """Scores of cells: noise; smooth; or, of the smooth ones, only which is largest."""
    if kind == "noise":
        return rng.random(shape).astype(np.float32)
    few = rng.random((4, 4, shape[2])).astype(np.float32)
    smooth = cv2.resize(few, shape[1::-1], interpolation=cv2.INTER_CUBIC).reshape(shape)
    if kind == "smooth":
        return smooth
    return (smooth == smooth.max(axis=2, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("kind", ["noise", "smooth", "one of them"])
def test_the_best_label_is_that_of_all_scores(kind):
    """Whatever is skipped: by definition, the largest of the interpolated scores."""
    rng = np.random.default_rng(len(kind))
    for _ in range(60):
        shape = tuple(int(n) for n in (*rng.integers(1, 40, 2), rng.integers(1, 6)))
        source = tuple(int(n) for n in rng.integers(1, 300, 2))
        network = tuple(8 * n for n in shape[:2])
        # Of the same ratio, or with padding.
        letterbox = Letterbox(source, network, network, 0, 0)
        if rng.random() < 0.5:
            letterbox = Letterbox.fit(source, network)
        scores = scores_like(kind, shape, rng)
        whole = upsample_labels(scores, letterbox)
        got = best_labels(scores, letterbox)
        assert (got.shape, got.dtype) == (source, np.uint8)
        given = np.take_along_axis(whole, got[..., None].astype(np.int64), axis=2)[..., 0]
        # OpenCV's places are rounded to float32, which moves a sample by a little.
        moved = 2 * sum_error(3, max(*source, *network)) + sum_error(8)
        assert (whole.max(axis=2) - given).max() <= 2 * moved * np.abs(scores).max()


def test_only_where_labels_meet_are_scores_interpolated(monkeypatch):
    """Half a frame each: one column of squares in eleven."""
    from unitrack_edge.heads.propagation import label_maps

    scores = np.zeros((6, 10, 2), np.float32)
    scores[:, :5, 0] = scores[:, 5:, 1] = 1
    looked = []
    largest = label_maps._largest
    monkeypatch.setattr(
        label_maps, "_largest", lambda s: looked.append(s[..., 0].size) or largest(s)
    )
    labels = best_labels(scores, Letterbox((120, 200), (48, 80), (48, 80), 0, 0))
    np.testing.assert_array_equal(labels, np.repeat([[0, 1]], 100, axis=1).repeat(120, axis=0))
    assert looked == [60, 7 * 20 * 20]


def test_ids_of_a_map():
    labels = np.array([[0, 255, 3], [3, 1, 0]], np.uint8)
    np.testing.assert_array_equal(ids_in(labels), [1, 3, 255])
    assert ids_in(labels).dtype == np.uint8
    assert len(ids_in(np.zeros((4, 5), np.uint8))) == 0
