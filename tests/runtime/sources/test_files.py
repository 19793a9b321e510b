"""File sources: videos, folders of images, patterns, and every way in which they can be bad."""

import os
import struct
import subprocess
import sys
import threading
import wave

import cv2
import numpy as np
import pytest
from PIL import Image
from unitrack_edge.errors import RequestError, SourceError
from unitrack_edge.records import Frame
from unitrack_edge.runtime.sources.base import SourceInfo
from unitrack_edge.runtime.sources.open import SOURCES, open_source
from unitrack_edge.runtime.sources.read_ahead import FileSource
from unitrack_edge.runtime.sources.redact import redact

from ...support.eval_data import write_images

HEIGHT, WIDTH = 48, 64


def make_image(number, height=HEIGHT, width=WIDTH):
    """An image that tells its number by its brightness, with noise that defies compression."""
    rng = np.random.default_rng(number)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[: height // 2] = 12 * number % 256
    return image


def number_in(image):
    return round(float(image[4:12, 4:-4].mean()) / 12)


def make_video(path, count=20, codec="MJPG", fps=10.0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for number in range(count):
        writer.write(make_image(number))
    writer.release()
    return path


def index_first(data):
    """An MP4 with its index moved before the images, as files made for the web have it."""
    boxes, at = {}, 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        boxes[kind] = data[at : at + size]
        at += size
    index = bytearray(boxes[b"moov"])
    table = index.index(b"stco")
    (entries,) = struct.unpack_from(">I", index, table + 8)
    for entry in range(table + 12, table + 12 + 4 * entries, 4):
        (offset,) = struct.unpack_from(">I", index, entry)
        struct.pack_into(">I", index, entry, offset + len(index))
    return b"".join(
        bytes(index) if kind == b"mdat_" else content
        for kind, content in [(b"ftyp", boxes[b"ftyp"]), (b"mdat_", b"")]
        + [(k, v) for k, v in boxes.items() if k not in (b"ftyp", b"moov")]
    )


def one_line(caught):
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "frames"
    path.mkdir()
    for number in range(12):
        cv2.imwrite(str(path / f"f{number}.png"), make_image(number))
    return path


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "mp4v"), ("a.avi", "MJPG")])
def test_video_hands_over_every_frame_in_order(tmp_path, name, codec):
    path = make_video(tmp_path / name, codec=codec)
    with open_source(str(path)) as source:
        assert source.info == SourceInfo(str(path), "video", (HEIGHT, WIDTH), 10.0, 20, live=False)
        frames = list(source)
        assert (source.dropped, source.ended_early) == (0, None)
    assert [frame.index for frame in frames] == list(range(20))
    assert [number_in(frame.image) for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx([n / 10 for n in range(20)])


def test_frames_are_not_shared(tmp_path):
    with open_source(str(make_video(tmp_path / "a.avi", 3))) as source:
        first, second, third = source
        first.image[:] = 0
        assert (number_in(second.image), number_in(third.image)) == (1, 2)


def test_fps_of_the_user(tmp_path, folder):
    with open_source(str(make_video(tmp_path / "a.avi", 3)), fps=50) as source:
        assert source.info.fps == 50
        assert [frame.time_s for frame in source] == pytest.approx([0, 0.02, 0.04])
    with open_source(str(folder)) as source:
        assert source.info.fps == 25
    with open_source(str(folder), fps=4) as source:
        assert [frame.time_s for frame in source][:3] == [0, 0.25, 0.5]
    with pytest.raises(RequestError, match="--fps -1"):
        open_source(str(folder), fps=-1)
    with pytest.raises(RequestError, match="leave out --fps 5"):
        open_source("camera0", fps=5)


def test_folder_in_natural_order_without_strangers(folder):
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder / "folder.png").mkdir()
    with open_source(str(folder)) as source:
        assert source.info.frame_count == 12
        frames = list(source)
    assert [frame.name for frame in frames] == [f"f{number}.png" for number in range(12)]
    assert [number_in(frame.image) for frame in frames] == list(range(12))


def test_pattern_and_single_image(folder):
    with open_source(str(folder / "f1*.png")) as source:
        assert [frame.name for frame in source] == ["f1.png", "f10.png", "f11.png"]
    with open_source(str(folder.parent / "**" / "f?.png")) as source:
        assert source.info.frame_count == 10
    with open_source(str(folder / "f3.png")) as source:
        assert [number_in(frame.image) for frame in source] == [3]


