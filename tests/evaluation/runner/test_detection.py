"""`cli eval --task detect`: what counts as found, by hand, and the layouts of data."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, SourceError
from unitrack_edge.evaluation.datasets.detection import DETECTION_FORMATS
from unitrack_edge.evaluation.runner.detection import LOWEST, Found, measure, table_of
from unitrack_edge.records import Detections
from unitrack_edge.runtime.detectors.base import Detector
from unitrack_edge.runtime.sources.images import open_images

from ...support.command_line import run_cli
from ...support.people import person

SIZE = 60, 100


class FakeDetector(Detector):
    """Says what it was told, frame by frame: (box, score, class), from a score on."""

    def __init__(self, told, names, least):
        self.told, self.class_names, self.least = told, names, least

    def detect(self, frame):
        rows = [row for row in self.told[frame.index] if row[1] >= self.least]
        return Detections(
            np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in rows], np.float32),
            np.array([label for _, _, label in rows], np.int64),
        )


def choice(*told, names=None):
    """A detector whose own threshold is 0.5."""

    def open_(confidence=None):
        return FakeDetector(told, names, 0.5 if confidence is None else confidence)

    return SimpleNamespace(detector="fake.onnx", open=open_)


@pytest.fixture
def coco(tmp_path):
    """Two images of `images/val`: a person and a car; a car, a crowd of people and a helmet."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images" / "val").mkdir(parents=True)
    for number in (7, 9):
        image = np.full((*SIZE, 3), 9, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / "val" / f"{number}.png"), image)
    rows = [
        (7, 1, [0, 0, 10, 20], 0),
        (7, 3, [20, 0, 30, 10], 0),
        (9, 3, [40, 0, 30, 10], 0),
        (9, 1, [0, 30, 60, 20], 1),
        (9, 5, [90, 0, 9, 9], 0),
    ]
    data = {
        "images": [{"id": k, "file_name": f"{k}.png"} for k in (7, 9)],
        "annotations": [
            {"id": i, "image_id": k, "category_id": c, "bbox": b, "iscrowd": crowd}
            for i, (k, c, b, crowd) in enumerate(rows)
        ],
        "categories": [{"id": k, "name": n} for k, n in ((1, "Person"), (3, "car"), (5, "helmet"))],
    }
    path = tmp_path / "annotations" / "instances_val.json"
    path.write_text(json.dumps(data))
    return path


def objects_of(path, name="coco"):
    row = DETECTION_FORMATS[name]
    (sequence,) = row.read(path, None)
    return row.objects(sequence)


PERSON, CAR, CAR_2, IN_CROWD, AWAY = (
    *((0, 0, 10, 20), (20, 0, 50, 10), (40, 0, 70, 10)),
    *((5, 32, 15, 48), (80, 40, 90, 50)),
)


def test_classes_count_by_name(coco):
    told = [(PERSON, 0.9, 0), (CAR, 0.8, 0), (AWAY, 0.9, 7)], [(CAR_2, 0.3, 1), (IN_CROWD, 0.9, 0)]
    found = measure(choice(*told, names=("person", "car", *"......")), objects_of(coco))
    values = found.values()
    assert (values["frames"], values["objects"]) == (2, 3)
    # One of three at the detector's threshold; the car that it calls a person is wrong, what is of
    # a class that the data has not marked, and the one in the crowd, do not count.
    assert values["recall"] == pytest.approx(1 / 3)
    assert values["precision"] == pytest.approx(1 / 2)
    # People: found first, AP 1. Cars: one of two, at a score below the threshold, AP 1/2.
    assert values["AP50"] == pytest.approx((1 + 1 / 2) / 2)
    assert found.notes() == [
        "1 objects of class helmet not counted: the detector does not look for it"
    ]


def test_images_are_those_that_a_source_gives(coco):
    """Of 16 bits too, scaled by the rule of sources."""
    deep = np.linspace(7000, 9000, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)
    path = coco.parent.parent / "images" / "val" / "7.png"
    cv2.imwrite(str(path), deep)
    shown = []

    class Watching(FakeDetector):
        def detect(self, frame):
            shown.append(frame.image)
            return super().detect(frame)

    row = DETECTION_FORMATS["coco"]
    (sequence,) = row.read(coco, None)
    told = [[], []]
    watching = SimpleNamespace(detector="motion", open=lambda: Watching(told, None, 0.5))
    measure(watching, row.objects(sequence))
    assert [image.shape for image in shown] == [(*SIZE, 3)] * 2
    assert (shown[0] == next(open_images([path], "image")).image).all()
    assert np.ptp(shown[0]) > 200
    path.write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"image .*7\.png"):
        measure(watching, row.objects(sequence))


def test_without_names_all_objects_are_one_class(coco):
    told = [(PERSON, 0.9, -1), (CAR, 0.8, -1)], [(CAR_2, 0.7, -1)]
    values = measure(choice(*told), objects_of(coco)).values()
    assert (values["objects"], values["recall"], values["precision"]) == (4, 3 / 4, 1)


def test_a_folder_in_cocos_layout(coco):
    row = DETECTION_FORMATS["coco"]
    (sequence,) = row.read(coco.parent.parent, "val")
    assert [path.name for path in sequence.images] == ["7.png", "9.png"]
    with pytest.raises(DetectionError, match="no annotations of test"):
        row.read(coco.parent.parent, "test")
    sequence.images[0].unlink()
    with pytest.raises(DetectionError, match=r"image 7 '7.png' is not there; looked in .*images"):
        row.read(coco, None)


