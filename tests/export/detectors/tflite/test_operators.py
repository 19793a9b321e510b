"""TFLite operators as ONNX nodes: small graphs against plain NumPy, and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import ExportError

onnx = pytest.importorskip("onnx")
pytest.importorskip("tflite", reason="tflite is not installed: extra 'export'")
onnxruntime = pytest.importorskip("onnxruntime")

from unitrack_edge.export.detectors.onnx_graph import OnnxGraph  # noqa: E402
from unitrack_edge.export.detectors.tflite.file import read_tflite  # noqa: E402
from unitrack_edge.export.detectors.tflite.operators import import_tensors  # noqa: E402

from ....support.models.tflite_writer import TinyTflite  # noqa: E402

SAME, VALID = 0, 1
RELU6 = 3


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def imported(path, sizes, channels, dtype="float32"):
    """The graph of a file as ONNX, with open sizes where several are given."""
    source = read_tflite(path)
    target = OnnxGraph("tiny")
    shape = (1, channels, *sizes[0]) if len(sizes) == 1 else (1, channels, "h", "w")
    feed = target.input("x", dtype, shape)
    probes = [{source.inputs[0]: (1, *size, channels)} for size in sizes]
    found = import_tensors(source, target, {source.inputs[0]: feed}, probes, source.outputs, dtype)
    for place, tensor in enumerate(found):
        rank = len(tensor.shapes[0])
        target.output(tensor.name, f"y{place}", dtype, [f"y{place}_{a}" for a in range(rank)])
    return target.model()


def run(model, image):
    """Outputs for an (H, W, C) image; four-dimensional ones as (H, W, C)."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs = session.run(None, {"x": image.transpose(2, 0, 1)[None].copy()})
    return [y[0].transpose(1, 2, 0) if y.ndim == 4 else y for y in outputs]


