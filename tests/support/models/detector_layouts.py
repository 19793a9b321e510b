"""A graph of every layout of detectors' outputs, all of which show the same two objects."""

from __future__ import annotations

import numpy as np
from unitrack_edge.records import Frame
from unitrack_edge.runtime.detectors.layouts.table import LAYOUTS
from unitrack_edge.runtime.detectors.layouts.yolo import grid_cells
from unitrack_edge.runtime.detectors.model import open_model
from unitrack_edge.runtime.detectors.recognition import ModelSettings

from .detector_graphs import write_detector

SOURCE_HW = 96, 128
SIDE = 64
CELLS = 84
BOXES = np.array([[16, 24, 48, 90], [72, 6, 120, 42]], np.float64)
"""Of the two objects, in source pixels."""
SCORES = (0.9, 0.6)
CLASSES = (2, 0)
WEAK = 0.1
"""Of a third object, which is not reported."""

# Network pixels per source pixel in x and y, and where the image begins.
PLACES = {
    "corner": ((0.5, 0.5), (0, 0)),
    "centre": ((0.5, 0.5), (0, 8)),
    "stretch": ((0.5, 2 / 3), (0, 0)),
}


def in_network(points, fit):
    """(…, 2) source pixels to network pixels."""
    scale, shift = PLACES[fit]
    return np.asarray(points) * scale + shift


def network_boxes(fit):
    """The two objects and the weak one: (3, 4) left, top, right, bottom in network pixels."""
    corners = in_network(BOXES.reshape(-1, 2), fit).reshape(-1, 4)
    return np.concatenate([corners, [[2, 20, 9, 30]]])


def centres(boxes):
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)


def joints(fit):
    """(3, 17, 3): joint k of object n lies k source pixels right of and below its corner."""
    places = BOXES[:, None, :2] + np.arange(17)[None, :, None]
    points = np.zeros((3, 17, 3))
    points[:2, :, :2] = in_network(places, fit)
    points[:2, :, 2] = 0.5 + np.arange(17) / 40
    return points


def class_scores(count):
    """(3, C): the objects' scores at their classes, and 0.01 elsewhere."""
    scores = np.full((3, count), 0.01)
    scores[[0, 1, 2], [*CLASSES, 1]] = [*SCORES, WEAK]
    return scores


def scattered(rows, count, places=(5, 20, 70)):
    """Rows among `count` rows of zeros; the first object is there twice."""
    everything = np.zeros((count, rows.shape[1]), np.float32)
    everything[list(places)] = rows
    everything[places[0] + 1] = rows[0]
    everything[places[0] + 1, 4:] *= 0.9
    return everything


WEIGHTS = np.zeros((3, 32))
WEIGHTS[[0, 1], [0, 1]] = 1


def prototypes(fit):
    """(1, 32, 64, 64): the first is everywhere, the second what is left of source column 100."""
    maps = np.full((32, SIDE, SIDE), -20.0, np.float32)
    maps[0] = 20
    edge = int(in_network([[100, 0]], fit)[0, 0])
    maps[1, :, :edge] = 20
    return maps[None]


def logits(values):
    return np.log(values) - np.log1p(-values)


def f32(array):
    return np.asarray(array, np.float32)


def yolox():
    boxes, rows = centres(network_boxes("corner")), np.zeros((3, 8))
    cells = grid_cells((SIDE, SIDE))[[5, 20, 70]]
    rows[:, :2] = boxes[:, :2] / cells[:, 2:] - cells[:, :2]
    rows[:, 2:4] = np.log(boxes[:, 2:] / cells[:, 2:])
    rows[:, 4], rows[:, 5:] = 0.95, class_scores(3) / 0.95
    raw = scattered(rows, CELLS)
    # The copy of the first object lies in the next cell.
    raw[6, 0] -= 1
    return {"output": raw[None]}


def yolov5(*, masks=False):
    parts = [centres(network_boxes("centre")), np.full((3, 1), 0.95), class_scores(3) / 0.95]
    rows = np.concatenate([*parts, *([WEIGHTS] if masks else [])], axis=1)
    found = {"output0": scattered(rows, 3 * CELLS, (7, 100, 251))[None]}
    return {**found, "output1": prototypes("centre")} if masks else found


def yolov8(*, masks=False):
    rows = np.concatenate(
        [centres(network_boxes("centre")), class_scores(3), *([WEIGHTS] if masks else [])], axis=1
    )
    found = {"output0": np.ascontiguousarray(scattered(rows, CELLS).T)[None]}
    return {**found, "output1": prototypes("centre")} if masks else found


def yolov8_pose():
    scores = class_scores(3).max(axis=1, keepdims=True)
    rows = np.concatenate(
        [centres(network_boxes("centre")), scores, joints("centre").reshape(3, -1)], axis=1
    )
    return {"output0": np.ascontiguousarray(scattered(rows, CELLS).T)[None]}


def end2end(*, masks=False, poses=False):
    head = np.column_stack([network_boxes("centre"), [*SCORES, WEAK], [*CLASSES, 1]])
    more = [WEIGHTS] if masks else [joints("centre").reshape(3, -1)] if poses else []
    rows = np.zeros((1, 300, 6 + sum(part.shape[1] for part in more)), np.float32)
    rows[0, :3] = np.concatenate([head, *more], axis=1)
    if poses:
        rows[0, :, 5] = 0
    return {"output0": rows, **({"output1": prototypes("centre")} if masks else {})}


