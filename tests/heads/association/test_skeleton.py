"""Skeletons drawn as filled shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.association.skeleton import HEAD_WIDTH, LIMB_WIDTH, body_size, pose_mask
from unitrack_edge.runtime.formats.keypoints import posetrack_from_coco

SIZE = 120, 160

# A person who stands upright: PoseTrack18's joints, and the three where COCO's differ.
HEAD = {"nose": (80, 22), "head_bottom": (80, 32), "head_top": (80, 10)}
EARS = [(85, 20), (75, 20)]
BODY = [
    (92, 36), (68, 36), (98, 52), (62, 52), (100, 66), (60, 66),
    (87, 66), (73, 66), (89, 86), (71, 86), (90, 108), (70, 108),
]  # fmt: skip
EYES = [(83, 18), (77, 18)]


def joints(places):
    return np.array([(x, y, 1) for x, y in places], np.float32)


POSETRACK = joints([HEAD["nose"], HEAD["head_bottom"], HEAD["head_top"], *EARS, *BODY])
COCO = joints([HEAD["nose"], *EYES, *EARS, *BODY])


def without(person, *missing):
    person = person.copy()
    person[list(missing)] = 0
    return person


@pytest.mark.parametrize("person", [POSETRACK, COCO], ids=["posetrack", "coco"])
def test_a_person_is_filled(person):
    mask = pose_mask(person, SIZE)
    assert mask.shape == SIZE
    assert mask.dtype == np.bool_
    for x, y, _ in person:
        assert mask[int(y), int(x)], "a joint lies within"
    assert mask[50, 80], "the torso is filled"
    assert mask[97, 90], "between knee and ankle"
    assert not mask[90, 80], "between the legs"
    assert not mask[60, 110], "beside the arm"
    assert not mask[:4].any(), "above the head"
    assert 0.08 < mask.mean() < 0.2


def test_both_layouts_show_one_body():
    one, other = pose_mask(POSETRACK, SIZE), pose_mask(COCO, SIZE)
    assert (one & other).sum() > 0.9 * (one | other).sum()


def test_thickness_grows_with_the_body():
    small = POSETRACK * (0.5, 0.5, 1)
    large = pose_mask(POSETRACK.astype(np.float32), SIZE)
    half = pose_mask(small.astype(np.float32), (60, 80))
    assert half.mean() == pytest.approx(large.mean(), rel=0.1)
    arm = pose_mask(without(POSETRACK, *range(5), *range(9, 17), 6, 8), (400, 400))
    assert body_size(without(POSETRACK, *range(5), *range(9, 17), 6, 8)) == 16
    assert arm.any(axis=0).sum() == pytest.approx(6 + 16 * LIMB_WIDTH, abs=1.5)
    head = without(POSETRACK, *range(5, 17))
    assert pose_mask(head, SIZE).any(axis=0).sum() == pytest.approx(10 + 22 * HEAD_WIDTH, abs=2.5)


def test_missing_joints_leave_their_shapes_out():
    mask = pose_mask(without(POSETRACK, 14, 16), SIZE)
    assert mask[97, 90], "the left leg is there"
    assert not mask[97, 69:73].any(), "the right one is not"
    torso = pose_mask(without(POSETRACK, 5), SIZE)
    assert torso[55, 78], "three corners of the torso make a triangle"
    assert not torso[40, 89]
    assert not pose_mask(without(POSETRACK, *range(17)), SIZE).any()


@pytest.mark.parametrize("joint", [0, 2, 9, 16])
def test_a_single_joint_is_a_dot(joint):
    only = without(POSETRACK, *(j for j in range(17) if j != joint))
    mask = pose_mask(only, SIZE)
    y, x = np.nonzero(mask)
    assert 1 <= mask.sum() <= 9
    assert [x.mean() + 0.5, y.mean() + 0.5] == pytest.approx(only[joint, :2], abs=1)


def test_other_skeletons_are_hulls():
    corners = joints([(20, 20), (60, 20), (60, 80), (20, 80), (40, 50)])
    mask = pose_mask(corners, SIZE)
    assert mask[20:80, 20:60].all()
    assert mask.sum() < 60 * 40 * 1.4
    assert not pose_mask(np.zeros((0, 3), np.float32), SIZE).any()


def test_the_scene_s_walkers_are_covered():
    """The truth's masks and keypoints belong to one another; half of either is the other."""
    scene = Scene(SceneConfig(frames=30, height=288, width=512, objects=3, seed=0))
    truth = scene.truth(0)
    for mask, person, visible in zip(truth.masks, truth.keypoints, truth.visible, strict=True):
        if visible < 0.9:
            continue
        drawn = pose_mask(person, mask.shape)
        assert (drawn & mask).sum() > 0.55 * mask.sum()
        assert (drawn & mask).sum() > 0.55 * drawn.sum()


COORDINATE = st.one_of(
    st.floats(-200, 400, width=32),
    st.sampled_from([0.0, 1e9, -1e9, 3e38, float("nan"), float("inf"), -float("inf")]),
)


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(
        st.tuples(COORDINATE, COORDINATE, st.sampled_from([0.0, 0.5, 1.0, float("nan")])),
        min_size=17,
        max_size=17,
    ),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_any_joints_give_a_mask(values, size):
    person = np.array(values, np.float32)
    mask = pose_mask(person, size)
    assert mask.shape == size
    assert mask.dtype == np.bool_
    seen = np.isfinite(person).all(axis=1) & (person[:, 2] > 0)
    if not seen.any():
        assert not mask.any()
    for x, y, _ in person[seen]:
        if 0 <= x < size[1] and 0 <= y < size[0]:
            assert mask[int(y), int(x)], "a joint in the image is within"


# --- COCO's joints in the one layout of the house


def test_coco_becomes_posetrack():
    found = posetrack_from_coco(np.stack([COCO, without(COCO, 5), without(COCO, *range(5))]))
    assert (found[0, [0, *range(3, 17)]] == COCO[[0, *range(3, 17)]]).all()
    assert found[0, 1].tolist() == [80, 36, 1]
    assert found[0, 2, :2] == pytest.approx(HEAD["head_top"], abs=3)
    assert not found[1, 1:3].any(), "without a shoulder there is no neck"
    assert found[2, 1].tolist() == [80, 36, 1]
    assert not found[2, 2].any(), "without a face there is no crown"
    assert posetrack_from_coco(np.zeros((0, 17, 3), np.float32)).shape == (0, 17, 3)


def test_nan_joints_of_coco_do_no_harm():
    broken = COCO[None].copy()
    broken[0, 5] = np.nan
    found = posetrack_from_coco(broken)
    assert not found[0, 1:3].any()


def test_made_joints_are_as_sure_as_the_least_sure():
    unsure = COCO[None].copy()
    unsure[0, 6, 2], unsure[0, 3, 2] = 0.7, 0.4
    found = posetrack_from_coco(unsure)
    assert found[0, 1, 2] == pytest.approx(0.7)
    assert found[0, 2, 2] == pytest.approx(0.4)
