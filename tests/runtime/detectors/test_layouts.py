"""Every layout that `--detector` recognises: a small graph of it, with two known objects."""

from __future__ import annotations

import re

import numpy as np
import pytest
from unitrack_edge.errors import BackendError, DetectionError, RequestError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.detectors.classes import COCO_91, COCO_NAMES
from unitrack_edge.runtime.detectors.layouts.table import LAYOUTS
from unitrack_edge.runtime.detectors.layouts.yolo import grid_cells
from unitrack_edge.runtime.detectors.model import MOST_CANDIDATES, open_model, what_it_finds
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.detectors.recognition import ModelSettings

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402

from ...support.models.detector_graphs import write_detector  # noqa: E402
from ...support.models.detector_layouts import (  # noqa: E402
    BOXES,
    CASES,
    CELLS,
    SCORES,
    SIDE,
    SOURCE_HW,
    check,
    f32,
    frame,
    network_boxes,
    seen_by,
    written,
)


@pytest.mark.parametrize("case", CASES)
def test_the_two_objects_are_found(tmp_path, case):
    path = written(tmp_path, case)
    detector, seen = seen_by(path)
    name = case.split()[0]
    assert detector.recognised.layout.name == name
    assert detector.descriptions[0].startswith(f"--detector {path}: recognised as {name}: boxes")
    check(case, seen)
    finds = {"boxes"} | ({"keypoints"} if seen.keypoints is not None else set())
    assert what_it_finds(path) == finds | ({"masks"} if seen.masks is not None else set())
    # What is named is what would have been recognised.
    check(case, seen_by(path, layout=name)[1])


@pytest.mark.parametrize("case", CASES)
def test_shapes_that_the_file_leaves_open_are_seen_at_the_first_image(tmp_path, case):
    make, _ = CASES[case]
    shapes = {name: [f"{name}{axis}" for axis in range(a.ndim)] for name, a in make().items()}
    detector, seen = seen_by(written(tmp_path, case, shapes=shapes))
    assert detector.recognised.layout.name == case.split()[0]
    check(case, seen)


@pytest.mark.parametrize("case", ["yolov8", "yolov5-seg", "detr", "torchvision"])
def test_half_precision_is_taken_as_it_is(tmp_path, case):
    make, inputs = CASES[case]
    outputs = {
        name: a.astype(np.float16) if a.dtype == np.float32 else a for name, a in make().items()
    }
    path = write_detector(tmp_path / "m.onnx", outputs, **{**inputs, "dtype": "float16"})
    _, seen = seen_by(path)
    # float16 has 11 bits: half a unit of 64 pixels is 1/32, of a source pixel twice that.
    np.testing.assert_allclose(seen.boxes_xyxy, BOXES, atol=0.26)
    np.testing.assert_allclose(seen.scores, SCORES, atol=2e-3)


def test_every_layout_has_a_case():
    assert {case.split()[0] for case in CASES} | {"decoded"} == set(LAYOUTS)


# What the network is shown.


def looker(path, *, dtype="float32", shape=(1, 3, SIDE, SIDE), picks):
    """An end-to-end detector whose scores are the image's values at `picks`, a hundredth each."""
    rows = np.zeros((1, 300, 6), np.float32)
    rows[0, : len(picks), :4] = [0, 10, 20, 30]
    rows[0, : len(picks), 5] = np.arange(len(picks))
    constants = {
        "picks": np.array(picks, np.int64),
        "hundred": np.float32(100),
        "two": np.float32(2),
        "rows": rows,
        "where": np.array([[0, n, 4] for n in range(len(picks))], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("GatherND", ["floats", "picks"], ["values"]),
        helper.make_node("Add", ["values", "hundred"], ["raised"]),
        helper.make_node("Div", ["raised", "hundred"], ["scores"]),
        helper.make_node("ScatterND", ["rows", "where", "scores"], ["output0"]),
    ]
    code = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        nodes,
        "looker",
        [helper.make_tensor_value_info("images", code, shape)],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, rows.shape)],
        [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))
    return path