def queries(count, names=("logits", "pred_boxes"), *, masks=False, softmax=False):
    scores = np.full((20, count), 1e-4)
    scores[:3, :3] = class_scores(3)
    if softmax:
        scores[:, -1] = 1 - scores[:, :-1].sum(axis=1)
        values = np.log(scores) + 3
    else:
        values = logits(scores)
    boxes = np.full((20, 4), 0.1)
    boxes[:3] = centres(network_boxes("stretch")) / SIDE
    found = {names[0]: f32(values)[None], names[1]: f32(boxes)[None]}
    if masks:
        maps = np.full((1, 20, 16, 16), -20, np.float32)
        maps[0, 0], maps[0, 1, :, : int(in_network([[100, 0]], "stretch")[0, 0]) // 4] = 20, 20
        found["masks"] = maps
    return found


def apart(fit, *, batched, masks=False):
    boxes = f32(network_boxes(fit))
    found = {"labels": np.array([*CLASSES, 1], np.int64)}
    found |= {"boxes": boxes, "scores": f32([*SCORES, WEAK])}
    if masks:
        maps = np.zeros((3, 1, SIDE, SIDE), np.float32)
        maps[0], maps[1, :, :, : int(in_network([[100, 0]], fit)[0, 0])] = 1, 1
        found["masks"] = maps
    return {name: array[None] for name, array in found.items()} if batched else found


def openmmlab(*, poses=False, masks=False):
    dets = f32(np.column_stack([network_boxes("corner"), [*SCORES, WEAK]]))[None]
    if poses:
        return {"dets": dets, "keypoints": f32(joints("corner"))[None]}
    found = {"dets": dets, "labels": np.array([[*CLASSES, 1]], np.int64)}
    if masks:
        maps = apart("corner", batched=False, masks=True)["masks"][:, 0]
        found["masks"] = maps[None]
    return found


def movenet_multipose():
    points = joints("corner")[..., [1, 0, 2]] / (SIDE, SIDE, 1)
    boxes = network_boxes("corner")[:, [1, 0, 3, 2]] / SIDE
    people = np.zeros((1, 6, 56), np.float32)
    # A probability p is a score of 0.1 · √(p / (1 − p)); the weak one is below the threshold.
    scores = 0.1 * np.sqrt(np.array([9.0, 1.5, 0.04]))
    people[0, :3] = np.concatenate([points.reshape(3, -1), boxes, scores[:, None]], axis=1)
    return {"output_0": people}


PEOPLE = "person"
CASES = {
    "yolox": (yolox, {}),
    "yolov5": (yolov5, {}),
    "yolov5-seg": (lambda: yolov5(masks=True), {}),
    "yolov8": (yolov8, {}),
    "yolov8-seg": (lambda: yolov8(masks=True), {}),
    "yolov8-pose": (yolov8_pose, {}),
    "end2end": (end2end, {}),
    "end2end-seg": (lambda: end2end(masks=True), {}),
    "end2end-pose": (lambda: end2end(poses=True), {}),
    "detr": (lambda: queries(80), {}),
    "rf-detr": (lambda: queries(91, ("labels", "dets"), masks=True), {}),
    "detr-softmax": (lambda: queries(92, softmax=True), {}),
    "rt-detr": (
        lambda: apart("stretch", batched=True),
        {"orig_target_sizes": ("int64", (1, 2))},
    ),
    "openmmlab": (openmmlab, {}),
    "openmmlab masks": (lambda: openmmlab(masks=True), {}),
    "rtmo": (lambda: openmmlab(poses=True), {}),
    "torchvision": (lambda: apart("corner", batched=False), {}),
    "torchvision masks": (lambda: apart("corner", batched=False, masks=True), {}),
    "movenet-multipose": (
        movenet_multipose,
        {"dtype": "int32", "input_shape": (1, SIDE, SIDE, 3)},
    ),
}


def frame(size_hw=SOURCE_HW, value=0):
    return Frame(0, 0.0, np.full((*size_hw, 3), value, np.uint8))


def written(tmp_path, case, **changes):
    make, inputs = CASES[case]
    return write_detector(tmp_path / "m.onnx", make(), **{**inputs, **changes})


def seen_by(path, image=None, **settings):
    with open_model(path, ModelSettings(**settings), threads=1) as detector:
        return detector, detector.detect(image or frame())


def check(case, seen):
    """What every layout's graph has to give."""
    people = LAYOUTS[case.split()[0]].person
    # A few float32 roundings of numbers up to 130.
    np.testing.assert_allclose(seen.boxes_xyxy, BOXES, atol=1e-3)
    np.testing.assert_allclose(seen.scores, SCORES, atol=1e-5)
    assert seen.classes.tolist() == ([0, 0] if people else list(CLASSES))
    assert (seen.keypoints is not None) == LAYOUTS[case.split()[0]].keypoints
    if seen.keypoints is not None:
        # PoseTrack18's layout keeps COCO's joints but for the eyes.
        expected = BOXES[:, None, :2] + np.array([0, *range(3, 17)])[None, :, None]
        kept = seen.keypoints[:, [0, *range(3, 17)]]
        np.testing.assert_allclose(kept[..., :2], expected, atol=1e-3)
        np.testing.assert_allclose(
            kept[0, :, 2], 0.5 + np.array([0, *range(3, 17)]) / 40, atol=1e-6
        )
    masks = "seg" in case or "masks" in case or case == "rf-detr"
    assert (seen.masks is not None) == masks
    if seen.masks is not None:
        assert seen.masks.shape == (2, *SOURCE_HW)
        inside = np.zeros(SOURCE_HW, bool)
        inside[24:90, 16:48] = True
        np.testing.assert_array_equal(seen.masks[0], inside)
        # The edge of a map's cell lies halfway between the centres that are in and out.
        columns = np.flatnonzero(seen.masks[1].any(axis=0))
        assert columns[0] == 72
        assert abs(columns[-1] + 1 - 100) <= (4 if case == "rf-detr" else 1)
        assert np.flatnonzero(seen.masks[1].any(axis=1)).tolist() == list(range(6, 42))
