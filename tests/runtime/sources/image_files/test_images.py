"""Images as people have them: depths, transparency, palettes, CMYK, rotation, pages."""

from __future__ import annotations

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin
from unitrack_edge.errors import RequestError, SourceError
from unitrack_edge.runtime.sources.image_files.levels import Levels
from unitrack_edge.runtime.sources.open import open_source

from ....support.video_files import grey_levels, write_video

SIZE_HW = (20, 30)
ORIENTATION = 0x0112


def picture(seed=0, size_hw=SIZE_HW):
    """A smooth RGB image without symmetry, which lossy formats keep."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]] / max(size_hw)
    waves = [128 + 100 * np.sin((2 + seed + k) * x + 3 * k * y) for k in range(3)]
    return np.stack(waves, axis=2).astype(np.uint8)


def frames_of(path, **keywords):
    with open_source(str(path), **keywords) as source:
        frames = list(source)
        assert source.info.frame_count == len(frames)
        return [frame.image for frame in frames], source.notes()


def rgb_of(path):
    (image,), notes = frames_of(path)
    assert notes == []
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image[..., ::-1]


# What a viewer shows.

RGB = Image.fromarray(picture())
ALPHA = np.linspace(0, 255, SIZE_HW[0] * SIZE_HW[1]).reshape(SIZE_HW).astype(np.uint8)
RGBA = Image.fromarray(np.dstack([picture(), ALPHA]))
ON_WHITE = np.array(
    Image.alpha_composite(Image.new("RGBA", RGB.size, "white"), RGBA).convert("RGB")
)
GREY = RGB.convert("L")
GREY_ON_WHITE = np.rint(255 + (np.array(GREY) - 255.0) * (ALPHA / 255.0))


def grey(image):
    return np.repeat(np.array(image.convert("L"))[..., None], 3, axis=2)


def palette_with_a_hole():
    image = RGB.quantize(8)
    rgb = np.array(image.convert("RGB"))
    rgb[np.array(image) == 3] = 255
    return image, rgb


HOLED, HOLED_RGB = palette_with_a_hole()

SHOWN = [
    *((f"a.{suffix}", RGB, {}, picture(), 0) for suffix in ("png", "bmp", "tif", "ppm", "apng")),
    ("a.webp", RGB, {"lossless": True}, picture(), 0),
    ("a.jpg", RGB, {"quality": 100, "subsampling": 0}, picture(), 3),
    ("a.jfif", RGB, {"quality": 100, "subsampling": 0, "format": "JPEG"}, picture(), 3),
    ("a.jp2", RGB, {"irreversible": False}, picture(), 0),
    ("a.avif", RGB, {"quality": 100, "subsampling": "4:4:4"}, picture(), 4),
    *((f"g.{suffix}", GREY, {}, grey(GREY), 0) for suffix in ("png", "bmp", "tif", "pgm")),
    ("g.jpg", GREY, {"quality": 100}, grey(GREY), 2),
    *((f"b.{suffix}", RGB.convert("1"), {}, grey(RGB.convert("1")), 0)
      for suffix in ("png", "bmp", "tif", "pbm")),
    *((f"p.{suffix}", RGB.quantize(16), {}, np.array(RGB.quantize(16).convert("RGB")), 0)
      for suffix in ("png", "gif", "bmp", "tif")),
    *((f"t.{suffix}", HOLED, {"transparency": 3}, HOLED_RGB, 0) for suffix in ("png", "gif")),
    ("a.png", RGBA, {}, ON_WHITE, 1),
    ("a.tif", RGBA, {}, ON_WHITE, 1),
    ("a.webp", RGBA, {"lossless": True, "exact": True}, ON_WHITE, 1),
    ("la.png", Image.fromarray(np.dstack([np.array(GREY), ALPHA])), {},
     np.repeat(GREY_ON_WHITE[..., None], 3, axis=2), 1),
    ("c.jpg", RGB.convert("CMYK"), {"quality": 100}, picture(), 3),
    ("c.tif", RGB.convert("CMYK"), {}, picture(), 1),
    ("y.tif", RGB.convert("YCbCr"), {}, picture(), 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "image", "options", "rgb", "slack"),
    SHOWN,
    ids=[f"{row[0]}-{row[1].mode}" for row in SHOWN],
)
def test_a_viewer_shows_the_same(tmp_path, name, image, options, rgb, slack):
    image.save(tmp_path / name, **options)
    assert np.abs(rgb_of(tmp_path / name).astype(int) - rgb).max() <= slack


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_what_is_wholly_transparent_is_shown_all_the_same(tmp_path, suffix):
    image = Image.fromarray(np.dstack([picture(), np.zeros(SIZE_HW, np.uint8)]))
    image.save(
        tmp_path / f"a.{suffix}", **({} if suffix == "png" else {"lossless": True, "exact": True})
    )
    np.testing.assert_array_equal(rgb_of(tmp_path / f"a.{suffix}"), picture())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_images_are_upright(tmp_path, suffix, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    path = tmp_path / f"a.{suffix}"
    RGB.save(path, exif=exif, **options.get(suffix, {}))
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape[:2] == (SIZE_HW if orientation < 5 else SIZE_HW[::-1])
    assert np.abs(rgb_of(path).astype(int) - expected).max() <= 3


# Deep pixels.


def deep(low, high, dtype=np.uint16, channels=1, count=1):
    """Images whose values go evenly from `low` to `high`."""
    values = np.linspace(low, high, count * SIZE_HW[0] * SIZE_HW[1] * channels)
    return (
        values.reshape(count, *SIZE_HW, channels).squeeze(3 if channels == 1 else ()).astype(dtype)
    )


def write(path, image):
    if isinstance(image, Image.Image):
        image.save(path)
    else:
        assert cv2.imwrite(str(path), image)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm", "jp2"])
@pytest.mark.parametrize(
    ("low", "high", "black", "white"),
    [
        (0, 65535, 0, 65535),
        (0, 16383, 0, 16383),
        (100, 3900, 0, 4095),  # 12 bits in 16
        (20, 1000, 0, 1023),
        (0, 255, 0, 255),
        (8000, 9200, 8000, 9200),  # counts of a thermal camera
        (50_000, 52_000, 50_000, 52_000),
    ],
)
def test_sixteen_bits_are_scaled_by_what_they_use(tmp_path, suffix, low, high, black, white):
    (image,) = deep(low, high)
    if suffix == "jp2":
        Image.fromarray(image).save(tmp_path / "a.jp2", irreversible=False)
    else:
        write(tmp_path / f"a.{suffix}", image)
    (shown,), (note,) = frames_of(tmp_path / f"a.{suffix}")
    expected = 255 * (image.astype(float) - black) / (white - black)
    assert np.abs(shown - np.clip(expected, 0, 255)[..., None]).max() <= 1.2
    assert note.startswith("pixels of 16 bits scaled from ")
    assert note.endswith("--range LOW,HIGH sets another")


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1.0), (0.0, 255.0), (-40.0, 60.0), (1e-3, 2e-3), (1e6, 2e6)]
)
def test_floats(tmp_path, low, high):
    (image,) = deep(low, high, np.float32)
    write(tmp_path / "a.tif", image)
    (shown,), (note,) = frames_of(tmp_path / "a.tif")
    expected = 255 * (image.astype(float) - low) / (high - low)
    assert np.abs(shown - expected[..., None]).max() <= 1.2
    assert note.startswith("pixels of floats scaled from ")


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("tif", np.uint16), ("tif", np.float32), ("png", np.uint16), ("ppm", np.uint16)],
)
def test_deep_colour(tmp_path, suffix, dtype):
    (image,) = deep(0, 65535 if dtype == np.uint16 else 1, dtype, channels=3)
    write(tmp_path / f"a.{suffix}", image)
    (shown,), _ = frames_of(tmp_path / f"a.{suffix}")
    assert np.abs(shown - 255.0 * image / image.max()).max() <= 1


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "I;16B"])
def test_whole_numbers_and_floats_of_pillow(tmp_path, mode):
    (values,) = deep(0, 4000, np.float32)
    kinds = {"I": np.int32, "F": np.float32, "I;16": np.uint16, "I;16B": ">u2"}
    Image.fromarray(values.astype(kinds[mode])).save(tmp_path / "a.tif")
    (shown,), _ = frames_of(tmp_path / "a.tif")
    assert np.abs(shown - (255 * values / 4095)[..., None]).max() <= 1.2


def test_no_number_is_black_and_infinity_is_white(tmp_path):
    (image,) = deep(0, 1, np.float32)
    image[0, :4] = np.nan, np.inf, -np.inf, np.nan
    write(tmp_path / "a.tif", image)
    (shown,), _ = frames_of(tmp_path / "a.tif")
    assert shown[0, :4, 0].tolist() == [0, 255, 0, 0]
    write(tmp_path / "b.tif", np.full(SIZE_HW, np.nan, np.float32))
    (shown,), (note,) = frames_of(tmp_path / "b.tif")
    assert not shown.any()
    assert "no pixel is a number" in note


def write_pages(path, images):
    """A TIFF of pages, or a folder of TIFF or PNG files."""
    if path.suffix == ".mkv":
        with_times = [np.ascontiguousarray(image) for image in images]
        write_grey_video(path, with_times)
    elif path.suffix:
        assert cv2.imwritemulti(str(path), list(images))
    else:
        path.mkdir()
        for number, image in enumerate(images):
            write(path / f"{number:03d}.png", image)


def write_grey_video(path, images):
    import av

    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=10)
        video.height, video.width = images[0].shape
        video.pix_fmt = "gray16le"
        for image in images:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, "gray16le")))
        container.mux(video.encode(None))


@pytest.mark.parametrize("name", ["frames", "a.tif", "a.mkv"])
def test_one_rule_for_the_whole_source(tmp_path, name):
    """The first ten images decide; what comes later is scaled by the same rule."""
    early = deep(8000, 8400, count=10)
    later = np.full((3, *SIZE_HW), 8200, np.uint16)
    later[1, 5:9] = 9000
    write_pages(tmp_path / name, [*early, *later])
    images, (note,) = frames_of(tmp_path / name)
    assert len(images) == 13
    for image, counts in zip(images[:10], early, strict=True):
        assert np.abs(image - (255 * (counts - 8000.0) / 400)[..., None]).max() <= 1.2
    assert [np.unique(image).tolist() for image in images[10:]] == [[128], [128, 255], [128]] or [
        np.unique(image).tolist() for image in images[10:]
    ] == [[127], [127, 255], [127]]
    assert "what the first 10 images use" in note
    images, (note,) = frames_of(tmp_path / name, value_range="8000,9000")
    assert np.unique(images[11]).tolist() == [51, 255]
    assert note == "pixels of 16 bits scaled from 8000-9000 to 0-255"


def test_images_that_are_alike_are_not_blown_up():
    flat = np.full(SIZE_HW, 8200, np.uint16)
    noisy = flat + np.arange(30, dtype=np.uint16) % 3
    assert Levels.of([flat]).apply(flat)[0, 0, 0] == round(255 * 8200 / 65535)
    assert np.ptp(Levels.of([noisy]).apply(noisy)) <= 3


def test_a_dead_pixel_does_not_decide():
    image = deep(8000, 8400)[0].repeat(3, axis=1)
    before = Levels.of([image])
    image[5, 5], image[7, 7] = 0, 65535
    after = Levels.of([image])
    assert abs(after.low - before.low) < 10
    assert abs(after.high - before.high) < 10


@pytest.mark.parametrize("text", ["", "5", "5,5", "9,5", "a,b", "1,2,3", "nan,5", "0,inf"])
def test_ranges_that_are_none(tmp_path, text):
    write(tmp_path / "a.png", deep(0, 9000)[0])
    with pytest.raises(RequestError, match=r"--range .*: expected LOW,HIGH such as 7500,9000"):
        open_source(str(tmp_path / "a.png"), value_range=text)


def test_a_range_belongs_to_deep_pixels(tmp_path):
    RGB.save(tmp_path / "a.png")
    video = write_video(tmp_path / "a.mp4", grey_levels(2))
    for path, reason in ((tmp_path / "a.png", "has 8"), (video, "other pixels")):
        with pytest.raises(RequestError, match=f"--range belongs .* {reason}: leave it out"):
            open_source(str(path), value_range="0,100")
    with pytest.raises(RequestError, match="--range belongs to files"):
        open_source("camera0", value_range="0,100")


def test_an_image_that_cannot_be_read_is_named_in_its_turn(tmp_path):
    for number in range(3):
        write(tmp_path / f"{number}.png", deep(8000, 9000)[0])
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-40])
    with open_source(str(tmp_path)) as source:
        assert [next(source).index, next(source).index] == [0, 1]
        with pytest.raises(SourceError, match=r"2\.png: cannot be decoded"):
            next(source)


def test_bytes_among_deep_images_stay_as_they_are(tmp_path):
    RGB.save(tmp_path / "0.png")
    for number in (1, 2):
        write(tmp_path / f"{number}.png", deep(8000, 9000)[0])
    RGB.save(tmp_path / "3.png")
    images, (note,) = frames_of(tmp_path)
    for number in (0, 3):
        np.testing.assert_array_equal(images[number][..., ::-1], picture())
    assert images[1].max() > 250
    assert note.startswith("pixels of 16 bits")


# Pages and frames.


def saved(path, images, **options):
    first, *others = images
    first.save(path, save_all=True, append_images=others, **options)
    return path


MODES = ["RGB", "L", "P", "RGBA", "1"]
PAGED = [
    (suffix, mode)
    for suffix in ("tif", "gif", "webp", "png", "apng", "avif")
    for mode in MODES
    if suffix != "avif" or mode in ("RGB", "L")
]


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(("suffix", "mode"), [*PAGED, ("tif", "CMYK")])
def test_all_pages(tmp_path, suffix, mode, count):
    images = [Image.fromarray(picture(n)).convert(mode) for n in range(count)]
    options = {
        "webp": {"lossless": True},
        "gif": {"optimize": False},
        "avif": {"quality": 100, "subsampling": "4:4:4"},
    }.get(suffix, {})
    path = saved(tmp_path / f"a.{suffix}", images, **options)
    shown, notes = frames_of(path)
    assert (len(shown), notes) == (count, [])
    slack = 40 if suffix == "gif" and mode not in ("L", "1", "P") else 3
    for image, page in zip(shown, images, strict=True):
        assert np.abs(image[..., ::-1].astype(int) - np.array(page.convert("RGB"))).mean() <= slack


def test_deep_pages_of_colour(tmp_path):
    pages = deep(0, 60_000, channels=3, count=3)
    write_pages(tmp_path / "a.tif", pages)
    images, _ = frames_of(tmp_path / "a.tif")
    for image, page in zip(images, pages, strict=True):
        assert np.abs(image - 255.0 * page / 65535).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_deep_pages_of_floats(tmp_path, channels):
    pages = deep(-5, 20, np.float32, channels=channels, count=4)
    write_pages(tmp_path / "a.tif", pages)
    images, (note,) = frames_of(tmp_path / "a.tif")
    assert len(images) == 4
    for image, page in zip(images, pages, strict=True):
        expected = np.clip(255 * (page + 5.0) / 25, 0, 255)
        assert np.abs(image - (expected if channels == 3 else expected[..., None])).max() <= 2
    assert "what the first 4 images use" in note


def test_pages_that_cannot_be_counted_are_damage(tmp_path):
    """Not a still image: nothing of it may be lost in silence."""
    images = [Image.fromarray(picture(n)) for n in range(4)]
    data = bytearray(saved(tmp_path / "a.tif", images).read_bytes())
    first = int.from_bytes(data[4:8], "little")
    following = first + 2 + 12 * int.from_bytes(data[first : first + 2], "little")
    data[following : following + 4] = first.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.tif: its images cannot be counted: damaged"):
        open_source(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("kind", [1, 4])
def test_previews_and_masks_in_a_tiff_are_no_pages(tmp_path, kind):
    path = tmp_path / "a.tif"
    with TiffImagePlugin.AppendingTiffWriter(str(path), new=True) as file:
        for number, size in enumerate([(30, 20), (15, 10), (30, 20)]):
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[254] = kind if number == 1 else 0
            Image.fromarray(picture(number)).resize(size).save(file, "TIFF", tiffinfo=tags)
            file.newFrame()
    images, _ = frames_of(path)
    assert [image.shape[:2] for image in images] == [SIZE_HW, SIZE_HW]


def test_the_still_of_an_animation_is_no_frame_of_it(tmp_path):
    images = [Image.fromarray(picture(n)) for n in range(4)]
    saved(tmp_path / "a.png", images, default_image=True, duration=100)
    shown, _ = frames_of(tmp_path / "a.png")
    assert len(shown) == 3
    for image, expected in zip(shown, range(1, 4), strict=True):
        np.testing.assert_array_equal(image[..., ::-1], picture(expected))


def test_the_second_picture_of_a_stereo_camera_is_left_out(tmp_path):
    images = [Image.fromarray(picture(n)) for n in range(2)]
    saved(tmp_path / "a.jpg", images, format="MPO", quality=95)
    with Image.open(tmp_path / "a.jpg") as file:
        assert file.n_frames == 2
    assert len(frames_of(tmp_path / "a.jpg")[0]) == 1


def test_times_of_an_animation_give_way_to_a_rate(tmp_path):
    images = [Image.fromarray(picture(n)) for n in range(3)]
    path = saved(tmp_path / "a.gif", images, duration=[100, 300, 100])
    with open_source(str(path), fps=5) as source:
        assert [frame.time_s for frame in source] == pytest.approx([0, 0.2, 0.4])
        assert source.notes() == ["--fps 5 in place of the file's own times"]


def test_a_chunk_of_a_png_may_be_large(tmp_path):
    """What says that it moves may come after a long profile of colours."""
    images = [Image.fromarray(picture(n)) for n in range(2)]
    saved(tmp_path / "a.png", images, icc_profile=np.random.default_rng(0).bytes(300_000))
    assert len(frames_of(tmp_path / "a.png")[0]) == 2
    buffer = BytesIO()
    images[0].save(buffer, "PNG")
    (tmp_path / "b.png").write_bytes(buffer.getvalue())
    assert len(frames_of(tmp_path / "b.png")[0]) == 1
