"""Recordings that outlive a full disk: they go on with the next segment, and count what is lost."""

import errno
import itertools

import cv2
import numpy as np
import pytest
from unitrack_edge.errors import OutputError
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.formats.mot import MotWriter
from unitrack_edge.runtime.writers.base import Recording, output_error
from unitrack_edge.runtime.writers.segments import Segments
from unitrack_edge.runtime.writers.video import VideoWriter

MINUTES = 0.1  # 6 s, 6 frames of the ones below
IMAGE = np.zeros((16, 16, 3), np.uint8)


def frame(number):
    return Frame(number, float(number), IMAGE)


def tracks(number):
    box = np.array([[1, 2, 11, 12]], np.float32)
    seen = Detections(box, np.array([0.5], np.float32), np.zeros(1, np.int64))
    return Tracks(number, np.array([1]), seen)


class Disk:
    """A disk that is full at some times: `full` holds the frames that find it so."""

    def __init__(self, full):
        self.full = set(full)
        self.files = {}

    def make(self, path):
        return DiskFile(self, path)


class DiskFile:
    def __init__(self, disk, path):
        self._disk, self._path = disk, path
        disk.files[path.name] = []

    def write(self, frame, _tracks):
        if frame.index in self._disk.full:
            raise output_error(self._path, OSError(errno.ENOSPC, "No space left on device"), 0)
        self._disk.files[self._path.name].append(frame.index)

    def close(self):
        pass


def record(disk, folder, frames=36):
    said = []
    segments = Segments(folder / "tracks.txt", disk.make, MINUTES)
    recording = Recording(segments, said.append, segments.number_of)
    for number in range(frames):
        recording.write(frame(number), tracks(number))
    recording.close()
    return recording, said