def test_image_kinds_become_bgr_uint8(tmp_path):
    grey16 = np.full((20, 30), 128 * 257, np.uint16)
    alpha = np.zeros((20, 30, 4), np.uint8)
    alpha[..., 2] = 200
    for name, image in (("a.png", grey16), ("b.png", alpha), ("c.tiff", grey16), ("d.ppm", None)):
        plain = np.full((20, 30, 3), 128, np.uint8)
        assert cv2.imwrite(str(tmp_path / name), plain if image is None else image)
    with open_source(str(tmp_path)) as source:
        images = [frame.image for frame in source]
    assert all(image.shape == (20, 30, 3) and image.dtype == np.uint8 for image in images)
    assert [tuple(image[0, 0]) for image in images] == [
        (128, 128, 128),
        (0, 0, 200),
        (128, 128, 128),
        (128, 128, 128),
    ]


def pages(count=5, mode="RGB"):
    return [Image.fromarray(make_image(n)[..., ::-1].copy()).convert(mode) for n in range(count)]


@pytest.mark.parametrize(
    ("name", "options", "times_s"),
    [
        ("a.tif", {}, [0, 0.04, 0.08, 0.12, 0.16]),
        ("a.gif", {"duration": [100, 300, 100, 200, 50], "loop": 0}, [0, 0.1, 0.4, 0.5, 0.7]),
        ("a.png", {"duration": [100, 300, 100, 200, 50]}, [0, 0.1, 0.4, 0.5, 0.7]),
        ("a.webp", {"duration": [100, 300, 100, 200, 50]}, [0, 0.1, 0.4, 0.5, 0.7]),
    ],
)
def test_every_page_is_a_frame(tmp_path, name, options, times_s):
    first, *others = pages()
    path = tmp_path / "in" / name
    path.parent.mkdir()
    first.save(path, save_all=True, append_images=others, **options)
    with open_source(str(path)) as source:
        assert (source.info.kind, source.info.frame_count) == ("images", 5)
        frames = list(source)
    assert [number_in(frame.image) for frame in frames] == list(range(5))
    assert [frame.time_s for frame in frames] == pytest.approx(times_s)
    assert {frame.name for frame in frames} == {""}
    with open_source(str(path), fps=10) as source:
        assert [frame.time_s for frame in source] == pytest.approx([n / 10 for n in range(5)])
    cv2.imwrite(str(path.parent / "b.png"), make_image(7))
    with open_source(str(path.parent)) as source:
        frames = list(source)
        assert source.info.frame_count == (2 if name == "a.png" else 6)  # a PNG is not looked into
    assert [frame.index for frame in frames] == list(range(6))
    assert [number_in(frame.image) for frame in frames] == [0, 1, 2, 3, 4, 7]
    assert frames[5].name == "b.png"
    assert frames[5].time_s == pytest.approx(0.2)


def test_pages_of_a_palette(tmp_path):
    palette = pages(3, "P")
    palette[0].save(tmp_path / "b.tif", save_all=True, append_images=palette[1:])
    with open_source(str(tmp_path / "b.tif")) as source:
        assert [number_in(frame.image) for frame in source] == [0, 1, 2]


def test_a_damaged_page_is_named(tmp_path):
    first, *others = pages()
    path = tmp_path / "a.tif"
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw")
    with Image.open(path) as image:
        image.seek(3)
        at = image.tag_v2[273][0]
    data = bytearray(path.read_bytes())
    data[at : at + 200] = b"\xff" * 200
    path.write_bytes(data)
    with open_source(str(path)) as source:
        assert [number_in(next(source).image) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceError, match=r"a\.tif: image 4 of 5 cannot be decoded") as caught:
            next(source)
    one_line(caught)


