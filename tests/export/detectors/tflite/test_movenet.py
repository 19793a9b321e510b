"""MoveNet MultiPose and BlazePose as ONNX: against what TensorFlow Lite computes, and engines."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import ExportError

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from unitrack_edge.export.detectors.exporter import (  # noqa: E402
    ModelOptions,
    export_model,
    read_spec,
)
from unitrack_edge.export.detectors.tflite.blazepose import build_blazepose  # noqa: E402
from unitrack_edge.export.detectors.tflite.movenet import (  # noqa: E402
    CANDIDATES,
    FACTS,
    MovenetOptions,
    build_movenet,
)
from unitrack_edge.export.detectors.tflite.movenet_people import (  # noqa: E402
    JOINTS,
    STRIDE,
    joint_window,
)
from unitrack_edge.export.graphs.precision import float32_products  # noqa: E402
from unitrack_edge.records import Frame  # noqa: E402
from unitrack_edge.runtime.boxes import iou_matrix  # noqa: E402
from unitrack_edge.runtime.detectors.model import open_model  # noqa: E402
from unitrack_edge.runtime.detectors.recognition import ModelSettings  # noqa: E402

from ....support.tolerance import assert_within, sum_error  # noqa: E402

PLACES = ("tud_256x256", "tud_256x448", "tud_384x512", "posetrack_256x256", "posetrack_384x512")


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(loaded, rgb):
    boxes, scores, classes, keypoints = loaded.run(
        None, {"image": np.ascontiguousarray(rgb[..., ::-1])}
    )
    assert (classes == 0).all()
    return boxes, scores, keypoints


@pytest.fixture(scope="module")
def open_graph(movenet_file):
    return session(build_movenet(movenet_file))


def golden_people(values, size_hw):
    """The file's (1, 6, 56) as this graph's boxes, scores and keypoints."""
    height, width = size_hw
    rows = values[0]
    points = rows[:, :51].reshape(6, JOINTS, 3)[..., [1, 0, 2]] * (width, height, 1)
    boxes = rows[:, [52, 51, 54, 53]] * (width, height, width, height)
    return boxes, rows[:, 55], points


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fixed", [False, True])
def test_the_six_best_people_are_the_files(movenet_file, open_graph, golden, place, fixed):
    data = golden("movenet_multipose")
    rgb = data[f"{place}_input_rgb"]
    size_hw = rgb.shape[1:3]
    graph = session(build_movenet(movenet_file, MovenetOptions(size_hw))) if fixed else open_graph
    found = run(graph, rgb)
    expected = golden_people(data[f"{place}_output"], size_hw)
    np.testing.assert_allclose(found[0][:6], expected[0], atol=0.01)
    np.testing.assert_allclose(found[1][:6], expected[1], atol=1e-5)
    np.testing.assert_allclose(found[2][:6, :, :2], expected[2][..., :2], atol=0.01)
    np.testing.assert_allclose(found[2][:6, :, 2], expected[2][..., 2], atol=1e-5)


def test_more_than_six_people_are_found(open_graph, shared_data):
    import cv2

    images = sorted((shared_data / "mot/MOT17-04-FRCNN/img1").glob("*.jpg"))
    image = cv2.resize(cv2.imread(str(images[0])), (960, 544))
    boxes, scores, _ = run(open_graph, image[None, ..., ::-1])
    assert len(boxes) == CANDIDATES
    assert (scores > 0.2).sum() > 12
    assert (np.diff(scores[scores > 0.2]) <= 0.6).all()


def test_any_multiple_of_32(open_graph):
    rng = np.random.default_rng(1)
    for size in ((64, 64), (96, 1024), (320, 224)):
        boxes, scores, keypoints = run(open_graph, rng.integers(0, 256, (1, *size, 3), np.uint8))
        assert np.isfinite(boxes).all()
        assert np.isfinite(keypoints).all()
        assert (scores >= 0).all()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"size_hw": (100, 64)}, "expected multiples of 32 from 64 to 4096"),
        ({"size_hw": (32, 64)}, "expected multiples of 32"),
        ({"candidates": 0}, "expected 1 to 256"),
        ({"precision": "int8"}, "expected fp32 or fp16"),
    ],
)
def test_options_out_of_range(options, says):
    with pytest.raises(ExportError, match=says):
        MovenetOptions(**options)


def test_windows_grow_with_the_image():
    assert [joint_window(side // STRIDE) for side in (64, 288, 544, 1088)] == [4, 8, 12, 16]


def test_an_open_graph_looks_into_windows_that_follow_its_image(movenet_file):
    model = build_movenet(movenet_file, MovenetOptions(candidates=3))
    (lines,) = (
        node.output[0]
        for node in model.graph.node
        if node.op_type == "ReduceMax" and node.attribute[0].ints == [3]
    )
    model.graph.output.add().name = lines
    graph = session(model)
    for size_hw in ((64, 96), (288, 384), (960, 896)):
        (rows,) = graph.run([lines], {"image": np.zeros((1, *size_hw, 3), np.uint8)})
        assert rows.shape == (3, JOINTS, 2 * joint_window(min(size_hw) // STRIDE) + 1)


def test_what_is_read_at_few_cells_is_computed_there_alone(movenet_file):
    model = onnx.shape_inference.infer_shapes(build_movenet(movenet_file, MovenetOptions((96, 64))))
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    values = {value.name: value.type.tensor_type.shape.dim for value in model.graph.value_info}
    maps, rows = [], []
    for node in model.graph.node:
        if node.op_type == "Conv" and weights[node.input[1]][1] == 96:
            maps.append([size.dim_value for size in values[node.output[0]]])
        if node.op_type == "Gemm" and weights[node.input[1]][1] == 96:
            rows.append([size.dim_value for size in values[node.output[0]]])
    # Centres and joints are searched for; 96 channels are also a layer's of the body.
    assert [shape for shape in maps if shape[2:] == [24, 16]] == [[1, 1, 24, 16], [1, 17, 24, 16]]
    people = [CANDIDATES, CANDIDATES, CANDIDATES, CANDIDATES * JOINTS]
    assert rows == [[n, c] for n, c in zip(people, (2, 2, 34, 34), strict=True)]


def test_few_candidates(movenet_file, golden):
    data = golden("movenet_multipose")
    rgb = data["tud_256x448_input_rgb"]
    graph = session(build_movenet(movenet_file, MovenetOptions(candidates=2)))
    boxes, _, _ = run(graph, rgb)
    expected, _, _ = golden_people(data["tud_256x448_output"], rgb.shape[1:3])
    np.testing.assert_allclose(boxes, expected[:2], atol=0.01)


def test_files_of_other_models_are_refused(movenet_file, blazepose_file):
    with pytest.raises(ExportError, match=r"is not MoveNet MultiPose: it takes float32 \(1, 256"):
        build_movenet(blazepose_file)
    with pytest.raises(ExportError, match="is not BlazePose full: it takes uint8"):
        build_blazepose(movenet_file)


def rounding(model):
    """Of a network's outputs, relative to the largest: every layer adds that of its longest sum."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    longest = max(np.prod(weights[node.input[1]][1:]) for node in layers)
    return np.sqrt(len(layers)) * sum_error(longest)


