"""`cli track` watched and recorded: what was asked for reaches the run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from unitrack_edge.evaluation.synthetic.files import write_scene
from unitrack_edge.evaluation.synthetic.scene import Scene, SceneConfig

from ...support.command_line import report_of, run_cli, video_of

FRAMES = 20
SMALL = ("--mot-height", "64", "--mot-width", "96")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    config = SceneConfig(frames=FRAMES, height=64, width=96, objects=2)
    return write_scene(Scene(config), tmp_path_factory.mktemp("live") / "clip")


def mot(clip, bundle, out):
    return (
        *("track", clip.source, "--task", "mot", "--detections", clip.detections),
        *("--bundle", bundle.path, "--output", out, *SMALL),
    )


def test_lines_segments_and_videos(clip, quick_bundle, tmp_path):
    out, lines = tmp_path / "out", tmp_path / "a.jsonl"
    run_cli(
        *mot(clip, quick_bundle, out),
        *("--jsonl", lines, "--segment", 0.01, "--save-video"),
    )
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(FRAMES))
    assert any(row["tracks"] for row in rows)
    # 25 frames a second, 0.6 s a segment
    assert {path.name for path in out.iterdir()} == {
        *("tracks-0001.txt", "tracks-0002.txt", "video-0001.mp4", "video-0002.mp4", "run.json")
    }
    lengths = [len(video_of(out / f"video-000{n}.mp4")) for n in (1, 2)]
    assert lengths == [15, 5]


def test_a_program_behind_a_pipe_reads_lines_and_nothing_else(clip, quick_bundle, tmp_path):
    code = "from unitrack_edge.cli import main; main()"
    arguments = map(str, (*mot(clip, quick_bundle, tmp_path / "out"), "--jsonl", "-"))
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["frame"] for line in ran.stdout.splitlines()] == list(range(FRAMES))
    assert "20 frames" in ran.stderr


def test_a_served_task_waits_for_a_viewer(clip, quick_bundle, tmp_path):
    track = ("track", clip.source, "--task", "sot", "--bundle", quick_bundle.path)
    assert "give --init" in run_cli(*track, "--output", tmp_path / "a", status=2)
    pose = ("track", clip.source, "--task", "pose", "--bundle", quick_bundle.path)
    assert "--init" in run_cli(*pose, "--output", tmp_path / "a", "--serve", 0, status=2)
    subprocess_output = tmp_path / "b"
    run_quietly(*track, "--output", subprocess_output, "--serve", 0)
    assert (subprocess_output / "tracks.txt").read_text() == "NaN,NaN,NaN,NaN\n" * FRAMES
    assert report_of(subprocess_output)["frames"] == FRAMES


def run_quietly(*arguments):
    code = "from unitrack_edge.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stderr.startswith("live view: http://127.0.0.1:")


def test_an_address_without_a_token_is_wrong_usage(clip, quick_bundle, tmp_path, monkeypatch):
    monkeypatch.delenv("UNITRACK_TOKEN", raising=False)
    for flags in (("--serve", "0.0.0.0:0"), ("--serve", "x"), ("--segment", "-1")):
        run_cli(*mot(clip, quick_bundle, tmp_path / "out"), *flags, status=2)
    assert not (tmp_path / "out").exists()
