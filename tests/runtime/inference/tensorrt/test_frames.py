"""What whole frames cost on a GPU: launches, copies, waits, recordings; on a stand-in for one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from unitrack_edge.export.graphs.profiles import dimension_ranges, profiled
from unitrack_edge.heads.config import MotConfig, PoseConfig, VosConfig
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.pose import PoseHead
from unitrack_edge.heads.vos import VosHead
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.inference.base import OBJECT_COUNTS, filled_count, to_host
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.inference.tensorrt import memory as device_memory
from unitrack_edge.runtime.inference.tensorrt.engine import TensorrtEngine
from unitrack_edge.runtime.inference.tensorrt.memory import DeviceMemory
from unitrack_edge.runtime.preprocessing import FeatureExtractor

from ....evaluation.parity.test_same_state import Eyes
from ....support.gpu.fake_cuda import FakeCuda
from ....support.gpu.fake_tensorrt import FakeTensorrt, engine_spec

SIZE = (96, 160)


class Device:
    """The tiny graphs as engines on a GPU of host memory; a backend of `GraphRunner`.

    Args:
        graphs: Computes them.
    """

    name = "tensorrt"

    def __init__(self, graphs):
        self.cuda = FakeCuda()
        self.graphs = graphs
        ranges = dimension_ranges((), 8)
        known = graphs.spec.graphs
        inputs = {n: tuple(profiled(t, ranges) for t in g.inputs) for n, g in known.items()}
        self.engines = {n: engine_spec(graph, inputs[n]) for n, graph in known.items()}
        self.bundle = SimpleNamespace(
            spec=replace(graphs.spec, engines=tuple(self.engines.values())), graph=known.get
        )
        compute = {n: lambda *feeds, n=n: graphs.run(n, *feeds) for n in known}
        self.trt = FakeTensorrt(self.cuda, self.bundle, compute)
        self.memory = DeviceMemory(self.cuda)
        self._known = 0

    def open(self, bundle, graph):
        plan = f'{{"graph": "{graph}"}}'.encode()
        parts = self.trt.library(), self.memory, plan, bundle.spec.graphs[graph]
        return TensorrtEngine(
            *parts, self.engines[graph], precision="fp32", rebuild_command="rebuild"
        )

    def place(self, array):
        return self.memory.hold(array)

    def close(self):
        self.memory.close()

    def launches(self):
        """Launches so far."""
        return self.cuda.calls.count("execute") + self.cuda.calls.count("launch")

    def spent(self):
        """Launches, copies in, copies out and waits since the last call."""
        calls, self._known = Counter(self.cuda.calls[self._known :]), len(self.cuda.calls)
        launches = calls["execute"] + calls["launch"]
        return launches, calls["copy_in"], calls["copy_out"], calls["synchronize"]


@pytest.fixture
def device(tiny, monkeypatch):
    """On which the images here count for as much as those of networks do."""
    monkeypatch.setattr(device_memory, "AT_ONCE", SIZE[0] * SIZE[1] * 3)
    return Device(Eyes(tiny))


def frame_of(index, seed=0):
    """A still picture: what moves are the boxes."""
    picture = np.random.default_rng(seed).integers(0, 255, (*SIZE, 3), np.uint8)
    return Frame(index, index / 30, picture)


def boxes_of(count, index):
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 60, (count, 2)) + index % 3
    boxes = np.concatenate([corner, corner + rng.uniform(16, 30, (count, 2))], axis=1)
    return Detections(
        boxes.astype(np.float32), np.ones(count, np.float32), np.zeros(count, np.int64)
    )


def mot_head(graphs, preset):
    config = MotConfig(
        preset=preset, appearance="always", height=96, width=160, roi_height=2, roi_width=4
    )
    return MotHead(graphs, config)


def tracked(graphs, preset, counts, after=lambda: None):
    """Ids of every frame."""
    head, extractor = mot_head(graphs, preset), FeatureExtractor(graphs)
    ids = []
    for index, count in enumerate(counts):
        frame = frame_of(index)
        features = extractor.extract(*extractor.prepare(frame, SIZE))
        ids.append(head.step(frame, features, boxes_of(count, index)).ids.tolist())
        del features
        after()
    return ids


class Counted(Counter):
    """How often every graph ran with which numbers of rows."""

    def __init__(self, graphs, names):
        super().__init__()
        for name in names:
            engine = graphs.engine(name)
            engine.run = lambda feeds, name=name, run=engine.run: self._run(name, run, feeds)

    def _run(self, name, run, feeds):
        self[name, tuple(feed.shape[0] for feed in feeds.values())] += 1
        return run(feeds)

    def shapes(self, name):
        return [shape for found, shape in self if found == name]


@pytest.mark.parametrize("preset", ["unitrack", "memory"])
def test_a_crowd_that_changes_meets_few_shapes_and_is_tracked_alike(
    tiny, device, preset, monkeypatch
):
    """1 to 16 people: without filling up, box_features alone would meet 16 shapes."""
    counts = np.random.default_rng(1).integers(1, 17, 30).tolist()
    assert len(set(counts)) > 12
    with GraphRunner(device.bundle, device) as graphs:
        met = Counted(graphs, ("box_features", "rsm", "select"))
        got = tracked(graphs, preset, counts)
    assert got == tracked(Eyes(tiny), preset, counts)
    assert set(met.shapes("box_features")) == {(1, 8, 8), (1, 16, 16)}
    for name in ("rsm", "select"):
        # The last input of rsm is the scale.
        assert {size for shape in met.shapes(name) for size in shape} <= {1, *OBJECT_COUNTS}
    other = Device(Eyes(tiny))
    with GraphRunner(other.bundle, other) as graphs:
        monkeypatch.setattr(graphs, "filled", lambda count: count)
        assert tracked(graphs, preset, counts) == got
    replayed, before = (one.cuda.calls.count("launch") for one in (device, other))
    assert replayed > 1.3 * before


@pytest.mark.parametrize(
    ("count", "rows"), [(0, 0), (1, 8), (8, 8), (9, 16), (128, 128), (129, 256), (257, 512)]
)
def test_what_stacks_are_filled_up_to(count, rows):
    assert filled_count(count) == rows


PRESETS = pytest.mark.parametrize(("preset", "most"), [("unitrack", 4), ("memory", 6)])
"""Launches a frame: backbone, box_features, rsm, select; memory also selects what is compared."""


@PRESETS
def test_a_frame_of_boxes_sends_the_image_and_all_else_at_once_and_waits_once(device, preset, most):
    """Ahead goes the image, with the rows that were kept of the frame before, which nobody needs
    earlier; then the boxes' weights and the masks of what is compared, and its rows.

    Which rows are compared is known only once boxes were: the image would have to wait for that.
    """
    spent, ran, before = [], [], []
    with GraphRunner(device.bundle, device) as graphs:
        engine = graphs.engine("box_features")
        run = engine.run

        def watched(feeds):
            ran.append(device.launches())
            return run(feeds)

        def after():
            spent.append(device.spent())
            before.append(device.launches())

        engine.run = watched
        tracked(graphs, preset, [20] * 8, after)
    check_spent(spent, most, 2)
    # The backbone is under way when boxes are looked at.
    assert all(now > then for now, then in zip(ran[1:], before[:-1], strict=True))


def check_spent(spent, most, copies):
    """What frames cost, of which the first two lay out memory.

    Nothing is compared in the first frame, nor in others of preset memory whose places tell all;
    runs that nobody reads anything of wait for the next frame then.
    """
    assert spent[0][2:] == (0, 0)
    assert {row[1:] for row in spent[2:]} <= {(copies, 1, 1), (copies - 1, 0, 0)}
    assert sum(row[3] for row in spent[2:]) >= 3
    assert sum(row[0] for row in spent[2:]) <= most * len(spent[2:])


@PRESETS
def test_a_small_image_is_no_copy_of_its_own(device, preset, most, monkeypatch):
    monkeypatch.setattr(device_memory, "AT_ONCE", 1 << 20)
    spent = []
    with GraphRunner(device.bundle, device) as graphs:
        tracked(graphs, preset, [20] * 8, lambda: spent.append(device.spent()))
    check_spent(spent, most, 1)


def propagated(graphs, labels, frames, after=lambda: None):
    """The label map of the last frame."""
    head = VosHead(graphs, labels, VosConfig(short_side=96, focus="off"))
    extractor = FeatureExtractor(graphs)
    for index in range(frames):
        frame = frame_of(index)
        tracks = head.step(frame, extractor.extract(*extractor.prepare(frame, SIZE)))
        after()
    return tracks.label_map


def test_a_frame_of_masks_sends_the_image_and_fetches_the_label_map(device):
    """Backbone, the first frame, the recent ones, labels of cells, and those of pixels."""
    labels = np.zeros(SIZE, np.uint8)
    labels[30:60, 40:80] = 7
    spent = []
    with GraphRunner(device.bundle, device) as graphs:
        got = propagated(graphs, labels, 12, lambda: spent.append(device.spent()))
    # The matrices that interpolate are sent once.
    assert spent[1] == (5, 3, 1, 1)
    assert set(spent[2:]) == {(5, 1, 1, 1)}
    assert device.cuda.fetched == [labels.size] * 11
    want = propagated(device.graphs, labels, 12)
    assert np.count_nonzero(got == 7) > 100
    # Rounding may turn round what is as good as equal.
    assert (got != want).mean() < 1e-3


def test_a_frame_of_poses_sends_the_image_and_fetches_the_maps(device):
    """Backbone, the first frame, the recent ones, and the belief maps of joints."""
    joints = np.zeros((2, 17, 3), np.float32)
    joints[..., :2] = np.random.default_rng(3).uniform(20, 90, (2, 17, 2))
    joints[..., 2] = 1
    spent = []
    with GraphRunner(device.bundle, device) as graphs:
        head = PoseHead(graphs, joints, PoseConfig(short_side=96))
        extractor = FeatureExtractor(graphs)
        for index in range(8):
            frame = frame_of(index)
            head.step(frame, extractor.extract(*extractor.prepare(frame, SIZE)))
            spent.append(device.spent())
    assert set(spent[1:]) == {(4, 1, 1, 1)}


def test_a_larger_frame_is_sent_once_and_made_smaller_there(device):
    """One launch more and no copy more than an image that fits; the shares are sent once."""
    picture = cv2.GaussianBlur(frame_of(0).image, (3, 3), 0)
    frame = Frame(0, 0.0, cv2.resize(picture, (SIZE[1] * 2, SIZE[0] * 2)))
    spent, images = [], []
    with GraphRunner(device.bundle, device) as graphs:
        extractor = FeatureExtractor(graphs)
        for _ in range(4):
            image, letterbox = extractor.prepare(frame, SIZE)
            extractor.extract(image, letterbox)
            spent.append(device.spent())
            images.append(to_host(image))
            device.spent()
    assert spent[0][1] == 5
    assert set(spent[1:]) == {(2, 1, 0, 0)}
    for image in images:
        np.testing.assert_array_equal(image[0], letterbox.apply(frame.image))


def test_all_numbers_of_objects_are_met_before_the_first_frame(device):
    with GraphRunner(device.bundle, device) as graphs:
        engine = graphs.engine("box_features")
        met = Counted(graphs, ("box_features",))
        engine.warm_up()
    filled = [size for size in OBJECT_COUNTS if size <= 128]
    assert sorted(met.shapes("box_features")) == [
        (1, size, size) for size in (*filled[:2], 32, 64, 128)
    ]


def test_warming_up_pins_little_of_the_systems_memory(device):
    with GraphRunner(device.bundle, device) as graphs:
        engine = graphs.engine("propagate_recent")
        inputs = device.engines[engine.spec.name].inputs
        fed = sum(int(np.prod(t.opt_shape or t.shape)) for t in inputs if t.dtype == "float32")
        engine.warm_up()
        assert device.launches() == 1
        assert 4 * fed > 16 << 20
        assert sum(map(len, device.cuda.pinned.values())) <= 2 << 20


def test_a_batch_is_taken_apart_on_the_device(device):
    """Features of each image, where they were computed: nothing comes to the host."""
    images = np.stack([frame_of(0, seed).image for seed in range(3)])
    with GraphRunner(device.bundle, device) as graphs:
        (together,) = graphs.run("backbone", images)
        device.spent()
        rows = together.rows()
        address, size = together.address, together.nbytes // 3
        del together
        assert [row.address for row in rows] == [address + k * size for k in range(3)]
        assert device.spent() == (0, 0, 0, 0)
        # Memory of the batch is not given to others while a row is held.
        other = graphs.place(np.ones((3, *rows[0].shape[1:]), np.float32))
        for row, image in zip(rows, images, strict=True):
            (alone,) = graphs.run("backbone", image[None])
            np.testing.assert_array_equal(to_host(row), to_host(alone))
        assert other.address != address
        del rows, row, alone, other
