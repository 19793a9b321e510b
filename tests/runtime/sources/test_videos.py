"""Videos as people have them: codecs, containers, rotation, true times, and broken ones."""

from __future__ import annotations

import gc
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from unitrack_edge.runtime.sources.decoder import VideoDecoder
from unitrack_edge.runtime.sources.files import FrameTimes
from unitrack_edge.runtime.sources.open import open_source

from ...support.video_files import copy_packets, grey_levels, level_of, write_video

X265 = {"x265-params": "log-level=none"}


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "options"),
    [
        ("a.mp4", "libx264", "yuv420p", {}),
        ("a.mov", "libx264", "yuv422p10le", {}),
        ("a.mkv", "libx264", "yuv444p", {"bf": 3}),
        ("a.mp4", "libx265", "yuv420p", X265),
        ("a.mkv", "libx265", "yuv420p10le", X265),
        ("a.mkv", "libsvtav1", "yuv420p10le", {"preset": 12}),
        ("a.mp4", "libsvtav1", "yuv420p", {"preset": 12}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime"}),
        ("a.ts", "libx264", "yuv420p", {"bf": 2}),
        ("a.avi", "mpeg4", "yuv420p", {}),
        ("a.mov", "prores_ks", "yuv422p10le", {}),
        ("a.mkv", "ffv1", "bgr0", {}),
        ("a.mov", "png", "rgb24", {}),
        ("a.avi", "mjpeg", "yuvj422p", {}),
    ],
)
def test_every_frame_of_every_kind(tmp_path, name, codec, pix_fmt, options):
    images = grey_levels(12, (96, 128))
    path = write_video(tmp_path / name, images, codec, pix_fmt, **options)
    with open_source(str(path)) as source:
        assert source.info.fps == pytest.approx(10)
        frames = list(source)
        assert (source.ended_early, source.notes()) == (None, [])
    assert [level_of(frame.image) for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 10 for n in range(12)])
    assert all(frame.image.shape == (96, 128, 3) for frame in frames)


def test_decoded_frames_are_freed_at_once(tmp_path):
    path = write_video(tmp_path / "a.mp4", grey_levels(60, (48, 64)))
    decoder = VideoDecoder(str(path), live=False)
    gc.collect()
    gc.disable()  # it would free circles of references in the end, after hundreds of large frames
    try:
        before = frames_alive()
        counts = [frames_alive() - before for _ in decoder.images()]
    finally:
        gc.enable()
        decoder.close()
    assert len(counts) == 60
    assert max(counts) <= 20  # those that the decoder gives at once: some a thread


def frames_alive():
    return sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects())


def test_odd_sizes(tmp_path):
    path = write_video(tmp_path / "a.mkv", grey_levels(3, (47, 65)), "ffv1", "yuv444p")
    with open_source(str(path)) as source:
        assert source.info.size_hw == (47, 65)
        assert [level_of(frame.image) for frame in source] == [0, 1, 2]


