"""`--detect-every` and `--init detect`: a detector that runs now and then, or once."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unitrack_edge import Tracker
from unitrack_edge.evaluation.synthetic.files import write_scene, write_task_files
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.runtime.formats.davis import read_label_png

from ...support.command_line import report_of, rows_of, run_cli

FRAMES, SIZE = 9, (96, 160)
NETWORK = ("--mot-height", SIZE[0], "--mot-width", SIZE[1])
FIRST = 3
"""Number of the first frame with a detection, from 0, in the files that begin late."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    scene = Scene(SceneConfig(frames=FRAMES, height=SIZE[0], width=SIZE[1], objects=2))
    clip = write_scene(scene, tmp_path_factory.mktemp("detect") / "clip", form="images")
    write_task_files(scene, clip.folder, target=1)
    return clip


@pytest.fixture
def track(clip, quick_bundle, tmp_path):
    def run(task, *options, **kw):
        output = tmp_path / "out"
        said = run_cli(
            *("track", clip.source, "--task", task, "--bundle", quick_bundle.path),
            *("--output", output, "--overwrite", *options),
            **kw,
        )
        return said, output

    return run


@pytest.fixture
def late(clip, tmp_path):
    """Detections from frame FIRST on."""
    path = tmp_path / "late.txt"
    rows = clip.detections.read_text().splitlines()
    kept = [row for row in rows if int(row.split(",")[0]) > FIRST]
    path.write_text("".join(f"{row}\n" for row in kept))
    return path


# Now and then.


def test_every_frame_has_results_and_says_which_are_predicted(track, clip, tmp_path):
    lines = tmp_path / "t.jsonl"
    options = ("--detections", clip.detections, "--detect-every", 3, "--jsonl", lines, *NETWORK)
    said, output = track("mot", *options)
    frames = [json.loads(line)["tracks"] for line in lines.read_text().splitlines()]
    assert all(len(tracks) > 0 for tracks in frames)
    predicted = [{track.get("predicted", False) for track in tracks} for tracks in frames]
    assert predicted == [{False}, {True}, {True}] * 3
    report = report_of(output)
    assert (report["frames"], report["predicted_frames"]) == (FRAMES, 6)
    assert report["config"]["detector"]["detect_every"] == "3"
    assert "6 of them predicted" in said
    rows = rows_of(output)
    assert sorted(set(rows[:, 0])) == list(range(1, FRAMES + 1))


@pytest.mark.parametrize("task", ["mots", "posetrack"])
def test_masks_and_poses_go_on_too(track, clip, task):
    file = {"mots": "masks.txt", "posetrack": "poses.json"}[task]
    size = (f"--{task}-height", SIZE[0], f"--{task}-width", SIZE[1])
    options = ("--detections", clip.folder / file, "--detect-every", 4, *size)
    _, output = track(task, *options)
    if task == "mots":
        frames = [int(r.split()[0]) for r in (output / "tracks.txt").read_text().splitlines()]
    else:
        people = json.loads((output / "tracks.json").read_text())["annotations"]
        frames = [person["image_id"] for person in people]
    assert sorted(set(frames)) == list(range(1, FRAMES + 1))


def test_auto_looks_at_every_frame_of_a_file(track, clip):
    _, every = track("mot", "--detections", clip.detections, *NETWORK)
    rows = rows_of(every)
    _, auto = track("mot", "--detections", clip.detections, "--detect-every", "auto", *NETWORK)
    assert (rows_of(auto) == rows).all()


def test_it_belongs_to_detectors(track):
    said, _ = track("sot", "--init", "1,2,30,40", "--detect-every", 2, status=2)
    assert "--detect-every belongs to tasks that take detections" in said


# Once.


