"""The single-object head: made-up clips with a cheap stand-in for the backbone, and real ones."""

from __future__ import annotations

import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.benchmarks.accuracy import sot as sot_benchmark
from unitrack_edge.errors import BundleError, DetectionError, RequestError, UnitrackError
from unitrack_edge.evaluation.metrics.sot import overlaps, success_auc
from unitrack_edge.heads.config import SotConfig
from unitrack_edge.heads.correlation.geometry import crop_window, find_peak
from unitrack_edge.heads.sot import SotHead
from unitrack_edge.records import Frame
from unitrack_edge.runtime.formats.otb import read_otb_boxes
from unitrack_edge.tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig
from unitrack_edge.tracking.session import track as track_source

HEADS = ["dcf", "xcorr"]
WAYS = [{"head": head, "focus": focus} for head in HEADS for focus in ("auto", "off")]
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(way.values()))
SIZE = 240, 320
BOX = (100.0, 80.0, 60.0, 40.0)


class Eyes:
    """The tiny graphs, with a backbone that sees each cell's mean colour.

    Its points are not negative, as those of a network that ends with a ReLU.
    """

    def __init__(self, graphs):
        self.spec = graphs.spec
        self.batches = []
        self._graphs = graphs
        self._mix = np.random.default_rng(0).standard_normal((4, 16))

    def limit(self, _graph, _which, _axis):
        return None

    def run(self, graph, *feeds):
        if graph != "backbone":
            return self._graphs.run(graph, *feeds)
        (crops,) = feeds
        self.batches.append((len(crops), crops.shape[1]))
        assert crops.dtype == np.uint8
        side = crops.shape[1] // 8
        cells = np.stack([cv2.resize(c, (side, side), interpolation=cv2.INTER_AREA) for c in crops])
        colours = np.concatenate([cells / 127.5 - 1, np.full((*cells.shape[:3], 1), 0.1)], axis=3)
        points = np.maximum(colours @ self._mix, 0) + 0.05
        return ((points / np.linalg.norm(points, axis=3, keepdims=True)).astype(np.float32),)


@pytest.fixture
def eyes(tiny):
    return Eyes(tiny)


