"""`--config FILE`: what was done is done again, by another version too."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from unitrack_edge.commands.track import track_config
from unitrack_edge.errors import RequestError
from unitrack_edge.heads.config import (
    SCALE_STEP,
    MotConfig,
    PosetrackConfig,
    SotConfig,
    VosConfig,
)
from unitrack_edge.tracking.config import (
    DetectorConfig,
    RunConfig,
    SourceConfig,
    TrackConfig,
)
from unitrack_edge.tracking.config_file import read_config
from unitrack_edge.tracking.registry import TASKS
from unitrack_edge.tracking.report import config_data, default_data

MOT = MotConfig()
CLIP, PROMPTED = SourceConfig("clip.mp4"), SourceConfig("clip.mp4", init="1,2,3,4")
FILE = SourceConfig("clip.mp4", detections=Path("det.txt"))
MOTION = DetectorConfig("motion")


def rebuilt(path):
    """The config that `cli track --config` makes of a file."""
    given = read_config(path)
    values = {"init": (), "detections": ()} | given
    for task in ("mot", "vos", "sot", "mots", "posetrack", "pose"):
        for parameter in fields(TASKS[task].config):
            values.setdefault(f"{task}_{parameter.name}", parameter.default)
    return track_config(values.pop("sources"), values.pop("tasks"), values)


@pytest.mark.parametrize(
    "config",
    [
        TrackConfig((CLIP,), (MOT,), RunConfig(), MOTION),
        TrackConfig((CLIP,), (PosetrackConfig(),)),
        TrackConfig(
            (SourceConfig("a.mp4", "1,2,3,4", fps=12.5), SourceConfig("b.mp4", "m.png", fps=12.5)),
            (VosConfig(memory=3), MotConfig(preset="unitrack", confidence=0.4, use_motion=False)),
            RunConfig(backend="cuda", save_video=True, max_frames=7),
            DetectorConfig("yolox.onnx", detector_classes="0,2", detector_confidence=0.3),
        ),
        TrackConfig((FILE, SourceConfig("b", detections=Path("b.txt"))), (MOT,)),
    ],
)
def test_what_is_recorded_does_it_again(config, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"frames": 3, "config": config_data(config)}))
    assert rebuilt(path) == config


# A version whose defaults are others.


def others(config, values):
    """Another value for each that is not None, as if its default had changed since.

    Of those that fit: some have an effect only beside options that are given.
    """
    make = {
        bool: lambda v: not v,
        int: lambda v: v + 8,
        float: lambda v: 1.1 * v or 0.1,
        str: "2".format,
    }
    found = {}
    for name, value in values.items():
        choices = type(config).__dataclass_fields__[name].metadata.get("choices")
        if value is None:
            continue
        new = make[type(value) if type(value) in make else float](value)
        if choices:
            new = next(choice for choice in choices if choice != value)
        try:
            replace(config, **{name: new})
        except RequestError:
            continue
        found[name] = new
    return found


def test_values_that_a_run_had_by_default_are_kept_where_another_version_has_others(tmp_path):
    source = SourceConfig("a.mp4", "1,2,3,4")
    track = TrackConfig((source,), tuple(spec.config() for spec in TASKS.values()))
    record = {"config": config_data(track), "defaults": default_data(track, source)}
    path = tmp_path / "run.json"
    said = []
    path.write_text(json.dumps(record))
    read_config(path, said.append)
    assert said == []
    former, expected = record["defaults"], {}
    for section, config in (
        *(("sources", source), ("detector", track.detector), ("run", track.run)),
        *((config.task, config) for config in track.tasks),
    ):
        rows = former if section in former else former["tasks"]
        prefix = "" if section in former else f"{section}_"
        changed = others(config, rows[section])
        assert len(changed) > 0.5 * sum(value is not None for value in rows[section].values())
        expected |= {f"{prefix}{name}": value for name, value in changed.items()}
        rows[section] |= changed
    path.write_text(json.dumps(record))
    values = read_config(path, said.append)
    assert {name: values[name] for name in expected} == expected
    assert len(expected) > 60
    assert len(said) == 1
    for flag in ("--sot-crop 240", "--mot-overlap-limit 0.55", "--max-detections 508"):
        assert f"{flag} is kept" in said[0]


def test_a_run_of_before_cameras_were_followed_keeps_them_standing_still(tmp_path):
    source = SourceConfig("a.mp4")
    track = TrackConfig((source,), (MotConfig(),))
    record = {"config": config_data(track), "defaults": default_data(track, source)}
    record["defaults"]["tasks"]["mot"]["camera_motion"] = "off"
    path, said = tmp_path / "run.json", []
    path.write_text(json.dumps(record))
    assert read_config(path, said.append)["mot_camera_motion"] == "off"
    assert "--mot-camera-motion off is kept" in said[0]


def test_a_file_of_before_tells_the_parameters_of_the_tasks(tmp_path):
    """Which all files hold; what it was asked for is not in question."""
    track = TrackConfig((PROMPTED,), (SotConfig(margin=2.0),))
    parameters = asdict(SotConfig(margin=2.0)) | {"crop": 200, "scale_step": None, "gone": 1}
    del parameters["sigma"]
    path = tmp_path / "run.json"
    tasks = {"sot": {"parameters": parameters, "identities": 1}}
    path.write_text(json.dumps({"tasks": tasks, "config": config_data(track)}))
    said = []
    values = read_config(path, said.append)
    assert (values["sot_crop"], values["sot_margin"]) == (200, 2.0)
    assert {"sot_scale_step", "sot_sigma", "sot_gone"}.isdisjoint(values)
    (line,) = said
    assert "--sot-crop 200 is kept (by default 232 today)" in line
    assert f"--sot-scale-step has no value there and is {SCALE_STEP}" in line
    assert "--sot-sigma has no value there and is 0.1" in line
    assert "margin" not in line


def test_what_was_written_into_a_run_json_since_wins(tmp_path):
    """What went with the former preset does not go with the one given since."""
    track = TrackConfig((SourceConfig("a.mp4"),), (MotConfig(),))
    record = {
        "config": config_data(track),
        "defaults": default_data(track, track.sources[0]),
    }
    path, said = tmp_path / "run.json", []
    record["config"]["tasks"]["mot"] = {"preset": "unitrack", "fill_gaps": "1"}
    path.write_text(json.dumps(record))
    values = read_config(path, said.append)
    assert (values["mot_preset"], values["mot_fill_gaps"], said) == ("unitrack", "1", [])
    assert "mot_buffer" not in values


@pytest.mark.parametrize("config", [[], None, 5, True, "a.mp4"])
def test_a_config_within_a_file_that_is_none(tmp_path, config):
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"config": config}))
    if config is None:
        assert read_config(path) == {}
        return
    with pytest.raises(RequestError, match=r"run.json: config: expected names with values"):
        read_config(path)


def test_a_former_default_that_had_no_effect_is_not_kept(tmp_path):
    """Without focus sot takes no crop: given again, it would be refused."""
    parameters = asdict(SotConfig(focus="off")) | {"crop": 200, "learning_rate": 0.5}
    path = tmp_path / "run.json"
    tasks = {"sot": {"parameters": parameters}}
    path.write_text(json.dumps({"tasks": tasks, "config": {"tasks": {"sot": {"focus": "off"}}}}))
    said = []
    values = read_config(path, said.append)
    assert values == {"tasks": ("sot",), "sot_focus": "off", "sot_learning_rate": 0.5}
    assert "crop" not in said[0]


@pytest.mark.parametrize(
    "record",
    [
        {"config": {}, "defaults": 3},
        {"config": {"tasks": {"mot": {}}}, "defaults": {"tasks": {"mot": [1]}}},
        {"config": {"tasks": {"mot": {}}}, "tasks": {"mot": 3}},
        {"config": {"tasks": {"mot": {}}}, "tasks": {"mot": {"parameters": {"height": [1]}}}},
        {"config": {}, "defaults": {"run": {"threads": {}}}},
    ],
)
def test_a_damaged_record_is_one_line(record, tmp_path):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(record))
    with pytest.raises(RequestError, match="expected") as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_the_record_holds_no_secret_and_no_place_for_results():
    source = SourceConfig("rtsp://me:secret@host/live?key=1")
    run = RunConfig(serve="0.0.0.0:80", serve_token="hush", output=Path("x"), overwrite=True)
    track = TrackConfig((source,), (MOT,), run, MOTION)
    text = json.dumps([config_data(track), default_data(track, source)])
    assert not any(word in text for word in ("secret", "hush", "key=1", "output", "overwrite"))


def test_yaml_in_short(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("sources: clip.mp4\ntasks: {mot: }\ndetector: {detector: motion}\n")
    assert rebuilt(path) == TrackConfig((CLIP,), (MOT,), RunConfig(), MOTION)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "the file: expected names with values"),
        ("{", "not YAML or JSON"),
        ("colour: red", "unknown section 'colour'"),
        ("tasks: {dance: {}}", "unknown task 'dance'"),
        ("tasks: {mot: {tempo: 1}}", "tasks: mot has no field 'tempo'"),
        ("tasks: {mot: {height: [1]}}", "tasks: mot: expected one value for 'height'"),
        ("run: {max_frames: {a: 1}}", "run: expected one value for 'max_frames'"),
        ("run: {speed: 1}", "run has no field 'speed'"),
        ("run: {max_frames: 2.7}", "run: max_frames: 2.7: expected a whole number"),
        ("run: {max_frames: true}", "run: max_frames: True: expected a number"),
        ("run: {threads: .inf}", "run: threads: inf: expected a whole number"),
        ("run: {save_video: 3}", "run: save_video: 3: expected true or false"),
        ("tasks: {mot: {height: 96.5}}", "tasks: mot: height: 96.5: expected a whole number"),
        ("sources: [{source: a, fps: false}]", "sources: fps: False: expected a number"),
        ("sources: [{source: a, init: true}]", "sources: init: True: expected a text"),
        ("run: 3", "run: expected names with values"),
        ("sources: [{init: a}]", "expected a text under 'source'"),
        ("sources: [{source: a, fps: 1}, {source: b, fps: 2}]", "one value for all sources"),
        ("sources: [3]", "sources: expected names"),
    ],
)
def test_files_that_say_something_else(text, message, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(RequestError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        read_config(tmp_path / "none.yaml")


def test_numbers_that_fit_are_taken(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "run: {max_frames: 3.0, serve: 8080, threads: '2'}\nsources: [{source: a, fps: 5}]"
    )
    values = read_config(path)
    assert (values["max_frames"], values["serve"], values["threads"]) == (3, 8080, "2")
    assert values["fps"] == 5
