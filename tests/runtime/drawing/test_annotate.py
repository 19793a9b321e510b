"""Drawing: nothing is written into the input, and everything lands where it should."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import cv2
import numpy as np
import pytest
from unitrack_edge.records import Detections, Tracks
from unitrack_edge.runtime.drawing.annotate import draw_tracks
from unitrack_edge.runtime.drawing.colors import DISTINCT_COLORS, color_of, davis_palette

GREY = np.full((240, 320, 3), 127, np.uint8)


def _tracks(
    boxes: list[tuple[float, ...]],
    ids: list[int] | None = None,
    *,
    masks: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
    label_map: np.ndarray | None = None,
    class_names: tuple[str, ...] | None = None,
) -> Tracks:
    n = len(boxes)
    seen = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.ones(n, np.float32),
        np.zeros(n, np.int64),
        masks,
        keypoints,
        class_names,
    )
    return Tracks(0, np.array(ids or range(1, n + 1), np.int64), seen, label_map)


def test_names_are_drawn_where_there_are_several() -> None:
    box = [(100.0, 100.0, 150.0, 200.0)]
    plain = draw_tracks(GREY, _tracks(box))
    assert (draw_tracks(GREY, _tracks(box, class_names=("person",))) == plain).all()
    named = draw_tracks(GREY, _tracks(box, class_names=("bicycle", "car")))
    wide = [np.flatnonzero(_changed(image)[:95].any(axis=0)) for image in (plain, named)]
    assert np.ptp(wide[1]) > 2 * np.ptp(wide[0]), "the label is longer, at the same place"
    unknown = _tracks(box, class_names=("", "car", "van"))
    assert (draw_tracks(GREY, unknown) == plain).all()


def _changed(drawn: np.ndarray, image: np.ndarray = GREY) -> np.ndarray:
    return (drawn != image).any(axis=2)


def test_davis_palette() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[8].tolist() == [64, 0, 0]
    assert palette[20].tolist() == [0, 64, 128]
    assert palette[255].tolist() == [224, 224, 192]
    assert len(np.unique(palette, axis=0)) == 256


def test_colors_are_stable_and_far_apart() -> None:
    assert [color_of(k) for k in (1, 2, 3)] == [color_of(k) for k in (1, 2, 3)]
    assert color_of(1) == (51, 102, 255)
    colors = np.array([[color_of(k) for k in range(1, 13)]], np.float32) / 255
    lab = cv2.cvtColor(colors, cv2.COLOR_BGR2Lab)[0]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(lab, 2)) > 25
    assert len({color_of(k) for k in range(1, DISTINCT_COLORS + 1)}) == DISTINCT_COLORS
    assert all(0 <= v <= 255 for k in (-3, 0, 10**12) for v in color_of(k))


def test_the_input_is_not_written_to() -> None:
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    image.setflags(write=False)
    before = image.copy()
    masks = np.zeros((1, 120, 160), np.bool_)
    masks[0, 30:60, 40:80] = True
    points = np.full((1, 17, 3), 50, np.float32)
    drawn = draw_tracks(
        image,
        _tracks([(40, 30, 80, 60)], masks=masks, keypoints=points),
        boxes=True,
        caption="mot  25 FPS",
    )
    assert np.array_equal(image, before)
    assert not np.shares_memory(drawn, image)
    assert not np.array_equal(drawn, image)
    views = draw_tracks(image[:, ::2], _tracks([(4, 3, 40, 60)]))
    assert views.shape == (120, 80, 3)


def test_nothing_to_draw_gives_the_same_picture() -> None:
    assert np.array_equal(draw_tracks(GREY, _tracks([])), GREY)


def test_a_box_is_drawn_in_its_ids_color_and_leaves_its_inside_alone() -> None:
    drawn = draw_tracks(GREY, _tracks([(100, 80, 180, 200)], [7]))
    assert tuple(drawn[140, 100]) == tuple(drawn[199, 140]) == color_of(7)
    assert tuple(drawn[140, 179]) == color_of(7)
    assert not _changed(drawn)[90:190, 110:170].any()
    assert not _changed(drawn)[205:].any()


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 30, 40),
        (310, 0, 320, 240),
        (-50, -50, 5, 5),
        (315, 235, 900, 900),
        (0, 200, 20, 240),
        (-1e9, -1e9, 1e9, 1e9),
    ],
)
def test_labels_stay_inside_the_picture(box: tuple[float, ...]) -> None:
    middle = _changed(draw_tracks(GREY, _tracks([(150, 100, 200, 200)], [88]), boxes=False))
    edge = _changed(draw_tracks(GREY, _tracks([box], [88]), boxes=False))
    assert 0 < middle.sum() == edge.sum()


def test_a_label_stands_above_its_box_where_there_is_room() -> None:
    label = _changed(draw_tracks(GREY, _tracks([(150, 100, 200, 200)]), boxes=False))
    rows, columns = np.flatnonzero(label.any(axis=1)), np.flatnonzero(label.any(axis=0))
    assert rows[-1] == 99
    assert columns[0] == 150


def test_labels_grow_with_the_picture() -> None:
    heights = []
    for scale in (1, 4):
        image = np.full((240 * scale, 320 * scale, 3), 127, np.uint8)
        box = tuple(v * scale for v in (150, 100, 200, 200))
        label = _changed(draw_tracks(image, _tracks([box]), boxes=False), image)
        heights.append(int(label.any(axis=1).sum()))
    assert 2 < heights[1] / heights[0] < 5
    assert heights[0] >= 10


def test_masks_are_translucent_with_a_solid_rim() -> None:
    masks = np.zeros((2, 240, 320), np.bool_)
    masks[0, 60:160, 50:150] = True
    masks[1, 60:160, 150:250] = True
    drawn = draw_tracks(
        GREY, _tracks([(50, 60, 150, 160), (150, 60, 250, 160)], [3, 9], masks=masks)
    )
    for identity, column in ((3, 100), (9, 200)):
        mixed = 0.55 * 127 + 0.45 * np.array(color_of(identity))
        assert np.abs(drawn[110, column] - mixed).max() <= 1
        assert tuple(drawn[159, column]) == color_of(identity)
    assert tuple(drawn[110, 149]) == color_of(3)  # neighbours are kept apart by their rims
    assert tuple(drawn[110, 150]) == color_of(9)
    assert not _changed(drawn)[165:].any()
    assert not _changed(drawn)[60:160, 255:].any()


def test_a_label_map_takes_the_place_of_masks_and_boxes() -> None:
    labels = np.zeros((240, 320), np.uint8)
    labels[100:200, 100:200] = 5
    drawn = draw_tracks(GREY, _tracks([(100, 100, 200, 200)], [5], label_map=labels))
    assert tuple(drawn[100, 190]) == color_of(5)
    assert np.array_equal(_changed(drawn)[100:], labels[100:] > 0)
    boxed = draw_tracks(GREY, _tracks([(100, 100, 300, 200)], [5], label_map=labels), boxes=True)
    assert tuple(boxed[150, 299]) == color_of(5)


def test_keypoints_seen_are_joined_and_hidden_ones_left_out() -> None:
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 11], points[0, 13], points[0, 15] = (60.5, 60, 1), (60.5, 120, 0.5), (60, 200, 0)
    tracks = _tracks([(200, 20, 220, 40)], [2], keypoints=points)
    drawn = draw_tracks(GREY, tracks, boxes=False)
    for row in (60, 90, 120):
        assert np.abs(drawn[row, 60] - np.array(color_of(2))).max() < 30
    assert not _changed(drawn)[130:, :100].any()
    assert not _changed(drawn)[:20, :20].any()
    plain = draw_tracks(GREY, tracks, boxes=False, limbs=())
    assert not _changed(plain)[80:100, :100].any()
    other = draw_tracks(GREY, tracks, boxes=False, limbs=[(11, 13), (3, 99)])
    assert _changed(other)[90, 60]


def test_stray_pixels_and_joints_do_not_carry_the_label_away() -> None:
    labels = np.zeros((240, 320), np.uint8)
    labels[100:200, 100:180], labels[30:32, 290:292] = 3, 3
    drawn = draw_tracks(GREY, _tracks([(100, 30, 292, 200)], [3], label_map=labels))
    assert _changed(drawn)[92:100, 137:142].all(), "above the larger part"
    assert not _changed(drawn)[:25].any()
    points = np.zeros((1, 17, 3), np.float32)
    points[0, 5:17] = [(150 + k, 100 + 8 * k, 1) for k in range(12)]
    points[0, 16] = (20, 190, 1)
    drawn = draw_tracks(GREY, _tracks([(10, 92, 170, 200)], keypoints=points))
    assert _changed(drawn)[85, 150:160].any()
    assert not _changed(drawn)[:95, :120].any()


def _slanted(canvas: np.ndarray) -> None:
    cv2.line(canvas, (60, 220), (260, 60), 1, 16)


def _ring(canvas: np.ndarray) -> None:
    cv2.ellipse(canvas, (160, 140), (70, 60), 0, 0, 360, 1, 9)


def _long_neck(canvas: np.ndarray) -> None:
    canvas[150:220, 40:240] = canvas[60:150, 220:236] = 1


@pytest.mark.parametrize("as_masks", [True, False])
@pytest.mark.parametrize("shape", [_slanted, _ring, _long_neck])
def test_the_label_of_a_mask_touches_the_mask(shape: Callable, as_masks: bool) -> None:
    """The corner of its box is far from each of these."""
    labels = np.zeros((240, 320), np.uint8)
    shape(labels)
    mask = labels.astype(bool)
    x, y, width, height = cv2.boundingRect(labels)
    seen = {"masks": mask[None]} if as_masks else {"label_map": labels}
    drawn = draw_tracks(GREY, _tracks([(x, y, x + width, y + height)], **seen))
    plate = _changed(drawn) & ~mask
    rows, columns = np.nonzero(plate)
    below, middle = rows.max() + 1, (columns.min() + columns.max() + 1) // 2
    assert mask[below : below + 2, middle - 1 : middle + 2].any()
    assert below <= y + height // 5
    # Beside a long neck there is no label over the back.
    assert np.ptp(columns) < 20


@pytest.mark.parametrize("as_masks", [True, False])
def test_of_many_small_objects_pieces_are_looked_for_in_their_own_boxes(
    as_masks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not in as many whole images."""
    labels = np.zeros((240, 320), np.uint8)
    for number in range(1, 101):
        y, x = 24 * ((number - 1) // 10), 32 * ((number - 1) % 10)
        labels[y : y + 12, x : x + 12] = number
    ids = list(range(1, 101))
    looked_at: list[int] = []
    original = cv2.connectedComponentsWithStats

    def counted(mask: np.ndarray) -> object:
        looked_at.append(mask.size)
        return original(mask)

    monkeypatch.setattr(cv2, "connectedComponentsWithStats", counted)
    masks = labels[None] == np.array(ids)[:, None, None] if as_masks else None
    label_map = None if as_masks else labels
    draw_tracks(GREY, _tracks([(0, 0, 9, 9)] * 100, ids, masks=masks, label_map=label_map))
    assert looked_at == [144] * 100


def test_boxes_only_where_nothing_else_shows_the_object() -> None:
    points = np.zeros((2, 17, 3), np.float32)
    points[0, 5:17] = [(60 + k, 60 + 8 * k, 1) for k in range(12)]
    tracks = _tracks([(40, 50, 90, 160), (200, 50, 250, 160)], keypoints=points)
    drawn = draw_tracks(GREY, tracks)
    assert not _changed(drawn)[159, 40:60].any()
    assert tuple(drawn[120, 200]) == color_of(2), "nobody knows where that one's joints are"
    assert tuple(draw_tracks(GREY, tracks, boxes=True)[120, 40]) == color_of(1)


def test_mad_keypoints_do_no_harm() -> None:
    points = np.full((1, 5, 3), np.nan, np.float32)
    points[0, 1] = (1e30, -1e30, 1)
    points[0, 2] = (30, 40, 1)
    drawn = draw_tracks(GREY, _tracks([(200, 20, 220, 40)], keypoints=points), boxes=False)
    assert _changed(drawn)[40, 30]


def test_caption_stands_in_the_top_left_corner_and_fits() -> None:
    short = _changed(draw_tracks(GREY, _tracks([]), caption="vos"))
    assert short[:10, :10].mean() > 0.9
    assert not short[60:].any()
    assert not short[:, 120:].any()
    long = draw_tracks(GREY, _tracks([]), caption="mot on the scene, 25.0 frames a second " * 3)
    assert not _changed(long)[60:].any()
    bright = np.flatnonzero((long[:30] > 180).all(axis=2).any(axis=0))
    assert 250 < bright.max() < 319


def test_tiny_pictures_and_crowds() -> None:
    tiny = np.zeros((3, 2, 3), np.uint8)
    assert draw_tracks(tiny, _tracks([(0, 0, 2, 3)]), caption="x").shape == (3, 2, 3)
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 200, (500, 2))
    crowd = np.hstack([corners, corners + 20]).tolist()
    assert draw_tracks(GREY, _tracks(crowd, list(range(1, 501)))).shape == GREY.shape
