"""Layouts of the YOLO families: rows of a grid's cells, and rows that the network chose.

A raw output has a row for every cell (and anchor) of the grids of stride 8, 16 and 32, so the size
of the image says how many there must be.  Boxes are centre, width and height in pixels of the
network's image, but for YOLOX, which gives offsets from the cell and logarithms in strides.
Ultralytics' raw exports give class scores; those of YOLOv5 and YOLOX are to be multiplied by an
objectness.  Masks are weighted sums of prototypes, with the weights at the end of each row.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

from ....records import FloatArray, IntArray
from ..image import ImageRule
from .base import (
    JOINTS,
    Candidates,
    Graph,
    Layout,
    Outputs,
    Roles,
    Shapes,
    best_class,
    boxes_from_centres,
    weighed_masks,
)

STRIDES = (8, 16, 32)

GRIDS = (STRIDES, (*STRIDES, 64), (4, *STRIDES))
"""Strides of a network's grids: the usual ones, and with one more for large or small objects."""

PROTOTYPES = 32
"""Of masks, and as many weights a row."""

MOST_ROWS = 1000
"""Of a network that chooses its rows itself, at most."""

MAX_LOG_SIZE = 20.0
"""exp of this is 485 million strides; beyond it the exponential would overflow."""


def count_cells(size_hw: tuple[int, int], strides: tuple[int, ...] = STRIDES) -> int:
    """Cells of an image's grids."""
    return sum((size_hw[0] // stride) * (size_hw[1] // stride) for stride in strides)


def _on_grid(rows: int, size_hw: tuple[int, int], anchors: int = 1) -> bool:
    return any(rows == anchors * count_cells(size_hw, strides) for strides in GRIDS)


@cache
def grid_cells(size_hw: tuple[int, int]) -> FloatArray:
    """(A, 3) float32 of column, row and stride of every cell, strides ascending, row by row."""
    levels = []
    for stride in STRIDES:
        rows, columns = np.indices((size_hw[0] // stride, size_hw[1] // stride))
        sizes = np.full(rows.size, stride)
        levels.append(np.stack([columns.ravel(), rows.ravel(), sizes], axis=1))
    return np.concatenate(levels).astype(np.float32)


def _rows(graph: Graph, *, masks: bool) -> tuple[Roles, tuple[int, int]] | None:
    """The output of rows and its shape without batch; None if there are not just those expected."""
    floats = graph.shapes("float")
    rows = [(place, shape) for place, shape in floats if len(shape) == 3 and shape[0] == 1]
    protos = [place for place, shape in floats if len(shape) == 4 and shape[1] == PROTOTYPES]
    if (len(rows), len(protos), len(graph.outputs)) != (1, int(masks), 1 + masks):
        return None
    place, (_, first, second) = rows[0]
    roles = {"rows": place, "prototypes": protos[0]} if masks else {"rows": place}
    return roles, (first, second)


def _masks(outputs: Outputs, weights: FloatArray) -> Callable[[IntArray], FloatArray] | None:
    return weighed_masks(outputs["prototypes"], weights) if "prototypes" in outputs else None


# YOLOX: offsets and logarithms.


def _read_yolox(graph: Graph) -> Roles | None:
    found = _rows(graph, masks=False)
    if found is None or any(side % STRIDES[-1] for side in graph.size_hw):
        return None
    roles, (rows, width) = found
    return roles if rows == count_cells(graph.size_hw) and width >= 6 else None


def _decode_yolox(outputs: Outputs, size_hw: tuple[int, int]) -> Candidates:
    raw, cells = outputs["rows"], grid_cells(size_hw)
    best, labels = best_class(raw[:, 5:])
    centres = (raw[:, :2] + cells[:, :2]) * cells[:, 2:]
    sides = np.exp(np.minimum(raw[:, 2:4], MAX_LOG_SIZE)) * cells[:, 2:]
    return Candidates(boxes_from_centres(centres, sides), raw[:, 4] * best, labels)


# YOLOv5, v6 and v7: pixels and an objectness.


def _read_v5(graph: Graph, *, masks: bool) -> Roles | None:
    found = _rows(graph, masks=masks)
    if found is None:
        return None
    roles, (rows, width) = found
    fits = _on_grid(rows, graph.size_hw, 3) or _on_grid(rows, graph.size_hw)
    return roles if fits and width >= 6 + PROTOTYPES * masks else None


def _decode_v5(outputs: Outputs, _size_hw: tuple[int, int]) -> Candidates:
    raw = outputs["rows"]
    end = raw.shape[1] - PROTOTYPES * ("prototypes" in outputs)
    best, labels = best_class(raw[:, 5:end])
    boxes = boxes_from_centres(raw[:, :2], raw[:, 2:4])
    return Candidates(boxes, raw[:, 4] * best, labels, masks=_masks(outputs, raw[:, end:]))


def _count_v5(shapes: Shapes) -> int:
    return shapes["rows"][1] - 5 - PROTOTYPES * ("prototypes" in shapes)


# Ultralytics' v8, 11 and 26: a column a cell, class scores.


def _read_v8(graph: Graph, *, masks: bool = False, poses: bool = False) -> Roles | None:
    found = _rows(graph, masks=masks)
    task = "pose" if poses else "segment" if masks else "detect"
    if found is None or graph.metadata.get("task", task) != task:
        return None
    roles, (width, columns) = found
    fits = width == 5 + 3 * JOINTS if poses else width >= 5 + PROTOTYPES * masks
    return roles if fits and _on_grid(columns, graph.size_hw) else None


def _decode_v8(outputs: Outputs, _size_hw: tuple[int, int]) -> Candidates:
    columns = outputs["rows"]
    end = len(columns) - PROTOTYPES * ("prototypes" in outputs)
    labels = columns[4:end].argmax(axis=0).astype(np.int64)
    scores = columns[4:end].max(axis=0)
    boxes = boxes_from_centres(columns[:2].T, columns[2:4].T)
    return Candidates(boxes, scores, labels, masks=_masks(outputs, columns[end:].T))


def _decode_v8_pose(outputs: Outputs, size_hw: tuple[int, int]) -> Candidates:
    columns = outputs["rows"]
    found = _decode_v8({"rows": columns[:5]}, size_hw)
    keypoints = columns[5:].T.reshape(-1, JOINTS, 3)
    return Candidates(found.boxes_xyxy, found.scores, found.classes, keypoints)


def _count_v8(shapes: Shapes) -> int:
    return shapes["rows"][0] - 4 - PROTOTYPES * ("prototypes" in shapes)


# Rows of corners, score and class, chosen by the network: v10, 26, and exports with NMS.


def _read_end2end(graph: Graph, *, masks: bool = False, poses: bool = False) -> Roles | None:
    found = _rows(graph, masks=masks)
    if found is None:
        return None
    roles, (rows, width) = found
    wanted = 6 + PROTOTYPES * masks + 3 * JOINTS * poses
    return roles if width == wanted and rows <= MOST_ROWS else None


def _decode_end2end(outputs: Outputs, _size_hw: tuple[int, int]) -> Candidates:
    rows = outputs["rows"]
    keypoints = rows[:, 6:].reshape(-1, JOINTS, 3) if rows.shape[1] == 6 + 3 * JOINTS else None
    masks = _masks(outputs, rows[:, 6:])
    return Candidates(rows[:, :4], rows[:, 4], rows[:, 5].astype(np.int64), keypoints, masks)


_YOLOX = ImageRule("bgr-255", "corner")
_ULTRALYTICS = ImageRule("rgb-1", "centre")
_PROTOTYPES = f"prototypes (1, {PROTOTYPES}, h, w)"

# fmt: off
# A row on few lines: the formatter would make eight of each and the table unreadable.
YOLO_LAYOUTS = (
    Layout("yolox", "(1, A, 5 + classes), A the cells of strides 8, 16 and 32, not decoded",
        _read_yolox, _decode_yolox, _count_v5, _YOLOX, nms_limit=0.45),
    Layout("yolov5", "(1, 3·A, 5 + classes), in pixels",
        partial(_read_v5, masks=False), _decode_v5, _count_v5, _ULTRALYTICS, nms_limit=0.45),
    Layout("yolov5-seg", f"(1, 3·A, 5 + classes + {PROTOTYPES}) and {_PROTOTYPES}",
        partial(_read_v5, masks=True), _decode_v5, _count_v5, _ULTRALYTICS, nms_limit=0.45),
    # Of people, with what 52 classes would look like: it comes first, unless the file says detect.
    Layout("yolov8-pose", f"(1, 5 + {3 * JOINTS}, A)",
        partial(_read_v8, poses=True), _decode_v8_pose, lambda _: 1, _ULTRALYTICS, nms_limit=0.7,
        keypoints=True, person=True),
    Layout("yolov8", "(1, 4 + classes, A), as of v8, v9, 11 and 26",
        _read_v8, _decode_v8, _count_v8, _ULTRALYTICS, nms_limit=0.7),
    Layout("yolov8-seg", f"(1, 4 + classes + {PROTOTYPES}, A) and {_PROTOTYPES}",
        partial(_read_v8, masks=True), _decode_v8, _count_v8, _ULTRALYTICS, nms_limit=0.7),
    Layout("end2end", f"(1, N, 6), N up to {MOST_ROWS}, as of v10, 26 and exports with NMS",
        _read_end2end, _decode_end2end, None, _ULTRALYTICS),
    Layout("end2end-pose", f"(1, N, 6 + {3 * JOINTS})",
        partial(_read_end2end, poses=True), _decode_end2end, lambda _: 1, _ULTRALYTICS,
        keypoints=True, person=True),
    Layout("end2end-seg", f"(1, N, 6 + {PROTOTYPES}) and {_PROTOTYPES}",
        partial(_read_end2end, masks=True), _decode_end2end, None, _ULTRALYTICS),
)
# fmt: on
