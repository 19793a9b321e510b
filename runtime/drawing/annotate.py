"""Tracks drawn over an image: masks, boxes, poses, trails, identities and a caption."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ...errors import printable
from ...records import BoolArray, FloatArray, Tracks, UInt8Array
from .colors import Color, color_of

POSETRACK_LIMBS: tuple[tuple[int, int], ...] = (
    (1, 2),
    (1, 5),
    (1, 6),
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (5, 11),
    (6, 12),
    (11, 12),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
)
"""Pairs of PoseTrack18's 17 keypoints that are joined by a line; nose and ears are dots."""

_MASK_OPACITY = 0.45
_FONT = cv2.FONT_HERSHEY_DUPLEX
_FRACTION_BITS = 4
_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)


def draw_tracks(
    image: UInt8Array,
    tracks: Tracks,
    *,
    boxes: bool | None = None,
    limbs: Sequence[tuple[int, int]] | None = None,
    trails: Mapping[int, FloatArray] | None = None,
    caption: str = "",
) -> UInt8Array:
    """A copy of the image with the tracks drawn over it, each identity in its own colour.

    Masks are laid over translucently with a solid outline, keypoints of confidence above 0 are
    joined to a skeleton, and every object gets its id in a label that stays inside the image, with
    the name of its class where the detector knows several. Lines and letters grow with the image.

    Args:
        image: (H, W, 3) uint8 BGR; not written to.
        tracks: What to draw, in the image's pixels; its label map, where it has one, is drawn in
            place of its masks.
        boxes: Whether to draw boxes; by default only of objects without a mask and a keypoint.
        limbs: Pairs of keypoint numbers to join; by default PoseTrack18's for 17 keypoints and
            none for other numbers of them. Pairs beyond the keypoints are left out.
        trails: (n, 2) past places of identities in the image's pixels, oldest first; see
            `trails.Trails`.
        caption: A line for the top left corner; none if empty.

    Returns:
        (H, W, 3) uint8 BGR, a new array.
    """
    canvas: UInt8Array = np.array(image, np.uint8, order="C")
    thickness = max(1, round(min(canvas.shape[:2]) / 200))
    colors = [color_of(int(identity)) for identity in tracks.ids]
    masked = _draw_masks(canvas, tracks, colors, thickness)
    seen = tracks.detections
    for identity, color in zip(tracks.ids.tolist(), colors, strict=True):
        if trails is not None and identity in trails:
            _draw_trail(canvas, trails[identity], color, thickness)
    posed: BoolArray = np.zeros(len(tracks), np.bool_)
    if seen.keypoints is not None:
        posed = np.asarray(_drawable(seen.keypoints, canvas).any(axis=1), np.bool_)
    bare = np.full(len(tracks), boxes) if boxes is not None else ~posed & (not masked)
    for shown, corners, color in zip(bare, _corners(seen.boxes_xyxy, canvas), colors, strict=True):
        if shown:
            _draw_box(canvas, corners, color, thickness)
    if seen.keypoints is not None:
        joined = limbs if limbs is not None else _limbs_of(seen.keypoints.shape[1])
        for points, color in zip(seen.keypoints, colors, strict=True):
            _draw_pose(canvas, points, joined, color, thickness)
    # Labels come last, so that no neighbour's box runs through them.
    places, centred = _label_boxes(tracks, posed, canvas)
    anchors = _corners(places, canvas)
    several = sum(map(bool, seen.class_names or ())) > 1
    for row, (corners, color) in enumerate(zip(anchors, colors, strict=True)):
        name = seen.name_of(int(seen.classes[row])) if several else ""
        text = f"{tracks.ids[row]} {name}".strip()
        _draw_label(canvas, text, corners, color, centred=bool(centred[row]))
    if caption:
        _draw_caption(canvas, caption)
    return canvas


def _limbs_of(keypoints: int) -> Sequence[tuple[int, int]]:
    return POSETRACK_LIMBS if keypoints == 17 else ()