def test_pixels_are_those_of_opencv(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    image = cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC)
    path = write_video(tmp_path / "a.mp4", [np.roll(image, 5 * n, axis=1) for n in range(8)])
    capture = cv2.VideoCapture(str(path))
    with open_source(str(path)) as source:
        for frame in source:
            np.testing.assert_array_equal(frame.image, capture.read()[1])


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_rotation(tmp_path, degrees):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :24] = 255
    upright = np.rot90(image, degrees // 90)
    path = write_video(tmp_path / "a.mp4", [image] * 3, degrees=degrees)
    with open_source(str(path)) as source:
        assert source.info.size_hw == upright.shape[:2]
        for frame in source:
            assert np.abs(frame.image.astype(int) - upright).mean() < 5
            assert frame.image.flags.c_contiguous


def test_mirrored(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:16, :24] = 255
    path = write_video(tmp_path / "a.mp4", [image], degrees=0)
    with av.open(str(tmp_path / "b.mp4"), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height = 64, 48
        video.set_display_rotation(0, hflip=True)
        container.mux(video.encode(av.VideoFrame.from_ndarray(image, "bgr24")))
        container.mux(video.encode(None))
    with open_source(str(path)) as plain, open_source(str(tmp_path / "b.mp4")) as mirrored:
        expected = next(plain).image[:, ::-1].astype(int)
        assert np.abs(next(mirrored).image - expected).max() <= 2


VARIABLE = [0.0, 0.04, 0.5, 0.54, 1.9, 2.0, 4.0]


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_times_of_a_variable_rate(tmp_path, name):
    path = write_video(tmp_path / name, grey_levels(7), times_s=VARIABLE)
    with open_source(str(path)) as source:
        frames = list(source)
        assert (source.ended_early, source.notes()) == (None, [])
    assert [level_of(frame.image) for frame in frames] == list(range(7))
    assert [frame.time_s for frame in frames] == pytest.approx(VARIABLE, abs=0.001)
    with open_source(str(path), fps=20) as source:
        assert [frame.time_s for frame in source] == pytest.approx([n / 20 for n in range(7)])


def test_a_rate_of_1000_is_the_tick_of_its_container(tmp_path):
    times_s = [n * 0.04 for n in range(5)]
    path = write_video(tmp_path / "a.mkv", grey_levels(5), times_s=times_s, fps=1000)
    with open_source(str(path)) as source:
        assert source.info.fps is None
        assert [frame.time_s for frame in source] == pytest.approx(times_s)


def test_cover_art_is_not_the_video(tmp_path):
    cover = write_video(tmp_path / "cover.mkv", grey_levels(1, (96, 96)), "mjpeg", "yuvj420p")
    video = write_video(tmp_path / "plain.mp4", grey_levels(5))

    def add_cover(container):
        art = av.open(str(cover))
        stream = container.add_stream_from_template(art.streams.video[0])
        stream.disposition = av.stream.Disposition.attached_pic
        (packet,) = (packet for packet in art.demux(video=0) if packet.size)
        packet.stream = stream
        return lambda: container.mux(packet)

    path = copy_packets(video, tmp_path / "a.mp4", before=add_cover)
    with av.open(str(path)) as container:
        assert {stream.codec.name for stream in container.streams.video} == {"h264", "mjpeg"}
    with open_source(str(path)) as source:
        assert source.info.size_hw == (48, 64)
        assert [level_of(frame.image) for frame in source] == list(range(5))


def test_audio_before_the_video(tmp_path):
    video = write_video(tmp_path / "plain.mp4", grey_levels(5))

    def add_audio(container):
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        return lambda: container.mux([*stream.encode(sound), *stream.encode(None)])

    path = copy_packets(video, tmp_path / "a.mp4", before=add_audio)
    with open_source(str(path)) as source:
        assert [level_of(frame.image) for frame in source] == list(range(5))
        assert source.ended_early is None


def test_a_damaged_packet_is_left_out_and_said(tmp_path):
    video = write_video(tmp_path / "whole.avi", grey_levels(6), "mjpeg", "yuvj420p")

    def spoilt(packets):
        broken = av.Packet(bytes(len(bytes(packets[2]))))
        broken.pts, broken.dts, broken.time_base = 2, 2, packets[2].time_base
        return [*packets[:2], broken, *packets[3:]]

    path = copy_packets(video, tmp_path / "a.avi", spoilt)
    with open_source(str(path)) as source:
        frames = list(source)
        assert [level_of(frame.image) for frame in frames] == [0, 1, 3, 4, 5]
        assert frames[2].time_s == pytest.approx(0.3)
        (note,) = source.notes()
        assert note.startswith(f"1 packet of {path} gave no image (damaged, or lost")


def test_a_damaged_packet_cannot_ask_for_an_image_of_any_size(tmp_path):
    """The second one says 20000x12000: 720 MB."""
    video = write_video(tmp_path / "whole.flv", grey_levels(3, (32, 32)), "flv", g=1)

    def grown(packets):
        bits = "".join(f"{byte:08b}" for byte in bytes(packets[1]))
        assert bits[30:49] == f"000{32:08b}{32:08b}", "a size of two bytes"
        bits = f"{bits[:30]}001{20000:016b}{12000:016b}{bits[49:]}"
        bits += "0" * (-len(bits) % 8)
        packet = av.Packet(bytes(int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)))
        packet.pts, packet.dts = packets[1].pts, packets[1].dts
        packet.time_base, packet.is_keyframe = packets[1].time_base, True
        return [packets[0], packet, packets[2]]

    path = copy_packets(video, tmp_path / "a.flv", grown)
    with open_source(str(path)) as source:
        assert [level_of(frame.image) for frame in source] == [0, 2]
        (note,) = source.notes()
        assert "1 packet of" in note


def test_h264_that_changes_size(tmp_path):
    bare = [
        write_video(tmp_path / f"{n}.h264", grey_levels(6, size)).read_bytes()
        for n, size in enumerate([(48, 64), (64, 96)])
    ]
    path = tmp_path / "joined.h264"
    path.write_bytes(b"".join(bare))
    with open_source(str(path)) as source:
        inner = [frame.image[16:32, 16:48] for frame in source]
        assert [level_of(image) for image in inner] == [*range(6), *range(6)]
        assert source.ended_early is None
        assert "changes size at frame 6 from 64x48 to 96x64" in source.notes()[-1]


def trim_start(packets):
    """As a cut without encoding: the frames before the cut stay in the file, hidden."""
    for packet in packets:
        packet.pts -= 8 * packet.duration
        packet.dts -= 8 * packet.duration
    return packets


def test_a_trimmed_video_is_whole(tmp_path):
    source_path = write_video(tmp_path / "whole.mp4", grey_levels(16), bf=0)
    path = copy_packets(source_path, tmp_path / "trimmed.mp4", trim_start)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == 16
    with open_source(str(path)) as source:
        assert source.info.frame_count == 16
        assert [level_of(frame.image) for frame in source] == list(range(8, 16))
        assert source.ended_early is None
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes() + b"\0\0\1\0free")  # a box that does not end
    with open_source(str(cut)) as source:
        assert len(list(source)) == 8
        assert "ended after 8 of 16 announced frames" in (source.ended_early or "")