def test_cocos_names_stay_in_the_data_set(coco):
    row, data, root = DETECTION_FORMATS["coco"], json.loads(coco.read_text()), coco.parent.parent
    image = row.read(coco, None)[0].images[0]
    outside = root.parent / "secret.png"
    outside.write_bytes(image.read_bytes())

    def read(name):
        data["images"][0]["file_name"] = str(name)
        coco.write_text(json.dumps(data))
        return row.read(coco, None)[0].images[0]

    for name in (image, f"../{image.relative_to(root)}"):
        assert read(name).samefile(image)
    for name in (outside, "../../secret.png", "../../../secret.png", "../secret.png"):
        with pytest.raises(DetectionError, match=r"secret\.png' is (outside of .*|not there; .*)"):
            read(name)


def test_people_of_motchallenge(tmp_path):
    """Rows flagged 0, the hidden and people on vehicles need not be found; cars are left out."""
    (tmp_path / "img1").mkdir()
    (tmp_path / "gt").mkdir()
    cv2.imwrite(str(tmp_path / "img1" / "000003.png"), np.zeros((*SIZE, 3), np.uint8))
    rows = ["1,1,1", "1,1,0.2", "0,1,1", "1,2,1", "1,3,1"]
    text = "".join(f"3,{k},{1 + 15 * k},1,10,20,{row}\n" for k, row in enumerate(rows, 1))
    (tmp_path / "gt" / "gt.txt").write_text(text)
    (true,) = objects_of(tmp_path, "mot")
    assert true.ignored.tolist() == [False, True, True, True]
    assert true.boxes_xyxy[0].tolist() == [15, 0, 25, 20]
    told = [(box, 0.9, 0) for box in [*true.boxes_xyxy.tolist(), (75, 0, 85, 20)]]
    values = measure(choice(told, names=("person",)), [true]).values()
    assert (values["objects"], values["recall"], values["precision"]) == (1, 1, 1 / 2)


def test_people_of_posetrack(tmp_path):
    (tmp_path / "images").mkdir()
    joints = person(10, 10, 20, 40)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((*SIZE, 3), np.uint8))
    row = {"image_id": 4, "track_id": 2, "keypoints": joints.ravel().tolist()}
    row |= {"bbox": [8, 8, 24, 44], "bbox_head": [15, 8, 8, 8]}
    images = [{"id": 4, "frame_id": 4, "file_name": "a.png"}]
    data = {"images": images, "annotations": [row], "categories": []}
    (tmp_path / "gt.json").write_text(json.dumps(data))
    (true,) = objects_of(tmp_path, "posetrack")
    assert true.boxes_xyxy.tolist() == [[8, 8, 32, 52]]
    off = joints.copy()
    off[5:11, 0] += 9

    class Poses(FakeDetector):
        def detect(self, frame):
            found = super().detect(frame)
            return replace(found, keypoints=off[None])

    told = [[((8, 8, 32, 52), 0.9, 0)]]
    poses = SimpleNamespace(detector="p", open=lambda _least=None: Poses(told, ("person",), 0))
    values = measure(poses, [true]).values()
    assert (values["recall"], values["PCKh"]) == (1, 1 / 2), "six of the twelve joints are off"


def test_sequences_together_count_objects_not_ratios(coco):
    objects = objects_of(coco)
    one = measure(choice([(PERSON, 0.9, 0), (CAR, 0.9, 1)], names=("person", "car")), objects[:1])
    two = measure(choice([], names=("person", "car")), objects[1:])
    together = Found()
    for found in (one, two):
        together.add(found)
    assert together.values()["recall"] == pytest.approx(2 / 3)
    table = table_of({"a": one, "b": two}, together)
    assert [row[:4] for row in table.rows] == [
        ["a", "1", "2", "1.000"],
        ["b", "1", "1", "0.000"],
        ["combined", "2", "3", "0.667"],
    ]


def test_the_command(coco, tmp_path):
    said = run_cli(
        *("eval", "--task", "detect", "--detector", "motion", "--format", "coco"),
        *("--data", coco, "--output", tmp_path / "out", "--json"),
    )
    data = json.loads(said)
    assert (data["combined"]["objects"], data["combined"]["recall"]) == (4, 0)
    assert data["combined"]["precision"] == 1
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == data


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (["--task", "mot", "--detector", "motion"], "--detector belongs to --task detect", 2),
        (["--task", "mot", "--format", "coco"], "--format coco belongs to --task detect", 2),
        (["--task", "detect", "--format", "davis"], "--task detect takes mot, coco", 2),
        (["--task", "detect", "--backbone", "vfs-r18"], "leave out --backbone", 2),
        (["--task", "detect", "--jobs", "2"], "leave out --jobs", 2),
        (["--task", "detect", "--format", "coco"], "expected a COCO annotation file", 1),
    ],
)
def test_what_does_not_fit_together(tmp_path, options, message, status):
    assert message in run_cli("eval", "--data", tmp_path, *options, status=status)


def test_real_people_are_found(shared_data, shared_models):
    """The command's numbers on three frames; YOLOX-nano finds most people of TUD-Campus."""
    said = run_cli(
        *("eval", "--task", "detect", "--detector", shared_models / "yolox_nano.onnx"),
        *("--data", shared_data / "mot" / "TUD-Campus", "--max-frames", 3, "--json"),
    )
    values = json.loads(said)["combined"]
    assert values["recall"] > 0.5
    assert values["AP50"] > 0.5
    assert values["ms_min"] > 0
    assert LOWEST < 0.01
