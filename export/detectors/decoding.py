"""Puts normalisation before a detector's network, and decoding and the best K rows behind it.

The result is a `decoded` graph (`runtime.detectors.decoded`): `image` uint8 (1, H, W, 3) BGR to
fixed-size `boxes`, `scores`, `classes` and, where the network has them, `keypoints`, `masks`, or
`mask_weights` and `prototypes`.  Its operators need no plugin of TensorRT, and mean the same in all
opsets from 13 on.  The arithmetic is that of `runtime.detectors.layouts`, in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import compose, version_converter

from ...errors import ExportError
from ...runtime.detectors.image import Normalisation, find_normalisation
from ...runtime.detectors.layouts.base import JOINTS
from ...runtime.detectors.layouts.yolo import MAX_LOG_SIZE, PROTOTYPES, grid_cells
from ...runtime.detectors.recognition import Recognised
from .onnx_graph import OPSET, OnnxGraph

CANDIDATES = 300
"""Rows of a frame at most, before suppression."""

_LEAST_OPSET = 13
PREFIX = "network."
"""Of the names of a network that is part of a graph."""


class Decoder(OnnxGraph):
    """Nodes over rows: matrices (N, W) of float32."""

    def columns(self, rows: str, start: int, end: int) -> str:
        """Columns of rows."""
        limits = ([start], [end], [1])
        return self.add("Slice", rows, *(self.constant(limit, "int64") for limit in limits))

    def reshape(self, tensor: str, *shape: int) -> str:
        """A tensor in another shape; 0 keeps a size, -1 is what is left."""
        return self.add("Reshape", tensor, self.constant(shape, "int64"))

    def best(self, scores: str) -> tuple[str, str]:
        """The largest of (N, C) as (N, 1), and where it is, (N, 1) int64."""
        labels = self.add("ArgMax", scores, axis=1, keepdims=1)
        return self.add("GatherElements", scores, labels, axis=1), labels

    def corners(self, centres: str, sides: str) -> str:
        """(N, 2) centres and sides as (N, 4) corners."""
        halves = self.add("Mul", sides, self.constant(0.5, "float32"))
        low, high = self.add("Sub", centres, halves), self.add("Add", centres, halves)
        return self.add("Concat", low, high, axis=1)

    def times(self, tensor: str, factors: Sequence[float]) -> str:
        """A tensor multiplied by numbers along its last axis."""
        return self.add("Mul", tensor, self.constant(factors, "float32"))

    def last(self, tensor: str, start: int, end: int) -> str:
        """Part of a tensor's last axis."""
        limits = ([start], [end], [-1])
        return self.add("Slice", tensor, *(self.constant(limit, "int64") for limit in limits))

    def clipped(self, tensor: str) -> str:
        """A tensor with what is beyond 0 and 1 moved there."""
        return self.add("Clip", tensor, *(self.constant(end, "float32") for end in (0, 1)))

    def normalised(self, image: str, how: Normalisation) -> str:
        """uint8 BGR images (N, H, W, 3) as a network takes them, float32."""
        values = self.cast(image, "float32")
        if how.rgb:
            values = self.add("Gather", values, self.constant([2, 1, 0], "int64"), axis=3)
        if any(how.mean):
            values = self.add("Sub", values, self.constant(how.mean, "float32"))
        if how.std != (1, 1, 1):
            values = self.add("Div", values, self.constant(how.std, "float32"))
        return values


@dataclass(frozen=True, slots=True)
class Rows:
    """The network's rows before the best are chosen.

    Attributes:
        scores: (N, 1) float32.
        parts: Tensors with N rows that `finish` needs of the chosen ones.
        finish: From the chosen rows of `parts` to `boxes` (K, 4), `classes` (K, 1) int64 and what
            else there is.
        whole: Outputs that are not of rows.
    """

    scores: str
    parts: dict[str, str]
    finish: Callable[[dict[str, str]], dict[str, str]]
    whole: dict[str, str] = field(default_factory=dict)


