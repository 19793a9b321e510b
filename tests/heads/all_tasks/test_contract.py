"""What every head keeps to, whatever its task.

Two objects stand in an image whose features are different at every cell, and alike in either half
of it; a head is told, frame by frame, which of the objects a detector sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unitrack_edge.heads.config import (
    MotConfig,
    MotsConfig,
    PoseConfig,
    PosetrackConfig,
    VosConfig,
)
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.mots import MotsHead
from unitrack_edge.heads.pose import PoseHead
from unitrack_edge.heads.posetrack import PosetrackHead
from unitrack_edge.heads.sot import SotHead
from unitrack_edge.heads.vos import VosHead
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.preprocessing import FeatureMap
from unitrack_edge.tracking.registry import TASKS

from ...support.people import noise_features, people, person
from ..test_sot import Eyes

SIZE = 160, 240
BOXES = np.array([[20, 30, 52, 110], [140, 40, 180, 130]], np.float32)
POSES = [person(20, 30, 32, 80), person(140, 40, 40, 90)]
BUFFER = 6
FPS = 30.0


def masks_of(boxes):
    masks = np.zeros((len(boxes), *SIZE), bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    return masks


LABELS = (masks_of(BOXES) * np.array([1, 2], np.uint8)[:, None, None]).sum(0).astype(np.uint8)


def boxes_seen(which):
    boxes = BOXES[list(which)].reshape(-1, 4)
    count = len(boxes)
    return Detections(boxes, np.full(count, 0.9, np.float32), np.zeros(count, np.int64))


def masks_seen(which):
    seen = boxes_seen(which)
    masks = masks_of(seen.boxes_xyxy)
    return Detections(seen.boxes_xyxy, seen.scores, seen.classes, masks)


def poses_seen(which):
    return people(*(POSES[k] for k in which))


@dataclass(frozen=True)
class Case:
    """A head: how it is made, and what it is told; None where it sees no detections."""

    make: Callable
    notify: Callable | None = None


SMALL = {"height": SIZE[0], "width": SIZE[1], "buffer": float(BUFFER)}
PAPER = {"preset": "unitrack", **SMALL}
CASES = {
    "mot": Case(lambda g: MotHead(g, MotConfig(coast=0.0, **SMALL), FPS), boxes_seen),
    "mot unitrack": Case(lambda g: MotHead(g, MotConfig(**PAPER), FPS), boxes_seen),
    "mots": Case(lambda g: MotsHead(g, MotsConfig(**SMALL), FPS), masks_seen),
    "mots unitrack": Case(lambda g: MotsHead(g, MotsConfig(**PAPER), FPS), masks_seen),
    "posetrack": Case(lambda g: PosetrackHead(g, PosetrackConfig(**SMALL), FPS), poses_seen),
    "posetrack unitrack": Case(
        lambda g: PosetrackHead(g, PosetrackConfig(**PAPER), FPS), poses_seen
    ),
    "vos": Case(lambda g: VosHead(g, LABELS, VosConfig(radius=6.0, memory=2, focus="off"))),
    "pose": Case(lambda g: PoseHead(g, np.stack(POSES), PoseConfig(radius=6.0, memory=2))),
    "sot": Case(lambda g: SotHead(Eyes(g), (20.0, 30.0, 32.0, 80.0))),
}
ASSOCIATING = [name for name, case in CASES.items() if case.notify is not None]

BOTH = (0, 1)


def test_no_task_is_left_out():
    assert {name.split()[0] for name in CASES} == set(TASKS)


@pytest.fixture(params=sorted(CASES))
def case(request):
    return CASES[request.param]


@pytest.fixture(params=ASSOCIATING)
def associating(request):
    return CASES[request.param]


def two_objects():
    """Noise with two objects of another colour; the head for one object looks at pixels."""
    image = np.random.default_rng(5).integers(0, 120, (*SIZE, 3), np.uint8)
    for (left, top, right, bottom), color in zip(BOXES.astype(int), (200, 240), strict=True):
        image[top:bottom:2, left:right] = color
    return image


IMAGE = two_objects()


def make_image(index):
    return Frame(index, index / FPS, IMAGE.copy())


def halves(seed=0):
    """Features of which those of the left half have one thing in common, and of the right one."""
    noise = noise_features(SIZE, 16, seed)
    points = 0.6 * noise.array
    middle = points.shape[2] // 2
    points[:, :, :middle, 0] += 0.8
    points[:, :, middle:, 1] += 0.8
    points /= np.linalg.norm(points, axis=3, keepdims=True)
    return FeatureMap(points.astype(np.float32), noise.letterbox, 8)


STILL = halves()


def step(case, head, index, which=BOTH, features=STILL):
    told = None if case.notify is None else case.notify(which)
    return head.step(make_image(index), features, told)


def as_bytes(tracks):
    seen = tracks.detections
    arrays = tracks.ids, seen.boxes_xyxy, seen.scores, seen.masks, seen.keypoints, tracks.label_map
    return b"|".join(b"-" if array is None else array.tobytes() for array in arrays)


SHOWN = [BOTH, BOTH, (0,), (1, 0), (), (1,), BOTH]


def run(case, head, shown=SHOWN):
    return [step(case, head, index, which) for index, which in enumerate(shown)]


# --- all heads


def test_what_a_head_reports_is_sound(case, tiny):
    head = case.make(tiny)
    for index, tracks in enumerate(run(case, head)):
        assert tracks.frame_index == index
        assert tracks.ids.dtype == np.int64
        assert (tracks.ids > 0).all()
        seen = tracks.detections
        assert np.isfinite(seen.boxes_xyxy).all()
        assert (seen.boxes_xyxy[:, 2:] > seen.boxes_xyxy[:, :2]).all()
        assert np.isfinite(seen.scores).all()
        if seen.masks is not None:
            assert seen.masks.shape == (len(tracks), *SIZE)
            assert seen.masks.sum(axis=0).max(initial=0) <= 1
        if seen.keypoints is not None:
            assert np.isfinite(seen.keypoints).all()


def test_it_finds_the_objects(case, tiny):
    """In a still image both stay where they are, with their ids."""
    head = case.make(tiny)
    for tracks in run(case, head, [BOTH] * 4):
        count = 1 if isinstance(head, SotHead) else 2
        assert list(tracks.ids) == list(range(1, count + 1))
        boxes = tracks.detections.boxes_xyxy
        assert np.abs(boxes - BOXES[:count]).max() < 12


def test_reset_equals_fresh(case, tiny):
    head = case.make(tiny)
    fresh = [as_bytes(t) for t in run(case, head)]
    run(case, head, [(1,), (), BOTH])
    head.reset()
    assert [as_bytes(t) for t in run(case, head)] == fresh
    head.reset()
    head.reset()
    assert [as_bytes(t) for t in run(case, head)] == fresh


def test_two_instances_are_independent(case, tiny):
    alone = [as_bytes(t) for t in run(case, case.make(tiny))]
    one, other = case.make(tiny), case.make(tiny)
    told_apart = []
    for index, which in enumerate(SHOWN):
        told_apart.append(as_bytes(step(case, one, index, which)))
        step(case, other, index, (1,), halves(seed=9))
    assert told_apart == alone


def test_an_empty_frame(case, tiny):
    """An image with nothing of what was there, and nothing seen in it; then all is back."""
    head = case.make(tiny)
    run(case, head, [BOTH, BOTH])
    told = None if case.notify is None else Detections.empty()
    black = Frame(2, 0.1, np.zeros((*SIZE, 3), np.uint8))
    tracks = head.step(black, halves(seed=7), told)
    assert set(tracks.ids) <= {1, 2}
    assert np.isfinite(tracks.detections.boxes_xyxy).all()
    if case.notify is not None:
        assert len(tracks) == 0
    after = step(case, head, 3)
    assert set(after.ids) <= {1, 2}
    assert len(after)


def test_nothing_from_the_first_frame_on(associating, tiny):
    head = associating.make(tiny)
    for tracks in run(associating, head, [()] * 5):
        assert len(tracks) == 0
    assert list(step(associating, head, 5).ids) in ([1, 2], [])
    assert list(step(associating, head, 6).ids) == [1, 2]


def test_dropped_frames_are_passed_over(case, tiny):
    head = case.make(tiny)
    for index in (0, 1, 4, 5):
        assert set(step(case, head, index).ids) <= {1, 2}
    assert len(step(case, head, 6))


def test_what_it_was_given_is_left_as_it_is(case, tiny):
    head = case.make(tiny)
    features = halves()
    points = features.array.copy()
    told = None if case.notify is None else case.notify(BOTH)
    before = None if told is None else (told.boxes_xyxy.copy(), told.masks, told.keypoints)
    frames = [make_image(index) for index in range(3)]
    reported = []
    for frame in frames:
        image = frame.image.copy()
        reported.append(head.step(frame, features, told))
        assert (frame.image == image).all()
    assert (features.array == points).all()
    if before is not None:
        assert (told.boxes_xyxy == before[0]).all()
        if before[1] is not None:
            assert (told.masks == masks_of(BOXES)).all()
        if before[2] is not None:
            assert (told.keypoints == POSES).all()
    earlier = as_bytes(reported[0])
    step(case, head, 3, (1,))
    assert as_bytes(reported[0]) == earlier, "a report is not written to later"


# --- heads that associate


def test_who_returns_within_the_buffer_keeps_the_id(associating, tiny):
    head = associating.make(tiny)
    run(associating, head, [BOTH, BOTH] + [(1,)] * BUFFER)
    assert sorted(step(associating, head, 2 + BUFFER).ids) == [1, 2]


def test_who_returns_later_is_somebody_new(associating, tiny):
    head = associating.make(tiny)
    run(associating, head, [BOTH, BOTH] + [(1,)] * (BUFFER + 1))
    step(associating, head, 3 + BUFFER)
    assert sorted(step(associating, head, 4 + BUFFER).ids) == [2, 3]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_ids_never_repeat(associating, tiny, data):
    """An id belongs to one object; one that was away for longer than the buffer has another."""
    head = associating.make(tiny)
    shown = data.draw(
        st.lists(st.sampled_from([(), (0,), (1,), BOTH, (1, 0)]), min_size=1, max_size=20)
    )
    owner: dict[int, int] = {}
    last: dict[int, int] = {}
    for index, which in enumerate(shown):
        tracks = step(associating, head, index, which)
        assert len(tracks) <= len(which)
        for identity, box in zip(tracks.ids.tolist(), tracks.detections.boxes_xyxy, strict=True):
            centre = (box[0] + box[2]) / 2
            item = int(centre > SIZE[1] / 2)
            assert owner.setdefault(identity, item) == item
            assert index - last.get(identity, index) <= BUFFER + 1
            last[identity] = index
