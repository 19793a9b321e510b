"""`cli eval`: jobs and their records with an imagined tracker, and the command itself."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import UnitrackError
from unitrack_edge.evaluation.datasets.base import first_frames
from unitrack_edge.evaluation.datasets.registry import FORMATS
from unitrack_edge.evaluation.runner import jobs as sequence_jobs
from unitrack_edge.evaluation.runner.jobs import SequenceJob, prepare_sequence, run_sequence
from unitrack_edge.heads.config import MotConfig, MotsConfig, PosetrackConfig, SotConfig, VosConfig
from unitrack_edge.runtime.formats.davis import read_label_png

from ...support.command_line import run_cli
from ...support.eval_data import (
    mot_walk,
    mots_walk,
    pose_file,
    write_images,
    write_json,
    write_lines,
    write_mot,
    write_rows,
    write_small_data,
)
from ...support.models.tiny_bundle import write_tiny_bundle
from ..datasets.test_datasets import BOXES, davis_masks, write_davis, write_otb, write_posetrack

trackeval = pytest.importorskip("trackeval", reason="scoring is TrackEval's: extra 'eval'")


class Tracker:
    """Writes what `cli track` would, from a function, and counts how often it is asked to."""

    def __init__(self, write):
        self.write, self.calls, self.inputs = write, 0, None

    def __call__(self, job, inputs, folder):
        self.calls += 1
        self.inputs = inputs
        self.write(folder)
        frames = len(job.sequence.images)
        return {"frames": frames, "fps": 9.5, "notes": ["said so"], "source": {"ended_early": None}}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny").path


@pytest.fixture
def mot_job(tmp_path, bundle):
    truth, results = mot_walk(3)
    folder = write_mot(tmp_path / "data", "A", truth, 20, images=True)
    write_rows(folder / "det" / "det.txt", [[*row[:6], 1] for row in results])
    (sequence,) = FORMATS["mot"].read(tmp_path / "data", None)
    job = SequenceJob(sequence, "mot", MotConfig(), bundle, "cpu", 1, tmp_path / "out")
    found = [row for row in results if row[0] < 20]
    return job, Tracker(lambda run: write_rows(run / "tracks.txt", found)), results


# Records.


def test_a_finished_sequence_is_not_done_again(mot_job):
    job, tracker, _ = mot_job
    first, again = run_sequence(job, tracker), run_sequence(job, tracker)
    assert tracker.calls == 1
    assert first.fresh
    assert not again.fresh
    assert again == replace(first, fresh=False)
    assert first.notes == ("said so",)
    assert 0 < first.scores[0].values["HOTA"] < 1


@pytest.mark.parametrize(
    "change",
    [
        lambda job: replace(job, config=MotConfig(confidence=0.6)),
        lambda job: replace(job, backend="cuda"),
        lambda job: replace(job, sequence=first_frames(job.sequence, 19)),
        lambda job: replace(job, sequence=replace(job.sequence, fps=7.0)),
        lambda job: replace(job, bundle=_other_bundle(job)),
        lambda job: _edited(job, job.sequence.truth),
        lambda job: _edited(job, job.sequence.detections),
        lambda job: _removed(job, job.output / "results" / "A.txt"),
        lambda job: _damaged(job, job.output / "records" / "A.json"),
    ],
    ids=["parameter", "backend", "frames", "fps", "bundle", "truth", "detections", "result",
         "record"],
)  # fmt: skip
def test_a_change_has_it_done_again(mot_job, change):
    job, tracker, _ = mot_job
    run_sequence(job, tracker)
    changed = change(job)
    assert run_sequence(changed, tracker).fresh
    assert tracker.calls == 2
    assert not run_sequence(changed, tracker).fresh


def _other_bundle(job):
    folder = job.output.parent / "other"
    shutil.copytree(job.bundle, folder)
    spec = json.loads((folder / "bundle.json").read_text())
    # As if exported anew from other weights: the graph and its sha256 differ.
    graph = spec["graphs"]["mix"] if isinstance(spec["graphs"], dict) else spec["graphs"][0]
    path = folder / graph["file"]
    path.write_bytes(path.read_bytes() + b"\x00")
    from unitrack_edge.runtime.bundle.bundle import sha256_of

    graph.update(sha256=sha256_of(path), size_bytes=path.stat().st_size)
    (folder / "bundle.json").write_text(json.dumps(spec))
    return folder


def _edited(job, path):
    path.write_text(path.read_text() + "\n3,77,5,5,9,9,1,1,1\n")
    return job


def _removed(job, path):
    path.unlink()
    return job


def _damaged(job, path):
    path.write_text(path.read_text()[:50])
    return job


def test_a_change_that_fails_leaves_no_record_behind(mot_job):
    job, tracker, _ = mot_job
    run_sequence(job, tracker)

    def fail(_job, _inputs, _folder):
        raise UnitrackError("no luck")

    changed = replace(job, config=MotConfig(confidence=0.6))
    with pytest.raises(UnitrackError, match="no luck"):
        run_sequence(changed, fail)
    assert not (job.output / "records" / "A.json").exists()


def test_a_run_that_ended_early_is_an_error(mot_job):
    job, tracker, _ = mot_job

    def short(*arguments):
        return {**tracker(*arguments), "frames": 7, "source": {"ended_early": "it broke off"}}

    with pytest.raises(UnitrackError, match="it broke off: 7 of 20 frames were tracked"):
        run_sequence(job, short)


# What the tracker is given, and what becomes of its results.


def test_first_frames_are_asked_for_by_their_number(mot_job, tmp_path):
    job, _, _ = mot_job
    inputs = prepare_sequence(job.sequence, tmp_path)
    assert inputs.source == str(job.sequence.images[0].parent)
    assert inputs.max_frames is None
    assert prepare_sequence(first_frames(job.sequence, 3), tmp_path).max_frames == 3


def test_gaps_in_numbering(mot_job, tmp_path):
    """Frames 4 to 6 have no image: detections and results are renumbered there and back."""
    job, _, results = mot_job
    for n in (4, 5, 6):
        (job.sequence.images[0].parent / f"{n:06d}.jpg").unlink()
    (sequence,) = FORMATS["mot"].read(tmp_path / "data", None)
    job = replace(job, sequence=sequence)

    def copy_detections(run):
        shutil.copy(run / "detections.txt", run / "tracks.txt")

    tracker = Tracker(copy_detections)
    run_sequence(job, tracker)
    given = {int(line.split(",")[0]) for line in tracker.inputs.detections.read_text().split()}
    assert given <= set(range(1, 18))
    out = np.loadtxt(job.output / "results" / "A.txt", delimiter=",")
    want = np.array([row[:6] for row in results if row[0] not in (4, 5, 6)])
    assert out[:, :6] == pytest.approx(want)


def test_mots_frames_count_from_zero_in_kitti(tmp_path, bundle):
    truth, results = mots_walk(0, first=0, labels=(1, 2))
    # No detection in frame 0: the file alone does not say where it counts from.
    late = [row for row in results if not row.startswith("0 ")]
    write_lines(tmp_path / "data" / "1" / "gt" / "gt.txt", truth)
    write_lines(tmp_path / "data" / "1" / "det" / "det.txt", late)
    write_images(tmp_path / "data" / "1" / "image_02", range(12), ending="png")
    (sequence,) = FORMATS["mots"].read(tmp_path / "data", None)
    job = SequenceJob(sequence, "mots", MotsConfig(), bundle, "cpu", 1, tmp_path / "out")
    tracker = Tracker(lambda run: shutil.copy(run / "detections.txt", run / "tracks.txt"))
    record = run_sequence(job, tracker)
    assert (tmp_path / "out" / "results" / "1.txt").read_text().splitlines() == late
    assert len(record.scores) == 2


def test_a_sequence_within_its_folder_is_linked(tmp_path, bundle):
    write_otb(tmp_path / "data", "David", BOXES, images=[298, 299, *range(300, 304)])
    (sequence,) = FORMATS["otb"].read(tmp_path / "data", None)
    job = SequenceJob(sequence, "otb", SotConfig(), bundle, "cpu", 1, tmp_path / "out")
    tracker = Tracker(lambda run: write_rows(run / "tracks.txt", BOXES))
    for _ in range(2):
        run_sequence(job, tracker)
        (tmp_path / "out" / "records" / "David.json").unlink()
    linked = sorted(Path(tracker.inputs.source).iterdir())
    assert [path.name for path in linked] == [f"0{n}.jpg" for n in range(300, 304)]
    assert all(path.resolve().parent == sequence.images[0].parent.resolve() for path in linked)
    assert tracker.inputs.max_frames is None


def test_davis_of_2016_starts_from_one_object(tmp_path, bundle):
    masks = davis_masks(4)
    write_davis(tmp_path / "data", "cows", masks)
    write_lines(tmp_path / "data" / "ImageSets" / "2016" / "val.txt", ["cows"])
    (sequence,) = FORMATS["davis"].read(tmp_path / "data", "val")
    job = SequenceJob(sequence, "davis", VosConfig(), bundle, "cpu", 1, tmp_path / "out")

    def write(run):
        (run / "masks").mkdir(exist_ok=True)
        for n, mask in enumerate(masks.values()):
            cv2.imwrite(str(run / "masks" / f"{n:05d}.png"), (mask > 0) * np.uint8(255))

    tracker = Tracker(write)
    record = run_sequence(job, tracker)
    assert np.unique(read_label_png(tracker.inputs.init)).tolist() == [0, 1]
    assert [score.values["J&F"] for score in record.scores] == [1]
    names = sorted(path.name for path in (tmp_path / "out" / "results" / "cows").iterdir())
    assert names == [f"{n:05d}.png" for n in range(4)]


def test_posetrack_results_have_the_data_sets_image_ids(tmp_path, bundle):
    write_posetrack(tmp_path / "data")
    (sequence,) = FORMATS["posetrack"].read(tmp_path / "data", "val")
    config = PosetrackConfig()
    job = SequenceJob(sequence, "posetrack", config, bundle, "cpu", 1, tmp_path / "out")
    images = [{"id": n + 1, "file_name": f"{n:06d}.jpg"} for n in range(4)]
    tracker = Tracker(lambda run: write_json(run / "tracks.json", pose_file(2, images)))
    (score,) = run_sequence(job, tracker).scores
    assert score.values["IDF1"] == 1
    data = json.loads((tmp_path / "out" / "results" / "012.json").read_text())
    assert [image["id"] for image in data["images"]] == [1000, 1001, 1002, 1003]


# The command.


@pytest.fixture
def mot_results(tmp_path):
    for n in range(2):
        truth, results = mot_walk(n)
        write_mot(tmp_path / "data", f"A{n}", truth, 20)
        write_rows(tmp_path / "results" / f"A{n}.txt", results)
    return tmp_path


def test_results_that_somebody_made(mot_results):
    args = ("eval", "--task", "mot", "--data", mot_results / "data", "--results",
            mot_results / "results")  # fmt: skip
    said = run_cli(*args)
    lines = said.splitlines()
    assert lines[0].split()[:4] == ["sequence", "frames", "HOTA", "DetA"]
    assert [line.split()[0] for line in lines[1:4]] == ["A0", "A1", "combined"]
    assert lines[3].split()[1] == "40"
    data = json.loads(run_cli(*args, "--json", "--output", mot_results / "out"))
    assert data == json.loads((mot_results / "out" / "summary.json").read_text())
    assert data["combined"][0]["scores"]["HOTA"] == pytest.approx(
        float(lines[3].split()[2]), abs=1e-3
    )
    assert data["failed"] == {}


def test_scores_of_nothing_have_a_reason(mot_results):
    args = ("eval", "--task", "mot", "--data", mot_results / "data", "--results",
            mot_results / "results")  # fmt: skip
    assert "hold" not in run_cli(*args)
    (mot_results / "results" / "A0.txt").write_text("")
    (mot_results / "data" / "A1" / "gt" / "gt.txt").write_text("")
    said = run_cli(*args)
    assert "A0: the results hold no object" in said
    assert "A1: the truth holds no object" in said
    said = run_cli(*args[:4], mot_results / "results" / "A0.txt", *args[5:], status=1)
    assert "A0.txt: a file, expected a folder" in said


def test_one_sequence_that_fails_does_not_hide_the_others(mot_results):
    (mot_results / "results" / "A1.txt").unlink()
    args = ("eval", "--task", "mot", "--data", mot_results / "data", "--results",
            mot_results / "results", "--output", mot_results / "out")  # fmt: skip
    said = run_cli(*args, status=1)
    assert "1 of 2 sequences failed: A1" in said
    data = json.loads((mot_results / "out" / "summary.json").read_text())
    assert [row["name"] for row in data["sequences"]] == ["A0"]
    assert "nothing for A1" in data["failed"]["A1"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--format", "davis"), 2, "--format davis is of task vos"),
        (("--results", "nowhere"), 1, "--results nowhere: there is no such folder"),
        (("--results", ".", "--bundle", "b"), 2, "leave out --bundle"),
        (("--bundle", "b", "--backbone", "imagenet-r18"), 2, "name two bundles"),
        (("--sequence", "B"), 2, "--sequence B: no such sequence, expected one of A0, A1"),
        (("--split", "val"), 1, "there is no such folder"),
        (("--bundle", "b"), 1, "A0: no images to track in"),
        (("--detections", "nowhere"), 1, "no file of A0"),
        (("--detections", ".", "--results", "."), 2, "leave it out"),
    ],
)
def test_wrong_requests(mot_results, arguments, status, message):
    args = ("eval", "--task", "mot", "--data", mot_results / "data")
    assert message in run_cli(*args, *arguments, status=status)


def test_a_sequence_without_detections_is_refused_at_once(mot_results):
    write_images(mot_results / "data" / "A0" / "img1", [1])
    said = run_cli("eval", "--task", "mot", "--data", mot_results / "data", "--bundle", "b",
                   "--sequence", "A0", status=1)  # fmt: skip
    assert "A0: no detections" in said
    assert "--detections FOLDER" in said


@pytest.fixture(scope="module")
def small_data(tmp_path_factory):
    return write_small_data(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("sot", ()),
        ("vos", ()),
        ("mot", ("--mot-height", "96", "--mot-width", "128")),
        ("posetrack", ("--split", "val", "--posetrack-height", "96", "--posetrack-width", "128")),
    ],
)
def test_tracked_and_scored(small_data, lite_bundle, quick_bundle, tmp_path, task, options):
    bundle = lite_bundle if task == "vos" else quick_bundle  # masks take more than one layer
    args = ["eval", "--task", task, "--data", small_data / task, *options,
            "--bundle", bundle.path, "--output", tmp_path / "out", "--json"]  # fmt: skip
    if task == "posetrack":
        args += ["--detections", small_data / "det"]
    data = json.loads(run_cli(*args))
    row = FORMATS[data["format"]]
    (sequence,), (total,) = data["sequences"], data["combined"]
    assert sequence["frames"] == 4
    assert total["scores"][row.headline] > 0.5
    assert data["recorded_before"] == []
    again = json.loads(run_cli(*args))
    assert again["recorded_before"] == [sequence["name"]]
    assert again["sequences"] == data["sequences"]


def test_gaps_are_filled_in_one_command(small_data, quick_bundle, tmp_path):
    """Of the four frames of a track, the two in the middle have no detection."""
    rows = (small_data / "mot" / "A" / "det" / "det.txt").read_text().splitlines(keepends=True)
    (tmp_path / "det").mkdir()
    (tmp_path / "det" / "A.txt").write_text(rows[0] + rows[3])
    args = ["eval", "--task", "mot", "--data", small_data / "mot", "--bundle", quick_bundle.path,
            "--detections", tmp_path / "det", "--mot-height", "96", "--mot-width", "128",
            "--output", tmp_path / "out", "--json"]  # fmt: skip
    open_data = json.loads(run_cli(*args))
    filled = json.loads(run_cli(*args, "--mot-fill-gaps", "0.1"))
    assert filled["recorded_before"] == []
    missed = [data["sequences"][0]["scores"]["FN"] for data in (open_data, filled)]
    assert missed == [2, 0]
    note = "mot: 2 boxes put into gaps of up to 0.1 s (--mot-fill-gaps), marked predicted"
    assert note in filled["notes"]
    assert filled["parameters"]["fill_gaps"] == 0.1


@pytest.mark.slow
def test_processes_score_like_one(small_data, quick_bundle, tmp_path):
    args = ["eval", "--task", "sot", "--data", small_data / "sot", "--bundle", quick_bundle.path,
            "--json"]  # fmt: skip
    one = json.loads(run_cli(*args, "--output", tmp_path / "one"))
    more = json.loads(
        run_cli(*args, "--output", tmp_path / "more", "--jobs", "2", "--executor", "processes")
    )
    assert one["sequences"] == more["sequences"]


def test_interrupted(small_data, quick_bundle, tmp_path, monkeypatch):
    def interrupt(_job):
        raise KeyboardInterrupt

    monkeypatch.setattr(sequence_jobs, "run_job", interrupt)
    from click.testing import CliRunner
    from unitrack_edge.cli import main

    args = ["eval", "--task", "sot", "--data", str(small_data / "sot"),
            "--bundle", str(quick_bundle.path), "--output", str(tmp_path / "out")]  # fmt: skip
    ran = CliRunner().invoke(main, args)
    assert ran.exit_code == 130
    assert "0 of 1 sequences are recorded; run the same command again" in ran.stderr


def test_the_record_key_names_what_it_is_made_of(mot_job):
    job, tracker, _ = mot_job
    run_sequence(job, tracker)
    record = json.loads((job.output / "records" / "A.json").read_text())
    assert record["key"] == sequence_jobs.job_key(job)
    assert set(record["what"]) >= {"toolkit", "bundle", "parameters", "sequence", "backend"}
    assert record["what"]["parameters"]["confidence"] == 0.5


def test_a_bundle_that_is_not_there_is_said_before_the_first_sequence(small_data, tmp_path):
    said = run_cli(
        *("eval", "--task", "sot", "--data", small_data / "sot", "--bundle", tmp_path / "none"),
        *("--output", tmp_path / "out"),
        status=1,
    )
    assert said.startswith(f"Error: bundle {tmp_path / 'none'} does not exist: write one with")
    assert not (tmp_path / "out").exists()
