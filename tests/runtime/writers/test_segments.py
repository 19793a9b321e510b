"""Recording for days: segments, a kill, a disk that fills, and lines for programs."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import OutputError, RequestError
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.events import FrameEvent, StopRequest
from unitrack_edge.runtime.formats.davis import MaskWriter
from unitrack_edge.runtime.formats.jsonl import JsonLinesWriter, track_line
from unitrack_edge.runtime.formats.mot import MotWriter
from unitrack_edge.runtime.formats.rle import decode_rle
from unitrack_edge.runtime.server.launch import LiveRequest, open_live
from unitrack_edge.runtime.writers.base import Recording, Writer
from unitrack_edge.runtime.writers.run_folder import OutputFolder
from unitrack_edge.runtime.writers.segments import Segments, segment_path
from unitrack_edge.runtime.writers.video import VideoWriter

from ...support.servers.live_run import HEIGHT, WIDTH, event

FPS = 10.0


def drawn(image, _tracks):
    return image


def frame_at(index, fps=FPS):
    return event(index, fps=fps).frame


def track_at(index):
    return event(index).tracks["sot"]


def images_of(path):
    """Every image of a video, and its time in milliseconds."""
    capture, images, times = cv2.VideoCapture(str(path)), [], []
    while (read := capture.read())[0]:
        images.append(read[1])
        times.append(capture.get(cv2.CAP_PROP_POS_MSEC))
    return images, times


STATM = Path("/proc/self/statm")
TRIMS = os.name == "posix" and hasattr(ctypes.CDLL(None), "malloc_trim")


@pytest.mark.skipif(not (STATM.exists() and TRIMS), reason="memory is given back with glibc only")
def test_a_segment_that_ends_gives_back_the_memory_that_is_free(tmp_path):
    segments = Segments(tmp_path / "video.mp4", lambda path: VideoWriter(path, FPS, drawn), 0.02)
    segments.write(frame_at(0), track_at(0))
    # Too small for mappings of their own; the last one keeps the heap from shrinking at its end.
    arrays = [np.ones(60_000, np.uint8) for _ in range(1000)]
    del arrays[:-1]
    before = resident_mb()
    segments.write(frame_at(13), track_at(13))
    segments.close()
    assert before - resident_mb() > 40


def resident_mb():
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


# A video that may be killed.

CHILD = """
import sys, time
sys.path.insert(0, {root!r})
from unitrack_edge.runtime.writers.video import VideoWriter
from pathlib import Path
from tests.support.servers.live_run import event
writer = VideoWriter(Path(sys.argv[1]), 10.0, lambda image, _: image)
for index in range(10_000):
    writer.write(event(index, fps=10).frame, event(index).tracks["sot"])
    print(index + 1, flush=True)