def texture(seed, height, width):
    """Coloured blobs of about eight pixels."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3))
    return cv2.resize(coarse.astype(np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def clip(boxes, size_hw=SIZE, seed=0):
    """A patch shown at each of the boxes (x, y, w, h) over a still, dimmer ground."""
    ground = texture(seed + 1, *size_hw) // 3 + 60
    patch = texture(seed + 2, 64, 64)
    frames = []
    for index, (x, y, w, h) in enumerate(boxes):
        matrix = np.array([[w / 64, 0, x], [0, h / 64, y]])
        image = cv2.warpAffine(patch, matrix, size_hw[::-1])
        inside = cv2.warpAffine(np.full((64, 64), 255, np.uint8), matrix, size_hw[::-1])
        image = np.where(inside[..., None] > 127, image, ground)
        frames.append(Frame(index, index / 25, np.ascontiguousarray(image)))
    return frames


def plain_frames(count, level, size_hw=SIZE):
    return [Frame(i, i / 25, np.full((*size_hw, 3), level, np.uint8)) for i in range(count)]


def track(graphs, frames, box, **config):
    head = SotHead(graphs, box, SotConfig(**config))
    return [head.step(frame) for frame in frames]


def boxes_of(tracked):
    boxes = np.concatenate([t.detections.boxes_xyxy for t in tracked])
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def bytes_of(tracked):
    return [t.detections.boxes_xyxy.tobytes() + t.detections.scores.tobytes() for t in tracked]


def assert_sane(tracked, size_hw=SIZE):
    """One box a frame with the id 1, finite, in touch with the image."""
    for number, tracks in enumerate(tracked):
        assert tracks.frame_index == number
        assert tracks.ids.tolist() == [1]
        (box,), (score,) = tracks.detections.boxes_xyxy, tracks.detections.scores
        assert np.isfinite(box).all()
        assert 0 <= score <= 1
        assert box[0] <= size_hw[1] + 0.01
        assert box[1] <= size_hw[0] + 0.01
        assert (box[2:] >= -0.01).all()


# --- following


@ways
def test_a_moving_target_is_followed(eyes, way):
    """Along a circle, five pixels a frame; a cell of the crop is four."""
    angle = np.linspace(0, 2, 13)
    truth = np.array([(100 + 30 * np.sin(a), 60 + 30 * np.cos(a), 60, 40) for a in angle])
    tracked = track(eyes, clip(truth), tuple(truth[0]), **way)
    assert_sane(tracked)
    found = boxes_of(tracked)
    centres = found[:, :2] + found[:, 2:] / 2 - truth[:, :2] - truth[:, 2:] / 2
    assert np.abs(centres).max() < 4.5
    assert overlaps(found, truth).min() > 0.75
    assert all(t.detections.scores[0] > 0.3 for t in tracked)


@ways
@pytest.mark.parametrize("step", [1.02, 0.98])
def test_a_target_that_changes_size_is_followed(eyes, way, step):
    truth = np.array([(160 - 30 * s, 120 - 20 * s, 60 * s, 40 * s) for s in step ** np.arange(14)])
    found = boxes_of(track(eyes, clip(truth), tuple(truth[0]), **way))
    assert found[-1, 2] == pytest.approx(truth[-1, 2], rel=0.15)
    assert found[-1, 3] / found[-1, 2] == pytest.approx(40 / 60, rel=1e-3)
    assert overlaps(found, truth)[-1] > 0.7


@ways
def test_a_target_that_rests_stays_where_it_is(eyes, way):
    """Within a fifth of a cell: the window's middle is half a cell off the template's."""
    tracked = track(eyes, clip([BOX] * 12), BOX, **way)
    moved = np.abs(boxes_of(tracked)[:, :2] - BOX[:2])
    assert (moved < np.array([60, 40]) * 4.5 / 65 / 5).all()


@ways
def test_the_first_frame_has_the_box_it_was_given(eyes, way):
    box = (10.25, 20.5, 33.0, 47.75)
    (tracks,) = track(eyes, clip([box]), box, **way)
    assert boxes_of([tracks])[0].tolist() == list(box)
    assert tracks.detections.scores.tolist() == [1.0]


def test_size_stays_within_its_limits(eyes):
    truth = [(160 - 30 * s, 120 - 20 * s, 60 * s, 40 * s) for s in 1.05 ** np.arange(8)]
    found = boxes_of(track(eyes, clip(truth), truth[0], max_scale=1.1))
    assert found[-1, 2:] == pytest.approx([66, 44], rel=1e-5)
    truth = [(160 - 30 * s, 120 - 20 * s, 60 * s, 40 * s) for s in 0.95 ** np.arange(8)]
    found = boxes_of(track(eyes, clip(truth), truth[0], min_scale=0.9))
    assert found[-1, 2:] == pytest.approx([54, 36], rel=1e-5)


@pytest.mark.parametrize(
    ("config", "batches"),
    [
        ({"head": "dcf", "focus": "off"}, [(c, 520) for c in (1, 3, 1, 3, 1)]),
        ({"head": "dcf", "focus": "off", "learning_rate": 0.0}, [(c, 520) for c in (1, 3, 3)]),
        ({"head": "xcorr", "focus": "off"}, [(c, 520) for c in (1, 3, 3)]),
        ({"head": "dcf"}, [(1, 232)] * 3),
        ({"head": "xcorr", "crop": 200}, [(1, 200)] * 3),
    ],
)
def test_crops_go_through_the_backbone_in_one_batch(eyes, config, batches):
    head = SotHead(eyes, BOX, SotConfig(**config))
    for frame in clip([BOX] * 3):
        head.step(frame)
    assert eyes.batches == batches
    assert head.backbone_pixels == sum(count * side**2 for count, side in batches)


def test_a_target_hidden_for_a_while_is_waited_for(eyes):
    """It teaches nothing and moves nothing while it is hidden, and is found where it comes out."""
    truth = [(100.0 + i, 80.0, 60.0, 40.0) for i in range(16)]
    seen, ground = clip(truth), clip([(-200.0, 0.0, 60.0, 40.0)] * 16)
    frames = [ground[i] if 8 <= i < 13 else seen[i] for i in range(16)]
    tracked = track(eyes, frames, truth[0])
    found = boxes_of(tracked)
    assert (found[8:13] == found[7]).all()
    assert overlaps(found, np.array(truth))[13:].min() > 0.75
    assert max(t.detections.scores[0] for t in tracked[8:13]) < tracked[7].detections.scores[0] / 2


def test_a_target_that_jumps_out_of_the_crop_is_looked_for_at_its_corners(eyes):
    """A crop shows 0.6 of the target's size on each side, and the jump is of more."""
    truth = [(100.0, 80.0, 60.0, 40.0)] * 4 + [(155.0, 120.0, 60.0, 40.0)] * 4
    found = boxes_of(track(eyes, clip(truth), truth[0]))
    assert overlaps(found, np.array(truth)).min() > 0.75
    # One pass a frame, and four more where the target was not.
    assert len(eyes.batches) == 8 + 4


