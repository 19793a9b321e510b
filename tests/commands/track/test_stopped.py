"""Runs of `cli track` that a full disk, Ctrl-C or SIGTERM ends, and processes of their own."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from unitrack_edge.errors import count
from unitrack_edge.runtime.formats.davis import read_label_png

from ...support.command_line import check_error, report_of, rows_of, run_cli, video_of
from ...support.track_runs import FRAMES, HEIGHT, NETWORK, WIDTH, motion_jpeg

pytestmark = pytest.mark.usefixtures("here")


@contextmanager
def files_of_at_most(limit):
    """As on a full disk: no file of this process may grow beyond `limit` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_disk_full_in_the_rows(mot, here, long_clip):
    video, detections = long_clip
    with files_of_at_most(17_000):
        said = mot(source=video, detections=detections, status=1)
    rows = rows_of(here / "out")
    frames = int(rows[-1, 0])
    assert 100 < frames < 200
    assert "disk full while writing" in said
    assert f"tracks.txt, {frames} frames kept" in said
    assert report_of(here / "out")["frames"] == frames


def test_disk_full_in_the_video_keeps_the_rows(mot, here):
    with files_of_at_most(20_000):
        said = mot("--save-video", status=1)
    assert "disk full while writing" in said
    assert "leave out --save-video" in said
    names = {path.name for path in (here / "out").iterdir()}
    assert names == {"tracks.txt", "run.json", "video.mp4"}
    kept = len(video_of(here / "out" / "video.mp4"))
    assert 2 < kept < FRAMES
    assert f"video.mp4, {kept} frames kept" in said
    report = report_of(here / "out")
    assert rows_of(here / "out")[-1, 0] == report["frames"] == FRAMES
    assert "disk full" in report["error"]


@pytest.fixture
def small_disk(tmp_path_factory):
    """A file system of 64 kB."""
    folder = tmp_path_factory.mktemp("disk")
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_disk_full_in_the_masks(vos, small_disk):
    (small_disk / "filling").write_bytes(b"x" * 20_000)
    said = vos(output=small_disk / "out", status=1)
    kept = sorted((small_disk / "out" / "masks").iterdir())
    assert 2 < len(kept) < FRAMES
    assert [path.name for path in kept] == [f"{index:05d}.png" for index in range(len(kept))]
    for path in kept:
        assert read_label_png(path).shape == (HEIGHT, WIDTH)
    assert "disk full while writing" in said
    assert f"{len(kept)} frames kept" in said
    assert f"the results of {len(kept)} frames before it are in" in said
    report = report_of(small_disk / "out")
    assert (report["frames"], report["error"]) == (len(kept), said[len("Error: ") : -1])


def whole(folder, result):
    """How many frames a result holds; it must be one that other tools read, to its end."""
    if result == "tracks.json":
        data = json.loads((folder / result).read_text())
        places = {image["id"] for image in data["images"]}
        assert {row["image_id"] for row in data["annotations"]} <= places
        return len(places)
    if result == "labels":
        return len(list((folder / result).glob("frame_*.txt")))
    lines = (folder / result).read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and line.count(",") == lines[-1].count(",") for line in lines)
    return len({line.split(",")[0] for line in lines if line[0].isdigit()})


FORMATS = {"mot": "tracks.txt", "csv": "tracks.csv", "coco-video": "tracks.json", "yolo": "labels"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("pages", [0, 1, 2, 3])
def test_a_full_disk_leaves_whole_results_and_a_report(name, pages, long_clip, mot, small_disk):
    """However much there is beyond what the report takes: 60 frames of some 3 boxes are 8 kB."""
    out = small_disk / "out"
    video, detections = long_clip
    (small_disk / "filling").write_bytes(b"x" * (65536 - 4096 * (4 + pages)))
    words = ("--format", name, "--max-frames", 120)
    said = mot(*words, source=video, detections=detections, output=out, status=1)
    assert "disk full while writing" in said
    if not out.exists():
        assert "0 frames kept" in said
        return
    report = report_of(out)
    frames = report["frames"]
    assert frames < 120
    assert f"the results of {count(frames, 'frame', 'frames')} before it are in {out}" in said
    assert said == f"Error: {report['error']}\n"
    # Without an object there is no file of labels, and no row.
    assert whole(out, FORMATS[name]) <= frames
    left = {path.name for path in out.iterdir()}
    assert left == {"run.json", FORMATS[name]}


# Ctrl-C and SIGTERM, to a process of its own.


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory, clip):
    """The clip over and over, longer than any test waits, and its detections."""
    folder = tmp_path_factory.mktemp("long")
    repeats = 150
    video = motion_jpeg(folder / "long.avi", clip.source, FRAMES * repeats)
    lines = [line.split(",", 1) for line in clip.detections.read_text().splitlines()]
    rows = [f"{int(f) + FRAMES * n},{rest}\n" for n in range(repeats) for f, rest in lines]
    (folder / "det.txt").write_text("".join(rows))
    return video, folder / "det.txt"


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended by itself"
        assert time.monotonic() < end, "the run did not get going"
        time.sleep(0.02)


