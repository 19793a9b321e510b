"""Layouts of networks that choose their detections themselves: queries, or suppression inside.

DETR's family gives logits and boxes of a few hundred queries; OpenMMLab's SDK, TorchVision,
RT-DETR's own exporter and MoveNet MultiPose give finished rows; so do the graphs that
`cli export --detector` writes (`decoded`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ....records import FloatArray, IntArray
from ..decoded import METADATA_KEY
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
    sigmoid,
    weighed_masks,
)

DETR_CLASSES = 92
"""COCO's 91 and "no object": DETR's own, which share one probability."""

COCO_CLASSES = 91
"""RF-DETR's, by COCO's category id."""


def _map_of(maps: FloatArray, *, logits: bool) -> Callable[[IntArray], FloatArray]:
    """Masks of (N, h, w) or (N, 1, h, w) maps over the network's image."""
    flat = maps.reshape(len(maps), *maps.shape[-2:])
    return lambda rows: sigmoid(flat[rows]) if logits else flat[rows]


# DETR, RT-DETR, D-FINE, RF-DETR: logits and boxes of queries.


def _read_queries(graph: Graph) -> Roles | None:
    """Logits, boxes and maybe masks, by their shapes; of equal shapes, by their names."""
    floats = graph.shapes("float")
    flat = [(place, shape) for place, shape in floats if len(shape) == 3 and shape[0] == 1]
    maps = [(place, shape) for place, shape in floats if len(shape) == 4 and shape[0] == 1]
    if len(flat) != 2 or len(maps) > 1 or len(flat) + len(maps) != len(graph.outputs):
        return None
    if len({shape[1] for _, shape in (*flat, *maps)}) != 1:
        return None
    boxes = [place for place, shape in flat if shape[2] == 4]
    if len(boxes) > 1:
        names = {place: graph.outputs[place].name for place in boxes}
        boxes = [place for place, name in names.items() if "box" in name or "det" in name]
    if len(boxes) != 1:
        return None
    roles = {"boxes": boxes[0], "logits": next(p for p, _ in flat if p != boxes[0])}
    return {**roles, "masks": maps[0][0]} if maps else roles


def _read_detr(graph: Graph, classes: int) -> Roles | None:
    roles = _read_queries(graph)
    fits = roles is not None and graph.outputs[roles["logits"]].shape[2] == classes
    return roles if fits else None


def _read_rf_detr(graph: Graph) -> Roles | None:
    # Its own exporter's names; elsewhere, its number of classes is what tells it from the others.
    own = {"dets", "labels"} <= {tensor.name for tensor in graph.outputs}
    return _read_queries(graph) if own else _read_detr(graph, COCO_CLASSES)


def _decode_detr(outputs: Outputs, size_hw: tuple[int, int], *, softmax: bool) -> Candidates:
    logits, boxes = outputs["logits"], outputs["boxes"]
    if softmax:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        scores, labels = best_class((powers / powers.sum(axis=1, keepdims=True))[:, :-1])
    else:
        scores, labels = best_class(logits)
        scores = sigmoid(scores)
    sides = np.array(size_hw[::-1], np.float32)
    corners = boxes_from_centres(boxes[:, :2] * sides, boxes[:, 2:] * sides)
    masks = _map_of(outputs["masks"], logits=True) if "masks" in outputs else None
    return Candidates(corners, scores, labels, masks=masks)


# OpenMMLab's SDK: boxes with a score, labels.


def _read_openmmlab(graph: Graph) -> Roles | None:
    floats, whole = graph.shapes("float"), graph.shapes("int")
    boxes = [p for p, shape in floats if len(shape) == 3 and shape[0] == 1 and shape[2] == 5]
    maps = [p for p, shape in floats if len(shape) == 4 and shape[0] == 1]
    labels = [p for p, shape in whole if len(shape) == 2 and shape[0] == 1]
    counts = len(boxes), len(labels), len(boxes) + len(maps) + len(labels)
    if counts != (1, 1, len(graph.outputs)) or len(maps) > 1:
        return None
    roles = {"rows": boxes[0], "labels": labels[0]}
    return {**roles, "masks": maps[0]} if maps else roles


def _read_rtmo(graph: Graph) -> Roles | None:
    floats = graph.shapes("float")
    boxes = [p for p, shape in floats if len(shape) == 3 and shape[0] == 1 and shape[2] == 5]
    poses = [p for p, shape in floats if len(shape) == 4 and shape[2:] == (JOINTS, 3)]
    fits = len(boxes) == 1 and len(poses) == 1 and len(graph.outputs) == 2
    return {"rows": boxes[0], "keypoints": poses[0]} if fits else None


def _decode_openmmlab(outputs: Outputs, _size_hw: tuple[int, int]) -> Candidates:
    rows = outputs["rows"]
    labels = outputs.get("labels", np.zeros(len(rows), np.int64)).astype(np.int64)
    masks = _map_of(outputs["masks"], logits=False) if "masks" in outputs else None
    return Candidates(rows[:, :4], rows[:, 4], labels, outputs.get("keypoints"), masks)


# TorchVision, and RT-DETR's and D-FINE's own exporters: boxes, labels and scores apart.


