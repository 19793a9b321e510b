"""Our numbers against those of the benchmarks' own toolkits on pip, on files that both read.

TrackEval's are in `test_benchmarks`, pycocotools' in `test_detection`.  No toolkit on pip knows
PoseTrack21's keypoint measures, nor the rules of YouTube-VOS' server.
"""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.evaluation.datasets.posetrack import Poses, labelled_frames
from unitrack_edge.evaluation.datasets.registry import FORMATS
from unitrack_edge.evaluation.metrics.keypoint_ap import keypoint_counts, keypoint_map
from unitrack_edge.evaluation.metrics.keypoint_hota import (
    LIMITS,
    combined_hota,
    joint_counts,
    keypoint_hota,
)
from unitrack_edge.evaluation.metrics.scores import trackeval_data, trackeval_metrics
from unitrack_edge.evaluation.runner.jobs import score_results
from unitrack_edge.evaluation.runner.report import combined_rows
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import encode_palette_png
from unitrack_edge.runtime.formats.keypoints import POSETRACK_JOINTS

from ...reference.keypoint_ap_plain import mean_ap
from ...support.eval_data import pose_file, pose_images, write_images, write_json, write_rows

# Masks: vos-benchmark (which says of itself that it equals davis2017-evaluation) and TrackEval.

SIZE_HW = 60, 90


def discs(rng, count, shown=lambda _frame, _label: True):
    """Label maps of two discs that move, and of a result that is off by a few pixels."""
    y, x = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    for frame in range(count):
        pair = []
        for off in (0, 1):
            labels = np.zeros(SIZE_HW, np.uint8)
            for label in (1, 2):
                a, b = rng.normal(0, 2 * off, 2)
                inside = (x - 25 * label - 2 * frame - a) ** 2 + (y - 30 - b) ** 2 < 150
                labels[inside & shown(frame, label)] = label
            pair.append(labels)
        yield pair


def write_masks(root, pairs, numbers, annotations):
    for number, (true, found) in zip(numbers, pairs, strict=True):
        for folder, labels in ((annotations, true), (root / "out" / "cow", found)):
            folder.mkdir(parents=True, exist_ok=True)
            png = encode_palette_png(labels, davis_palette())
            (folder / f"{number:05d}.png").write_bytes(png)


def test_davis_is_vos_benchmarks(tmp_path):
    benchmark = pytest.importorskip("vos_benchmark.benchmark", reason="vos-benchmark: extra 'dev'")
    truth = tmp_path / "Annotations" / "480p"
    # The second object is gone in the end.
    pairs = list(discs(np.random.default_rng(3), 9, lambda n, label: label == 1 or n < 6))
    write_masks(tmp_path, pairs, range(9), truth / "cow")
    write_images(tmp_path / "JPEGImages" / "480p" / "cow", range(9), SIZE_HW, digits=5)
    (sequence,) = FORMATS["davis"].read(tmp_path, None)
    ours = score_results(sequence, "davis", tmp_path / "out").scores
    _, j, f = benchmark.VideoEvaluator(str(truth), str(tmp_path / "out"))("cow")
    for label, score in zip((1, 2), ours, strict=True):
        assert 100 * score.values["J"] == pytest.approx(j[label], abs=1e-10)
        assert 100 * score.values["F"] == pytest.approx(f[label], abs=1e-10)
        assert 0.2 < score.values["F"] < 1


def test_davis_is_trackevals(tmp_path):
    trackeval = pytest.importorskip("trackeval")
    pytest.importorskip("skimage", reason="TrackEval's F needs scikit-image: extra 'dev'")
    from pycocotools import mask as coco

    truth = tmp_path / "Annotations" / "480p"
    pairs = list(discs(np.random.default_rng(4), 12))
    write_masks(tmp_path, pairs, range(12), truth / "cow")
    write_images(tmp_path / "JPEGImages" / "480p" / "cow", range(12), SIZE_HW, digits=5)
    (sequence,) = FORMATS["davis"].read(tmp_path, None)
    (total,) = combined_rows(FORMATS["davis"], [score_results(sequence, "davis", tmp_path / "out")])

    def dets(which):
        return [
            [coco.encode(np.asfortranarray(pair[which] == k, np.uint8)) for k in (1, 2)]
            for pair in pairs[1:-1]
        ]

    ids = [np.array([0, 1])] * 10
    data = {
        "num_timesteps": 10, "num_gt_ids": 2, "num_tracker_ids": 2,
        "gt_ids": ids, "tracker_ids": ids, "gt_dets": dets(0), "tracker_dets": dets(1),
    }  # fmt: skip
    theirs = trackeval.metrics.JAndF().eval_sequence(data)
    names = {"J": "J-Mean", "J recall": "J-Recall", "J decay": "J-Decay", "F": "F-Mean",
             "F recall": "F-Recall", "F decay": "F-Decay", "J&F": "J&F"}  # fmt: skip
    for ours, name in names.items():
        assert total.score.values[ours] == pytest.approx(theirs[name], abs=1e-10), name