def test_a_damaged_video_in_a_whole_file(tmp_path):
    path = write_video(tmp_path / "a.avi", grey_levels(16), "mjpeg", "yuvj420p")
    data = bytearray(path.read_bytes())
    at = data.index(b"movi")
    for _ in range(9):
        at = data.index(b"00dc", at) + 8
        size = int.from_bytes(data[at - 4 : at], "little")
        data[at : at + size] = bytes(size)
    path.write_bytes(data)
    with open_source(str(path)) as source:
        assert [level_of(frame.image) for frame in source] == list(range(9, 16))
        assert "ended after 7 of 16 announced frames" in (source.ended_early or "")


def test_images_lost_with_a_damaged_one_are_counted(tmp_path):
    """HEVC's decoder skips all that refers to a lost image, and says nothing."""
    gops = {"x265-params": "log-level=none:keyint=5:min-keyint=5:scenecut=0:bframes=0:open-gop=0"}
    video = write_video(tmp_path / "whole.mp4", grey_levels(15), "libx265", **gops)

    def without_key(packets):
        return [*packets[:5], *packets[6:]]  # the second group's first image

    path = copy_packets(video, tmp_path / "a.mp4", without_key)
    with open_source(str(path)) as source:
        assert [level_of(frame.image) for frame in source] == [*range(5), *range(10, 15)]
        (note,) = source.notes()
    assert note.startswith(f"4 packets of {path} gave no image")


INTERLACED = [
    ("mpeg2video", {"flags": "+ildct+ilme"}),
    ("libx264", {"x264-params": "interlaced=1"}),
    ("libx265", {"x265-params": "log-level=none:interlace=tff"}),
]


@pytest.mark.parametrize("name", ["a.mkv", "a.ts"])
@pytest.mark.parametrize(("codec", "options"), INTERLACED)
def test_an_interlaced_video_that_is_whole_misses_nothing(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, grey_levels(12, (96, 128)), codec, **options)
    with av.open(str(path)) as container:
        assert any(frame.interlaced_frame for frame in container.decode(video=0))
    with open_source(str(path)) as source:
        assert (len(list(source)), source.ended_early, source.notes()) == (12, None, [])


def test_images_lost_of_an_interlaced_video_are_counted(tmp_path):
    """Both fields of MPEG-2 are in one packet, whatever the container."""
    codec, options = INTERLACED[0]
    video = write_video(tmp_path / "whole.mkv", grey_levels(12), codec, g=4, **options)

    def without_content(packet):
        empty = av.Packet(bytes(packet)[:8] + bytes(packet.size - 8))
        empty.pts, empty.dts, empty.time_base = packet.pts, packet.dts, packet.time_base
        return empty

    def damaged(packets):
        return [without_content(p) if n in (5, 6) else p for n, p in enumerate(packets)]

    path = copy_packets(video, tmp_path / "a.mkv", damaged)
    with open_source(str(path)) as source:
        assert [level_of(f.image) for f in source] == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11]
        (note,) = source.notes()
    assert note.startswith(f"2 packets of {path} gave no image")