def _yolox(graph: Decoder, found: dict[str, str], size_hw: tuple[int, int]) -> Rows:
    rows = found["rows"]
    best, labels = graph.best(graph.columns(rows, 5, 1 << 30))
    cells = graph.constant(grid_cells(size_hw), "float32")

    def finish(picked: dict[str, str]) -> dict[str, str]:
        strides = graph.columns(picked["cells"], 2, 3)
        places = graph.add("Add", graph.columns(picked["rows"], 0, 2), picked["cells_xy"])
        logs = graph.columns(picked["rows"], 2, 4)
        sides = graph.add("Exp", graph.add("Min", logs, graph.constant(MAX_LOG_SIZE, "float32")))
        centres, sides = (graph.add("Mul", each, strides) for each in (places, sides))
        return {"boxes": graph.corners(centres, sides), "classes": picked["classes"]}

    parts = {"rows": rows, "cells": cells, "cells_xy": graph.columns(cells, 0, 2)}
    scores = graph.add("Mul", graph.columns(rows, 4, 5), best)
    return Rows(scores, {**parts, "classes": labels}, finish)


def _masks(graph: Decoder, found: dict[str, str], rows: str, first: int) -> dict[str, str]:
    if "prototypes" not in found:
        return {}
    return {"mask_weights": graph.columns(rows, first, first + PROTOTYPES)}


def _centred(
    graph: Decoder, found: dict[str, str], rows: str, first: int, known: Recognised
) -> Rows:
    """Rows of centre, sides, maybe an objectness, classes, then joints or weights of masks."""
    count = known.classes or 1
    best, labels = graph.best(graph.columns(rows, first, first + count))
    if first == 5:
        best = graph.add("Mul", graph.columns(rows, 4, 5), best)

    def finish(picked: dict[str, str]) -> dict[str, str]:
        own = picked["rows"]
        corners = graph.corners(graph.columns(own, 0, 2), graph.columns(own, 2, 4))
        more = _masks(graph, found, own, first + count)
        if known.layout.keypoints:
            joints = graph.columns(own, first + count, first + count + 3 * JOINTS)
            more = {"keypoints": graph.reshape(joints, -1, JOINTS, 3)}
        return {"boxes": corners, "classes": picked["classes"], **more}

    return Rows(best, {"rows": rows, "classes": labels}, finish, _prototypes(found))


def _prototypes(found: dict[str, str]) -> dict[str, str]:
    return {"prototypes": found["prototypes"]} if "prototypes" in found else {}


def _end2end(graph: Decoder, found: dict[str, str], known: Recognised) -> Rows:
    rows = found["rows"]

    def finish(picked: dict[str, str]) -> dict[str, str]:
        own = picked["rows"]
        more = _masks(graph, found, own, 6)
        if known.layout.keypoints:
            joints = graph.columns(own, 6, 6 + 3 * JOINTS)
            more = {"keypoints": graph.reshape(joints, -1, JOINTS, 3)}
        labels = graph.cast(graph.columns(own, 5, 6), "int64")
        return {"boxes": graph.columns(own, 0, 4), "classes": labels, **more}

    return Rows(graph.columns(rows, 4, 5), {"rows": rows}, finish, _prototypes(found))


def _queries(
    graph: Decoder, found: dict[str, str], size_hw: tuple[int, int], *, softmax: bool
) -> Rows:
    logits = found["logits"]
    if softmax:
        shares = graph.add("Softmax", logits, axis=1)
        scores, labels = graph.best(graph.columns(shares, 0, -1))
    else:
        best, labels = graph.best(logits)
        scores = graph.add("Sigmoid", best)
    sides = tuple(map(float, size_hw[::-1]))

    def finish(picked: dict[str, str]) -> dict[str, str]:
        centres = graph.times(graph.columns(picked["boxes"], 0, 2), sides)
        corners = graph.corners(centres, graph.times(graph.columns(picked["boxes"], 2, 4), sides))
        masks = {"masks": graph.add("Sigmoid", picked["masks"])} if "masks" in picked else {}
        return {"boxes": corners, "classes": picked["classes"], **masks}

    parts = {"boxes": found["boxes"], "classes": labels}
    if "masks" in found:
        parts["masks"] = found["masks"]
    return Rows(scores, parts, finish)


