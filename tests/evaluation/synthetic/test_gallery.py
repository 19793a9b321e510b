"""The gallery: what tasks start from in the scene, their scores, and the images."""

from __future__ import annotations

import functools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import OutputError, SourceError
from unitrack_edge.evaluation.metrics.mots import mask_iou
from unitrack_edge.evaluation.synthetic import gallery as gallery_command
from unitrack_edge.evaluation.synthetic import scene
from unitrack_edge.evaluation.synthetic.detector import DetectorNoise, noisy_masks, noisy_poses
from unitrack_edge.evaluation.synthetic.files import write_task_files
from unitrack_edge.evaluation.synthetic.gallery import GIVEN_ONCE, LAST_FRAME, Exhibit
from unitrack_edge.evaluation.synthetic.scores import TARGET, score
from unitrack_edge.heads.config import TrackedConfig
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.detectors.open import open_detector
from unitrack_edge.runtime.formats.keypoints import pose_boxes
from unitrack_edge.runtime.prompts.box import box_from_text
from unitrack_edge.runtime.prompts.pose import poses_from_file

from ...support.command_line import run_cli, video_of

PERFECT = DetectorNoise(jitter=0.0, miss=0.0, min_visible=0.0, false_alarms=0.0)
EXACT = {"sot": "AUC 0.952", "vos": "J 1.000", "pose": "PCK@0.2 1.000"}


@pytest.fixture(scope="module")
def clip():
    return scene.Scene(scene.SceneConfig(frames=6, height=180, width=320))


def truth_as_tracks(clip, index, task):
    """What a task that knows everything would answer."""
    truth = clip.truth(index)
    count = len(truth.ids)
    seen = Detections(
        pose_boxes(truth.keypoints)[0] if task == "posetrack" else truth.boxes_xyxy,
        np.ones(count, np.float32),
        np.zeros(count, np.int64),
        truth.masks if task in ("mots", "vos") else None,
        truth.keypoints if task in ("pose", "posetrack") else None,
    )
    rows = truth.ids == TARGET if task == "sot" else np.ones(count, np.bool_)
    labels = truth.label_map() if task == "vos" else None
    return Tracks(index, truth.ids[rows], seen[rows], labels)


# --- detectors of masks and poses


def test_made_up_detectors_err_a_little(clip):
    truth = clip.truth(0)
    rng = np.random.default_rng(0)
    noise = DetectorNoise(miss=0.0)
    rough = noisy_masks(truth.masks, truth.visible, noise, rng)
    overlap = mask_iou(truth.masks, rough.masks)
    assert len(rough) == len(truth.ids)
    assert ((overlap.max(axis=1) > 0.6) & (overlap.max(axis=1) < 1.0)).all()
    # No speck beside the object: its box would be anything.
    grown = rough.boxes_xyxy - truth.boxes_xyxy[overlap.argmax(axis=0)]
    assert np.abs(grown).max() < 12
    poses = noisy_poses(truth.keypoints, truth.visible, noise, rng)
    row = np.argmin(np.abs(poses.boxes_xyxy - truth.boxes_xyxy[0]).sum(axis=1))
    shown = poses.keypoints[row, :, 2] > 0
    assert np.array_equal(shown, truth.keypoints[0, :, 2] > 0)
    offset = np.abs(poses.keypoints[row, shown, :2] - truth.keypoints[0, shown, :2])
    assert 0 < offset.max() < 5


def test_objects_that_hardly_show_are_missed(clip):
    truth = clip.truth(0)
    rng = np.random.default_rng(0)
    hidden = np.full(len(truth.ids), 0.2, np.float32)
    assert len(noisy_masks(truth.masks, hidden, DetectorNoise(), rng)) == 0
    assert len(noisy_poses(truth.keypoints, hidden, DetectorNoise(), rng)) == 0


# --- files