def test_youtube_vos_is_vos_benchmarks_of_the_frames_after_an_objects_first(tmp_path):
    evaluator = pytest.importorskip("vos_benchmark.evaluator", reason="vos-benchmark: extra 'dev'")
    truth = tmp_path / "Annotations" / "cow"
    pairs = list(discs(np.random.default_rng(5), 6, lambda n, label: label == 1 or n > 1))
    write_masks(tmp_path, pairs, range(0, 30, 5), truth)
    write_images(tmp_path / "JPEGImages" / "cow", range(0, 30, 5), SIZE_HW, digits=5)
    (sequence,) = FORMATS["youtube-vos"].read(tmp_path, None)
    ours = score_results(sequence, "youtube-vos", tmp_path / "out").scores
    for label, first, score in ((1, 0, ours[0]), (2, 2, ours[1])):
        theirs = evaluator.Evaluator()
        for true, found in pairs[first + 1 :]:
            theirs.feed_frame(found, true)
        j, f = theirs.conclude()
        assert 100 * score.values["J"] == pytest.approx(j[label], abs=1e-10)
        assert 100 * score.values["F"] == pytest.approx(f[label], abs=1e-10)


# One box: got10k.


def boxes(rng, count=40):
    truth = np.cumsum(rng.normal(0, 2, (count, 4)), axis=0)
    truth += np.array([60, 40, 40, 30])
    truth[:, 2:] = np.maximum(truth[:, 2:], 5)
    return truth.round(3), (truth + rng.normal(0, 5, truth.shape)).round(3)


@pytest.mark.parametrize("layout", ["otb", "lasot", "trackingnet"])
def test_success_and_precision_are_those_of_got10k(tmp_path, layout):
    experiments = pytest.importorskip("got10k.experiments", reason="got10k: pip install got10k six")
    from got10k.utils import metrics

    truth, found = boxes(np.random.default_rng(6))
    folder = tmp_path if layout == "trackingnet" else tmp_path / "car"
    images, file = {
        "otb": (folder / "img", "groundtruth_rect.txt"),
        "lasot": (folder / "img", "groundtruth.txt"),
        "trackingnet": (folder / "frames" / "car", "anno/car.txt"),
    }[layout]
    write_images(images, range(1, 41), digits=4)
    write_rows(folder / file, truth)
    write_rows(tmp_path / "out" / "car.txt", found)
    (sequence,) = FORMATS[layout].read(tmp_path, None)
    (ours,) = score_results(sequence, layout, tmp_path / "out").scores
    tool = experiments.ExperimentOTB.__new__(experiments.ExperimentOTB)
    tool.nbins_iou, tool.nbins_ce = 21, 51
    overlap, apart = metrics.rect_iou(found, truth), metrics.center_error(found, truth)
    success, precision = tool._calc_curves(overlap, apart)
    assert ours.values["AUC"] == pytest.approx(success.mean(), abs=1e-12)
    assert ours.values["P@20"] == pytest.approx(precision[20], abs=1e-12)