def _finished(graph: Decoder, found: dict[str, str]) -> Rows:
    """Boxes with a score in a fifth column or apart, and labels, or people without."""
    if "rows" in found:
        boxes, scores = graph.columns(found["rows"], 0, 4), graph.columns(found["rows"], 4, 5)
    else:
        boxes, scores = found["boxes"], graph.reshape(found["scores"], -1, 1)
    labels = graph.cast(scores, "int64") if "labels" not in found else found["labels"]
    if "labels" not in found:
        labels = graph.add("Mul", labels, graph.constant(0, "int64"))
    parts = {"boxes": boxes, "classes": graph.cast(graph.reshape(labels, -1, 1), "int64")}
    if "masks" in found:
        parts["masks"] = found["masks"]
    if "keypoints" in found:
        parts["keypoints"] = found["keypoints"]
    return Rows(scores, parts, dict)


def _movenet(graph: Decoder, found: dict[str, str], size_hw: tuple[int, int]) -> Rows:
    people = found["people"]
    height, width = map(float, size_hw)
    end = 3 * JOINTS

    def finish(picked: dict[str, str]) -> dict[str, str]:
        own = picked["people"]
        order = graph.constant([1, 0, 2], "int64")
        joints = graph.reshape(graph.columns(own, 0, end), -1, JOINTS, 3)
        joints = graph.times(graph.add("Gather", joints, order, axis=2), (width, height, 1))
        places = graph.constant([1, 0, 3, 2], "int64")
        boxes = graph.add("Gather", graph.columns(own, end, end + 4), places, axis=1)
        nobody = graph.times(graph.columns(own, 0, 1), (0.0,))
        return {
            "boxes": graph.times(boxes, (width, height, width, height)),
            "classes": graph.cast(nobody, "int64"),
            "keypoints": joints,
        }

    return Rows(graph.columns(people, end + 4, end + 5), {"people": people}, finish)


def _rows_of(
    graph: Decoder, known: Recognised, found: dict[str, str], size_hw: tuple[int, int]
) -> Rows:
    """The rows of a layout; `found` are its outputs by role, without the batch."""
    name = known.layout.name
    if name == "yolox":
        return _yolox(graph, found, size_hw)
    if name.startswith("yolov5"):
        return _centred(graph, found, found["rows"], 5, known)
    if name.startswith("yolov8"):
        rows = graph.add("Transpose", found["rows"], perm=[1, 0])
        return _centred(graph, found, rows, 4, known)
    if name.startswith("end2end"):
        return _end2end(graph, found, known)
    if name in ("detr", "rf-detr", "detr-softmax"):
        return _queries(graph, found, size_hw, softmax=name == "detr-softmax")
    if name == "movenet-multipose":
        return _movenet(graph, found, size_hw)
    return _finished(graph, found)


def _normalised(
    graph: Decoder, image: str, known: Recognised, how: Normalisation, size_hw: tuple[int, int]
) -> str:
    """The network's input of the uint8 BGR image."""
    values = graph.normalised(image, how)
    if not known.image.channels_last:
        values = graph.add("Transpose", values, perm=[0, 3, 1, 2])
    if not known.image.batched:
        shape = (*size_hw, 3) if known.image.channels_last else (3, *size_hw)
        values = graph.reshape(values, *shape)
    return values