# --- state


@ways
def test_same_input_same_bytes_and_reset_is_a_new_beginning(eyes, way):
    frames = clip([(100 + 3 * i, 80 + i, 60, 40) for i in range(6)])
    tracker = SotHead(eyes, BOX, SotConfig(**way))
    first = bytes_of(tracker.step(frame) for frame in frames)
    tracker.reset()
    again = bytes_of(tracker.step(frame) for frame in frames)
    assert first == again == bytes_of(track(eyes, frames, BOX, **way))


@ways
def test_two_instances_know_nothing_of_each_other(eyes, way):
    boxes = (
        [(100 + 3 * i, 80 + i, 60, 40) for i in range(5)],
        [(60, 50 + 4 * i, 30, 50) for i in range(5)],
    )
    clips = [clip(b, seed=seed) for seed, b in enumerate(boxes)]
    alone = [bytes_of(track(eyes, c, b[0], **way)) for c, b in zip(clips, boxes, strict=True)]
    heads = [SotHead(eyes, b[0], SotConfig(**way)) for b in boxes]
    mixed = [[], []]
    for pair in zip(*clips, strict=True):
        for which, frame in enumerate(pair):
            mixed[which].append(heads[which].step(frame))
    assert [bytes_of(m) for m in mixed] == alone


def test_a_box_may_be_asked_for_when_the_first_frame_is_there(eyes):
    asked = []

    def draw(frame):
        asked.append(frame.index)
        return BOX

    frames = clip([BOX] * 2)
    assert bytes_of(track(eyes, frames, draw)) == bytes_of(track(eyes, frames, BOX))
    assert asked == [0]


# --- the edges


@ways
@pytest.mark.parametrize(
    "box",
    [
        (-500.0, -400.0, 1400.0, 1100.0),
        (-20.0, -10.0, 50.0, 30.0),
        (300.0, 220.0, 50.0, 60.0),
        (319.5, 100.0, 400.0, 2.0),
        (0.0, 0.0, 320.0, 240.0),
        (150.0, 100.0, 1.0, 1.0),
        (319.0, 239.0, 1.0, 1.0),
        (0.0, 120.0, 320.0, 1.0),
    ],
    ids=str,
)
def test_any_box_that_touches_the_picture_is_tracked(eyes, way, box):
    """Larger than the image, over its border, one pixel: finite, and where it rests, at rest."""
    tracked = track(eyes, clip([BOX] * 5), box, **way)
    assert_sane(tracked)
    found = boxes_of(tracked)
    assert np.abs(found[:, :2] - box[:2]).max() < max(box[2:]) + 1
    assert (found[:, 2:] >= 0.2 * np.array(box[2:]) - 1e-3).all()


@ways
@pytest.mark.parametrize("level", [0, 255])
def test_frames_without_structure(eyes, way, level):
    tracked = track(eyes, plain_frames(6, level), BOX, **way)
    assert_sane(tracked)
    # Nothing speaks for any place but the window, whose middle is half a cell off the template's.
    cell = np.array([60, 40]) * 4.5 / 65
    moved = np.abs(np.diff(boxes_of(tracked)[:, :2], axis=0))
    assert (moved < 1.1 * cell).all()