def test_a_folder_of_images_needs_no_video_decoder(folder):
    code = (
        "import sys; from unitrack_edge.runtime.sources.open import open_source\n"
        "list(open_source(sys.argv[1])); print('av' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.check_output(command, text=True) == "False\n"


def test_video_that_breaks_off_is_finished_and_said_so(tmp_path):
    data = make_video(tmp_path / "a.avi", 40).read_bytes()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with open_source(str(cut)) as source:
        numbers = [number_in(frame.image) for frame in source]
        assert numbers[:20] == list(range(20))
        said = f"{cut} ended after {len(numbers)} of 40 announced frames"
        assert (source.ended_early or "").startswith(said)
        assert list(source) == []


def test_mp4_cut_after_its_index(tmp_path):
    data = index_first(make_video(tmp_path / "a.mp4", 40, codec="mp4v").read_bytes())
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    whole.write_bytes(data)
    cut.write_bytes(data[: len(data) * 7 // 10])
    with open_source(str(whole)) as source:
        assert len(list(source)) == 40
        assert source.ended_early is None
    with open_source(str(cut)) as source:
        count = len(list(source))
        assert 20 < count < 35
        said = f"{cut} ended after {count} of 40 announced frames"
        assert (source.ended_early or "").startswith(said)


def test_mp4_cut_before_its_index(tmp_path):
    data = make_video(tmp_path / "a.mp4", 40, codec="mp4v").read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 7 // 10])
    with pytest.raises(SourceError, match=r"its index \(moov\) is missing") as caught:
        open_source(str(cut))
    assert str(cut) in one_line(caught)


def test_a_file_of_a_server_that_is_not_there():
    with pytest.raises(SourceError, match="cannot be fetched: Connection refused") as caught:
        open_source("http://me:secret@127.0.0.1:1/a.mp4")
    assert "secret" not in one_line(caught)


def _motion_jpeg(path, sizes):
    encoded = [cv2.imencode(".jpg", make_image(n, *size))[1] for n, size in enumerate(sizes)]
    path.write_bytes(b"".join(image.tobytes() for image in encoded))


def test_video_that_changes_size(tmp_path):
    path = tmp_path / "a.mjpeg"
    _motion_jpeg(path, [(HEIGHT, WIDTH)] * 6 + [(60, 80)] * 5)
    with open_source(str(path)) as source:
        frames = list(source)
        assert [number_in(frame.image) for frame in frames] == list(range(11))
        assert {frame.size_hw for frame in frames} == {(HEIGHT, WIDTH)}
        assert source.ended_early is None
        note = source.notes()[-1]
        assert "changes size at frame 6 from 64x48 to 80x60 (width x height): 5 frames" in note
    _motion_jpeg(path, [(HEIGHT, WIDTH)] * 6)
    with open_source(str(path)) as source:
        assert len(list(source)) == 6
        assert source.ended_early is None


def _bare_mpeg4(path, height, width):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (width, height))
    for number in range(7):
        writer.write(make_image(number, height, width))
    writer.release()
    packets = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    parts = []
    while (packet := packets.read())[0]:
        parts.append(packet[1].tobytes())
    return b"".join(parts)


def test_mpeg4_that_changes_size(tmp_path):
    small = _bare_mpeg4(tmp_path / "a.avi", 48, 64)
    path = tmp_path / "joined.m4v"
    path.write_bytes(small + _bare_mpeg4(tmp_path / "b.avi", 64, 96))
    with open_source(str(path)) as source:
        assert [frame.size_hw for frame in source] == [(48, 64)] * 14
        assert source.ended_early is None
        assert "at frame 7 from 64x48 to 96x64" in source.notes()[-1]
    path.write_bytes(small + small)
    with open_source(str(path)) as source:
        assert len(list(source)) == 14
        assert source.ended_early is None


def test_folder_that_changes_size(folder):
    cv2.imwrite(str(folder / "f7.png"), make_image(7, 50, 70))
    with open_source(str(folder)) as source:
        frames = list(source)
        assert [frame.size_hw for frame in frames] == [(48, 64)] * 12
        assert (source.ended_early, len(source.notes())) == (None, 1)
        assert "at frame 7 (f7.png) from 64x48 to 70x50" in source.notes()[0]
        assert "1 frame of another size was scaled into the first size" in source.notes()[0]


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
def test_unreadable_image_in_a_sequence_is_named(tmp_path, suffix):
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.{suffix}"), make_image(number))
    bad = tmp_path / f"2.{suffix}"
    bad.write_bytes(bad.read_bytes()[:-40])
    with open_source(str(tmp_path)) as source:
        assert [next(source).index, next(source).index] == [0, 1]
        with pytest.raises(SourceError, match=rf"2\.{suffix}: cannot be decoded") as caught:
            next(source)
        with pytest.raises(StopIteration):
            next(source)
    one_line(caught)


def test_decoders_keep_quiet(tmp_path):
    """In a fresh process, since they ask for their level only once."""
    whole = make_video(tmp_path / "a.avi", 40).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 6 // 10])
    (tmp_path / "junk.mp4").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "bad").mkdir()
    good = cv2.imencode(".png", make_image(0))[1].tobytes()
    (tmp_path / "bad" / "0.png").write_bytes(good[:-40])
    code = """
import sys
from unitrack_edge.errors import RequestError, SourceError
from unitrack_edge.runtime.sources.open import open_source
for text in sys.argv[1:]:
    try:
        with open_source(text) as source:
            print(len(list(source)))
    except SourceError:
        print("error")
"""
    texts = ["camera97", *(str(tmp_path / name) for name in ("cut.avi", "junk.mp4", "bad"))]
    quiet = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV_")}
    ran = subprocess.run(
        [sys.executable, "-c", code, *texts], env=quiet, capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    first, frames, *others = ran.stdout.split()
    assert [first, *others] == ["error"] * 3
    assert 20 < int(frames) < 30


def test_jpeg_with_bytes_after_its_end_is_whole(tmp_path):
    path = tmp_path / "phone.jpg"
    cv2.imwrite(str(path), make_image(3))
    path.write_bytes(path.read_bytes() + b"\xff\xda trailing \xff\xe1")
    with open_source(str(path)) as source:
        assert number_in(next(source).image) == 3


def test_missing_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("clips/none.mp4", ""):
        with pytest.raises(SourceError, match=f"no file or folder '{text}'") as caught:
            open_source(text)
        assert all(form.example in one_line(caught) for form in SOURCES.values())


def test_folder_without_images(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.csv").write_text("x")
    (tmp_path / "img1").mkdir()
    with pytest.raises(SourceError, match=r"no image in this folder \(2 other files, 1 folder\)"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match=r"matches no image \(2 other files\)"):
        open_source(str(tmp_path / "*"))


@pytest.mark.parametrize(
    ("info", "inner", "given", "fps", "said"),
    [
        ("frameRate=14", "img1", None, 14, "at 14 frames a second, as its seqinfo.ini says"),
        ("frameRate=14\nimDir=left", "left", None, 14, "/left, at 14 frames"),
        ("frameRate=14", "img1", 30.0, 30, "the images are those in"),
        ("name=A\nimDir=", "img1", None, 25, "the images are those in"),
        (None, "img1", None, 25, "the images are those in"),
    ],
)
def test_a_folder_of_a_benchmarks_sequence(tmp_path, info, inner, given, fps, said):
    folder = tmp_path / "A"
    write_images(folder / inner, range(1, 4))
    (folder / "gt").mkdir()
    if info is not None:
        (folder / "seqinfo.ini").write_text(f"[Sequence]\n{info}\n")
    with open_source(str(folder), fps=given) as source:
        frames = list(source)
        (note,) = source.notes()
    assert [frame.name for frame in frames] == ["000001.jpg", "000002.jpg", "000003.jpg"]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 1 / fps, 2 / fps])
    assert (source.info.fps, source.info.name) == (fps, str(folder))
    assert str(folder / inner) in note
    assert said in note
    assert ("seqinfo" in note) == (fps == 14)


def test_images_of_a_folder_itself_come_before_those_of_a_sequence(tmp_path):
    write_images(tmp_path / "img1", range(3))
    write_images(tmp_path, range(1))
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nframeRate=14\n")
    with open_source(str(tmp_path)) as source:
        assert (len(list(source)), source.info.fps) == (1, 25)
        (note,) = source.notes()
    assert f"its own images are tracked; name {tmp_path / 'img1'}" in note


@pytest.mark.parametrize(
    "text",
    [
        *("", "frameRate=nan", "frameRate=inf", "frameRate=1e9", "frameRate=-1", "imDir=img1\0"),
        *("imDir=../..", "imDir=img1/../../B/img1", "imDir=/"),
    ],
)
def test_a_damaged_seqinfo_is_an_error(tmp_path, text):
    write_images(tmp_path / "img1", range(3))
    lines = f"[Sequence]\n{text}\n" if text else "frameRate=14\n"
    (tmp_path / "seqinfo.ini").write_text(lines)
    with pytest.raises(SourceError, match=r"seqinfo.ini: cannot be read .* \[Sequence\]") as caught:
        open_source(str(tmp_path))
    assert "\n" not in one_line(caught)
    assert f"such as {tmp_path / 'img1'}" in one_line(caught)


def test_a_folder_that_seqinfo_names_and_that_has_no_image(tmp_path):
    write_images(tmp_path / "img1", range(3))
    (tmp_path / "seqinfo.ini").write_text("[Sequence]\nimDir=left\n")
    with pytest.raises(SourceError, match=r"no image in .*/left, which its seqinfo.ini names"):
        open_source(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.mp4", b"", "the file is empty"),
        ("a.mp4", bytes(range(256)) * 20, "cannot be decoded as a video"),
        ("notes.txt", b"hello", "a text file; expected a video"),
        ("a.mp4", b"hello\n" * 200, "a text file; expected a video"),
        ("a.mkv", b"\n<!DOCTYPE HTML><html>404</html>", "a web page, perhaps in place of"),
        ("a.mp4", b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a text in XML"),
        ("a.zip", b"PK\x03\x04" + bytes(range(99)), "an archive: unpack it"),
        ("a.tar.gz", b"\x1f\x8b" + bytes(range(99)), "an archive: unpack it"),
        ("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "an image in HEIF: convert it"),
        ("a.jpg", b"hello", "damaged, or not an image"),
        ("a.jpg", b"", "the file is empty"),
    ],
)
def test_not_decodable(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(path))
    assert str(path) in one_line(caught)


def test_video_without_frames(tmp_path):
    with pytest.raises(SourceError, match="contains no frame"):
        open_source(str(make_video(tmp_path / "a.avi", 0)))


def test_audio_only(tmp_path):
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    with pytest.raises(SourceError, match="an audio file"):
        open_source(str(path))
    renamed = path.rename(tmp_path / "sound.mp4")
    with pytest.raises(SourceError, match="holds no video of a known codec, perhaps sound"):
        open_source(str(renamed))


def test_unknown_scheme_and_redaction():
    with pytest.raises(SourceError, match="unknown scheme 'ftp'") as caught:
        open_source("ftp://me:secret@host/a.mp4")
    assert "secret" not in str(caught.value)
    assert redact("rtsp://me:s/e?c#r@et@cam:554/live?token=abc") == "rtsp://***@cam:554/live?***"
    assert redact("http://cam/live") == "http://cam/live"
    assert redact("a@b?c.mp4") == "a@b?c.mp4"


def test_which_form_a_text_has():
    def form(text):
        return next((name for name, form in SOURCES.items() if form.matches(text)), None)

    assert form("camera0") == form("camera12") == form("/dev/video3") == "camera"
    assert form("camera") is form("camera0x") is form("ftp://h/a.mp4") is None
    assert form("https://host/a.MP4?x=1") == "remote file"
    assert form("http://host/live.mjpg") == form("RTSP://host/a.mp4") == "stream"
    assert form("none/*.jpg") == "pattern"


def _counted(made, total, error=None):
    for index in range(total):
        made.append(index)
        yield Frame(index, float(index), np.zeros((2, 2, 3), np.uint8))
    if error is not None:
        raise error


def _file_source(frames, released):
    info = SourceInfo("x", "images", (2, 2), 1.0, None, live=False)
    return FileSource(info, frames, lambda: released.append(True))


def test_reading_ahead_is_bounded_and_close_ends_it():
    made, released = [], []
    source = _file_source(_counted(made, 1000), released)
    next(source)
    assert source._thread is not None
    source.close()
    assert not source._thread.is_alive()
    assert len(made) <= 5  # one taken, two queued, one at the door, one for the race
    assert released == [True]
    source.close()
    assert list(source) == []


def test_close_without_reading_frees_the_file():
    released = []
    with _file_source(_counted([], 5), released) as source:
        assert source._thread is None
    assert released == [True]


def test_close_does_not_wait_for_a_read_that_hangs(monkeypatch):
    monkeypatch.setattr("unitrack_edge.runtime.sources.read_ahead._JOIN_S", 0.05)
    let_go, released = threading.Event(), []

    def frames():
        yield from _counted([], 1)
        let_go.wait(10)

    source = _file_source(frames(), released)
    next(source)
    source.close()
    assert released == []
    let_go.set()
    source._thread.join(5)
    assert released == [True]


@pytest.mark.parametrize("error", [cv2.error("boom"), OSError(5, "boom"), ValueError("boom")])
def test_errors_of_the_thread_reach_the_consumer(error):
    released = []
    with _file_source(_counted([], 3, error), released) as source:
        assert [next(source).index for _ in range(3)] == [0, 1, 2]
        with pytest.raises(SourceError, match=r"x: reading failed: .*boom"):
            next(source)
    assert released == [True]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_thread_is_not_the_end_of_the_file():
    with (
        _file_source(_counted([], 1, ZeroDivisionError()), []) as source,
        pytest.raises(SourceError, match="the reading thread died"),
    ):
        list(source)
