"""Readers of the official layouts, on small data sets written here."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError, RequestError, SourceError
from unitrack_edge.evaluation.datasets.base import choose, fingerprint, first_frames
from unitrack_edge.evaluation.datasets.detection import DETECTION_FORMATS
from unitrack_edge.evaluation.datasets.registry import FORMAT_OF_TASK, FORMATS
from unitrack_edge.evaluation.runner.jobs import score_results
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png
from unitrack_edge.tracking.registry import RESULT_FORMATS, TASKS

from ...support.eval_data import (
    mot_walk,
    mots_walk,
    pose_file,
    pose_images,
    write_images,
    write_json,
    write_lines,
    write_mot,
    write_rows,
)

trackeval = pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")


def read(name, root, split=None):
    return FORMATS[name].read(root, split)


def test_every_format_is_of_a_task_and_takes_its_results():
    assert {FORMATS[name].task: name for name in FORMAT_OF_TASK.values()} == FORMAT_OF_TASK
    for row in FORMATS.values():
        assert row.task in TASKS
        own = TASKS[row.task].result
        assert row.written == (RESULT_FORMATS[row.result_format][0] if row.result_format else own)
        assert row.headline in row.columns


# OTB.


def write_otb(root, name, boxes, images=None, file="groundtruth_rect.txt", **text):
    write_rows(root / name / file, boxes, **text)
    write_images(root / name / "img", images or range(1, len(boxes) + 1), digits=4)


BOXES = [[11, 21, 30, 40], [12, 22, 30, 40], [13, 23, 30, 40], [14, 24, 30, 40]]


@pytest.mark.parametrize("text", [{}, {"separator": "\t"}, {"end": "\r\n"}, {"separator": " "}])
def test_otb(tmp_path, text):
    write_otb(tmp_path, "Car", BOXES, **text)
    (sequence,) = read("otb", tmp_path)
    assert sequence.name == "Car"
    assert sequence.numbers == (1, 2, 3, 4)
    assert [path.name for path in sequence.images] == [f"{n:04d}.jpg" for n in range(1, 5)]
    # Pixels from 1 in the file, from 0 for --init.
    assert sequence.init == "10,20,30,40"
    write_rows(tmp_path / "out" / "Car.txt", BOXES, **text)
    (score,) = score_results(sequence, "otb", tmp_path / "out").scores
    assert score.values["AUC"] == pytest.approx(20 / 21)
    assert score.values["P@20"] == score.values["NP"] == 1


def test_otb_with_two_targets(tmp_path):
    write_otb(tmp_path, "jogging", BOXES, file="groundtruth_rect.1.txt")
    write_otb(tmp_path, "jogging", BOXES[::-1], file="groundtruth_rect.2.txt")
    assert [s.name for s in read("otb", tmp_path)] == ["jogging-1", "jogging-2"]
    assert [s.init for s in read("otb", tmp_path)] == ["10,20,30,40", "13,23,30,40"]
    # The folder of one sequence is a root too.
    assert len(read("otb", tmp_path / "jogging")) == 2


def test_otb_sequences_that_begin_late(tmp_path):
    write_otb(tmp_path, "David", BOXES, images=[298, 299, *range(300, 304)])
    (sequence,) = read("otb", tmp_path)
    assert sequence.numbers == (300, 301, 302, 303)
    assert sequence.images[0].name == "0300.jpg"


def test_otb_with_a_missing_picture(tmp_path):
    write_otb(tmp_path, "Car", BOXES, images=[1, 2, 4])
    with pytest.raises(DetectionError, match=r"4 rows for 3 images.*missing"):
        read("otb", tmp_path)


def test_otb_frames_that_are_not_annotated_do_not_count(tmp_path):
    write_otb(tmp_path, "Car", [*BOXES[:3], [0, 0, 0, 0]])
    (sequence,) = read("otb", tmp_path)
    write_rows(tmp_path / "out" / "Car.txt", [*BOXES[:3], [200, 1, 9, 9]])
    (score,) = score_results(sequence, "otb", tmp_path / "out").scores
    assert score.values["P@20"] == 1


def test_otb_results_of_another_sequence(tmp_path):
    write_otb(tmp_path, "Car", BOXES)
    (sequence,) = read("otb", tmp_path)
    for rows in (BOXES[:2], [*BOXES, *BOXES]):
        write_rows(tmp_path / "out" / "Car.txt", rows)
        with pytest.raises(DetectionError, match=f"{len(rows)} rows, expected 4"):
            score_results(sequence, "otb", tmp_path / "out")
    with pytest.raises(DetectionError, match=r"nothing for Car, expected Car.txt"):
        score_results(sequence, "otb", tmp_path)


def test_otb_without_truth(tmp_path):
    write_images(tmp_path / "Car" / "img", range(1, 4))
    with pytest.raises(DetectionError, match="what to track"):
        read("otb", tmp_path)


# DAVIS.


def write_masks(folder, masks):
    folder.mkdir(parents=True)
    for name, mask in masks.items():
        (folder / f"{name}.png").write_bytes(encode_palette_png(mask, davis_palette()))


def davis_masks(frames, labels=(1, 2)):
    masks = {}
    for n in range(frames):
        mask = np.zeros((24, 32), np.uint8)
        for k in labels:
            mask[4 + 8 * (k - 1) : 10 + 8 * (k - 1), 2 + n : 12 + n] = k
        masks[f"{n:05d}"] = mask
    return masks


def write_davis(root, name, masks, resolution="480p"):
    write_masks(root / "Annotations" / resolution / name, masks)
    write_images(root / "JPEGImages" / resolution / name, range(len(masks)), digits=5)


def test_davis(tmp_path):
    masks = davis_masks(5)
    write_davis(tmp_path, "cows", masks)
    (sequence,) = read("davis", tmp_path)
    assert sequence.init.endswith("cows/00000.png")
    write_masks(tmp_path / "out" / "cows", masks)
    record = score_results(sequence, "davis", tmp_path / "out")
    assert [score.values["J&F"] for score in record.scores] == [1, 1]
    # The second object is lost in the third frame of five: three frames count, one is wrong.
    masks["00002"][masks["00002"] == 2] = 0
    write_masks(tmp_path / "worse" / "cows", masks)
    record = score_results(sequence, "davis", tmp_path / "worse")
    assert [score.values["J"] for score in record.scores] == [1, pytest.approx(2 / 3)]
    assert [score.values["J recall"] for score in record.scores] == [1, pytest.approx(2 / 3)]


def test_davis_first_and_last_frame_do_not_count(tmp_path):
    masks = davis_masks(5)
    write_davis(tmp_path, "cows", masks)
    for name in ("00000", "00004"):
        masks[name] = masks[name][::-1].copy()
    write_masks(tmp_path / "out" / "cows", masks)
    (sequence,) = read("davis", tmp_path)
    record = score_results(sequence, "davis", tmp_path / "out")
    assert [score.values["J&F"] for score in record.scores] == [1, 1]


@pytest.mark.parametrize(
    ("year", "lines", "objects"),
    [
        ("2017", ["cows"], 2),
        ("2016", ["/JPEGImages/480p/cows/00000.jpg /Annotations/480p/cows/00000.png"] * 2, 1),
    ],
)
def test_davis_splits(tmp_path, year, lines, objects):
    write_davis(tmp_path, "cows", davis_masks(4))
    write_davis(tmp_path, "goat", davis_masks(4))
    write_lines(tmp_path / "ImageSets" / year / "val.txt", lines)
    (sequence,) = read("davis", tmp_path, f"{year}/val")
    assert sequence.name == "cows"
    write_masks(tmp_path / "out" / "cows", davis_masks(4))
    assert len(score_results(sequence, "davis", tmp_path / "out").scores) == objects
    assert len(read("davis", tmp_path, "val")) == 1
    with pytest.raises(RequestError, match=f"there is none.*{year}/val"):
        read("davis", tmp_path, "test-dev")
    write_lines(tmp_path / "ImageSets" / "2018" / "val.txt", ["goat"])
    with pytest.raises(RequestError, match="several years"):
        read("davis", tmp_path, "val")


def test_davis_annotated_every_other_frame(tmp_path):
    masks = davis_masks(7, labels=(1,))
    write_davis(tmp_path, "cows", masks)
    for name in ("00001", "00003", "00005"):
        (tmp_path / "Annotations" / "480p" / "cows" / f"{name}.png").unlink()
        masks[name] = np.zeros_like(masks[name])
    write_masks(tmp_path / "out" / "cows", masks)
    (sequence,) = read("davis", tmp_path)
    (score,) = score_results(sequence, "davis", tmp_path / "out").scores
    assert score.values["J"] == 1


def test_davis_with_only_the_first_mask_is_not_scored(tmp_path):
    masks = davis_masks(4)
    write_davis(tmp_path, "cows", masks)
    for name in list(masks)[1:]:
        (tmp_path / "Annotations" / "480p" / "cows" / f"{name}.png").unlink()
    write_masks(tmp_path / "out" / "cows", masks)
    (sequence,) = read("davis", tmp_path)
    record = score_results(sequence, "davis", tmp_path / "out")
    assert record.scores == ()
    assert record.notes == ("cows: no ground truth, not scored",)


def test_davis_missing_masks(tmp_path):
    masks = davis_masks(4)
    write_davis(tmp_path, "cows", masks)
    (sequence,) = read("davis", tmp_path)
    del masks["00002"]
    write_masks(tmp_path / "out" / "cows", masks)
    with pytest.raises(DetectionError, match=r"cows/00002\.png: cannot be read"):
        score_results(sequence, "davis", tmp_path / "out")
    (tmp_path / "Annotations" / "480p" / "cows" / "00000.png").unlink()
    with pytest.raises(DetectionError, match=r"00000\.png: there is no such mask"):
        read("davis", tmp_path)
    with pytest.raises(DetectionError, match="no JPEGImages"):
        read("davis", tmp_path / "out")


# MOT.


@pytest.mark.parametrize("text", [{"end": "\r\n"}, {"separator": "\t"}, {"separator": " "}])
def test_mot_files_of_any_separator_score_alike(tmp_path, text):
    truth, results = mot_walk(1, labels=(1, 7))
    values = []
    for folder, how in (("plain", {}), ("other", text)):
        write_mot(tmp_path / folder, "A", truth, 20, images=True, **how)
        write_rows(tmp_path / folder / "out" / "A.txt", results, **how)
        (sequence,) = choose(read("mot", tmp_path / folder), ["A"])
        (score,) = score_results(sequence, "mot", tmp_path / folder / "out").scores
        values.append(score.values)
    assert values[0] == values[1]
    assert 0 < values[0]["IDF1"] < 1


def test_mot_of_seven_columns_with_flag_minus_one(tmp_path):
    truth, results = mot_walk(1)
    write_mot(tmp_path / "new", "A", [[*row[:6], 1, -1, -1, -1] for row in truth], 20)
    write_mot(tmp_path / "old", "A", [[*row[:6], -1] for row in truth], 20)
    write_rows(tmp_path / "out" / "A.txt", results)
    new, old = (
        score_results(read("mot", tmp_path / era)[0], "mot", tmp_path / "out").scores[0].values
        for era in ("new", "old")
    )
    assert new == old


def test_mot_rows_flagged_to_ignore_are_no_truth(tmp_path):
    truth = [
        [f, k, 10 + 50 * k, 10, 30, 60, flag, kind, 1]
        for f in (1, 2, 3)
        for k, flag, kind in ((1, 1, 1), (2, 0, 1), (3, 1, 8), (4, 1, 3))
    ]
    write_mot(tmp_path, "MOT17-02", truth, 3)
    results = [[f, k, 10 + 50 * k, 10, 30, 60, 1, -1, -1, -1] for f in (1, 2, 3) for k in (1, 3)]
    write_rows(tmp_path / "out" / "MOT17-02.txt", results)
    (sequence,) = choose(read("mot", tmp_path), ["MOT17-02"])
    (score,) = score_results(sequence, "mot", tmp_path / "out").scores
    # Only the first is to be found, and who follows a distractor is not blamed.
    assert score.values["MOTA"] == score.values["IDF1"] == 1
    assert score.values["FP"] == score.values["FN"] == 0


def test_mot_frames_without_a_picture_are_not_scored(tmp_path):
    truth, results = mot_walk(3)
    folder = write_mot(tmp_path, "A", truth, 20)
    write_images(folder / "img1", [1, 2, 3, 7, 8])
    (sequence,) = read("mot", tmp_path)
    assert sequence.numbers == (1, 2, 3, 7, 8)
    assert "5 images, seqinfo.ini says 20" in sequence.notes[0]
    kept = [row for row in results if row[0] in sequence.numbers]
    write_rows(tmp_path / "out" / "A.txt", kept)
    record = score_results(sequence, "mot", tmp_path / "out")
    assert "15 frames of the truth have no image" in record.notes[1]
    write_mot(
        tmp_path / "short", "A",
        [[sequence.numbers.index(row[0]) + 1, *row[1:]] for row in truth
         if row[0] in sequence.numbers], 5,
    )  # fmt: skip
    (short,) = read("mot", tmp_path / "short")
    write_rows(
        tmp_path / "short-out" / "A.txt",
        [[sequence.numbers.index(row[0]) + 1, *row[1:]] for row in kept],
    )
    again = score_results(short, "mot", tmp_path / "short-out")
    assert record.scores[0].values == again.scores[0].values


def test_mot_results_of_another_sequence_and_none_at_all(tmp_path):
    truth, results = mot_walk(3)
    write_mot(tmp_path, "A", truth, 20)
    (sequence,) = read("mot", tmp_path)
    write_rows(tmp_path / "out" / "A.txt", [*results, [44, 1, 1, 1, 5, 5, 1, -1, -1, -1]])
    with pytest.raises(DetectionError, match=r"frame 44, expected frames 1 to 20.*another"):
        score_results(sequence, "mot", tmp_path / "out")
    # Not so where the frames after the first ones were left out on request.
    cut = first_frames(sequence, 5)
    assert score_results(cut, "mot", tmp_path / "out").frames == 5
    write_rows(tmp_path / "out" / "A.txt", [])
    (score,) = score_results(sequence, "mot", tmp_path / "out").scores
    assert score.values["MOTA"] == 0
    assert score.values["FN"] == sum(row[6] for row in truth)
    write_rows(tmp_path / "out" / "A.txt", [results[0], results[0]])
    with pytest.raises(DetectionError, match=r"A.txt, line 2: id \d+ appears twice"):
        score_results(sequence, "mot", tmp_path / "out")


def test_mot_splits_and_wrong_roots(tmp_path):
    truth, _ = mot_walk(3)
    write_mot(tmp_path / "train", "A", truth, 20)
    assert [s.name for s in read("mot", tmp_path, "train")] == ["A"]
    with pytest.raises(DetectionError, match="--split train has some"):
        read("mot", tmp_path)
    with pytest.raises(DetectionError, match="no such folder"):
        read("mot", tmp_path, "test")
    with pytest.raises(RequestError, match="--sequence B: no such sequence, expected one of A"):
        choose(read("mot", tmp_path, "train"), ["B"])


@pytest.mark.parametrize("line", ["seqLength=many", "frameRate=0", "[Other]"])
def test_mot_damaged_seqinfo(tmp_path, line):
    folder = write_mot(tmp_path, "A", mot_walk(1)[0], 20)
    (folder / "seqinfo.ini").write_text(f"[Sequence]\n{line}\n" if "[" not in line else line)
    with pytest.raises(DetectionError, match=r"seqinfo.ini: cannot be read"):
        read("mot", tmp_path)


def test_mot_without_truth_is_not_scored(tmp_path):
    folder = write_mot(tmp_path, "A", mot_walk(1)[0], 3, images=True)
    (folder / "gt" / "gt.txt").unlink()
    (sequence,) = read("mot", tmp_path)
    write_rows(tmp_path / "out" / "A.txt", [[1, 1, 2, 3, 4, 5, 1]])
    record = score_results(sequence, "mot", tmp_path / "out")
    assert record.scores == ()
    assert "no ground truth" in record.notes[-1]


# MOTS.


def test_mots_with_numbers_that_have_gaps(tmp_path):
    truth, results = mots_walk(0, first=0, labels=(1, 2))
    write_lines(tmp_path / "0001" / "gt" / "gt.txt", truth)
    write_images(tmp_path / "0001" / "image_02", [0, 5, 10], ending="png")
    (sequence,) = read("mots", tmp_path)
    assert sequence.numbers == (0, 5, 10)
    assert sequence.variant == "kitti"
    kept = [row for row in results if int(row.split()[0]) in (0, 5, 10)]
    write_lines(tmp_path / "out" / "0001.txt", kept)
    record = score_results(sequence, "mots", tmp_path / "out")
    assert [score.group for score in record.scores] == ["car", "pedestrian"]
    assert "frames of the truth have no image" in record.notes[0]
    write_lines(tmp_path / "out" / "0001.txt", results)
    with pytest.raises(DetectionError, match="are these of another sequence"):
        score_results(sequence, "mots", tmp_path / "out")


def test_mots_nothing_there(tmp_path):
    (tmp_path / "image_02" / "0001").mkdir(parents=True)
    with pytest.raises(SourceError, match="no image in this folder"):
        read("mots", tmp_path)


# PoseTrack.


def write_posetrack(root, name="012", frames=4):
    images = pose_images(name, frames)
    write_json(root / "annotations" / "val" / f"{name}.json", pose_file(2, images))
    write_images(root / "images" / "val" / name, range(frames))
    return images


def test_posetrack(tmp_path):
    images = write_posetrack(tmp_path)
    (sequence,) = read("posetrack", tmp_path, "val")
    assert sequence.numbers == (1000, 1001, 1002, 1003)
    assert [path.name for path in sequence.images] == [f"{n:06d}.jpg" for n in range(4)]
    with pytest.raises(DetectionError, match="--split may be val"):
        read("posetrack", tmp_path)
    write_json(tmp_path / "out" / "012.json", pose_file(2, images))
    (score,) = score_results(sequence, "posetrack", tmp_path / "out").scores
    assert score.values["IDF1"] == score.values["MOTA@PCKh"] == 1


def test_posetrack_results_of_cli_track(tmp_path):
    """Its images count from 1 and have the images' names."""
    write_posetrack(tmp_path)
    (sequence,) = read("posetrack", tmp_path, "val")
    images = [{"id": n + 1, "file_name": f"{n:06d}.jpg"} for n in range(4)]
    write_json(tmp_path / "out" / "012" / "tracks.json", pose_file(2, images))
    (score,) = score_results(sequence, "posetrack", tmp_path / "out").scores
    assert score.values["IDF1"] == 1
    strange = [{"id": n + 1, "file_name": f"x{n}.jpg"} for n in range(4)]
    write_json(tmp_path / "out" / "012" / "tracks.json", pose_file(2, strange))
    with pytest.raises(DetectionError, match="another sequence"):
        score_results(sequence, "posetrack", tmp_path / "out")


