"""Files that failed once, where they lie beside the repository; each stands for a kind."""

from __future__ import annotations

import contextlib
import runpy
import shutil
import socket
import subprocess
import sys
import time
from itertools import islice

import numpy as np
import pytest
from unitrack_edge.runtime.detectors.motion import MotionDetector
from unitrack_edge.runtime.formats.detections import open_detections
from unitrack_edge.runtime.prompts.mask import labels_to_start
from unitrack_edge.runtime.sources.base import LiveOptions
from unitrack_edge.runtime.sources.image_files.numbering import numbered
from unitrack_edge.runtime.sources.open import open_source

from ...conftest import DATA


@pytest.fixture
def cases():
    folder = DATA.parent / "cases"
    if not folder.is_dir():
        pytest.skip("no folder 'cases' beside that of real sequences")
    return folder


@pytest.mark.parametrize(
    ("name", "count", "end_s"),
    [("vfr.mkv", 20, 4.0), ("c_av1.mkv", 6, None), ("anim.png", 6, None)],
)
def test_every_frame_at_its_time(cases, name, count, end_s):
    with open_source(str(cases / name)) as source:
        frames = list(source)
        assert (source.ended_early, source.notes()) == (None, [])
    assert len(frames) == count
    times = [frame.time_s for frame in frames]
    assert (np.diff(times) > 0).all()
    assert end_s is None or times[-1] == pytest.approx(end_s, abs=0.001)


def test_a_half_with_the_detections_of_the_whole(cases):
    with (
        open_source(str(cases / "half")) as source,
        open_detections(cases / "small_det.txt") as detector,
    ):
        files = [("small_det.txt", detector.numbered_frames())]
        frames = list(numbered(source, None, files))
        assert [frame.index for frame in frames] == [3, 4, 5]
        assert [len(detector.detect(frame)) for frame in frames] == [2, 2, 2]


@pytest.mark.parametrize(
    ("name", "expected", "note"),
    [
        ("small_det.txt", 12, ""),
        ("dup.txt", 12, "12 duplicated boxes of"),
        ("header.txt", 12, ""),
        ("zerow.txt", 12, "1 damaged row left out (at line 13)"),
        ("yolodir", 12, ""),
        ("coco_empty.json", 0, "holds no detections"),
        ("alphapose.json", 12, ""),
    ],
)
def test_detections_of_every_frame(cases, name, expected, note):
    with open_source(str(cases / "small.mp4")) as source, open_detections(cases / name) as file:
        found = [file.detect(frame) for frame in source]
        said = file.notes(6)
    assert [len(seen) for seen in found] == [expected // 6] * 6
    assert (len(said), note in "".join(said)) == (bool(note), True)
    assert all((seen.keypoints is not None) == (name == "alphapose.json") for seen in found)


def test_counts_of_a_thermal_camera(cases, tmp_path, monkeypatch):
    """Two objects move in it; as bytes, they stand out as in the 8-bit video."""
    shutil.copy(cases / "street.mp4", tmp_path)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(cases / "thermal.py"))
    with open_source(str(tmp_path / "thermal14")) as source, MotionDetector() as detector:
        counts = [len(detector.detect(frame)) for frame in source]
        assert "pixels of 16 bits scaled from" in source.notes()[0]
    assert np.median(counts[10:]) == 2


def test_a_camera_that_gives_one_image_a_request(cases, tmp_path):
    code = (cases / "snap.py").read_text()
    assert "8099" in code
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = tmp_path / "snap.py"
    path.write_text(code.replace("8099", str(port)))
    with subprocess.Popen([sys.executable, str(path)], cwd=cases) as server:
        try:
            options = LiveOptions(notify=lambda kind, text: said.append((kind, text)))
            said = []
            for _ in range(100):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 0.2).close()
                    break
                time.sleep(0.1)
            with open_source(f"http://127.0.0.1:{port}/snap.jpg", options=options) as source:
                frames = list(islice(source, 5))
        finally:
            server.kill()
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})
    assert len({frame.image.tobytes() for frame in frames}) > 1
    assert said == []


def test_void_is_no_object(cases):
    with open_source(str(cases / "small.mp4")) as source:
        labels, _ = labels_to_start(str(cases / "mask_void.png"), source.info.size_hw)
    assert 255 not in labels
    assert labels.any()
