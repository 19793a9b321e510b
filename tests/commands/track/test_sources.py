"""`cli track` on sources as people have them: their times, numbers and pixels reach the results."""

from __future__ import annotations

import json

import av
import cv2
import numpy as np
import pytest

from ...support.command_line import report_of, rows_of, run_cli
from ...support.video_files import write_video

SIZE_HW = (48, 64)
VARIABLE = [0.0, 0.04, 0.08, 0.5, 0.54, 1.2, 2.0, 2.04]


def scene(index):
    """Two squares that move towards one another."""
    image = np.full((*SIZE_HW, 3), 60, np.uint8)
    for x, y in ((4 + 2 * index, 6), (46 - 2 * index, 30)):
        image[y : y + 12, x : x + 12] = 200
    return image


def detections(path, frames):
    rows = [
        f"{n + 1},-1,{x + 1},{y + 1},12,12,0.9\n"
        for n in frames
        for x, y in ((4 + 2 * n, 6), (46 - 2 * n, 30))
    ]
    path.write_text("".join(rows))
    return path


@pytest.fixture
def track(lite_bundle, tmp_path):
    def run(source, *words, **kw):
        options = ("--task", "mot", "--bundle", lite_bundle.path, "--output", tmp_path / "out")
        size = ("--mot-height", SIZE_HW[0], "--mot-width", SIZE_HW[1], "--mot-min-area", 0)
        return run_cli("track", source, *options, *size, *words, **kw)

    return run


def test_a_variable_rate_reaches_lines_and_video(track, tmp_path):
    path = write_video(tmp_path / "a.mkv", [scene(n) for n in range(8)], times_s=VARIABLE, fps=25)
    lines, file = tmp_path / "t.jsonl", detections(tmp_path / "det.txt", range(8))
    track(path, "--detections", file, "--save-video", "--jsonl", lines)
    told = [json.loads(line)["time"] for line in lines.read_text().splitlines()]
    assert told == pytest.approx(VARIABLE, abs=0.0011)
    with av.open(str(tmp_path / "out" / "video.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [float(p.pts * p.time_base) for p in packets] == pytest.approx(VARIABLE, abs=0.0011)
    assert set(rows_of(tmp_path / "out")[:, 1]) == {1, 2}
    said = track(path, "--detections", file, "--fps", 10, "--overwrite", "--jsonl", lines)
    assert (
        "note: --fps 10 in place of the file's own times: 8 frames last 0.8 s, not 2.08 s" in said
    )
    told = [json.loads(line)["time"] for line in lines.read_text().splitlines()]
    assert told == pytest.approx([n / 10 for n in range(8)])


def test_numbers_of_images_are_those_of_detections(track, tmp_path):
    folder, file = tmp_path / "half", detections(tmp_path / "det.txt", range(8))
    folder.mkdir()
    for number in range(4, 9):
        cv2.imwrite(str(folder / f"{number:06d}.png"), scene(number - 1))
    said = track(folder, "--detections", file)
    rows = rows_of(tmp_path / "out")
    assert sorted(set(rows[:, 0])) == [4, 5, 6, 7, 8]
    for number, _, x, y, *_ in rows:
        assert abs(x - (4 + 2 * number - 1 if y < 20 else 46 - 2 * number + 3)) < 1.5
    assert "numbered by the names of the images, 4 to 8; 3 frames of" in said
    report = report_of(tmp_path / "out")
    assert "numbers" not in report["source"]
    assert any("4 to 8" in note for note in report["notes"])
    said = track(folder, "--detections", file, "--frame-numbers", "order", "--overwrite")
    assert set(rows_of(tmp_path / "out")[:, 0]) <= {1, 2, 3, 4, 5}
    assert report_of(tmp_path / "out")["config"]["sources"][0]["frame_numbers"] == "order"
    assert "detections for frames 6-8" in said


@pytest.mark.parametrize("form", ["png", "tif", "mkv"])
def test_counts_of_a_thermal_camera_are_seen(track, tmp_path, form):
    counts = [8000 + scene(n)[..., 0].astype(np.uint16) for n in range(16)]
    counts = [np.ascontiguousarray(image) for image in [counts[0]] * 10 + counts]
    source = tmp_path / f"a.{form}"
    if form == "png":
        source = tmp_path / "thermal"
        source.mkdir()
        for number, image in enumerate(counts, 1):
            cv2.imwrite(str(source / f"{number:06d}.png"), image)
    elif form == "tif":
        assert cv2.imwritemulti(str(source), counts)
    else:
        with av.open(str(source), "w") as container:
            video = container.add_stream("ffv1", rate=25)
            video.height, video.width = SIZE_HW
            video.pix_fmt = "gray16le"
            for image in counts:
                container.mux(video.encode(av.VideoFrame.from_ndarray(image, "gray16le")))
            container.mux(video.encode(None))
    said = track(source, "--detector", "motion")
    assert len(set(rows_of(tmp_path / "out")[:, 1])) >= 2
    assert said.count("note: pixels of 16 bits scaled from 8002.5-8257.5 to 0-255, what") == 1
    said = track(source, "--detector", "motion", "--range", "8000,8255", "--overwrite")
    assert "note: pixels of 16 bits scaled from 8000-8255 to 0-255\n" in said
    config = report_of(tmp_path / "out")["config"]["sources"][0]
    assert config["value_range"] == "8000,8255"


def test_too_few_frames_for_the_motion_detector_are_said(track, tmp_path):
    path = write_video(tmp_path / "a.mkv", [scene(n) for n in range(6)])
    assert "note: --detector motion reported nothing: its first 10 frames" in track(
        path, "--detector", "motion"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--range", "5"), "--range 5: expected LOW,HIGH"),
        (("--range", "0,5"), "--range belongs to grey video of 16 bits"),
        (("--frame-numbers", "name"), "no names of images that are told apart"),
    ],
)
def test_options_that_do_not_fit_are_one_line(track, tmp_path, words, message):
    path = write_video(tmp_path / "a.mkv", [scene(n) for n in range(2)])
    assert message in track(path, "--detector", "motion", *words, status=2)