def test_an_image_of_vp8_that_is_not_shown_is_not_missed(tmp_path):
    video = write_video(tmp_path / "whole.webm", grey_levels(6), "libvpx", deadline="realtime")

    def hide(packets):
        data = bytearray(bytes(packets[2]))
        data[0] &= ~0x10  # show_frame, RFC 6386, 9.1
        hidden = av.Packet(bytes(data))
        hidden.pts, hidden.dts = packets[2].pts, packets[2].dts
        hidden.time_base = packets[2].time_base
        return [*packets[:2], hidden, *packets[3:]]

    path = copy_packets(video, tmp_path / "a.webm", hide)
    with open_source(str(path)) as source:
        assert [level_of(frame.image) for frame in source] == [0, 1, 3, 4, 5]
        assert (source.ended_early, source.notes()) == (None, [])


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.ts", "libx264", {"bf": 3}),
        ("a.ts", "libx264", {"bf": 0}),
        ("a.m2ts", "libx264", {"bf": 2}),
        ("a.ts", "libx265", X265),
        ("a.ts", "mpeg2video", {"bf": 2}),
    ],
)
def test_a_transport_stream_cut_in_a_packet(tmp_path, name, codec, options):
    path = write_video(tmp_path / name, grey_levels(16), codec, fps=25, **options)
    size = 192 if name.endswith(".m2ts") else 188
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 7 // 10 // size * size + 90])
    with open_source(str(path)) as source:
        frames = list(source)
        assert source.ended_early is None
        (said,) = [note for note in source.notes() if "midst of a packet" in note]
    assert [level_of(f.image) for f in frames] == [round(25 * f.time_s) for f in frames]
    assert len(frames) >= 5
    holes = round(25 * frames[-1].time_s) + 1 - len(frames)
    assert (f": {holes} frame" in said) if holes else said.endswith("(cut off)")


def without_packets(path, kept):
    """A transport stream of the first packets of another one: its file ends with a whole one."""
    return copy_packets(path, path.with_name("short.ts"), lambda packets: packets[:kept])


def test_frames_that_others_refer_to_ahead_are_missed_at_a_cut(tmp_path):
    """In the order of their packets: 0, 4, 2, 1, 3, 8, 6, 5, 7, …"""
    whole = write_video(tmp_path / "a.ts", grey_levels(16), bf=3, **{"x264-params": "b-adapt=0"})
    with av.open(str(whole)) as container:
        order = [p.pts // 9000 for p in container.demux(video=0) if p.size]
    first = order[0]
    for kept in range(6, 16):
        times = sorted(stamp - first for stamp in order[:kept])
        holes = times[-1] + 1 - len(times)
        with open_source(str(without_packets(whole, kept))) as source:
            assert [round(10 * frame.time_s) for frame in source] == times
            assert source.ended_early is None
            said = source.notes()
        expected = f": {holes} {'frame' if holes == 1 else 'frames'} before the last"
        assert (expected in said[-1]) if holes else (said == [])


@pytest.mark.parametrize(
    ("name", "codec", "container", "all_read"),
    [
        ("a.mp4", "mjpeg", {}, False),
        ("a.mov", "mjpeg", {"movflags": "faststart"}, False),
        ("a.mp4", "mjpeg", {"movflags": "frag_keyframe+empty_moov"}, False),
        ("a.flv", "flv", {}, False),
        ("a.avi", "mjpeg", {}, True),
        ("a.ts", "mpeg2video", {}, True),
        ("a.mkv", "mjpeg", {}, True),
    ],
)
def test_videos_joined_end_to_end(tmp_path, name, codec, container, all_read):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    one = write_video(
        tmp_path / name, grey_levels(8), codec, pix_fmt, fps=25, container=container
    ).read_bytes()
    path = tmp_path / f"joined-{name}"
    path.write_bytes(one + one)
    with open_source(str(path)) as source:
        count = len(list(source))
        said = [note for note in source.notes() if "joined end to end" in note]
    assert (count == 16) == all_read
    assert [note.startswith(f"{path} is 2 videos joined end to end") for note in said] == (
        [] if all_read else [True]
    )


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "container", "announced"),
    [
        ("a.mkv", "mjpeg", {}, ""),
        ("a.mkv", "ffv1", {"live": "1"}, None),  # lengths unknown, as of a stream
        ("a.webm", "libvpx", {}, ""),
        ("a.mp4", "mjpeg", {"movflags": "frag_every_frame+empty_moov"}, ""),
        ("a.mov", "mjpeg", {"movflags": "faststart"}, " of 80 announced"),
        ("a.avi", "mjpeg", {}, " of 80 announced"),
        ("a.flv", "flv", {}, " of some 80 announced"),
    ],
)
def test_a_cut_is_noticed_where_the_container_shows_it(tmp_path, name, codec, container, announced):
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = tmp_path / name
    write_video(path, grey_levels(80), codec, pix_fmt, container=container)
    with open_source(str(path)) as source:
        assert (len(list(source)), source.ended_early) == (80, None)
    with open_source(str(cut(path, 0.5))) as source:
        count = len(list(source))
        ended = source.ended_early
    assert 20 < count < 60
    if announced is None:
        assert ended is None
    else:
        assert ended is not None
        assert ended.startswith(f"{path} ended after {count}{announced}")


