"""`cli calibrate` of detectors: what counts as agreement, what is written, and what is refused."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx", reason="extra 'calibrate'")
pytest.importorskip("onnxruntime", reason="extra 'calibrate'")
pytest.importorskip("matplotlib", reason="extra 'calibrate'")

import onnx
import onnxruntime
from unitrack_edge.calibration.layers import layers_of, with_own_names
from unitrack_edge.calibration.search import DetectionJudge
from unitrack_edge.errors import BackendError, BuildError, CalibrationError
from unitrack_edge.export.detectors.onnx_graph import OnnxGraph
from unitrack_edge.export.tensorrt.builder import BuildOptions, build_engine
from unitrack_edge.export.tensorrt.writer import EngineRequest, build_engines
from unitrack_edge.records import Frame
from unitrack_edge.runtime.bundle.bundle import Bundle
from unitrack_edge.runtime.detectors.decoded import DetectorFacts
from unitrack_edge.runtime.detectors.model import open_model
from unitrack_edge.runtime.inference.registry import BACKENDS, open_backend
from unitrack_edge.runtime.inference.tensorrt.library import load_library

from ..support.command_line import run_cli
from ..support.models.calibration_bundle import make_image, write_images
from ..support.models.calibration_detector import squares, write_detector_of_squares

NO_RTX = importlib.util.find_spec("tensorrt_rtx_libs") is None
IMAGE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_images(
        tmp_path_factory.mktemp("frames") / "clip", [squares(seed) for seed in range(24)]
    )


@pytest.fixture
def bundle(tmp_path):
    return write_detector_of_squares(tmp_path / "squares")


def run(bundle, clip, *more, status=0):
    return run_cli("calibrate", bundle.path, "--frames", clip, "--count", 24, *more, status=status)


# What is compared.


def answer(boxes, scores, classes=None, joints=None, masks=None):
    """A graph that finds the same in every image."""
    graph = OnnxGraph("answer")
    image = graph.input("image", "uint8", (1, 64, 64, 3))
    seen = graph.add("ReduceMax", graph.cast(image, "float32"), keepdims=0)
    nothing = graph.add("Mul", seen, graph.constant(0.0, "float32"))
    given = {"boxes": boxes, "scores": scores, "keypoints": joints, "masks": masks}
    for name, values in given.items():
        if values is None:
            continue
        array = np.asarray(values, np.float32)
        tensor = graph.add("Add", graph.constant(array), nothing)
        graph.output(tensor, name, "float32", array.shape)
    labels = np.asarray([0] * len(scores) if classes is None else classes, np.int64)
    zero = graph.cast(nothing, "int64")
    graph.output(graph.add("Add", graph.constant(labels), zero), "classes", "int64", labels.shape)
    return graph.model()


def judged(expected, other, **facts):
    known = DetectorFacts("answer", ("a", "b"), confidence=0.3, **facts)
    return DetectionJudge(expected, [IMAGE, IMAGE], known).compare(other)


BOXES = [[0, 0, 20, 20], [30, 30, 50, 50]]


def test_the_same_detections_agree_wholly():
    seen = judged(answer(BOXES, [0.8, 0.5]), answer(BOXES[::-1], [0.5, 0.8]))
    assert seen.agreement == pytest.approx(1)
    assert (seen.objects, seen.lost, seen.added, seen.score) == (4, 0, 0, 0)


def test_agreement_by_its_definition():
    """A box of IoU 0.8 and a lower score; one lost; one added; and a weak one, which is nothing."""
    other = [[0, 0, 20, 16], [5, 40, 15, 60], [52, 0, 60, 8]]
    seen = judged(answer(BOXES, [0.8, 0.5]), answer(other, [0.6, 0.4, 0.2]))
    assert seen.agreement == pytest.approx(0.6 * 0.8 / (0.8 + 0.5 + 0.4), rel=1e-6)
    assert (seen.objects, seen.lost, seen.added) == (4, 2, 2)
    assert (seen.iou, seen.score) == (pytest.approx(0.8), pytest.approx(-0.2))


def test_what_falls_just_below_the_threshold_is_still_the_same_object():
    seen = judged(answer(BOXES, [0.8, 0.31]), answer(BOXES, [0.8, 0.29]))
    assert seen.agreement == pytest.approx((0.8 + 0.29) / (0.8 + 0.31))
    assert seen.lost == 0


def test_another_class_is_another_object():
    seen = judged(answer(BOXES, [0.8, 0.5]), answer(BOXES, [0.8, 0.5], [0, 1]))
    assert seen.agreement == pytest.approx(0.8 / (0.8 + 0.5 + 0.5))


def test_joints_count():
    """All joints moved by 2 px in boxes of 20 × 20: exp(-4 / (2 · 0.01 · 400)) of the agreement."""
    joints = np.concatenate([np.full((2, 17, 2), 10.0), np.ones((2, 17, 1))], axis=2)
    moved = joints + np.array([2, 0, 0])
    sides = [answer(BOXES, [0.8, 0.5], joints=places) for places in (joints, moved)]
    seen = judged(*sides, joints="coco17")
    assert seen.agreement == pytest.approx(np.exp(-0.5), rel=1e-5)
    assert (seen.joints_px, seen.mask_iou) == (pytest.approx(2), None)


def test_masks_count():
    """Of the first object 3/4 of the mask is left; of the second, which shows none, nothing more.

    What a mask shows outside its box is cut off, as the runtime does.
    """
    masks = np.zeros((2, 64, 64))
    masks[0, :20, :20] = 1
    moved = masks.copy()
    moved[0, 15:20] = 0
    moved[0, 40:, 40:] = 1
    sides = [answer(BOXES, [0.8, 0.5], masks=values) for values in (masks, moved)]
    seen = judged(*sides)
    assert seen.agreement == pytest.approx((0.75 * 0.8 + 0.5) / 1.3)
    assert (seen.mask_iou, seen.joints_px) == (pytest.approx(0.875), None)


def test_overlapping_boxes_are_one_object():
    twice = answer([*BOXES, [0, 0, 20, 19]], [0.8, 0.5, 0.7])
    assert judged(answer(BOXES, [0.8, 0.5]), twice).agreement == pytest.approx(1)


def test_nothing_to_compare():
    with pytest.raises(CalibrationError, match="finds nothing in the 2 held-out frames"):
        judged(answer(BOXES, [0.2, 0.1]), answer(BOXES, [0.8, 0.5]))


def test_layers_without_names_and_with_shared_weights():
    """A head that looks at two scales with the same weights, in a file without names of nodes."""
    graph = OnnxGraph("shared")
    image = graph.cast(graph.input("image", "uint8", (1, 3, 8, 8)), "float32")
    kernel = graph.constant(np.ones((3, 3, 1, 1)), "float32", name="head.weight")
    bias = graph.constant([1, 2, 3], "float32", name="head.bias")
    one = graph.add("Conv", image, kernel, bias)
    two = graph.add("Conv", one, kernel, bias)
    graph.output(two, "out", "float32", (1, 3, 8, 8))
    model = graph.model()
    for node in model.graph.node:
        node.name = ""
    named = with_own_names(model)
    onnx.checker.check_model(named)
    names = [node.name for node in named.graph.node]
    assert "" not in names
    assert len(set(names)) == len(names)
    first, second = layers_of(named)
    assert (first.weight, second.weight) == ("head.weight", "head.weight_2")
    assert first.name != second.name
    assert first.bias != second.bias
    arrays = {t.name: onnx.numpy_helper.to_array(t) for t in named.graph.initializer}
    np.testing.assert_array_equal(arrays[first.bias], arrays[second.bias])
    assert [node.name for node in model.graph.node] == [""] * len(names)


# What is written.


def test_the_bundle_and_its_report(bundle, clip, tmp_path):
    said = run(bundle, clip)
    made = Bundle.load(tmp_path / "squares-int8")
    assert f"bundle written: {made.path}" in said
    assert "detections: agreement 0.9" in said
    assert "the effect on accuracy was not measured" in said
    assert (made.spec.kind, made.spec.precision) == ("detector", "int8")
    # Of the input of `colours`, int8 leaves nothing but brightness.
    facts = made.spec.quantization
    assert facts["float_layers"] == ["stem", "colours"]
    assert made.graph("detector").fp32_nodes == ("node_stem", "node_colours")
    assert made.spec.detector == bundle.spec.detector
    data = json.loads((made.path / "report.json").read_text("utf-8"))
    assert data["detector"] == "squares"
    assert data["detections"]["agreement"] == facts["agreement"] >= 0.85
    assert data["detections"]["objects"] == 3 * 4
    text = (made.path / "report.md").read_text("utf-8")
    assert "| agreement of detections, held-out frames | 0.9" in text
    assert "| objects of the float detector | 12; 0 of them lost, 0 added |" in text
    assert cv2.imread(str(made.path / "drift.png")) is not None


def test_the_report_says_what_the_detector_does(bundle, clip, tmp_path):
    """Scores and boxes as the runtime finds them in the held-out frames, by the definition."""
    run(bundle, clip, "--min-agreement", 0, "--keep-float", "last")
    made = Bundle.load(tmp_path / "squares-int8")
    data = json.loads((made.path / "report.json").read_text("utf-8"))
    assert data["float_layers"] == ["stem", "last"]
    held = [int(name.rpartition("#")[2]) for name in data["frames"]["names"]][4::8]
    kept = of = 0.0
    with open_model(bundle.path, threads=1) as before, open_model(made.path, threads=1) as after:
        for number in held:
            frame = Frame(0, 0.0, cv2.imread(str(clip / f"{number:03d}.png")))
            one, other = (detector.detect(frame) for detector in (before, after))
            centres = [(d.boxes_xyxy[:, :2] + d.boxes_xyxy[:, 2:]) / 2 for d in (one, other)]
            for row, box in enumerate(one.boxes_xyxy):
                # Objects lie in cells of their own.
                (column,) = np.flatnonzero(np.abs(centres[1] - centres[0][row]).max(axis=1) < 1)
                moved = other.boxes_xyxy[column]
                both = np.minimum(box, moved)[2:] - np.maximum(box, moved)[:2]
                inner = np.maximum(both, 0).prod()
                sides = [(b[2:] - b[:2]).prod() for b in (box, moved)]
                iou = inner / (sum(sides) - inner)
                scores = float(one.scores[row]), float(other.scores[column])
                same = iou >= 0.5
                kept += min(scores) * iou if same else 0
                of += max(scores) if same else sum(scores)
    assert data["detections"]["agreement"] == pytest.approx(kept / of, abs=1e-5)
    assert data["detections"]["agreement"] < 0.5


def test_the_result_is_served_as_any_bundle(bundle, clip, tmp_path):
    run(bundle, clip)
    made = tmp_path / "squares-int8"
    assert "detector squares int8" in run_cli("doctor", made)
    more = ("--frames", clip, "--count", 4, "--backend", "cpu", "--threads", 1, "--json")
    data = json.loads(run_cli("parity", made, "--against", bundle.path, *more))
    assert data["passed"]
    assert data["backends"][0]["objects"] == 16
    more = ("--source", clip, "--rounds", 2, "--frames", 2, "--backend", "cpu", "--json")
    data = json.loads(run_cli("bench", made, "--against", bundle.path, *more))
    assert [row["name"] for row in data["detectors"]] == ["squares-int8 cpu", "squares cpu"]
    assert "is int8 already" in run_cli("calibrate", made, "--frames", clip, status=1)


@pytest.mark.skipif(NO_RTX, reason="tensorrt-rtx is not installed: extra 'dev'")
def test_its_engine_is_int8_where_the_bundle_says_so(bundle, clip, tmp_path):
    run(bundle, clip)
    made = Bundle.load(tmp_path / "squares-int8")
    graph = made.graph("detector")
    path, options = made.path / graph.file, BuildOptions("sm86")
    built = build_engine(load_library("tensorrt-rtx"), path, graph, "int8", (), options)
    assert built.products == {"float32": 2, "int8": 2}


def test_a_bundle_for_cpus_computes_in_whole_numbers(bundle, clip, tmp_path):
    said = run(bundle, clip, "--target", "cpu")
    assert "which does not compute in int8" not in said
    made = Bundle.load(tmp_path / "squares-int8")
    assert made.spec.quantization["target"] == "cpu"
    assert "computes in whole numbers" in (made.path / "report.md").read_text("utf-8")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "as_run.onnx")
    onnxruntime.InferenceSession(str(made.path / "detector.onnx"), options)
    run_as = Counter(node.op_type for node in onnx.load(tmp_path / "as_run.onnx").graph.node)
    assert run_as["QLinearConv"] == 4 - len(made.spec.quantization["float_layers"]) > 0
    # A Relu that were not part of its convolution would cost as much again.
    assert run_as["Relu"] == 0


def test_a_bundle_for_cpus_runs_nowhere_else(bundle, clip, tmp_path):
    run(bundle, clip, "--target", "cpu")
    made = Bundle.load(tmp_path / "squares-int8")
    for name in ("cuda", "ort-tensorrt"):
        with pytest.raises(BackendError, match="int8 for CPUs: use --backend cpu"):
            open_backend(name).open(made, "detector")
    with pytest.raises(BuildError, match="make one with `cli calibrate --target gpu`"):
        build_engines(made, EngineRequest("tensorrt-rtx"))
    assert run_cli("doctor", made.path).count("the bundle is int8 for CPUs") == len(BACKENDS) - 1


# Accuracy with truth.


@pytest.fixture
def truth(bundle, clip, tmp_path):
    """A COCO file whose objects are what the float detector finds."""
    images, rows = [], []
    with open_model(bundle.path, threads=1) as detector:
        for number in range(4):
            name = f"{number:03d}.png"
            images.append({"id": number, "file_name": str(clip / name)})
            seen = detector.detect(Frame(0, 0.0, cv2.imread(str(clip / name))))
            for left, top, right, bottom in seen.boxes_xyxy.tolist():
                box = [left, top, right - left, bottom - top]
                row = {"id": len(rows), "image_id": number, "category_id": 1, "bbox": box}
                rows.append(row)
    categories = [{"id": 1, "name": "square"}]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return path


def test_accuracy_is_measured_where_the_truth_is_given(bundle, clip, truth, tmp_path):
    said = run(bundle, clip, "--validate", f"coco:{truth}")
    assert "AP50 1.000 → 1.000" in said
    data = json.loads((tmp_path / "squares-int8" / "report.json").read_text("utf-8"))
    assert data["validation"][0]["before"]["AP50"] == 1
    text = (tmp_path / "squares-int8" / "report.md").read_text("utf-8")
    assert "| truth | 4 | AP50 1.000 → 1.000" in text


def test_a_detector_that_lost_too_much_is_not_written(bundle, clip, truth, tmp_path):
    said = run(bundle, clip, "--min-agreement", 0, "--validate", truth, status=1)
    assert "truth: AP50 falls from 1.000 to 0." in said
    assert "by more than --max-drop 0.01" in said
    assert "the layers that hurt most are colours" in said
    assert not (tmp_path / "squares-int8").exists()


# What is refused.


def test_footage_without_objects(bundle, tmp_path):
    dark = [make_image(seed, 64, 64) // 12 for seed in range(16)]
    said = run(bundle, write_images(tmp_path / "dark", dark), status=1)
    assert "the float detector finds nothing in the 2 held-out frames" in said


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["--min-agreement", "0.99999"], 1, "no layer can be int8 with an agreement of detections"),
        (["--keep-float", "layer9"], 2, "--keep-float layer9: there is no such layer"),
        (["--validate", "nowhere"], 1, "--validate nowhere: there is no such file or folder"),
    ],
)
def test_requests_that_cannot_be_met(bundle, clip, tmp_path, arguments, status, part):
    assert part in run(bundle, clip, *arguments, status=status)
    assert not (tmp_path / "squares-int8").exists()
