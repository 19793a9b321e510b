"""Presets of mot, mots and posetrack: whose number counts, and what a record of a run says."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import main
from unitrack_edge.commands.track import track_config
from unitrack_edge.errors import RequestError
from unitrack_edge.heads.association.fused_matching import FusedAssociator
from unitrack_edge.heads.association.matching import Associator
from unitrack_edge.heads.config import MotConfig, MotsConfig, PosetrackConfig
from unitrack_edge.heads.mot import MotHead
from unitrack_edge.heads.mots import MotsHead
from unitrack_edge.heads.posetrack import PosetrackHead
from unitrack_edge.records import Detections
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.formats.reading.plausible import calibrated_scores
from unitrack_edge.tracking.config import (
    DetectorConfig,
    SourceConfig,
    TrackConfig,
)
from unitrack_edge.tracking.config_file import read_config
from unitrack_edge.tracking.registry import TASKS
from unitrack_edge.tracking.report import config_data

HEADS = {MotConfig: MotHead, MotsConfig: MotsHead, PosetrackConfig: PosetrackHead}


@pytest.mark.parametrize("config", HEADS)
def test_the_papers_association(config, tiny):
    paper = config(preset="unitrack")
    head = HEADS[config](tiny, paper)
    assert isinstance(head._paper, Associator)
    assert head._fused is None
    assert paper.low_confidence is None
    assert not paper.calibrates_scores


@pytest.mark.parametrize("config", HEADS)
def test_memory_is_the_default_and_has_numbers_of_its_own(config, tiny):
    memory = config()
    assert memory == config(preset="memory")
    assert HEADS[config](tiny, memory)._paper is None
    assert (memory.cost_limit, memory.buffer, memory.memory) == (0.75, 60, 5)
    associator = HEADS[config](tiny, memory, 25.0)._fused
    assert isinstance(associator, FusedAssociator)
    numbers = associator._config
    assert (numbers.buffer_s, numbers.memory, numbers.fps) == (2.0, 5, 25.0)
    assert numbers.confirm_at_once == (config is not MotConfig)
    assert numbers.start_score == (0.0 if config is PosetrackConfig else 0.6)


def test_what_is_given_wins_over_the_preset():
    given = MotConfig(preset="memory", cost_limit=0.6)
    assert (given.cost_limit, given.buffer) == (0.6, 60)
    other = replace(given, preset="unitrack")
    assert other == MotConfig(preset="unitrack", cost_limit=0.6)
    assert replace(other, preset="memory", cost_limit=None) == MotConfig(preset="memory")


def test_numbers_of_a_preset_survive_copies():
    config = MotConfig(preset="memory")
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config)), replace(config)):
        assert twin == config
        assert replace(twin, preset="unitrack") == MotConfig(preset="unitrack")
    assert json.loads(json.dumps(asdict(config)))["cost_limit"] == 0.75


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"preset": "unitrack", "low_confidence": 0.2},
            "--mot-low-confidence belongs to --mot-preset memory",
        ),
        ({"preset": "unitrack", "coast": 0.2}, "--mot-coast belongs to --mot-preset memory"),
        ({"preset": "memory", "use_motion": False}, "motion cannot be off"),
        ({"preset": "memory", "memory": 0}, "expected 1 to 100 features"),
        ({"preset": "memory", "memory": 1000}, "expected 1 to 100 features"),
        ({"preset": "memory", "cost_limit": float("nan")}, "expected a finite number"),
        (
            {"preset": "unitrack", "between": "appearance"},
            "-between appearance belongs to --",
        ),
        (
            {"preset": "unitrack", "camera_motion": "flow"},
            "-camera-motion flow belongs to --",
        ),
        (
            {"preset": "unitrack", "camera_motion": "auto"},
            "-camera-motion auto belongs to --",
        ),
        ({"preset": "unitrack", "appearance": "auto"}, "appearance auto belongs to preset memory"),
        ({"confidence": 7.0}, r"--mot-confidence 7: expected 0 to 1; preset memory takes scores"),
        ({"start_confidence": -0.1}, r"--mot-start-confidence -0\.1: expected 0 to 1"),
        ({"overlap_limit": 1.5}, r"--mot-overlap-limit 1\.5: expected 0 to 1$"),
        ({"height": 0}, r"--mot-height 0: expected 32 to 8192 pixels"),
        ({"preset": "unitrack", "confidence": float("nan")}, "--mot-confidence nan: expected a"),
        ({"appearance": "auto", "height": 304}, "got image 304x1088: leave out the size"),
    ],
)
def test_what_does_not_fit_the_preset_is_refused(given, message):
    with pytest.raises(RequestError, match=message):
        MotConfig(**given)


@pytest.mark.parametrize(
    ("given", "auto"),
    [
        ({}, True),
        ({"appearance": "auto"}, True),
        ({"appearance": "always"}, False),
        ({"preset": "unitrack"}, False),
        ({"height": 304, "width": 544}, False),
    ],
)
def test_the_whole_frame_is_seen_where_its_size_is_given_and_by_the_paper(given, auto, tiny):
    config = MotConfig(**given)
    assert config.looks_when_needed == auto
    assert MotHead(tiny, config).needs_features == (not auto)
    assert not replace(config, preset="unitrack", appearance=None).looks_when_needed


def test_the_camera_is_followed_where_it_moves_unless_it_is_the_papers_way():
    config = MotConfig()
    assert config.follows_camera == "auto"
    assert MotConfig(camera_motion="off").follows_camera == "off"
    assert replace(config, preset="unitrack").follows_camera == "off"


@pytest.mark.parametrize(
    "given",
    [
        {"preset": "unitrack"},
        {"cost_limit": 0.6, "low_confidence": 0.3},
        {"preset": "unitrack", "cost_limit": 0.7},
    ],
)
def test_a_record_does_it_again(given, tmp_path):
    """It holds the preset and what was given, also where that is the preset's own number."""
    track = TrackConfig(
        (SourceConfig("a.mp4"),), (MotConfig(**given),), detector=DetectorConfig("motion")
    )
    data = config_data(track)
    assert data["tasks"]["mot"] == given
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"config": data}))
    values = {"init": (), "detections": ()} | read_config(path)
    for name in TASKS["mot"].config.__dataclass_fields__:
        default = TASKS["mot"].config.__dataclass_fields__[name].default
        values.setdefault(f"mot_{name}", default)
    again = track_config(values.pop("sources"), values.pop("tasks"), values)
    assert again == track
    assert config_data(again) == data