@ways
def test_a_picture_that_goes_black_and_comes_back(eyes, way):
    seen, dark = clip([BOX] * 9), plain_frames(9, 0)
    frames = [dark[i] if 3 <= i < 6 else seen[i] for i in range(9)]
    tracked = track(eyes, frames, BOX, **way)
    assert_sane(tracked)
    assert overlaps(boxes_of(tracked), np.array([BOX] * 9))[-1] > 0.6


@ways
def test_a_target_that_leaves_the_picture(eyes, way):
    truth = [(200.0 + 13 * i, 80.0, 60.0, 40.0) for i in range(18)]
    assert_sane(track(eyes, clip(truth), truth[0], **way))


@ways
def test_a_backbone_that_sees_nothing_leaves_the_box_alone(eyes, way):
    """Zero points, as a network of broken weights gives them: no response, score 0."""
    eyes.run, see = lambda g, *f: nothing(see, g, *f), eyes.run
    tracked = track(eyes, clip([BOX] * 3), BOX, **way)
    assert boxes_of(tracked).tolist() == [list(BOX)] * 3
    assert [float(t.detections.scores[0]) for t in tracked] == [1.0, 0.0, 0.0]


def nothing(run, graph, *feeds):
    outputs = run(graph, *feeds)
    return tuple(np.zeros_like(o) for o in outputs) if graph == "backbone" else outputs


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 300), (7, 3)])
def test_tiny_pictures(eyes, size_hw):
    box = (0.0, 0.0, float(size_hw[1]), float(size_hw[0]))
    assert_sane(track(eyes, plain_frames(3, 90, size_hw), box), size_hw)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((320, 10, 20, 20), r"320,10,20,20 .*outside the image, which is 320x240 "),
        ((10, 240, 20, 20), "outside the image"),
        ((-20, 10, 20, 20), "outside the image"),
        ((10, -30, 20, 20), "outside the image"),
        ((10, 10, 0.5, 20), "w and h of 1 to"),
        ((10, 10, 20, -4), "w and h of 1 to"),
        ((10, 10, 2e6, 20), "w and h of 1 to"),
        ((float("nan"), 10, 20, 20), "finite"),
        ((10, 10, float("inf"), 20), "finite"),
    ],
)
def test_a_first_box_that_cannot_be_is_refused(eyes, box, message):
    with pytest.raises(DetectionError, match=message) as caught:
        track(eyes, plain_frames(1, 9), box)
    assert "\n" not in str(caught.value)
    assert "--init" in str(caught.value)
    assert not eyes.batches


# --- geometry


def test_a_window_of_the_picture_is_shown_as_it_is():
    image = texture(0, 40, 60)
    crop = crop_window(image, np.array([20.0, 18.0]), np.array([16.0, 16.0]), 16)
    assert (crop == image[10:26, 12:28]).all()


def test_beyond_the_picture_it_is_black():
    image = np.full((20, 20, 3), 200, np.uint8)
    crop = crop_window(image, np.array([0.0, 10.0]), np.array([40.0, 40.0]), 40)
    assert (crop[11:29, 21:39] == 200).all()
    assert not crop[:, :19].any()
    assert not crop[:9].any()


@settings(max_examples=60, deadline=None)
@given(
    st.floats(-30, 90),
    st.floats(-30, 70),
    st.floats(30, 200),
    st.floats(30, 200),
)
def test_crops_show_the_place_they_should(x, y, width, height):
    """In an image whose colours are its coordinates, each crop pixel names its own place."""
    rows, cols = np.mgrid[0:50, 0:80]
    image = np.stack([cols * 3, rows * 5, np.full((50, 80), 255)], axis=2).astype(np.uint8)
    crop = crop_window(image, np.array([x, y]), np.array([width, height]), 65).astype(float)
    place_x = x + ((np.arange(65) + 0.5) / 65 - 0.5) * width
    place_y = y + ((np.arange(65) + 0.5) / 65 - 0.5) * height
    column = np.flatnonzero((place_x > 1) & (place_x < 79))
    row = np.flatnonzero((place_y > 1) & (place_y < 49))
    inside = crop[np.ix_(row, column)]
    assert (inside[..., 2] == 255).all()
    if inside.size:
        # OpenCV interpolates at multiples of 1/32 pixel.
        assert np.abs(inside[..., 0] - 3 * (place_x[column] - 0.5)).max() < 3 / 32 + 1
        assert np.abs(inside[..., 1] - 5 * (place_y[row, None] - 0.5)).max() < 5 / 32 + 1
    far = (place_x < -1) | (place_x > 81)
    assert not crop[:, far].any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 51), st.integers(0, 51), st.floats(-5, 5, width=32))