"""


def test_a_killed_video_is_playable_up_to_the_last_frame(tmp_path):
    path = tmp_path / "video.mp4"
    code = CHILD.format(root=str(Path(__file__).parents[3]))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    )
    for line in child.stdout:
        if int(line) >= 57:
            child.send_signal(signal.SIGKILL)
            break
    written = int((line + child.stdout.read()).split()[-1])
    child.wait()
    images, times = images_of(path)
    assert written - 1 <= len(images) <= written + 1
    assert len(images) >= 56
    np.testing.assert_allclose(times, np.arange(len(images)) * 1000 / FPS, atol=1)
    for index in (0, 9, 10, 49):
        assert np.abs(images[index].astype(int) - frame_at(index).image).mean() < 3
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_is_playable_after_every_frame_and_every_byte_of_it_stays(tmp_path):
    path = tmp_path / "video.mp4"
    before = b""
    with VideoWriter(path, FPS, drawn) as writer:
        for index in range(25):
            writer.write(frame_at(index), track_at(index))
            if index:  # the newest waits for the next one, which tells how long it is shown
                assert len(images_of(path)[0]) == index
                assert path.read_bytes().startswith(before)
            before = path.read_bytes()
    assert path.read_bytes().startswith(before)
    assert len(images_of(path)[0]) == 25


def test_one_can_go_to_any_place_of_the_video(tmp_path):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, FPS, drawn) as writer:
        for index in range(40):
            writer.write(frame_at(index), track_at(index))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 40
    assert capture.get(cv2.CAP_PROP_FPS) == FPS
    for index in (35, 3, 20):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        assert np.abs(capture.read()[1].astype(int) - frame_at(index).image).mean() < 3


def test_the_same_frames_give_the_same_video(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / name, FPS, drawn) as writer:
            for index in range(12):
                writer.write(frame_at(index), track_at(index))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


# Segments.


def test_results_and_videos_are_cut_into_segments(tmp_path):
    def video(path):
        return VideoWriter(path, FPS, drawn)

    rows = Segments(tmp_path / "tracks.txt", MotWriter, 0.05)  # 3 s, 30 frames
    videos = Segments(tmp_path / "video.mp4", video, 0.05)
    with rows, videos:
        for index in [*range(35), *range(95, 100)]:  # the camera was away for the third segment
            for writer in (rows, videos):
                writer.write(frame_at(index), track_at(index))
    names = sorted(path.name for path in tmp_path.iterdir())
    numbers = ("0001", "0002", "0004")
    kinds = (("tracks", "txt"), ("video", "mp4"))
    assert names == [f"{kind}-{n}.{end}" for kind, end in kinds for n in numbers]
    lengths = [len((tmp_path / f"tracks-{n}.txt").read_text().splitlines()) for n in numbers]
    assert lengths == [30, 5, 5]
    assert [len(images_of(tmp_path / f"video-{n}.mp4")[0]) for n in numbers] == lengths
    assert (tmp_path / "tracks-0004.txt").read_text().startswith("96,7,")
    # Another run replaces them, and nothing else.
    (tmp_path / "tracks-mine.txt").write_text("kept")
    OutputFolder(tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["tracks-mine.txt"]


def test_masks_are_cut_into_segments(tmp_path):
    def labelled(index):
        labels = np.full((HEIGHT, WIDTH), 1, np.uint8)
        return Tracks(index, np.zeros(0, np.int64), Detections.empty(), labels)

    with Segments(tmp_path / "masks", MaskWriter, 0.05) as writer:
        for index in (0, 29, 30):
            writer.write(frame_at(index), labelled(index))
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert found == ["masks-0001/00000.png", "masks-0001/00029.png", "masks-0002/00030.png"]
    OutputFolder(tmp_path, overwrite=True).discard()
    assert not tmp_path.exists()


def test_a_clock_that_goes_back_stays_in_its_segment(tmp_path):
    with Segments(tmp_path / "tracks.txt", MotWriter, 0.05) as writer:
        for index in (31, 2, 32):
            writer.write(frame_at(index), track_at(index))
    assert [path.name for path in tmp_path.iterdir()] == ["tracks-0002.txt"]


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), float("inf"), 1e9])
def test_the_length_of_a_segment(tmp_path, minutes):
    with pytest.raises(RequestError, match="--segment"):
        Segments(tmp_path / "tracks.txt", MotWriter, minutes)
    assert segment_path(tmp_path / "masks", 12).name == "masks-0012"


# A disk that fills.


class Filling(Writer):
    def __init__(self, frames, at_close=False):
        self.frames, self.at_close, self.closed = frames, at_close, 0

    def write(self, frame, tracks):
        del frame, tracks
        if not self.frames:
            raise OutputError("disk full while writing video.mp4")
        self.frames -= 1

    def close(self):
        self.closed += 1
        if self.at_close:
            raise OutputError("disk full while writing video.mp4")


@pytest.mark.parametrize("at_close", [False, True])
def test_a_full_disk_ends_the_recording_and_is_said_once(at_close):
    said = []
    inner = Filling(3, at_close)
    with Recording(inner, said.append) as writer:
        for index in range(10):
            writer.write(frame_at(index), track_at(index))
            assert len(said) == (index >= 3)
    expected = "disk full while writing video.mp4; tracking continues without this recording"
    assert said == [expected]
    assert str(writer.error) == "disk full while writing video.mp4"
    assert inner.closed == 1


def test_a_recording_that_cannot_be_completed_is_said():
    said = []
    with Recording(Filling(99, at_close=True), said.append) as writer:
        writer.write(frame_at(0), track_at(0))
    assert len(said) == 1
    assert writer.error is not None


SMALL_DISK = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.support.servers.live_run import event
from unitrack_edge.runtime.server.launch import LiveRequest, open_live
from unitrack_edge.runtime.writers.base import Recording
from unitrack_edge.runtime.writers.video import VideoWriter
said = []
with Recording(VideoWriter(Path(sys.argv[1]), 10.0, lambda image, _: image), said.append) as writer:
    for index in range(300):
        writer.write(event(index).frame, event(index).tracks["sot"])
print(len(said), index, said[0])
"""


