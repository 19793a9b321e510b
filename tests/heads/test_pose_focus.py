"""Poses in focus: people that move, leave, return and pass one another; and `off`.

The backbone is a stand-in: a cell's features are its colours, so that what is found where can be
said exactly and nothing is exported.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import RequestError
from unitrack_edge.heads.association.skeleton import body_size
from unitrack_edge.heads.config import PoseConfig
from unitrack_edge.heads.pose import PoseHead
from unitrack_edge.heads.propagation.belief_maps import belief_maps, read_points, within_reach
from unitrack_edge.heads.propagation.propagator import Propagator
from unitrack_edge.records import Frame
from unitrack_edge.runtime.head import NOTHING, WHOLE
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.pipeline import Viewer
from unitrack_edge.runtime.preprocessing import FeatureExtractor, Region

from ..support.people import person

pytest.importorskip("torch")
from ..reference.graphs_in_torch import TorchRunner

SIZE = 360, 640
AUTO = PoseConfig(focus="auto")
WHOLE_PIXELS = SIZE[0] * SIZE[1]
LINKS = ((2, 1), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (11, 12), (11, 13), (13, 15), (12, 14),
         (14, 16), (5, 11), (6, 12))  # fmt: skip


class ColourGraphs(TorchRunner):
    """The propagation graphs, and a backbone whose features are directions of a cell's colour."""

    def __init__(self):
        super().__init__()
        self.images = []
        self._directions = np.random.default_rng(0).normal(size=(3, 8)) / 60

    def run(self, graph, *feeds):
        if graph != "backbone":
            return super().run(graph, *feeds)
        (image,) = feeds
        self.images.append(image.shape[1:3])
        # Seen around the first pixel of each cell, as a convolution with stride sees it.
        blurred = cv2.blur(image[0], (7, 7))[::8, ::8].astype(np.float64)
        angles = blurred @ self._directions
        points = np.concatenate([np.cos(angles), np.sin(angles)], axis=2) / np.sqrt(8)
        return (points[None].astype(np.float32),)


def colours(seed):
    """A colour a joint, unlike the grey of the background."""
    shades = np.random.default_rng(seed).permutation(17) * 180 / 17
    hsv = np.stack([shades, np.full(17, 255), np.full(17, 230)], axis=1).astype(np.uint8)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0]


def scene(*people):
    """A frame of people, (joints (17, 3), seed of their colours), the later ones in front."""
    rng = np.random.default_rng(7)
    image = cv2.resize(rng.integers(110, 140, (45, 80, 1), np.uint8), SIZE[::-1])
    image = np.repeat(image[..., None], 3, axis=2)
    for joints, seed in people:
        thick = max(2, int(body_size(joints) / 14))
        places = [tuple(int(v) for v in place) for place in joints[:, :2]]
        shades = colours(seed)
        for a, b in LINKS:
            cv2.line(image, places[a], places[b], (60, 60, 60), thick)
        for joint, place in enumerate(places):
            cv2.circle(image, place, thick, tuple(int(v) for v in shades[joint]), -1)
    return image


def run(images, start, config=None, graphs=None):
    """Tracks of a clip, and what the backbone saw by frame."""
    graphs = graphs or ColourGraphs()
    head = PoseHead(graphs, np.array(start, np.float32), config or AUTO)
    viewer = Viewer(graphs, [head])
    found, seen = [], []
    for index, image in enumerate(images):
        frame = Frame(index, index / 25, image)
        graphs.images.clear()
        views = viewer.views(frame, [head.request(frame)])
        found.append(head.step(frame, views.given(viewer.features(views))[0]))
        seen.append(list(graphs.images))
    return found, seen


def errors(tracks, joints, identity=1):
    """(17,) distances in body sizes; infinite where a joint or the person was not found."""
    rows = np.flatnonzero(tracks.ids == identity)
    if not len(rows):
        return np.full(17, np.inf)
    found = tracks.detections.keypoints[rows[0]]
    apart = np.hypot(*(found[:, :2] - joints[:, :2]).T) / body_size(joints)
    return np.where(found[:, 2] > 0, apart, np.inf)


def near(tracks, joints, identity=1):
    """Share of the joints within 0.1 body sizes."""
    return (errors(tracks, joints, identity) <= 0.1).mean()


def pixels(sizes):
    return sum(height * width for height, width in sizes)


def test_a_small_person_that_moves_is_followed_in_a_part_of_the_frame():
    path = [person(100 + 7 * k, 120 + 2 * k, 40, 90) for k in range(7)]
    images = [scene((joints, 0)) for joints in path]
    found, seen = run(images, [path[0]])
    assert (found[0].detections.keypoints[0] == path[0]).all()
    assert min(near(*pair) for pair in zip(found, path, strict=True)) > 0.8
    assert max(map(pixels, seen[1:])) < 0.8 * WHOLE_PIXELS
    whole, _ = run(images, [path[0]], PoseConfig(focus="off"))
    apart = [
        np.mean([np.minimum(errors(*pair), 1) for pair in zip(one[1:], path[1:], strict=True)])
        for one in (found, whole)
    ]
    assert apart[0] < apart[1]


