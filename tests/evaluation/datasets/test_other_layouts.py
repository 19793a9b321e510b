"""Layouts of further benchmarks, each with its own rule, on small data sets written here."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.evaluation.datasets.registry import FORMATS, format_of, read_sequences
from unitrack_edge.evaluation.runner.jobs import (
    SequenceJob,
    prepare_sequence,
    run_job,
    score_results,
)
from unitrack_edge.evaluation.runner.report import combined_rows
from unitrack_edge.heads.config import VosConfig
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png, read_label_png

from ...support.eval_data import (
    mot_walk,
    pose_file,
    pose_images,
    write_images,
    write_json,
    write_lines,
    write_mot,
    write_rows,
)

trackeval = pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")

BOXES = [[11, 11, 10, 8], [12, 11, 10, 8], [13, 11, 10, 8], [-3, 12, 10, 8], [20, 12, 20, 8]]
FOUND = [[11, 11, 10, 8], [14, 11, 10, 8], [1, 1, 4, 4], [-3, 12, 8, 8], [20, 12, 10, 8]]


def write_sot(root, layout, boxes=BOXES, **flags):
    """One sequence `car` of a benchmark of single-object tracking."""
    folder = {"lasot": root / "car", "got10k": root / "car", "trackingnet": root}[layout]
    images = {
        "lasot": folder / "img",
        "got10k": folder,
        "trackingnet": folder / "frames" / "car",
    }[layout]
    first = 0 if layout == "trackingnet" else 1
    digits = 1 if layout == "trackingnet" else 8
    write_images(images, range(first, first + 5), digits=digits)
    truth = folder / ("anno/car.txt" if layout == "trackingnet" else "groundtruth.txt")
    write_rows(truth, boxes)
    for name, values in flags.items():
        ending = "label" if layout == "got10k" else "txt"
        between = "\n" if layout == "got10k" else ","
        (folder / f"{name}.{ending}").write_text(between.join(map(str, values)))
    return root


@pytest.mark.parametrize("layout", ["lasot", "got10k", "trackingnet"])
def test_layouts_of_single_objects_are_recognised(tmp_path, layout):
    write_sot(tmp_path / "val", layout)
    split = None if layout == "lasot" else "val"
    root = tmp_path / "val" if layout == "lasot" else tmp_path
    assert format_of("sot", root, split) == layout
    (sequence,) = read_sequences("sot", None, root, split)
    assert (sequence.name, len(sequence.images)) == ("car", 5)
    assert sequence.numbers[0] == (0 if layout == "trackingnet" else 1)
    assert sequence.init == "10,10,10,8"


def score(tmp_path, layout, **flags):
    (sequence,) = FORMATS[layout].read(write_sot(tmp_path, layout, **flags), None)
    write_rows(tmp_path / "out" / "car.txt", FOUND)
    (found,) = score_results(sequence, layout, tmp_path / "out").scores
    return found


# Overlaps of FOUND with BOXES.
OVERLAPS = np.array([1, 2 / 3, 0, 0.8, 0.5])


def auc(overlaps):
    return float(np.mean([(overlaps > t).mean() for t in np.linspace(0, 1, 21)]))


def test_lasot_leaves_out_frames_in_which_the_object_is_absent(tmp_path):
    found = score(tmp_path, "lasot", full_occlusion=[0, 0, 1, 0, 0], out_of_view=[0, 0, 0, 1, 0])
    assert found.values["AUC"] == pytest.approx(auc(OVERLAPS[[0, 1, 4]]))


def test_trackingnet_counts_all_frames(tmp_path):
    found = score(tmp_path, "trackingnet")
    assert found.values["AUC"] == pytest.approx(auc(OVERLAPS))
    assert found.values["P@20"] == 1


def test_got10k_leaves_out_the_first_frame_and_adds_up_frames(tmp_path):
    found = score(tmp_path, "got10k", cover=[8, 8, 0, 8, 8], absence=[0, 0, 1, 0, 0])
    # The image is 32 wide: of the last boxes 12 and 10 pixels are left.
    overlaps = np.array([2 / 3, 0.8, 10 / 12])
    assert found.values["AO"] == pytest.approx(overlaps.mean())
    assert found.values["SR@0.5"] == 1
    assert found.values["SR@0.75"] == pytest.approx(2 / 3)
    other = score(tmp_path / "b", "got10k")
    combined = FORMATS["got10k"].combine([found, other])
    every = [*overlaps, 2 / 3, 0, 0.8, 10 / 12]
    assert combined.values["AO"] == pytest.approx(np.mean(every))


def test_got10k_agrees_with_its_toolkit():
    metrics = pytest.importorskip("got10k.utils.metrics")
    from unitrack_edge.evaluation.datasets.single_object import _cut
    from unitrack_edge.evaluation.metrics.sot import overlaps

    rng = np.random.default_rng(0)
    found, truth = (rng.uniform((-9, -9, 1, 1), (32, 24, 30, 30), (50, 4)) for _ in range(2))
    theirs = metrics.rect_iou(found.copy(), truth.copy(), bound=np.array([32, 24]))
    ours = overlaps(*(_cut(boxes - (1, 1, 0, 0), (24, 32)) for boxes in (found, truth)))
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("layout", ["lasot", "got10k", "trackingnet"])
def test_a_test_split_is_tracked_and_not_scored(tmp_path, layout):
    (sequence,) = FORMATS[layout].read(write_sot(tmp_path, layout, BOXES[:1]), None)
    assert sequence.truth is None
    assert sequence.init == "10,10,10,8"
    write_sot(tmp_path / "b", layout, BOXES[:3])
    with pytest.raises(DetectionError, match="3 rows for 5 images"):
        FORMATS[layout].read(tmp_path / "b", None)


def test_flags_must_be_one_a_frame(tmp_path):
    with pytest.raises(DetectionError, match=r"full_occlusion\.txt: expected a number for each"):
        score(tmp_path, "lasot", full_occlusion=[0, 1])


def test_lasot_by_class_and_by_list(tmp_path):
    for name in ("car-1", "car-2"):
        write_rows(tmp_path / "car" / name / "groundtruth.txt", BOXES)
        write_images(tmp_path / "car" / name / "img", range(1, 6), digits=8)
    assert [s.name for s in FORMATS["lasot"].read(tmp_path, None)] == ["car-1", "car-2"]
    (tmp_path / "testing_set.txt").write_text("car-2\n")
    assert [s.name for s in FORMATS["lasot"].read(tmp_path, "testing")] == ["car-2"]
    with pytest.raises(DetectionError, match=r"--split x: .*x_set\.txt cannot be read"):
        FORMATS["lasot"].read(tmp_path, "x")


# Masks.


def write_mask(path, *labels):
    values = np.zeros((24, 32), np.uint8)
    for k, label in enumerate(labels):
        values[4:12, 8 * k : 8 * k + 6] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_palette_png(values, davis_palette()))


def test_youtube_vos(tmp_path):
    """An object counts from the frame after its first, and frames without a mask do not."""
    root = tmp_path / "train"
    write_images(root / "JPEGImages" / "cow", range(0, 20, 5), digits=5)
    for number, labels in ((0, (1,)), (5, (1, 2)), (15, (1, 2))):
        write_mask(root / "Annotations" / "cow" / f"{number:05d}.png", *labels)
    assert format_of("vos", tmp_path, "train") == format_of("vos", root, None) == "youtube-vos"
    (sequence,) = read_sequences("vos", None, tmp_path, "train")
    assert sequence.init == str(root / "Annotations" / "cow")
    for number, labels in ((0, ()), (5, (1,)), (10, ()), (15, (0, 2))):
        write_mask(tmp_path / "out" / "cow" / f"{number:05d}.png", *labels)
    record = score_results(sequence, "youtube-vos", tmp_path / "out")
    assert [s.values["J"] for s in record.scores] == pytest.approx([0.5, 1])
    assert record.notes == ()


def write_youtube_vos(root):
    """Two videos of two objects each, of which a tracker finds the first alone."""
    kinds = {"a": {1: "cow", 2: "ape"}, "b": {1: "ape", 2: "yak"}}
    for name in kinds:
        write_images(root / "valid" / "JPEGImages" / name, (0, 5), digits=5)
        for number in (0, 5):
            write_mask(root / "valid" / "Annotations" / name / f"{number:05d}.png", 1, 2)
            write_mask(root / "out" / name / f"{number:05d}.png", 1)
    videos = {
        name: {"objects": {str(k): {"category": kind} for k, kind in objects.items()}}
        for name, objects in kinds.items()
    }
    write_json(root / "valid" / "meta.json", {"videos": videos})
    return root


def write_train(root, *kinds):
    objects = {str(k): {"category": kind} for k, kind in enumerate(kinds, 1)}
    write_json(root / "train" / "meta.json", {"videos": {"t": {"objects": objects}}})


def youtube_rows(root, sequences):
    records = [score_results(sequence, "youtube-vos", root / "out") for sequence in sequences]
    rows = combined_rows(FORMATS["youtube-vos"], records)
    return {line.group: line.score.values for line in rows}, records


def test_youtube_vos_of_seen_and_unseen_categories(tmp_path):
    """G is the mean of J and F of both, whatever the number of their objects."""
    root = write_youtube_vos(tmp_path)
    write_train(root, "cow", "yak", "cow")
    for sequences in (
        read_sequences("vos", None, root, "valid"),
        read_sequences("vos", "youtube-vos", root / "valid", None),
    ):
        rows, records = youtube_rows(root, sequences)
        # Seen are a's first object, which is found, and b's second, which is not.
        assert {name: values["J"] for name, values in rows.items()} == {
            "seen": 0.5, "unseen": 0.5, "overall": 0.5
        }  # fmt: skip
        assert [score.group for score in records[0].scores] == ["seen", "unseen"]
    write_train(root, "cow", "ape")
    sequences = read_sequences("vos", None, root, "valid")
    rows, _ = youtube_rows(root, sequences)
    # Of three objects seen two are found, the one that is unseen is not.
    assert rows["seen"]["J"] == rows["seen"]["F"] == pytest.approx(2 / 3)
    assert rows["unseen"]["J"] == 0
    assert rows["overall"]["J&F"] == pytest.approx(1 / 3)


def test_youtube_vos_without_the_categories_of_training_has_one_group_and_says_so(tmp_path):
    root = write_youtube_vos(tmp_path)
    rows, records = youtube_rows(root, read_sequences("vos", None, root, "valid"))
    assert {name: values["J"] for name, values in rows.items()} == {"": 0.5}
    (note,) = {note for record in records for note in record.notes}
    assert note.endswith("meta.json is not there: seen and unseen categories are not told apart")
    (root / "valid" / "meta.json").unlink()
    write_train(root, "cow")
    rows, records = youtube_rows(root, read_sequences("vos", None, root, "valid"))
    assert list(rows) == [""]
    assert "valid/meta.json is not there" in records[0].notes[0]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ([], "expected 'videos'"),
        ({"videos": {"t": {"objects": {"1": {"category": 3}}}}}, "expected 'videos'"),
        ({"videos": {"a": {"objects": {"1": {"category": "cow"}}}}}, "category of object 2 of 'a'"),
    ],
)
def test_youtube_vos_with_broken_categories(tmp_path, data, problem):
    root = write_youtube_vos(tmp_path)
    write_train(root, "cow")
    write_json(root / "valid" / "meta.json", data)
    with pytest.raises(DetectionError, match=f"valid/meta.json.*{problem}"):
        youtube_rows(root, read_sequences("vos", None, root, "valid"))


def test_youtube_vos_tracks_objects_from_their_first_mask(quick_bundle, tmp_path):
    """As a test split has it: a mask where an object starts, and the first of frame 1."""
    write_images(tmp_path / "JPEGImages" / "cow", range(0, 25, 5), (48, 64), digits=5)
    folder = tmp_path / "Annotations" / "cow"
    folder.mkdir(parents=True)
    for number, label in ((5, 1), (15, 2)):
        mask = np.zeros((48, 64), np.uint8)
        mask[8:40, 30 * label - 25 : 30 * label] = label
        (folder / f"{number:05d}.png").write_bytes(encode_palette_png(mask, davis_palette()))
    (sequence,) = read_sequences("vos", "youtube-vos", tmp_path, None)
    assert sequence.truth is None, "no object is in two masks: there is nothing to score"
    output = tmp_path / "out"
    job = SequenceJob(sequence, "youtube-vos", VosConfig(), quick_bundle.path, "cpu", 1, output)
    assert run_job(job).scores == ()
    labels = [
        set(np.unique(read_label_png(output / "results" / "cow" / f"{number:05d}.png"))) - {0}
        for number in range(0, 25, 5)
    ]
    assert labels[0] == set()
    assert 1 in labels[1]
    assert 2 not in labels[1] | labels[2]
    assert 2 in labels[3]


def test_davis_is_still_davis(tmp_path):
    write_images(tmp_path / "JPEGImages" / "480p" / "cow", range(3), digits=5)
    for number in range(3):
        write_mask(tmp_path / "Annotations" / "480p" / "cow" / f"{number:05d}.png", 1, 255)
    assert format_of("vos", tmp_path, None) == "davis"
    (sequence,) = read_sequences("vos", None, tmp_path, None)
    for number in range(3):
        # What lies in the void counts for nothing.
        write_mask(tmp_path / "out" / "cow" / f"{number:05d}.png", 1, 1)
    (found,) = score_results(sequence, "davis", tmp_path / "out").scores
    assert found.values["J&F"] == 1


# Boxes of many.


def kitti_row(frame, identity, kind, box, hidden="0 0", score=""):
    left, top, right, bottom = box
    tail = "1 1 1 1 1 1 0"
    return (
        f"{frame} {identity} {kind} {hidden} 0 {left} {top} {right} {bottom} {tail} {score}".strip()
    )


def write_kitti(root):
    images = root / "training" / "image_02" / "0003"
    write_images(images, range(4), (60, 160), ending="png")
    truth, results = [], []
    for k in range(4):
        car, walker = (5 + 3 * k, 5, 45 + 3 * k, 35), (60 + k, 5, 80 + k, 45)
        truth += [
            kitti_row(k, 1, "Car", car),
            kitti_row(k, 2, "Pedestrian", walker),
            kitti_row(k, 3, "Van", (100, 5, 130, 35)),
            kitti_row(k, -1, "DontCare", (131, 0, 159, 59), "-1 -1"),
        ]
        results += [
            kitti_row(k, 7, "Car", car, "-1 -1", 0.9),
            kitti_row(k, 8, "Car", (100, 5, 130, 35), "-1 -1", 0.9),
            kitti_row(k, 9, "Car", (132, 5, 158, 55), "-1 -1", 0.9),
            kitti_row(k, 10, "Misc", (1, 5, 30, 55), "-1 -1", 0.9),
        ]
    write_lines(root / "training" / "label_02" / "0003.txt", truth)
    write_lines(root / "out" / "0003.txt", results)
    return truth


def test_kitti_by_class_without_what_does_not_count(tmp_path):
    write_kitti(tmp_path)
    assert format_of("mot", tmp_path, "training") == "kitti"
    (sequence,) = read_sequences("mot", None, tmp_path, "training")
    assert (sequence.numbers, sequence.fps) == ((0, 1, 2, 3), 10)
    record = score_results(sequence, "kitti", tmp_path / "out")
    car, walker = record.scores
    assert record.notes == ("0003: 4 rows of other types than Car and Pedestrian",)
    assert (car.group, walker.group) == ("car", "pedestrian")
    # Cars on vans and in regions to ignore are no mistakes.
    assert (car.values["MOTA"], car.values["FP"], car.values["FN"]) == (1, 0, 0)
    assert walker.values["FN"] == 4


@pytest.mark.parametrize("kind", ["kitti", "mot"])
def test_detections_of_kitti_keep_their_frames(tmp_path, kind):
    write_kitti(tmp_path)
    rows = ["0 -1 Car -1 -1 -10 1 2 30 40 -1 -1 -1 -1000 -1000 -1000 -10 0.5"]
    if kind == "mot":
        rows = ["0,-1,2,3,29,38,0.5"]
    write_lines(tmp_path / "training" / "det_02" / "0003.txt", rows)
    (sequence,) = read_sequences("mot", None, tmp_path, "training")
    (tmp_path / "run").mkdir()
    inputs = prepare_sequence(sequence, tmp_path / "run")
    (line,) = inputs.detections.read_text().splitlines()
    assert line.startswith("0 -1" if kind == "kitti" else "1,-1")


@pytest.mark.parametrize("split", ["train", "dataset/train"])
def test_dancetrack_and_sportsmot_are_motchallenge(tmp_path, split):
    truth, results = mot_walk(3)
    truth = [[*row[:6], 1, 1, 1] for row in truth]
    write_mot(tmp_path / split, "dancetrack0001", truth, 20, images=True)
    assert format_of("mot", tmp_path, split) == "mot"
    (sequence,) = read_sequences("mot", None, tmp_path, split)
    write_rows(tmp_path / "out" / "dancetrack0001.txt", results)
    (found,) = score_results(sequence, "mot", tmp_path / "out").scores
    assert 0.2 < found.values["HOTA"] < 1


def test_posetrack21(tmp_path):
    images = pose_images("000001_bonn_train", 4)
    data = pose_file(2, images)
    for person in data["annotations"]:
        person |= {"person_id": person["track_id"], "bbox": [1, 1, 30, 40]}
    write_json(tmp_path / "posetrack_data" / "train" / "000001_bonn_train.json", data)
    write_images(tmp_path / "images" / "val" / "000001_bonn_train", range(4))
    (sequence,) = read_sequences("posetrack", None, tmp_path, "train")
    assert len(sequence.images) == 4
    write_json(tmp_path / "out" / f"{sequence.name}.json", data)
    (found, *_) = score_results(sequence, "posetrack", tmp_path / "out").scores
    assert found.values["IDF1"] == pytest.approx(1)
    # The truth of this file has nine of the 15 joints; the others count 0.
    assert found.values["mAP@PCKh"] == pytest.approx(9 / 15)


# Layouts that are not read.


def test_unknown_and_unsupported_layouts_name_those_that_are(tmp_path):
    (tmp_path / "ball" / "color").mkdir(parents=True)
    (tmp_path / "list.txt").write_text("ball\n")
    with pytest.raises(
        DetectionError, match=r"layout of VOT, which is not supported; .* otb, lasot"
    ):
        format_of("sot", tmp_path, None)
    for name in ("sequences/a/0000001.jpg", "annotations/a.txt"):
        path = tmp_path / "drone" / name
        path.parent.mkdir(parents=True)
        path.write_text("")
    with pytest.raises(DetectionError, match="layout of VisDrone, which is not supported"):
        format_of("mot", tmp_path / "drone", None)
    (tmp_path / "other").mkdir()
    with pytest.raises(DetectionError, match=r"no sequence of this --format .* reads mot, kitti"):
        read_sequences("mot", None, tmp_path / "other", None)
    with pytest.raises(DetectionError) as caught:
        read_sequences("mot", "mot", tmp_path / "other", None)
    assert "kitti" not in str(caught.value)
