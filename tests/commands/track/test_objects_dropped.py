"""No object vanishes in silence: detections that were once lost or split, as a user runs them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ...conftest import DATA
from ...support.command_line import report_of, rows_of, run_cli

CASES = DATA.parent / "cases"
NETWORK = ("--mot-height", 192, "--mot-width", 256)

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason=f"{CASES} is absent")


@pytest.fixture
def tracked(quick_bundle, tmp_path):
    """Tracks a case; answers what was said and the folder of results."""

    def run(video, detections, *more):
        output = tmp_path / "out"
        said = run_cli(
            *("track", CASES / video, "--task", "mot", "--detections", CASES / detections),
            *("--bundle", quick_bundle.path, "--output", output, *NETWORK, *more),
        )
        return said, output

    return run


def test_a_wide_object_of_no_class_is_reported(tracked):
    said, output = tracked("street.mp4", "street_det.txt")
    rows = rows_of(output)
    wide = rows[:, 4] > 2 * rows[:, 5]
    assert len(set(rows[:, 1])) == 2
    assert wide.sum() == len(rows) / 2
    assert set(rows[:, 7]) == {-1}
    assert "max-aspect" not in said


def test_a_wide_person_is_not_and_a_line_says_so(tracked):
    said, output = tracked("street.mp4", "street_det.txt", "--detections-class", "person")
    rows = rows_of(output)
    assert (rows[:, 4] <= 1.6 * rows[:, 5]).all()
    (task,) = report_of(output)["tasks"].values()
    lost = task["dropped"]["max_aspect"]
    assert lost == len(rows)
    assert f"note: {lost} boxes not reported: people wider than --mot-max-aspect 1.6" in said


def test_categories_of_coco_are_kept(tracked):
    _, output = tracked("street.mp4", "street_coco.json")
    rows = rows_of(output)
    assert {(identity, label) for identity, label in rows[:, [1, 7]]} == {(1, 3), (2, 1)}


@pytest.mark.parametrize("preset", ["unitrack", "memory"])
def test_a_class_that_flips_is_one_track(tracked, preset):
    _, output = tracked("clsflip.mp4", "clsrun.txt", "--mot-preset", preset)
    rows = rows_of(output)
    assert len(set(rows[:, 1])) == 2
    for identity in (1, 2):
        assert rows[rows[:, 1] == identity, 0].tolist() == list(range(1, 13)), "no frame is lost"
    labels = {identity: set(rows[rows[:, 1] == identity, 7]) for identity in (1, 2)}
    assert labels in ({1: {0}, 2: {7}}, {1: {7}, 2: {0}})


def test_apart_a_class_that_flips_is_two_tracks(tracked):
    said, output = tracked("clsflip.mp4", "clsrun.txt", "--mot-classes", "apart")
    assert len(set(rows_of(output)[:, 1])) > 2
    assert "in no confirmed track" in said


@pytest.mark.parametrize(
    ("file", "preset", "reason", "count", "line"),
    [
        (
            *("smallbox.txt", "memory", "min_area", 6),
            "6 boxes not reported: not above --mot-min-area 200",
        ),
        (
            *("low.txt", "unitrack", "confidence", 12),
            "12 detections not tracked: score below --mot-confidence 0.5",
        ),
        (
            *("low.txt", "memory", "start", 12),
            "12 detections not reported: score below --mot-start-confidence 0.6, and on no track",
        ),
    ],
)
def test_what_is_not_reported_is_counted(tracked, file, preset, reason, count, line):
    said, output = tracked("small.mp4", file, "--mot-preset", preset)
    assert len(rows_of(output)) == 0
    report = report_of(output)
    assert report["tasks"]["mot"]["dropped"] == {reason: count}
    assert f"note: {line}" in said.splitlines()
    assert report["notes"] == []


def test_what_is_not_sure_enough_to_start_a_track_names_the_option_that_decides(tracked):
    said, output = tracked("small.mp4", "small_det.txt", "--mot-confidence", "0.99")
    assert len(rows_of(output)) == 0
    assert report_of(output)["tasks"]["mot"]["dropped"] == {"start": 12}
    line = "12 detections not reported: score below --mot-confidence 0.99, and on no track"
    assert f"note: {line}" in said.splitlines()


def test_names_are_in_lines_of_json(tracked, tmp_path):
    lines = tmp_path / "tracks.jsonl"
    tracked("street.mp4", "street_det.txt", "--detections-class", "car", "--jsonl", lines)
    tracks = [t for line in lines.read_text().splitlines() for t in json.loads(line)["tracks"]]
    assert len(tracks) > 20
    assert {(track["class"], track["name"]) for track in tracks} == {(0, "car")}
    tracked("street.mp4", "street_det.txt", "--overwrite", "--jsonl", lines)
    tracks = [t for line in lines.read_text().splitlines() for t in json.loads(line)["tracks"]]
    assert {track["class"] for track in tracks} == {-1}
    assert not np.any(["name" in track for track in tracks])
