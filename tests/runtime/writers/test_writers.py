"""Result files: MOTChallenge rows, label maps, video, JSON, and what a full disk leaves of them."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from unitrack_edge.errors import OutputError
from unitrack_edge.records import Detections, Frame, Tracks
from unitrack_edge.runtime.drawing.colors import davis_palette
from unitrack_edge.runtime.formats.davis import MaskWriter, read_label_png
from unitrack_edge.runtime.formats.mot import MotWriter, read_mot
from unitrack_edge.runtime.writers.base import output_error, write_atomic, write_json_atomic
from unitrack_edge.runtime.writers.run_folder import OutputFolder
from unitrack_edge.runtime.writers.video import VideoWriter


def make_frame(index=0, height=48, width=64, fps=25):
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2] = 12 * index % 256
    return Frame(index, index / fps, image)


def make_tracks(index=0, boxes=((10, 20, 40.5, 45.126),), ids=(3,), scores=(0.5,), classes=(0,)):
    seen = Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )
    return Tracks(index, np.array(ids, np.int64), seen)


def labelled(index, labels):
    empty = Tracks(0, np.zeros(0, np.int64))
    return Tracks(index, empty.ids, empty.detections, labels)


def no_tracks(index=0):
    return make_tracks(index, (), (), (), ())


def drawn(image, _tracks):
    return image.copy()


def frames_of(path):
    capture = cv2.VideoCapture(str(path))
    images = []
    while (read := capture.read())[0]:
        images.append(read[1])
    return images


def test_rows_are_one_based(tmp_path):
    path = tmp_path / "tracks.txt"
    with MotWriter(path) as writer:
        writer.write(make_frame(0), make_tracks(0))
        writer.write(make_frame(1), no_tracks(1))
        two = ((0, 0, 1, 1), (-1.001, -3, 20, 30)), (1, 12), (51.818, -0.00001), (0, 2)
        writer.write(make_frame(4), make_tracks(4, *two))
    assert path.read_text() == (
        "1,3,11.00,21.00,30.50,25.13,0.5000,0,-1\n"
        "5,1,1.00,1.00,1.00,1.00,51.8180,0,-1\n"
        "5,12,0.00,-2.00,21.00,33.00,0.0000,2,-1\n"
    )


def test_rows_come_back_as_the_boxes_they_were(tmp_path):
    path = tmp_path / "tracks.txt"
    with MotWriter(path) as writer:
        writer.write(make_frame(2), make_tracks(2))
    back = read_mot(path).detect(make_frame(2))
    np.testing.assert_allclose(back.boxes_xyxy, [[10, 20, 40.5, 45.13]], rtol=0, atol=1e-4)


def test_rows_are_on_the_disk_at_once(tmp_path):
    writer = MotWriter(tmp_path / "tracks.txt")
    writer.write(make_frame(0), make_tracks(0))
    assert (tmp_path / "tracks.txt").read_text().count("\n") == 1
    writer.close()
    writer.close()


def test_same_tracks_same_bytes(tmp_path):
    boxes = np.random.default_rng(0).uniform(0, 50, (20, 2))
    boxes = np.concatenate((boxes, boxes + 7), axis=1)
    scores = np.linspace(0, 1, 20)
    for name in ("a.txt", "b.txt"):
        with MotWriter(tmp_path / name) as writer:
            writer.write(make_frame(), make_tracks(0, boxes, range(1, 21), scores, [0] * 20))
    assert (tmp_path / "a.txt").read_bytes() == (tmp_path / "b.txt").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_rows_on_a_full_disk():
    with MotWriter(Path("/dev/full")) as writer:
        writer.write(make_frame(0), no_tracks())  # nothing to write, nothing to fail
        with pytest.raises(OutputError, match="disk full while writing /dev/full, 1 frames kept"):
            writer.write(make_frame(1), make_tracks(1))


LIMITED = """
import resource, sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.runtime.writers.test_writers import *
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
path = Path(sys.argv[1])
try:
    {body}
except OutputError as error:
    print(error)
