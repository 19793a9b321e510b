"""The written video has its source's times, and plays in a browser."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest
from unitrack_edge.records import Tracks
from unitrack_edge.runtime.sources.open import open_source
from unitrack_edge.runtime.writers.segments import Segments
from unitrack_edge.runtime.writers.video import VideoWriter

from ...support.servers.browser import Browser
from ...support.video_files import grey_levels, level_of, write_video

VARIABLE = [0.0, 0.04, 0.08, 0.5, 0.54, 0.9, 1.6, 2.0, 2.04, 2.8]
JITTER = [n / 25 + (0.011 if n % 3 else 0.0) for n in range(10)]
TELECINE = [(n * 5 // 4) / 30 for n in range(10)]  # 24 pictures a second in a grid of 30
RATES = {"variable": VARIABLE, "jitter": JITTER, "telecine": TELECINE}


def written(source, path, **segments):
    """Copies a source as a run without tracks does."""

    def make(path):
        return VideoWriter(path, source.info.fps or 25.0, lambda image, _tracks: image)

    with Segments(path, make, **segments) if segments else make(path) as writer:
        for frame in source:
            writer.write(frame, Tracks(frame.index, np.zeros(0, np.int64)))
    return path


def times_of(path):
    """Times of a video's frames and its end, in seconds."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    starts = [float(packet.pts * packet.time_base) for packet in packets]
    return starts, starts[-1] + float(packets[-1].duration * packets[-1].time_base)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "webm"])
@pytest.mark.parametrize("rate", RATES)
def test_as_long_as_the_source(tmp_path, suffix, rate):
    times_s = RATES[rate]
    codec = "libvpx" if suffix == "webm" else "libx264"
    path = write_video(tmp_path / f"a.{suffix}", grey_levels(10), codec, times_s=times_s, fps=25)
    with open_source(str(path)) as source:
        starts, end_s = times_of(written(source, tmp_path / "video.mp4"))
    assert starts == pytest.approx(times_s, abs=0.0011)
    longest_s = max(np.diff(times_s))
    assert times_s[-1] < end_s <= times_s[-1] + longest_s + 0.001


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 10, 60])
def test_constant_rates_keep_theirs(tmp_path, fps):
    path = write_video(tmp_path / "a.mp4", grey_levels(8), fps=fps)
    with open_source(str(path)) as source:
        starts, end_s = times_of(written(source, tmp_path / "video.mp4"))
    assert starts == pytest.approx([n / float(fps) for n in range(8)], abs=1e-4)
    assert end_s == pytest.approx(8 / float(fps), abs=1e-4)
    with open_source(str(path), fps=5) as source:
        starts, end_s = times_of(written(source, tmp_path / "other.mp4"))
        (note,) = source.notes()
    assert end_s == pytest.approx(8 / 5, abs=1e-4)
    assert note.startswith("--fps 5 in place of the file's own times: 8 frames last 1.6 s, not ")


def test_segments_are_cut_at_the_source_s_times(tmp_path):
    path = write_video(tmp_path / "a.mkv", grey_levels(10), times_s=VARIABLE)
    with open_source(str(path)) as source:
        written(source, tmp_path / "video.mp4", minutes=1 / 60)
    found = {}
    for part in sorted(tmp_path.glob("video-*.mp4")):
        with open_source(str(part)) as source:
            found[part.stem[-4:]] = [level_of(frame.image) for frame in source]
    assert found == {"0001": [0, 1, 2, 3, 4, 5], "0002": [6], "0003": [7, 8, 9]}


@pytest.mark.timeout(120)
def test_a_browser_plays_it(tmp_path):
    path = write_video(tmp_path / "a.mkv", grey_levels(10, (47, 65)), "ffv1", times_s=VARIABLE)
    with open_source(str(path)) as source:
        written(source, tmp_path / "video.mp4")
    page = tmp_path / "page.html"
    page.write_text('<video src="video.mp4" muted preload="auto"></video>')
    video = "document.querySelector('video')"
    with Browser(page.as_uri()) as browser:
        browser.until(f"{video} && {video}.readyState >= 2 && !{video}.error")
        assert browser.value(f"[{video}.videoWidth, {video}.videoHeight]") == [66, 48]
        assert browser.value(f"{video}.duration") == pytest.approx(2.84, abs=0.8)
        browser.value(f"{video}.play().then(() => true)")
        browser.until(f"{video}.currentTime > 0.5")
        browser.value(f"{video}.pause(), {video}.currentTime = 2.4, true")
        browser.until(f"!{video}.seeking && {video}.readyState >= 2")
        # What it shows there is the ninth frame, which stays for 0.76 s.
        brightness = (
            "(() => { const c = document.createElement('canvas'); c.width = c.height = 8;"
            f"const d = c.getContext('2d'); d.drawImage({video}, 0, 0, 8, 8);"
            "return d.getImageData(4, 4, 1, 1).data[0] })()"
        )
        try:
            shown = browser.value(brightness)
        except AssertionError:  # a page of a file may not look into another file
            return
        assert round((shown - 30) / 12) == 8
