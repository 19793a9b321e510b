"""A bundle of a small backbone with every shape that matters: residual, depthwise, shared input."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import BundleSpec, GraphSpec, TensorSpec

from ...reference.int8_plain import (
    convolution,
    rounded,
    rounded_biases,
    rounded_weights,
    unsigned,
)

CHANNELS = 8
STRIDE = 4
NAMES = ("stem", "wide", "depthwise", "point", "branch", "last")

_FRAMES = TensorSpec("frames", "uint8", ("batch", "height", "width", 3))
_FEATURES = TensorSpec("features", "float32", ("batch", "rows", "cols", CHANNELS))


def small_weights(seed=0):
    """Weights and biases by layer; `depthwise` reads one channel sixty times as large as others."""
    rng = np.random.default_rng(seed)
    shapes = {
        "stem": (CHANNELS, 3, 3, 3),
        "wide": (CHANNELS, CHANNELS, 3, 3),
        "depthwise": (CHANNELS, 1, 3, 3),
        "point": (CHANNELS, CHANNELS, 1, 1),
        "branch": (CHANNELS, CHANNELS, 1, 1),
        "last": (CHANNELS, CHANNELS, 3, 3),
    }
    weights = {
        name: (
            rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32),
            rng.normal(0.1, 0.1, shape[0]).astype(np.float32),
        )
        for name, shape in shapes.items()
    }
    for array, factor in ((weights["wide"], 60), (weights["depthwise"], 1 / 60)):
        array[0][0] *= factor
    weights["wide"][1][0] *= 60
    return weights


def plain_features(image, weights, cut_offs=None, trace=None, results=None):
    """The network in NumPy; layers of `cut_offs` in int8, all else in float64.

    With `results`, the limits of what those layers give, as for a CPU; `last`, `point` and `branch`
    are not rectified at once.
    """
    cut_offs, results = cut_offs or {}, results or {}
    trace = {} if trace is None else trace

    def conv(name, x, **sizes):
        array, bias = (part.astype(np.float64) for part in weights[name])
        trace[name] = x
        if name in results:
            x = unsigned(x, cut_offs[name], signed=False)
            bias = rounded_biases(bias, array, cut_offs[name] / 255)
            array = rounded_weights(array, 63)
        elif name in cut_offs:
            x, array = rounded(x, np.float32(cut_offs[name]) / 127), rounded_weights(array)
        return convolution(x, array, bias, **sizes)

    def given(name, x, *, relu=False):
        x = np.maximum(x, 0) if relu else x
        return unsigned(x, results[name], signed=not relu) if name in results else x

    x = (image.astype(np.float64).transpose(2, 0, 1) - 127.5) / 127.5
    stem = np.maximum(conv("stem", x, stride=STRIDE), 0)
    x = given("wide", conv("wide", stem), relu=True)
    x = given("depthwise", conv("depthwise", x, groups=CHANNELS), relu=True)
    x = given("point", conv("point", x)) + given("branch", conv("branch", stem)) + stem
    x = given("last", conv("last", np.maximum(x, 0))).transpose(1, 2, 0)
    return x / np.maximum(np.linalg.norm(x, axis=2, keepdims=True), 1e-12)


def write_backbone_bundle(folder, seed=0, weights=None):
    """The bundle, and the weights that are in it."""
    onnx = pytest.importorskip("onnx", reason="the graph is written with onnx: extra 'calibrate'")
    weights = weights or small_weights(seed)
    folder.mkdir(parents=True)
    path = folder / "backbone.onnx"
    onnx.save(_model(onnx, weights), path)
    graph = GraphSpec(
        "backbone", path.name, sha256_of(path), path.stat().st_size, (_FRAMES,), (_FEATURES,), 0.0
    )
    spec = BundleSpec(
        backbone="small",
        arch="none",
        layer="layer3",
        stride=STRIDE,
        channels=CHANNELS,
        precision="fp32",
        opset=18,
        sizes_hw=(),
        preprocessing={"color": "bgr"},
        weights={"url": None},
        graphs={"backbone": graph},
        versions={"unitrack_edge": "0"},
        parameters={"top_k": 10},
    )
    return rewrite(folder, spec)


def rewrite(folder, spec, **changes):
    """A bundle with another `bundle.json`."""
    text = json.dumps(replace(spec, **changes).to_json())
    (folder / SPEC_FILE).write_text(text, encoding="utf-8")
    return Bundle.load(folder)


def _model(onnx, weights):
    node, array = onnx.helper.make_node, onnx.numpy_helper.from_array
    constants = {
        "middle": np.float32(127.5),
        "floor": np.float32(1e-12),
        "axes": np.array([3], np.int64),
    }
    for name, (weight, bias) in weights.items():
        constants |= {f"network.{name}.weight": weight, f"network.{name}.bias": bias}

    def conv(name, source, stride=1, group=1):
        pad = weights[name][0].shape[2] // 2
        inputs = [source, f"network.{name}.weight", f"network.{name}.bias"]
        sizes = {"strides": [stride] * 2, "pads": [pad] * 4, "group": group}
        return node("Conv", inputs, [f"{name}_sum"], name=f"node_{name}", **sizes)

    nodes = [
        node("Cast", ["frames"], ["float"], to=onnx.TensorProto.FLOAT, name="cast"),
        node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2], name="turn"),
        node("Sub", ["planes", "middle"], ["centred"], name="centre"),
        node("Div", ["centred", "middle"], ["input"], name="scale"),
        conv("stem", "input", stride=STRIDE),
        node("Relu", ["stem_sum"], ["stem"], name="relu0"),
        conv("wide", "stem"),
        node("Relu", ["wide_sum"], ["wide"], name="relu1"),
        conv("depthwise", "wide", group=CHANNELS),
        node("Relu", ["depthwise_sum"], ["depthwise"], name="relu2"),
        conv("point", "depthwise"),
        conv("branch", "stem"),
        node("Add", ["point_sum", "branch_sum"], ["both"], name="add0"),
        node("Add", ["both", "stem"], ["all"], name="add1"),
        node("Relu", ["all"], ["joined"], name="relu3"),
        conv("last", "joined"),
        node("Transpose", ["last_sum"], ["cells"], perm=[0, 2, 3, 1], name="back"),
        node("ReduceL2", ["cells", "axes"], ["norm"], keepdims=1, name="norm"),
        node("Max", ["norm", "floor"], ["safe"], name="safe"),
        node("Div", ["cells", "safe"], ["features"], name="unit"),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "backbone",
        [onnx.helper.make_tensor_value_info("frames", onnx.TensorProto.UINT8, _FRAMES.shape)],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, _FEATURES.shape)],
        [array(np.asarray(value), name) for name, value in constants.items()],
    )
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model


def make_image(seed, height=64, width=96):
    """An image of coloured blobs, unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.integers(-8, 9, image.shape)
    return np.clip(image.astype(np.int64) + noise, 0, 255).astype(np.uint8)


def write_images(folder, images):
    """PNGs 000.png …; the folder is the source."""
    folder.mkdir(parents=True)
    for row, image in enumerate(images):
        assert cv2.imwrite(str(folder / f"{row:03d}.png"), image)
    return folder