def test_got10k_report_is_its_toolkits(tmp_path):
    experiments = pytest.importorskip("got10k.experiments", reason="got10k: pip install got10k six")
    rng = np.random.default_rng(8)
    names, root, results = ["GOT-10k_Val_000001", "GOT-10k_Val_000002"], tmp_path / "data", {}
    (root / "val").mkdir(parents=True)
    (root / "val" / "list.txt").write_text("\n".join(names))
    for name in names:
        truth, found = boxes(rng, 20)
        folder = root / "val" / name
        write_images(folder, range(1, 21), (90, 120), digits=8)
        write_rows(folder / "groundtruth.txt", truth)
        (folder / "meta_info.ini").write_text("[METAINFO]\nresolution: (120, 90)\n")
        cover = rng.integers(0, 9, 20)
        for label, values in (("cover", cover), ("absence", cover == 0), ("cut_by_image", cover)):
            text = "\n".join(str(int(value)) for value in values)
            (folder / f"{label}.label").write_text(text)
        place = tmp_path / "results" / "GOT-10k" / "ours" / name
        write_rows(place / f"{name}_001.txt", found)
        write_rows(place / f"{name}_time.txt", [[0.1]] * 20)
        write_rows(tmp_path / "out" / f"{name}.txt", found)
        results[name] = found
    tool = experiments.ExperimentGOT10k(
        str(root), "val", str(tmp_path / "results"), str(tmp_path / "reports")
    )
    theirs = tool.report(["ours"])["ours"]
    row = FORMATS["got10k"]
    records = [score_results(s, "got10k", tmp_path / "out") for s in row.read(root, "val")]
    for record in records:
        (score,) = record.scores
        # A single score of SR is at 0.5.
        assert score.values["AO"] == pytest.approx(theirs["seq_wise"][record.name]["ao"], abs=1e-9)
        assert score.values["SR@0.5"] == pytest.approx(theirs["seq_wise"][record.name]["sr"])
    (total,) = combined_rows(row, records)
    assert total.score.values["AO"] == pytest.approx(theirs["overall"]["ao"], abs=1e-9)
    curve = theirs["overall"]["succ_curve"]
    assert total.score.values["SR@0.75"] == pytest.approx(curve[75])


# Poses: motmetrics, on which the benchmark's evaluation of 2018 stands, and TrackEval's HOTA.


def walkers(tmp_path):
    """Truth and results of three people who are missed, mixed up and misplaced at times."""
    images = pose_images("a", 20)
    rng = np.random.default_rng(9)
    write_json(tmp_path / "annotations" / "val" / "a.json", pose_file(3, images))
    found = pose_file(
        3, images, drop=[(3, 1), (9, 0), (10, 0)],
        track=lambda k, n: 1 - k if k < 2 and n >= 7 else k,
    )  # fmt: skip
    for person in found["annotations"]:
        joints = np.array(person["keypoints"]).reshape(17, 3)
        joints[:, :2] += rng.normal(0, 1.4, (17, 2))
        person["keypoints"] = joints.ravel().tolist()
    write_json(tmp_path / "out" / "a.json", found)
    (sequence,) = FORMATS["posetrack"].read(tmp_path, "val")
    return sequence, list(labelled_frames(sequence, tmp_path / "out" / "a.json"))


def pairs_of(frames, joint):
    """Ids and distances in head sizes of one joint, frame by frame."""
    for true, found in frames:
        here, there = true.keypoints[:, joint, 2] > 0, found.keypoints[:, joint, 2] > 0
        a, b = true.keypoints[here, joint, :2], found.keypoints[there, joint, :2]
        apart = np.linalg.norm(a[:, None].astype(float) - b[None], axis=2)
        yield true.ids[here], found.ids[there], apart / true.head_sizes[here][:, None]


def test_mota_of_joints_is_that_of_motmetrics(tmp_path):
    motmetrics = pytest.importorskip("motmetrics", reason="motmetrics: extra 'dev'")
    sequence, frames = walkers(tmp_path)
    (ours,) = score_results(sequence, "posetrack", tmp_path / "out").scores
    mota = []
    for joint, name in enumerate(POSETRACK_JOINTS):
        counted = motmetrics.MOTAccumulator(auto_id=True)
        for ids, others, apart in pairs_of(frames, joint):
            counted.update(ids, others, np.where(apart <= 0.5, apart, np.nan))
        if name not in ours.counts["joints"]:
            continue
        theirs = motmetrics.metrics.create().compute(counted, metrics=["mota", "num_switches"])
        mota.append(float(theirs["mota"].iloc[0]))
        assert ours.counts["joints"][name]["MOTA"] == pytest.approx(mota[-1], abs=1e-12)
        assert theirs["num_switches"].iloc[0] > 0
    assert ours.values["MOTA@PCKh"] == pytest.approx(np.mean(mota), abs=1e-12)
    assert 0.1 < np.mean(mota) < 0.95


