"""`--mot-fill-gaps`, `--posetrack-fill-gaps`: what every output of a run shows, and who refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from unitrack_edge import Tracker
from unitrack_edge.errors import OutputError, RequestError
from unitrack_edge.evaluation.synthetic.files import write_scene, write_task_files
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotConfig, MotsConfig, PosetrackConfig
from unitrack_edge.runtime.writers.base import RowWriter

from ..reference import gaps_plain
from ..support.command_line import report_of, rows_of, run_cli, video_of

FRAMES, SIZE, FPS = 16, (96, 160), 25.0
MISSED = range(5, 11)
"""Numbers of the frames without a detection, from 0."""
SIZES = {
    task: (f"--{task}-height", SIZE[0], f"--{task}-width", SIZE[1]) for task in ("mot", "posetrack")
}
FILL = ("--mot-fill-gaps", 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Two people of whom nothing is detected in the frames of `MISSED`."""
    scene = Scene(SceneConfig(frames=FRAMES, height=SIZE[0], width=SIZE[1], objects=2))
    clip = write_scene(scene, tmp_path_factory.mktemp("gaps") / "clip")
    write_task_files(scene, clip.folder, target=1)
    rows = clip.detections.read_text().splitlines(keepends=True)
    kept = [row for row in rows if int(row.split(",")[0]) - 1 not in MISSED]
    clip.detections.write_text("".join(kept))
    poses = json.loads((clip.folder / "poses.json").read_text())
    poses["annotations"] = [
        person for person in poses["annotations"] if person["image_id"] - 1 not in MISSED
    ]
    (clip.folder / "poses.json").write_text(json.dumps(poses))
    return clip


@pytest.fixture
def track(clip, quick_bundle, tmp_path):
    def run(name, *options, task="mot", source=clip.source, **kw):
        seen = {"mot": clip.detections, "posetrack": clip.folder / "poses.json"}[task]
        said = run_cli(
            *("track", source, "--task", task, "--bundle", quick_bundle.path),
            *("--detections", seen, *SIZES[task], "--output", tmp_path / name, *options),
            **kw,
        )
        return said, tmp_path / name

    return run


def boxes_of(rows):
    """Rows of tracks.txt by frame and identity."""
    return {(int(r[0]), int(r[1])): r[2:] for r in rows}


def reference_of(lines):
    """What is put into the frames of a run without filling, corners from 0."""
    finished = [
        {
            "index": frame["frame"],
            "time_s": frame["time"],
            "size_hw": SIZE,
            "rows": {
                t["id"]: {
                    "box": t["box"],
                    "score": t["score"],
                    "label": t["class"],
                    "joints": None,
                    "predicted": t.get("predicted", False),
                }
                for t in frame["tracks"]
            },
        }
        for frame in lines
    ]
    put = gaps_plain.fill(finished, 1.0, FPS)
    return {(k + 1, identity): row for k, more in enumerate(put) for identity, row in more.items()}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("preset", ["memory", "unitrack"])
def test_rows_are_those_of_before_and_what_lies_between(track, tmp_path, preset):
    options = ("--mot-preset", preset)
    _, without = track("without", *options, "--jsonl", tmp_path / "t.jsonl")
    said, filled = track("filled", *options, *FILL)
    before, after = boxes_of(rows_of(without)), boxes_of(rows_of(filled))
    wanted = reference_of(lines_of(tmp_path / "t.jsonl"))
    # Preset memory goes on for three frames where motion leads; that gives way too.
    assert {frame - 1 for frame, _ in wanted} >= set(MISSED)
    assert (before.keys() & wanted.keys() != set()) == (preset == "memory")
    assert after.keys() == before.keys() | wanted.keys()
    lines, usual_lines = ((f / "tracks.txt").read_text().splitlines() for f in (filled, without))
    assert [line for line in lines if _key(line) not in wanted] == [
        line for line in usual_lines if _key(line) not in wanted
    ]
    for key, row in wanted.items():
        left, top, right, bottom = row["box"]
        box = left + 1, top + 1, right - left, bottom - top
        # All are rounded to a hundredth: corners of the ends, and what the file has.
        assert after[key][:4] == pytest.approx(np.array(box), abs=0.0151)
        assert after[key][4] == pytest.approx(row["score"], abs=1.01e-4)
    assert [_key(line)[0] for line in lines] == sorted(frame for frame, _ in after)
    report, usual = report_of(filled), report_of(without)
    assert report["tasks"]["mot"]["filled"] == len(wanted)
    assert usual["tasks"]["mot"]["filled"] == 0
    assert report["tasks"]["mot"]["identities"] == usual["tasks"]["mot"]["identities"]
    assert report["frames"] == FRAMES
    note = (
        f"mot: {len(wanted)} boxes put into gaps of up to 1 s (--mot-fill-gaps), marked predicted"
    )
    assert f"note: {note}" in said
    assert note in report["notes"]
    assert not any("gaps" in note for note in usual["notes"])