def _label_boxes(
    tracks: Tracks, posed: BoolArray, canvas: UInt8Array
) -> tuple[FloatArray, BoolArray]:
    """(N, 4) boxes that labels stand on, and (N,) whether in the middle of them.

    Stray pixels and joints must not carry labels away, and the corner of a mask's box is mostly
    none of the mask.
    """
    seen = tracks.detections
    boxes: FloatArray = seen.boxes_xyxy.copy()
    centred = posed.copy()
    for row, identity in enumerate(tracks.ids.tolist()):
        mask = None if seen.masks is None else seen.masks[row]
        if tracks.label_map is not None:
            mask = tracks.label_map == identity
        if mask is not None and mask.any():
            boxes[row], centred[row] = _top_of(mask), True
        elif posed[row] and seen.keypoints is not None:
            joints = seen.keypoints[row]
            boxes[row, ::2] = np.median(joints[_drawable(joints, canvas), 0])
    return boxes, centred


def _top_of(mask: BoolArray) -> FloatArray:
    """Box (4,) of a pixel on the upper edge of a mask (H, W) that is not empty.

    In the column that halves the upper fifth of the mask's largest connected part: a single
    highest pixel would jump from frame to frame.
    """
    shown = np.ascontiguousarray(mask).view(np.uint8)
    left, top, width, height = cv2.boundingRect(shown)
    # Of many small objects, whole frames would take longer than all that is drawn.
    inside = shown[top : top + height, left : left + width]
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    number = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, width, height, _ = stats[number].tolist()
    piece = parts[y : y + height, x : x + width] == number
    filled = np.cumsum(np.count_nonzero(piece[: -(-height // 5)], axis=0))
    column = int(np.searchsorted(filled, (filled[-1] + 1) // 2))
    row = int(np.argmax(piece[:, column]))
    place = left + x + column, top + y + row
    return np.array([*place, place[0] + 1, place[1] + 1], np.float32)


def _corners(boxes_xyxy: FloatArray, canvas: UInt8Array) -> list[tuple[int, int, int, int]]:
    """Whole pixel corners, cut a little beyond the image so that no coordinate is too large."""
    height, width = canvas.shape[:2]
    low, high = np.array([-9.0]), np.array([width + 8.0, height + 8.0] * 2)
    whole = np.rint(np.clip(boxes_xyxy.astype(np.float64), low, high)).astype(int)
    return [(int(x0), int(y0), int(x1) - 1, int(y1) - 1) for x0, y0, x1, y1 in whole]


def _rows_and_colors(
    tracks: Tracks, colors: list[Color]
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]] | None:
    """A map of small numbers over the image, 0 for nothing, and the colour of every number."""
    if tracks.label_map is not None:
        table = np.array([_BLACK, *(color_of(k) for k in range(1, 256))], np.uint8)
        return tracks.label_map.astype(np.uint16), table
    masks = tracks.detections.masks
    if masks is None or not len(masks):
        return None
    rows = np.zeros(masks.shape[1:], np.uint16)
    for row, mask in enumerate(masks):
        rows[mask] = row + 1
    return rows, np.array([_BLACK, *colors], np.uint8)


def _draw_masks(canvas: UInt8Array, tracks: Tracks, colors: list[Color], thickness: int) -> bool:
    found = _rows_and_colors(tracks, colors)
    if found is None:
        return False
    rows, table = found
    paint = table[rows]
    tinted = cv2.addWeighted(canvas, 1 - _MASK_OPACITY, paint, _MASK_OPACITY, 0)
    cv2.copyTo(tinted, (rows > 0).astype(np.uint8), canvas)
    kernel = np.ones((2 * thickness + 1,) * 2, np.uint8)
    rim = (rows > 0) & (cv2.morphologyEx(rows, cv2.MORPH_GRADIENT, kernel) > 0)
    cv2.copyTo(paint, rim.astype(np.uint8), canvas)
    return True


def _draw_box(
    canvas: UInt8Array, corners: tuple[int, int, int, int], color: Color, thickness: int
) -> None:
    left, top, right, bottom = corners
    dark = (color[0] // 3, color[1] // 3, color[2] // 3)
    # A thin dark edge keeps the box apart from a background of its own colour.
    cv2.rectangle(canvas, (left, top), (right, bottom), dark, thickness + 2)
    cv2.rectangle(canvas, (left, top), (right, bottom), color, thickness)


def _draw_pose(
    canvas: UInt8Array,
    points: FloatArray,
    limbs: Sequence[tuple[int, int]],
    color: Color,
    thickness: int,
) -> None:
    seen = _drawable(points, canvas)
    if not seen.any():
        return
    # A small person gets thin limbs, or nothing of it would show between them.
    tall = float(np.ptp(points[seen, 1]))
    thickness = max(1, min(thickness, round(tall / 40)))
    places = [_fixed(place) for place in np.where(seen[:, None], points[:, :2], 0)]
    count = len(places)
    joined = [(a, b) for a, b in limbs if 0 <= a < count and 0 <= b < count and seen[a] and seen[b]]
    # All dark edges first: none runs through a neighbouring limb then.
    for paint, wider in ((_BLACK, 2), (color, 0)):
        for a, b in joined:
            cv2.line(
                canvas, places[a], places[b], paint, thickness + wider, cv2.LINE_AA, _FRACTION_BITS
            )
        radius = (2 * thickness + wider + 1) << (_FRACTION_BITS - 1)
        for place, shown in zip(places, seen, strict=True):
            if shown:
                cv2.circle(canvas, place, radius, paint, -1, cv2.LINE_AA, _FRACTION_BITS)


def _drawable(keypoints: FloatArray, canvas: UInt8Array) -> BoolArray:
    """(..., K) bool: keypoints of (..., K, 3) that are seen and not absurdly far away."""
    far = 4.0 * max(canvas.shape[:2])
    finite: BoolArray = np.asarray(np.isfinite(keypoints).all(axis=-1), np.bool_)
    near = (np.abs(np.where(finite[..., None], keypoints, 0)) < far).all(axis=-1)
    return np.asarray(finite & near & (keypoints[..., 2] > 0), np.bool_)


def _fixed(place: FloatArray) -> tuple[int, int]:
    """A place in OpenCV's fixed-point numbers, which count from the middle of pixel (0, 0)."""
    x, y = np.rint((place.astype(np.float64) - 0.5) * (1 << _FRACTION_BITS)).astype(int)
    return int(x), int(y)


def _draw_trail(canvas: UInt8Array, places: FloatArray, color: Color, thickness: int) -> None:
    """A line through the places, thinner the longer ago."""
    far = 4.0 * max(canvas.shape[:2])
    fixed = [_fixed(place) for place in np.clip(places, -far, far)]
    for number, ends in enumerate(itertools.pairwise(fixed), 1):
        width = max(1, round(2 * thickness * number / len(fixed)))
        cv2.line(canvas, *ends, color, width, cv2.LINE_AA, _FRACTION_BITS)


def _draw_label(
    canvas: UInt8Array,
    text: str,
    corners: tuple[int, int, int, int],
    color: Color,
    *,
    centred: bool,
) -> None:
    """A text on a plate above the box, or inside it where the space above is too small."""
    text = printable(text)
    scale, weight = _letters(canvas)
    (wide, tall), below = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(2, round(0.3 * tall))
    height, width = canvas.shape[:2]
    plate_w, plate_h = wide + 2 * pad, tall + below // 2 + 2 * pad
    left = (corners[0] + corners[2] - plate_w) // 2 if centred else corners[0]
    left = max(0, min(left, width - plate_w))
    top = corners[1] - plate_h if corners[1] >= plate_h else max(corners[1], 0)
    top = max(0, min(top, height - plate_h))
    cv2.rectangle(canvas, (left, top), (left + plate_w - 1, top + plate_h - 1), color, -1)
    bright = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2] > 140
    at = (left + pad, top + pad + tall)
    cv2.putText(canvas, text, at, _FONT, scale, _BLACK if bright else _WHITE, weight, cv2.LINE_AA)


def _draw_caption(canvas: UInt8Array, text: str) -> None:
    text = printable(text)
    scale, weight = _letters(canvas)
    (wide, _), _ = cv2.getTextSize(text, _FONT, scale, weight)
    widest = 0.96 * canvas.shape[1]
    scale *= min(1.0, widest / max(wide, 1))
    (wide, tall), below = cv2.getTextSize(text, _FONT, scale, weight)
    pad = max(2, round(0.45 * tall))
    strip = canvas[: tall + below // 2 + 2 * pad, : wide + 2 * pad]
    strip[...] = (strip * 0.35).astype(np.uint8)
    cv2.putText(canvas, text, (pad, pad + tall), _FONT, scale, _WHITE, weight, cv2.LINE_AA)


def _letters(canvas: UInt8Array) -> tuple[float, int]:
    """Font scale and stroke width for an image."""
    size = min(canvas.shape[:2])
    return max(0.35, size / 650), max(1, round(size / 500))
