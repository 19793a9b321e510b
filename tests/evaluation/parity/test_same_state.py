"""Tasks compared from the same state: ties are no faults, and what is computed wrongly is one.

The heads' graphs run in PyTorch for 16 channels, behind a backbone that sees each cell's colour.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from unitrack_edge.evaluation.benchmark.workload import TASKS, scene_workload
from unitrack_edge.evaluation.parity.graphs import TASK_BOUNDS
from unitrack_edge.evaluation.parity.same_state import (
    Pair,
    cost_difference,
    label_overlap,
    paired,
    response_difference,
)
from unitrack_edge.evaluation.parity.tasks import (
    TaskParity,
    compare_tasks,
    run_from_same_state,
    run_tasks,
)
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.bundle.spec import GraphSpec, TensorSpec
from unitrack_edge.runtime.inference.base import Graphs

SIZE = (96, 128)


class Eyes(Graphs):
    """The tiny graphs and a backbone; the outputs of some may be bent.

    Args:
        graphs: The heads'.
        bends: By graph, what is made of its first output.
    """

    def __init__(self, graphs, **bends):
        frames = TensorSpec("frames", "uint8", ("batch", "height", "width", 3))
        features = TensorSpec("features", "float32", ("batch", "rows", "cols", 16))
        backbone = GraphSpec("backbone", "", "", 0, (frames,), (features,))
        self.spec = replace(graphs.spec, graphs={"backbone": backbone, **graphs.spec.graphs})
        self.calls = []
        self._graphs, self._bends = graphs, bends
        self._mix = np.random.default_rng(0).standard_normal((4, 16))

    def run(self, graph, *feeds):
        self.calls.append(graph)
        outputs = (self._see(*feeds),) if graph == "backbone" else self._graphs.run(graph, *feeds)
        bend = self._bends.get(graph, lambda array: array)
        return (bend(outputs[0].copy()), *outputs[1:])

    def _see(self, images):
        height, width = (-(-side // 8) for side in images.shape[1:3])
        cells = [cv2.resize(i, (width, height), interpolation=cv2.INTER_AREA) for i in images]
        colours = np.pad(np.stack(cells) / 127.5 - 1, ((0, 0),) * 3 + ((0, 1),), constant_values=1)
        points = np.maximum(colours @ self._mix, 0) + 0.05
        return (points / np.linalg.norm(points, axis=3, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def clip():
    return scene_workload(3, SIZE, 3)


def compared(reference, other, clip, *tasks):
    """What is found of each task, by its name."""
    right, decided = run_from_same_state(reference, {"other": other}, clip, SIZE, tasks)
    own = run_tasks(other, clip, SIZE, tasks)
    return {row.task: row for row in compare_tasks(right, own, decided["other"], "other")}


def test_two_sides_that_compute_alike_are_alike_in_every_task(tiny, clip):
    pytest.importorskip("trackeval")
    found = compared(Eyes(tiny), Eyes(tiny), clip, *TASKS)
    assert list(found) == list(TASKS)
    for row in found.values():
        assert row.compared >= 2
        assert row.value == (1.0 if row.measure == "label IoU" else 0.0)
        assert row.outcome_value == (0.0 if row.outcome == "joint distance" else 1.0)


def test_the_reference_is_not_disturbed_by_what_is_beside_it(tiny, clip):
    alone = run_tasks(Eyes(tiny), clip, SIZE, TASKS)
    bent = {name: Eyes(tiny, rsm=lambda x: 1 - x, dcf_response=lambda x: -x) for name in "ab"}
    beside, _ = run_from_same_state(Eyes(tiny), bent, clip, SIZE, TASKS)
    for task in TASKS:
        for one, other in zip(alone[task], beside[task], strict=True):
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.detections.boxes_xyxy, other.detections.boxes_xyxy)
    # The heads of a frame share one pass; sot has passes of its own.
    assert bent["a"].calls.count("backbone") == bent["b"].calls.count("backbone") == 3 + 1 + 2 * 2


def transposed(response):
    return np.ascontiguousarray(response.swapaxes(-1, -2))


def less_alike(cost):
    return 1 - (1 - cost) * np.float32(0.9)


PLANTED = {
    "one scale": ("mot", {"rsm": less_alike}),
    "the masks' scale": ("mots", {"rsm_masks": less_alike}),
    "weights of labels": ("vos", {"propagate_labels": lambda labels: labels**2}),
    "order of labels": ("pose", {"propagate_labels": lambda x: x[:, ::-1].copy()}),
    "the response's scale": ("sot", {"dcf_response": lambda x: x * np.float32(1.1)}),
    "a response transposed": ("sot", {"dcf_response": transposed}),
    "another order of channels": ("mot", {"backbone": lambda x: x[..., ::-1].copy()}),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_found_by_the_task_that_uses_it(fault, tiny, clip):
    task, bends = PLANTED[fault]
    right, decided = run_from_same_state(
        Eyes(tiny), {"bent": Eyes(tiny, **bends)}, clip, SIZE, (task,)
    )
    (found,) = compare_tasks(right, right, decided["bent"], "bent")
    assert found.compared
    assert found.excess(TASK_BOUNDS["fp16"]) is not None


def test_equal_choices_made_differently_are_no_fault(tiny, clip):
    """All scales respond alike; a rounding error decides, and is fed back."""

    def tipped(which):
        def bend(response):
            even = np.broadcast_to(response[:1], response.shape).copy()
            if len(even) == 3:
                # The penalty on a change of scale, taken back.
                even[[0, 2]] /= np.float32(0.985)
                even[which] *= np.float32(1 + 1e-5)
            return even

        return Eyes(tiny, dcf_response=bend)

    found = compared(tipped(0), tipped(2), clip, "sot")["sot"]
    assert found.outcome_value < 0.95, "on one side the boxes shrink, on the other they grow"
    assert 0 < found.value < 1e-4
    assert found.excess(TASK_BOUNDS["fp32"]) is None


def test_a_side_of_float16_takes_the_state_of_one_of_float32(tiny, clip):
    from ...reference.graphs_in_torch import TorchRunner

    class Half(Eyes):
        """Its features are float16."""

        def _see(self, images):
            return super()._see(images).astype(np.float16)

    tasks = tuple(task for task in TASKS if task != "pose")
    half = Half(TorchRunner(dtype="float16"))
    _, decided = run_from_same_state(Eyes(tiny), {"half": half}, clip, SIZE, tasks)
    for pairs in decided["half"].values():
        assert pairs
        assert all(np.isfinite(pair.got).all() for pair in pairs)


def test_engines_of_fewer_objects_make_both_sides_work_in_parts(tiny, clip):
    class Narrow(Eyes):
        """Compares two tracklets at once."""

        def limit(self, graph, input_index, axis):
            return 2 if (graph, input_index, axis) == ("rsm", 0, 0) else None

    found = compared(Eyes(tiny), Narrow(tiny), clip, "mot")["mot"]
    assert found.value == 0.0
    assert found.compared > 2


def test_a_value_that_is_no_number_is_beyond_every_bound():
    wrong = TaskParity("cpu", "mot", "cost", float("nan"), 1, "IDF1", 1.0, 4)
    assert wrong.excess(TASK_BOUNDS["int8"]) is not None
    assert wrong.to_json()["value"] is None


def test_without_trackeval_only_the_figure_beside_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    box = np.array([[0, 0, 9, 9]], np.float32)
    seen = Detections(box, np.ones(1, np.float32), np.zeros(1, np.int64))
    tracks = [Tracks(0, np.ones(1, np.int64), seen)]
    pairs = [Pair(np.full((1, 1), 0.2), np.full((1, 1), 0.3))]
    (found,) = compare_tasks({"mot": tracks}, {"mot": tracks}, {"mot": pairs}, "cpu")
    assert found.outcome_value is None
    assert found.value == pytest.approx(0.1)
    assert found.excess(TASK_BOUNDS["fp16"]) is not None


def test_calls_that_only_one_side_makes_are_as_different_as_can_be():
    assert np.isnan(cost_difference(paired([("rsm", np.ones((2, 2)))], [])))
    assert np.isnan(cost_difference(paired([("rsm", np.ones((2, 2)))], [("rsm", np.ones((2, 1)))])))


def pair(want, got):
    return Pair(np.array(want, np.float64), np.array(got, np.float64))


def test_costs_that_nobody_is_matched_at_do_not_count():
    assert cost_difference([]) == 0
    assert cost_difference([pair([[0.9, 0.3]], [[0.99, 0.3]])]) == 0
    assert cost_difference([pair([[0.9, 0.3]], [[0.7, 0.3]])]) == pytest.approx(0.1)
    assert np.isnan(cost_difference([pair([[0.1]], [[0.1]]), pair([[0.1]], [[np.nan]])]))


def test_labels_overlap_as_their_scores_do():
    assert label_overlap([], background=True) == 1
    right, other = [[0.5, 0.5], [1.0, 0.0]], [[0.75, 0.25], [1.0, 0.0]]
    assert label_overlap([pair(right, other)], background=True) == pytest.approx(0.5)
    assert label_overlap([pair(right, other)], background=False) == pytest.approx(1.75 / 2.25)
    # A small object's cell among many of a large one weighs little.
    many = pair(np.full((99, 2), 1.0), np.full((99, 2), 1.0))
    assert label_overlap([pair(right, other), many], background=True) > 0.99
    assert np.isnan(label_overlap([pair(right, [[0.5, np.nan], [1, 0]])], background=True))


def test_responses_differ_by_their_own_measure():
    assert response_difference([]) == 0
    assert response_difference([pair([[0.0, 2.0]], [[0.0, 2.1]])]) == pytest.approx(0.05)
    both = [pair([[0.0, 0.2]], [[0.0, 0.21]]), pair([[5.0]], [[5.0]])]
    assert response_difference(both) == pytest.approx(0.05)
    assert np.isnan(response_difference([pair([[1.0]], [[np.nan]])]))
