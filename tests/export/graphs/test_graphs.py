"""Every graph, as PyTorch and ONNX Runtime run it, against slow versions and golden files."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.heads.mot import roi_weights
from unitrack_edge.heads.propagation.label_maps import LabelMapper, best_labels
from unitrack_edge.heads.propagation.tiles import TilePlan
from unitrack_edge.records import Frame
from unitrack_edge.runtime.inference.base import Graphs
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.preprocessing import FeatureExtractor, Letterbox, Region, area_taps

from ...reference.propagation_plain import propagate
from ...reference.roi_align_plain import roi_align
from ...reference.rsm_plain import rsm_cost, unit_rows
from ...support.tolerance import (
    assert_within,
    network_error,
    propagation_error,
    rsm_error,
    sum_error,
    unit_error,
    unit_norm_error,
)

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from unitrack_edge.export.backbones.resnet import ResNet, init_random  # noqa: E402
from unitrack_edge.export.graphs import appearance as modules  # noqa: E402
from unitrack_edge.export.graphs.table import Sizes, backbone_graph  # noqa: E402
from unitrack_edge.export.onnx_export import OPSET, export_graph  # noqa: E402
from unitrack_edge.runtime.inference.onnxruntime import OnnxRuntimeEngine  # noqa: E402

from ...reference.graphs_in_torch import TorchRunner  # noqa: E402
from ...reference.resnet_plain import resnet_features  # noqa: E402

C = 112
MASKED = np.float32(-1e4)


@pytest.fixture(params=["torch", "onnx"])
def runner(request):
    """The heads' graphs as modules, then as the exported files."""
    if request.param == "torch":
        return TorchRunner(channels=C)
    return request.getfixturevalue("lite_runner")


def points_of(rng, *shape):
    points = rng.standard_normal((*shape, C))
    return (points / np.linalg.norm(points, axis=-1, keepdims=True)).astype(np.float32)


# --- rsm


def related_objects(rng, counts):
    """Objects of which several show the same thing, more or less: costs from 0 to 1."""
    things = rng.standard_normal((3, 40, C))
    return [
        (things[i % 3, :count] + rng.uniform(0.2, 2) * rng.standard_normal((count, C)))
        for i, count in enumerate(counts)
    ]


def padded(objects, extra=0):
    """(N, P, C) float32 unit points and (N, P) mask; what is no point holds rubbish."""
    most = max(1, *(len(points) for points in objects)) + extra
    stack = np.full((len(objects), most, C), 0.7, np.float32)
    mask = np.zeros((len(objects), most), np.float32)
    for row, points in enumerate(objects):
        stack[row, : len(points)] = np.pad(unit_rows(points), ((0, 0), (0, C - points.shape[1])))
        mask[row, : len(points)] = 1
    return stack, mask


def run_rsm(runner, tracks, detections, scale=100.0, extra=0):
    t, t_mask = padded(tracks, extra)
    d, d_mask = padded(detections, extra)
    cost, *_ = runner.run("rsm", t, t_mask, d, d_mask, np.array([scale], np.float32))
    return cost


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize(
    ("track_points", "detection_points"),
    [
        ([1], [1]),
        ([7], [3]),
        ([40] * 4, [40] * 5),
        ([3, 40, 1, 8], [4, 6]),
        ([40, 0, 31], [0, 18, 40, 5]),
        ([0], [3, 2]),
        ([3, 2], [0]),
        ([0, 0], [0]),
    ],
)
def test_rsm_is_the_definition(runner, scale, track_points, detection_points):
    rng = np.random.default_rng(len(track_points) * 10 + len(detection_points))
    tracks = related_objects(rng, track_points)
    detections = related_objects(rng, detection_points)
    got = run_rsm(runner, tracks, detections, scale)
    want = rsm_cost(tracks, detections, scale)
    assert got.dtype == np.float32
    assert_within(got, want, rsm_error(C, scale))


def test_rsm_of_an_object_without_points_is_exactly_one(runner):
    rng = np.random.default_rng(0)
    tracks, detections = related_objects(rng, [5, 0, 9]), related_objects(rng, [4, 0])
    for scale in (1.0, 100.0):
        cost = run_rsm(runner, tracks, detections, scale)
        assert np.isfinite(cost).all()
        assert (cost[1] == 1).all()
        assert (cost[:, 1] == 1).all()
        assert (cost[[0, 2], 0] != 1).all()