def test_a_small_part_missing_from_an_flv_is_noticed(tmp_path):
    path = write_video(tmp_path / "a.flv", grey_levels(16), "flv")
    with open_source(str(cut(path, 0.9))) as source:
        count = len(list(source))
        assert 10 < count < 16
        assert (source.ended_early or "").startswith(f"{path} ended after {count} frames (cut off")


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.mov"])
def test_sound_that_goes_on_after_the_video_is_no_cut(tmp_path, name):
    video = write_video(tmp_path / "plain.mp4", grey_levels(5))

    def add_audio(container):
        stream = container.add_stream("aac", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 80_000), np.float32), "fltp", "mono")
        sound.sample_rate = 8000
        return lambda: container.mux([*stream.encode(sound), *stream.encode(None)])

    path = copy_packets(video, tmp_path / name, before=add_audio)
    with open_source(str(path)) as source:
        assert [level_of(frame.image) for frame in source] == list(range(5))
        assert source.ended_early is None


@pytest.mark.parametrize("size_hw", [(1, 1), (2, 2), (17, 33), (2160, 3840), (4320, 7680)])
def test_one_frame_of_any_size(tmp_path, size_hw):
    kind = ("ffv1", "bgr0") if max(size_hw) < 1000 else ("mjpeg", "yuvj420p")
    path = write_video(tmp_path / "a.mkv", grey_levels(1, size_hw), *kind)
    with open_source(str(path)) as source:
        assert (source.info.size_hw, source.info.frame_count) == (size_hw, 1)
        (frame,) = source
        assert (frame.size_hw, frame.time_s, level_of(frame.image)) == (size_hw, 0.0, 0)
        assert (source.ended_early, source.notes()) == (None, [])


def times_of(stamps, fps=10):
    times = FrameTimes(fps)
    return [times.at(stamp) for stamp in stamps], times.notes()


@pytest.mark.parametrize(
    ("stamps", "expected", "broken"),
    [
        ([5.0, 5.1, 5.4], [0, 0.1, 0.4], 0),
        ([0, 0, 0, 0], [0, 0.1, 0.2, 0.3], 3),
        ([None, None, None], [0, 0.1, 0.2], 3),
        ([None, 7.0, 7.5], [0, 0.1, 0.6], 1),
        ([0, 0.1, 0.2, 0.0, 0.3, 0.6], [0, 0.1, 0.2, 0.3, 0.6, 0.9], 1),
        ([0, 0.1, 0.05, 0.3], [0, 0.1, 0.2, 0.3], 1),
        ([0, 0.1, 1e9, 0.3], [0, 0.1, 0.2, 0.3], 1),
    ],
)
def test_broken_timestamps(stamps, expected, broken):
    times, notes = times_of([None if s is None else Fraction(str(s)) for s in stamps])
    assert times == pytest.approx(expected)
    assert [note.split(" frames")[0] for note in notes] == (
        [f"{broken} of {len(stamps)}"] if broken else []
    )


def test_timestamps_that_are_all_the_same_are_noted(tmp_path):
    plain = write_video(tmp_path / "plain.mkv", grey_levels(6), "mjpeg", "yuvj420p")

    def stand_still(packets):
        for number, packet in enumerate(packets):
            packet.pts = packet.dts = 0 if number < 3 else packet.pts
        return packets

    path = copy_packets(plain, tmp_path / "a.mkv", stand_still)
    with open_source(str(path)) as source:
        times = [frame.time_s for frame in source]
        assert times == pytest.approx([n / 10 for n in range(6)], abs=0.02)
        (note,) = source.notes()
    assert note.startswith("2 of 6 frames have no usable timestamp")
    with open_source(str(path), fps=5) as source:
        assert [frame.time_s for frame in source] == pytest.approx([n / 5 for n in range(6)])
        (note,) = source.notes()
    assert note == "--fps 5 in place of the file's own times: 6 frames last 1.2 s, not 0.6 s"


def test_a_decoder_counts_what_it_read(tmp_path):
    decoder = VideoDecoder(str(write_video(tmp_path / "a.mp4", grey_levels(5))), live=False)
    assert (decoder.fps, decoder.frame_count) == (10.0, 5)
    assert len(list(decoder.images())) == decoder.packets == 5
    assert decoder.failure is None
    decoder.close()
