"""The transform between source and network pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unitrack_edge.errors import SourceError
from unitrack_edge.runtime.preprocessing import PAD_VALUE, Letterbox, Region

sizes = st.tuples(st.integers(1, 3000), st.integers(1, 3000))


def test_known_geometry():
    box = Letterbox.fit((1080, 1920), (608, 1088))
    assert (box.inner_hw, box.top, box.left) == ((608, 1081), 0, 3)  # 7 columns: 3 left, 4 right
    box = Letterbox.fit((480, 640), (608, 1088))
    assert (box.inner_hw, box.top, box.left) == ((608, 811), 0, 138)
    box = Letterbox.fit((100, 400), (416, 416))
    assert (box.inner_hw, box.top, box.left) == ((104, 416), 156, 0)


@given(source=sizes, network=sizes, data=st.data())
@settings(max_examples=200, deadline=None)
def test_round_trip(source, network, data):
    box = Letterbox.fit(source, network)
    number = st.floats(-2, 2, width=32)
    points = np.array(data.draw(st.lists(st.tuples(number, number), min_size=2, max_size=8)))
    points = points * (source[1], source[0])  # up to twice the image away
    boxes = np.concatenate((points[:1], points[1:2]), axis=1)
    tolerance = 1e-9 * max(source)
    for there, back, values in (
        (box.points_to_network, box.points_to_source, points),
        (box.to_network, box.to_source, boxes),
    ):
        np.testing.assert_allclose(back(there(values)), values, rtol=0, atol=tolerance)
    np.testing.assert_array_equal(
        box.to_network(boxes), box.points_to_network(boxes.reshape(2, 2)).reshape(1, 4)
    )


@given(source=sizes, network=sizes)
@settings(max_examples=200, deadline=None)
def test_picture_lies_inside_and_touches_two_sides(source, network):
    box = Letterbox.fit(source, network)
    corners = np.array([[0.0, 0.0], [source[1], source[0]]])
    (x0, y0), (x1, y1) = box.points_to_network(corners)
    assert (x0, y0) == (box.left, box.top)
    assert x1 == pytest.approx(box.left + box.inner_hw[1])
    assert y1 == pytest.approx(box.top + box.inner_hw[0])
    right, bottom = network[1] - x1, network[0] - y1
    assert -1e-6 <= right - box.left <= 1 + 1e-6
    assert -1e-6 <= bottom - box.top <= 1 + 1e-6
    assert box.inner_hw[0] == network[0] or box.inner_hw[1] == network[1]


def test_apply_puts_pixels_where_the_coordinates_say():
    image = np.zeros((120, 200, 3), np.uint8)
    image[40:80, 50:150] = (10, 200, 250)
    letterbox = Letterbox.fit((120, 200), (64, 64))
    out = letterbox.apply(image)
    assert out.shape == (64, 64, 3)
    assert out.dtype == np.uint8
    x0, y0, x1, y1 = letterbox.to_network(np.array([[50, 40, 150, 80]], np.float32))[0]
    assert (x0, x1) == (16.0, 48.0)
    inside = out[int(np.ceil(y0)) : int(y1), 16:48]
    assert (inside == (10, 200, 250)).all()
    assert (out[: letterbox.top] == PAD_VALUE).all()
    assert (out[letterbox.top + letterbox.inner_hw[0] :] == PAD_VALUE).all()
    assert (out[letterbox.top, :10] == 0).all()


def share_of_pixels(source, scaled):
    """(scaled, source): how much of each pixel of the scaled line each source pixel covers."""
    edges = np.arange(scaled + 1) * source / scaled
    starts, ends = edges[:-1, None], edges[1:, None]
    pixel = np.arange(source)
    covered = np.clip(np.minimum(ends, pixel + 1) - np.maximum(starts, pixel), 0, None)
    return covered * scaled / source


@pytest.mark.parametrize("network_hw", [(20, 30), (24, 36), (42, 63), (59, 88)])
def test_a_smaller_image_is_the_mean_over_areas(network_hw):
    """Of a pattern as fine as pixels, of which single samples would show anything."""
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    letterbox = Letterbox.fit((60, 90), network_hw)
    out = letterbox.apply(image)[letterbox.top :][: letterbox.inner_hw[0]]
    rows, cols = (
        share_of_pixels(*sizes) for sizes in zip((60, 90), letterbox.inner_hw, strict=True)
    )
    want = np.einsum("yr,rcx,kc->ykx", rows, image.astype(np.float64), cols)
    assert np.abs(out - want).max() <= 0.5 + 1e-3  # to the nearest level


def test_pad_is_what_opencv_makes_of_the_methods_value():
    grey = cv2.copyMakeBorder(
        np.zeros((1, 1, 3), np.uint8), 1, 0, 0, 0, cv2.BORDER_CONSTANT, value=(127.5,) * 3
    )
    assert (grey[0] == PAD_VALUE).all()


def test_same_size_is_the_same_array():
    image = np.zeros((30, 40, 3), np.uint8)
    letterbox = Letterbox.fit((30, 40), (30, 40))
    assert letterbox.is_identity
    assert letterbox.apply(image) is image
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    np.testing.assert_array_equal(letterbox.to_source(boxes), boxes)


def test_padding_only_keeps_every_pixel():
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    out = Letterbox.fit((30, 40), (33, 40)).apply(image)
    np.testing.assert_array_equal(out[1:31], image)


def test_dtypes_and_empty():
    letterbox = Letterbox.fit((30, 40), (64, 64))
    assert letterbox.to_network(np.zeros((0, 4), np.float32)).shape == (0, 4)
    assert letterbox.to_source(np.zeros((2, 4), np.float32)).dtype == np.float32
    assert letterbox.points_to_source(np.zeros((2, 17, 2), np.float32)).shape == (2, 17, 2)
    assert letterbox.to_network(np.array([[1, 2, 3, 4]])).dtype == np.float32


def test_extreme_ratio_keeps_a_pixel():
    letterbox = Letterbox.fit((1, 5000), (64, 64))
    assert letterbox.inner_hw == (1, 64)
    assert letterbox.apply(np.zeros((1, 5000, 3), np.uint8)).shape == (64, 64, 3)


def test_bad_sizes():
    with pytest.raises(SourceError, match="at least 1 pixel"):
        Letterbox.fit((0, 5), (64, 64))
    with pytest.raises(SourceError, match="expected \\(30, 40\\)"):
        Letterbox.fit((30, 40), (64, 64)).apply(np.zeros((31, 40, 3), np.uint8))


# Regions.


@given(
    pitch=st.integers(2, 40), top=st.integers(0, 20), left=st.integers(0, 20),
    rows=st.integers(1, 30), cols=st.integers(1, 30), data=st.data(),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_a_region_lies_on_the_grid_of_its_pitch(pitch, top, left, rows, cols, data):
    """Cell (r, c) of the grid begins at pitch · (c, r) in the source, whatever region has it."""
    region = Region(top, left, rows, cols, pitch)
    height = pitch * data.draw(st.integers(top + 1, top + rows + 3))
    width = pitch * data.draw(st.integers(left + 1, left + cols + 3))
    box = region.letterbox((height, width), 8)
    assert box.network_hw == (rows * 8, cols * 8)
    cells = np.array([[0.0, 0.0], [1.0, 1.0]])  # x, y within the region
    places = box.points_to_source(cells * 8)
    np.testing.assert_allclose(places, (cells + np.array([left, top])) * pitch, atol=1e-9)
    np.testing.assert_allclose(box.points_to_network(places), cells * 8, atol=1e-9)


def test_a_region_shows_its_part_of_the_frame_and_padding_beyond_it():
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    box = Region(1, 2, 4, 8, pitch=8).letterbox((50, 70), 8)
    out = box.apply(box.cut_out(image))
    assert out.shape == (32, 64, 3)
    np.testing.assert_array_equal(out[:, :54], image[8:40, 16:70])
    assert (out[:, 54:] == PAD_VALUE).all()


def test_a_region_beyond_the_frame_is_an_error():
    with pytest.raises(SourceError, match="begins outside"):
        Region(9, 0, 2, 2, 8).letterbox((64, 64), 8)
    with pytest.raises(SourceError, match="begins outside"):
        Region(-1, 0, 2, 2, 8).letterbox((64, 64), 8)
