"""AlphaPose's and OpenPose's JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats.detections import find_format, open_detections
from unitrack_edge.runtime.formats.keypoints import COCO_JOINTS, POSETRACK_JOINTS

from ....support.frames import frame

# Joint k of COCO's 17 is at (k, 2 k).
FLAT = [value for k in range(17) for value in (5 + k, 5 + 2 * k, 0.9)]
NAMES = ("0.jpg", "000000.jpg", "a/v_0.png")


def person(image, **other):
    return {"image_id": image, "category_id": 1, "keypoints": FLAT, "score": 2.1, **other}


def joints_by_name(found):
    return dict(zip(POSETRACK_JOINTS, found.keypoints[0].tolist(), strict=True))


@pytest.mark.parametrize("joints", [17, 26, 133, 136])
def test_people_are_found_by_the_name_of_their_image(opened, joints):
    flat = FLAT + [1, 1, 0.5] * (joints - 17)
    file = opened([person("000002.jpg", keypoints=flat, box=[1, 2, 30, 40])], "poses.json")
    assert find_format(file.path) == "alphapose"
    found = [file.detect(frame(k, name=f"00000{k}.jpg")) for k in range(3)]
    assert [len(seen) for seen in found] == [0, 0, 1]
    assert found[2].boxes_xyxy.tolist() == [[1, 2, 31, 42]]
    assert found[2].scores.tolist() == pytest.approx([0.9])
    assert found[2].is_person().all()
    assert joints_by_name(found[2])["left_hip"] == pytest.approx([16, 27, 0.9])


@pytest.mark.parametrize("name", NAMES)
def test_of_a_video_numbers_count_from_zero(opened, name):
    third = name.replace("0.", "2.")
    file = opened([person(name), person(third)], "poses.json")
    assert [len(file.detect(frame(k))) for k in range(4)] == [1, 0, 1, 0]
    assert file.notes(4) == []
    late = opened([person(third)], "poses.json")
    assert [len(late.detect(frame(k))) for k in range(3)] == [0, 0, 1]


def openpose(count, names=COCO_JOINTS):
    """A person of OpenPose whose joints are where those of `FLAT` are."""
    sides = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
    arm = [f"{side}_{part}" for side in ("right", "left") for part in sides[0]]
    leg = [f"{side}_{part}" for side in ("right", "left") for part in sides[1]]
    face = ["right_eye", "left_eye", "right_ear", "left_ear"]
    order = ["nose", "", *arm, *([""] if count == 25 else []), *leg, *face]
    order += [""] * (count - len(order))
    places = [names.index(name) if name else None for name in order]
    points = [[0, 0, 0] if k is None else [5 + k, 5 + 2 * k, 0.9] for k in places]
    return [value for point in points for value in point]


@pytest.mark.parametrize("count", [25, 18])
def test_a_folder_of_openpose(tmp_path, count):
    for k in range(3):
        people = [{"person_id": [-1], "pose_keypoints_2d": openpose(count)}] if k != 1 else []
        path = tmp_path / f"street_{k:012d}_keypoints.json"
        path.write_text(json.dumps({"version": 1.3, "people": people}))
    assert find_format(tmp_path) == "openpose"
    file = open_detections(tmp_path)
    found = [file.detect(frame(k)) for k in range(3)]
    assert [len(seen) for seen in found] == [1, 0, 1]
    joints = joints_by_name(found[0])
    for name in ("nose", "left_ear", "right_wrist", "left_knee"):
        k = COCO_JOINTS.index(name)
        assert joints[name] == pytest.approx([5 + k, 5 + 2 * k, 0.9])
    named = open_detections(tmp_path)
    image = "street_000000000002.png"
    assert len(named.detect(frame(0, name=image))) == 1


@pytest.mark.parametrize(
    ("people", "joints"), [("people", "pose_keypoints_2d"), ("bodies", "joints")]
)
def test_alphapose_in_the_forms_of_openpose(opened, people, joints):
    one = {"version": 0.1, people: [{joints: openpose(18)}]}
    file = opened({"0.jpg": one, "1.jpg": {"version": 0.1, people: []}}, "poses.json")
    assert [len(file.detect(frame(k))) for k in range(3)] == [1, 0, 0]


def test_other_joints_are_refused(opened):
    with pytest.raises(DetectionError, match=r"entry 1: expected 17, 26, 133 or 136 joints"):
        opened([person("0.jpg", keypoints=[1, 2, 3] * 16)], "poses.json")
    with pytest.raises(DetectionError, match=r"person 1: expected BODY_25's 75 numbers"):
        opened({"people": [{"pose_keypoints_2d": [1, 2, 3] * 15}]}, "a_keypoints.json")


def test_a_person_without_a_visible_joint_is_left_out(opened):
    nobody = person("0.jpg", keypoints=[0] * 51)
    file = opened([person("0.jpg"), nobody], "poses.json")
    assert np.isfinite(file.detect(frame(0)).boxes_xyxy).all()
    assert "neither box nor visible joint" in file.notes()[0]
