"""`cli track` with the tasks mots, posetrack and pose, as a user runs it."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from unitrack_edge.evaluation.metrics.mots import score_mots
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.formats.keypoints import pose_boxes
from unitrack_edge.runtime.formats.mots import MotsWriter, read_mots
from unitrack_edge.runtime.formats.posetrack import PoseTrackWriter

from ...support.command_line import report_of, run_cli

FRAMES, SIZE = 5, (128, 224)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Images of three walkers, and the truth as files of detections."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "img1").mkdir()
    scene = Scene(SceneConfig(frames=FRAMES, height=SIZE[0], width=SIZE[1], objects=3, seed=1))
    with (
        MotsWriter(folder / "masks.txt") as masks,
        PoseTrackWriter(folder / "poses.json") as poses,
    ):
        for frame in scene:
            cv2.imwrite(str(folder / "img1" / f"{frame.name}.png"), frame.image)
            true = scene.truth(frame.index)
            boxes, shown = pose_boxes(true.keypoints)
            shown &= true.masks.any(axis=(1, 2))
            count = int(shown.sum())
            seen = Detections(
                boxes[shown],
                np.ones(count, np.float32),
                np.full(count, 2, np.int64),
                true.masks[shown],
                true.keypoints[shown],
            )
            named = type(frame)(frame.index, frame.time_s, frame.image, f"{frame.name}.png")
            masks.write(named, Tracks(frame.index, true.ids[shown], seen))
            poses.write(named, Tracks(frame.index, true.ids[shown], seen))
    return folder


@pytest.fixture
def cli_track(clip, quick_bundle, tmp_path):
    def track(task, *more, status=0):
        size = ["--height", SIZE[0], "--width", SIZE[1]]
        flags = [f"--{task}{value[1:]}" if i % 2 == 0 else value for i, value in enumerate(size)]
        chosen = [] if task == "pose" else flags
        output = tmp_path / task
        said = run_cli(
            "track", clip / "img1", "--task", task, "--bundle", quick_bundle.path,
            "--output", output, *chosen, *more, status=status,
        )  # fmt: skip
        return output, said

    return track


def test_mots(cli_track, clip):
    output, said = cli_track("mots", "--detections", clip / "masks.txt", "--save-video")
    assert {path.name for path in output.iterdir()} == {"tracks.txt", "run.json", "video.mp4"}
    scores = score_mots(read_mots(output / "tracks.txt"), read_mots(clip / "masks.txt"))
    assert scores.motsa > 0.9
    assert scores.id_switches == 0
    assert report_of(output)["tasks"]["mots"]["parameters"]["max_area"] == 200
    assert "3 objects" in said


def test_mots_of_motion(cli_track):
    """The built-in detector gives masks; a camera that sways is not for it, and does no harm."""
    output, _ = cli_track("mots", "--detector", "motion")
    assert (output / "tracks.txt").is_file()


def test_mots_needs_masks(cli_track, clip):
    _, said = cli_track("mots", "--detections", clip / "poses.json", status=1)
    assert "give --detections a MOTS file, use --detector motion, or add --mask-model" in said


def test_posetrack(cli_track, clip):
    output, _ = cli_track("posetrack", "--detections", clip / "poses.json", "--save-video")
    assert {path.name for path in output.iterdir()} == {"tracks.json", "run.json", "video.mp4"}
    found = json.loads((output / "tracks.json").read_text())
    true = json.loads((clip / "poses.json").read_text())
    assert [image["file_name"] for image in found["images"]] == [
        image["file_name"] for image in true["images"]
    ]
    assert len(found["annotations"]) == len(true["annotations"])
    owner = {}
    for row in found["annotations"]:
        (twin,) = (
            t
            for t in true["annotations"]
            if t["image_id"] == row["image_id"] and t["bbox"] == pytest.approx(row["bbox"], abs=0.1)
        )
        assert owner.setdefault(row["track_id"], twin["track_id"]) == twin["track_id"]


def test_posetrack_needs_poses(cli_track, clip):
    _, said = cli_track("posetrack", "--detections", clip / "masks.txt", status=1)
    assert "PoseTrack18 or COCO keypoint file" in said


def test_pose(cli_track, clip):
    output, _ = cli_track("pose", "--init", clip / "poses.json", "--save-video")
    assert {path.name for path in output.iterdir()} == {"tracks.json", "run.json", "video.mp4"}
    found = json.loads((output / "tracks.json").read_text())
    true = json.loads((clip / "poses.json").read_text())
    first = {r["track_id"]: r for r in true["annotations"] if r["image_id"] == 1}
    assert {row["track_id"] for row in found["annotations"]} == set(first)
    for row in found["annotations"]:
        if row["image_id"] == 1:
            assert row["keypoints"] == pytest.approx(first[row["track_id"]]["keypoints"], abs=0.02)
        assert row["image_id"] in range(1, FRAMES + 1)


def test_the_same_input_gives_the_same_bytes(cli_track, clip):
    for task, flag, file in (
        ("mots", "--detections", "masks.txt"),
        ("posetrack", "--detections", "poses.json"),
        ("pose", "--init", "poses.json"),
    ):
        output, _ = cli_track(task, flag, clip / file, "--max-frames", "3")
        results = next(path for path in output.iterdir() if path.stem == "tracks")
        before = results.read_bytes()
        cli_track(task, flag, clip / file, "--max-frames", "3", "--overwrite")
        assert results.read_bytes() == before


def test_wrong_usage(cli_track, clip):
    assert "--init FILE.json" in cli_track("pose", status=2)[1]
    said = cli_track("pose", "--init", clip / "poses.json", "--detector", "motion", status=2)[1]
    assert "takes no detections" in said
    assert "takes no --init" in cli_track("mots", "--init", "1,2,3,4", status=2)[1]
    assert "there is no such file" in cli_track("pose", "--init", "absent.json", status=1)[1]


def test_pictures_of_another_size_than_the_file_says(cli_track, clip, tmp_path):
    data = json.loads((clip / "poses.json").read_text())
    for image in data["images"]:
        image["width"] = 99
    other = tmp_path / "other.json"
    other.write_text(json.dumps(data))
    assert "is 99x128" in cli_track("pose", "--init", other, status=1)[1]