def test_hota_of_joints_is_trackevals_where_nobody_is_in_doubt(tmp_path):
    """Far from one another there is one way to match, and the two definitions agree."""
    pytest.importorskip("trackeval")
    _, frames = walkers(tmp_path)
    hota, _, _ = trackeval_metrics()
    for joint in (1, 5, 15):
        pairs = [(a, b, np.maximum(0, 1 - d / 0.5001)) for a, b, d in pairs_of(frames, joint)]
        ids, others, similar = (list(part) for part in zip(*pairs, strict=True))
        theirs = hota.eval_sequence(trackeval_data(ids, others, similar))
        found, missed, wrong, together = joint_counts(pairs)
        for ours, name in (
            (found, "HOTA_TP"), (missed, "HOTA_FN"), (wrong, "HOTA_FP"), (together, "AssA")
        ):  # fmt: skip
            assert ours == pytest.approx(theirs[name], abs=1e-12), name
        assert 0.1 < together.mean() < 0.95


# PoseTrack21's HOTA of keypoints, by its definition.


def poses(ids, places, head=10.0):
    """People whose 15 joints all lie at one place."""
    keypoints = np.zeros((len(ids), 17, 3), np.float32)
    for row, (x, y, confidence) in enumerate(places):
        keypoints[row] = x, y, confidence
    return Poses(np.array(ids, np.int64), keypoints, np.full(len(ids), head))


def test_keypoint_hota_by_hand():
    """One person, ten frames, two identities of five frames each, always 0.1 heads off."""
    frames = [
        (poses([1], [(50, 50, 1)]), poses([7 if n < 5 else 8], [(51, 50, 1)])) for n in range(10)
    ]
    value, counts = keypoint_hota(frames)
    # The similarity is 1 - 0.1 / 0.5001 = 0.80004: found at the 16 limits up to 0.8.
    assert np.array(counts["found"]).tolist() == [150] * 16 + [0] * 3
    # Each of the ten pairs shares five frames of ten with its identity.
    assert counts["together"][0] == pytest.approx(0.5)
    assert value == pytest.approx(16 / 19 * np.sqrt(0.5))
    assert len(LIMITS) == 19


def test_keypoint_hota_matches_by_place_alone():
    """Two people at one place: nearest pairs are matched, whoever they were before."""
    true = poses([1, 2], [(50, 50, 1), (52, 50, 1)])
    before = [(poses([1], [(50, 50, 1)]), poses([9], [(50, 50, 1)]))] * 20
    # 9 was always 1, and is nearer to 2 now.
    frames = [*before, (true, poses([9], [(51.5, 50, 1)]))]
    _, counts = keypoint_hota(frames)
    assert counts["found"][0] == 15 * 21
    assert counts["together"][0] == pytest.approx((20 * 20 / 22 + 1 / 21) / 21)


def test_hidden_joints_of_the_truth_count_and_unsure_ones_that_are_found_do_not():
    hidden = poses([1], [(50, 50, 0)])
    value, counts = keypoint_hota([(hidden, poses([7], [(50, 50, 1)]))])
    assert (value, counts["found"][0]) == (1, 15)
    value, counts = keypoint_hota([(hidden, poses([7], [(50, 50, 0)]))])
    assert (value, counts["missed"][0], counts["wrong"][0]) == (0, 15, 0)
    nowhere, _ = keypoint_hota([(poses([1], [(0, 0, 0)]), poses([7], [(50, 50, 1)]))])
    assert nowhere == 0


def test_keypoint_hota_of_several_sequences_weighs_associations_by_what_is_found():
    right = [(poses([1], [(50, 50, 1)]), poses([7], [(50, 50, 1)]))]
    missed = [(poses([1], [(50, 50, 1)]), poses([], []))]
    split = [(poses([1], [(50, 50, 1)]), poses([k], [(50, 50, 1)])) for k in (7, 8)]
    counts = [keypoint_hota(frames)[1] for frames in (right * 4, missed * 2, split)]
    # Found 6 of 8; the associations of four are whole, and of two a half.
    assert combined_hota(counts) == pytest.approx(np.sqrt(6 / 8 * (4 * 1 + 2 * 0.5) / 6))


