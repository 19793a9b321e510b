"""The Python interface: the same results as the command line, and errors that say what is wrong."""

from __future__ import annotations

import json
import pickle
import sys
import threading
import warnings
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import unitrack_edge
from PIL import Image
from unitrack_edge import Detections, Tracker, UnitrackError, api
from unitrack_edge.api import build, evaluate, export
from unitrack_edge.evaluation.synthetic.files import write_scene, write_task_files
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.runtime.formats.davis import read_label_png
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.sources.open import open_source

from .support.command_line import run_cli
from .support.eval_data import write_small_data

SMALL = {"height": 64, "width": 96}
FRAMES = 6


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A clip with what every task starts from."""
    made = Scene(SceneConfig(frames=FRAMES, height=64, width=96, objects=2))
    folder = tmp_path_factory.mktemp("api")
    clip = write_scene(made, folder / "clip", form="images")
    return SimpleNamespace(clip=clip, starts=write_task_files(made, clip.folder, target=1))


def inputs_of(task, scene):
    """How a task is given its objects on the command line and in Python."""
    return {
        "sot": {"init": scene.starts.init_box},
        "vos": {"init": scene.clip.init_mask},
        "pose": {"init": scene.starts.init_poses},
        "mot": {"detections": scene.clip.detections},
        "mots": {"detections": scene.starts.masks},
        "posetrack": {"detections": scene.starts.poses},
    }[task]


def parameters_of(task):
    return SMALL if task in ("mot", "mots", "posetrack") else {}


@pytest.mark.parametrize("task", ["sot", "vos", "mot", "mots", "posetrack", "pose"])
def test_track_gives_what_the_command_writes(task, scene, quick_bundle, tmp_path):
    given = inputs_of(task, scene)
    (flag, path), output = next(iter(given.items())), tmp_path / "out"
    options = [f"--{task}-{name}={value}" for name, value in parameters_of(task).items()]
    run_cli(
        *("track", scene.clip.source, "--task", task, f"--{flag}", path, *options),
        *("--bundle", quick_bundle.path, "--output", output, "--threads", 2),
    )
    with Tracker(task, bundle=quick_bundle.path, threads=2, **parameters_of(task)) as tracker:
        results = list(tracker.track(scene.clip.source, **given))
        again = list(tracker.track(scene.clip.source, **given))
    assert [frame.index for frame, _ in results] == list(range(FRAMES))
    for (_, one), (_, two) in zip(results, again, strict=True):
        assert (one.ids == two.ids).all()
        assert (one.detections.boxes_xyxy == two.detections.boxes_xyxy).all()
    identities = {int(i) for _, tracks in results for i in tracks.ids}
    data = json.loads((output / "run.json").read_text())
    assert len(identities) == data["identities"] > 0
    if task == "vos":
        for frame, tracks in results:
            written = read_label_png(output / "masks" / f"{frame.index:05d}.png")
            assert (tracks.label_map == written).all()
    if task == "mot":
        rows = [line.split(",") for line in (output / "tracks.txt").read_text().splitlines()]
        assert [(int(r[0]), int(r[1])) for r in rows] == [
            (frame.index + 1, int(i)) for frame, tracks in results for i in tracks.ids
        ]


def test_update_is_track_with_a_loop_of_ones_own(scene, quick_bundle):
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        whole = [t for _, t in tracker.track(scene.clip.source, detections=scene.clip.detections)]
        tracker.reset()
        with open_source(str(scene.clip.source)) as source:
            detector = open_detections(scene.clip.detections)
            single = [tracker.update(f.image, detector.detect(f)) for f in source]
    assert [t.ids.tolist() for t in single] == [t.ids.tolist() for t in whole]


@pytest.mark.parametrize(
    "given",
    [
        ([[10, 10, 30, 50], [40, 10, 50.5, 60]], [1, 0.5], [0, -1]),
        (np.array([[10, 10, 30, 50], [40, 10, 50.5, 60]]), np.array([1, 0.5]), np.int32([0, -1])),
        # As Ultralytics gives classes.
        (np.float32([[10, 10, 30, 50], [40, 10, 50.5, 60]]), (1, 0.5), np.float32([0, -1])),
    ],
)
def test_detections_take_what_numpy_makes_arrays_of(given):
    found = Detections(*given)
    assert found.boxes_xyxy.tolist() == [[10, 10, 30, 50], [40, 10, 50.5, 60]]
    assert (found.scores.tolist(), found.classes.tolist()) == ([1, 0.5], [0, -1])
    dtypes = found.boxes_xyxy.dtype, found.scores.dtype, found.classes.dtype
    assert dtypes == (np.float32, np.float32, np.int64)


def test_detections_have_defaults_and_take_what_frameworks_give():
    torch = pytest.importorskip("torch")
    found = Detections([[10, 10, 30, 50]])
    assert (found.scores.tolist(), found.classes.tolist()) == ([1], [-1])
    ones = torch.ones(1, 8, 9)
    found = Detections(
        torch.tensor([[10.0, 10, 30, 50]]),
        torch.tensor([0.5]),
        torch.tensor([2.0]),
        ones,
        ones[..., :3],
        class_names={0: "person", 2: "car"},
    )
    assert (found.masks.dtype, found.masks.all()) == (np.bool_, True)
    assert (found.keypoints.dtype, found.keypoints.shape) == (np.float32, (1, 8, 3))
    assert found.class_names == ("person", "", "car")
    assert Detections([], class_names=np.array(["person"])).class_names == ("person",)
    assert Detections([], class_names={}).class_names == ()


def test_names_are_looked_at_once():
    """Of detectors with a thousand classes, each look would be at all of them."""
    found = Detections([[0, 0, 9, 9]], class_names=["person", "car"])
    assert found.class_names == ("person", "car")
    assert found[:0].class_names is found.class_names
    named = Detections.empty().named(found.class_names)
    assert named.class_names is found.class_names


def test_no_detections_are_empty_lists():
    assert len(Detections([], [], [])) == 0
    assert Detections([], [], []).boxes_xyxy.shape == (0, 4)


def test_arrays_of_no_rows_are_no_detections_whatever_their_width():
    rows = np.zeros((0, 6))
    for found in (
        Detections(rows),
        Detections(rows, rows, rows, rows, rows),
        Detections([[]], [[]], [[]], np.array([]), []),
    ):
        assert (found.boxes_xyxy.shape, found.scores.shape, found.classes.shape) == (
            (0, 4),
            (0,),
            (0,),
        )
    assert (found.masks.shape, found.keypoints.shape) == ((0, 0, 0), (0, 0, 3))
    assert Detections([], keypoints=np.zeros((0, 17, 3))).keypoints.shape == (0, 17, 3)
    with pytest.raises(UnitrackError, match=r"scores: got .* \(1,\), expected .* \(0\)"):
        Detections([], [0.5])


def test_names_of_classes_may_be_numbered_by_numpy():
    assert Detections([], class_names={np.int64(1): "car"}).class_names == ("", "car")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (([[1, 2, 3]], [1], [0]), r"boxes_xyxy: got .* of shape \(1, 3\), expected float32"),
        (([[1, 2, 3, 4], [1, 2]], [1], [0]), "boxes_xyxy: got list"),
        (([["a", "b", "c", "d"]], [1], [0]), "boxes_xyxy: got list"),
        (([[1, 2, 1e300, 4]], [1], [0]), "NaN or infinite"),
        (([[1, 2, 3, 4]], [None], [0]), "scores: got list"),
        (([[1, 2, 3, 4]], [1], [0.5]), r"classes: got float64 .*expected int64"),
        (([[1, 2, 3, 4]], [1], [float("nan")]), r"classes: got float64 .*expected int64"),
        (([[1, 2, 3, 4]], [1], ["person"]), "classes: got list"),
        (([[1, 2, 3, 4]], [1], [0], np.full((1, 9, 9), 0.7)), "masks: got float64 .*expected bool"),
        (([[1, 2, 3, 4]], [1], [0], None, np.ones((1, 17, 2))), r"keypoints: .* \(1, any, 3\)"),
        (([[1, 2, 3, 4]], [1], [0], None, None, "person"), "class_names: got str, expected a list"),
        (([[1, 2, 3, 4]], [1], [0], None, None, [1]), "class_names: got list"),
        (([[1, 2, 3, 4]], [1], [0], None, None, {"a": "b"}), "class_names: got dict"),
    ],
)
def test_what_is_no_detections_is_one_line(given, said):
    with pytest.raises(UnitrackError, match=said) as caught:
        Detections(*given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("image", [None, [[[0, 0, 0]]], "frame.png", Image.new("RGB", (96, 64))])
def test_what_is_no_image_is_one_line(image, quick_bundle):
    with (
        Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker,
        pytest.raises(UnitrackError, match=r"got \w+, expected an array of uint8 .* BGR"),
    ):
        tracker.update(image, Detections.empty())


def test_a_clock_that_goes_back_is_refused(scene, quick_bundle):
    image = next(iter(open_source(str(scene.clip.source)))).image
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:

        def update(image, timestamp):
            return tracker.update(image, Detections.empty(), timestamp=timestamp)

        update(image, timestamp=7.0)
        for call in (update, tracker.predict):
            with pytest.raises(UnitrackError, match=r"timestamp 6\.5: .* 7 s .* reset\(\)"):
                call(image, timestamp=6.5)
            for wrong in (float("nan"), float("inf"), "now"):
                with pytest.raises(UnitrackError, match=f"timestamp {wrong}: expected seconds"):
                    call(image, timestamp=wrong)
        with pytest.raises(UnitrackError, match=r"shape \(64, 96\), .* cv2\.COLOR_GRAY2BGR"):
            update(image[..., 0], timestamp=9.0)
        assert update(image, timestamp=7.0).frame_index == 1
        with pytest.raises(UnitrackError, match="timestamp: give one with every frame"):
            update(image, timestamp=None)
        tracker.reset()
        assert update(image, timestamp=0.0).frame_index == 0


# A loop of one's own.


@pytest.fixture
def two_boxes():
    """Two objects that stand still, far enough from each other."""
    return Detections([[10, 10, 30, 50], [50, 10, 70, 50]], [0.9, 0.8], [0, 2])


@pytest.fixture
def image(scene):
    return next(iter(open_source(str(scene.clip.source)))).image


START = {
    "sot": (20, 10, 15, 30),
    "vos": np.pad(np.ones((30, 20), np.uint8), ((10, 24), (20, 56))),
    "pose": np.ones((1, 17, 3)) * [40, 30, 1] + np.arange(17)[:, None] * [1, 1, 0],
}


def in_task(task, found):
    """The two boxes as the task takes them: with masks or poses that fill them."""
    corners = found.boxes_xyxy.reshape(2, 2, 2)
    masks = np.zeros((2, 64, 96), bool)
    for mask, ((left, top), (right, bottom)) in zip(masks, corners.astype(int), strict=True):
        mask[top:bottom, left:right] = True
    poses = np.concatenate([corners, np.ones((2, 2, 1))], axis=2)
    return replace(
        found,
        masks=masks if task == "mots" else None,
        keypoints=poses if task == "posetrack" else None,
    )


@pytest.mark.parametrize("task", ["mot", "mots", "posetrack", *START])
@pytest.mark.parametrize("scale_xy", [(2, 2), (0.75, 0.75), (1, 1.25)])
def test_frames_of_another_size_go_on_in_pixels_of_their_own(
    task, scale_xy, image, two_boxes, quick_bundle
):
    """As after a camera has come back with another resolution."""
    across, down = scale_xy
    other = cv2.resize(image, None, fx=across, fy=down, interpolation=cv2.INTER_NEAREST)
    usual = in_task(task, two_boxes)
    larger = replace(
        usual,
        boxes_xyxy=usual.boxes_xyxy * [across, down, across, down],
        masks=None
        if usual.masks is None
        else [
            cv2.resize(m.astype(np.uint8), other.shape[1::-1], interpolation=0) for m in usual.masks
        ],
        keypoints=None if usual.keypoints is None else usual.keypoints * [across, down, 1],
    )
    given = {"init": START[task]} if task in START else {**SMALL, "camera_motion": "off"}
    with Tracker(task, bundle=quick_bundle.path, **given) as tracker:
        step = tracker.update if task in START else lambda i: tracker.update(i, usual)
        before = [step(image) for _ in range(3)][-1]
        with pytest.warns(UserWarning, match=r"frame 3: .* is \d+x\d+ .* was 64x96: .*reset\(\)"):
            after = tracker.update(other, *(() if task in START else (larger,)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tracker.update(other, *(() if task in START else (larger,)))
        again = step(image)
        assert after.ids.tolist() == before.ids.tolist() == again.ids.tolist() != []
        if task in START:
            assert task != "vos" or after.label_map.shape == other.shape[:2]
            return
        expected = before.detections.boxes_xyxy * [across, down, across, down]
        # Of another ratio, objects have another place in the first size, and boxes are smoothed.
        close = {"atol": 1.5 * max(scale_xy) if across == down else 10}
        np.testing.assert_allclose(after.detections.boxes_xyxy, expected, **close)
        assert after.detection_rows.tolist() == [0, 1]
        if task == "mots":
            assert after.detections.masks.shape == (2, *other.shape[:2])
            assert (after.detections.masks == np.array(larger.masks)).mean() > 0.95
        if task == "posetrack":
            np.testing.assert_allclose(after.detections.keypoints, larger.keypoints, **close)
        if task == "mot":
            assert len(tracker.predict(other)) == 2
            tracker.reset()
            assert tracker.update(other, larger).frame_index == 0


def test_masks_of_the_size_before_are_refused_with_an_image_of_another(
    image, two_boxes, quick_bundle
):
    found = in_task("mots", two_boxes)
    with Tracker("mots", bundle=quick_bundle.path, **SMALL) as tracker:
        tracker.update(image, found)
        with (
            pytest.warns(UserWarning, match="another video"),
            pytest.raises(UnitrackError, match=r"masks of \(64, 96\).*expected .*\(40, 48\)"),
        ):
            tracker.update(cv2.resize(image, (48, 40)), found)


@pytest.mark.parametrize("score", [1.0000001, np.float16(1.001), 1.0078125])
def test_a_score_that_was_rounded_above_1_is_one(score, image, quick_bundle):
    """The number above 1 in float32, float16 and bfloat16."""
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        assert len(tracker.update(image, Detections([[10, 10, 30, 50]], [score]))) == 1


@pytest.mark.parametrize("task", ["mot", "posetrack"])
@pytest.mark.parametrize("preset", ["memory", "unitrack"])
def test_boxes_that_clipping_left_without_extent_are_counted_and_not_tracked(
    task, preset, image, two_boxes, quick_bundle
):
    """Detectors cut boxes to the image: of one beyond its edge, a line or a point is left."""
    found = in_task(task, two_boxes)
    flat = [[96, 10, 96, 40], [30, 64, 50, 64], [0, 0, 0, 0]]
    with_flat = Detections(
        np.insert(found.boxes_xyxy, 1, flat, axis=0),
        np.full(5, 0.9),
        keypoints=None
        if found.keypoints is None
        else np.insert(found.keypoints, 1, np.zeros((3, 2, 3)), axis=0),
    )
    with Tracker(task, bundle=quick_bundle.path, preset=preset, **SMALL) as tracker:
        for _ in range(2):
            tracks = tracker.update(image, with_flat)
            assert tracks.detection_rows.tolist() == [0, 4]
        assert tracker.dropped["outside"] == 6


def test_a_closed_tracker_says_so(scene, image, two_boxes, quick_bundle):
    tracker = Tracker("mot", bundle=quick_bundle.path, confidence=0.85, **SMALL)
    with tracker:
        tracker.update(image, two_boxes)
    calls = (
        lambda: tracker.update(image, two_boxes),
        lambda: tracker.predict(image),
        lambda: next(tracker.track(scene.clip.source, detections=scene.clip.detections)),
        tracker.reset,
        tracker.__enter__,
    )
    for call in calls:
        with pytest.raises(UnitrackError, match="the tracker is closed: make another one"):
            call()
    tracker.close()
    assert tracker.dropped == {"start": 1}


def test_a_tracker_that_is_closed_in_its_loop_stops(scene, quick_bundle):
    tracker = Tracker("mot", bundle=quick_bundle.path, **SMALL)
    frames = tracker.track(scene.clip.source, detections=scene.clip.detections)
    next(frames)
    tracker.close()
    with pytest.raises(UnitrackError, match="the tracker is closed"):
        next(frames)


def test_two_loops_on_one_tracker_are_refused(scene, image, two_boxes, quick_bundle):
    clip = scene.clip
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        first = tracker.track(clip.source, detections=clip.detections)
        next(first)
        with pytest.raises(UnitrackError, match=r"track\(\) is not at its end"):
            tracker.update(image, two_boxes)
        second = tracker.track(clip.source, detections=clip.detections)
        next(second)
        with pytest.raises(UnitrackError, match="gone over to another video"):
            next(first)
        assert next(second)[0].index == 1
        second.close()
        tracker.reset()
        assert tracker.update(image, two_boxes).frame_index == 0


def test_a_second_thread_is_refused(image, two_boxes, quick_bundle, monkeypatch):
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        tracker.update(image, two_boxes)
        inside, go_on = threading.Event(), threading.Event()
        step = tracker._head.step

        def slow(*given):
            inside.set()
            assert go_on.wait(30)
            return step(*given)

        monkeypatch.setattr(tracker._head, "step", slow)
        other = threading.Thread(target=tracker.update, args=(image, two_boxes))
        other.start()
        assert inside.wait(30)
        try:
            with pytest.raises(UnitrackError, match="at work in another thread"):
                tracker.update(image, two_boxes)
        finally:
            go_on.set()
            other.join()
        # From one thread after the other is fine.
        assert tracker.update(image, two_boxes).frame_index == 2


def test_a_tracker_is_not_pickled_but_what_it_gives_is(image, two_boxes, quick_bundle):
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        with pytest.raises(UnitrackError, match="cannot be copied or sent to another process"):
            pickle.dumps(tracker)
        tracks = tracker.update(image, two_boxes)
    again = pickle.loads(pickle.dumps(tracks))
    assert again.ids.tolist() == tracks.ids.tolist()
    assert (again.detections.boxes_xyxy == tracks.detections.boxes_xyxy).all()


def test_images_may_be_views_and_overwritten(scene, quick_bundle):
    images = [frame.image for frame in open_source(str(scene.clip.source))]
    detector = open_detections(scene.clip.detections)
    with open_source(str(scene.clip.source)) as source:
        found = [detector.detect(frame) for frame in source]

    def boxes(way):
        with Tracker("mot", bundle=quick_bundle.path, appearance="auto") as tracker:
            results = [tracker.update(way(i), seen) for i, seen in zip(images, found, strict=True)]
        return [(t.ids.tolist(), t.detections.boxes_xyxy.tolist()) for t in results]

    buffer = np.empty_like(images[0])

    def overwritten(image):
        buffer[:] = image
        return buffer

    def read_only(image):
        image = image.copy()
        image.flags.writeable = False
        return image

    usual = boxes(lambda image: image)
    assert boxes(overwritten) == usual
    assert boxes(read_only) == usual
    assert boxes(lambda image: np.ascontiguousarray(image[..., ::-1])[..., ::-1]) == usual


def test_the_first_image_may_be_overwritten_too(quick_bundle, tmp_path):
    """What comes nearer is compared with the first frame in other cells."""
    made = Scene(SceneConfig(frames=FRAMES, height=240, width=320, objects=2))
    clip = write_scene(made, tmp_path / "clip", form="images")
    images = [frame.image for frame in open_source(str(clip.source))] * 2
    nearer = [cv2.getRotationMatrix2D((160, 120), 0, 1.12**k) for k in range(len(images))]
    images = [cv2.warpAffine(i, by, (320, 240)) for i, by in zip(images, nearer, strict=True)]

    def results(way):
        with Tracker("vos", bundle=quick_bundle.path, init=clip.init_mask) as tracker:
            found = [tracker.update(way(image)) for image in images]
        return [(t.ids.tolist(), t.detections.boxes_xyxy.tolist()) for t in found]

    buffer = np.empty_like(images[0])

    def overwritten(image):
        buffer[:] = image
        return buffer

    assert results(overwritten) == results(lambda image: image)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, r"given no detections.*Detections\.empty\(\).*predict\(\)"),
        (np.zeros((2, 6)), r"got ndarray, expected Detections\(rows\[:, :4\]"),
        ([], "got list, expected Detections"),
        (SimpleNamespace(xyxy=None), "from_supervision"),
        (Detections([[10, 10, 30, 50]], [90]), "a score of 90, expected 0 to 1"),
    ],
)
def test_what_update_cannot_take_for_detections_is_one_line(found, said, image, quick_bundle):
    with (
        Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker,
        pytest.raises(UnitrackError, match=said) as caught,
    ):
        tracker.update(image, found)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "part"), [("mots", "masks"), ("posetrack", "keypoints")])
def test_detections_without_what_the_task_tracks_say_what_to_give(
    task, part, image, two_boxes, quick_bundle
):
    with Tracker(task, bundle=quick_bundle.path, **SMALL) as tracker:
        assert len(tracker.update(image, Detections.empty())) == 0
        with pytest.raises(UnitrackError, match=rf"task {task}: .*Detections\(…, {part}=…\)"):
            tracker.update(image, two_boxes)


def test_raw_scores_are_compared_as_they_are_by_preset_unitrack(image, quick_bundle):
    found = Detections([[10, 10, 30, 50]], [90])
    with Tracker("mot", bundle=quick_bundle.path, preset="unitrack", **SMALL) as tracker:
        assert tracker.update(image, found).detections.scores.tolist() == [90]


@pytest.mark.parametrize("every", [1, 2])
def test_update_without_detections_asks_the_detector_of_the_tracker(
    scene, quick_bundle, every, monkeypatch
):
    detections = scene.clip.detections
    monkeypatch.setattr(api, "open_detector", lambda **_given: open_detections(detections))
    images = [frame.image for frame in open_source(str(scene.clip.source))]
    settings = {"detector": "stand-in", "detect_every": every, **SMALL}
    with Tracker("mot", bundle=quick_bundle.path, **settings) as tracker:
        whole = [tracks for _, tracks in tracker.track(scene.clip.source)]
        for _ in range(2):
            tracker.reset()
            single = [tracker.update(image) for image in images]
            assert all(len(tracks) for tracks in single)
            assert [t.ids.tolist() for t in single] == [t.ids.tolist() for t in whole]
            assert [t.predicted is None for t in single] == [t.predicted is None for t in whole]


def test_a_track_names_the_row_of_the_detections_it_was_matched_to(image, quick_bundle):
    """The first is too weak and the fourth on the third, which poses may be; the second outside."""
    places = [[5, 5, 25, 45], [200, 5, 220, 45], [30, 5, 50, 45], [31, 5, 51, 45], [60, 5, 90, 45]]
    scores = [0.01, 0.9, 0.9, 0.8, 0.9]
    masks = np.zeros((5, 64, 96), bool)
    for mask, (left, top, right, bottom) in zip(masks, places, strict=True):
        mask[top:bottom, left:right] = True
    joints = np.zeros((5, 17, 3))
    ends = np.array(places)
    joints[:, :, :2] = np.linspace(ends[:, :2], ends[:, 2:], 17, axis=1)
    joints[:, :, 2] = 1
    expected = {"mot": [2, 4], "mots": [2, 4], "posetrack": [0, 2, 3, 4]}
    for task, rows in expected.items():
        found = Detections(places, scores, None, masks, joints)
        with Tracker(task, bundle=quick_bundle.path, **SMALL) as tracker:
            tracks = tracker.update(image, found)
            assert sorted(tracks.detection_rows.tolist()) == rows
            for row, box in zip(tracks.detection_rows, tracks.detections.boxes_xyxy, strict=True):
                np.testing.assert_allclose(box, places[row], atol=0.5)
            # Those that are matched by motion alone were no detection of this frame.
            later = tracker.update(image, found[[4]])
            behind = dict(zip(later.ids.tolist(), later.detection_rows.tolist(), strict=True))
            newest = int(tracks.ids[tracks.detection_rows == 4][0])
            assert behind.pop(newest) == 0
            assert set(behind.values()) <= {-1}
            assert tracker.predict(image).detection_rows is None


def test_tracks_are_chosen_by_row(image, two_boxes, quick_bundle):
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        tracks = tracker.update(image, two_boxes)
        cars = tracks[tracks.detections.classes == 2]
        assert (len(cars), cars.detections.classes.tolist()) == (1, [2])
        assert cars.detection_rows.tolist() == [1]
        assert [one.ids.tolist() for one in tracks] == [[i] for i in tracks.ids.tolist()]
        moved = tracker.predict(image)
        assert moved[-1].predicted.tolist() == [True]


def test_notes_of_a_source_and_its_detections_are_warnings(scene, quick_bundle, tmp_path):
    rows = tmp_path / "det.txt"
    rows.write_text("1,-1,20,10,15,30,1\n2,-1,nonsense\n")
    with (
        Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker,
        pytest.warns(UserWarning, match="1 damaged row") as caught,
    ):
        list(tracker.track(scene.clip.source, detections=rows))
    assert {warning.filename for warning in caught} == {__file__}


def test_objects_that_are_left_out_are_counted(scene, quick_bundle):
    image = next(iter(open_source(str(scene.clip.source)))).image
    boxes = np.array([[10, 10, 30, 50], [40, 10, 44, 12]], np.float32)
    found = Detections(boxes, np.ones(2, np.float32), np.array([-1, -1]))
    with Tracker("mot", bundle=quick_bundle.path, **SMALL) as tracker:
        assert tracker.dropped == {}
        assert len(tracker.update(image, found)) == 1
        assert tracker.dropped == {"min_area": 1}


def test_track_numbers_frames_as_the_file_of_detections_does(scene, quick_bundle, tmp_path):
    """The images are 11, 12 … and the file speaks of 12 alone."""
    images = tmp_path / "images"
    images.mkdir()
    for number, path in enumerate(sorted(scene.clip.source.iterdir()), 11):
        (images / f"{number:06d}{path.suffix}").write_bytes(path.read_bytes())
    rows = tmp_path / "det.txt"
    rows.write_text("12,-1,20,10,15,30,1\n12,-1,60,10,15,30,1\n")
    found = {}
    with Tracker("mot", bundle=quick_bundle.path, max_detections=1, **SMALL) as tracker:
        for way in (None, "order"):
            every = list(tracker.track(images, detections=rows, frame_numbers=way))
            found[way] = [frame.index for frame, _ in every]
            assert tracker.dropped.get("max_detections", 0) == (1 if way is None else 0)
    assert found == {None: list(range(10, 10 + FRAMES)), "order": list(range(FRAMES))}
    with pytest.raises(UnitrackError, match="--max-detections 0"):
        Tracker("mot", bundle=quick_bundle.path, max_detections=0)


def test_track_shows_the_range_that_is_asked_for(quick_bundle, tmp_path):
    pixels = np.full((64, 96), 7500, np.uint16)
    pixels[:, 48:] = 9000
    cv2.imwrite(str(tmp_path / "0.png"), pixels)
    with Tracker("sot", bundle=quick_bundle.path, init=(20, 10, 15, 30)) as tracker:
        for asked, white in (("7500,9000", 255), ((7500, 10500), 128)):
            ((frame, _),) = tracker.track(tmp_path, value_range=asked)
            assert (frame.image[:, :48] == 0).all()
            assert (frame.image[:, 48:] == white).all()


def test_update_starts_from_arrays(scene, quick_bundle):
    images = [frame.image for frame in open_source(str(scene.clip.source))]
    labels = read_label_png(scene.clip.init_mask)
    with Tracker("vos", bundle=quick_bundle.path, init=labels) as tracker:
        assert (tracker.update(images[0]).label_map == labels).all()
        assert tracker.update(images[1]).label_map.shape == labels.shape
    with Tracker("sot", bundle=quick_bundle.path) as tracker:
        tracker.start((20, 10, 15, 30))
        first = tracker.update(images[0])
        np.testing.assert_allclose(first.detections.boxes_xyxy, [[20, 10, 35, 40]], atol=1e-3)
    joints = np.ones((1, 17, 3), np.float32) * [40, 30, 1]
    joints[0, :, :2] += np.arange(17)[:, None]
    with Tracker("pose", bundle=quick_bundle.path, init=joints.tolist()) as tracker:
        assert tracker.update(images[0]).detections.keypoints.shape == (1, 17, 3)
    with Tracker("vos", bundle=quick_bundle.path, init=np.array([20, 10, 15, 30])) as tracker:
        assert tracker.update(images[0]).ids.tolist() == [1]


def test_timestamps_count_missing_frames_as_time(scene, quick_bundle):
    images = [frame.image for frame in open_source(str(scene.clip.source))]
    with Tracker("mot", bundle=quick_bundle.path, fps=10, **SMALL) as tracker:
        nothing = Detections.empty()
        indices = [
            tracker.update(images[0], nothing, timestamp=t).frame_index
            for t in (100.0, 100.1, 100.5, 100.5)
        ]
        assert indices == [0, 1, 5, 6]
        tracker.reset()
        assert tracker.update(images[0], nothing, timestamp=7.0).frame_index == 0


def test_a_first_frame_that_cannot_be_used_changes_nothing(scene, quick_bundle):
    image = next(iter(open_source(str(scene.clip.source)))).image
    with Tracker("sot", bundle=quick_bundle.path, init=(500, 500, 5, 5)) as tracker:
        with pytest.raises(UnitrackError, match="outside the image"):
            tracker.update(image)
        tracker.start((20, 10, 15, 30))
        assert tracker.update(image).frame_index == 0


def started(task, bundle, init):
    return Tracker(task, bundle=bundle, init=init).update(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: Tracker("dance", bundle=b), "unknown task 'dance', expected one of sot, vos"),
        (lambda b: Tracker("mot", bundle=b, tempo=3), "task mot: .*'tempo'"),
        (lambda b: Tracker("mot", bundle=b / "none"), "does not exist"),
        (lambda b: Tracker("mot", bundle=b, backend="tpu"), "tpu"),
        (lambda b: Tracker("mot", bundle=b, fps=0.0), "fps=0.0: expected frames per second"),
        (lambda b: Tracker("mot", bundle=b, fps=float("nan")), "fps=nan: expected"),
        (lambda b: Tracker("mot", bundle=b, fps="30"), "fps='30': expected"),
        (lambda b: Tracker("mot", bundle=b, threads=-1), "threads=-1: expected a whole number"),
        (lambda b: Tracker("mot", bundle=b, init=(1, 2, 3, 4)), "starts from detections"),
        (lambda b: started("sot", b, "detect"), r"init='detect' is for track\(\)"),
        (lambda b: started("sot", b, 5), r"four numbers x, y, w, h, got numbers of shape \(\)"),
        (lambda b: started("sot", b, ("a", 1, 2, 3)), "init: got tuple, expected numbers"),
        (lambda b: started("vos", b, np.full((9, 9), 300)), "label map of int64 .* 0 to 255"),
        (lambda b: started("pose", b, np.ones((17, 3))), r"shape \(17, 3\), expected poses"),
        (lambda b: next(Tracker("mot", bundle=b).track("x.mp4")), "no file or folder"),
        (lambda b: Tracker("mot", bundle=b).start((1, 2, 3, 4)), "starts from detections"),
        (lambda b: started("sot", b, None), "init="),
        (lambda b: started("sot", b, (1, 2, 3)), "four numbers"),
        (
            lambda b: Tracker("sot", bundle=b).update(
                np.zeros((9, 9, 3), np.uint8), Detections.empty()
            ),
            "takes no detections",
        ),
        (lambda b: evaluate("pose", b, bundle=b), "no benchmark for task 'pose'"),
        (lambda b: build(b, "tensorflow"), "tensorflow"),
        (lambda _b: export("vfs-r19"), "did you mean"),
    ],
)
def test_errors_are_one_line(make, message, quick_bundle):
    with pytest.raises(UnitrackError, match=message) as caught:
        make(quick_bundle.path)
    assert "\n" not in str(caught.value)


def test_a_tracker_without_its_default_detector_says_how_to_get_it(
    scene, quick_bundle, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with (
        Tracker("mot", bundle=quick_bundle.path) as tracker,
        pytest.raises(UnitrackError, match="run `cli export --detector movenet`"),
    ):
        next(tracker.track(scene.clip.source))


def test_evaluate_scores_as_the_command_does(quick_bundle, tmp_path):
    pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")
    write_small_data(tmp_path / "data")
    found = evaluate(
        "mot",
        tmp_path / "data" / "mot",
        bundle=quick_bundle.path,
        output=tmp_path / "out",
        max_frames=2,
        **SMALL,
    )
    assert [row["name"] for row in found["sequences"]] == ["A"]
    assert found["combined"][0]["scores"]["HOTA"] > 0


# supervision.


def boxes_of_supervision(**more):
    given = {"xyxy": np.array([[1.0, 2, 5, 9]]), "confidence": None, "class_id": None, **more}
    return SimpleNamespace(**{"mask": None, **given})


def test_detections_from_supervision():
    seen = Detections.from_supervision(boxes_of_supervision())
    assert seen.boxes_xyxy.tolist() == [[1, 2, 5, 9]]
    assert (seen.scores.tolist(), seen.classes.tolist()) == ([1.0], [-1])
    full = boxes_of_supervision(
        confidence=np.array([0.25]), class_id=np.array([3]), mask=np.ones((1, 9, 9), bool)
    )
    seen = Detections.from_supervision(full)
    assert (seen.scores.tolist(), seen.classes.tolist()) == ([0.25], [3])
    assert seen.masks.all()
    assert seen.class_names is None
    several = boxes_of_supervision(
        xyxy=np.array([[1.0, 2, 5, 9]] * 2),
        class_id=np.array([3, 1]),
        data={"class_name": np.array(["car", "person"])},
    )
    seen = Detections.from_supervision(several)
    assert [seen.name_of(label) for label in (0, 1, 3, 4, -1)] == ["", "person", "car", "", ""]
    assert seen.is_person().tolist() == [False, True]
    empty = boxes_of_supervision(xyxy=np.zeros((0, 4)))
    assert len(Detections.from_supervision(empty)) == 0
    with pytest.raises(UnitrackError):
        Detections.from_supervision(boxes_of_supervision(xyxy=np.array([[5.0, 2, 1, 9]])))


def test_tracks_to_supervision(monkeypatch):
    tracks = unitrack_edge.Tracks(
        0, np.array([7]), Detections.from_supervision(boxes_of_supervision())
    )
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    made = tracks.to_supervision()
    assert made.tracker_id.tolist() == [7]
    assert made.xyxy.tolist() == [[1, 2, 5, 9]]
    assert made.data == {}
    named = Detections.from_supervision(boxes_of_supervision(class_id=np.array([1])))
    named = named.named(("", "car"))
    made = unitrack_edge.Tracks(0, np.array([7]), named).to_supervision()
    assert made.data["class_name"].tolist() == ["car"]
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(UnitrackError, match="pip install supervision"):
        tracks.to_supervision()


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        ("mot", {"fill_gaps": "1"}, r"task mot: fill_gaps='1': expected a number$"),
        ("mot", {"fill_gaps": None}, r"fill_gaps=None: expected a number$"),
        ("mot", {"buffer": True}, r"buffer=True: expected a number$"),
        ("mot", {"height": 608.0}, r"height=608.0: expected a whole number$"),
        ("mot", {"use_motion": 1}, r"use_motion=1: expected True or False$"),
        ("mot", {"preset": 5}, r"preset=5: expected a text$"),
        (
            "sot",
            {"fill_gaps": 1.0},
            r"task sot: no parameter 'fill_gaps', expected one of crop,",
        ),
    ],
)
def test_a_parameter_of_another_type_is_named(task, given, message):
    with pytest.raises(UnitrackError, match=message):
        Tracker(task, **given)