def test_posetrack_missing_pictures_and_head_sizes(tmp_path):
    images = write_posetrack(tmp_path)
    (tmp_path / "images" / "val" / "012" / "000002.jpg").unlink()
    (sequence,) = read("posetrack", tmp_path, "val")
    assert sequence.numbers == (1000, 1001, 1003)
    assert "1 of 4 images have no file" in sequence.notes[0]
    data = pose_file(1, images, sizes=False)
    for person in data["annotations"]:
        person["keypoints"][3:9] = [0] * 6
    write_json(tmp_path / "annotations" / "val" / "012.json", data)
    write_json(tmp_path / "out" / "012.json", pose_file(1, [images[i] for i in (0, 1, 3)]))
    (sequence,) = read("posetrack", tmp_path, "val")
    (score,) = score_results(sequence, "posetrack", tmp_path / "out").scores
    assert np.isnan(score.values["MOTA@PCKh"])
    assert np.isfinite(score.values["MOTA"])


def test_posetrack_identity_twice_in_an_image(tmp_path):
    images = write_posetrack(tmp_path)
    (sequence,) = read("posetrack", tmp_path, "val")
    write_json(tmp_path / "out" / "012.json", pose_file(2, images, track=lambda _k, _frame: 3))
    with pytest.raises(DetectionError, match="annotation 2: track_id 3 appears twice"):
        score_results(sequence, "posetrack", tmp_path / "out")


# Fingerprints.


def test_a_fingerprint_changes_with_everything_that_matters(tmp_path):
    write_otb(tmp_path, "Car", BOXES)
    (sequence,) = read("otb", tmp_path)
    seen = [fingerprint(sequence)]
    assert fingerprint(sequence) == seen[0]
    seen.append(fingerprint(first_frames(sequence, 2)))
    write_rows(tmp_path / "Car" / "groundtruth_rect.txt", [*BOXES[:3], [1, 1, 5, 5]])
    seen.append(fingerprint(read("otb", tmp_path)[0]))
    write_images(tmp_path / "Car" / "img", [1], size_hw=(48, 64), digits=4)
    seen.append(fingerprint(read("otb", tmp_path)[0]))
    assert len({str(one) for one in seen}) == len(seen)


@pytest.mark.parametrize("row", [*FORMATS.values(), *DETECTION_FORMATS.values()])
@pytest.mark.parametrize("split", [None, "train"])
def test_a_folder_that_is_not_there_is_no_other_layout(row, split, tmp_path):
    with pytest.raises(DetectionError, match=r"--data .*nowhere.*: there is no such folder"):
        row.read(tmp_path / "nowhere", split)