def test_a_box_starts_from_the_first_detection(track, late):
    said, output = track("sot", "--init", "detect", "--detections", late)
    rows = (output / "tracks.txt").read_text().splitlines()
    assert rows[:FIRST] == ["NaN,NaN,NaN,NaN"] * FIRST
    boxes = np.array([row.split(",") for row in rows[FIRST:]], np.float64)
    here = [r.split(",") for r in late.read_text().splitlines()]
    first = [row for row in here if int(row[0]) == FIRST + 1]
    best = max(first, key=lambda row: float(row[6]))
    assert boxes[0] == pytest.approx(np.array(best[2:6], np.float64), abs=0.02)
    assert len(boxes) == FRAMES - FIRST
    assert "never started" not in said
    report = report_of(output)
    assert report["tasks"]["sot"]["init"] == "detect"
    assert report["tasks"]["sot"]["detections"] == str(late)


@pytest.mark.parametrize("every", ["auto", "2"])
@pytest.mark.parametrize("task", ["sot", "vos"])
def test_what_has_started_needs_no_detector_which_is_said(task, every, track, late):
    """Frame FIRST is the first with an object; every second frame is looked at from 0 on."""
    needed = FIRST + 1 if every == "auto" else FIRST + 2
    options = ("--init", "detect", "--detections", late, "--detect-every", every)
    said, output = track(task, *options)
    assert (
        f"note: --detect-every {every} had no effect after the first {needed} of {FRAMES} frames: "
        "what --init detect found needs no detector"
    ) in said
    assert report_of(output)["predicted_frames"] == (0 if every == "auto" else needed // 2)


def test_where_all_frames_need_the_detector_nothing_is_said(track, clip):
    options = ("--detections", clip.detections, "--detect-every", 3, *NETWORK)
    assert "had no effect" not in track("mot", *options)[0]
    options = ("--init", "detect", "--detections", clip.detections)
    assert "had no effect" not in track("sot", *options)[0]


def test_a_mask_is_cut_out_of_the_box(track, late):
    _, output = track("vos", "--init", "detect", "--detections", late, "--vos-focus", "off")
    sizes = [np.count_nonzero(read_label_png(path)) for path in sorted(output.glob("masks/*.png"))]
    assert sizes[:FIRST] == [0] * FIRST
    assert min(sizes[FIRST:]) > 0
    assert len(sizes) == FRAMES


def test_poses_of_all_people(track, clip):
    _, output = track("pose", "--init", "detect", "--detections", clip.folder / "poses.json")
    people = json.loads((output / "tracks.json").read_text())["annotations"]
    first = [person["track_id"] for person in people if person["image_id"] == 1]
    assert sorted(first) == [1, 2]
    assert max(person["image_id"] for person in people) == FRAMES


def test_a_run_that_never_starts_says_so(track, clip):
    options = ("--detections", clip.detections, "--detections-class", "person")
    said, _ = track("sot", "--init", "detect:car", *options)
    assert (
        f"note: task sot never started: --init detect:car found nothing of score 0.5 or more in "
        f"{FRAMES} frames"
    ) in said


def test_a_class_that_the_model_does_not_have(track, shared_models):
    model = shared_models / "yolox_nano.onnx"
    said, _ = track("sot", "--init", "detect:horses", "--detector", model, status=2)
    assert "--init detect:horses: got 'horses', but the detector has" in said
    assert "horse, sheep, cow" in said


def test_the_python_interface_does_the_same(clip, quick_bundle, late):
    size = {"height": SIZE[0], "width": SIZE[1]}
    with Tracker("mot", bundle=quick_bundle.path, detect_every=3, **size) as tracker:
        results = list(tracker.track(clip.source, detections=clip.detections))
        assert [t.predicted is not None for _, t in results] == [False, True, True] * 3
        image = results[0][0].image
        assert tracker.predict(image).predicted.all()
    with Tracker("sot", bundle=quick_bundle.path, init="detect") as tracker:
        results = [t for _, t in tracker.track(clip.source, detections=late)]
    assert [len(tracks) for tracks in results] == [0] * FIRST + [1] * (FRAMES - FIRST)
