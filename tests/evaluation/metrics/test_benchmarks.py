"""The metrics of `cli eval` against the definitions, cases worked by hand, and TrackEval itself."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.evaluation.datasets.registry import FORMATS
from unitrack_edge.evaluation.metrics.davis import (
    VOID,
    contour,
    contour_f,
    region_and_contour,
    statistics,
)
from unitrack_edge.evaluation.metrics.scores import Score, mean_score
from unitrack_edge.evaluation.metrics.sot import normalised_precision, precision
from unitrack_edge.evaluation.runner.jobs import score_results
from unitrack_edge.evaluation.runner.report import combined_rows, sequence_rows

from ...reference.davis_plain import contour_f_plain, contour_plain, jaccard_plain
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


def blobs(seed, size_hw=(37, 61)):
    """Two masks of a few overlapping discs, some cut by the border of the image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    masks = []
    centres = rng.uniform(0, 1, (3, 2)) * size_hw
    for _ in range(2):
        moved = centres + rng.normal(0, 1.5, centres.shape)
        radii = rng.uniform(3, 11, 3)
        masks.append(
            np.any(
                [
                    (y - a) ** 2 + (x - b) ** 2 < r**2
                    for (a, b), r in zip(moved, radii, strict=True)
                ],
                axis=0,
            )
        )
    return masks


# DAVIS.


@pytest.mark.parametrize("seed", range(6))
def test_j_and_f_against_the_definition(seed):
    found, true = blobs(seed)
    labels = found.astype(np.uint8), true.astype(np.uint8)
    j, f = region_and_contour(*labels, 1)
    assert j == pytest.approx(jaccard_plain(found, true), abs=1e-12)
    assert f == pytest.approx(contour_f_plain(found, true), abs=1e-12)
    assert 0.1 < f < 1


def test_f_of_a_wider_reach_against_the_definition():
    # 0.008 of this diagonal is 2.4 pixels, so that the disk has corners to be wrong at.
    found, true = np.zeros((2, 180, 240), np.bool_)
    true[20:60, 30:90] = True
    found[23:60, 28:92] = True
    found[100:104, 100:104] = True
    assert contour_f(found, true) == pytest.approx(contour_f_plain(found, true), abs=1e-12)


def test_contours_against_the_definition():
    for seed in range(4):
        mask, _ = blobs(seed)
        mask[-3:, -4:] = True
        pixels = {(int(y), int(x)) for y, x in np.argwhere(contour(mask))}
        assert pixels == contour_plain(mask)


def test_f_of_empty_masks():
    none, some = np.zeros((2, 20, 30), np.bool_)
    some[5:10, 5:10] = True
    assert contour_f(none, none) == 1
    assert contour_f(some, none) == contour_f(none, some) == 0
    far = np.roll(some, 15, axis=1)
    assert contour_f(far, some) == 0


def test_void_pixels_count_for_nothing():
    truth = np.zeros((20, 30), np.uint8)
    truth[5:10, 5:10] = 1
    found = truth.copy()
    found[5:10, 10:12] = 1
    assert region_and_contour(found, truth, 1)[0] == pytest.approx(25 / 35)
    truth[5:10, 10:12] = VOID
    assert region_and_contour(found, truth, 1) == (1, 1)


def test_masks_of_two_sizes():
    with pytest.raises(DetectionError, match="differ in size"):
        region_and_contour(np.zeros((4, 5), np.uint8), np.zeros((5, 4), np.uint8), 1)


def test_statistics_by_hand():
    # Nine frames: the quarters are 0-2, 2-4, 4-6 and 6-8.
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.3, 0.2]
    mean, recall, decay = statistics(scores)
    assert mean == pytest.approx(sum(scores) / 9)
    assert recall == pytest.approx(4 / 9)
    assert decay == pytest.approx(0.8 - 0.3)
    assert statistics([0.7]) == (pytest.approx(0.7), 1.0, 0.0)


@pytest.mark.parametrize("count", [2, 3, 7, 38, 48, 300])
def test_quarters_are_those_of_the_official_tool(count):
    rng = np.random.default_rng(count)
    scores = rng.uniform(size=count)
    places = np.round(np.linspace(1, count, 5) + 1e-10).astype(int) - 1
    first, last = scores[: places[1] + 1], scores[places[3] : places[4] + 1]
    assert statistics(scores)[2] == pytest.approx(first.mean() - last.mean())


# OTB.


def test_precision_by_hand():
    truth = np.array([[10.0, 10, 20, 40]] * 4)
    moved = truth + np.array([[0, 0, 0, 0], [12, 16, 0, 0], [12, 16.1, 0, 0], [100, 0, 0, 0]])
    assert precision(moved, truth) == pytest.approx(2 / 4)
    truth[3] = np.nan
    assert precision(moved, truth) == pytest.approx(2 / 3)