def convolved(image, weights, bias, stride, padding, depthwise=False):
    """Convolution written out: (H, W, C) with (O, k, k, C) or, depthwise, (1, k, k, C)."""
    k = weights.shape[1]
    height, width = image.shape[:2]
    before = [0, 0]
    after = [0, 0]
    if padding == SAME:
        for axis, side in enumerate((height, width)):
            total = max((-(-side // stride) - 1) * stride + k - side, 0)
            before[axis], after[axis] = total // 2, total - total // 2
    padded = np.pad(image, [*zip(before, after, strict=True), (0, 0)])
    rows = (padded.shape[0] - k) // stride + 1
    columns = (padded.shape[1] - k) // stride + 1
    result = np.zeros((rows, columns, weights.shape[3] if depthwise else len(weights)))
    for y, x in np.ndindex(rows, columns):
        part = padded[y * stride : y * stride + k, x * stride : x * stride + k]
        if depthwise:
            result[y, x] = (part * weights[0]).sum(axis=(0, 1)) + bias
        else:
            result[y, x] = (part[None] * weights).sum(axis=(1, 2, 3)) + bias
    return result


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_convolutions_follow_tflites_padding(tmp_path, rng, padding, stride, size):
    weights = rng.normal(size=(5, 3, 3, 2)).astype(np.float16)
    depth = rng.normal(size=(1, 3, 3, 5)).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32)
    tiny = TinyTflite()
    x = tiny.tensor((1, *size, 2))
    options = {"Padding": padding, "StrideH": stride, "StrideW": stride}
    options |= {"DilationHFactor": 1, "DilationWFactor": 1}
    wide = tiny.add(
        "CONV_2D",
        [x, tiny.half(weights), tiny.constant(bias)],
        (1, 1, 1, 5),
        FusedActivationFunction=RELU6,
        **options,
    )
    y = tiny.add(
        "DEPTHWISE_CONV_2D",
        [wide, tiny.constant(depth), tiny.constant(bias)],
        (1, 1, 1, 5),
        DepthMultiplier=1,
        **options,
    )
    path = tiny.write(tmp_path / "a.tflite", [x], [y])
    image = rng.normal(size=(*size, 2)).astype(np.float32)
    first = convolved(image, weights.astype(np.float32), bias, stride, padding).clip(0, 6)
    expected = convolved(first, depth, bias, stride, padding, depthwise=True)
    (found,) = run(imported(path, [size], 2), image)
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_arithmetic_padding_pooling_and_activations(tmp_path, rng):
    tiny = TinyTflite()
    x = tiny.tensor((1, 6, 4, 3))
    scaled = tiny.add("MUL", [x, tiny.half([[[[1, 2, 3]]]])], (1, 6, 4, 3))
    moved = tiny.add("SUB", [scaled, tiny.half(0.5)], (1, 6, 4, 3))
    both = tiny.add("ADD", [moved, x], (1, 6, 4, 3), FusedActivationFunction=1)
    pooled = tiny.add(
        "MAX_POOL_2D",
        [both],
        (1, 3, 2, 3),
        Padding=VALID,
        StrideH=2,
        StrideW=2,
        FilterHeight=2,
        FilterWidth=2,
    )
    sure = tiny.add("LOGISTIC", [pooled], (1, 3, 2, 3))
    sides = tiny.constant([[0, 0], [1, 0], [0, 2], [0, 0]], "int32")
    y = tiny.add("PAD", [sure, sides], (1, 4, 4, 3))
    path = tiny.write(tmp_path / "a.tflite", [x], [y])
    image = rng.normal(size=(6, 4, 3)).astype(np.float32)
    expected = np.maximum(image * [1, 2, 3] - 0.5 + image, 0)
    expected = 1 / (1 + np.exp(-expected.reshape(3, 2, 2, 2, 3).max(axis=(1, 3))))
    (found,) = run(imported(path, [(6, 4)], 3), image)
    np.testing.assert_allclose(found, np.pad(expected, [(1, 0), (0, 2), (0, 0)]), atol=1e-6)


def doubled(tiny, x):
    """What TensorFlow writes for an upsampling whose size is open."""
    shape = tiny.add("SHAPE", [x], (4,), "int32")
    bounds = [tiny.constant([value], "int32") for value in (1, 3, 1)]
    sides = tiny.add("STRIDED_SLICE", [shape, *bounds], (2,), "int32")
    size = tiny.add("MUL", [sides, tiny.constant([2, 2], "int32")], (2,), "int32")
    return tiny.add("RESIZE_BILINEAR", [x, size], (1, -1, -1, 2), HalfPixelCenters=1)


def test_open_sizes_are_resized_by_a_factor(tmp_path, rng):
    tiny = TinyTflite()
    x = tiny.tensor((1, -1, -1, 2))
    path = tiny.write(tmp_path / "a.tflite", [x], [doubled(tiny, x)])
    model = imported(path, [(4, 6), (8, 8)], 2)
    for size in ((4, 6), (10, 3)):
        image = rng.normal(size=(*size, 2)).astype(np.float32)
        (found,) = run(model, image)
        expected = cv2.resize(image, (size[1] * 2, size[0] * 2), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_reshape_keeps_the_order_of_tflite(tmp_path, rng):
    tiny = TinyTflite()
    x = tiny.tensor((1, 2, 3, 4))
    flat = tiny.add("RESHAPE", [x, tiny.constant([1, 24], "int32")], (1, 24))
    back = tiny.add("RESHAPE", [flat, tiny.constant([1, 4, 3, 2], "int32")], (1, 4, 3, 2))
    path = tiny.write(tmp_path / "a.tflite", [x], [flat, back])
    image = rng.normal(size=(2, 3, 4)).astype(np.float32)
    one, two = run(imported(path, [(2, 3)], 4), image)
    np.testing.assert_array_equal(one[0], image.ravel())
    np.testing.assert_array_equal(two, image.reshape(4, 3, 2))


def test_reshape_takes_what_is_left_over(tmp_path, rng):
    tiny = TinyTflite()
    x = tiny.tensor((1, 2, 3, 4))
    y = tiny.add("RESHAPE", [x, tiny.constant([-1, 8], "int32")], (3, 8))
    path = tiny.write(tmp_path / "a.tflite", [x], [y])
    image = rng.normal(size=(2, 3, 4)).astype(np.float32)
    (found,) = run(imported(path, [(2, 3)], 4), image)
    np.testing.assert_array_equal(found, image.reshape(3, 8))
    y = tiny.add("RESHAPE", [x, tiny.constant([5, 5], "int32")], (5, 5))
    with pytest.raises(ExportError, match="does not fit"):
        imported(tiny.write(tmp_path / "a.tflite", [x], [y]), [(2, 3)], 4)


def test_half_precision_is_written_where_asked_for(tmp_path, rng):
    tiny = TinyTflite()
    x = tiny.tensor((1, 4, 4, 2))
    weights = rng.normal(size=(3, 1, 1, 2))
    options = {"Padding": SAME, "StrideH": 1, "StrideW": 1}
    options |= {"DilationHFactor": 1, "DilationWFactor": 1, "FusedActivationFunction": RELU6}
    y = tiny.add("CONV_2D", [x, tiny.half(weights)], (1, 4, 4, 3), **options)
    model = imported(tiny.write(tmp_path / "a.tflite", [x], [y]), [(4, 4)], 2, "float16")
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.FLOAT16}


# What is refused, in one line that names the file.


def one_operator(tmp_path, kind, shape=(1, 4, 4, 2), **options):
    tiny = TinyTflite()
    x = tiny.tensor(shape)
    y = tiny.add(kind, [x], shape, **options)
    return tiny.write(tmp_path / "a.tflite", [x], [y])


def test_an_operator_that_is_not_known(tmp_path):
    path = one_operator(tmp_path, "COS")
    with pytest.raises(ExportError, match=r"a\.tflite: operator COS .* cannot be converted"):
        imported(path, [(4, 4)], 2)


def test_a_graph_that_depends_on_an_open_size(tmp_path):
    options = {"Padding": SAME, "StrideH": 2, "StrideW": 2, "FilterHeight": 3, "FilterWidth": 3}
    path = one_operator(tmp_path, "MAX_POOL_2D", **options)
    imported(path, [(4, 4), (8, 6)], 2)
    with pytest.raises(ExportError, match="depends on the size of the input"):
        imported(path, [(4, 4), (5, 4)], 2)


def test_integer_weights(tmp_path):
    tiny = TinyTflite()
    x = tiny.tensor((1, 4, 4, 2))
    y = tiny.add("ADD", [x, tiny.constant([[[[1, 2]]]], "int8", quantized=True)], (1, 4, 4, 2))
    path = tiny.write(tmp_path / "a.tflite", [x], [y])
    with pytest.raises(ExportError, match="is quantised"):
        imported(path, [(4, 4)], 2)


def test_an_output_that_needs_another_input(tmp_path):
    tiny = TinyTflite()
    x, other = tiny.tensor((1, 4, 4, 2)), tiny.tensor((1, 4, 4, 2))
    y = tiny.add("ADD", [x, other], (1, 4, 4, 2))
    path = tiny.write(tmp_path / "a.tflite", [x], [y])
    with pytest.raises(ExportError, match="is not computed from the inputs"):
        imported(path, [(4, 4)], 2)


def test_files_that_are_no_tflite(tmp_path):
    path = tmp_path / "a.tflite"
    with pytest.raises(ExportError, match="cannot be read: No such file"):
        read_tflite(path)
    path.write_bytes(b"PK\x03\x04 something else")
    with pytest.raises(ExportError, match="is not a TFLite file"):
        read_tflite(path)


def test_half_a_file(tmp_path):
    path = one_operator(tmp_path, "LOGISTIC")
    whole = path.read_bytes()
    said = set()
    for size in range(8, len(whole) // 2, 8):
        path.write_bytes(whole[:size])
        with pytest.raises(ExportError, match="is damaged") as caught:
            read_tflite(path)
        said.add(str(caught.value))
    assert said


def test_a_file_of_noise_behind_the_identifier(tmp_path, rng):
    path = tmp_path / "a.tflite"
    for _ in range(50):
        noise = rng.integers(0, 256, 200, dtype=np.uint8).tobytes()
        path.write_bytes(noise[:4] + b"TFL3" + noise)
        with pytest.raises(ExportError, match="damaged"):
            read_tflite(path)
