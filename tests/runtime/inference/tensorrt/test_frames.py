"""What whole frames cost on a GPU: launches, copies, waits, recordings; on a stand-in for one."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from unitrack_edge.export.graphs.profiles import dimension_ranges, profiled
from unitrack_edge.heads.config import (
    MotConfig,
    MotsConfig,
    PoseConfig,
    PosetrackConfig,
    VosConfig,
)
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.mots import MotsHead
from unitrack_edge.heads.pose import PoseHead
from unitrack_edge.heads.posetrack import PosetrackHead
from unitrack_edge.heads.vos import VosHead
from unitrack_edge.records import Detections, Frame
from unitrack_edge.runtime.inference.base import OBJECT_COUNTS, filled_count, to_host
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.inference.tensorrt import memory as device_memory
from unitrack_edge.runtime.inference.tensorrt.engine import READY, TensorrtEngine
from unitrack_edge.runtime.inference.tensorrt.memory import DeviceMemory
from unitrack_edge.runtime.pipeline import Viewer
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

    def send_with(self, graph):
        self.memory.send_with(graph)

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


def frame_of(index, seed=0, scale=1):
    """A still picture: what moves are the boxes."""
    shape = SIZE[0] * scale, SIZE[1] * scale, 3
    return Frame(index, index / 30, np.random.default_rng(seed).integers(0, 255, shape, np.uint8))


def boxes_of(count, index):
    rng = np.random.default_rng(count)
    corner = rng.uniform(0, 60, (count, 2)) + index % 3
    boxes = np.concatenate([corner, corner + rng.uniform(16, 30, (count, 2))], axis=1)
    return Detections(
        boxes.astype(np.float32), np.ones(count, np.float32), np.zeros(count, np.int64)
    )


def mot_head(graphs, preset, appearance="always"):
    size = {"height": 96, "width": 160} if appearance == "always" else {}
    config = MotConfig(preset=preset, appearance=appearance, roi_height=2, roi_width=4, **size)
    return MotHead(graphs, config)


def mots_head(graphs, preset, appearance):
    return MotsHead(graphs, MotsConfig(preset=preset, appearance=appearance))


def posetrack_head(graphs, preset, appearance):
    return PosetrackHead(graphs, PosetrackConfig(preset=preset, appearance=appearance))


def tracked(graphs, preset, boxes, after=lambda: None, appearance="always", scale=1, make=mot_head):
    """Ids of every frame, each as a pipeline does it.

    Args:
        graphs: What computes.
        preset: Of the head.
        boxes: The detections of each frame.
        after: Called after every frame.
        appearance: Of the head.
        scale: How many times larger the frame is than the network's image.
        make: The head.
    """
    head = make(graphs, preset, appearance)
    viewer, ids = Viewer(graphs, [head]), []
    for index, seen in enumerate(boxes):
        frame = frame_of(index, scale=scale)
        views = viewer.views(frame, [head.request(frame, seen)])
        (features,) = views.given(viewer.features(views))
        ids.append(head.step(frame, features, seen).ids.tolist())
        del features, views
        after()
    return ids


def crowds(counts):
    return [boxes_of(count, index) for index, count in enumerate(counts)]


def meetings(count, frames):
    """Pairs of people who walk through one another, each pair far from the others.

    Returns:
        The detections of each frame.
    """
    found = []
    for index in range(frames):
        corners = []
        for pair in range(count):
            y, x = 2 + 32 * (pair % 3), 4 + 52 * (pair // 3)
            corners += [(x + 2 * index, y), (x + 24 - 2 * index, y + 3)]
        corner = np.array(corners, np.float32)
        boxes = np.concatenate([corner, corner + np.float32([8, 20])], axis=1).astype(np.float32)
        ones = np.ones(len(boxes), np.float32)
        found.append(Detections(boxes, ones, np.zeros(len(boxes), np.int64)))
    return found


def with_shapes(boxes):
    """The same objects with masks and joints that fill their boxes."""
    found = []
    for seen in boxes:
        masks = np.zeros((len(seen), *SIZE), np.bool_)
        joints = np.ones((len(seen), 17, 3), np.float32)
        for row, box in enumerate(seen.boxes_xyxy):
            left, top, right, bottom = box.astype(int)
            masks[row, top:bottom, left:right] = True
            joints[row, :, :2] = np.linspace(box[:2], box[2:], 17)
        found.append(replace(seen, masks=masks, keypoints=joints))
    return found


class Counted(Counter):
    """How often every graph ran with which numbers of rows."""

    def __init__(self, graphs, names):
        super().__init__()
        self.sizes = defaultdict(list)
        for name in names:
            engine = graphs.engine(name)
            engine.run = lambda feeds, name=name, run=engine.run: self._run(name, run, feeds)

    def _run(self, name, run, feeds):
        self[name, tuple(feed.shape[0] for feed in feeds.values())] += 1
        self.sizes[name].append(next(iter(feeds.values())).shape[1:3])
        return run(feeds)

    def images(self, name):
        """Sizes of the first input, an image or a feature map, since they were cleared."""
        return self.sizes[name]

    def clear(self):
        super().clear()
        self.sizes.clear()

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
        met = Counted(graphs, ("box_features", "rsm", "rsm_groups", "select"))
        got = tracked(graphs, preset, crowds(counts))
    assert got == tracked(Eyes(tiny), preset, crowds(counts))
    assert set(met.shapes("box_features")) == {(1, 8, 8), (1, 16, 16)}
    assert met.shapes("rsm_groups" if preset == "memory" else "rsm")
    for name in ("rsm", "rsm_groups", "select"):
        # The last input of rsm is the scale.
        assert {size for shape in met.shapes(name) for size in shape} <= {1, *OBJECT_COUNTS}
    other = Device(Eyes(tiny))
    with GraphRunner(other.bundle, other) as graphs:
        monkeypatch.setattr(graphs, "filled", lambda count: count)
        assert tracked(graphs, preset, crowds(counts)) == got
    replayed, before = (one.cuda.calls.count("launch") for one in (device, other))
    assert replayed > 1.3 * before


@pytest.mark.parametrize(
    ("count", "rows"), [(0, 0), (1, 8), (8, 8), (9, 16), (128, 128), (129, 256), (257, 512)]
)
def test_what_stacks_are_filled_up_to(count, rows):
    assert filled_count(count) == rows


PRESETS = pytest.mark.parametrize("preset", ["unitrack", "memory"])


def check_spent(spent, most):
    """What frames cost, of which the first few lay out memory: a peak, not a mean.

    Nothing is compared in the first frame, nor in others of preset memory whose places tell all.

    Args:
        spent: Launches, copies in, copies out and waits of each frame.
        most: Of any frame; exactly.
    """
    rows = np.array(spent[3:])
    assert tuple(rows.max(axis=0)) == most
    # The result of a frame is waited for once and only where there is one.
    assert (rows[:, 2] == rows[:, 3]).all()
    assert rows[:, 3].sum() >= 3


@PRESETS
@pytest.mark.parametrize("at_once", [SIZE[0] * SIZE[1] * 3, 1 << 20])
def test_a_frame_of_boxes_sends_all_at_once_and_waits_once(device, preset, at_once, monkeypatch):
    """Backbone, box_features, rsm or rsm_groups, select: with the image go the boxes' weights.

    They are known before the image is sent, and all that it waits for. Which rows are compared is
    known later: the device reads that where it is.
    """
    monkeypatch.setattr(device_memory, "AT_ONCE", at_once)
    spent, sent = [], []
    with GraphRunner(device.bundle, device) as graphs:
        engine = graphs.engine("box_features")
        run = engine.run

        def watched(feeds):
            before = device.launches()
            found = run(feeds)
            sent.append(device.launches() - before)
            return found

        engine.run = watched
        tracked(graphs, preset, crowds([20] * 12), lambda: spent.append(device.spent()))
        assert engine.recorded
    check_spent(spent, (4, 1, 1, 1))
    # The device works from then on, and not when a result is asked for: on the image, the boxes
    # and what was left of the frame before.
    assert min(sent[3:]) >= 2


@PRESETS
def test_a_frame_that_is_made_smaller_there_takes_one_launch_more(device, preset):
    spent = []
    with GraphRunner(device.bundle, device) as graphs:
        boxes = crowds([20] * 12)
        tracked(graphs, preset, boxes, lambda: spent.append(device.spent()), scale=2)
    check_spent(spent, (5, 1, 1, 1))


@pytest.mark.parametrize(
    ("appearance", "pairs", "launches"),
    # Of twelve people two batches: twice the backbone, box_features and select.
    [("always", 1, 4), ("always", 6, 4), ("auto", 1, 4), ("auto", 4, 5), ("auto", 6, 8)],
)
def test_pairs_that_meet_apart_are_compared_in_one_launch(
    tiny, device, appearance, pairs, launches, monkeypatch
):
    """Each pair by itself, whether all features are computed or those alone that are compared."""
    if appearance == "auto":
        # Images of objects are as large here as anywhere.
        monkeypatch.setattr(device_memory, "AT_ONCE", 1 << 20)
    boxes, spent = meetings(pairs, 14), []
    with GraphRunner(device.bundle, device) as graphs:
        met = Counted(graphs, ("rsm", "rsm_groups"))
        got = tracked(
            graphs, "memory", boxes, lambda: spent.append(device.spent()), appearance=appearance
        )
    assert got == tracked(Eyes(tiny), "memory", boxes, appearance=appearance)
    check_spent(spent, (launches, 1, 1, 1))
    assert not met.shapes("rsm")
    assert max(met.values()) < 14


@pytest.mark.parametrize("make", [mots_head, posetrack_head])
@pytest.mark.parametrize(("pairs", "most"), [(1, (4, 1, 1, 1)), (4, (5, 1, 1, 1))])
def test_masks_and_poses_that_meet_cost_as_much(tiny, device, make, pairs, most, monkeypatch):
    """Features of objects stay on the device, and their groups are compared at once."""
    monkeypatch.setattr(device_memory, "AT_ONCE", 1 << 20)
    boxes, spent = with_shapes(meetings(pairs, 14)), []
    with GraphRunner(device.bundle, device) as graphs:
        met = Counted(graphs, ("rsm_masks", "rsm_mask_groups"))
        ends = {"appearance": "auto", "make": make}
        got = tracked(graphs, "memory", boxes, lambda: spent.append(device.spent()), **ends)
    assert got == tracked(Eyes(tiny), "memory", boxes, **ends)
    check_spent(spent, most)
    assert met.shapes("rsm_mask_groups")
    assert not met.shapes("rsm_masks")


@pytest.mark.parametrize("make", [mot_head, mots_head])
def test_bundles_of_before_do_the_same_four_at_a_time(tiny, make, monkeypatch):
    """They have no graph for several groups, and engines for feature maps of a frame alone."""

    def of_before(sizes_hw, stride, today=dimension_ranges):
        ranges = today(sizes_hw, stride)
        return {**ranges, "map_rows": ranges["rows"]}

    monkeypatch.setattr(sys.modules[__name__], "dimension_ranges", of_before)
    graphs = Eyes(tiny)
    known = {name: graph for name, graph in graphs.spec.graphs.items() if "groups" not in name}
    graphs.spec = replace(graphs.spec, graphs=known)
    old = Device(graphs)
    boxes, ends = with_shapes(meetings(6, 14)), {"appearance": "auto", "make": make}
    with GraphRunner(old.bundle, old) as runner:
        met = Counted(runner, ("backbone",))
        got = tracked(runner, "memory", boxes, **ends)
    assert got == tracked(Eyes(tiny), "memory", boxes, **ends)
    assert max(count for (count,) in met.shapes("backbone")) == 4


def test_frames_that_compare_nothing_read_what_they_are_fed_at_two_places(device):
    """Nothing is waited for, so that what the device may still read is not written again."""
    spent = []
    apart = [meetings(6, 1)[0]] * 12
    with GraphRunner(device.bundle, device) as graphs:
        tracked(graphs, "memory", apart, lambda: spent.append(device.spent()))
    assert {row[1:] for row in spent[3:]} == {(1, 0, 0)}
    assert sum(row[0] for row in spent[3:]) == 3 * len(spent[3:])


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


@pytest.mark.parametrize("pairs", [1, 6])
def test_images_of_objects_have_sizes_that_were_met_before_the_first_frame(device, pairs):
    """A GPU prepares itself for each new size, which takes as long as several frames."""
    with GraphRunner(device.bundle, device) as graphs:
        met = Counted(graphs, ("backbone", "box_features", "rsm_groups", "select"))
        head = mot_head(graphs, "memory", appearance="auto")
        head.warm_up()
        assert head.backbone_pixels == 0
        known = {name: set(met.images(name)) for name in ("backbone", "box_features")}
        met.clear()
        tracked(graphs, "memory", meetings(pairs, 14), appearance="auto")
        for name, sizes in known.items():
            assert met.images(name)
            assert set(met.images(name)) <= sizes


def test_heads_warm_up_once_and_before_engines_make_contexts(device):
    """A source that starts later holds nobody up."""
    made = []
    with GraphRunner(device.bundle, device) as graphs:
        graphs.engine("box_features")
        for _ in range(2):
            graphs.warm_up([lambda: made.append(len(device.trt.contexts))])
        assert len(made) == 1
        assert len(device.trt.contexts) >= made[0] + READY


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


def test_rows_of_a_batch_begin_where_tensorrt_takes_them(device):
    """Of 11 x 13 cells of 64 bytes every second row and more lies at no multiple of 256."""
    images = np.stack([frame_of(0, seed).image[:88, :104] for seed in range(3)])
    feeds = np.ones((1, 2, 11), np.float32), np.ones((1, 4, 13), np.float32)
    with GraphRunner(device.bundle, device) as graphs:
        (together,) = graphs.run("backbone", images)
        rows = together.rows()
        del together
        for row, image in zip(rows, images, strict=True):
            (alone,) = graphs.run("backbone", image[None])
            want, got = (graphs.run("box_features", one, *feeds)[0] for one in (alone, row))
            np.testing.assert_array_equal(to_host(got), to_host(want))
        assert device.cuda.calls.count("copy_within") == 3
        del rows, row, alone, want, got
