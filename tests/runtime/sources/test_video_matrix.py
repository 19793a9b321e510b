"""Containers, codecs, pixel formats and rates: each frame and its time as they were written."""

from __future__ import annotations

from fractions import Fraction

import pytest
from unitrack_edge.runtime.sources.open import open_source

from ...support.video_files import grey_levels, level_of, write_video

X265 = {"x265-params": "log-level=none"}
REALTIME = {"deadline": "realtime"}
FRAGMENTS = {"container": {"movflags": "frag_keyframe+empty_moov"}}

# Suffix, codec, pixel format, and what else is asked of the encoder.
KINDS = [
    ("mp4", "libx264", "yuv420p", {}),
    ("mp4", "libx264", "yuv420p", FRAGMENTS),
    ("mp4", "libx264", "yuv420p10le", {"bf": 3}),
    ("mp4", "libx264", "yuvj420p", {"bf": 0}),
    ("mp4", "libx265", "yuv420p", X265),
    ("mp4", "libsvtav1", "yuv420p", {"preset": 12}),
    ("mp4", "libvpx-vp9", "yuv420p", REALTIME),
    ("mp4", "mpeg4", "yuv420p", {}),
    ("mov", "libx264", "yuv422p10le", {}),
    ("mov", "prores_ks", "yuv422p10le", {}),
    ("mov", "prores_ks", "yuva444p10le", {"profile": 4}),
    ("mov", "qtrle", "rgb24", {}),
    ("mov", "png", "rgb24", {}),
    ("mov", "mjpeg", "yuvj420p", {}),
    ("mkv", "libx264", "yuv444p", {}),
    ("mkv", "libx265", "yuv420p10le", X265),
    ("mkv", "libsvtav1", "yuv420p10le", {"preset": 12}),
    ("mkv", "mpeg4", "yuv420p", {"bf": 2}),
    ("mkv", "ffv1", "bgra", {}),
    ("mkv", "ffv1", "gbrp12le", {}),
    ("mkv", "rawvideo", "yuv420p", {}),
    ("webm", "libvpx", "yuv420p", REALTIME),
    ("webm", "libvpx-vp9", "yuv444p", REALTIME),
    ("webm", "libsvtav1", "yuv420p", {"preset": 12}),
    ("avi", "mjpeg", "yuvj422p", {}),
    ("avi", "mpeg4", "yuv420p", {}),
    ("avi", "libx264", "yuv420p", {"bf": 0}),
    ("avi", "rawvideo", "bgr24", {}),
    ("avi", "huffyuv", "rgb24", {}),
    ("ts", "libx264", "yuv420p", {"bf": 0}),
    ("ts", "libx264", "yuv420p", {"bf": 2}),
    ("ts", "libx265", "yuv420p", X265),
    ("m2ts", "libx264", "yuv420p", {}),
    ("flv", "libx264", "yuv420p", {}),
    ("flv", "flv", "yuv420p", {}),
    ("asf", "mpeg4", "yuv420p", {}),
    ("wmv", "wmv2", "yuv420p", {}),
    ("3gp", "libx264", "yuv420p", {}),
    ("nut", "ffv1", "yuv420p", {}),
    ("ivf", "libvpx-vp9", "yuv420p", REALTIME),
    ("gif", "gif", "rgb8", {}),
]
# These have one rate for the whole file.
CONSTANT = [
    ("mpg", "mpeg2video", "yuv420p", {}),
    ("vob", "mpeg2video", "yuv420p", {}),
    ("ts", "mpeg2video", "yuv420p", {"bf": 2}),
    ("mxf", "mpeg2video", "yuv420p", {}),
    ("y4m", "rawvideo", "yuv420p", {}),
    ("avi", "libx264", "yuv420p", {"bf": 2}),
]
RATES = [Fraction(10), Fraction(25), Fraction(30000, 1001), Fraction(60)]
VARIABLE = [0.0, 0.04, 0.5, 0.54, 1.2, 1.24, 1.9, 2.6]
TICK_S = {"gif": 0.0051}  # of the formats whose times are coarse; 1 ms otherwise

# A kind at one constant rate, in turns, and at a variable one.
CASES = [(*kind, RATES[n % 4]) for n, kind in enumerate(KINDS)]
CASES += [(*kind, None) for kind in KINDS]
CASES += [(*kind, rate) for kind in CONSTANT for rate in RATES[1:3]]


def name_of(case):
    suffix, codec, pix_fmt, _, rate = case
    return f"{suffix}-{codec}-{pix_fmt}-{'variable' if rate is None else f'{float(rate):.0f}'}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_frames_and_times(tmp_path, case):
    suffix, codec, pix_fmt, options, rate = case
    times_s = VARIABLE if rate is None else [number / float(rate) for number in range(8)]
    path = write_video(
        *(tmp_path / f"a.{suffix}", grey_levels(8), codec, pix_fmt),
        **({"times_s": VARIABLE} if rate is None else {"fps": rate}),
        **options,
    )
    with open_source(str(path)) as source:
        frames = list(source)
        assert (source.ended_early, source.notes()) == (None, [])
    assert [level_of(frame.image) for frame in frames] == list(range(8))
    slack_s = TICK_S.get(suffix, 0.0011)
    assert [frame.time_s for frame in frames] == pytest.approx(times_s, abs=slack_s)
    if rate is not None and suffix != "gif":
        assert source.info.fps == pytest.approx(float(rate), rel=0.003)


def test_there_are_enough():
    assert len({case[:3] for case in CASES}) >= 40
    assert len(CASES) >= 90


@pytest.mark.parametrize(
    ("suffix", "codec", "pix_fmt", "known", "options"),
    [
        ("h264", "libx264", "yuv420p", True, {}),
        ("hevc", "libx265", "yuv420p", True, X265),
        ("mjpeg", "mjpeg", "yuvj420p", False, {}),
    ],
)
def test_bare_streams_have_no_times(tmp_path, suffix, codec, pix_fmt, known, options):
    """The rate is that of the codec, if it writes one; the frames are counted, which is said."""
    path = write_video(tmp_path / f"a.{suffix}", grey_levels(8), codec, pix_fmt, fps=50, **options)
    fps = 50 if known else 25
    with open_source(str(path)) as source:
        frames = list(source)
        (note,) = source.notes()
    assert [level_of(frame.image) for frame in frames] == list(range(8))
    assert [frame.time_s for frame in frames] == pytest.approx([n / fps for n in range(8)])
    assert note.startswith("8 of 8 frames have no usable timestamp")
    assert f"({fps} frames a second); give the true rate with --fps" in note