def test_rsm_takes_no_notice_of_padding(runner):
    rng = np.random.default_rng(1)
    tracks, detections = related_objects(rng, [5, 2]), related_objects(rng, [4, 6, 1])
    tight, loose = (run_rsm(runner, tracks, detections, 100.0, extra) for extra in (0, 11))
    assert_within(loose, tight, 2 * rsm_error(C, 100.0))


def test_rsm_of_duplicates(runner):
    """Two detections alike share the weights of what they are like; nothing breaks."""
    rng = np.random.default_rng(2)
    thing, other = related_objects(rng, [6, 6])
    tracks, detections = [thing, other], [thing, thing, other]
    cost = run_rsm(runner, tracks, detections)
    assert_within(cost[0, 0], cost[0, 1], rsm_error(C, 100.0))
    assert_within(cost, rsm_cost(tracks, detections, 100.0), rsm_error(C, 100.0))
    alone = run_rsm(runner, [thing], [thing])
    # Each point has itself alone for company: no last digit of a logit changes a weight.
    assert_within(alone, [[0.0]], rsm_error(C, 1.0))


def test_rsm_in_half_precision_is_near_below_the_limit(golden):
    """Compared as METHOD says: nothing above 0.7 is ever matched, so min(cost, 0.8) counts."""
    numbers = golden("rsm_sizes")
    tracks = [numbers[f"track{i}"] for i in range(4)]
    detections = [numbers[f"det{i}"] for i in range(5)]
    half = TorchRunner(channels=C, dtype="float16")
    t, t_mask = padded(tracks)
    d, d_mask = padded(detections)
    cost, *_ = half.run(
        "rsm",
        t.astype(np.float16),
        t_mask,
        d.astype(np.float16),
        d_mask,
        np.array([100.0], np.float32),
    )
    assert np.minimum(cost, 0.8) == pytest.approx(np.minimum(numbers["cost"], 0.8), abs=5e-3)


@pytest.mark.parametrize("name", ["rsm", "rsm_sizes"])
def test_rsm_golden(runner, golden, name):
    """`rsm` is the public code's own float32, `rsm_sizes` the definition in float64.

    So both may be off, the graphs by more where a reconstruction vanishes (a cost near 1): of
    weights of 1e-8 and less every one may be.
    """
    numbers = golden(name)
    tracks = [numbers[f"track{i}"] for i in range(4)]
    detections = [numbers[f"det{i}"] for i in range(5)]
    got, want = run_rsm(runner, tracks, detections), numbers["cost"]
    error = rsm_error(C, 100.0)
    assert_within(np.minimum(got, 0.8), np.minimum(want, 0.8), error)
    assert_within(got, want, 2 * error)


@pytest.mark.parametrize("name", ["rsm", "rsm_sizes"])
def test_the_slow_rsm_is_the_golden_one(golden, name):
    numbers = golden(name)
    tracks = [numbers[f"track{i}"] for i in range(4)]
    detections = [numbers[f"det{i}"] for i in range(5)]
    assert rsm_cost(tracks, detections, 100.0) == pytest.approx(numbers["cost"], abs=2e-6)


# --- box_features


def random_boxes(rng, count, height, width):
    """Boxes of all sizes, half of them partly or wholly outside the image."""
    centre = rng.uniform(-0.4, 1.4, (count, 2)) * (width, height)
    size = np.exp(rng.uniform(np.log(0.3), np.log(1.5 * max(height, width)), (count, 2)))
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)


