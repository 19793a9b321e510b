"""From MoveNet's maps to people, as ONNX nodes.

The maps have one cell for 4 × 4 pixels: the heatmap of people's centres, height and width of the
box, the centre's offset within its cell, heatmaps of 17 joints, the joints' offsets within their
cells, and where each joint should be, seen from the centre.  The file takes the six best centres
that are the maximum of the 5 × 5 cells about them.  Here these six come first, and then the best
centres that are the maximum of 3 × 3 cells (people stand closer in a crowd), `candidates` in all.
For each is computed what the file computes:

* box: centre + offset, ± half the height and width, cut to the image;
* joint k: the cell inside the box with the largest heatmap_k · exp(−d² / (0.3 · s)), where d is the
  distance to the place that the centre expects and s the shorter side of the maps, plus the offset
  that is stored there;
* the joint's score: that product, or, where it is larger, the same product of one of the six best
  people (so does the file, and so that its numbers are met);
* the person's score: the centre's score · the mean score of the joints above 0.127.

The file looks for a joint in the whole box.  Here only a window about the expected place is looked
at, which is what makes a hundred people affordable: outside of it no joint can have a score above
exp(−2.2) = 0.11, which is below the 0.127 from which joints count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..onnx_graph import OnnxGraph
from .operators import ImportedTensor

SMALLEST, LARGEST = 64, 4096
"""Shortest and longest side of the image."""

JOINTS = 17

STRIDE = 4
"""Pixels of the image a cell of the maps, along either axis."""

_BLOCK = 8
"""Cells that are copied together out of a heatmap; divides the maps' width."""

_REPORTED = 6
"""People that the file reports; they lend their joints' scores."""

_PEAK = 1.0132789611816406e-06
_SPREAD = 0.300048828125
_COUNTED = 0.126953125
"""As in the file, float16: how far a peak may be from its neighbourhood's maximum, the Gaussian's
width in shorter sides, and the score from which a joint counts in its person's."""

_REACH = 2.2
"""Windows hold every cell whose Gaussian is above exp of minus this."""


