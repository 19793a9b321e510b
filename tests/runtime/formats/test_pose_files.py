"""Files of poses: COCO results, the first frame's poses, and PoseTrack18 results."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import DetectionError, OutputError, RequestError
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.formats.detections import find_format, open_detections
from unitrack_edge.runtime.formats.keypoints import COCO_JOINTS, POSETRACK_JOINTS
from unitrack_edge.runtime.formats.posetrack import PoseTrackWriter
from unitrack_edge.runtime.prompts.pose import poses_from_file
from unitrack_edge.runtime.writers.run_folder import OutputFolder

from ...support.people import people, person

SIZE = 160, 240


def frame(index=0, name=""):
    return Frame(index, index / 25, np.zeros((*SIZE, 3), np.uint8), name)


def entry(image_id, joints=None, **more):
    joints = person(20, 30) if joints is None else joints
    return {
        "image_id": image_id,
        "category_id": 1,
        "keypoints": joints.ravel().tolist(),
        "score": 0.5,
        **more,
    }


@pytest.fixture
def written(tmp_path):
    def write(content, name="det.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


# --- COCO results


def test_results_are_told_apart(written):
    assert find_format(written([entry(1)])) == "coco-results"
    assert find_format(written([entry(1)], "det.txt")) == "coco-results"
    assert find_format(written({"images": [], "annotations": []})) == "posetrack"
    assert find_format(written("[]")) == "coco-results"


def test_joints_boxes_and_scores(written):
    joints = person(20, 30)
    joints[:, 2] = 0.25
    file = open_detections(
        written([entry(0, joints), entry(0, joints, bbox=[1, 2, 30, 40], score=0.75)])
    )
    found = file.detect(frame(0))
    assert found.scores.tolist() == [0.5, 0.75]
    assert found.boxes_xyxy[1].tolist() == [1, 2, 31, 42]
    assert found.boxes_xyxy[0] == pytest.approx([17, 22, 53, 118], abs=0.1)
    assert (found.keypoints[0, [0, *range(3, 17)]] == joints[[0, *range(3, 17)]]).all()
    # COCO has eyes where PoseTrack18 has neck and crown.
    shoulders = joints[5:7, :2].mean(axis=0)
    assert found.keypoints[0, 1, :2] == pytest.approx(shoulders)
    assert found.keypoints[0, 2, 1] < joints[0, 1]


def test_triples_and_boxes_alone(written):
    nested = {**entry(0), "keypoints": person(20, 30).tolist()}
    flat = open_detections(written([entry(0)])).detect(frame(0))
    assert (open_detections(written([nested])).detect(frame(0)).keypoints == flat.keypoints).all()
    boxes = [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.9}]
    found = open_detections(written(boxes)).detect(frame(0))
    assert found.boxes_xyxy.tolist() == [[1, 2, 31, 42]]
    assert found.keypoints is None
    assert found.class_names is None, "1 may be anything in a file of boxes"


def test_classes_are_kept(written):
    box = {"image_id": 0, "bbox": [1, 2, 30, 40], "score": 0.9}
    path = written([{**box, "category_id": 3}, {**box, "bbox": [1, 2, 30, 41]}])
    assert open_detections(path).detect(frame(0)).classes.tolist() == [3, -1]
    found = open_detections(path, default_class="person").detect(frame(0))
    assert found.classes.tolist() == [3, 0]
    assert found.is_person().tolist() == [False, True]
    other = {**entry(0, person(30, 30)), "category_id": 1}
    poses = open_detections(written([entry(0), other])).detect(frame(0))
    assert poses.classes.tolist() == [1, 1]
    assert poses.is_person().all()
    with pytest.raises(DetectionError, match="entry 1: expected a whole 'category_id'"):
        open_detections(written([{**box, "category_id": "car"}]))


def test_frames_are_counted_from_zero_or_one(written):
    from_zero = open_detections(written([entry(0), entry(2)]))
    assert [len(from_zero.detect(frame(k))) for k in range(4)] == [1, 0, 1, 0]
    from_one = open_detections(written([entry(1), entry(3)]))
    assert [len(from_one.detect(frame(k))) for k in range(4)] == [1, 0, 1, 0]
    assert from_one.notes(3) == []
    assert "frame 3 of" in from_one.notes(2)[0]
    assert "the source has 2 frames" in from_one.notes(2)[0]
    assert from_one.notes(None) == []


def test_frames_are_found_by_names_that_are_numbers(written):
    file = open_detections(written([entry(397133), entry(397140)]))
    names = ["000000397133.jpg", "000000397139.jpg", "000000397140.jpg"]
    assert [len(file.detect(frame(k, name))) for k, name in enumerate(names)] == [1, 0, 1]
    assert file.notes(3) == []
    part = open_detections(written([entry(397133), entry(397140)]))
    part.detect(frame(0, names[0]))
    assert "1 image of" in part.notes(1)[0]
    assert "image_id 397140" in part.notes(1)[0]
    counted = open_detections(written([entry(0), entry(1)]))
    found = [len(counted.detect(frame(k, f"0000{k + 1}.jpg"))) for k in range(2)]
    assert found == [1, 1], "no frame is called 0: they are counted"


def test_numbers_that_are_no_frames_are_refused(written):
    file = open_detections(written([entry(10604709790000)]))
    with pytest.raises(DetectionError, match=r"image_id 10604709790000 .* give PoseTrack18"):
        file.detect(frame(0, "00001.jpg"))
    with pytest.raises(DetectionError, match="neither numbers of frames nor names"):
        open_detections(written([entry(10604709790000)])).detect(frame(0))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ([entry(1), {**entry(1), "image_id": "a"}], "entry 2: expected a whole 'image_id'"),
        ([entry(1), {**entry(1), "image_id": -1}], "entry 2: expected a whole 'image_id'"),
        ([entry(1), {**entry(1), "image_id": True}], "entry 2: expected a whole 'image_id'"),
        ([entry(1), 5], "expected COCO results, a list of objects"),
        ([{**entry(1), "keypoints": [1, 2]}], "entry 1: expected 51"),
        ([{**entry(1), "keypoints": [[1, 2]] * 17}], "entry 1: expected 51"),
        ([{**entry(1), "bbox": [1, 2, 0, 3]}], "entry 1: got width 0"),
        ([{**entry(1), "score": "x"}], "entry 1: expected 1"),
        ('[{"image_id": 1', "line 1: not valid JSON"),
    ],
)
def test_malformed_results(written, content, problem):
    with pytest.raises(DetectionError, match=problem) as caught:
        open_detections(written(content), strict=True)
    assert "\n" not in str(caught.value)


def test_entries_without_anything_are_noted(written):
    file = open_detections(written([entry(1, person(0, 0) * 0), entry(1)]))
    assert len(file.detect(frame(0))) == 1
    assert file.notes(1)[0].startswith("1 entry of ")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["image_id", "keypoints", "bbox", "score", "scores"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(content=st.lists(JSON, min_size=1, max_size=4))
def test_any_list_ends_in_a_result_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps([{"image_id": 1, "bbox": [1, 2, 3, 4]}, *content]))
    with contextlib.suppress(DetectionError):
        file = open_detections(path)
        file.detect(frame(0))
        assert all("\n" not in note for note in file.notes(1))


def test_categories_say_whose_joints_they_are(written):
    content = {
        "images": [{"id": 1}],
        "annotations": [{**entry(1), "keypoints": person(20, 30).ravel().tolist()}],
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_JOINTS)}],
    }
    as_coco = open_detections(written(content)).detect(frame(0))
    assert as_coco.keypoints[0, 1, :2] == pytest.approx(person(20, 30)[5:7, :2].mean(axis=0))
    content["categories"][0]["keypoints"] = list(POSETRACK_JOINTS)
    as_posetrack = open_detections(written(content)).detect(frame(0))
    assert (as_posetrack.keypoints[0] == person(20, 30)).all()


# --- the first frame's poses


def video(*persons, images=2, **more):
    listed = [{"id": 5 + k, "frame_id": 5 + k, **more} for k in range(images)]
    return {"images": listed, "annotations": list(persons)}


def test_the_first_image_counts(written):
    content = video(entry(6, track_id=4), entry(5, track_id=3), entry(5, track_id=7))
    content["images"].reverse()
    start = poses_from_file(written(content), SIZE)
    assert start.ids.tolist() == [3, 7]
    assert (start.keypoints == person(20, 30)).all()


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        ([0, 1], [1, 2]),
        ([2, 0], [3, 1]),
        ([4, 4], [1, 2]),
        ([None, 3], [1, 2]),
        (["a", "b"], [1, 2]),
        ([-1, 3], [1, 2]),
        ([9, 8], [9, 8]),
    ],
)
def test_ids_are_the_file_s_where_they_can_be(written, names, ids):
    people_there = [entry(5, track_id=name) for name in names]
    start = poses_from_file(written(video(*people_there)), SIZE)
    assert start.ids.tolist() == ids
    assert start.ids.dtype == np.int64


def test_first_poses_from_coco_results(written):
    start = poses_from_file(written([entry(8), entry(7), entry(7)]), SIZE)
    assert start.ids.tolist() == [1, 2]
    assert start.keypoints.shape == (2, 17, 3)


def test_people_without_joints_do_not_start(written):
    nobody = entry(5, person(0, 0) * 0, track_id=1)
    start = poses_from_file(written(video(nobody, entry(5, track_id=2))), SIZE)
    assert start.ids.tolist() == [2]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (video(entry(6)), "no person in its first frame"),
        (video(images=0), "no person in its first frame"),
        (video(entry(5), width=64, height=48), "its first image is 64x48, the source is 240x160"),
        (video({**entry(5), "keypoints": [1]}), "annotation 1: expected 51"),
        ([{"image_id": 1, "bbox": [1, 2, 3, 4]}], "no person in its first frame"),
        ("{", "not valid JSON"),
        ("5", "expected PoseTrack18 JSON"),
    ],
)
def test_files_that_cannot_start(written, content, problem):
    with pytest.raises(DetectionError, match=problem) as caught:
        poses_from_file(written(content), SIZE)
    assert "\n" not in str(caught.value)


def test_an_absent_file_names_the_flag(tmp_path):
    with pytest.raises(DetectionError, match=r"--init .*absent\.json: there is no such file"):
        poses_from_file(tmp_path / "absent.json", SIZE)
    with pytest.raises(RequestError, match=r"--init .*: a folder; expected PoseTrack18 JSON"):
        poses_from_file(tmp_path)


# --- results


def tracks(index, ids, *persons):
    return Tracks(index, np.array(ids, np.int64), people(*persons))


def test_results_come_back_as_the_poses_they_were(tmp_path):
    path = tmp_path / "tracks.json"
    half = person(140, 40, missing=(3, 4))
    half[:, 2] *= 0.625
    with PoseTrackWriter(path) as writer:
        writer.write(frame(0, "a.jpg"), tracks(0, [4, 2], person(20, 30), half))
        writer.write(frame(1, "b.jpg"), tracks(1, []))
        writer.write(frame(2, "c.jpg"), tracks(2, [2], half))
    assert [entry.name for entry in tmp_path.iterdir()] == ["tracks.json"]
    data = json.loads(path.read_text())
    assert [image["file_name"] for image in data["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert [image["id"] for image in data["images"]] == [1, 2, 3]
    assert {(image["width"], image["height"]) for image in data["images"]} == {(240, 160)}
    rows = [(row["image_id"], row["track_id"]) for row in data["annotations"]]
    assert rows == [(1, 4), (1, 2), (3, 2)]
    assert len({row["id"] for row in data["annotations"]}) == 3
    assert data["annotations"][1]["keypoints"][9:15] == [0, 0, 0, 0, 0, 0]
    assert data["annotations"][1]["keypoints"][2] == 1
    assert data["categories"][0]["keypoints"] == list(POSETRACK_JOINTS)
    read = open_detections(path)
    found = read.detect(frame(0, "a.jpg"))
    assert found.keypoints[0] == pytest.approx(person(20, 30), abs=0.005)
    assert found.keypoints[1] == pytest.approx(half, abs=0.005)
    assert len(read.detect(frame(1, "b.jpg"))) == 0
    start = poses_from_file(path, SIZE)
    assert start.ids.tolist() == [4, 2]


def test_no_frame_and_nobody(tmp_path):
    path = tmp_path / "tracks.json"
    PoseTrackWriter(path).close()
    assert json.loads(path.read_text())["annotations"] == []
    with PoseTrackWriter(path) as writer:
        writer.write(frame(0), tracks(0, []))
        writer.close()
        writer.close()
    data = json.loads(path.read_text())
    assert data["images"][0]["file_name"] == "000001.jpg"
    assert data["annotations"] == []


def test_a_killed_run_leaves_whole_lines(tmp_path):
    """Nothing is called `tracks.json` before all of it is there."""
    writer = PoseTrackWriter(tmp_path / "tracks.json")
    for index in range(3):
        writer.write(frame(index), tracks(index, [1], person(20, 30)))
    assert not (tmp_path / "tracks.json").exists()
    lines = (tmp_path / "tracks.json.partial").read_text().splitlines()[1:]
    kept = [json.loads(line.rstrip(",")) for line in lines]
    assert [row["image_id"] for row in kept] == [1, 2, 3]
    images = (tmp_path / "images.json.partial").read_text().splitlines()
    assert len(images) == 3
    # The next run in this folder clears all of it away.
    OutputFolder(tmp_path, overwrite=True)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputError, match=r"cannot write .*tracks\.json"):
        writer.close()


def test_other_skeletons_and_boxes_alone(tmp_path):
    path = tmp_path / "tracks.json"
    boxes = np.array([[1, 2, 1.001, 2.001]], np.float32)
    one, label = np.ones(1, np.float32), np.zeros(1, np.int64)
    with PoseTrackWriter(path) as writer:
        joints = np.ones((1, 3, 3), np.float32)
        joints[0, 1] = np.nan
        seen = Detections(boxes, one, label, keypoints=joints)
        writer.write(frame(0), Tracks(0, np.array([1]), seen))
        writer.write(frame(1), Tracks(1, np.array([1]), Detections(boxes, one, label)))
    data = json.loads(path.read_text())
    assert data["annotations"][0]["keypoints"] == [1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert data["annotations"][0]["bbox"][2:] == [0.01, 0.01]
    assert data["categories"][0]["keypoints"] == ["joint_1", "joint_2", "joint_3"]
    assert "keypoints" not in data["annotations"][1]


def test_same_tracks_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with PoseTrackWriter(tmp_path / name / "tracks.json") as writer:
            writer.write(frame(0), tracks(0, [1], person(20.1, 30.2)))
    assert len({(tmp_path / n / "tracks.json").read_bytes() for n in "ab"}) == 1


def test_results_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        PoseTrackWriter(tmp_path / "absent" / "tracks.json")


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.runtime.formats.test_pose_files import *
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
folder = Path(sys.argv[1])
try:
    with PoseTrackWriter(folder / "tracks.json") as writer:
        for index in range(50):
            writer.write(frame(index), tracks(index, [1], person(20, 30)))
except OutputError as error:
    print(error)
"""


def test_a_full_disk_keeps_whole_frames(tmp_path):
    pytest.importorskip("resource", reason="no file size limits on this system")
    code = LIMITED.format(root=str(Path(__file__).parents[3]))
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("disk full while writing")
    assert ran.stdout.count("\n") == 1
    lines = (tmp_path / "tracks.json.partial").read_text().rstrip("\n]").splitlines()[1:]
    kept = [json.loads(line.rstrip(",")) for line in lines if line.startswith("{")]
    assert len(kept) >= 4
    assert [row["image_id"] for row in kept] == list(range(1, len(kept) + 1))
