"""Which of a file's named images is a frame's."""

from __future__ import annotations

from pathlib import Path

import pytest
from unitrack_edge.errors import DetectionError
from unitrack_edge.runtime.formats.reading.named import NamedFrames

from ....support.frames import frame


def found(names, frames, **keywords):
    images = NamedFrames(Path("det"), names, **keywords)
    return [images.find(frame(k, name=name)) for k, name in enumerate(frames)]


NO_NAMES = ("", "", "")


@pytest.mark.parametrize(
    ("names", "frames", "expected"),
    [
        (["small_1.txt", "small_3.txt"], NO_NAMES, [0, None, 1]),
        (["small_0.txt", "small_2.txt"], NO_NAMES, [0, None, 1]),
        (["small_2.txt"], NO_NAMES, [None, 0, None]),
        (["000004.txt", "000006.txt"], ("000004.png", "000005.png", "000006.png"), [0, None, 1]),
        (["000005.txt"], ("000004.png", "000005.png"), [None, 0]),
        (["a/b/x9.jpg", "y.jpg"], ("y.png", "x9.png"), [1, 0]),
        (["one", "two"], NO_NAMES, [0, 1, None]),
        (["st.east_1", "st.east_2"], NO_NAMES, [0, 1, None]),
        (["st.east_2"], ("st.east_1.jpg", "st.east_2.jpg"), [None, 0]),
        (["v_1", "v_2"], ("0001.png", "0002.png"), [0, 1]),
    ],
)
def test_frames_are_found_by_name_or_number(names, frames, expected):
    assert found(names, frames) == expected


def test_a_list_of_all_images_counts_by_its_order_unless_it_has_gaps():
    assert found(["f_100", "f_101"], NO_NAMES, listed=True) == [0, 1, None]
    assert found(["f_0", "f_2"], NO_NAMES, listed=True) == [0, None, 1]


@pytest.mark.parametrize(
    ("names", "frames", "listed", "by_order"),
    [
        (["one", "two"], NO_NAMES, False, True),
        (["one", "two"], ("a.png", "b.png"), False, True),
        (["one", "two"], ("one.png", "two.png"), False, False),
        (["one_1", "two_2"], ("a.png", "b.png"), False, False),
        (["one", "two"], NO_NAMES, True, False),
    ],
)
def test_names_that_only_their_order_helps_to_place(names, frames, listed, by_order):
    images = NamedFrames(Path("det"), names, listed=listed)
    assert not images.by_order
    images.find(frame(0, name=frames[0]))
    assert images.by_order == by_order


def test_two_images_of_one_name_are_refused():
    with pytest.raises(DetectionError, match="several images are called 'x'"):
        NamedFrames(Path("det"), ["a/x.jpg", "b/x.jpg"])