def _read_apart(graph: Graph, *, batched: bool) -> Roles | None:
    axes, found = int(batched), {}
    for kind in ("float", "int"):
        for place, shape in graph.shapes("float" if kind == "float" else "int"):
            if batched and shape[0] != 1:
                return None
            role = _apart_role(kind, shape[axes:])
            if role is None or role in found:
                return None
            found[role] = place
    return found if found.keys() >= {"boxes", "labels", "scores"} else None


def _apart_role(kind: str, shape: tuple[int, ...]) -> str | None:
    if kind == "int":
        return "labels" if len(shape) == 1 else None
    if len(shape) == 4 and shape[1] == 1:
        return "masks"
    return "boxes" if len(shape) == 2 and shape[1] == 4 else "scores" if len(shape) == 1 else None


def _decode_apart(outputs: Outputs, _size_hw: tuple[int, int]) -> Candidates:
    labels = outputs["labels"].astype(np.int64)
    masks = _map_of(outputs["masks"], logits=False) if "masks" in outputs else None
    return Candidates(outputs["boxes"], outputs["scores"], labels, masks=masks)


# MoveNet MultiPose as published: 17 times y, x and score, box, score, in shares of the image.


def _read_movenet(graph: Graph) -> Roles | None:
    floats = graph.shapes("float")
    fits = len(graph.outputs) == 1 and [shape[-1:] for _, shape in floats] == [(3 * JOINTS + 5,)]
    return {"people": 0} if fits and len(floats[0][1]) == 3 else None


def _decode_movenet(outputs: Outputs, size_hw: tuple[int, int]) -> Candidates:
    people = outputs["people"]
    joints = people[:, : 3 * JOINTS].reshape(-1, JOINTS, 3)
    height, width = size_hw
    keypoints = joints[..., [1, 0, 2]] * np.array((width, height, 1), np.float32)
    corners = people[:, 3 * JOINTS : -1][:, [1, 0, 3, 2]]
    boxes = corners * np.array((width, height, width, height), np.float32)
    return Candidates(boxes, people[:, -1], np.zeros(len(people), np.int64), keypoints)


# What `cli export --detector` writes.


def _read_decoded(graph: Graph) -> Roles | None:
    if METADATA_KEY not in graph.metadata:
        return None
    return {tensor.name: place for place, tensor in enumerate(graph.outputs)}


def _decode_decoded(outputs: Outputs, _size_hw: tuple[int, int]) -> Candidates:
    masks = _map_of(outputs["masks"], logits=False) if "masks" in outputs else None
    if "mask_weights" in outputs:
        masks = weighed_masks(outputs["prototypes"], outputs["mask_weights"])
    return Candidates(
        outputs["boxes"], outputs["scores"], outputs["classes"], outputs.get("keypoints"), masks
    )


def _count_logits(shapes: Shapes) -> int:
    return shapes["logits"][1]


_DETR = "logits (1, Q, {}) and boxes (1, Q, 4) from 0 to 1"
_STRETCHED = ImageRule("rgb-1", "stretch")
_IMAGENET = ImageRule("rgb-imagenet", "stretch")
_TRAINED = ImageRule("bgr-imagenet", "corner")
_RAW = ImageRule("bgr-255", "corner")

# fmt: off
# A row on few lines: the formatter would make eight of each and the table unreadable.
OWN_LAYOUT = Layout("decoded", "boxes, scores and classes of `cli export --detector`, maybe more",
    _read_decoded, _decode_decoded, None, ImageRule("bgr-255", "corner", 0, smooth=True),
    open_size="follow", batched=False)

CHOSEN_LAYOUTS = (
    Layout("detr-softmax", _DETR.format(DETR_CLASSES),
        partial(_read_detr, classes=DETR_CLASSES), partial(_decode_detr, softmax=True),
        lambda _: COCO_CLASSES, _IMAGENET),
    Layout("rf-detr", _DETR.format(COCO_CLASSES) + ", maybe masks (1, Q, h, w)",
        _read_rf_detr, partial(_decode_detr, softmax=False),
        _count_logits, _IMAGENET),
    Layout("detr", _DETR.format("classes") + " (RT-DETR, D-FINE)",
        _read_queries, partial(_decode_detr, softmax=False),
        _count_logits, _STRETCHED),
    Layout("rt-detr", "labels (1, Q), boxes (1, Q, 4), scores (1, Q), in pixels",
        partial(_read_apart, batched=True), _decode_apart, None, _STRETCHED),
    Layout("openmmlab", "dets (1, N, 5) and labels (1, N), maybe masks (1, N, H, W)",
        _read_openmmlab, _decode_openmmlab, None, _TRAINED),
    Layout("rtmo", f"dets (1, N, 5) and keypoints (1, N, {JOINTS}, 3)",
        _read_rtmo, _decode_openmmlab, lambda _: 1, _RAW, keypoints=True, person=True),
    Layout("torchvision", "boxes (N, 4), labels (N), scores (N), maybe masks (N, 1, H, W)",
        partial(_read_apart, batched=False), _decode_apart, lambda _: COCO_CLASSES,
        ImageRule("rgb-1", "corner", 0), open_size="source", batched=False),
    Layout("movenet-multipose", f"(1, 6, {3 * JOINTS + 5})",
        _read_movenet, _decode_movenet, lambda _: 1, ImageRule("rgb-255", "corner", 0, smooth=True),
        nms_limit=0.7, keypoints=True, open_size="follow", person=True, score=(0.1, 2.0),
        confidence=0.08),
)
# fmt: on
