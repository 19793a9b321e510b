"""PoseTrack18 annotations as detections."""

from __future__ import annotations

import pytest
from unitrack_edge.errors import DetectionError

from ...support.frames import frame


def person(image_id, seen=((10, 12, 0.5), (30, 32, 0.75)), **more):
    joints = [value for joint in seen for value in joint] + [0] * (51 - 3 * len(seen))
    return {"image_id": image_id, "category_id": 1, "keypoints": joints, **more}


def video(*persons, images=3, **more):
    listed = [
        {"id": 70 + i, "frame_id": 70 + i, "file_name": f"v/{i:05d}.jpg", **more}
        for i in range(images)
    ]
    return {"images": listed, "annotations": list(persons)}


def test_posetrack_boxes_scores_and_joints(opened):
    file = opened(
        video(
            person(70, bbox=[5, 6, 30, 31], score=0.9),
            person(70),
            person(71, scores=[0.25] * 17),
            person(71, seen=[(4, 5, 2)]),
        ),
        "det.json",
    )
    found = file.detect(frame(0))
    # Without a box: joints from 10 to 30 and 12 to 32, a tenth of 20 px more on each side.
    assert found.boxes_xyxy.tolist() == [[5, 6, 35, 37], [8, 10, 32, 34]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.625])
    assert found.keypoints.shape == (2, 17, 3)
    assert found.keypoints[0, 1].tolist() == [30, 32, 0.75]
    assert not found.keypoints[0, 2:].any()
    second = file.detect(frame(1))
    assert second.keypoints[0, :3, 2].tolist() == [0.25, 0.25, 0]
    assert second.keypoints[1, 0].tolist() == [4, 5, 1]
    assert second.boxes_xyxy[1].tolist() == [3.5, 4.5, 4.5, 5.5]
    assert len(file.detect(frame(9))) == 0


def test_posetrack_frames_by_name_and_by_order(opened):
    content = video(person(71), person(72))
    by_name = opened(content, "det.json")
    assert len(by_name.detect(frame(0, name="00001.jpg"))) == 1
    assert len(by_name.detect(frame(1, name="other.jpg"))) == 0
    assert "1 image of" in by_name.notes(2)[0]
    assert "v/00002.jpg" in by_name.notes(2)[0]
    assert by_name.notes(None) == []
    by_order = opened(content, "det.json")
    assert [len(by_order.detect(frame(i, name=f"x{i}.png"))) for i in range(3)] == [0, 1, 1]
    assert "frame 3 of" in by_order.notes(2)[0]
    with pytest.raises(DetectionError, match="number 4 of the source but image 3"):
        by_order.detect(frame(3, name="00002.jpg"))


def test_posetrack_order_is_by_frame_id(opened):
    content = video(person(70))
    content["images"].reverse()
    assert len(opened(content, "det.json").detect(frame(0))) == 1
    for image in content["images"]:
        image["frame_id"] = 5
    assert len(opened(content, "det.json").detect(frame(2))) == 1


def test_posetrack_of_several_videos_is_refused(opened):
    content = video(person(70))
    for image in content["images"]:
        image["file_name"] = f"{image['id']}/00000.jpg"
    with pytest.raises(DetectionError, match=r"3 images are called '00000\.jpg'"):
        opened(content, "det.json").detect(frame(0, name="00000.jpg"))


def test_posetrack_of_another_picture_size(opened):
    file = opened(video(person(70), width=64, height=47), "det.json")
    with pytest.raises(DetectionError, match=r"'v/00000\.jpg' is 64x47 there, .* is 64x48"):
        file.detect(frame(0))


def test_posetrack_person_without_anything_is_noted(opened):
    file = opened(video(person(70, seen=()), person(70)), "det.json")
    assert len(file.detect(frame(0))) == 1
    assert file.notes(3)[0].startswith("1 annotation of ")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "line 1: not valid JSON"),
        ("[1]", "JSON of no known format, a list of int"),
        ({"images": []}, "'annotations'"),
        ({"images": [1], "annotations": []}, "'images'"),
        ({"images": [{}], "annotations": []}, "'id'"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, "at most once"),
        (video(person(1)), "annotation 1: image_id 1"),
        (video(person([])), "annotation 1: image_id"),
        (video(person(70), person(70, bbox=[1, 2, 3])), "annotation 2: expected 4"),
        (video(person(70, bbox=[1, 2, 0, 3])), "annotation 1: got width 0"),
        (video(person(70, bbox=[1, 2, "a", 3])), "annotation 1: expected 4"),
        (video(person(70, bbox=[1, 2, float("nan"), 3])), "annotation 1: expected 4"),
        (video(person(70, bbox=[1, 2, 10**400, 3])), "annotation 1: expected 4"),
        (video(person(70, keypoints=[1, 2, 3])), "annotation 1: expected 51"),
        (video(person(70, scores=[1])), "annotation 1: expected 17"),
        (video(person(70, score="x")), "annotation 1: expected 1"),
        ("[" * 100_000, "nested"),
    ],
)
def test_malformed_posetrack_files(opened, content, problem):
    with pytest.raises(DetectionError, match=problem) as caught:
        opened(content, "det.json", strict=True)
    assert "\n" not in str(caught.value)
