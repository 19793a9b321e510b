"""What objects look like that are looked at together, as on a GPU: as if each were alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from unitrack_edge.heads.config import MotConfig, MotsConfig, PosetrackConfig
from unitrack_edge.heads.correlation.following import Follower
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.mots import MotsHead
from unitrack_edge.heads.posetrack import PosetrackHead
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.inference.base import Graphs, filled_count

FRAME = 240, 320
BOXES = np.array(
    [
        [20, 20, 60, 110],
        [90, 15, 130, 100],
        [150, 30, 260, 70],  # lies
        [150, 120, 220, 190],  # square
        [-30, 120, 25, 235],  # partly outside
        [296, 200, 318, 238],
        [-9e5, 100, 9e5, 160],  # no image holds it
    ],
    np.float32,
)


class Together(Graphs):
    """Graphs on the CPU, which are given what a GPU's are given."""

    def __init__(self, graphs):
        self.spec, self._graphs = graphs.spec, graphs
        self.images = []

    def run(self, graph, *feeds):
        if graph == "backbone":
            self.images.append(feeds[0].shape)
        return self._graphs.run(graph, *feeds)

    def filled(self, count):
        return filled_count(count)


def objects(frame_hw):
    """Boxes, masks and joints of the same places."""
    masks = np.zeros((len(BOXES), *frame_hw), np.bool_)
    joints = np.ones((len(BOXES), 17, 3), np.float32)
    for row, box in enumerate(BOXES):
        left, top, right, bottom = np.clip(box, 0, [*frame_hw[::-1]] * 2).astype(int)
        masks[row, top:bottom, left:right] = True
        # Not all of it, so that it matters which cells are looked at.
        masks[row, top : (top + bottom) // 2, left : (left + right) // 2] = False
        joints[row, :, :2] = np.linspace((left, top), (right, bottom), 17)
    ones = np.ones(len(BOXES), np.float32)
    return Detections(BOXES, ones, np.zeros(len(BOXES), np.int64), masks, joints)


TASKS = pytest.mark.parametrize(
    ("make", "config"),
    [
        (MotHead, MotConfig(appearance="auto")),
        (MotsHead, MotsConfig(appearance="auto")),
        (MotsHead, MotsConfig(appearance="auto", max_area=20)),  # masks are shrunk
        (PosetrackHead, PosetrackConfig(appearance="auto")),
    ],
    ids=["mot", "mots", "mots-shrunk", "posetrack"],
)


def features(graphs, make, config, image, rows):
    """Of some of the objects, looked at in one go: points and mask."""
    head = make(graphs, config)
    memory = head._look_memory(head.fused_numbers(30.0))
    looks = head.looks(Frame(0, 0.0, image), objects(FRAME))
    found = memory.some([looks[row] for row in rows], np.arange(len(rows)))
    return found.host_points(), found.mask


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*FRAME, 3)).astype(np.uint8)


@TASKS
def test_each_looks_as_it_does_alone(lite_runner, make, config):
    image, rows = picture(), range(len(BOXES))
    graphs = Together(lite_runner)
    points, masks = features(graphs, make, config, image, rows)
    assert sorted(shape[0] for shape in graphs.images) == [2, 2, 4], "of each proportions a call"
    for row in rows:
        want, mask = features(lite_runner, make, config, image, [row])
        np.testing.assert_array_equal(masks[row], mask[0])
        seen = mask[0] > 0
        np.testing.assert_allclose(points[row][seen], want[0][seen], atol=1e-5)
    same, same_masks = features(lite_runner, make, config, image, rows)
    np.testing.assert_allclose(same, points, atol=1e-5)
    np.testing.assert_array_equal(same_masks, masks)
    assert masks.any(axis=1).sum() >= 6
    assert all(np.abs(one - other).max() > 0.1 for one, other in pairwise(points[:4]))


@TASKS
def test_a_bundle_of_one_size_is_given_them_side_by_side(lite_runner, make, config):
    image, rows = picture(), range(len(BOXES))
    graphs = Together(lite_runner)
    graphs.spec = replace(graphs.spec, sizes_hw=((256, 320),))
    points, masks = features(graphs, make, config, image, rows)
    assert graphs.images == [(1, 256, 320, 3)] * 2
    alone, want = features(lite_runner, make, config, image, rows)
    np.testing.assert_array_equal(masks, want)
    seen = want > 0
    # Its neighbours matter, but not much: it is looked at where it is.
    assert (points * alone).sum(axis=2)[seen].mean() > 0.8


@TASKS
def test_it_does_not_matter_who_else_is_looked_at(lite_runner, make, config):
    image = picture()
    other = picture(1)
    other[:140, :82] = image[:140, :82]
    graphs = Together(lite_runner)
    (one, mask), (same, same_mask) = (
        features(graphs, make, config, frame, range(len(BOXES))) for frame in (image, other)
    )
    np.testing.assert_array_equal(one[0], same[0])
    np.testing.assert_array_equal(mask, same_mask)
    assert np.abs(one[1] - same[1]).max() > 0.1


def test_who_is_followed_is_found_at_the_same_place(lite_runner):
    image, boxes = picture(), BOXES[:4]
    moved = np.roll(image, (2, -3), (0, 1))
    found = []
    for graphs in (lite_runner, Together(lite_runner)):
        follower = Follower(graphs, lambda _pixels: None)
        follower.remember(image, [1, 2, 3, 4], boxes, 4)
        found.append(follower.find(moved, [1, 2, 3, 4], boxes))
    (rows, centres), (others, other_centres) = found
    assert len(rows) >= 2
    np.testing.assert_array_equal(rows, others)
    np.testing.assert_allclose(centres, other_centres, atol=1e-3)
