"""`cli tune`: what is tried in which order, what is proposed, and the command line to copy."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from unitrack_edge.cli import main
from unitrack_edge.commands import track
from unitrack_edge.commands.options.track import command_line
from unitrack_edge.commands.track import command as track_command
from unitrack_edge.commands.track import track_config
from unitrack_edge.errors import BackendError, RequestError, UnitrackError
from unitrack_edge.evaluation.benchmark import tuning
from unitrack_edge.evaluation.benchmark.tuning import Setting, Trial, Tuned, TuneRequest, smaller
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig
from unitrack_edge.heads.config import MotConfig, SotConfig, VosConfig
from unitrack_edge.records import Tracks
from unitrack_edge.runtime.sources.base import SourceInfo
from unitrack_edge.tracking.config import DetectorConfig, RunConfig, SourceConfig, TrackConfig

from ...support.command_line import check_error, run_cli

CLIP = SourceInfo("clip.mp4", "video", (64, 96), 25.0, None, False)


def config_of(bundle, task=MotConfig, **source):
    """A run over one clip."""
    detector = DetectorConfig() if source else DetectorConfig("motion")
    given = SourceConfig("clip.mp4", **source)
    return TrackConfig((given,), (task(),), RunConfig(bundle=bundle), detector)


# The proposal.


def trial(name, fps, *agreement):
    setting = Setting(name, MotConfig(), "cpu")
    measures = dict(zip(("HOTA", "IDF1"), agreement, strict=True))
    return Trial(setting, fps, 1.0, measures, 1.0, 0.0)


@pytest.mark.parametrize(
    ("trials", "proposed"),
    [
        # Only the second keeps up.
        ([("full", 5, 1, 1), ("auto", 30, 0.9, 0.8), ("small", 20, 0.99, 0.99)], "auto"),
        # Both keep up: the lowest measure decides.
        ([("full", 5, 1, 1), ("auto", 90, 0.99, 0.7), ("small", 30, 0.8, 0.8)], "small"),
        # As good but for a thousandth: the faster one.
        ([("full", 25, 1, 1), ("auto", 90, 0.999, 0.998)], "auto"),
        # None keeps up.
        ([("full", 5, 1, 1), ("auto", 12, 0.5, 0.5)], "auto"),
    ],
)
def test_what_keeps_up_and_agrees_best_is_proposed(trials, proposed):
    tuned = Tuned(CLIP, 10, 25.0, [trial(*row) for row in trials])
    assert tuned.proposed.setting.method == proposed


def test_a_setting_is_named_by_what_differs():
    setting = Setting("full", MotConfig(), "cpu")
    assert setting.name == "full"
    changed = replace(setting, backend="cuda", threads=1, every=3)
    assert changed.name == "full, cuda, 1 thread, detector every 3 frames"


# What is tried.


class Machine(tuning._Tuner):
    """Answers runs by a table of FPS, on a clock of its own."""

    def __init__(self, monkeypatch, request, fps, bundle):
        self.now, self.asked, self._speed = 0.0, [], fps
        monkeypatch.setattr(tuning.time, "perf_counter", lambda: self.now)
        monkeypatch.setattr(tuning, "available_cores", lambda: 2)
        super().__init__(request, lambda *_: None)
        assert self._bundle.spec == bundle.spec

    def _once(self, setting, frames, most_s):
        self.asked.append(setting.name)
        fps = self._speed(setting)
        if fps is None:
            raise BackendError("out of memory")
        done = min(frames, int(most_s * fps))
        ends = [self.now + (k + 1) / fps for k in range(done)]
        self.now += done / fps
        tracks = [Tracks(k, np.zeros(0, np.int64)) for k in range(done)]
        return tuning._Run(CLIP, tracks, ends, ends, 8.0, 0.0, done < frames)


@pytest.fixture
def machine(monkeypatch, quick_bundle):
    pytest.importorskip("trackeval")

    def make(fps, score=lambda _setting: 0.9, **request):
        asked = TuneRequest(config_of(quick_bundle.path), **request)
        made = Machine(monkeypatch, asked, fps, quick_bundle)
        # What the runs agree in is no matter of the search.
        monkeypatch.setattr(
            tuning, "agreement_of_tracks", lambda *_: {"IDF1": score(made.asked[-1])}
        )
        return made

    return make


def test_cheaper_settings_are_tried_until_one_keeps_up(machine):
    made = machine(lambda setting: 10.0 * setting.every, frames=20)
    tuned = made.run()
    assert made.asked == [
        "full",
        "appearance auto",
        "appearance auto, 1 thread",
        "appearance auto, detector every 2 frames",
        "appearance auto, detector every 3 frames",
        "456x816",
        "304x544",
    ]
    assert tuned.proposed.setting.name == "appearance auto, detector every 3 frames"
    assert tuned.not_tried == []


def test_a_setting_that_keeps_up_and_agrees_ends_the_search(machine):
    made = machine(lambda setting: 30.0 if setting.method != "full" else 3.0, lambda _name: 1.0)
    assert made.run().proposed.setting.name == "appearance auto"
    assert made.asked == ["full", "appearance auto"]


def test_the_defaults_are_tried_even_where_the_full_setting_keeps_up(machine):
    made = machine(lambda setting: 30.0 if setting.method == "full" else 300.0, lambda _name: 1.0)
    assert made.run().proposed.setting.name == "appearance auto"
    assert made.asked == ["full", "appearance auto"]


def test_the_budget_ends_it_and_what_was_not_tried_is_named(machine):
    # The full setting takes 4 of 10 seconds for 40 frames, each other one as long.
    made = machine(lambda _setting: 10.0, budget_s=10.0)
    tuned = made.run()
    assert tuned.frames == 40
    assert made.asked == ["full", "appearance auto"]
    assert tuned.not_tried[0] == "appearance auto, 1 thread"
    assert len(tuned.not_tried) == 8
    assert made.now <= 10


def test_a_run_that_the_budget_cuts_off_is_no_result(machine):
    made = machine(lambda setting: 10.0 if setting.method == "full" else 5.0, budget_s=10.0)
    tuned = made.run()
    assert [one.setting.name for one in tuned.trials] == ["full"]
    assert tuned.not_tried[0] == "appearance auto (cut off after 30 frames)"


def test_the_fastest_backend_is_gone_on_with_and_one_that_fails_is_named(machine):
    def fps(setting):
        if setting.backend == "tensorrt":
            return None
        return 20.0 if setting.backend == "cuda" else 5.0

    made = machine(fps, budget_s=1000.0, backends=("cpu", "cuda", "tensorrt"))
    tuned = made.run()
    assert tuned.failed == {"appearance auto, tensorrt": "out of memory"}
    assert "appearance auto, cuda, detector every 2 frames" in made.asked
    # Threads are the processor's.
    assert not any("thread" in name for name in made.asked)


def test_a_full_setting_too_slow_for_the_budget_says_so(machine):
    with pytest.raises(UnitrackError, match="--budget 10 seconds: give more"):
        machine(lambda _setting: 1.0, budget_s=10.0).run()


def test_a_camera_cannot_be_run_again(quick_bundle):
    config = TrackConfig(
        (SourceConfig("camera0"),), (MotConfig(),), RunConfig(bundle=quick_bundle.path)
    )
    with pytest.raises(RequestError, match="record a clip"):
        tuning.tune(TuneRequest(config))


def test_smaller_images_are_the_bundles_own_or_shares(quick_bundle):
    names = [name for name, _ in smaller(MotConfig(appearance="always"), quick_bundle)]
    assert names == ["456x816", "304x544"]
    fixed = replace(quick_bundle, spec=replace(quick_bundle.spec, sizes_hw=((96, 96), (64, 64))))
    large = MotConfig(appearance="always", height=96, width=96)
    assert [name for name, _ in smaller(large, fixed)] == ["64x64"]
    sides = [task.short_side for _, task in smaller(VosConfig(focus="off"), quick_bundle)]
    assert sides == [360, 240]
    assert list(smaller(SotConfig(), quick_bundle)) == []


# The command line.


def parsed(text):
    """The config that a printed command line asks for."""
    words = shlex.split(text)
    assert words[:2] == ["cli", "track"]
    values = track_command.make_context("track", words[2:]).params
    return track_config(values.pop("sources"), values.pop("tasks"), values)


@pytest.mark.parametrize(
    "setting",
    [
        Setting("full", MotConfig(appearance="always", height=304, width=544), "cuda"),
        Setting("auto", MotConfig(), "cpu", 1, 4),
        Setting("off", VosConfig(focus="off", short_side=240), "cpu", 2),
        Setting("unitrack", MotConfig(preset="unitrack", use_motion=False), "cpu"),
    ],
)
def test_the_command_line_asks_for_the_setting(setting):
    source = SourceConfig("a clip.mp4", init=None if setting.task.task == "mot" else "mask.png")
    detector = DetectorConfig("motion") if setting.task.task == "mot" else DetectorConfig()
    run = RunConfig(bundle=Path("my bundle"), overlap=False)
    config = setting.of(TrackConfig((source,), (setting.task,), run, detector))
    assert parsed(command_line(config)) == config


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    scene = Scene(SceneConfig(frames=12, height=64, width=96, objects=3))
    return write_scene(scene, tmp_path_factory.mktemp("tune") / "clip")


def test_settings_are_really_run(clip, quick_bundle):
    pytest.importorskip("trackeval")
    said = run_cli(
        *("tune", quick_bundle.path, "--task", "mot", "--source", clip.source),
        *("--detections", clip.detections, "--frames", "12", "--fps", "100000", "--json"),
    )
    data = json.loads(said)
    rows = {row["setting"]: row for row in data["settings"]}
    assert list(rows)[:2] == ["full", "appearance auto"]
    assert set(rows["full"]["agreement"].values()) == {1.0}
    assert rows["full"]["backbone_pixels"] == 608 * 1088
    assert rows["304x544"]["backbone_pixels"] == 304 * 544
    assert rows["appearance auto"]["backbone_pixels"] < 608 * 1088
    # A hundred thousand frames a second is more than any setting does.
    assert not data["keeps_up"]
    fastest = max(data["settings"], key=lambda row: row["fps"])
    assert data["proposed"] == fastest["setting"]
    config = parsed(data["command"])
    assert config.run.bundle == quick_bundle.path
    assert config.sources[0].source == str(clip.source)


def test_masks_are_compared_by_their_overlap(clip, quick_bundle):
    said = run_cli(
        *("tune", quick_bundle.path, "--task", "vos", "--source", clip.source, "--fps", "0.01"),
        *("--init", clip.init_mask, "--frames", "10"),
    )
    assert "focus auto" in said
    assert " J " in said
    assert "--task vos" in said


@pytest.mark.parametrize(
    ("bundle", "source", "message"),
    [
        ("", "none.mp4", "no file or folder 'none.mp4'"),
        ("", "camera0", "record a clip"),
        ("none", "none.mp4", "bundle none does not exist"),
    ],
)
def test_what_is_not_there_is_said_before_any_model_is_fetched(
    quick_bundle, bundle, source, message, monkeypatch
):
    monkeypatch.setattr(track, "prepare_models", lambda _config: pytest.fail("fetched"))
    arguments = ("--task", "mot", "--source", source, "--backend", "cpu")
    result = CliRunner().invoke(main, ["tune", bundle or str(quick_bundle.path), *arguments])
    assert result.exit_code in (1, 2)
    assert message in result.stderr


def test_a_window_for_every_setting_is_refused(quick_bundle, clip):
    arguments = ("--task", "sot", "--source", clip.source, "--init", "select")
    said = run_cli("tune", quick_bundle.path, *arguments, status=2)
    check_error(said)
    assert "every setting starts anew" in said