def test_a_person_that_grows_is_seen_in_coarser_cells():
    """Keypoints stay where they are in the frame while region and pitch change."""
    path = [person(320 - 15 * s, 180 - 30 * s, 30 * s, 60 * s) for s in 1.1 ** np.arange(12)]
    head = PoseHead(graphs := ColourGraphs(), np.array([path[0]]), AUTO)
    viewer, pitches = Viewer(graphs, [head]), set()
    for index, joints in enumerate(path):
        frame = Frame(index, index / 25, scene((joints, 0)))
        request = head.request(frame)
        pitches |= {region.pitch for region in request.regions}
        views = viewer.views(frame, [request])
        tracks = head.step(frame, views.given(viewer.features(views))[0])
        assert near(tracks, joints) > 0.7
    assert len(pitches) >= 2


def test_the_first_image_may_be_overwritten():
    """Who shrinks is compared with the first frame in other cells: it is looked at again."""
    path = [person(320 - 15 * s, 180 - 30 * s, 30 * s, 60 * s) for s in 3 / 1.1 ** np.arange(12)]
    images = [scene((joints, 0)) for joints in path]
    buffer = np.empty_like(images[0])

    def overwritten():
        for image in images:
            buffer[:] = image
            yield buffer

    found, wanted = (run(frames, [path[0]])[0] for frames in (overwritten(), images))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.detections.keypoints, other.detections.keypoints)


REGIONS = [Region(0, 0, 20, 30, 8), Region(4, 6, 16, 16, 5), Region(3, 2, 16, 24, 11)]


@pytest.mark.parametrize("region", REGIONS)
def test_joints_on_the_maps_of_any_region_are_where_they_are_in_the_frame(region):
    """A map drawn in the cells of a region and read there gives the same source pixels."""
    points = np.random.default_rng(2).uniform((60, 60), (100, 90), (9, 2))
    letterbox = region.letterbox((400, 500), 8)
    grid = {"stride": 8, "grid_hw": (region.rows, region.cols)}
    # Wide enough for a mean over the cells around, which all lie inside.
    maps = belief_maps(letterbox.points_to_network(points), np.full(9, 0.5), **grid)
    back = letterbox.points_to_source(read_points(maps, top_cells=30, **grid)[0])
    np.testing.assert_allclose(back, points, atol=0.1 * region.pitch)


def test_two_people_that_pass_keep_their_joints():
    left = [person(200 + 14 * k, 100, 50, 120) for k in range(10)]
    right = [person(330 - 14 * k, 150, 60, 140) for k in range(10)]
    images = [scene((a, 0), (b, 3)) for a, b in zip(left, right, strict=True)]
    found, seen = run(images, [left[0], right[0]])
    assert all(list(tracks.ids) == [1, 2] for tracks in found)
    # The one behind was hidden for half of the frames.
    assert np.median(errors(found[-1], left[-1], 1)) < 0.1
    assert near(found[-1], right[-1], 2) > 0.8
    assert all(len(sizes) >= 2 for sizes in seen[1:]), "a region each"


def test_who_vanished_is_looked_for_everywhere_and_found_elsewhere():
    here, there = person(100, 120, 50, 110), person(480, 170, 50, 110)
    images = [scene((here, 3))] * 3 + [scene()] * 9 + [scene((there, 3))] * 3
    found, seen = run(images, [here])
    assert [len(tracks) for tracks in found] == [1] * 3 + [0] * 9 + [1] * 3
    assert all(sizes[0] == SIZE for sizes in seen[4:13]), "the whole frame, while it is lost"
    assert near(found[-1], there) > 0.8
    assert pixels(seen[-1]) < 0.8 * WHOLE_PIXELS


def test_who_looks_or_lies_otherwise_is_not_taken_for_who_is_lost():
    here = person(100, 120, 50, 110)
    crouched = here.copy()
    # All joints in one another's places: the right colours, and no person.
    crouched[:, :2] = here[np.random.default_rng(1).permutation(17), :2] + (150, 0)
    for other in ((person(250, 120, 50, 110), 4), (crouched, 3)):
        images = [scene((here, 3))] * 3 + [scene()] * 3 + [scene(other)] * 8
        found, _ = run(images, [here])
        assert not any(len(tracks) for tracks in found[4:])