BLUE, GREEN, RED = 204, 102, 51
COLOURS = {
    "rgb-1": (RED / 255, GREEN / 255, BLUE / 255),
    "bgr-1": (BLUE / 255, GREEN / 255, RED / 255),
    "rgb-255": (RED, GREEN, BLUE),
    "bgr-255": (BLUE, GREEN, RED),
    "rgb-imagenet": ((RED - 123.675) / 58.395, (GREEN - 116.28) / 57.12, (BLUE - 103.53) / 57.375),
    "bgr-imagenet": ((BLUE - 103.53) / 57.375, (GREEN - 116.28) / 57.12, (RED - 123.675) / 58.395),
}


def values_seen(path, picks, **settings):
    image = np.zeros((*SOURCE_HW, 3), np.uint8)
    image[...] = BLUE, GREEN, RED
    with open_model(path, ModelSettings(confidence=0, nms_limit=1, **settings)) as detector:
        seen = detector.detect(Frame(0, 0.0, image))
    values = np.full(len(picks), np.nan)
    values[seen.classes] = seen.scores * 100 - 100
    return values


@pytest.mark.parametrize("normalise", COLOURS)
def test_the_network_is_given_what_was_asked_for(tmp_path, normalise):
    picks = [[0, channel, 30, 30] for channel in range(3)]
    path = looker(tmp_path / "m.onnx", picks=picks)
    # A hundredth of a score of up to 3.6: a unit of its last place is 2.4e-7.
    got = values_seen(path, picks, normalise=normalise)
    np.testing.assert_allclose(got, COLOURS[normalise], atol=1e-4)
    if normalise == "rgb-1":
        np.testing.assert_array_equal(values_seen(path, picks), got)


def test_an_image_in_the_middle_has_grey_above_and_below(tmp_path):
    picks = [[0, 0, row, 5] for row in (0, 7, 8, 55, 56, 63)]
    path = looker(tmp_path / "m.onnx", picks=picks)
    got = values_seen(path, picks)
    grey, red = 114 / 255, RED / 255
    np.testing.assert_allclose(got, [grey, grey, red, red, grey, grey], atol=1e-4)


def test_whole_numbers_are_0_to_255_and_channels_may_come_last(tmp_path):
    picks = [[0, 30, 30, channel] for channel in range(3)]
    path = looker(tmp_path / "m.onnx", dtype="uint8", shape=(1, SIDE, SIDE, 3), picks=picks)
    np.testing.assert_allclose(values_seen(path, picks), (RED, GREEN, BLUE), atol=1e-4)


# Sizes, names, classes.


def test_the_size_of_an_open_image(tmp_path):
    open_shape = ("batch", 3, "height", "width")
    path = written(tmp_path, "yolov8", input_shape=open_shape)
    with pytest.raises(DetectionError, match="is of no known layout"):
        seen_by(path)  # 84 cells are not those of 640×640
    check("yolov8", seen_by(path, size_hw=(SIDE, SIDE))[1])
    path = written(tmp_path, "yolov8", input_shape=open_shape, metadata={"imgsz": "[64, 64]"})
    check("yolov8", seen_by(path)[1])
    path = written(tmp_path, "yolov8", input_shape=(1, 3, SIDE, SIDE))
    with pytest.raises(RequestError, match="was exported for 64x64, got 96x64"):
        seen_by(path, size_hw=(96, 64))
    # TorchVision's models scale the image themselves: they get it as it is.
    path = written(tmp_path, "torchvision", input_shape=(3, "height", "width"))
    np.testing.assert_allclose(seen_by(path)[1].boxes_xyxy, network_boxes("corner")[:2], atol=1e-4)
    everything = written(tmp_path, "yolov8", input_shape=("a", "b", "c", "d"))
    check("yolov8", seen_by(everything, size_hw=(SIDE, SIDE))[1])