def test_three_times_full_and_freed(tmp_path):
    # Full from the third frame of segments 1, 3 and 5 on; free again in the next one.
    full = [n for n in range(36) if n // 6 in (0, 2, 4) and n % 6 >= 2]
    disk = Disk(full)
    recording, said = record(disk, tmp_path)
    kept = sorted(itertools.chain(*disk.files.values()))
    assert kept == sorted(set(range(36)) - set(full))
    assert recording.lost == len(full) == 12
    assert [("disk full" in line, "goes on" in line) for line in said] == [
        (True, False),
        (False, True),
    ] * 3
    assert "until the next segment" in said[0]
    assert "goes on at frame 6; 4 frames lost" in said[1]


def test_a_disk_that_is_freed_within_a_segment_gets_no_half_of_it(tmp_path):
    disk = Disk([2])  # free again at frame 3
    recording, _ = record(disk, tmp_path, frames=12)
    assert disk.files["tracks-0001.txt"] == [0, 1]
    assert disk.files["tracks-0002.txt"] == list(range(6, 12))
    assert recording.lost == 4


def test_a_disk_that_stays_full_is_said_once(tmp_path):
    disk = Disk(range(3, 100))
    recording, said = record(disk, tmp_path)
    assert len(said) == 1
    assert recording.lost == 33


def test_a_segment_that_cannot_be_begun_is_lost_and_the_next_one_is_tried(tmp_path):
    disk = Disk([])
    failing = iter([False, True, False])

    def make(path):
        if next(failing):
            raise OutputError("no space for another file")
        return disk.make(path)

    segments = Segments(tmp_path / "tracks.txt", make, MINUTES)
    said = []
    with Recording(segments, said.append, segments.number_of) as recording:
        for number in range(18):
            recording.write(frame(number), tracks(number))
    assert recording.lost == 6
    assert sorted(disk.files) == ["tracks-0001.txt", "tracks-0003.txt"]


def test_without_segments_a_failed_recording_stays_stopped(tmp_path):
    disk, said = Disk([3]), []
    with Recording(disk.make(tmp_path / "video.mp4"), said.append) as recording:
        for number in range(6):
            recording.write(frame(number), tracks(number))
    assert disk.files["video.mp4"] == [0, 1, 2]
    assert (recording.lost, len(said)) == (3, 1)


@pytest.mark.parametrize("name", ["tracks.txt", "video.mp4"])
def test_real_writers_leave_whole_segments(name, tmp_path):
    writers = {
        "tracks.txt": MotWriter,
        "video.mp4": lambda path: VideoWriter(path, 1.0, lambda image, _tracks: image),
    }
    fails = iter([None, OSError(errno.ENOSPC, "No space left on device"), None])

    def make(path):
        writer, error = writers[name](path), next(fails)
        if error is not None:

            def refuse(_frame, _tracks):
                raise output_error(path, error)

            writer.write = refuse
        return writer

    segments = Segments(tmp_path / name, make, MINUTES)
    with Recording(segments, lambda _line: None, segments.number_of) as recording:
        for number in range(18):
            recording.write(frame(number), tracks(number))
    stem, suffix = name.split(".")
    assert recording.lost == 6
    assert (tmp_path / f"{stem}-0001.{suffix}").stat().st_size > 0
    assert (tmp_path / f"{stem}-0003.{suffix}").stat().st_size > 0


def test_every_frame_is_in_a_video_or_counted_as_lost(tmp_path, monkeypatch):
    from unitrack_edge.runtime.writers import video

    disk_is_full, real = [False], video._File.write

    def write(file, data):
        if disk_is_full[0]:
            file.error = OSError(errno.ENOSPC, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(video._File, "write", write)
    said = []
    segments = Segments(
        tmp_path / "video.mp4", lambda path: VideoWriter(path, 1.0, lambda i, _: i), MINUTES
    )
    with Recording(segments, said.append, segments.number_of) as recording:
        for number in range(36):
            disk_is_full[0] = number in (3, 4, 14, 15, 16, 26)
            recording.write(frame(number), tracks(number))
    assert images_in(tmp_path) == 36 - recording.lost
    assert sum(int(line.split()[-3]) for line in said if "goes on" in line) == recording.lost
    # Of frames 0 to 5, 3 to 5 and the one that FFmpeg still had.
    assert recording.lost == 4 + 5 + 5


def images_in(folder):
    """Of all videos."""
    count = 0
    for path in folder.glob("*.mp4"):
        capture = cv2.VideoCapture(str(path))
        while capture.read()[0]:
            count += 1
    return count


@pytest.mark.parametrize("place", ["open", "encode", "finish"])
def test_what_the_encoder_lacks_ends_a_segment_and_not_the_run(place, tmp_path, monkeypatch):
    """Descriptors or memory that others took: the error is FFmpeg's, and not of a file."""
    av = pytest.importorskip("av")
    from unitrack_edge.runtime.writers import video

    failing = {"open": 1, "encode": 8, "finish": 1}[place]
    name = {"open": "__init__", "encode": "add", "finish": "finish"}[place]
    real, calls = getattr(video._FragmentedMp4, name), itertools.count()

    def lacking(*arguments):
        if next(calls) == failing:
            raise av.error.FFmpegError(24, "Too many open files")
        return real(*arguments)

    monkeypatch.setattr(video._FragmentedMp4, name, lacking)
    said = []
    segments = Segments(
        tmp_path / "video.mp4", lambda path: VideoWriter(path, 1.0, lambda i, _: i), MINUTES
    )
    with Recording(segments, said.append, segments.number_of) as recording:
        for number in range(18):
            recording.write(frame(number), tracks(number))
    # What cannot be completed has lost its last frame, and the next segment nothing.
    assert recording.lost == {"open": 6, "encode": 5, "finish": 1}[place]
    assert images_in(tmp_path) == 18 - recording.lost
    assert "cannot encode" in said[0]
    assert "Too many open files" in said[0]
    assert (tmp_path / "video-0003.mp4").stat().st_size > 0