"""


def run_limited(body, path, limit):
    """Runs code in a process whose files may only grow to a limit."""
    pytest.importorskip("resource", reason="no file size limits on this system")
    code = LIMITED.format(root=str(Path(__file__).parents[3]), body=body)
    ran = subprocess.run(
        [sys.executable, "-c", code, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.strip()


def test_rows_up_to_a_limit_are_whole(tmp_path):
    path = tmp_path / "tracks.txt"
    body = (
        "writer = MotWriter(path)\n"
        "    for i in range(50): writer.write(make_frame(i), make_tracks(i))"
    )
    said = run_limited(body, path, 1000)
    kept = path.read_text()
    count = kept.count("\n")
    assert count > 20
    assert kept.endswith(",0,-1\n")
    assert said.startswith(f"disk full while writing {path}, {count} frames kept")
    assert "\n" not in said


def test_masks_up_to_a_limit_are_whole(tmp_path):
    body = (
        "writer = MaskWriter(path)\n"
        "    for i in range(5):\n"
        "        noise = np.random.default_rng(i).integers(0, 200, (48, 64), dtype=np.uint8)\n"
        "        labels = noise if i == 3 else np.full((48, 64), i, np.uint8)\n"
        "        writer.write(make_frame(i), labelled(i, labels))"
    )
    said = run_limited(body, tmp_path / "masks", 2000)
    assert "disk full while writing" in said
    assert "00003.png, 3 frames kept" in said
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]


def test_video_up_to_a_limit_is_playable(tmp_path):
    path = tmp_path / "video.mp4"
    body = (
        "with VideoWriter(path, 5, drawn) as writer:\n"
        "        for i in range(60): writer.write(make_frame(i, 240, 320, 5), no_tracks(i))"
    )
    said = run_limited(body, path, 400_000)
    kept = len(frames_of(path))
    assert 5 <= kept < 60
    assert path.stat().st_size <= 400_000
    assert said.startswith(f"disk full while writing {path}, {kept} frames kept")
    assert list(tmp_path.iterdir()) == [path]


def test_masks(tmp_path):
    folder = tmp_path / "deep" / "masks"
    labels = np.zeros((48, 64), np.uint8)
    labels[10:20, 5:30] = 7
    with MaskWriter(folder) as writer:
        writer.write(make_frame(0), labelled(0, labels))
        writer.write(make_frame(12), labelled(12, labels * 2))
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00012.png"]
    np.testing.assert_array_equal(read_label_png(folder / "00012.png"), labels * 2)
    colours = cv2.imread(str(folder / "00000.png"))[..., ::-1]
    np.testing.assert_array_equal(colours, davis_palette()[labels])


def test_masks_of_the_wrong_kind(tmp_path):
    with MaskWriter(tmp_path / "masks") as writer:
        with pytest.raises(OutputError, match="no label map"):
            writer.write(make_frame(), no_tracks())
        with pytest.raises(OutputError, match=r"of \(3, 3\), expected one of \(48, 64\)"):
            writer.write(make_frame(), labelled(0, np.zeros((3, 3), np.uint8)))


@pytest.mark.parametrize(("height", "width"), [(48, 64), (49, 65), (49, 64), (1, 1)])
def test_video_of_even_and_odd_sizes(tmp_path, height, width):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 12.5, drawn) as writer:
        assert list(tmp_path.iterdir()) == []
        for index in range(9):
            writer.write(make_frame(index, height, width, 12.5), no_tracks(index))
    assert [entry.name for entry in tmp_path.iterdir()] == ["video.mp4"]
    images = frames_of(path)
    assert len(images) == 9
    assert images[0].shape == (height + height % 2, width + width % 2, 3)
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    if height > 1:
        levels = [image[4:16, 4:-4].mean() for image in images]
        np.testing.assert_allclose(levels, [12 * index for index in range(9)], atol=8)


def test_video_shows_what_was_drawn(tmp_path):
    def blue(image, tracks):
        assert tracks.frame_index == 0
        return np.full_like(image, (255, 0, 0))

    frame = make_frame(0)
    before = frame.image.copy()
    with VideoWriter(tmp_path / "video.mp4", 25, blue) as writer:
        writer.write(frame, no_tracks())
    np.testing.assert_array_equal(frame.image, before)
    colour = frames_of(tmp_path / "video.mp4")[0].mean(axis=(0, 1))
    np.testing.assert_allclose(colour, (255, 0, 0), atol=6)


def test_video_after_ctrl_c_is_playable(tmp_path):
    path = tmp_path / "video.mp4"
    frames = [make_frame(index) for index in range(6)]

    def interrupted():
        with VideoWriter(path, 25, drawn) as writer:
            for frame in frames:
                writer.write(frame, no_tracks(frame.index))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(frames_of(path)) == 6


@pytest.mark.parametrize("fps", [29.97002997, 23.976, 66.66667, 119.88, 0.5])
def test_video_takes_any_frame_rate(tmp_path, fps):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, fps, drawn) as writer:
        for index in range(3):
            writer.write(make_frame(index, fps=fps), no_tracks(index))
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == pytest.approx(fps, abs=0.006)


@pytest.mark.parametrize("start_s", [0.0, 5000.0])
def test_video_has_the_times_of_its_frames(tmp_path, start_s):
    path, times_s = tmp_path / "video.mp4", [0.0, 0.04, 0.5, 0.5, 2.0, 1.9, 4.0]
    with VideoWriter(path, 25, drawn) as writer:
        for index, time_s in enumerate(times_s):
            image = make_frame(index).image
            writer.write(Frame(index, start_s + time_s, image), no_tracks(index))
    with av.open(str(path)) as container:
        (stream,) = container.streams
        assert (stream.codec.name, stream.format.name) == ("h264", "yuv420p")
        packets = [packet for packet in container.demux() if packet.size]
    expected = [0.0, 0.04, 0.5, 0.5 + 1 / 90_000, 2.0, 2.0 + 1 / 90_000, 4.0]
    times = [float(packet.pts * packet.time_base) for packet in packets]
    assert times == pytest.approx(expected, abs=1e-6)
    ends = times[-1] + float(packets[-1].duration * packets[-1].time_base)
    assert ends == pytest.approx(4.04)  # the last one is shown for a usual while
    assert [packet.is_keyframe for packet in packets] == [True, *[False] * 3, True, False, True]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf")])
def test_video_needs_a_frame_rate(tmp_path, fps):
    with pytest.raises(OutputError, match="frame rate"):
        VideoWriter(tmp_path / "video.mp4", fps, drawn)


def test_video_that_cannot_be_opened(tmp_path):
    with (
        VideoWriter(tmp_path / "none" / "video.mp4", 25, drawn) as writer,
        pytest.raises(OutputError, match=r"cannot write .*video\.mp4: No such file"),
    ):
        writer.write(make_frame(), no_tracks())
    with (
        VideoWriter(tmp_path / "video.mp4", 25, drawn) as writer,
        pytest.raises(OutputError, match=r"too large for an H\.264 video"),
    ):
        writer.write(make_frame(0, 2, 16_400), no_tracks())
    assert list(tmp_path.iterdir()) == []


def test_video_fits_another_size_into_the_first(tmp_path):
    def white(image, _tracks):
        return np.full_like(image, 255)

    with VideoWriter(tmp_path / "video.mp4", 25, white) as writer:
        writer.write(make_frame(0), no_tracks())
        writer.write(make_frame(1, 96, 64), no_tracks(1))
    first, second = frames_of(tmp_path / "video.mp4")
    assert first.shape == second.shape == (48, 64, 3)
    assert first.mean() > 250
    assert second[:, 20:44].mean() > 240
    assert second[:, :14].mean() < 10


def test_json(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    write_json_atomic(path, {"z": np.float32(0.5), "a": np.arange(2), "p": Path("x"), "é": None})
    assert path.read_text().startswith('{\n  "z": 0.5,')
    assert json.loads(path.read_text()) == {"z": 0.5, "a": [0, 1], "p": "x", "é": None}
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    for bad in (float("nan"), {1, 2}):
        with pytest.raises(OutputError, match=r"run\.json"):
            write_json_atomic(path, bad)
    assert json.loads(path.read_text())["p"] == "x"


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.json"
    path.write_text("old")

    def full(self, _data):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"disk full while writing .*run\.json, 4 frames kept;"):
        write_atomic(path, b"new", 4)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.json"]
    assert str(output_error(path, OSError(errno.EACCES, "Permission denied"))) == (
        f"cannot write {path}: Permission denied"
    )


def test_output_folder(tmp_path):
    path = tmp_path / "a" / "b"
    assert OutputFolder(path).path.is_dir()
    OutputFolder(path)  # empty is as good as new
    ours = ["tracks.txt", "run.json", "video.mp4", "video.partial.mp4", "run.json.partial"]
    ours += ["masks/00000.png", "masks/100000.png"]
    others = ["notes.txt", "masks/readme.png", "tracks.txt.bak", "masks/0.png"]
    (path / "masks").mkdir()
    for name in ours + others:
        (path / name).write_text("x")
    with pytest.raises(OutputError, match=r"is not empty; .*--overwrite"):
        OutputFolder(path)
    OutputFolder(path, overwrite=True)
    left = sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    assert left == sorted(others)


def test_output_folder_does_not_reach_through_links(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "00000.png").write_text("x")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "masks").symlink_to(elsewhere)
    OutputFolder(tmp_path / "out", overwrite=True)
    assert (elsewhere / "00000.png").exists()


def test_output_folder_in_the_way(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OutputError, match="a file is in the way"):
            OutputFolder(path, overwrite=True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs rights to be withheld")
def test_output_folder_without_rights(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        OutputFolder(tmp_path / "out")
    tmp_path.chmod(0o700)