def test_a_disk_that_is_really_full(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48k", "unitrack", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small file system")
    try:
        path = disk / "video.mp4"
        code = SMALL_DISK.format(root=str(Path(__file__).parents[3]))
        ran = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
        )
        times, last, said = ran.stdout.strip().split(" ", 2)
        assert (times, last) == ("1", "299")
        assert said.startswith(f"disk full while writing {path}, ")
        kept = int(said.split(", ")[1].split()[0])
        assert 10 <= kept < 300
        assert len(images_of(path)[0]) == kept
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# Lines for programs.


def test_a_line_holds_everything(tmp_path):
    masks = np.zeros((2, 4, 5), np.bool_)
    masks[0, 1:3, 2:4] = True
    masks[1, 0, 0] = True
    points = np.array([[[1.23456, 2, 0.5]], [[0, np.nan, 0]]], np.float32)
    boxes = np.array([[2, 1, 4, 3], [0, 0, 1, 1]], np.float32)
    seen = Detections(boxes, np.array([0.12345, 1], np.float32), np.array([3, -1]), masks, points)
    frame = Frame(41, 1.23456, np.zeros((4, 5, 3), np.uint8))
    labels = np.array([[0, 9], [9, 9]], np.uint8)
    one = Detections(boxes[:1], np.ones(1, np.float32), np.zeros(1, np.int64))
    tracks = {
        "mots": Tracks(41, np.array([5, 6]), seen),
        "vos": Tracks(41, np.array([9]), one, labels),
    }
    line = track_line(FrameEvent("Tür 1", frame, tracks, {}, 12))
    assert line.count("\n") == 1
    data = json.loads(line)
    assert (data["source"], data["frame"], data["time"]) == ("Tür 1", 41, 1.2346)
    assert data["dropped"] == 12
    first, second, third = data["tracks"]
    assert (first["task"], first["id"], first["class"], first["score"]) == ("mots", 5, 3, 0.1235)
    assert first["box"] == [2, 1, 4, 3]
    assert first["keypoints"] == [[1.235, 2, 0.5]]
    assert second["keypoints"] == [[0, 0, 0]]
    for row, mask in ((first, masks[0]), (second, masks[1]), (third, labels == 9)):
        got = decode_rle(row["mask"]["counts"], tuple(row["mask"]["size"]))
        np.testing.assert_array_equal(got, mask)
    path = tmp_path / "a.jsonl"
    with JsonLinesWriter(str(path)) as lines:
        lines.on_frame(event(0))
        assert path.read_text() == track_line(event(0))  # at once
        lines.on_frame(event(1))
        lines.on_frame(event(2, "yard"))
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    assert [(row["source"], row["frame"]) for row in rows] == [
        ("door", 0),
        ("door", 1),
        ("yard", 2),
    ]


def test_lines_that_cannot_be_written(tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*none/a\.jsonl: No such file"):
        JsonLinesWriter(str(tmp_path / "none" / "a.jsonl"))
    said = []
    with JsonLinesWriter("/dev/full", say=said.append) as lines:
        for index in range(3):
            lines.on_frame(event(index))
        assert "disk full while writing /dev/full, 0 frames kept" in str(lines.error)
    assert said == [f"{lines.error}; tracking continues, lines are lost"]
    assert lines.lost == 3


def test_lines_without_a_reader_end_the_run(monkeypatch):
    reader, writer = os.pipe()
    gone = []
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with JsonLinesWriter("-", lambda: gone.append(1)) as lines:
            lines.on_frame(event(0))
            assert json.loads(os.read(reader, 10_000))["frame"] == 0
            os.close(reader)
            assert gone == []
            start = time.monotonic()
            lines.on_frame(event(1))
            lines.on_frame(event(2))
            assert time.monotonic() - start < 1
        assert gone == [1]
        assert "has no reader any more" in str(lines.error)


def test_a_run_whose_lines_have_no_reader_ends_as_by_sigterm(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out, StopRequest() as stop:
        monkeypatch.setattr(sys, "stdout", out)
        with open_live(LiveRequest(jsonl="-"), [].append) as live:
            assert not stop.is_set
            live.listeners[0].on_frame(event(0))
            live.listeners[0].on_frame(event(1))  # a second signal would interrupt at once
        assert stop.is_set
