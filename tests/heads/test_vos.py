"""The mask head: scores on the made-up clip, sizes, labels, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from unitrack_edge.errors import UnitrackError
from unitrack_edge.evaluation.metrics.davis import jaccard, vos_j_mean
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import VosConfig
from unitrack_edge.heads.vos import VosHead
from unitrack_edge.records import Frame
from unitrack_edge.runtime.preprocessing import FeatureExtractor

FRAMES, SIZE = 20, (288, 512)
IDS = {1: 3, 2: 7, 3: 200}


@pytest.fixture(scope="module")
def clip():
    """Frames and true label maps of three walkers, numbered as a palette may number them."""
    scene = Scene(SceneConfig(frames=100, height=SIZE[0], width=SIZE[1], objects=3, seed=0))
    palette = np.zeros(256, np.uint8)
    for number, name in IDS.items():
        palette[number] = name
    return (
        [scene.frame(i) for i in range(FRAMES)],
        [palette[scene.truth(i).label_map()] for i in range(FRAMES)],
    )


def run(runner, frames, labels, network_hw=None, **config):
    head = VosHead(runner, labels, VosConfig(focus="off", **config))
    return list(steps(runner, head, frames, network_hw))


def steps(runner, head, frames, network_hw=None):
    extractor = FeatureExtractor(runner)
    for frame in frames:
        size = network_hw or head.network_hw(frame.size_hw)
        yield head.step(frame, extractor.extract(*extractor.prepare(frame, size)))


def noise_frames(count, size_hw, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size_hw, 3), np.uint8)
    return [Frame(i, i / 25, np.roll(image, i, axis=1)) for i in range(count)]


@pytest.fixture(scope="module")
def tracked(lite_runner, clip):
    frames, truth = clip
    return run(lite_runner, frames, truth[0])


# --- the clip


def test_j_of_the_clip(tracked, clip):
    """Measured: J 0.632 (small walkers, whose limbs are thinner than a cell)."""
    assert vos_j_mean([t.label_map for t in tracked], clip[1]) > 0.60


def test_every_object_keeps_its_own_label(tracked, clip):
    """Measured: 0.52 to 0.72; a mixed-up label would give 0."""
    for identity in IDS.values():
        scores = [
            jaccard(t.label_map == identity, truth == identity)
            for t, truth in zip(tracked, clip[1], strict=True)
        ]
        assert np.mean(scores) > 0.4, identity


def test_records_say_what_the_label_map_says(tracked):
    for number, tracks in enumerate(tracked):
        labels = tracks.label_map
        assert tracks.frame_index == number
        assert labels.dtype == np.uint8
        assert labels.shape == SIZE
        assert list(tracks.ids) == sorted(set(np.unique(labels)) - {0})
        assert set(tracks.ids) <= set(IDS.values())
        for identity, mask, box in zip(
            tracks.ids, tracks.detections.masks, tracks.detections.boxes_xyxy, strict=True
        ):
            assert (mask == (labels == identity)).all()
            y, x = np.nonzero(mask)
            assert list(box) == [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_the_first_frame_keeps_what_it_was_given(tracked, clip):
    assert (tracked[0].label_map == clip[1][0]).all()


def test_same_input_same_bytes_and_reset_is_a_new_beginning(lite_runner, clip):
    frames, truth = clip[0][:4], clip[1]
    head = VosHead(lite_runner, truth[0], VosConfig(focus="off"))
    first = [t.label_map.tobytes() for t in steps(lite_runner, head, frames)]
    head.reset()
    again = [t.label_map.tobytes() for t in steps(lite_runner, head, frames)]
    other = [t.label_map.tobytes() for t in run(lite_runner, frames, truth[0])]
    assert first == again == other


def test_a_network_of_fixed_size_is_letterboxed(lite_runner, clip):
    """The wide image in a square: 432 × 432 leaves 243 rows of it, nothing shifted."""
    frames, truth = clip[0][:6], clip[1][:6]
    tracked = run(lite_runner, frames, truth[0], network_hw=(432, 432))
    assert vos_j_mean([t.label_map for t in tracked], truth) > 0.55


# --- sizes


@pytest.mark.parametrize("size", [(16, 16), (8, 24), (5, 40), (33, 17)])
def test_tiny_frames(lite_runner, size):
    labels = np.zeros(size, np.uint8)
    labels[:, : size[1] // 2] = 9
    tracked = run(lite_runner, noise_frames(3, size), labels)
    for tracks in tracked:
        assert tracks.label_map.shape == size
        assert set(np.unique(tracks.label_map)) <= {0, 9}
    assert 9 in tracked[1].ids


@pytest.mark.parametrize(
    ("short_side", "source", "network"),
    [
        (480, (480, 854), (480, 854)),
        (480, (1080, 1920), (480, 853)),
        (480, (1920, 1080), (853, 480)),
        (480, (100, 60), (100, 60)),
        (480, (4, 400), (8, 400)),
        (0, (1080, 1920), (1080, 1920)),
        (240, (480, 854), (240, 427)),
    ],
)
def test_network_size_keeps_the_ratio(tiny, short_side, source, network):
    labels = np.ones((4, 4), np.uint8)
    head = VosHead(tiny, labels, VosConfig(short_side=short_side))
    assert head.network_hw(source) == network


# --- refusals


def test_a_mask_of_another_size_is_refused(lite_runner):
    head = VosHead(lite_runner, np.ones((20, 30), np.uint8), VosConfig(focus="off"))
    with pytest.raises(UnitrackError, match=r"\(20, 30\).*\(24, 30\)"):
        list(steps(lite_runner, head, noise_frames(1, (24, 30))))


def test_an_empty_mask_is_refused(tiny):
    with pytest.raises(UnitrackError, match="no object"):
        VosHead(tiny, np.zeros((20, 30), np.uint8), VosConfig())


def test_more_keys_than_the_bundle_keeps_are_refused(tiny):
    with pytest.raises(UnitrackError, match=r"--vos-top-k 11: .*\(10\).*--top-k 11"):
        VosHead(tiny, np.ones((20, 30), np.uint8), VosConfig(top_k=11))


@pytest.mark.parametrize(
    "wrong",
    [
        {"top_k": 0},
        {"memory": -1},
        {"focus": "on"},
        {"short_side": -1},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"radius": 0.0},
        {"radius": float("nan")},
        {"first_radius": -1.0},
        {"first_radius": float("nan")},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(UnitrackError, match="expected"):
        VosConfig(**wrong)