# PoseTrack21's mAP of keypoints, by its definition.


def map_of(*sequences):
    return keypoint_map([keypoint_counts(frames) for frames in sequences])


def test_keypoint_map_by_hand():
    """Two people, one found surely, one not found, and a pose of nobody that is surer still."""
    true = poses([1, 2], [(50, 50, 1), (200, 50, 1)])
    found = poses([7, 8], [(52, 50, 0.6), (400, 50, 0.9)])
    # From 0.9 on: nothing right. From 0.6 on: half of the joints, half of what was found.
    assert map_of([(true, found)]) == pytest.approx(0.5 * 0.5)
    less_sure = poses([7, 8], [(52, 50, 0.6), (400, 50, 0.5)])
    assert map_of([(true, less_sure)]) == pytest.approx(0.5)
    assert map_of([(true, true)]) == 1
    assert map_of([(true, poses([], []))]) == 0


@pytest.mark.parametrize(("off", "right"), [(4.99, 1), (5, 1), (5.01, 0)])
def test_keypoint_map_is_within_half_a_head(off, right):
    frames = [(poses([1], [(50, 50, 1)]), poses([7], [(50 + off, 50, 1)]))]
    assert map_of(frames) == right


def test_keypoint_map_gives_a_true_pose_one_found_pose_and_knows_no_identity():
    true = poses([1], [(50, 50, 1)])
    twice = poses([7, 8], [(51, 50, 0.5), (52, 50, 0.9)])
    # Both agree in all joints; the first one is it, the surer one is wrong.
    assert map_of([(true, twice)]) == pytest.approx(0.5)
    changing = [(true, poses([n], [(50, 50, 1)])) for n in range(9)]
    assert map_of(changing) == 1


def test_keypoint_map_does_not_depend_on_the_order_of_equal_confidences():
    true = poses([1, 2], [(50, 50, 1), (200, 50, 1)])
    places = [(50, 50, 1), (400, 50, 1), (200, 50, 1)]
    for order in ([0, 1, 2], [1, 0, 2], [0, 2, 1]):
        found = poses([7, 8, 9], [places[k] for k in order])
        assert map_of([(true, found)]) == pytest.approx(2 / 3)


def test_keypoint_map_of_several_sequences_is_one_curve():
    """A wrong joint of one sequence stands before a right one of the other."""
    right = [(poses([1], [(50, 50, 1)]), poses([7], [(50, 50, 0.5)]))]
    wrong = [(poses([1], [(50, 50, 1)]), poses([7], [(90, 50, 0.9)]))]
    assert map_of(right) == 1
    assert map_of(right, wrong) == pytest.approx(0.5 * 0.5)


@pytest.mark.parametrize("seed", range(20))
def test_keypoint_map_against_the_definition(seed):
    """Crowds in which poses and joints lack, lie at another's, and are sure by a tenth alone."""
    rng = np.random.default_rng(seed)

    def crowd(people, off=0.0):
        keypoints = np.zeros((len(people), 17, 3), np.float32)
        for row, place in enumerate(people):
            joints = place + np.arange(17)[:, None] * [3, 5] + rng.normal(0, off, (17, 2))
            keypoints[row, :, :2] = np.maximum(joints, 1)
            keypoints[row, :, 2] = rng.integers(0, 11, 17) / 10
            keypoints[row, rng.random(17) < 0.2] = 0
        return Poses(np.arange(len(people)), keypoints, rng.uniform(8, 20, len(people)))

    frames = []
    for _ in range(6):
        places = rng.uniform(10, 60, (rng.integers(0, 4), 2))
        kept = places[rng.random(len(places)) < 0.8]
        found = [*kept, *rng.uniform(10, 60, (rng.integers(0, 3), 2))]
        frames.append((crowd(places), crowd(found, 3)))
    plain = [
        (
            list(zip(a.keypoints.tolist(), a.head_sizes.tolist(), strict=True)),
            b.keypoints.tolist(),
        )
        for a, b in frames
    ]
    expected = mean_ap(plain)
    assert map_of(frames) == pytest.approx(expected, abs=1e-12)
    assert map_of(frames[:3], frames[3:]) == pytest.approx(expected, abs=1e-12)
    assert seed > 3 or 0.01 < expected < 0.9