def test_names_come_from_the_file_or_are_cocos(tmp_path):
    def names(case, **settings):
        return seen_by(case, **settings)[0].class_names

    stored = {"names": "{0: 'cat', 1: 'dog', 2: \"driver's cab\"}"}
    assert names(written(tmp_path, "yolov8", metadata=stored)) == ("cat", "dog", "driver's cab")
    assert names(written(tmp_path, "end2end", metadata=stored)) == ("cat", "dog", "driver's cab")
    assert names(written(tmp_path, "yolov8")) == ("", "", "")
    assert names(written(tmp_path, "end2end")) is None
    assert names(written(tmp_path, "detr")) == COCO_NAMES
    assert names(written(tmp_path, "rf-detr")) == COCO_91
    assert names(written(tmp_path, "rtmo")) == ("person",)
    for damaged in ("{0: 'cat'}", "{", "{'a': 1}", "3", "[1"):
        assert names(written(tmp_path, "yolov8", metadata={"names": damaged})) == ("", "", "")
    path = written(tmp_path, "yolov8", metadata=stored)
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    (tmp_path / "data.yaml").write_text("path: x\nnames:\n  0: u\n  1: v\n  2: w\n")
    (tmp_path / "names.json").write_text('["x", "y", "z"]')
    assert names(path, names=tmp_path / "names.txt") == ("a", "b", "c")
    assert names(path, names=tmp_path / "data.yaml") == ("u", "v", "w")
    assert names(path, names=tmp_path / "names.json") == ("x", "y", "z")
    (tmp_path / "windows.txt").write_text("ä\nb\nc\n", encoding="utf-16")
    assert names(path, names=tmp_path / "windows.txt") == ("ä", "b", "c")


