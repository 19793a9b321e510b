"""Every graph of the bundles against PyTorch, whole tasks against PyTorch, and `cli parity`."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace

import numpy as np
import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.evaluation.benchmark.workload import TASKS, full_and_default, scene_workload
from unitrack_edge.evaluation.metrics.agreement import agreement_of_tracks
from unitrack_edge.evaluation.parity import tasks as tasks_of_parity
from unitrack_edge.evaluation.parity.feeds import feeds_of
from unitrack_edge.evaluation.parity.graphs import (
    FULL,
    GRAPH_BOUNDS,
    TASK_BOUNDS,
    GraphParity,
    bounds_of,
    compare_graph,
)
from unitrack_edge.evaluation.parity.report import compare
from unitrack_edge.evaluation.parity.tasks import (
    TaskParity,
    compare_defaults,
    compare_tasks,
    run_from_same_state,
    run_tasks,
)
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import GraphSpec
from unitrack_edge.runtime.inference.base import Graphs, to_host
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.preprocessing import image_graphs

from ...support.command_line import run_cli
from ...support.tolerance import sum_error

SHARES = (0.0, 0.04, 0.08)
SIZE = (96, 128)


@pytest.fixture(scope="module")
def workload():
    return scene_workload(4, SIZE, 3)


@pytest.fixture(scope="module")
def images(workload):
    return [frame.image for frame in workload.frames]


def eager(bundle):
    pytest.importorskip("torch")
    from unitrack_edge.evaluation.parity.torch import TorchGraphs

    return TorchGraphs(bundle, threads=1)


@pytest.fixture(scope="module")
def reference(lite_bundle):
    return eager(lite_bundle)


# Graphs against PyTorch.


@pytest.mark.parametrize("name", ["random_resnet", "lite_bundle", "half_lite"])
def test_every_graph_agrees_with_pytorch_at_several_sizes(name, request, images):
    bundle = request.getfixturevalue(name)
    right = eager(bundle)
    excesses = {}
    with GraphRunner(bundle, "cpu", 1) as graphs:
        for graph in bundle.spec.graphs:
            feeds = feeds_of(bundle, graph, images, SHARES)
            halves = graph == "backbone" and bundle.spec.precision == "fp16"
            rounded = right.rounded if halves else None
            found = compare_graph(graph, right, graphs, "cpu", feeds, rounded)
            assert (found.mean_rounding is None) == (not halves)
            excess = found.excess(bounds_of(bundle.spec.precision, graph))
            excesses |= {} if excess is None else {graph: excess}
    assert excesses == {}


def test_sizes_differ_and_lie_within_the_profile(lite_bundle, images):
    for graph, spec in lite_bundle.spec.graphs.items():
        feeds = feeds_of(lite_bundle, graph, images, SHARES)
        shapes = [tuple(value.shape for value in one) for one in feeds]
        assert len(set(shapes)) == len(feeds)
        # Crops of single objects have one size, and differ at most in their number.
        assert len(feeds) == (1 if graph in ("xcorr", "dcf_update", "dcf_response") else 3)
        for one in feeds:
            for tensor, value in zip(spec.inputs, one, strict=True):
                assert value.dtype == tensor.dtype
                if tensor.min_shape is not None:
                    assert (np.array(tensor.min_shape) <= value.shape).all()
                    assert (np.array(tensor.max_shape) >= value.shape).all()


def test_the_same_inputs_are_made_every_time(lite_bundle, images):
    first, again = (feeds_of(lite_bundle, "rsm", images, (0.1,))[0] for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


def test_rsm_is_compared_where_matches_are_decided(lite_bundle, images, reference):
    (feeds,) = feeds_of(lite_bundle, "rsm", images, (0.3,))
    costs = to_host(reference.run("rsm", *feeds)[0])
    best = costs.min(axis=0)
    # Every other detection is a tracklet seen again; the others are strangers.
    assert ((best[::2] > 0.02) & (best[::2] < 0.7)).all()
    assert (best[1::2] > 0.8).all()


# What would be noticed.


class Bent(Graphs):
    """Runs graphs of a runner, one of them with its first output bent."""

    def __init__(self, inner, graph, bend):
        self.spec = inner.spec
        self._inner, self._graph, self._bend = inner, graph, bend

    def run(self, graph, *feeds):
        outputs = self._inner.run(graph, *feeds)
        if graph != self._graph:
            return outputs
        return (self._bend(np.array(outputs[0])), *outputs[1:])


def test_on_a_cpu_the_reference_makes_images_as_all_others_do(reference):
    """By OpenCV: PyTorch would take ten times as long, and whatever it is compared with gain."""
    assert "letterbox" in reference.spec.graphs
    assert image_graphs(reference) == ("backbone",)


def nan_at_one_place(array):
    array.reshape(-1)[0] = np.nan
    return array


@pytest.mark.parametrize(
    ("graph", "bend", "words"),
    [
        ("box_features", lambda x: x + np.float32(0.01), "max error 0.01"),
        ("select", lambda x: x * np.float32(1.001), "max error"),
        ("rsm", lambda x: x + np.float32(0.05), "max error 0.05"),
        ("xcorr", nan_at_one_place, "nan"),
        ("dcf_update", lambda x: -x, "max error"),
    ],
)
def test_a_graph_that_diverges_is_noticed(graph, bend, words, lite_bundle, images, reference):
    feeds = feeds_of(lite_bundle, graph, images, (0.05,))
    bent = Bent(reference, graph, bend)
    found = compare_graph(graph, reference, bent, "cpu", feeds)
    straight = compare_graph(graph, reference, reference, "cpu", feeds)
    assert straight.excess(FULL) is None
    assert straight.max_error == 0
    if graph == "select":
        assert found.max_error > 1e-5
    else:
        assert words in (found.excess(FULL) or "")


@pytest.mark.parametrize(
    ("graph", "number"),
    [
        ("rsm", 4),
        ("rsm_masks", 4),
        ("rsm_groups", 8),
        ("rsm_mask_groups", 8),
        ("propagate_labels", 3),
        ("dcf_update", 4),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_one_number_that_is_wrong_by_a_tenth_is_noticed(
    graph, number, precision, lite_bundle, images, reference
):
    """The similarity's scale, propagation's temperature, the rate at which a filter learns."""

    class Wrong(Bent):
        def run(self, graph, *feeds):
            bent = [f * np.float32(1.1) if k == number else f for k, f in enumerate(feeds)]
            return self._inner.run(graph, *bent)

    feeds = feeds_of(lite_bundle, graph, images)
    found = compare_graph(graph, reference, Wrong(reference, graph, None), "cpu", feeds)
    assert found.excess(bounds_of(precision, graph)) is not None


def test_float16_is_judged_by_what_its_roundings_cost_this_network(half_lite, images):
    """Eight bits in place of eleven pass every fixed bound of a good network, and not this one."""
    torch = pytest.importorskip("torch")
    right = eager(half_lite)
    feeds = feeds_of(half_lite, "backbone", images, (0.0,))
    bounds = bounds_of("fp16", "backbone")

    def of(bend):
        return compare_graph("backbone", right, bend, "cpu", feeds, right.rounded)

    class Rounded(Bent):
        def run(self, _graph, frames):
            return (right.rounded(frames, self._bend),)

    assert of(right).mean_rounding == 0
    own = of(Rounded(right, "backbone", torch.float16))
    assert own.mean_rounding == pytest.approx(1)
    assert own.worst_rounding <= 1
    assert own.excess(bounds) is None
    coarse = of(Rounded(right, "backbone", torch.bfloat16))
    assert coarse.mean_rounding > 2
    assert coarse.excess(bounds) is not None

    def one_point(array):
        array[0, 1, 1] = np.roll(array[0, 1, 1], 1)
        return array

    assert of(Bent(right, "backbone", one_point)).worst_rounding > 4
    assert np.isnan(of(Bent(right, "backbone", lambda array: array * np.nan)).mean_rounding)
    # A result that is the same everywhere has its own rounding and no other.
    flat = [(np.zeros_like(feeds[0][0]),)]
    assert compare_graph("backbone", right, right, "cpu", flat, right.rounded).worst_rounding == 0


def test_costs_that_nobody_is_matched_at_do_not_count(lite_bundle, images, reference):
    feeds = feeds_of(lite_bundle, "rsm", images, (0.2,))
    bent = Bent(reference, "rsm", lambda cost: np.where(cost > 0.85, np.float32(1), cost))
    assert compare_graph("rsm", reference, bent, "cpu", feeds).max_error == 0


def test_equal_candidates_may_change_places(lite_bundle, images, reference):
    class Turned(Bent):
        def run(self, graph, *feeds):
            best, labels = (np.array(a) for a in self._inner.run(graph, *feeds))
            return best[:, ::-1], labels[:, ::-1]

    (feeds,) = feeds_of(lite_bundle, "propagate_global", images, (0.0,))
    feeds = (*feeds[:4], np.full_like(feeds[4], 2.0), feeds[5])
    turned = Turned(reference, "propagate_global", None)
    found = compare_graph("propagate_global", reference, turned, "cpu", [feeds])
    # All candidates are the given ones, equally good: in any order they propagate the same.
    assert found.max_error < sum_error(2 * feeds[4].shape[1] + 10)


def test_another_shape_is_an_error(lite_bundle, images, reference):
    feeds = feeds_of(lite_bundle, "select", images, (0.0,))
    with pytest.raises(BackendError, match="got shape"):
        compare_graph(
            "select", reference, Bent(reference, "select", lambda x: x[:, :0]), "cpu", feeds
        )


def row(**changes):
    values = {"max_error": 0.0, "mean_error": 0.0, "cosine": 1.0, "lowest_cosine": 1.0}
    return GraphParity("cpu", "rsm", "cost", **(values | changes), sizes=1)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_bounds_hold_at_their_value_and_not_beyond(precision):
    for bounds in GRAPH_BOUNDS[precision]:
        assert row().excess(bounds) is None
        if bounds.max_error is not None:
            assert row(max_error=bounds.max_error).excess(bounds) is None
            assert "max error" in row(max_error=bounds.max_error * 1.01).excess(bounds)
        if bounds.lowest_cosine is not None:
            assert row(lowest_cosine=bounds.lowest_cosine).excess(bounds) is None
            assert "lowest cosine" in row(lowest_cosine=bounds.lowest_cosine - 1e-3).excess(bounds)
        if bounds.cosine is not None:
            assert "cosine" in row(cosine=bounds.cosine - 1e-3).excess(bounds)
        for name in ("mean_rounding", "worst_rounding"):
            bound = getattr(bounds, name)
            if bound is not None:
                assert row(**{name: bound}).excess(bounds) is None
                assert name.replace("_", " ") in row(**{name: bound * 1.01}).excess(bounds)


def test_a_cosine_that_is_not_a_number_is_beyond_every_bound():
    assert row(lowest_cosine=float("nan")).excess(FULL) is not None
    assert row(max_error=float("nan")).to_json()["max_error"] is None


# Tasks.


def tracks(index, ids, left=0.0, keypoints=None, labels=None):
    boxes = np.array([[left, 20 * k, left + 10, 20 * k + 10] for k in range(len(ids))], np.float32)
    count = len(ids)
    seen = Detections(
        boxes, np.ones(count, np.float32), np.zeros(count, np.int64), keypoints=keypoints
    )
    return Tracks(index, np.array(ids, np.int64), seen, label_map=labels)


def value_of(task, reference, results):
    (found,) = compare_tasks({task: reference}, {task: results}, {task: []}, "cpu")
    return found.outcome_value


def test_ids_agree_as_idf1_says():
    pytest.importorskip("trackeval")
    right = [tracks(i, [1, 2]) for i in range(4)]
    assert value_of("mot", right, [tracks(i, [7, 9]) for i in range(4)]) == 1.0
    # The second half under other ids: of 8 boxes, 4 keep their identity on either side.
    switched = [tracks(i, [1, 2] if i < 2 else [3, 4]) for i in range(4)]
    assert value_of("mots", right, switched) == pytest.approx(0.5)
    assert value_of("posetrack", right, []) == 0.0


def test_boxes_agree_by_their_mean_iou():
    right = [tracks(i, [1]) for i in range(3)]
    moved = [tracks(0, [1]), tracks(1, [1]), tracks(2, [1], left=5.0)]
    # Half overlap is a third of the union; the first frame is given.
    assert value_of("sot", right, moved) == pytest.approx((1 + 1 / 3) / 2)


def test_masks_agree_by_their_mean_iou():
    def half(rows):
        labels = np.zeros((4, 4), np.uint8)
        labels[:rows] = 1
        return labels

    right = [tracks(i, [1], labels=half(4)) for i in range(3)]
    less = [tracks(0, [1], labels=half(1)), *(tracks(i, [1], labels=half(2)) for i in (1, 2))]
    assert value_of("vos", right, less) == pytest.approx(0.5)


def test_joints_agree_by_their_distance_in_body_sizes():
    def people(shift, lost=False):
        joints = np.zeros((1, 17, 3), np.float32)
        joints[0, :2] = [[10, 10, 1], [10, 30, 1]]
        joints[0, 1, 0] += shift
        joints[0, 0, 2] *= not lost
        return joints

    right = [tracks(i, [3], keypoints=people(0)) for i in range(2)]
    # One of two joints is 2 pixels off a body of 20.
    moved = [right[0], tracks(1, [3], keypoints=people(2))]
    assert value_of("pose", right, moved) == pytest.approx(0.05)
    assert value_of("pose", right, [right[0], tracks(1, [3], keypoints=people(0, True))]) == 0.5
    assert value_of("pose", right, [right[0], tracks(1, [4], keypoints=people(0))]) == 1.0


def test_two_runs_agree_by_the_measure_of_their_task():
    pytest.importorskip("trackeval")
    right = [tracks(i, [1, 2]) for i in range(4)]
    switched = [tracks(i, [1, 2] if i < 2 else [3, 4]) for i in range(4)]
    found = agreement_of_tracks("mots", right, switched)
    # All boxes are found; of the two identities of each, either has half of the frames.
    assert found == {"HOTA": pytest.approx(0.5**0.5), "IDF1": pytest.approx(0.5)}
    assert agreement_of_tracks("mot", [], []) == {"HOTA": 1.0, "IDF1": 1.0}
    moved = [tracks(0, [1]), tracks(1, [1], left=5.0)]
    assert agreement_of_tracks("sot", right[:2], moved) == {"IoU": pytest.approx(1 / 3)}
    labels = np.eye(4, dtype=np.uint8)
    masks = [tracks(i, [1], labels=labels) for i in range(2)]
    assert agreement_of_tracks("vos", masks, masks) == {"J": 1.0}
    joints = np.zeros((1, 17, 3), np.float32)
    joints[0, :2] = [[10, 10, 1], [10, 30, 1]]
    bent = joints.copy()
    bent[0, 1, 0] += 5
    posed, other = ([tracks(i, [3], keypoints=one) for i in range(2)] for one in (joints, bent))
    # A quarter of the body's 20 pixels is too far for one of two joints.
    assert agreement_of_tracks("pose", posed, other) == {"PCK": 0.5}


def test_defaults_are_compared_with_the_full_method(quick_runner, workload, monkeypatch):
    pytest.importorskip("trackeval")
    found = {row.task: row for row in compare_defaults(quick_runner, workload, "cpu", SIZE)}
    assert {"mot", "mots", "posetrack", "vos"} <= set(found)
    assert found["vos"].what == "focus auto"
    for row in found.values():
        assert all(0 <= value <= 1 for value in row.agreement.values())
        assert row.pixels >= 0
    assert found["mot"].pixels < 1
    # Where the default is the full method, it agrees with itself.
    pairs = full_and_default(SIZE)
    same = {task: (what, full, full) for task, (what, full, _) in pairs.items()}
    monkeypatch.setattr(tasks_of_parity, "full_and_default", lambda _size: same)
    for row in compare_defaults(quick_runner, workload, "cpu", SIZE, ("mot", "vos")):
        assert set(row.agreement.values()) == {1.0}
        assert row.pixels == 1


def test_full_and_default_differ_in_what_is_named():
    for task, (what, full, usual) in full_and_default((96, 128)).items():
        name, value = what.split()
        assert task == full.task == usual.task
        differs = {f.name for f in fields(full) if getattr(full, f.name) != getattr(usual, f.name)}
        assert differs <= {name, "height", "width", "short_side"}
        assert name in differs
        assert getattr(usual, name) in (value, None)


FEW = tuple(task for task in TASKS if task != "sot")


def test_all_tasks_come_out_alike_on_onnx_runtime(lite_bundle, workload, reference):
    pytest.importorskip("trackeval")
    with GraphRunner(lite_bundle, "cpu", 1) as graphs:
        right, decided = run_from_same_state(reference, {"cpu": graphs}, workload, SIZE, FEW)
        own = run_tasks(graphs, workload, SIZE, FEW)
    found = {row.task: row for row in compare_tasks(right, own, decided["cpu"], "cpu")}
    assert set(found) == set(FEW)
    for task, result in found.items():
        assert result.frames == 4
        assert result.compared >= 3
        assert result.outcome_value == pytest.approx(0.0 if task == "pose" else 1.0, abs=5e-3)
        assert result.excess(TASK_BOUNDS["fp32"]) is None
    assert any(len(one) for one in right["mot"])


# The report and the command.


def test_the_first_graph_of_the_pipeline_is_named(lite_bundle, workload, reference):
    report = compare(
        lite_bundle, reference, ["cpu"], workload, name="PyTorch", tasks=(), shares=(0.0,)
    )
    assert report.excesses() == []
    assert [row.graph for row in report.graphs] == list(lite_bundle.spec.graphs)
    bad = {"rsm", "xcorr"}
    bent = tuple(replace(g, max_error=1.0) if g.graph in bad else g for g in report.graphs)
    wrong = TaskParity("cpu", "mot", "cost", 0.5, 3, "IDF1", 1.0, 4)
    excesses = replace(report, graphs=bent, tasks=(wrong,)).excesses()
    assert [text.split(":")[0] for text in excesses] == [
        "graph rsm on cpu",
        "graph xcorr on cpu",
        "task mot on cpu",
    ]


@pytest.fixture
def own_bundle(lite_bundle, tmp_path):
    """A copy that may be written to."""
    return Bundle.load(shutil.copytree(lite_bundle.path, tmp_path / "own"))


def bend_file(bundle, graph):
    """Make one graph of a bundle wrong in a way that only its results show."""
    onnx = pytest.importorskip("onnx")
    spec = bundle.spec.graphs[graph]
    path = bundle.path / spec.file
    model = onnx.load(path)
    weights = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = onnx.numpy_helper.to_array(weights)
    weights.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(0.9), weights.name))
    onnx.save(model, path)
    changed: GraphSpec = replace(spec, sha256=sha256_of(path), size_bytes=path.stat().st_size)
    whole = replace(bundle.spec, graphs={**bundle.spec.graphs, graph: changed})
    (bundle.path / SPEC_FILE).write_text(json.dumps(whole.to_json()))


def test_a_report_is_kept_in_the_bundle(own_bundle):
    said = run_cli("parity", own_bundle.path, "--graphs-only", "--backend", "cpu", "--count", "2")
    report = json.loads((own_bundle.path / "parity.json").read_text())
    assert report["passed"] is True
    assert report["precision"] == "fp32"
    assert [row["graph"] for row in report["graphs"]] == list(own_bundle.spec.graphs)
    assert report["sha256"]["rsm"] == own_bundle.spec.graphs["rsm"].sha256
    assert all(name in said for name in own_bundle.spec.graphs)
    # It belongs to no graph, and the bundle stays as good as it was.
    assert Bundle.load(own_bundle.path).spec == own_bundle.spec


def test_a_wrong_graph_ends_with_status_1_and_its_name(own_bundle, lite_bundle):
    bend_file(own_bundle, "dcf_response")
    against = ("--against", lite_bundle.path, "--graphs-only", "--backend", "cpu", "--count", "2")
    said = run_cli("parity", own_bundle.path, *against, status=1)
    assert "graph dcf_response on cpu" in said
    report = json.loads((own_bundle.path / "parity.json").read_text())
    assert report["passed"] is False
    assert report["first_exceeded"].startswith("graph dcf_response on cpu")


def test_bundles_of_two_networks_are_not_compared(own_bundle, random_resnet):
    said = run_cli("parity", own_bundle.path, "--against", random_resnet.path, status=2)
    assert "backbone is random-r18" in said


def test_weights_and_another_bundle_contradict_each_other(own_bundle):
    arguments = ("--against", own_bundle.path, "--weights", "w.pth")
    assert "give one of them" in run_cli("parity", own_bundle.path, *arguments, status=2)
