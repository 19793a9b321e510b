"""`cli demo`: the clip, both tasks, their scores, and a video of one's own."""

from __future__ import annotations

import functools
import re
import signal
from contextlib import contextmanager

import pytest
from unitrack_edge.commands.console import progress
from unitrack_edge.evaluation.synthetic import scene
from unitrack_edge.evaluation.synthetic.files import scene_files, write_scene
from unitrack_edge.evaluation.synthetic.scores import score_boxes, score_masks

from ..support.command_line import report_of, rows_of, run_cli, video_of

FRAMES = 8


@pytest.fixture
def here(lite_bundle, tmp_path, monkeypatch):
    """A folder where the default bundle is exported already, and the demo clip is short."""
    (tmp_path / "bundles").mkdir()
    (tmp_path / "bundles" / "efficientnet-lite0").symlink_to(lite_bundle.path)
    monkeypatch.chdir(tmp_path)
    short = functools.partial(scene.SceneConfig, frames=FRAMES)
    monkeypatch.setattr(scene, "SceneConfig", short)
    return tmp_path


def test_the_demo_tracks_its_clip_and_prints_the_scores(here):
    pytest.importorskip("trackeval", reason="scores need TrackEval: extra 'eval'")
    said = run_cli("demo", "--frames", FRAMES)
    out = here / "demo-output"
    clip = scene_files(out / "clip")
    boxes = score_boxes(clip, out / "mot" / "tracks.txt", FRAMES)
    masks = score_masks(clip, out / "vos" / "masks", FRAMES)
    flat = " ".join(said.split())
    for score in (boxes.hota, boxes.idf1, boxes.mota, masks.j_mean):
        assert f"{score:.3f}" in flat
    # The truth is known and easy for so short a clip; noise alone would not get there.
    assert boxes.hota > 0.6
    assert masks.j_mean > 0.6
    assert masks.objects >= 2
    for task in ("mot", "vos"):
        report = report_of(out / task)
        assert report["frames"] == FRAMES
        assert f"{report['fps']:.1f}" in said
        assert f"demo-output/{task}/video.mp4" in said
        assert video_of(out / task / "video.mp4").shape == (FRAMES, 360, 640, 3)
    assert rows_of(out / "mot").shape[0] > FRAMES
    # One screen, on a terminal of 24 lines.
    assert said.count("\n") < 24
    # A later demo replaces it.
    run_cli("demo", "--frames", 3, "--output", out)
    assert len(list((out / "vos" / "masks").iterdir())) == 3
    assert report_of(out / "mot")["frames"] == 3


@pytest.fixture
def own_video(here):
    config = scene.SceneConfig(height=96, width=160, objects=3, sway=0.0)
    return write_scene(scene.Scene(config), here / "own").source


def test_a_video_of_ones_own(here, own_video):
    said = run_cli("demo", "--source", own_video, "--frames", 3)
    assert "--init X,Y,W,H" in said
    assert "HOTA" not in said
    assert report_of(here / "demo-output" / "mot")["frames"] == 3
    assert not (here / "demo-output" / "vos").exists()
    run_cli("demo", "--source", own_video, "--frames", 3, "--init", "20,30,30,40")
    assert len(list((here / "demo-output" / "vos" / "masks").iterdir())) == 3
    assert len(video_of(here / "demo-output" / "vos" / "video.mp4")) == 3


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--frames", "2"], 2, "--frames 2: expected 3 or more"),
        (["--source", "a.mp4", "--frames", "0"], 2, "'--frames': 0 is not in the range x>=1"),
        (["--init", "1,2,3,4"], 2, "belong to a --source of your own"),
        (["--detector", "motion"], 2, "belong to a --source of your own"),
        (["--source", "a.mp4"], 1, "no file or folder 'a.mp4'"),
        (["--backbone", "efficientnet"], 2, "did you mean efficientnet-lite0"),
    ],
)
def test_what_the_demo_refuses(here, arguments, status, message):
    assert message in run_cli("demo", *arguments, status=status)
    assert [path.name for path in here.iterdir()] == ["bundles"]


def test_ctrl_c_ends_the_whole_demo(here, own_video, monkeypatch):
    @contextmanager
    def watch_run(_task):
        def on_frame(frame, _tracks):
            if frame.index == 1:
                signal.raise_signal(signal.SIGINT)

        yield lambda _info: on_frame

    monkeypatch.setattr(progress, "watch_run", watch_run)
    from click.testing import CliRunner
    from unitrack_edge.cli import main

    arguments = ["demo", "--source", str(own_video), "--init", "20,30,30,40"]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 130
    assert re.fullmatch(r"main demo: interrupted; the results so far are in \S+\n", ran.stderr)
    assert report_of(here / "demo-output" / "mot")["interrupted"]
    assert len(video_of(here / "demo-output" / "mot" / "video.mp4")) == 2
    assert not (here / "demo-output" / "vos").exists()