def test_names_files_that_do_not_fit(tmp_path):
    path = written(tmp_path, "yolov8")
    file = tmp_path / "names.txt"
    file.write_text("a\nb\n")
    with pytest.raises(DetectionError, match=r"got 2 names, and the model has 3 classes"):
        seen_by(path, names=file)
    for name, text in (
        ("e.txt", "\n"),
        ("e.yaml", "names: 3"),
        ("e.json", "{"),
        ("f.yaml", ":\n:"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DetectionError, match="got no names"):
            seen_by(path, names=tmp_path / name)
    with pytest.raises(DetectionError, match="cannot be read: No such file"):
        seen_by(path, names=tmp_path / "absent.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(DetectionError, match="not UTF-8"):
        seen_by(path, names=tmp_path / "b.txt")


def test_classes_by_name(tmp_path):
    def classes(path, **settings):
        with open_detector(detector=str(path), threads=1, **settings) as detector:
            return detector.detect(frame()).classes.tolist()

    path = written(tmp_path, "detr")
    assert classes(path, classes=("car",)) == [2]
    assert classes(path, classes=("Person", 2)) == [2, 0]
    with pytest.raises(RequestError, match=r"got 'cars', but the detector has person, "):
        classes(path, classes=("cars",))
    with pytest.raises(RequestError, match="got '80', but the detector has person"):
        classes(path, classes=(80,))
    # By category id, people are number 1.
    assert classes(written(tmp_path, "rf-detr"), classes=("person",)) == []
    path = written(tmp_path, "yolov8")
    with pytest.raises(RequestError, match="does not name its classes: give numbers"):
        classes(path, classes=("car",))
    assert COCO_91[1] == "person"
    assert COCO_91[90] == "toothbrush"
    assert tuple(name for name in COCO_91 if name) == COCO_NAMES


# What is refused, and what is too much.


def test_an_unknown_layout_lists_tensors_and_layouts(tmp_path):
    path = write_detector(tmp_path / "m.onnx", {"out": np.zeros((1, 7), np.float32)})
    with pytest.raises(DetectionError) as caught:
        seen_by(path)
    said = str(caught.value)
    assert "got images float32 (1, 3, 64, 64) to out float32 (1, 7)" in said
    assert all(name in said for name in LAYOUTS)
    assert "--detector-layout" in said
    assert "\n" not in said
    with pytest.raises(
        DetectionError, match=r"is not of --detector-layout yolov8: .* 4 \+ classes"
    ):
        seen_by(path, layout="yolov8")
    with pytest.raises(
        RequestError, match="--detector-layout yolo: expected one of decoded, yolox"
    ):
        seen_by(path, layout="yolo")
    with pytest.raises(RequestError, match="--detector-normalise grey: expected one of rgb-1"):
        seen_by(path, normalise="grey")


@pytest.mark.parametrize(
    ("inputs", "shown"),
    [
        ({"scale_factor": ("float32", (1, 2))}, "scale_factor float32"),
        ({"images2": ("float32", (1, 3, SIDE, SIDE))}, "images2 float32"),
        ({"input_shape": (2, 3, SIDE, SIDE)}, r"images float32 \(2, 3, 64, 64\)"),
        ({"input_shape": (1, 1, SIDE, SIDE)}, r"images float32 \(1, 1, 64, 64\)"),
        ({"input_shape": (1, 3 * SIDE * SIDE)}, r"images float32 \(1, 12288\)"),
        ({"dtype": "float64"}, "images float64"),
    ],
)
def test_inputs_that_are_no_image(tmp_path, inputs, shown):
    with pytest.raises(DetectionError, match=f"is of no known layout: got .*{shown}"):
        seen_by(written(tmp_path, "yolov8", **inputs))


def test_poses_of_other_joints_are_not_taken_for_classes(tmp_path):
    rows = np.zeros((1, 5 + 21 * 3, CELLS), np.float32)
    stored = {"task": "pose", "kpt_shape": "[21, 3]"}
    path = write_detector(tmp_path / "m.onnx", {"output0": rows}, metadata=stored)
    with pytest.raises(DetectionError, match="is of no known layout"):
        seen_by(path)


def test_fifty_two_classes_are_no_pose_where_the_file_says_so(tmp_path):
    rows = np.zeros((1, 56, CELLS), np.float32)
    path = write_detector(tmp_path / "m.onnx", {"output0": rows}, metadata={"task": "detect"})
    assert seen_by(path)[0].recognised.layout.name == "yolov8"
    path = write_detector(tmp_path / "m.onnx", {"output0": rows})
    assert seen_by(path)[0].recognised.layout.name == "yolov8-pose"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_errors(tmp_path, case, value):
    make, inputs = CASES[case]
    outputs = make()
    spoiled = next(name for name, array in outputs.items() if array.dtype == np.float32)
    outputs[spoiled].flat[0] = value
    path = write_detector(tmp_path / "m.onnx", outputs, **inputs)
    with pytest.raises(DetectionError, match="NaN or infinite values for frame 0"):
        seen_by(path)


def test_a_plugin_for_suppression_is_named(tmp_path):
    nodes = [
        helper.make_node("EfficientNMS_TRT", ["images"], ["num", "boxes"], domain="TRT", name="nms")
    ]
    graph = helper.make_graph(
        nodes,
        "plugin",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, SIDE, SIDE))],
        [helper.make_tensor_value_info("boxes", TensorProto.FLOAT, (1, 100, 4))],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    with pytest.raises(
        BackendError, match=r"only a plugin of TensorRT runs: .*without NMS"
    ) as caught:
        seen_by(path)
    assert "\n" not in str(caught.value)


def test_a_hundred_thousand_candidates_are_bounded(tmp_path):
    generator = np.random.default_rng(0)
    count = 100_000
    corners = generator.uniform(0, 50, (count, 2))
    scores = generator.uniform(0.5, 1, count).astype(np.float32)
    outputs = {
        "boxes": f32(np.concatenate([corners, corners + 1], axis=1)),
        "labels": np.zeros(count, np.int64),
        "scores": scores,
    }
    path = write_detector(tmp_path / "m.onnx", outputs)
    with open_model(path, ModelSettings(nms_limit=1.0), threads=1) as detector:
        seen = detector.detect(frame())
        assert len(seen) <= MOST_CANDIDATES
        assert seen.scores.min() >= np.sort(scores)[-MOST_CANDIDATES]
        (note,) = detector.notes()
    assert re.search(r"more than 2000 candidates in 1 frames", note)