def test_task_files_say_what_the_scene_knows(clip, tmp_path):
    files = write_task_files(clip, tmp_path, target=TARGET, noise=PERFECT)
    frame, truth = clip.frame(3), clip.truth(3)
    with open_detector(detections=files.masks, detector=None) as masks:
        overlap = mask_iou(truth.masks, masks.detect(frame).masks)
    assert (overlap.max(axis=1) > 0.7).all()
    with open_detector(detections=files.poses, detector=None) as poses:
        found = poses.detect(frame).keypoints
    assert len(found) == len(truth.ids)
    for real in truth.keypoints:
        seen = real[:, 2] > 0
        apart = np.abs(found[:, seen, :2] - real[seen, :2]).max(axis=(1, 2))
        assert apart.min() < 0.01
        assert np.array_equal(found[apart.argmin(), :, 2] > 0, seen)
    first = clip.truth(0)
    left, top, right, bottom = first.boxes_xyxy[first.ids == TARGET][0]
    assert box_from_text(str(files.init_box)) == pytest.approx(
        (left, top, right - left, bottom - top), abs=0.01
    )
    people = poses_from_file(files.init_poses, (180, 320))
    assert people.ids.tolist() == first.ids.tolist()
    assert people.keypoints[..., :2] == pytest.approx(
        first.keypoints[..., :2] * (first.keypoints[..., 2:] > 0), abs=0.01
    )


def test_the_same_scene_gives_the_same_files(clip, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_task_files(clip, tmp_path / name, target=TARGET)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_target_that_is_not_there(clip, tmp_path):
    with pytest.raises(SourceError, match="figure 9 is not in its first frame"):
        write_task_files(clip, tmp_path, target=9)


# --- scores and images


@pytest.mark.parametrize("task", LAST_FRAME)
def test_the_truth_scores_best(clip, task):
    if task in ("mot", "mots", "posetrack"):
        pytest.importorskip("trackeval", reason="scores need TrackEval: extra 'eval'")
    said = score(clip, task, [truth_as_tracks(clip, index, task) for index in range(len(clip))])
    assert said.startswith(EXACT.get(task, "HOTA 1.000  IDF1 1.000"))


def test_a_lost_target_scores_less(clip):
    tracks = [truth_as_tracks(clip, 0, "sot")] * len(clip)
    still = [Tracks(index, t.ids, t.detections) for index, t in enumerate(tracks)]
    assert float(score(clip, "sot", still).split()[1]) < 0.9


def test_pictures_show_what_was_given_once(clip, tmp_path):
    images = {}
    for task in LAST_FRAME:
        exhibit = Exhibit(task)
        for index in range(3):
            exhibit.add(clip.frame(index), truth_as_tracks(clip, index, task))
        size = exhibit.write(tmp_path / f"{task}.jpg")
        assert size == (tmp_path / f"{task}.jpg").stat().st_size
        images[task] = cv2.imread(str(tmp_path / f"{task}.jpg")).astype(int)
        assert images[task].shape == (360, 640, 3)
    for task, image in images.items():
        # The white edge of the small image.
        edge = (image[20:80, 440:460] > 215).all(axis=2).any(axis=1).all()
        assert edge == (task in GIVEN_ONCE)
    with pytest.raises(OutputError, match="nothing to show"):
        Exhibit("sot").write(tmp_path / "none.jpg")


def test_the_command_writes_six_pictures(lite_bundle, tmp_path, monkeypatch):
    pytest.importorskip("trackeval", reason="scores need TrackEval: extra 'eval'")
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "efficientnet-lite0").symlink_to(lite_bundle.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gallery_command, "SIZE_HW", (96, 170))
    small = {"height": 96, "width": 160}
    for task, spec in gallery_command.TASKS.items():
        if issubclass(spec.config, TrackedConfig):
            smaller = replace(spec, config=functools.partial(spec.config, **small))
            monkeypatch.setitem(gallery_command.TASKS, task, smaller)
    said = run_cli("demo", "--gallery", "shown", "--frames", 3, "--output", "out")
    for task in LAST_FRAME:
        path = tmp_path / "shown" / f"{task}.jpg"
        assert f"shown/{task}.jpg" in " ".join(said.split())
        assert cv2.imread(str(path)).shape[1] == 640
        assert len(video_of(tmp_path / "out" / task / "video.mp4")) == 3
    assert "PCK@0.2" in said
    assert "sMOTSA" in said
    wrong = run_cli("demo", "--gallery", "shown", "--source", "a.mp4", status=2)
    assert "leave out --source" in wrong