def test_the_peak_is_found_wherever_it_is(row, column, level):
    """A single cell stands alone: its neighbours are alike, and pull it nowhere."""
    response = np.full((52, 52), level, np.float32)
    assert find_peak(response, 25) == (pytest.approx(level), 0, 0)
    response[row, column] += 1
    assert find_peak(response, 25) == (pytest.approx(level + 1), column - 25, row - 25)


@settings(max_examples=60, deadline=None)
@given(st.floats(2, 49), st.floats(2, 49), st.floats(1, 3))
def test_a_peak_between_cells_is_refined(x, y, sigma):
    """A Gaussian's logarithm is a parabola, it itself nearly; half way, both cells are as high."""
    rows, columns = np.mgrid[:52, :52]
    response = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)).astype(np.float32)
    _, right, down = find_peak(response, 25)
    assert right == pytest.approx(x - 25, abs=0.05)
    assert down == pytest.approx(y - 25, abs=0.05)


# --- bundles and parameters


def test_a_bundle_without_the_graphs_is_refused(eyes):
    for head, missing in (("xcorr", "xcorr"), ("dcf", "dcf_update"), ("dcf", "dcf_response")):
        graphs = {n: g for n, g in eyes.spec.graphs.items() if n != missing}
        other = Eyes(eyes)
        other.spec = replace(eyes.spec, graphs=graphs)
        with pytest.raises(BundleError, match=rf"no graph {missing}.*--force"):
            SotHead(other, BOX, SotConfig(head=head, focus="off"))


def test_a_bundle_of_other_sizes_is_refused(eyes):
    eyes.spec = replace(eyes.spec, sizes_hw=((480, 854),))
    with pytest.raises(BundleError, match=r"232x232.*480x854.*--size 232x232"):
        SotHead(eyes, BOX)
    with pytest.raises(BundleError, match=r"520x520.*480x854.*--size 520x520"):
        SotHead(eyes, BOX, SotConfig(focus="off"))


def test_a_crop_that_was_asked_for_is_not_silently_another(eyes):
    """Where the bundle's sizes hold the authors' crop alone, that one is for defaults only."""
    eyes.spec = replace(eyes.spec, sizes_hw=((232, 232), (520, 520)))
    with pytest.raises(BundleError, match="--size 472x472"):
        SotHead(eyes, BOX, SotConfig(crop=472, margin=3.5))
    eyes.spec = replace(eyes.spec, sizes_hw=((520, 520),))
    with pytest.raises(BundleError, match="--size 232x232"):
        SotHead(eyes, BOX, SotConfig(margin=2.0))


def test_a_bundle_that_takes_only_the_large_crops_has_no_focus(eyes):
    for sizes, side in ((((480, 854), (520, 520)), 520), (((232, 232), (520, 520)), 232)):
        eyes.spec = replace(eyes.spec, sizes_hw=sizes)
        assert SotHead(eyes, BOX).network_hw((99, 77)) == (side, side)
    eyes.spec = replace(eyes.spec, sizes_hw=())
    eyes.limit = lambda graph, _which, _axis: 520 if graph == "backbone" else None
    assert SotHead(eyes, BOX).network_hw((99, 77)) == (520, 520)


def test_graphs_used_are_those_of_the_model(eyes):
    full = [SotHead(eyes, BOX, SotConfig(head=head, focus="off")) for head in ("xcorr", "dcf")]
    assert [head.graphs_used for head in full] == [("xcorr",), ("dcf_update", "dcf_response")]
    assert SotHead(eyes, BOX).graphs_used == ()
    assert not SotHead.needs_features
    assert not SotHead.needs_detections


