"""A detector of four convolutions that finds bright squares, of which one does not bear int8."""

from __future__ import annotations

import json

import numpy as np
from unitrack_edge.export.detectors.bundle import DetectorRequest, write_detector_bundle
from unitrack_edge.export.detectors.onnx_graph import OnnxGraph
from unitrack_edge.runtime.detectors.decoded import METADATA_KEY

SIDE, CELL = 64, 8
CELLS = SIDE // CELL
BRIGHT = 1000.0
"""How much larger the channel of brightness is than those of colours, in the input of `colours`."""

FACTS = {
    "name": "squares",
    "class_names": ["square"],
    "confidence": 0.3,
    "fit": "corner",
    "smooth": False,
}


def write_squares(path):
    """An ONNX file with decoding inside.

    Brightness of a cell says whether there is an object, its red and green how wide and how high it
    is. In int8 the input of `colours` has steps of 8, by which red and green, from 0 to 1, vanish.
    """
    graph = OnnxGraph("squares")
    image = graph.input("image", "uint8", (1, SIDE, SIDE, 3))
    values = graph.add("Div", graph.cast(image, "float32"), graph.constant(255.0, "float32"))
    values = graph.add("Transpose", values, perm=[0, 3, 1, 2])
    mean = np.full((CELL, CELL), 1 / CELL**2)
    # Brightness, red, green; the image is BGR.
    colours = np.array([[1 / 3] * 3, [0, 0, 1], [0, 1, 0]])
    values = _conv(graph, "stem", values, colours[:, :, None, None] * mean, stride=CELL)
    values = _conv(graph, "bright", values, _points(np.diag([BRIGHT, 1, 1])))
    values = _conv(graph, "colours", values, _points(np.diag([1 / BRIGHT, 1, 1])))
    values = _conv(graph, "last", values, _points(np.eye(3)))
    rows = graph.add("Reshape", values, graph.constant([3, -1], "int64"))
    bright, red, green = graph.add_many("Split", 3, rows, axis=0)
    logits = graph.add("Mul", graph.constant(20.0, "float32"), bright)
    scores = graph.add("Sigmoid", graph.add("Sub", logits, graph.constant(8.0, "float32")))
    least, more = (graph.constant(side, "float32") for side in (2.0, 6.0))
    halves = [graph.add("Add", least, graph.add("Mul", part, more)) for part in (red, green)]
    places = (np.arange(CELLS) + 0.5) * CELL
    grids = np.meshgrid(places, places)
    across, down = (graph.constant(grid.reshape(1, -1), "float32") for grid in grids)
    ends = [
        graph.add(kind, middle, half)
        for kind in ("Sub", "Add")
        for middle, half in zip((across, down), halves, strict=True)
    ]
    boxes = graph.add("Transpose", graph.add("Concat", *ends, axis=0), perm=[1, 0])
    graph.output(boxes, "boxes", "float32", (CELLS**2, 4))
    flat = graph.add("Reshape", scores, graph.constant([-1], "int64"))
    graph.output(flat, "scores", "float32", (CELLS**2,))
    labels = graph.constant(np.zeros(CELLS**2), "int64")
    graph.output(labels, "classes", "int64", (CELLS**2,))
    path.write_bytes(graph.model({METADATA_KEY: json.dumps(FACTS)}).SerializeToString())
    return path


def _points(matrix):
    return np.asarray(matrix)[:, :, None, None]


def _conv(graph, name, tensor, weights, stride=1):
    kernel = graph.constant(weights, "float32", name=f"network.{name}.weight")
    bias = graph.constant(np.zeros(len(weights)), "float32", name=f"network.{name}.bias")
    result = graph.add("Conv", tensor, kernel, bias, name=f"node_{name}", strides=[stride] * 2)
    return graph.add("Relu", result)


def write_detector_of_squares(folder):
    """Its bundle."""
    path = write_squares(folder.with_suffix(".onnx"))
    bundle = write_detector_bundle(DetectorRequest(str(path)), folder)
    path.unlink()
    return bundle


def squares(seed, count=4):
    """An image with bright squares in cells that do not touch, on dark noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 30, (SIDE, SIDE, 3)).astype(np.uint8)
    for place in rng.choice(CELLS**2 // 4, count, replace=False):
        top, left = (2 * CELL * part for part in divmod(int(place), CELLS // 2))
        colour = rng.integers(90, 256, 3)
        image[top : top + CELL, left : left + CELL] = colour
    return image
