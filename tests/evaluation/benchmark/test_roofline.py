"""The roofline: operations and bytes by hand, which ceiling is the lower one, and a measurement."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from unitrack_edge.errors import UnitrackError
from unitrack_edge.evaluation.benchmark.roofline import (
    GraphWork,
    Roofline,
    graph_work,
    measure_roofline,
    roofline_table,
)

onnx = pytest.importorskip("onnx", reason="graphs are written with onnx: extra 'export'")


def write(path, nodes, weights, shape, kind=None):
    """A graph of one input `x`, whose sizes are symbolic, and one output `y`."""
    kind = onnx.TensorProto.FLOAT if kind is None else kind
    names = [f"axis{k}" for k in range(len(shape))]
    x, y = (onnx.helper.make_tensor_value_info(name, kind, names) for name in "xy")
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = onnx.helper.make_graph(nodes, "graph", [x], [y], tensors)
    opset = onnx.helper.make_opsetid("", 18)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9), path)
    return path


def test_a_convolution_of_two_groups_by_hand(tmp_path):
    node = onnx.helper.make_node
    weights = {"w": np.zeros((6, 2, 3, 3), np.float32), "b": np.zeros(6, np.float32)}
    nodes = [
        node("Conv", ["x", "w", "b"], ["z"], group=2, pads=[1] * 4, strides=[2, 2]),
        node("Relu", ["z"], ["y"]),
    ]
    path = write(tmp_path / "conv.onnx", nodes, weights, (1, 4, 8, 10))
    found = graph_work(path, {"x": (1, 4, 8, 10)})
    # 6 x 4 x 5 elements, each a sum over 2 channels of 3 x 3; the activation is not counted.
    assert found.flops == 2 * 120 * 18
    assert found.moved_bytes == 4 * (4 * 8 * 10 + 6 * 18 + 6 + 120)


def test_a_product_of_half_precision_by_hand(tmp_path):
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    weights = {"w": np.zeros((5, 7), np.float16)}
    path = write(tmp_path / "half.onnx", nodes, weights, (3, 5), onnx.TensorProto.FLOAT16)
    assert graph_work(path, {"x": (3, 5)}) == GraphWork(2 * 3 * 7 * 5, 2 * (15 + 35 + 21))


def test_quantised_weights_are_read_as_bytes(tmp_path):
    node = onnx.helper.make_node
    weights = {"q": np.zeros((5, 7), np.int8), "s": np.ones((), np.float32)}
    nodes = [node("DequantizeLinear", ["q", "s"], ["w"]), node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path / "int8.onnx", nodes, weights, (3, 5))
    assert graph_work(path, {"x": (3, 5)}).moved_bytes == 4 * 15 + 35 + 4 * 21


@pytest.mark.parametrize(("flops", "moved", "by_memory"), [(100, 10, False), (100, 60, True)])
def test_the_lower_ceiling_counts(flops, moved, by_memory):
    one = Roofline((1, 8, 8), GraphWork(flops, moved), 4.0, peak_flops=100.0, peak_bytes=30.0)
    assert one.flops_per_s == 25
    assert one.bytes_per_s == moved / 4
    assert one.bound_by_memory == by_memory
    # One second of arithmetic, or two of memory, in the four that were taken.
    assert one.share == pytest.approx(0.5 if by_memory else 0.25)
    assert ("memory" if by_memory else "arithmetic") in roofline_table({"cpu": one}).rows[0][-1]


def test_a_backbone_is_measured_beside_the_ceilings(quick_bundle, quick_runner):
    image = np.zeros((1, 128, 160, 3), np.uint8)
    spec = quick_bundle.graph("backbone")
    found = measure_roofline(
        lambda: quick_runner.run("backbone", image),
        *(quick_bundle.path / spec.file, spec.inputs[0].name, image.shape),
        *(1, 2),
    )
    # One convolution of 9 x 9 at stride 8: 16 x 20 cells.
    assert found.work.flops == 2 * 16 * 20 * quick_bundle.spec.channels * 3 * 81
    assert found.image_shape == (1, 128, 160)
    assert min(found.seconds, found.peak_flops, found.peak_bytes) > 0
    # A product of 1024 x 1024 and a copy of 128 MiB take no less than a microsecond.
    assert found.peak_flops < 2 * 1024**3 / 1e-6
    assert found.peak_bytes < 2 * (1 << 27) / 1e-6
    assert found.to_json()["gflop_per_s"] == pytest.approx(found.flops_per_s / 1e9)


def test_without_onnx_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnitrackError, match=r"unitrack-edge\[bench\]"):
        graph_work(tmp_path / "none.onnx", {})