def onnx_roi_align(features, boxes, stride, output_hw):
    """ONNX's own operator; (N, out_h, out_w, C)."""
    import onnxruntime
    from onnx import TensorProto, helper

    node = helper.make_node(
        "RoiAlign",
        ["x", "rois", "which"],
        ["y"],
        mode="avg",
        sampling_ratio=0,
        spatial_scale=1 / stride,
        output_height=output_hw[0],
        output_width=output_hw[1],
        coordinate_transformation_mode="output_half_pixel",
    )
    graph = helper.make_graph(
        [node],
        "roi",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * 4),
            helper.make_tensor_value_info("rois", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("which", TensorProto.INT64, [None]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feeds = {
        "x": np.ascontiguousarray(features.transpose(2, 0, 1))[None],
        "rois": boxes,
        "which": np.zeros(len(boxes), np.int64),
    }
    return session.run(None, feeds)[0].transpose(0, 2, 3, 1)


def unit_last(array):
    return array / np.maximum(np.linalg.norm(array, axis=-1, keepdims=True), 1e-12)


def roi_error(features, boxes, stride):
    """Of RoIAlign in float32, whose every sample is a mix of four cells.

    A sample's place passes five roundings, and the features change by so much a cell.
    """
    place = sum_error(5, max(np.abs(boxes).max(), np.ptp(boxes)) / stride)
    slope = sum(np.abs(np.diff(features, axis=axis)).max(initial=0) for axis in (0, 1))
    return place * slope + sum_error(sum(features.shape[:2]) + 20, np.abs(features).max())


@pytest.mark.parametrize("output_hw", [(4, 10), (7, 7), (1, 1)])
@pytest.mark.parametrize("grid_hw", [(9, 15), (1, 1), (76, 136)])
def test_roi_weights_equal_the_onnx_operator(grid_hw, output_hw):
    rng = np.random.default_rng(sum(grid_hw) + sum(output_hw))
    features = rng.standard_normal((*grid_hw, 8)).astype(np.float32)
    boxes = random_boxes(rng, 300 if grid_hw[0] < 50 else 60, grid_hw[0] * 8, grid_hw[1] * 8)
    weights_y, weights_x = roi_weights(boxes, stride=8, grid_hw=grid_hw, output_hw=output_hw)
    got = np.einsum("nir,rcx,njc->nijx", weights_y, features, weights_x, optimize=True)
    want = onnx_roi_align(features, boxes, 8, output_hw)
    assert np.abs(want).max() > 0.5
    assert_within(got, want, roi_error(features, boxes, 8))


def test_the_slow_roi_align_is_the_onnx_operator():
    rng = np.random.default_rng(5)
    features = rng.standard_normal((6, 9, 2)).astype(np.float32)
    boxes = random_boxes(rng, 25, 48, 72)
    want = onnx_roi_align(features, boxes, 8, (4, 10))
    for box, expected in zip(boxes, want, strict=True):
        got = roi_align(features, box, 8, (4, 10))
        assert_within(got, expected, roi_error(features, boxes, 8))


@pytest.mark.parametrize("count", [1, 30])
def test_box_features_are_unit_roi_align(runner, count):
    rng = np.random.default_rng(count)
    features = points_of(rng, 1, 11, 6)
    boxes = random_boxes(rng, count, 88, 48)
    weights = roi_weights(boxes, stride=8, grid_hw=(11, 6), output_hw=(4, 10))
    (got,) = runner.run("box_features", features, *weights)
    pooled = onnx_roi_align(features[0], boxes, 8, (4, 10)).reshape(count, 40, C)
    # A bin that barely touches the map has a tiny value, whose direction float32 does not hold.
    norm = np.maximum(np.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12)
    error = unit_error(np.sqrt(C) * roi_error(features[0], boxes, 8), norm)
    assert_within(got, pooled / norm, np.minimum(error, 2e-3))
    assert np.median(np.abs(got - pooled / norm)) < 1e-6


def test_box_features_far_outside_are_zero(runner):
    features = points_of(np.random.default_rng(0), 1, 5, 5)
    boxes = np.array([[100, 100, 200, 200], [0, 0, 40, 40]], np.float32)
    weights = roi_weights(boxes, stride=8, grid_hw=(5, 5), output_hw=(4, 10))
    (got,) = runner.run("box_features", features, *weights)
    assert (got[0] == 0).all()
    assert_within(np.linalg.norm(got[1], axis=-1), np.ones(40), unit_norm_error())


# --- letterbox


class Sent(Graphs):
    """The heads' graphs as if they computed in a memory of their own; what they take is bounded.

    Args:
        graphs: They.
        most: The largest size by input and axis.
    """

    on_device = True

    def __init__(self, graphs, most=None):
        self.spec = graphs.spec
        self.sent, self._graphs, self._most = [], graphs, most or {}

    def run(self, graph, *feeds):
        self.sent.append((graph, feeds[0].shape))
        return self._graphs.run(graph, *feeds)

    def limit(self, _graph, input_index, axis):
        return self._most.get((input_index, axis))


def scene(height, width):
    """Edges, gradients and noise."""
    rng = np.random.default_rng(height * width)
    image = cv2.GaussianBlur(rng.integers(0, 256, (height, width, 3), np.uint8), (5, 5), 0)
    cv2.rectangle(image, (width // 4, height // 4), (width // 2, height // 2), (0, 128, 255), -1)
    return Frame(0, 0.0, image)


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ((270, 480), (152, 272)),  # 1.78 of a pixel: 1080p in the paper's size, a quarter each
        ((240, 320), (120, 160)),  # whole pixels: OpenCV sums integers here
        ((240, 360), (80, 120)),
        ((300, 200), (64, 96)),  # grey left and right
        ((100, 400), (96, 96)),  # grey above and below
        ((97, 131), (89, 131)),  # one axis only
    ],
)
def test_a_device_makes_the_image_that_opencv_makes(runner, source, network):
    frame, device = scene(*source), Sent(runner)
    letterbox = Letterbox.fit(source, network)
    got = FeatureExtractor(device).image_of(frame, letterbox)
    want = FeatureExtractor(runner).image_of(frame, letterbox)
    assert device.sent == [("letterbox", (*source, 3))]
    assert (got.shape, got.dtype) == (want.shape, np.uint8)
    apart = np.abs(got.astype(int) - want)
    # Sums in another order end on the other side of a half now and then.
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


def test_of_a_region_a_device_is_sent_that_part_only(runner):
    frame, device = scene(240, 320), Sent(runner)
    letterbox = Region(top=2, left=3, rows=6, cols=9, pitch=20).letterbox((240, 320), 8)
    got = FeatureExtractor(device).image_of(frame, letterbox)
    want = FeatureExtractor(runner).image_of(frame, letterbox)
    assert device.sent == [("letterbox", (120, 180, 3))]
    assert np.abs(got.astype(int) - want).max() <= 1


@pytest.mark.parametrize(
    ("source", "network", "most"),
    [
        ((96, 160), (96, 160), {}),  # nothing to do
        ((60, 80), (96, 160), {}),  # larger
        ((240, 320), (120, 160), {(0, 0): 200}),  # a frame higher than the graph takes
        ((240, 320), (120, 160), {(3, 1): 1}),  # more columns to one than it takes
    ],
)
def test_what_the_graph_does_not_take_is_made_on_the_host(runner, source, network, most):
    frame, device = scene(*source), Sent(runner, most)
    letterbox = Letterbox.fit(source, network)
    got = FeatureExtractor(device).image_of(frame, letterbox)
    assert not device.sent
    np.testing.assert_array_equal(got, FeatureExtractor(runner).image_of(frame, letterbox))


def test_images_that_are_sent_together_are_made_on_the_host(runner):
    device = Sent(runner)
    letterbox = Letterbox.fit((240, 320), (120, 160))
    FeatureExtractor(device, on_host=True).image_of(scene(240, 320), letterbox)
    assert not device.sent


@pytest.mark.parametrize(("source", "inner"), [(1080, 608), (1920, 1081), (9, 3), (10, 9), (7, 7)])
def test_shares_of_pixels_are_the_lengths_that_are_covered(source, inner):
    index, shares = area_taps(source, inner, 2, inner + 5)
    assert not np.delete(shares, np.arange(2, inner + 2), axis=0).any()
    assert (index.min(), index.max()) == (0, source - 1)
    dense = np.zeros((inner, source))
    rows = np.arange(inner)
    for tap in range(index.shape[1]):
        np.add.at(dense, (rows, index[2 : inner + 2, tap]), shares[2 : inner + 2, tap])
    edges = np.arange(inner + 1) * source / inner
    pixels = np.arange(source)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    # What is covered less than a thousandth of a pixel counts as nothing.
    np.testing.assert_allclose(dense, np.clip(covered, 0, None) * inner / source, atol=2e-3)
    np.testing.assert_allclose(dense.sum(axis=1), 1, rtol=1e-6)


def test_groups_at_once_are_groups_one_by_one(runner):
    """Rows of two stacks, in any order; group 2 has no detection, and the last row nobody."""
    rng = np.random.default_rng(5)
    objects = related_objects(rng, [5, 0, 40, 9, 31, 7, 12])
    stack, mask = padded(objects)
    rows = np.array([4, 0, 2, 2, 6, 0]), np.array([3, 5, 1, 0, 6, 0])
    groups = np.array([0, 1, 0, 1, 2, 9]), np.array([0, 0, 1, 1, 1, 8])
    feeds = []
    for row, group in zip(rows, groups, strict=True):
        points = mask[row]
        points[group >= 8] = 0
        feeds += [row, points, group.astype(np.float32)]
    scale = np.array([100], np.float32)
    (got,) = runner.run("rsm_groups", stack[:3], stack[3:], *feeds, scale)
    want = np.ones(got.shape)
    for group in (0, 1):
        which, columns = (np.flatnonzero(side == group) for side in groups)
        sides = (
            [objects[k] for k in row[w]] for row, w in zip(rows, (which, columns), strict=True)
        )
        want[np.ix_(which, columns)] = rsm_cost(*sides, 100.0)
    assert_within(got, want, rsm_error(C, 100.0))
    assert (got[groups[0][:, None] != groups[1]] == 1).all()


# --- point_features, select


def test_point_features_mix_cells(runner):
    rng = np.random.default_rng(3)
    features = points_of(rng, 1, 5, 7)
    index = rng.integers(0, 35, (3, 9, 4))
    weight = rng.uniform(0, 1, (3, 9, 4)).astype(np.float32)
    weight[1, 4:] = 0
    (got,) = runner.run("point_features", features, index, weight)
    cells = features.reshape(35, C).astype(np.float64)
    for i in range(3):
        for p in range(9):
            mixed = sum(weight[i, p, k] * cells[index[i, p, k]] for k in range(4))
            norm = np.linalg.norm(mixed)
            error = unit_error(sum_error(4, weight[i, p].sum()), max(norm, 1e-12))
            assert_within(got[i, p], unit_last(mixed), error)
    assert (got[1, 4:] == 0).all()


def test_point_features_of_one_object_of_one_point(runner):
    features = points_of(np.random.default_rng(4), 1, 1, 1)
    weight = np.array([[[1, 0, 0, 0]]], np.float32)
    (got,) = runner.run("point_features", features, np.zeros((1, 1, 4), np.int64), weight)
    assert_within(got[0, 0], features[0, 0, 0], unit_norm_error())


@pytest.mark.parametrize(("old", "new", "rows"), [(1, 1, [1]), (3, 2, [4, 0, 0, 2, 3])])
def test_select_counts_the_old_first(runner, old, new, rows):
    rng = np.random.default_rng(6)
    a, b = points_of(rng, old, 4), points_of(rng, new, 4)
    (got,) = runner.run("select", a, b, np.array(rows))
    assert (got == np.concatenate([a, b])[rows]).all()


# --- propagate_*: the steps by themselves; `test_propagation` judges them together


def test_propagation_step_by_step(runner):
    """Two memory frames, one searched everywhere and one in two windows of its rows."""
    rng = np.random.default_rng(7)
    rows, cols, k = 4, 8, runner.spec.parameters["top_k"]
    query, first, recent = (points_of(rng, 1, rows, cols) for _ in range(3))
    labels = [rng.dirichlet([1, 1, 1], rows * cols).astype(np.float32) for _ in range(2)]
    cells = np.arange(rows * cols)
    best = np.full((len(cells), k), MASKED, np.float32)
    best_labels = np.zeros((len(cells), k, 3), np.float32)
    best, best_labels = runner.run(
        "propagate_global", query, first, labels[0], cells, best, best_labels
    )
    assert (np.diff(best, axis=1) <= 0).all()
    tiles = cells.reshape(2, -1)
    y, x = np.divmod(cells, cols)
    squared = (y[:, None] - y[None]) ** 2 + (x[:, None] - x[None]) ** 2
    bias = np.where(squared < 9, np.float32(0), MASKED).reshape(2, -1, len(cells))
    windows = np.stack([cells, cells])
    best, best_labels = runner.run(
        "propagate_local", query, recent, labels[1], tiles, windows, bias, best, best_labels
    )
    for top_k in (1, 4, k):
        order = rng.permutation(len(cells))
        (got,) = runner.run(
            "propagate_labels",
            best,
            best_labels,
            order,
            np.array([0.07], np.float32),
            np.array([top_k]),
        )
        want = propagate(
            query[0], [first[0], recent[0]], labels, [None, 3.0], top_k=top_k, temperature=0.07
        )
        assert_within(got, want[order], propagation_error(C, 0.07, top_k))


def test_recent_frames_in_one_call_are_those_one_by_one(runner):
    """To the last bit: what a run gives must not depend on how many frames a call takes."""
    rng = np.random.default_rng(8)
    rows, cols, k, count = 7, 9, runner.spec.parameters["top_k"], 5
    query, *keys = (points_of(rng, 1, rows, cols) for _ in range(1 + count))
    # The public code repeats frames, whose similarities are then equal.
    keys[2] = keys[1]
    labels = [rng.dirichlet([1, 1, 1], rows * cols).astype(np.float32) for _ in keys]
    plan = TilePlan.build(rows, cols, 3.0, keys=k)
    where = plan.query_index, plan.window_index, plan.bias
    best = np.full((plan.query_index.size, k), MASKED, np.float32)
    begun = best, np.zeros((*best.shape, 3), np.float32)
    together = runner.run("propagate_recent", query, *keys, *labels, *where, *begun)
    for frame in zip(keys, labels, strict=True):
        begun = runner.run("propagate_local", query, *frame, *where, *begun)
    for one, other in zip(together, begun, strict=True):
        assert one.tobytes() == other.tobytes()


def interpolated(line, length):
    """(length, …) float64 of (cells, …): linear between centres, the ends held (PyTorch's rule)."""
    place = np.clip((np.arange(length) + 0.5) * len(line) / length - 0.5, 0, len(line) - 1)
    low = np.minimum(np.floor(place).astype(int), len(line) - 1)
    share = (place - low).reshape(-1, *[1] * (line.ndim - 1))
    return line[low] * (1 - share) + line[np.minimum(low + 1, len(line) - 1)] * share


@pytest.mark.parametrize(
    ("source", "network", "labels"),
    [
        ((96, 160), (96, 160), 2),
        ((135, 240), (96, 160), 5),  # a row of padding above and three below
        ((60, 200), (96, 160), 3),  # padding above and below
        ((200, 60), (96, 160), 16),  # left and right
        ((48, 80), (96, 160), 3),  # a source that was enlarged
    ],
)
def test_label_map_is_the_largest_interpolated_score(runner, source, network, labels):
    letterbox, grid = Letterbox.fit(source, network), (network[0] // 8, network[1] // 8)
    scores = np.random.default_rng(labels).dirichlet(np.ones(labels), grid).astype(np.float32)
    device = Sent(runner)
    got = LabelMapper(device).labels_of(scores.reshape(-1, labels), grid, letterbox)
    assert [graph for graph, _ in device.sent] == ["label_map"]
    want = scores.astype(np.float64)
    sizes = [source] if letterbox.inner_hw == network else [network, source]
    for size in sizes:
        want = interpolated(want, size[0])
        want = interpolated(want.transpose(1, 0, 2), size[1]).transpose(1, 0, 2)
        if size != source:
            (height, width), top, left = letterbox.inner_hw, letterbox.top, letterbox.left
            want = want[top : top + height, left : left + width]
    assert (got.shape, got.dtype) == (source, np.uint8)
    second, first = np.moveaxis(np.sort(want, axis=2)[..., -2:], 2, 0)
    # Shares pass three roundings of a place along each axis of each scaling, and sums of cells.
    clear = first - second > 4 * sum_error(3, max(network)) + 2 * sum_error(sum(grid))
    assert clear.mean() > 0.99
    assert (got == want.argmax(axis=2))[clear].all()
    assert len(np.unique(got)) == labels


@pytest.mark.parametrize("most", [{(0, 1): 3}, {(1, 0): 95}, {(2, 0): 159}])
def test_what_label_map_does_not_take_is_interpolated_on_the_host(most):
    runner = Sent(TorchRunner(channels=C), most)
    scores = np.random.default_rng(0).dirichlet(np.ones(4), (12, 20)).astype(np.float32)
    letterbox = Letterbox.fit((96, 160), (96, 160))
    got = LabelMapper(runner).labels_of(scores.reshape(-1, 4), (12, 20), letterbox)
    assert runner.sent == []
    np.testing.assert_array_equal(got, best_labels(scores, letterbox))


def test_of_equal_scores_the_first_label_is_shown(runner):
    scores = np.full((6 * 8, 3), 1 / 4, np.float32)
    scores[:, 1:] = 3 / 8
    letterbox = Letterbox.fit((48, 64), (48, 64))
    got = LabelMapper(Sent(runner)).labels_of(scores, (6, 8), letterbox)
    assert (got == 1).all()


# --- backbone


def plain_backbone(frames):
    """uint8 BGR (B, H, W, 3) → unit points, by the book, with the weights of `random-r18`."""
    model = ResNet("resnet18", "layer3")
    init_random(model, 0)
    rgb = torch.from_numpy(np.ascontiguousarray(frames[..., ::-1])).double().permute(0, 3, 1, 2)
    mean = torch.tensor([0.485, 0.456, 0.406]).double().view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).double().view(1, 3, 1, 1)
    with torch.no_grad():
        image = (rgb / 255 - mean) / std
        features = resnet_features(image, model.double().eval().state_dict(), 3)
    return unit_last(features.permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 37, 51), (1, 8, 8), (1, 1, 3), (1, 16, 129)])