def test_help_says_what_each_preset_has():
    text = " ".join(
        CliRunner().invoke(main, ["track", "--help"], terminal_width=200).output.split()
    )
    assert "--mot-preset [memory|unitrack]" in text
    assert "[default: memory: 0.75, unitrack: 0.7]" in text
    assert "[default: memory: 0.5, unitrack: 0.9999]" in text


# Scores of detection files, which preset memory takes for probabilities.


def test_probabilities_stay_as_they_are():
    scores = np.array([0.0, 0.4, 1.0], np.float32)
    assert calibrated_scores(scores) is scores


def test_raw_scores_become_probabilities_in_their_order():
    scores = np.array([-3.0, 0.0, 10.0, 20.0, 60.0], np.float32)
    np.testing.assert_allclose(calibrated_scores(scores), [0, 0, 0.6, 0.75, 0.9], rtol=1e-6)


def test_raw_scores_of_a_file_are_noted(tmp_path):
    path = Path(tmp_path / "det.txt")
    path.write_text("1,-1,1,1,10,20,20\n1,-1,50,1,10,20,60\n1,-1,90,1,10,20,10\n")
    (note,) = open_detections(path).notes()
    assert "raw scores (10 to 60), compared with limits as they are" in note
    (note,) = open_detections(path, calibrate_scores=True).notes()
    assert "raw scores (10 to 60)" in note


class Still:
    """What `associate` looks at of a frame."""

    size_hw = (200, 400)

    def __init__(self, index):
        self.index, self.time_s = index, index / 25


@pytest.mark.parametrize(("left", "reported"), [(100.0, 3), (-4.0, 0)])
def test_missed_tracks_are_reported_for_a_moment(tiny, left, reported):
    """Where motion takes them, unless they stand at the image's border."""
    head = MotHead(tiny, MotConfig(preset="memory", min_area=0.0), 25.0)
    box = np.array([[left, 50.0, left + 40, 130.0]], np.float32)
    seen = Detections(box, np.array([0.9], np.float32), np.zeros(1, np.int64))
    for index in range(4):
        assert head.associate(Still(index), seen, None).ids.tolist() == [1]
    found = [head.associate(Still(4 + k), Detections.empty(), None).ids.tolist() for k in range(5)]
    assert found == [[1]] * reported + [[]] * (5 - reported)