def test_blazepose_is_the_known_graph(blazepose_file, shared_models):
    """On any processor: both may sum in another order, and one sees two crops at once."""
    path = shared_models / "blazepose_full.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    model = build_blazepose(blazepose_file)
    one, error = session(model), rounding(model)
    other = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(3)
    crops = rng.random((2, 256, 256, 3), dtype=np.float32)
    crops[1] = np.linspace(0, 1, 256, dtype=np.float32)[:, None]
    names = [value.name for value in other.get_outputs()]
    assert [value.name for value in one.get_outputs()] == names
    found = one.run(None, {"input_1": crops})
    for row in range(2):
        expected = other.run(None, {"input_1": crops[row : row + 1]})
        for values, true in zip(found, expected, strict=True):
            assert_within(values[row : row + 1], true, error * np.abs(true).max())


def test_half_precision_is_in_the_graph(movenet_file, blazepose_file):
    half = build_movenet(movenet_file, MovenetOptions((64, 96), precision="fp16"))
    assert float32_products(half) == ()
    assert float32_products(build_blazepose(blazepose_file, precision="fp16")) == ()
    full = build_movenet(movenet_file, MovenetOptions((64, 96)))
    assert len(float32_products(full)) == 54 + 26


@pytest.mark.parametrize("target", ["sm86", "sm89", "sm120"])
@pytest.mark.parametrize("which", ["movenet", "blazepose"])
def test_engines_are_built_without_plugins(movenet_file, blazepose_file, tmp_path, which, target):
    pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx is not installed: extra 'dev'")
    from unitrack_edge.export.tensorrt.builder import BuildOptions, build_engine
    from unitrack_edge.runtime.inference.tensorrt.library import load_library

    if which == "movenet":
        model = build_movenet(movenet_file, MovenetOptions((288, 384), precision="fp16"))
    else:
        model = build_blazepose(blazepose_file, batch=1, precision="fp16")
    path = tmp_path / f"{which}.onnx"
    onnx.save(model, str(path))
    spec = read_spec(path, path.read_bytes())
    built = build_engine(load_library("tensorrt-rtx"), path, spec, "fp16", {}, BuildOptions(target))
    assert built.products == {"float16": 80 if which == "movenet" else 96}
    assert built.plan


# Through the exporter and the runtime.


def test_what_cannot_be_converted(tmp_path):
    with pytest.raises(ExportError, match="cannot be converted: TensorFlow graph"):
        export_model("ssd-mobilenet-v3", tmp_path / "a.onnx")
    with pytest.raises(ExportError, match="is an ONNX file already"):
        export_model("yolox-nano", tmp_path / "a.onnx", None, ModelOptions((64, 64)))


def test_people_of_a_real_image(movenet_file, shared_data, tmp_path):
    import cv2

    path = tmp_path / "movenet.onnx"
    spec = export_model("movenet", path, movenet_file)
    assert spec.inputs[0].shape == (1, "height", "width", 3)
    image = cv2.imread(str(sorted((shared_data / "mot/TUD-Campus/img1").glob("*.jpg"))[0]))
    with open_model(path, ModelSettings(confidence=0.5), threads=2) as detector:
        assert detector.facts == FACTS
        seen = detector.detect(Frame(0, 0.0, np.asarray(image, np.uint8)))
    # The first rows of the truth: left, top, width, height.
    true = np.array([[399, 182, 121, 229], [282, 201, 92, 184], [63, 153, 82, 288]], np.float32)
    true[:, 2:] += true[:, :2]
    assert (iou_matrix(true, seen.boxes_xyxy).max(axis=1) > 0.5).all()
    assert seen.keypoints.shape == (len(seen), JOINTS, 3)
    assert (np.diff(seen.scores) <= 0).all()
