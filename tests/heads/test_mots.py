"""The mask head: what it reports, odd masks, and scores on the made-up and on the real clip."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import DetectionError, RequestError
from unitrack_edge.evaluation.metrics.mots import score_mots
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotsConfig
from unitrack_edge.heads.mots import MotsHead, disjoint_masks
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.boxes import mask_boxes
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.formats.mots import MaskRows, MotsWriter, read_mots
from unitrack_edge.runtime.formats.rle import encode_rle
from unitrack_edge.runtime.preprocessing import FeatureExtractor, FeatureMap, Letterbox
from unitrack_edge.runtime.sources.open import open_source

SIZE = 160, 240


class Stage:
    """A head before a still image whose features are noise, told rectangles or masks."""

    def __init__(self, graphs, fps=30.0, **config):
        self.graphs = graphs
        self.head = MotsHead(graphs, MotsConfig(**({"preset": "unitrack"} | config)), fps)
        points = np.random.default_rng(0).standard_normal((1, 20, 30, graphs.spec.channels))
        points /= np.linalg.norm(points, axis=-1, keepdims=True)
        self.features = FeatureMap(points.astype(np.float32), Letterbox.fit(SIZE, SIZE), 8)
        self.index = -1

    def __call__(self, *shapes, scores=None, classes=None):
        self.index += 1
        frame = Frame(self.index, self.index / 25, np.zeros((*SIZE, 3), np.uint8))
        return self.head.step(frame, self.features, seen(*shapes, scores=scores, classes=classes))


def rectangle(left, top, right, bottom):
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def seen(*shapes, scores=None, classes=None):
    masks = [shape if isinstance(shape, np.ndarray) else rectangle(*shape) for shape in shapes]
    count = len(masks)
    return Detections(
        np.tile(np.array([[0, 0, 5, 5]], np.float32), (count, 1)),
        np.array([0.9] * count if scores is None else scores, np.float32),
        np.array([2] * count if classes is None else classes, np.int64),
        np.array(masks, bool).reshape(count, *SIZE),
    )


TALL, WIDE, FAR = (20, 20, 50, 100), (60, 100, 160, 140), (180, 10, 220, 90)


def test_reports_masks_with_their_tight_boxes(tiny):
    tracks = Stage(tiny)(TALL, WIDE, scores=[0.8, 0.6], classes=[1, 2])
    assert list(tracks.ids) == [1, 2]
    assert tracks.detections.boxes_xyxy.tolist() == [list(TALL), list(WIDE)]
    assert tracks.detections.scores == pytest.approx([0.8, 0.6])
    assert list(tracks.detections.classes) == [1, 2]
    assert (tracks.detections.masks == [rectangle(*TALL), rectangle(*WIDE)]).all()


def test_new_tracks_count_at_once(tiny):
    stage = Stage(tiny)
    assert list(stage(TALL).ids) == [1]
    assert list(stage(TALL, WIDE).ids) == [1, 2]


def test_an_overlapping_detection_of_a_lower_score_is_removed(tiny):
    near = (20, 15, 50, 95)
    assert list(Stage(tiny)(TALL, near, scores=[0.6, 0.9]).ids) == [1]
    better = Stage(tiny)(TALL, near, scores=[0.6, 0.9])
    assert better.detections.boxes_xyxy.tolist() == [list(near)]
    assert len(Stage(tiny)(TALL, near, classes=[1, 2])) == 2, "of other classes: both stay"
    assert len(Stage(tiny, overlap_removal=0.95)(TALL, near)) == 2
    assert len(Stage(tiny)(TALL, (20, 5, 50, 70))) == 2, "an IoU of a half is no duplicate"


def test_low_scores_are_left_out(tiny):
    assert len(Stage(tiny, confidence=0.5)(TALL, WIDE, FAR, scores=[0.49, 0.5, 3.0])) == 2


# --- masks that overlap


def test_a_pixel_belongs_to_the_higher_score(tiny):
    low, high = (20, 20, 60, 60), (40, 20, 80, 60)
    tracks = Stage(tiny)(low, high, scores=[0.6, 0.9])
    assert tracks.detections.boxes_xyxy.tolist() == [[20, 20, 40, 60], [40, 20, 80, 60]]
    assert not tracks.detections.masks.all(axis=0).any()


def test_of_equal_scores_the_older_track_keeps_the_pixel(tiny):
    stage = Stage(tiny)
    stage((20, 20, 60, 60))
    tracks = stage((40, 20, 80, 60), (20, 20, 60, 60))
    assert list(tracks.ids) == [1, 2]
    assert tracks.detections.boxes_xyxy.tolist() == [[20, 20, 60, 60], [60, 20, 80, 60]]


def test_a_mask_hidden_altogether_is_tracked_and_not_reported(tiny):
    stage = Stage(tiny)
    small, large = (30, 30, 40, 40), (20, 20, 60, 60)
    assert list(stage(small, large, scores=[0.6, 0.9]).ids) == [2]
    assert list(stage(small, large, scores=[0.9, 0.6]).ids) == [1, 2]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(0, 5),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    seed=st.integers(0, 999),
)
def test_disjoint_masks_keep_every_pixel_once(count, size, seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((count, *size)) < 0.5
    scores = rng.integers(0, 3, count).astype(np.float32)
    before = masks.copy()
    apart, boxes = disjoint_masks(masks, scores)
    assert (masks == before).all()
    np.testing.assert_array_equal(boxes, mask_boxes(apart))
    assert (apart.sum(axis=0) == masks.any(axis=0)).all()
    assert not (apart & ~masks).any()
    for y, x in zip(*np.nonzero(masks.any(axis=0)), strict=True):
        rivals = np.flatnonzero(masks[:, y, x])
        assert scores[apart[:, y, x]][0] == scores[rivals].max()


# --- odd detections


def test_odd_masks(tiny):
    """Empty, of one pixel, of one pixel that no cell looks at, and all of the image."""
    stage = Stage(tiny)
    empty, looked_at, between = (rectangle(0, 0, 0, 0) for _ in range(3))
    looked_at[80, 160] = True
    between[5, 203] = True
    whole = rectangle(0, 0, 240, 160)
    for _ in range(4):
        tracks = stage(empty, looked_at, between, whole, scores=[0.9, 0.9, 0.9, 0.8])
        assert list(tracks.ids) == [1, 2, 3]
        assert np.isfinite(tracks.detections.boxes_xyxy).all()
        assert tracks.detections.masks.sum(axis=(1, 2)).tolist() == [1, 1, 160 * 240 - 2]


def test_no_detection(tiny):
    stage = Stage(tiny)
    for _ in range(40):
        assert len(stage()) == 0
    frame = Frame(99, 4.0, np.zeros((*SIZE, 3), np.uint8))
    assert len(stage.head.step(frame, stage.features, None)) == 0
    assert len(stage.head.step(Frame(100, 5.0, frame.image), stage.features, seen(TALL))) == 1


def test_boxes_without_masks_are_refused(tiny):
    stage = Stage(tiny)
    boxes = Detections(
        np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int64)
    )
    frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(DetectionError, match=r"boxes only: give --detections a\s+MOTS file"):
        stage.head.step(frame, stage.features, boxes)
    small = Frame(0, 0.0, np.zeros((80, 120, 3), np.uint8))
    with pytest.raises(DetectionError, match="expected the source's"):
        stage.head.step(small, stage.features, seen(TALL))


def test_padding_of_small_masks_costs_nothing(tiny):
    """RSM is asked about as many points as the largest mask has, not about `max_area`."""
    stage = Stage(tiny, max_area=200)
    shapes = []
    run = tiny.run

    def watched(graph, *feeds):
        if graph == "rsm_masks":
            shapes.append((feeds[0].shape[1], feeds[2].shape[1]))
        return run(graph, *feeds)

    tiny.run = watched
    for _ in range(2):
        stage((20, 20, 50, 50), (100, 20, 120, 40))
    assert shapes == [(16, 16)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_area": 0},
        {"height": 16},
        {"appearance_weight": -0.1},
        {"buffer": float("nan")},
        {"rsm_scale": 0.0},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(RequestError, match=r"mots: got|--mots-[a-z-]+ [^ ]+: expected"):
        MotsConfig(**wrong)


# --- results as text


def test_rows_come_back_as_the_masks_they_were(tiny, tmp_path):
    stage = Stage(tiny)
    image = np.zeros((*SIZE, 3), np.uint8)
    path = tmp_path / "tracks.txt"
    with MotsWriter(path) as writer:
        for index, shapes in enumerate([(TALL, WIDE), (), (WIDE, TALL)]):
            writer.write(Frame(index, 0.0, image), stage(*shapes, classes=[1, 0][: len(shapes)]))
    lines = path.read_text().splitlines()
    assert lines[0] == f"1 1 1 160 240 {encode_rle(rectangle(*TALL))}"
    assert lines[1] == f"1 2 0 160 240 {encode_rle(rectangle(*WIDE))}"
    found = read_mots(path, first_frame=1)
    assert sorted(found) == [0, 2]
    assert (found[0].masks() == [rectangle(*TALL), rectangle(*WIDE)]).all()


@pytest.mark.parametrize(
    ("label", "names", "written"),
    [
        (0, ("person", "bicycle", "car"), 2),
        (2, ("person", "bicycle", "car"), 1),
        (1, ("person", "bicycle", "car"), 0),
        (-1, ("person",), 0),
        (-1, None, 0),
        (2, None, 2),
    ],
)
def test_classes_of_the_format_are_written_by_name(tmp_path, label, names, written):
    detections = replace(seen(TALL, classes=[label]), class_names=names)
    with MotsWriter(tmp_path / "tracks.txt") as writer:
        frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
        writer.write(frame, Tracks(0, np.array([1]), detections))
    assert (tmp_path / "tracks.txt").read_text().split()[2] == str(written)


# --- scores


def rows(*pairs):
    ids = np.array([identity for identity, _ in pairs], np.int64)
    return MaskRows(ids, SIZE, tuple(encode_rle(rectangle(*box)).encode() for _, box in pairs))


def test_scores_by_hand():
    truth = {k: rows((1, TALL), (2, WIDE)) for k in range(4)}
    perfect = score_mots(truth, truth)
    assert (perfect.hota, perfect.idf1, perfect.smotsa, perfect.motsa) == (1, 1, 1, 1)
    half = (20, 20, 50, 80)  # IoU 0.75
    found = {k: rows((7, half), (8 if k < 2 else 9, WIDE)) for k in range(4)}
    scores = score_mots(found, truth)
    assert scores.id_switches == 1
    assert scores.motsa == pytest.approx((8 - 1) / 8)
    assert scores.smotsa == pytest.approx((4 * 0.75 + 4 - 1) / 8)
    assert scores.motsp == pytest.approx((4 * 0.75 + 4) / 8)
    assert (scores.tp, scores.fp, scores.fn) == (8, 0, 0)
    assert score_mots({}, truth).fn == 8


def test_results_in_a_region_to_ignore_do_not_count():
    ignored = (encode_rle(rectangle(170, 0, 240, 160)).encode(),)
    truth = {0: MaskRows(np.array([1]), SIZE, rows((1, TALL)).rles, ignored)}
    found = {0: rows((1, TALL), (2, FAR), (3, WIDE), (4, (160, 150, 190, 158)))}
    scores = score_mots(found, truth)
    assert (scores.tp, scores.fp) == (1, 1), "only the one outside is false"
    assert score_mots(found, {0: rows((1, TALL))}).fp == 3


def test_masks_of_two_sizes_cannot_be_compared():
    other = MaskRows(np.array([1]), (2, 2), (encode_rle(np.ones((2, 2), bool)).encode(),))
    with pytest.raises(DetectionError, match="frame 1: true masks are"):
        score_mots({0: other}, {0: rows((1, TALL))})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 5 2 2 2 13\n1 5 2 2 2 13\n", "line 2: id 5 appears twice in frame 1"),
        ("1 5 2 2 2 13\n1 6 2 3 1 12\n", "line 2: mask of"),
        ("1 5 2 2 2 x\n", "line 1"),
    ],
)
def test_malformed_files(tmp_path, text, problem):
    path = tmp_path / "gt.txt"
    path.write_text(text)
    with pytest.raises(DetectionError, match=problem):
        read_mots(path)
    with pytest.raises(DetectionError, match="no such file"):
        read_mots(tmp_path / "absent.txt")


def test_classes_and_counting_from_zero(tmp_path):
    path = tmp_path / "gt.txt"
    path.write_text("0 1000 1 2 2 13\n0 2000 2 2 2 31\n0 10000 10 2 2 22\n3 1000 1 2 2 13\n")
    assert sorted(read_mots(path)) == [0, 3]
    assert read_mots(path)[0].ids.tolist() == [1000, 2000]
    assert read_mots(path, classes=[2])[0].ids.tolist() == [2000]
    assert read_mots(path)[0].ignored_region().sum() == 2


# --- clips


def test_scores_of_the_made_up_clip(lite_runner):
    """True masks in any order; measured: IDF1 0.979, MOTSA 0.987, 1 switch."""
    scene = Scene(SceneConfig(frames=60, height=192, width=320, objects=4, seed=0))
    head = MotsHead(lite_runner, MotsConfig(height=192, width=320), fps=25)
    extractor = FeatureExtractor(lite_runner)
    found, truth = {}, {}
    for index in range(len(scene)):
        frame, true = scene.frame(index), scene.truth(index)
        shown = true.visible > 0.15
        masks = true.masks[shown]
        rng = np.random.default_rng(index)
        order = rng.permutation(len(masks))
        detected = seen_masks(masks[order])
        image = extractor.prepare(frame, head.network_hw(frame.size_hw))
        tracks = head.step(frame, extractor.extract(*image), detected)
        found[index] = encoded(tracks.ids, tracks.detections.masks, frame.size_hw)
        truth[index] = encoded(true.ids[shown], masks, frame.size_hw)
    scores = score_mots(found, truth)
    assert scores.idf1 > 0.95
    assert scores.motsa > 0.96
    assert scores.id_switches <= 2


def seen_masks(masks):
    count = len(masks)
    boxes = np.tile(np.array([[0, 0, 5, 5]], np.float32), (count, 1))
    return Detections(boxes, np.ones(count, np.float32), np.zeros(count, np.int64), masks)


def encoded(ids, masks, size_hw):
    return MaskRows(
        ids, size_hw, () if masks is None else tuple(encode_rle(m).encode() for m in masks)
    )


@pytest.mark.slow
def test_reference_result(resnet_runner, shared_data, tmp_path):
    """composite-dev at 1088 × 608; measured: HOTA 0.665, IDF1 0.680, sMOTSA 0.713, 17 switches.

    The public code gives 0.640, 0.668, 0.687 and 19.
    """
    scores = real_scores(resnet_runner, shared_data, tmp_path / "tracks.txt", 45)
    assert scores.hota >= 0.640
    assert scores.idf1 >= 0.668
    assert scores.smotsa >= 0.687
    assert scores.id_switches <= 19


def test_the_beginning_of_the_reference_result(resnet_runner, shared_data, tmp_path):
    """A frame's result depends on no later one; measured: 0.826, 0.962, 0.838, no switch."""
    scores = real_scores(resnet_runner, shared_data, tmp_path / "tracks.txt", 9)
    assert scores.hota >= 0.816
    assert scores.idf1 >= 0.952
    assert scores.smotsa >= 0.828
    assert scores.id_switches == 0


def real_scores(runner, shared_data, path, frames):
    folder = shared_data / "mots" / "composite-dev"
    extractor = FeatureExtractor(runner)
    with (
        open_source(str(folder / "img1"), fps=24) as source,
        open_detector(detections=folder / "det" / "det.txt") as detector,
        MotsWriter(path) as writer,
    ):
        head = MotsHead(runner, MotsConfig(preset="unitrack"), fps=24)
        for frame in islice(source, frames):
            image = extractor.prepare(frame, head.network_hw(frame.size_hw))
            writer.write(frame, head.step(frame, extractor.extract(*image), detector.detect(frame)))
    truth = read_mots(folder / "gt" / "gt.txt")
    assert len(truth) == 45
    return score_mots(read_mots(path), {k: rows for k, rows in truth.items() if k < frames})
