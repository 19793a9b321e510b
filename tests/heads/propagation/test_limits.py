"""Propagation where arrays live on a device and engines take no more than they were built for."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.export.graphs.profiles import dimension_ranges
from unitrack_edge.heads.propagation.propagator import Propagator
from unitrack_edge.heads.propagation.tiles import TilePlan
from unitrack_edge.runtime.inference.runner import GraphRunner

from ...support.tolerance import assert_within
from .test_propagator import DEFAULTS, error_of, video


class Handle:
    """An array on a device: only `to_host` gives it back."""

    def __init__(self, array):
        self._array = np.array(array)
        self._array.setflags(write=False)
        self.shape, self.dtype = self._array.shape, self._array.dtype

    def to_host(self):
        return self._array.copy()


def device_runner(limits=None):
    pytest.importorskip("torch")
    from ...reference.graphs_in_torch import TorchRunner

    class DeviceRunner(TorchRunner):
        """Gives handles, counts the bytes that come from the host, refuses what is too large."""

        def __init__(self):
            super().__init__()
            self.uploaded = 0
            self.largest = {}

        def place(self, array):
            if isinstance(array, Handle):
                return array
            self.uploaded += array.nbytes
            return Handle(array)

        def limit(self, graph, input_index, axis):
            assert (input_index, axis) == (3, 0)
            return (limits or {}).get(graph)

        def run(self, graph, *feeds):
            if graph != "propagate_labels":
                size = feeds[3].shape[0]
                self.largest[graph] = max(self.largest.get(graph, 0), size)
                assert size <= (limits or {}).get(graph, size), f"{graph} takes no {size}"
            held = [self.place(feed) for feed in feeds]
            return tuple(Handle(out) for out in super().run(graph, *[h.to_host() for h in held]))

    return DeviceRunner()


def labels_of(runner, frames, first, settings, *, place=False):
    rows, cols = frames[0].shape[1:3]
    propagator = Propagator(runner, rows, cols, **settings)
    held = [runner.place(frame) for frame in frames] if place else frames
    propagator.start(held[0], first)
    runner.uploaded = 0
    return [propagator.step(frame) for frame in held[1:]]


@pytest.mark.parametrize("first_radius", [None, 5.0])
@pytest.mark.parametrize("memory", [0, 3])
def test_nothing_but_the_frame_is_uploaded_in_a_step(tiny, memory, first_radius):
    frames, first = video(19, 23, 6, 3)
    settings = DEFAULTS | {"radius": 4.0, "memory": memory, "first_radius": first_radius}
    expected = labels_of(tiny, frames, first, settings)
    runner = device_runner()
    got = labels_of(runner, frames, first, settings, place=True)
    assert runner.uploaded == 0
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("first_radius", [None, 5.0])
@pytest.mark.parametrize("limits", [(1000, 2), (130, 100), (170, 1), (10_000, 1000)])
def test_no_call_is_larger_than_the_engines_take(tiny, limits, first_radius):
    frames, first = video(19, 23, 4, 2)
    settings = DEFAULTS | {"radius": 4.0, "memory": 2, "first_radius": first_radius}
    expected = labels_of(tiny, frames, first, settings)
    runner = device_runner(dict(zip(("propagate_global", "propagate_local"), limits, strict=True)))
    got = labels_of(runner, frames, first, settings, place=True)
    for number, (a, b) in enumerate(zip(got, expected, strict=True), 1):
        assert_within(a, b, 2 * error_of(settings, number))
    # Labels that were put together on the host go back once, not with every later frame.
    in_parts = runner.calls.count("propagate_labels") > len(got)
    assert runner.uploaded == (sum(labels.nbytes for labels in got) if in_parts else 0)
    assert ("propagate_global" in runner.largest) == (first_radius is None)


@pytest.mark.parametrize(
    "size_hw", [(480, 853), (480, 640), (608, 1088), (360, 640), (720, 1280), (240, 320)]
)
def test_engines_are_built_for_the_tiles_that_are_used(size_hw):
    rows, cols = (-(-side // 8) for side in size_hw)
    low, expected, high = dimension_ranges((size_hw,), 8)["per_tile"]
    used = TilePlan.build(rows, cols, 12.0, keys=10).query_index.shape[1]
    assert low <= used <= high
    # What they are made fast for is not twice what they get.
    assert 0.8 <= used / expected <= 1.25


def test_engines_are_used_to_their_limit_and_not_to_the_cpus():
    """An engine has its own bound of memory: the one for the CPU would cut a frame in parts."""
    frames, first = video(60, 107, 2, 2)
    runner = device_runner({"propagate_global": 100_000, "propagate_local": 1000})
    labels_of(runner, frames, first, DEFAULTS | {"memory": 1})
    assert runner.calls.count("propagate_labels") == 1


@pytest.mark.parametrize("on_device", [False, True])
def test_without_engines_a_device_has_a_bound_of_its_own(on_device):
    """ONNX Runtime takes any shape: a frame is one part on a GPU, and several on a CPU."""
    frames, first = video(60, 107, 2, 2)
    runner = device_runner()
    where = SimpleNamespace(on_device=on_device)
    runner.values_at_once = lambda: GraphRunner.values_at_once(where)
    labels_of(runner, frames, first, DEFAULTS | {"memory": 1})
    assert (runner.calls.count("propagate_labels") == 1) == on_device