# One real network in all its layouts.


@pytest.fixture(scope="module")
def nano_layouts(shared_models, tmp_path_factory):
    """YOLOX-nano, and the same network with decoded outputs, in three layouts of Ultralytics."""
    model = onnx.load(str(shared_models / "yolox_nano.onnx"))
    folder = tmp_path_factory.mktemp("nano")
    output = model.graph.output[0]
    raw, cells = output.name, grid_cells((416, 416))
    constants = {
        "cells_xy": cells[None, :, :2],
        "strides": cells[None, :, 2:],
        "half": np.float32(0.5),
        "best": np.array([300], np.int64),
    }
    nodes = [
        helper.make_node(
            "Split", [raw], ["xy", "wh", "sure", "classes"], axis=2, split=[2, 2, 1, 80]
        ),
        helper.make_node("Add", ["xy", "cells_xy"], ["in_cells"]),
        helper.make_node("Mul", ["in_cells", "strides"], ["centre"]),
        helper.make_node("Exp", ["wh"], ["in_strides"]),
        helper.make_node("Mul", ["in_strides", "strides"], ["sides"]),
        helper.make_node("Concat", ["centre", "sides", "sure", "classes"], ["v5"], axis=2),
        helper.make_node("Mul", ["sure", "classes"], ["scores"]),
        helper.make_node("Concat", ["centre", "sides", "scores"], ["rows"], axis=2),
        helper.make_node("Transpose", ["rows"], ["v8"], perm=[0, 2, 1]),
        helper.make_node("ReduceMax", ["scores"], ["best_score"], axes=[2], keepdims=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=2, keepdims=1),
        helper.make_node("Cast", ["label"], ["label_f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sides", "half"], ["halves"]),
        helper.make_node("Sub", ["centre", "halves"], ["low"]),
        helper.make_node("Add", ["centre", "halves"], ["high"]),
        helper.make_node("Concat", ["low", "high", "best_score", "label_f"], ["all"], axis=2),
        helper.make_node("TopK", ["best_score", "best"], ["top", "index"], axis=1),
        helper.make_node("Squeeze", ["index"], ["order"], axes=[0, 2]),
        helper.make_node("Gather", ["all", "order"], ["done"], axis=1),
    ]
    paths = {"yolox": shared_models / "yolox_nano.onnx"}
    for layout, name, shape in (
        ("yolov5", "v5", (1, 3549, 85)),
        ("yolov8", "v8", (1, 84, 3549)),
        ("end2end", "done", (1, 300, 6)),
    ):
        made = onnx.ModelProto()
        made.CopyFrom(model)
        made.graph.node.extend(nodes)
        for key, value in constants.items():
            made.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), key))
        del made.graph.output[:]
        made.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        paths[layout] = folder / f"{layout}.onnx"
        onnx.save(made, str(paths[layout]))
    return paths


def test_yolox_nano_gives_the_same_in_all_its_layouts(nano_layouts, shared_data):
    import cv2

    image = cv2.imread(str(shared_data / "mot/TUD-Campus/img1/000036.jpg"))
    # As wide as the network, so that corner and middle differ by whole pixels of padding only.
    square = np.full((640, 640, 3), 114, np.uint8)
    square[:480] = image
    found = {}
    for name, path in nano_layouts.items():
        layout = name if name == "yolov5" else None
        settings = {"normalise": "bgr-255", "nms_limit": 0.45, "layout": layout}
        detector, found[name] = seen_by(path, Frame(0, 0.0, square), **settings)
        assert detector.recognised.layout.name == name
        assert detector.class_names == (None if name == "end2end" else COCO_NAMES)
    reference = found["yolox"]
    assert len(reference) >= 5
    for seen in found.values():
        # Sums and products of float32 in another order.
        np.testing.assert_allclose(seen.boxes_xyxy, reference.boxes_xyxy, atol=2e-3)
        np.testing.assert_allclose(seen.scores, reference.scores, atol=1e-6)
        np.testing.assert_array_equal(seen.classes, reference.classes)