@contextmanager
def started(*arguments, **options):
    """`cli track` in a process of its own, on one thread."""
    code = "from unitrack_edge.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "track", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm", "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_killed_run_leaves_whole_rows_and_the_next_one_succeeds(long_clip, quick_bundle, here):
    video, detections = long_clip
    out = here / "out"
    rows, lines = out / "tracks.txt", here / "lines.jsonl"
    arguments = (video, "--task", "mot", "--bundle", quick_bundle.path, "--output", out)
    arguments += ("--detections", detections, "--save-video", "--threads", 1, *NETWORK)
    with started(*arguments, "--jsonl", lines, stderr=subprocess.PIPE) as process:
        wait_for(lambda: rows.exists() and rows.read_text().count("\n") >= 10, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    # Whole rows and whole lines; without run.json nothing takes it for a finished run.
    assert len(rows_of(out)) >= 10
    assert all(json.loads(line) for line in lines.read_text().splitlines())
    assert not (out / "run.json").exists()
    lines.unlink()
    run_cli("track", *arguments, "--jsonl", lines, "--max-frames", 3, "--overwrite")
    assert report_of(out)["frames"] == 3
    assert len(lines.read_text().splitlines()) == 3


def test_ctrl_c_keeps_everything_so_far(long_clip, quick_bundle, here):
    video, detections = long_clip
    out = here / "out"
    rows = out / "tracks.txt"
    with started(
        *(video, "--task", "mot", "--bundle", quick_bundle.path, "--detections", detections),
        *("--output", out, "--save-video", "--threads", 1, *NETWORK),
        stderr=subprocess.PIPE,
    ) as process:
        wait_for(lambda: rows.exists() and rows.read_text().count("\n") > 20, process)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == b""
    assert b"(interrupted)" in said
    report = report_of(out)
    frames = report["frames"]
    assert report["interrupted"] is True
    assert rows_of(out)[-1, 0] == frames < 1000
    assert len(video_of(out / "video.mp4")) == frames
    assert {path.name for path in out.iterdir()} == {"tracks.txt", "run.json", "video.mp4"}


def test_sigterm_does_the_same_and_progress_shows_on_a_terminal(
    long_clip, quick_bundle, here, clip
):
    video, _ = long_clip
    out = here / "out"
    main_end, their_end = os.openpty()
    seen = bytearray()

    def read_terminal():
        try:
            while data := os.read(main_end, 4096):
                seen.extend(data)
        except OSError:  # the other end is closed
            return

    reader = threading.Thread(target=read_terminal)
    with started(
        *(video, "--task", "vos", "--bundle", quick_bundle.path, "--init", clip.init_mask),
        *("--output", out, "--save-video", "--threads", 1),
        stderr=their_end,
    ) as process:
        reader.start()
        os.close(their_end)
        wait_for(lambda: b"FPS" in seen and (out / "masks" / "00009.png").exists(), process)
        # Twice, as `timeout` does.
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    reader.join()
    os.close(main_end)
    assert process.returncode == 143
    report = report_of(out)
    frames = report["frames"]
    assert report["interrupted"] is True
    names = sorted(path.name for path in (out / "masks").iterdir())
    assert names == [f"{index:05d}.png" for index in range(frames)]
    assert len(video_of(out / "video.mp4")) == frames
    text = seen.decode(errors="replace")
    assert "long.avi" in text
    assert "FPS" in text
    assert "tracked" in text


@pytest.mark.usefixtures("here")
def test_the_process_ends_with_the_status_and_one_line(clip):
    """What the tests above see through click's runner is what a shell sees."""
    with started(
        clip.source,
        "--task",
        "mot",
        "--bundle",
        "none",
        "--detector=motion",
        stderr=subprocess.PIPE,
    ) as process:
        said, errors = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"")
    check_error(errors.decode())