def _key(line):
    frame, identity = line.split(",")[:2]
    return int(frame), int(identity)


def test_a_gap_that_is_longer_stays_open(track):
    _, filled = track("filled", "--mot-fill-gaps", 0.04)
    _, without = track("without")
    assert (filled / "tracks.txt").read_bytes() == (without / "tracks.txt").read_bytes()
    assert report_of(filled)["tasks"]["mot"]["filled"] == 0


def test_a_run_that_is_done_again_fills_the_same(track, tmp_path):
    _, filled = track("filled", *FILL)
    run_cli("track", "--config", filled / "run.json", "--output", tmp_path / "again")
    for name in ("tracks.txt",):
        assert (tmp_path / "again" / name).read_bytes() == (filled / name).read_bytes()
    assert report_of(filled)["config"]["tasks"]["mot"]["fill_gaps"] == 1


def test_a_run_that_ends_in_a_gap_writes_every_frame(track, tmp_path):
    lines = tmp_path / "t.jsonl"
    most = MISSED[2] + 1
    _, filled = track("filled", *FILL, "--max-frames", most, "--jsonl", lines)
    _, without = track("without", "--max-frames", most)
    assert (filled / "tracks.txt").read_bytes() == (without / "tracks.txt").read_bytes()
    assert [json.loads(line)["frame"] for line in lines.read_text().splitlines()] == list(
        range(most)
    )


def test_every_output_shows_the_same_boxes_and_says_which_are_filled(track, tmp_path):
    lines = tmp_path / "t.jsonl"
    _, without = track("without", "--save-video", "--jsonl", tmp_path / "u.jsonl")
    _, filled = track("filled", *FILL, "--save-video", "--jsonl", lines)
    _, table = track("table", *FILL, "--format", "csv")
    put = reference_of(lines_of(tmp_path / "u.jsonl")).keys()
    frames = lines_of(lines)
    assert [frame["frame"] for frame in frames] == list(range(FRAMES))
    marks = {
        (frame["frame"] + 1, t["id"]): t.get("predicted", False)
        for frame in frames
        for t in frame["tracks"]
    }
    assert marks.keys() == boxes_of(rows_of(filled)).keys()
    assert all(marks[key] for key in put)
    assert not all(marks.values())
    with (table / "tracks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert marks == {
        (int(row["frame_index"]) + 1, int(row["tracker_id"])): row["predicted"] == "1"
        for row in rows
    }
    old, new = video_of(without / "video.mp4"), video_of(filled / "video.mp4")
    assert len(old) == len(new) == FRAMES
    changed = {index + 1 for index in range(FRAMES) if _differs(old[index], new[index]).any()}
    assert changed <= {frame for frame, _ in put}
    added = put - boxes_of(rows_of(without)).keys()
    assert changed >= {frame for frame, _ in added}
    for frame, identity in added:
        left, top, width, height = boxes_of(rows_of(filled))[frame, identity][:4] - (1, 1, 0, 0)
        rows, columns = np.nonzero(_differs(old[frame - 1], new[frame - 1]))
        edges = np.array([round(left), round(left + width) - 1])
        at_edge = (np.abs(columns[:, None] - edges) <= 3).any(axis=1)
        assert (at_edge & (np.abs(rows - round(top + height / 2)) <= 2)).any()


def _differs(one, other):
    """(H, W) bool: where two images differ by more than the encoder's noise."""
    return np.abs(one.astype(int) - other.astype(int)).max(axis=2) > 60


def test_joints_lie_between_too(track):
    _, without = track("without", task="posetrack")
    said, filled = track("filled", "--posetrack-fill-gaps", 1, task="posetrack")
    people = {
        name: {
            (p["image_id"], p["track_id"]): p
            for p in json.loads((folder / "tracks.json").read_text())["annotations"]
        }
        for name, folder in (("before", without), ("after", filled))
    }
    before, after = people["before"], people["after"]
    put = after.keys() - before.keys()
    assert {image - 1 for image, _ in put} == set(MISSED)
    assert {image - 1 for image, _ in before} == set(range(FRAMES)) - set(MISSED)
    first, last = MISSED[0], MISSED[-1] + 2
    seen = 0
    for image, identity in put:
        ends = before[first, identity], before[last, identity]
        share = (image - first) / (last - first)
        joints, one, other = (
            np.array(p["keypoints"]).reshape(-1, 3) for p in (after[image, identity], *ends)
        )
        both = (one[:, 2] > 0) & (other[:, 2] > 0)
        assert (joints[:, 2] == both).all()
        between = one + share * (other - one)
        assert joints[both] == pytest.approx(between[both], abs=0.0101)
        assert (joints[~both] == 0).all()
        seen += int(both.sum())
    assert seen > 0
    assert f"posetrack: {len(put)} boxes put into gaps of up to 1 s" in said