def test_backbone_is_the_plain_pipeline(random_resnet, shape):
    frames = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3), np.uint8)
    with GraphRunner(random_resnet) as graphs:
        (got,) = graphs.run("backbone", frames)
    want = plain_backbone(frames)
    assert got.shape == (shape[0], -(-shape[1] // 8), -(-shape[2] // 8), 256)
    assert_within(np.linalg.norm(got, axis=-1), np.ones(got.shape[:-1]), unit_norm_error())
    assert_within(got, want, network_error(13, 9 * 256))


class Passed(torch.nn.Module):
    """Lets the normalised image through, with a constant beside it that survives normalising."""

    def forward(self, x):
        every = x[:, :, ::8, ::8]
        return torch.cat([every, torch.full_like(every[:, :1], 10.0)], dim=1)


def see_through(graph, frames):
    """What the network was given at every eighth pixel, (B, 3, h, w)."""
    with torch.no_grad():
        points = graph(torch.from_numpy(frames)).permute(0, 3, 1, 2)
    return (points[:, :3] / points[:, 3:] * 10).numpy()


def test_preprocessing_is_rgb_scaled_and_normalised():
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    frames = np.random.default_rng(0).integers(0, 256, (2, 40, 24, 3), np.uint8)
    got = see_through(modules.BackboneGraph(Passed(), mean, std), frames)
    rgb = frames[:, ::8, ::8, ::-1].transpose(0, 3, 1, 2) / 255.0
    want = (rgb - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    # Each is divided by the constant and multiplied by it again.
    assert_within(got, want, sum_error(8, np.abs(want).max()) + unit_norm_error() * 10)


def plain_lightness(bgr):
    """CIE L* of (…, 3) uint8 sRGB pixels in float64, times 2.55."""
    share = bgr[..., ::-1] / 255.0
    linear = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    f = np.where(y > (6 / 29) ** 3, np.cbrt(y), y * (29 / 6) ** 2 / 3 + 4 / 29)
    return (116 * f - 16) * 2.55


def test_lightness_is_that_of_the_cie_and_of_opencv():
    """OpenCV's 8-bit Lab is rounded and made by tables, which are a little off here and there."""
    bgr = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    bgr[0, :, :] = np.arange(64)[:, None] // 4  # the linear part near black
    with torch.no_grad():
        got = modules.lightness(torch.from_numpy(bgr).permute(2, 0, 1)[None].float()).numpy()[0]
    assert (got[0] == got[1]).all()
    assert (got[0] == got[2]).all()
    assert got[0] == pytest.approx(plain_lightness(bgr), abs=5e-3)
    eight_bit = cv2.cvtColor(bgr, cv2.COLOR_BGR2LAB)[..., 0].astype(np.float32)
    assert got[0] == pytest.approx(eight_bit, abs=1.5)
    assert np.abs(got[0] - eight_bit).mean() < 0.4


def test_lightness_reaches_the_network():
    graph = modules.BackboneGraph(Passed(), (0.5,) * 3, (0.25,) * 3, color="lab-l")
    frames = np.random.default_rng(2).integers(0, 256, (1, 16, 16, 3), np.uint8)
    got = see_through(graph, frames)[0]
    light = cv2.cvtColor(frames[0], cv2.COLOR_BGR2LAB)[::8, ::8, 0] / 255.0
    assert got == pytest.approx(np.stack([(light - 0.5) / 0.25] * 3), abs=1 / 255 / 0.25)


def test_backbone_of_one_size_and_half_precision(tmp_path: Path):
    """A fixed size stands in the file; half the digits are left, and they are the right ones."""
    torch.manual_seed(0)
    network = torch.nn.Conv2d(3, 16, 8, stride=8).eval().requires_grad_(False)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    full = modules.BackboneGraph(network, mean, std)
    frames = np.random.default_rng(3).integers(0, 256, (1, 48, 64, 3), np.uint8)
    with torch.no_grad():
        want = full(torch.from_numpy(frames)).numpy()
    half = modules.BackboneGraph(network, mean, std, half=True)
    sizes = Sizes(16, 8, ((48, 64),), 10, "float16")
    spec = export_graph(
        "backbone", backbone_graph(half, sizes), sizes.ranges(), tmp_path, precision="fp16"
    )
    assert spec.inputs[0].shape == ("batch", 48, 64, 3)
    assert spec.outputs[0].dtype == "float16"
    with OnnxRuntimeEngine(tmp_path / spec.file, spec) as engine:
        got = engine.run({"frames": frames})["features"]
    assert got.dtype == np.float16
    assert got.astype(np.float32) == pytest.approx(want, abs=5e-3)


# --- the files

ALLOWED = {
    "Add", "ArgMax", "Cast", "Clip", "Concat", "Conv", "Div", "Exp", "Expand", "Floor", "Gather",
    "GatherND", "Less", "Log", "MatMul", "MaxPool", "Mul", "Range", "ReduceL2", "ReduceMax",
    "ReduceSum", "Relu", "Reshape", "Shape", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "TopK",
    "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
"""All that TensorRT's parsers are known to take; no RoiAlign, DFT, GridSample, Loop or If."""


def test_files_hold_only_what_tensorrt_parses(random_resnet, lite_bundle):
    for bundle in (random_resnet, lite_bundle):
        assert bundle.spec.opset == OPSET == 18
        for graph in bundle.spec.graphs.values():
            model = onnx.load(bundle.path / graph.file)
            assert [(o.domain, o.version) for o in model.opset_import] == [("", 18)]
            used = {node.op_type for node in model.graph.node}
            assert used <= ALLOWED, (graph.name, used - ALLOWED)
            assert not model.functions


def test_files_have_the_tensors_of_the_spec(lite_bundle):
    numbers = {"float32": 1, "uint8": 2, "int64": 7, "float16": 10}
    for graph in lite_bundle.spec.graphs.values():
        model = onnx.load(lite_bundle.path / graph.file)
        for values, specs in (
            (model.graph.input, graph.inputs),
            (model.graph.output, graph.outputs),
        ):
            found = [
                (
                    v.name,
                    v.type.tensor_type.elem_type,
                    tuple(d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim),
                )
                for v in values
            ]
            assert found == [(s.name, numbers[s.dtype], s.shape) for s in specs]
        assert graph.max_abs_error < 2e-3


def test_files_say_nothing_of_the_machine_that_wrote_them(lite_bundle):
    here = str(Path(__file__).resolve().parents[3]).encode()
    for graph in lite_bundle.spec.graphs.values():
        data = (lite_bundle.path / graph.file).read_bytes()
        assert here not in data
        assert b"site-packages" not in data