def joint_window(shorter: int) -> int:
    """Cells from the middle of a window to its edge, a multiple of 4, that `_REACH` asks for.

    Args:
        shorter: Side of the maps, in cells.
    """
    return 4 * math.ceil(math.sqrt(_REACH * _SPREAD * shorter) / 4)


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution that looks at one cell.

    Attributes:
        weights: (out, in).
        bias: (out,).
        relu: Whether what is below 0 becomes 0.
    """

    weights: npt.NDArray[Any]
    bias: npt.NDArray[Any]
    relu: bool


class Cells:
    """Cells of a map that is not computed as a whole.

    Args:
        target: Nodes are appended to it.
        start: What the map is made of.
        layers: How, first to last.
        dtype: Of `start` and of the layers.
    """

    def __init__(
        self, target: OnnxGraph, start: ImportedTensor, layers: Sequence[Layer], dtype: str
    ) -> None:
        self._graph, self._layers, self._dtype = target, layers, dtype
        rows = target.add("Transpose", start.name, perm=[0, 2, 3, 1])
        shape = target.constant([-1, start.shapes[0][3]], "int64")
        self._rows = target.add("Reshape", rows, shape)

    def at(self, cells: str) -> str:
        """(N, channels) float32 of the cells (N,) int64 in the order of rows."""
        graph = self._graph
        values = graph.add("Gather", self._rows, cells, axis=0)
        for layer in self._layers:
            weights, bias = (graph.constant(v, self._dtype) for v in (layer.weights, layer.bias))
            values = graph.add("Gemm", values, weights, bias, transB=1)
            values = graph.add("Relu", values) if layer.relu else values
        return graph.cast(values, "float32", self._dtype)


class PeopleWriter:
    """Writes the nodes from the maps to people.

    In the names below K are candidates, J joints, H × W cells of the maps, R the window, which
    follows from H and W; positions are in cells, y before x as in the file.

    Args:
        target: Nodes are appended to it.
        maps: Tensors (1, channels, H, W) float32 of the maps that are searched, by name.
        sparse: The other maps, by name.
        candidates: K.
    """

    def __init__(
        self,
        target: OnnxGraph,
        maps: dict[str, str],
        sparse: dict[str, Cells],
        candidates: int,
    ) -> None:
        self._graph, self._maps, self._candidates = target, maps, candidates
        self._sparse = sparse
        shape = self._add("Shape", maps["center"])
        pick = self._graph.constant
        # (1,) int64 each.
        self._height, self._width = (
            self._add("Gather", shape, pick([axis], "int64"), axis=0) for axis in (2, 3)
        )
        self._joint_heat = self._add("Sigmoid", maps["joint_heatmap"])
        self._height_f, self._width_f = (self._float(side) for side in (self._height, self._width))

    def write(self) -> None:
        """Append all nodes, and the outputs that `build_movenet` describes."""
        cells, centres = self._centres()
        rows = self._add("Div", cells, self._width)
        columns = self._add("Sub", cells, self._add("Mul", rows, self._width))
        y, x = (self._float(values) for values in (rows, columns))
        edges = self._boxes(cells, y, x)
        expected = self._expected(cells, y, x)
        own, place_y, place_x = self._search(edges, expected)
        self._give(centres, edges, expected, own, place_y, place_x)

    # Short names for what is written often.

    def _add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._graph.add(operator, *inputs, **attributes)

    def _const(self, value: Any, dtype: str = "float32") -> str:
        return self._graph.constant(value, dtype)

    def _float(self, tensor: str) -> str:
        return self._graph.cast(tensor, "float32")

    def _reshape(self, tensor: str, *shape: int) -> str:
        return self._add("Reshape", tensor, self._const(shape, "int64"))

    def _shape(self, *sides: int | str) -> str:
        """A shape of numbers and of computed ones, (1,) int64 each."""
        parts = [self._const([side], "int64") if isinstance(side, int) else side for side in sides]
        return self._add("Concat", *parts, axis=0)

    def _along(self, tensor: str, *axes: int) -> str:
        return self._add("Unsqueeze", tensor, self._const(axes, "int64"))

    def _clip(self, tensor: str, high: str) -> str:
        """From 0 to a computed bound."""
        return self._add("Relu", self._add("Min", tensor, high))

    # The steps.

    def _centres(self) -> tuple[str, str]:
        """Cells (K,) int64 in the order of rows, and their scores (K,)."""
        heat = self._add("Sigmoid", self._maps["center"])
        near, far = (self._reshape(self._peaks(heat, side), -1) for side in (3, 5))
        first = self._const([min(_REPORTED, self._candidates)], "int64")
        # Those that the file reports come first: 1 is added to them, and scores are below 1.
        reported, _ = self._graph.add_many("TopK", 2, far, first, axis=0)
        last = self._add("ReduceMin", reported, axes=[0], keepdims=1)
        least = self._add("Max", last, self._const(_PEAK))
        ahead = self._float(self._add("GreaterOrEqual", far, least))
        count = self._const([self._candidates], "int64")
        _, cells = self._graph.add_many("TopK", 2, self._add("Add", near, ahead), count, axis=0)
        return cells, self._add("Gather", near, cells, axis=0)

    def _peaks(self, heat: str, side: int) -> str:
        """The heatmap where it is the largest of `side` × `side` cells, 0 elsewhere."""
        best = self._add(
            "MaxPool", heat, kernel_shape=[side] * 2, strides=[1, 1], pads=[side // 2] * 4
        )
        peak = self._add("Less", self._add("Sub", best, heat), self._const(_PEAK))
        return self._add("Mul", heat, self._float(peak))

    def _boxes(self, cells: str, y: str, x: str) -> tuple[str, str, str, str]:
        """Top, left, bottom, right of the boxes, (K,) each."""
        size = self._add("Relu", self._sparse["box_scale"].at(cells))
        half = self._add("Mul", size, self._const(0.5))
        offset = self._sparse["box_offset"].at(cells)
        halves, offsets = (
            self._graph.add_many("Split", 2, tensor, axis=1) for tensor in (half, offset)
        )
        sides: list[tuple[str, str]] = []
        for axis, (cell, limit) in enumerate(((y, self._height_f), (x, self._width_f))):
            middle = self._add("Add", cell, self._reshape(offsets[axis], -1))
            reach = self._reshape(halves[axis], -1)
            before, after = (self._add(kind, middle, reach) for kind in ("Sub", "Add"))
            sides.append((self._clip(before, limit), self._clip(after, limit)))
        (top, bottom), (left, right) = sides
        return top, left, bottom, right

    def _expected(self, cells: str, y: str, x: str) -> tuple[str, str]:
        """Where the centres expect the joints: y and x, (K, J) each."""
        places = self._reshape(self._sparse["joint_place"].at(cells), -1, JOINTS, 2)
        down, across = self._graph.add_many("Split", 2, places, axis=2)
        return tuple(  # type: ignore[return-value]
            self._add("Add", self._reshape(part, -1, JOINTS), self._along(cell, 1))
            for part, cell in ((down, y), (across, x))
        )

    def _weight(self, cell: str, expected: str, low: str, high: str) -> str:
        """Along one axis: the Gaussian about the expected place, 0 outside the box.

        All of them are floats of shapes that broadcast.
        """
        away = self._add("Sub", cell, expected)
        shorter = self._add("Min", self._height_f, self._width_f)
        spread = self._add("Mul", shorter, self._const(-_SPREAD))
        near = self._add("Exp", self._add("Div", self._add("Mul", away, away), spread))
        inside = self._add(
            "And", self._add("GreaterOrEqual", cell, low), self._add("Less", cell, high)
        )
        return self._add("Mul", near, self._float(inside))

    def _window_cells(self, expected: str, low: str, high: str, limit: str) -> str:
        """The middle of each window: the expected place, moved into box and image; (K, J) int64."""
        bounded = self._add(
            "Min", self._add("Max", expected, self._along(low, 1)), self._along(high, 1)
        )
        last = self._add("Sub", limit, self._const(1.0))
        nearest = self._add("Floor", self._add("Add", bounded, self._const(0.5)))
        return self._graph.cast(self._clip(nearest, last), "int64")

    def _search(
        self, edges: tuple[str, str, str, str], expected: tuple[str, str]
    ) -> tuple[str, str, str]:
        """The best cell of every joint: its score, row and column, (K, J) each; int64 cells."""
        graph, joints = self._graph, JOINTS
        top, left, bottom, right = edges
        zero, one, block = (self._const([value], "int64") for value in (0, 1, _BLOCK))
        windows = [joint_window(side) for side in range(LARGEST // STRIDE + 1)]
        shorter = self._add("Min", self._height, self._width)
        radius = self._add("Gather", self._const(windows, "int64"), shorter)
        twice = self._add("Add", radius, radius)
        rows = self._add("Add", twice, one)
        blocks = self._add("Add", self._add("Div", twice, block), one)
        columns = self._add("Mul", blocks, block)
        each_row, each_block, each_column = (
            self._add("Slice", self._const(np.arange(most), "int64"), zero, count)
            for count, most in (
                (rows, 2 * windows[-1] + 1),
                (blocks, 2 * windows[-1] // _BLOCK + 1),
                (columns, 2 * windows[-1] + _BLOCK),
            )
        )
        # Heatmaps with a border as wide as a window reaches, cut into blocks of a row.
        sides = self._shape(joints, self._height, self._width)
        heat = self._add("Reshape", self._joint_heat, sides)
        border = self._shape(0, radius, radius, 0, radius, radius)
        heat = self._reshape(self._add("Pad", heat, border), -1, _BLOCK)

        line = self._add("Div", self._add("Add", self._width, twice), block)  # blocks a row
        plane = self._add("Mul", self._add("Add", self._height, twice), line)  # blocks a joint
        # In the bordered map a window's first row has the number of its middle in the map.
        middle_y = self._window_cells(expected[0], top, bottom, self._height_f)
        middle_x = self._window_cells(expected[1], left, right, self._width_f)
        first_block = self._add("Div", middle_x, block)
        start = self._add("Add", self._add("Mul", middle_y, line), first_block)
        joint = self._add("Mul", self._const(np.arange(joints), "int64"), plane)
        start = self._along(self._add("Add", start, joint), 2, 3)
        down = self._add("Mul", self._along(each_row, 1), line)
        steps = self._add("Add", down, each_block)
        taken = self._add("Gather", heat, self._add("Add", start, steps), axis=0)
        taken = self._add("Reshape", taken, self._shape(-1, joints, rows, columns))

        first_y = self._add("Sub", middle_y, radius)
        first_x = self._add("Sub", self._add("Mul", first_block, block), radius)
        cell_y = self._float(self._add("Add", self._along(first_y, 2), each_row))
        cell_x = self._float(self._add("Add", self._along(first_x, 2), each_column))
        weight_y = self._weight(
            cell_y, self._along(expected[0], 2), self._along(top, 1, 2), self._along(bottom, 1, 2)
        )
        weight_x = self._weight(
            cell_x, self._along(expected[1], 2), self._along(left, 1, 2), self._along(right, 1, 2)
        )
        # Best column of each row, then best row: the largest product, with one pass over windows.
        products = self._add("Mul", taken, self._along(weight_x, 2))
        lines = self._add("Mul", self._add("ReduceMax", products, axes=[3], keepdims=0), weight_y)
        own = self._add("ReduceMax", lines, axes=[2], keepdims=0)
        row = self._add("ArgMax", lines, axis=2, keepdims=0)
        every = self._const(np.arange(self._candidates * joints), "int64")
        row_of_all = self._add("Add", self._add("Mul", every, rows), self._reshape(row, -1))
        lines = self._add("Reshape", products, self._shape(-1, columns))
        best_rows = self._add("Gather", lines, row_of_all, axis=0)
        column = self._reshape(graph.add("ArgMax", best_rows, axis=1, keepdims=0), -1, joints)
        return own, self._add("Add", first_y, row), self._add("Add", first_x, column)

    def _give(
        self,
        centres: str,
        edges: tuple[str, str, str, str],
        expected: tuple[str, str],
        own: str,
        place_y: str,
        place_x: str,
    ) -> None:
        """The outputs."""
        graph, joints, people = self._graph, JOINTS, self._candidates
        # A window without a cell in the box may end outside the maps.
        one = self._const(1, "int64")
        place_y, place_x = (
            self._add(
                "Max",
                self._add("Min", place, self._add("Sub", limit, one)),
                self._const(0, "int64"),
            )
            for place, limit in ((place_y, self._height), (place_x, self._width))
        )
        cell = self._add("Add", self._add("Mul", place_y, self._width), place_x)  # (K, J)
        area = self._add("Mul", self._height, self._width)
        of_joint = self._add("Mul", self._const(np.arange(joints), "int64"), area)
        heat = self._add(
            "Gather",
            self._reshape(self._joint_heat, -1),
            self._add("Add", cell, of_joint),
            axis=0,
        )
        offsets = self._sparse["joint_offset"].at(self._reshape(cell, -1))
        # Of the offsets of all joints at the cell of one, those of that one.
        offsets = self._reshape(offsets, -1, 2)
        own_offset = np.arange(people * joints) * joints + np.arange(people * joints) % joints
        offsets = self._add("Gather", offsets, self._const(own_offset, "int64"), axis=0)
        found = [
            self._add("Add", self._float(place), self._reshape(offset, -1, joints))
            for place, offset in zip(
                (place_y, place_x), graph.add_many("Split", 2, offsets, axis=1), strict=True
            )
        ]

        scores = self._lent(edges, expected, heat, place_y, place_x, own)
        counted = self._float(self._add("Greater", scores, self._const(_COUNTED)))
        total = self._add(
            "ReduceSum", self._add("Mul", scores, counted), self._const([1], "int64"), keepdims=0
        )
        number = self._add("ReduceSum", counted, self._const([1], "int64"), keepdims=0)
        mean = self._add("Div", total, self._add("Max", number, self._const(1.0)))

        stride = self._const(float(STRIDE))
        top, left, bottom, right = (self._along(edge, 1) for edge in edges)
        boxes = self._add("Concat", left, top, right, bottom, axis=1)
        points = [self._along(self._add("Mul", found[axis], stride), 2) for axis in (1, 0)]
        keypoints = self._add("Concat", *points, self._along(scores, 2), axis=2)
        graph.output(self._add("Mul", boxes, stride), "boxes", "float32", (people, 4))
        graph.output(self._add("Mul", centres, mean), "scores", "float32", (people,))
        classes = self._const(np.zeros(people), "int64")
        graph.output(classes, "classes", "int64", (people,))
        graph.output(keypoints, "keypoints", "float32", (people, joints, 3))

    def _lent(
        self,
        edges: tuple[str, str, str, str],
        expected: tuple[str, str],
        heat: str,
        place_y: str,
        place_x: str,
        own: str,
    ) -> str:
        """Scores of joints (K, J): their own or that of the six best people, if that is larger."""
        first = min(_REPORTED, self._candidates)
        begin, end, axis = (self._const([n], "int64") for n in (0, first, 0))
        top, left, bottom, right = (
            self._along(self._add("Slice", edge, begin, end, axis), 0, 2) for edge in edges
        )
        weights = []
        for place, about, low, high in (
            (place_y, expected[0], top, bottom),
            (place_x, expected[1], left, right),
        ):
            best = self._along(self._add("Slice", about, begin, end, axis), 0)  # (1, 6, J)
            weights.append(self._weight(self._float(self._along(place, 1)), best, low, high))
        lent = self._add("Mul", weights[0], weights[1])  # (K, 6, J)
        lent = self._add("ReduceMax", lent, axes=[1], keepdims=0)
        return self._add("Max", own, self._add("Mul", heat, lent))