def test_normalised_precision_by_hand():
    truth = np.array([[10.0, 10, 20, 40]] * 2)
    # 5 of 20 wide and 0 of 40 high: 0.25 sizes, so right at 26 of the 51 limits 0, 0.01 … 0.5.
    moved = truth + np.array([[0, 0, 0, 0], [5, 0, 0, 0]])
    assert normalised_precision(moved, truth) == pytest.approx((1 + 26 / 51) / 2, abs=0.011)
    assert normalised_precision(truth, truth) == 1


def test_mean_score_leaves_out_what_is_not_known():
    scores = [Score({"a": 1.0, "b": math.nan}), Score({"a": 0.0, "b": 0.25})]
    assert mean_score(scores).values == {"a": 0.5, "b": 0.25}
    assert math.isnan(mean_score(scores[:1]).values["b"])


# TrackEval on the same files, through its own evaluator.


def evaluator(dataset, metrics=("HOTA", "CLEAR", "Identity")):
    options = {"PRINT_CONFIG": False, "THRESHOLD": 0.5}
    chosen = [
        getattr(trackeval.metrics, name)(*([] if name == "HOTA" else [options])) for name in metrics
    ]
    silent = ("PRINT_RESULTS", "PRINT_CONFIG", "TIME_PROGRESS", "OUTPUT_SUMMARY")
    quiet = dict.fromkeys((*silent, "OUTPUT_DETAILED", "PLOT_CURVES"), False)
    with contextlib.redirect_stdout(io.StringIO()):
        results, _ = trackeval.Evaluator({**quiet, "LOG_ON_ERROR": None}).evaluate(
            [dataset], chosen
        )
    ((data,),) = [by_tracker.values() for by_tracker in results.values()]
    return data


def trackeval_config(root, lengths, **more):
    return {
        "GT_FOLDER": str(root / "gt"), "TRACKERS_FOLDER": str(root / "trackers"),
        "TRACKERS_TO_EVAL": ["ours"], "PRINT_CONFIG": False, "SEQ_INFO": lengths,
        "TRACKER_SUB_FOLDER": "", **more,
    }  # fmt: skip


def same(ours, theirs):
    """Every column of one row against TrackEval's metrics."""
    fields = {
        "HOTA": np.mean(theirs["HOTA"]["HOTA"]), "DetA": np.mean(theirs["HOTA"]["DetA"]),
        "AssA": np.mean(theirs["HOTA"]["AssA"]), "IDF1": theirs["Identity"]["IDF1"],
        "MOTA": theirs["CLEAR"]["MOTA"], "MOTSA": theirs["CLEAR"]["MOTA"],
        "sMOTSA": theirs["CLEAR"]["sMOTA"], "MOTSP": theirs["CLEAR"]["MOTP"],
        "FP": theirs["CLEAR"]["CLR_FP"], "FN": theirs["CLEAR"]["CLR_FN"],
        "IDs": theirs["CLEAR"]["IDSW"],
    }  # fmt: skip
    for name, value in ours.score.values.items():
        assert value == pytest.approx(float(fields[name]), abs=1e-12), name


@pytest.mark.parametrize("benchmark", ["MOT17", "MOT20", "MOT15"])
def test_mot_numbers_are_trackevals(tmp_path, benchmark):
    labels = (1,) if benchmark == "MOT15" else (1, 2, 6, 7, 8)
    for n in range(3):
        truth, results = mot_walk(n, frames=20 + n, labels=labels)
        if benchmark == "MOT15":
            truth = [[*row[:7], -1, -1, -1] for row in truth]
        write_mot(tmp_path / "gt", f"{benchmark}-{n:02d}", truth, 20 + n)
        write_rows(tmp_path / "trackers" / "ours" / f"{benchmark}-{n:02d}.txt", results)
    lengths = {f"{benchmark}-{n:02d}": 20 + n for n in range(3)}
    config = trackeval_config(tmp_path, lengths, BENCHMARK=benchmark, SKIP_SPLIT_FOL=True)
    theirs = evaluator(trackeval.datasets.MotChallenge2DBox(config))
    row = FORMATS["mot"]
    records = [
        score_results(sequence, "mot", tmp_path / "trackers" / "ours")
        for sequence in row.read(tmp_path / "gt", None)
    ]
    assert [record.name for record in records] == list(lengths)
    for record in records:
        (line,) = sequence_rows(row, record)
        same(line, theirs[record.name]["pedestrian"])
    (total,) = combined_rows(row, records)
    same(total, theirs["COMBINED_SEQ"]["pedestrian"])
    assert total.score.values["IDs"] > 0
    # One of the sequences has no pedestrian at all.
    assert benchmark == "MOT15" or records[2].scores[0].values["FN"] == 0