def decoded_graph(
    network: onnx.ModelProto,
    known: Recognised,
    size_hw: tuple[int, int],
    metadata: dict[str, str],
    precision: str = "fp32",
) -> onnx.ModelProto:
    """A detector's network with normalisation before and decoding behind it.

    Args:
        network: As its file holds it.
        known: What it was recognised as.
        size_hw: Height and width of the image.
        metadata: Texts to store with the result.
        precision: Of the network, `fp32` or `fp16`; what is around it is float32.

    Raises:
        ExportError: It cannot be converted.
    """
    network = prepared(network, precision)
    graph = Decoder("detector")
    image = graph.input("image", "uint8", (1, *size_hw, 3))
    values = _normalised(graph, image, known, find_normalisation(known.rule.normalise), size_hw)
    for tensor in network.graph.input:
        own = tensor.name.removeprefix(PREFIX)
        code = tensor.type.tensor_type.elem_type
        if own == known.image.name:
            graph.alias(graph.add("Cast", values, to=code), tensor.name)
        elif tensor.name not in {weights.name for weights in network.graph.initializer}:
            size = graph.constant([size_hw[::-1]], "float32")
            graph.alias(graph.add("Cast", size, to=code), tensor.name)
    graph.splice(network.graph)
    found = {}
    for role, place in known.roles.items():
        name, shape = network.graph.output[place].name, known.shapes[role]
        dtype = "int64" if role == "labels" else "float32"
        # A number of rows that depends on the image stays open.
        found[role] = graph.reshape(graph.cast(name, dtype), -1, *shape[1:])
    rows = _rows_of(graph, known, found, size_hw)
    _give_best(graph, rows, known)
    return graph.model(metadata, like=network)


_VARYING = ("openmmlab", "rtmo", "torchvision")
"""Layouts whose number of rows depends on the image."""


def _give_best(graph: Decoder, rows: Rows, known: Recognised) -> None:
    """Give out the best rows, as many in every image."""
    shapes = known.shapes
    scores, parts, count = graph.reshape(rows.scores, -1), rows.parts, CANDIDATES
    if known.layout.name in _VARYING:
        # Rows of zeros behind the others: there are then always enough.
        scores = _lengthened(graph, scores, 1)
        ranks = {name: len(shapes.get(name, (0, 0))) for name in parts}
        parts = {name: _lengthened(graph, part, ranks[name]) for name, part in parts.items()}
    else:
        first = next(role for role in ("rows", "logits", "boxes", "people") if role in shapes)
        count = min(count, shapes[first][1 if known.layout.name.startswith("yolov8") else 0])
    best = graph.add_many("TopK", 2, scores, graph.constant([count], "int64"), axis=0)
    picked = {name: graph.add("Gather", part, best[1], axis=0) for name, part in parts.items()}
    given = {"scores": best[0], **rows.finish(picked), **rows.whole}
    given["classes"] = graph.reshape(given["classes"], count)
    fixed: dict[str, tuple[int, ...]] = {
        "boxes": (count, 4),
        "scores": (count,),
        "classes": (count,),
        "keypoints": (count, JOINTS, 3),
        "mask_weights": (count, PROTOTYPES),
        "masks": (count, *shapes.get("masks", ())[-2:]),
        "prototypes": shapes.get("prototypes", ()),
    }
    for name, shape in fixed.items():
        if name in given:
            tensor = graph.reshape(given[name], *shape)
            graph.output(tensor, name, "int64" if name == "classes" else "float32", shape)


def _lengthened(graph: Decoder, tensor: str, rank: int) -> str:
    ends = [0] * rank + [CANDIDATES] + [0] * (rank - 1)
    return graph.add("Pad", tensor, graph.constant(ends, "int64"))


def prepared(network: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The network in an opset that decoding can be written in, in its precision, renamed.

    Raises:
        ExportError: It cannot be converted.
    """
    opset = next((o.version for o in network.opset_import if o.domain in ("", "ai.onnx")), 0)
    try:
        if opset < _LEAST_OPSET:
            network = version_converter.convert_version(network, OPSET)
        if precision == "fp16":
            from onnxruntime.transformers.float16 import convert_float_to_float16

            network = convert_float_to_float16(network)
    except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ExportError(
            f"the network cannot be converted ({reason}): export it with opset {OPSET}"
            + (", or use --precision fp32" if precision == "fp16" else "")
        ) from error
    return compose.add_prefix(network, PREFIX)