@pytest.mark.parametrize(
    "wrong",
    [
        {"head": "siam"},
        {"padding": -1.0, "focus": "off"},
        {"padding": float("nan"), "focus": "off"},
        {"scale_step": 0.9, "focus": "off"},
        {"scale_step": float("inf"), "focus": "off"},
        {"scale_penalty": 0.0, "focus": "off"},
        {"scale_penalty": 1.5, "focus": "off"},
        {"min_scale": 0.0},
        {"min_scale": 1.5},
        {"max_scale": 0.5},
        {"max_scale": float("inf")},
        {"regularisation": 0.0},
        {"regularisation": float("nan")},
        {"sigma": 0.0},
        {"learning_rate": -0.1},
        {"learning_rate": 1.1},
        {"focus": "on"},
        {"crop": 260},
        {"crop": 0},
        {"crop": 4096},
        {"crop": 2048},
        {"crop": 400, "margin": 0.0},
        {"crop": 200, "focus": "off"},
        {"margin": 2.0, "focus": "off"},
        {"margin": -0.1},
        {"margin": float("nan")},
        {"padding": 2.0},
        {"scale_step": 1.05},
        {"scale_penalty": 0.9},
    ],
    ids=str,
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(RequestError, match="expected"):
        SotConfig(**wrong)


# --- the command's way


def sot_run(source, bundle, output, init="100,80,60,40", detector=None):
    run = RunConfig(bundle=bundle, output=output, threads=2)
    source = SourceConfig(str(source), init)
    return TrackConfig((source,), (SotConfig(),), run, DetectorConfig(detector))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for frame in clip([BOX] * 3):
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.image)
    return folder


def test_a_run_writes_a_row_a_frame(quick_bundle, images, tmp_path):
    """Without a pass of the backbone over whole frames."""
    report = track_source(sot_run(images, quick_bundle.path, tmp_path / "out"))
    rows = read_otb_boxes(tmp_path / "out/tracks.txt")
    assert rows[0].tolist() == list(BOX)
    assert rows.shape == (3, 4)
    assert np.isfinite(rows).all()
    assert set(report.data["stages_ms"]) >= {"head", "latency"}
    assert "backbone" not in report.data["stages_ms"]
    assert set(report.data["backend"]["in_use"]) == {"backbone"}


def test_a_box_outside_leaves_no_results(quick_bundle, images, tmp_path):
    config = sot_run(images, quick_bundle.path, tmp_path / "out", init="400,10,5,5")
    with pytest.raises(DetectionError, match="outside the image"):
        track_source(config)
    assert not (tmp_path / "out").exists()


# --- real sequences


def real_frames(folder, count):
    paths = sorted((folder / "img").glob("*.jpg"))[:count]
    return [Frame(i, i / 30, cv2.imread(str(path))) for i, path in enumerate(paths)]


def score(runner, folder, truth_name, count, head, focus="off"):
    truth = read_otb_boxes(folder / truth_name)[:count]
    start = time.perf_counter()
    frames, box = real_frames(folder, count), tuple(truth[0])
    found = boxes_of(track(runner, frames, box, head=head, focus=focus))
    print(f"{folder.name} {head}: {time.perf_counter() - start:.0f} s")
    return success_auc(found, truth)


@pytest.mark.slow
def test_auc_of_jogging_with_xcorr(resnet_runner, shared_data):
    """Reference 0.584; some 45 s on two idle cores."""
    auc = score(resnet_runner, shared_data / "sot/jogging", "groundtruth_rect.1.txt", 90, "xcorr")
    assert auc > 0.65


def test_auc_of_the_beginning_of_car4_with_dcf(resnet_runner, shared_data):
    """Measured 0.933 of 10 frames, and 0.88 of 24.

    All four: `python -m unitrack_edge.benchmarks.accuracy.sot --bundle BUNDLE`.
    """
    auc = score(resnet_runner, shared_data / "sot/Car4", "groundtruth_rect.txt", 10, "dcf")
    assert auc > 0.92


def test_the_benchmark_names_a_folder_without_sequences(tmp_path):
    with pytest.raises(UnitrackError, match=r"no groundtruth_rect.*--data"):
        sot_benchmark.track({}, tmp_path, 3)