def test_joints_outside_the_image_and_missing_ones_do_no_harm():
    """Half a person outside, one wholly outside, one of a single joint, one of none."""
    half = person(-25, 120, 50, 110)
    gone = person(5000, 30)
    dot = person(400, 200, 50, 110, missing=range(1, 17))
    dot[1] = np.nan, np.nan, 0
    nobody = np.zeros((17, 3), np.float32)
    images = [scene((half, 0), (person(400, 200, 50, 110), 5))] * 4
    found, _ = run(images, [half, gone, dot, nobody])
    inside = half[:, 0] > 3
    for tracks in found[1:]:
        assert list(tracks.ids) == [1, 3]
        assert np.isfinite(tracks.detections.keypoints).all()
        assert (errors(tracks, half)[inside] <= 0.15).mean() > 0.8
        joint = tracks.detections.keypoints[1]
        assert joint[0, :2] == pytest.approx(dot[0, :2], abs=6)
        assert not joint[1:].any()


def test_same_input_same_bytes_and_reset_is_a_new_beginning():
    path = [person(100 + 9 * k, 120, 40, 90) for k in range(4)]
    images, graphs = [scene((joints, 0)) for joints in path], ColourGraphs()
    head = PoseHead(graphs, path[0][None], AUTO)
    viewer, runs = Viewer(graphs, [head]), []
    for _ in range(2):
        assert head.request(Frame(0, 0.0, images[0])) == NOTHING
        shown = []
        for index, image in enumerate(images):
            frame = Frame(index, index / 25, image)
            views = viewer.views(frame, [head.request(frame)])
            tracks = head.step(frame, views.given(viewer.features(views))[0])
            shown.append(tracks.detections.keypoints.tobytes())
        runs.append(shown)
        head.reset()
    again, _ = run(images, [path[0]])
    assert runs[0] == runs[1] == [t.detections.keypoints.tobytes() for t in again]


def test_same_bytes_with_one_two_and_four_threads(lite_bundle):
    path = [person(100 + 9 * k, 120, 40, 90) for k in range(4)]
    other = person(400, 150, 60, 130)
    images = [scene((joints, 0), (other, 1)) for joints in path]
    shown = []
    for threads in (1, 2, 4):
        with GraphRunner(lite_bundle, "cpu", threads) as graphs:
            graphs.images = []
            found, _ = run(images, [path[0], other], graphs=graphs)
        shown.append([tracks.detections.keypoints.tobytes() for tracks in found])
    assert shown[0] == shown[1] == shown[2]


# --- off


def test_off_is_the_whole_frame_byte_by_byte():
    """The paper's steps, one by one, give the same bytes."""
    path = [person(100 + 9 * k, 120, 60, 120) for k in range(3)]
    images = [scene((joints, 0)) for joints in path]
    config = PoseConfig(focus="off", short_side=128)
    found, _ = run(images, [path[0]], config)
    graphs = ColourGraphs()
    extractor, memory, last = FeatureExtractor(graphs), None, None
    for index, image in enumerate(images):
        features = extractor.extract(*extractor.prepare(Frame(index, 0.0, image), (128, 228)))
        grid = {"stride": 8, "grid_hw": features.grid_hw}
        if memory is None:
            last = features.letterbox.points_to_network(path[0][:, :2].astype(np.float64))
            size = np.ptp(last, axis=0).max() / 8
            memory = Propagator(
                graphs, *features.grid_hw, top_k=10, temperature=0.05, radius=12.0, memory=5
            )
            memory.start(features.array, belief_maps(last, np.full(17, 0.1 * size), **grid))
            continue
        maps = within_reach(memory.step(features.array), last, np.full(17, 12.0), **grid)
        last, heights = read_points(maps, top_cells=3, **grid)
        assert heights.min() > 0.05
        expected = np.column_stack(
            [features.letterbox.points_to_source(last), np.minimum(heights, 1)]
        ).astype(np.float32)
        assert found[index].detections.keypoints[0].tobytes() == expected.tobytes()


def test_off_and_bundles_and_engines_of_fixed_sizes_ask_for_the_whole_frame():
    frame = Frame(0, 0.0, np.zeros((*SIZE, 3), np.uint8))
    fixed, engine = ColourGraphs(), ColourGraphs()
    fixed.spec = replace(fixed.spec, sizes_hw=((360, 640),))
    engine.limit = lambda graph, *_: 608 if graph == "backbone" else None
    for graphs, config in (
        (ColourGraphs(), PoseConfig(focus="off")), (fixed, AUTO), (engine, AUTO)
    ):  # fmt: skip
        head = PoseHead(graphs, person(60, 30)[None], config)
        assert head.needs_features
        assert head.asks_ahead
        assert head.request(frame) == WHOLE
    assert not PoseHead(ColourGraphs(), person(60, 30)[None], AUTO).asks_ahead


def test_what_focus_would_not_do_is_refused():
    PoseConfig(focus="auto", radius=5.0, memory=1)
    PoseConfig(focus="off", radius=20.0, memory=9, first_radius=30.0)
    for name, wrong in (("radius", 20.0), ("memory", 9), ("first_radius", 30.0)):
        flag = f"--pose-{name.replace('_', '-')} {wrong:g}: "
        with pytest.raises(RequestError, match=rf"^{flag}.* at most: add --pose-focus off$"):
            PoseConfig(focus="auto", **{name: wrong})