@pytest.mark.parametrize("variant", ["challenge", "kitti"])
def test_mots_numbers_are_trackevals(tmp_path, variant):
    kitti = variant == "kitti"
    names = ["0002", "0006"] if kitti else ["MOTS20-02", "MOTS20-05"]
    for n, name in enumerate(names):
        truth, results = mots_walk(n, first=0 if kitti else 1, labels=(1, 2) if kitti else (2,))
        files = [f"gt/instances_txt/{name}.txt"] if kitti else [f"gt/{name}/gt/gt.txt"]
        for file in files:
            write_lines(tmp_path / file, truth)
        write_lines(tmp_path / "trackers" / "ours" / f"{name}.txt", results)
        if kitti:
            (tmp_path / "gt" / "image_02" / name).mkdir(parents=True)
    lengths = dict.fromkeys(names, 12)
    if kitti:
        config = trackeval_config(
            tmp_path, lengths, GT_LOC_FORMAT="{gt_folder}/instances_txt/{seq}.txt"
        )
        dataset = trackeval.datasets.KittiMOTS(config)
    else:
        config = trackeval_config(tmp_path, lengths, SKIP_SPLIT_FOL=True)
        dataset = trackeval.datasets.MOTSChallenge(config)
    theirs = evaluator(dataset)
    row = FORMATS["mots"]
    if kitti:
        for name in names:
            write_images(tmp_path / "gt" / "image_02" / name, range(12), ending="png")
    records = [
        score_results(sequence, "mots", tmp_path / "trackers" / "ours")
        for sequence in row.read(tmp_path / "gt", None)
    ]
    for record in records:
        for line in sequence_rows(row, record):
            same(line, theirs[record.name][line.group or "pedestrian"])
    total = combined_rows(row, records)
    assert [line.group for line in total] == (["car", "pedestrian"] if kitti else [""])
    for line in total:
        same(line, theirs["COMBINED_SEQ"][line.group or "pedestrian"])
        assert line.score.values["IDs"] > 0


# PoseTrack.


def posetrack_scores(tmp_path, truth, results, names=("a",)):
    for name in names:
        write_json(tmp_path / "annotations" / "val" / f"{name}.json", truth(name))
        write_json(tmp_path / "out" / f"{name}.json", results(name))
    row = FORMATS["posetrack"]
    records = [
        score_results(sequence, "posetrack", tmp_path / "out")
        for sequence in row.read(tmp_path, "val")
    ]
    (total,) = combined_rows(row, records)
    return total.score.values


def test_posetrack_by_hand(tmp_path):
    """Two people in ten frames; one is missed once, and its identity changes half way."""
    images = pose_images("a", 10)
    values = posetrack_scores(
        tmp_path,
        lambda _: pose_file(2, images),
        lambda _: pose_file(
            2, images, drop=[(3, 1)], track=lambda k, frame: 7 if k == 1 and frame >= 5 else k
        ),
    )
    assert values["MOTA"] == pytest.approx(1 - (1 + 1) / 20)
    assert values["IDs"] == 1
    assert values["FN"] == 1
    assert values["MOTA@PCKh"] == pytest.approx(values["MOTA"])


def test_pckh_is_half_a_head(tmp_path):
    """Heads are 0.6 · 10 pixels: a joint 2.9 pixels off counts, one 3.1 off does not."""
    for offset, right in ((2.05, True), (2.2, False)):
        images = pose_images("a", 4)
        values = posetrack_scores(
            tmp_path / str(offset),
            lambda _, images=images: pose_file(1, images),
            lambda _, images=images, offset=offset: pose_file(1, images, offset=offset),
        )
        assert values["MOTA@PCKh"] == pytest.approx(1.0 if right else -1.0)


def test_posetrack_counts_are_added_over_sequences(tmp_path):
    values = posetrack_scores(
        tmp_path,
        lambda name: pose_file(1, pose_images(name, 10 if name == "a" else 30)),
        lambda name: pose_file(
            1,
            pose_images(name, 10 if name == "a" else 30),
            drop=[(n, 0) for n in range(5)] if name == "a" else (),
        ),
        names=("a", "b"),
    )
    assert values["MOTA"] == pytest.approx(35 / 40)
    assert values["MOTA@PCKh"] == pytest.approx(35 / 40)
    assert values["mAP@PCKh"] == pytest.approx(9 / 15 * 35 / 40)


def test_posetrack_regions_to_ignore_and_unlabelled_images(tmp_path):
    images = pose_images("a", 6)
    images[5]["is_labeled"] = False
    for image in images:
        # All of the second person.
        image["ignore_regions_x"] = [[55, 120, 120, 55]]
        image["ignore_regions_y"] = [[0, 0, 60, 60]]
    values = posetrack_scores(
        tmp_path,
        lambda _: pose_file(2, images),
        lambda _: pose_file(2, images, track=lambda k, frame: k + frame * (k == 1)),
    )
    assert values["IDs"] == values["FP"] == values["FN"] == 0
    assert values["MOTA"] == 1