def test_of_two_tasks_one_is_filled(clip, quick_bundle, tmp_path):
    poses = clip.folder / "poses.json"
    common = ("track", clip.source, "--task", "mot", "--task", "posetrack", "--detections", poses)
    common += (*SIZES["mot"], *SIZES["posetrack"], "--bundle", quick_bundle.path)
    lines = tmp_path / "t.jsonl"
    run_cli(*common, "--output", tmp_path / "one", *FILL, "--jsonl", lines)
    run_cli(*common, "--output", tmp_path / "none")
    same = [
        (tmp_path / name / "posetrack" / "tracks.json").read_bytes() for name in ("one", "none")
    ]
    assert same[0] == same[1]
    count = len(rows_of(tmp_path / "one" / "mot")) - len(rows_of(tmp_path / "none" / "mot"))
    tasks = report_of(tmp_path / "one")["tasks"]
    assert tasks["mot"]["filled"] >= count > 0
    assert tasks["posetrack"]["filled"] == 0
    assert len(lines.read_text().splitlines()) == FRAMES


def test_a_disk_that_is_full_keeps_what_was_written_and_says_how_much(track, monkeypatch):
    """The frame that cannot be written waited until its track was found again."""
    write = RowWriter.write
    full = MISSED[1]

    def refuse(self, frame, tracks):
        if frame.index >= full:
            raise OutputError("disk full while writing tracks.txt")
        write(self, frame, tracks)

    monkeypatch.setattr(RowWriter, "write", refuse)
    said, output = track("filled", *FILL, status=1)
    assert f"disk full while writing tracks.txt; the results of {full} frames before it are" in said
    assert max(rows_of(output)[:, 0]) == full
    assert report_of(output)["frames"] == full


def test_from_python(clip, quick_bundle, track):
    _, filled = track("filled", *FILL)
    sizes = {"height": SIZE[0], "width": SIZE[1]}
    with Tracker("mot", bundle=quick_bundle.path, fill_gaps=1.0, **sizes) as tracker:
        results = list(tracker.track(clip.source, detections=clip.detections))
        with pytest.raises(RequestError, match=r"update\(\) and predict\(\) answer at once"):
            tracker.update(results[0][0].image)
        with pytest.raises(RequestError, match=r"update\(\) and predict\(\) answer at once"):
            tracker.predict(results[0][0].image)
        with pytest.raises(RequestError, match=r"fill_gaps=1 looks ahead.*such as camera0 cannot"):
            next(tracker.track("camera0"))
        some = list(tracker.track(clip.source, detections=clip.detections, max_frames=8))
    assert [frame.index for frame, _ in results] == list(range(FRAMES))
    assert all(frame.image.any() for frame, _ in results)
    assert [frame.index for frame, _ in some] == list(range(8))
    keys = {(f.index + 1, int(i)) for f, tracks in results for i in tracks.ids}
    assert keys == boxes_of(rows_of(filled)).keys()


@pytest.mark.parametrize(
    ("source", "options"),
    [("camera0", ()), ("rtsp://me:secret@host/live", ())],
)
def test_what_is_live_cannot_look_ahead(source, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run_cli("track", source, "--task", "mot", *FILL, *options, status=2)
    assert "--mot-fill-gaps 1 looks ahead, which a live source such as" in said
    assert "record first and track the file" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MotConfig(fill_gaps=-1.0), "--mot-fill-gaps -1.0: expected seconds of 0 or more"),
        (lambda: MotConfig(fill_gaps=float("nan")), "--mot-fill-gaps nan: expected seconds"),
        (lambda: MotConfig(fill_gaps=2.5), "longer than 2 s is not found.*--mot-buffer 75 too"),
        (lambda: MotConfig(preset="unitrack", fill_gaps=1.5), "lost for longer than 1 s"),
        (lambda: MotsConfig(fill_gaps=1.0), "between two masks is not known"),
    ],
)
def test_values_that_are_refused(make, message):
    with pytest.raises(RequestError, match=message):
        make()


def test_values_that_are_taken():
    assert MotConfig(fill_gaps=2.5, buffer=75.0).fill_gaps == 2.5
    assert MotConfig(preset="unitrack", fill_gaps=1.0).fill_gaps == 1.0
    assert PosetrackConfig(fill_gaps=2.0).fill_gaps == 2.0
    assert MotConfig().fill_gaps == MotsConfig().fill_gaps == 0.0
