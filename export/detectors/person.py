"""A pose or mask model's bundle: its graph with normalisation before and decoding behind it.

The graph, `pose` or `mask`, takes `crops` uint8 (N, h, w, 3) BGR.  `pose` gives `keypoints` float32
(N, 17, 3), x and y in pixels of the crop and score, of COCO's joints; `mask` gives `masks` float32
(N, h', w'), probabilities over the crop.  The arithmetic is that of `runtime.detectors.pose` and
`mask`, in float32, of operators that need no plugin of TensorRT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from ...errors import DetectionError
from ...records import FloatArray, UInt8Array
from ...runtime.bundle.spec import GraphSpec
from ...runtime.detectors.image import find_normalisation
from ...runtime.detectors.mask import KIND as MASKS
from ...runtime.detectors.mask import MaskModel
from ...runtime.detectors.pose import BLAZEPOSE_JOINTS, BLAZEPOSE_POINTS, PoseModel
from ...runtime.detectors.pose import KIND as POSES
from ...runtime.detectors.topdown import BATCH, RANGES, CropInput
from ...runtime.formats.keypoints import JOINTS
from ...runtime.inference.base import to_host
from ...runtime.inference.onnxruntime import OnnxRuntimeEngine
from .decoding import PREFIX, Decoder, prepared

_USUAL = 4
"""Crops of a call that engines are tuned for."""


@dataclass(frozen=True, slots=True)
class PersonLayout:
    """How a file is read.

    Attributes:
        graph: `pose` or `mask`: what it is read for.
        name: Of a `PoseFormat`, or `mask`.
        crops: What it takes.
        places: Of the outputs that are read.
        normalise: What a graph of floats takes.
        map_hw: Height and width of a mask.
        logits: Whether a mask holds logits.
        answers: To the test crops, decoded in NumPy.
    """

    graph: str
    name: str
    crops: CropInput
    places: tuple[int, ...]
    answers: FloatArray
    normalise: str = "rgb-1"
    map_hw: tuple[int, int] = (0, 0)
    logits: bool = False


def person_layouts(source: Path) -> list[PersonLayout]:
    """What a file can be used for; nothing where it is no pose or mask model.

    Raises:
        BackendError: ONNX Runtime cannot load it.
    """
    found = []
    for kind, opened in ((POSES, PoseModel), (MASKS, MaskModel)):
        try:
            model = opened(source, threads=1)
        except DetectionError:
            continue
        answers = model.read(crops_for_tests(model.crops.size_hw))
        if isinstance(model, PoseModel):
            how = model.format
            found.append(
                PersonLayout(kind.graph, how.name, model.crops, how.places, answers, how.normalise)
            )
        else:
            found.append(
                PersonLayout(
                    kind.graph,
                    "mask",
                    model.crops,
                    (model.place,),
                    answers,
                    map_hw=model.map_hw,
                    logits=model.logits,
                )
            )
        model.close()
    return found


def person_graph(
    network: onnx.ModelProto, layout: PersonLayout, precision: str = "fp32"
) -> onnx.ModelProto:
    """A model's network with normalisation before and decoding behind it.

    Args:
        network: As its file holds it.
        layout: How it is read.
        precision: Of the network, `fp32` or `fp16`; what is around it is float32.

    Raises:
        ExportError: It cannot be converted.
    """
    network, crops = prepared(network, precision), layout.crops
    graph = Decoder(layout.graph)
    number: int | str = "crops" if crops.batch > 1 else 1
    image = graph.input("crops", "uint8", (number, *crops.size_hw, 3))
    # Whole numbers are RGB of 0 to 255.
    normalise = layout.normalise if RANGES[crops.dtype] == 1 else "rgb-255"
    values = graph.normalised(image, find_normalisation(normalise))
    if not crops.channels_last:
        values = graph.add("Transpose", values, perm=[0, 3, 1, 2])
    name = PREFIX + crops.name
    (own,) = (tensor for tensor in network.graph.input if tensor.name == name)
    graph.alias(graph.add("Cast", values, to=own.type.tensor_type.elem_type), name)
    graph.splice(network.graph)
    outputs = [network.graph.output[place] for place in layout.places]
    found = [graph.cast(tensor.name, "float32") for tensor in outputs]
    if layout.graph == POSES.graph:
        sizes = [[d.dim_value for d in o.type.tensor_type.shape.dim] for o in outputs]
        joints = _DECODERS[layout.name](graph, found, sizes, crops.size_hw)
        joints = graph.reshape(joints, -1, JOINTS, 3)
        graph.output(joints, "keypoints", "float32", (number, JOINTS, 3))
    else:
        masks = graph.reshape(found[0], -1, *layout.map_hw)
        masks = graph.add("Sigmoid", masks) if layout.logits else masks
        graph.output(masks, "masks", "float32", (number, *layout.map_hw))
    return graph.model({}, like=network)


def person_error(path: Path, layout: PersonLayout) -> float:
    """Of a graph, the largest difference to NumPy's decoding of its file.

    In scores and probabilities, and in places as a share of the crop's longer side.
    """
    crops = crops_for_tests(layout.crops.size_hw)
    batches = [crops] if layout.crops.batch > 1 else [[crop] for crop in crops]
    with OnnxRuntimeEngine(path) as engine:
        (name,) = (tensor.name for tensor in engine.spec.outputs)
        given = [to_host(engine.run({"crops": np.stack(batch)})[name]) for batch in batches]
    return largest_difference(np.concatenate(given), layout.answers, layout.crops.size_hw)


def largest_difference(one: FloatArray, other: FloatArray, size_hw: tuple[int, int]) -> float:
    """Between poses (N, 17, 3) or masks (N, h, w): see `person_error`."""
    away = np.abs(one.astype(np.float64) - other)
    if one.shape[1:] == (JOINTS, 3):
        away[..., :2] /= max(size_hw)
    return float(away.max(initial=0))


def crops_for_tests(size_hw: tuple[int, int]) -> list[UInt8Array]:
    """Noise, and smooth hills: what no network answers with one value everywhere."""
    rng = np.random.default_rng(0)
    rows, columns = np.meshgrid(*(np.linspace(0, 6, side) for side in size_hw), indexing="ij")
    hills = [np.sin(rows * a + 1) * np.cos(columns * b) for a, b in rng.uniform(0.5, 2, (3, 2))]
    smooth = (127 + 120 * np.stack(hills, axis=2)).astype(np.uint8)
    return [*rng.integers(0, 256, (2, *size_hw, 3)).astype(np.uint8), smooth]


def with_profile(graph: GraphSpec, crops: CropInput) -> GraphSpec:
    """Engines take any number of crops that a call may hold."""
    if crops.batch == 1:
        return graph
    least, usual, most = ((number, *crops.size_hw, 3) for number in (1, _USUAL, BATCH))
    (image,) = graph.inputs
    image = replace(image, min_shape=least, opt_shape=usual, max_shape=most)
    return replace(graph, inputs=(image,))


Sizes = Sequence[Sequence[int]]


def _movenet(
    graph: Decoder,
    found: Sequence[str],
    sizes: Sizes,  # noqa: ARG001
    size_hw: tuple[int, int],
) -> str:
    """y, x, score as shares."""
    joints = graph.reshape(found[0], -1, JOINTS, 3)
    joints = graph.add("Gather", joints, graph.constant([1, 0, 2], "int64"), axis=2)
    return graph.times(joints, (*map(float, size_hw[::-1]), 1.0))


def _blazepose(
    graph: Decoder,
    found: Sequence[str],
    sizes: Sizes,  # noqa: ARG001
    size_hw: tuple[int, int],  # noqa: ARG001
) -> str:
    """39 points of x, y, z and logits of being visible and in the crop."""
    points = graph.reshape(found[0], -1, BLAZEPOSE_POINTS, 5)
    points = graph.add("Gather", points, graph.constant(BLAZEPOSE_JOINTS, "int64"), axis=1)
    sure = graph.add(
        "Sigmoid", graph.add("ReduceMin", graph.last(points, 3, 5), axes=[2], keepdims=1)
    )
    return graph.add("Concat", graph.last(points, 0, 2), sure, axis=2)


def _places(graph: Decoder, best: str, scale: float) -> str:
    """Whole numbers (N, 17, 1) as float32 pixels of the crop."""
    return graph.times(graph.cast(best, "float32"), (scale,))


def _simcc(
    graph: Decoder,
    found: Sequence[str],
    sizes: Sizes,
    size_hw: tuple[int, int],
) -> str:
    """How sure a joint is of each column, and of each row."""
    places, sure = [], []
    for tensor, length, side in zip(found, (s[2] for s in sizes), size_hw[::-1], strict=True):
        best = graph.add("ArgMax", tensor, axis=2, keepdims=1)
        places.append(_places(graph, best, side / length))
        sure.append(graph.add("ReduceMax", tensor, axes=[2], keepdims=1))
    return graph.add("Concat", *places, graph.clipped(graph.add("Min", *sure)), axis=2)


def _heatmaps(
    graph: Decoder,
    found: Sequence[str],
    sizes: Sizes,
    size_hw: tuple[int, int],
) -> str:
    """The maximum, a quarter of a cell towards the larger neighbour of either axis."""
    height, width = sizes[0][2:]
    flat = graph.reshape(found[0], 0, JOINTS, height * width)
    best = graph.add("ArgMax", flat, axis=2, keepdims=1)
    columns = graph.constant(width, "int64")
    row = graph.add("Div", best, columns)
    column = graph.add("Sub", best, graph.add("Mul", row, columns))
    places = []
    for axis, last, step, side in (
        (column, width - 1, 1, size_hw[1] / width),
        (row, height - 1, width, size_hw[0] / height),
    ):
        ends = (graph.constant(0, "int64"), graph.constant(last, "int64"))
        # Next to the border there is only one neighbour, and the joint stays where it is.
        before = graph.add("Sub", best, graph.constant(step, "int64"))
        after = graph.add("Add", best, graph.constant(step, "int64"))
        limits = (graph.constant(0, "int64"), graph.constant(height * width - 1, "int64"))
        values = [
            graph.add("GatherElements", flat, graph.add("Min", graph.add("Max", at, limits[0]),
                      limits[1]), axis=2)
            for at in (after, before)
        ]  # fmt: skip
        lean = graph.times(graph.add("Sign", graph.add("Sub", *values)), (0.25,))
        inner = graph.add(
            "And", graph.add("Greater", axis, ends[0]), graph.add("Less", axis, ends[1])
        )
        lean = graph.add("Mul", lean, graph.cast(inner, "float32"))
        places.append(graph.times(graph.add("Add", graph.cast(axis, "float32"), lean), (side,)))
    sure = graph.clipped(graph.add("ReduceMax", flat, axes=[2], keepdims=1))
    return graph.add("Concat", *places, sure, axis=2)


_DECODERS = {
    "MoveNet": _movenet,
    "BlazePose": _blazepose,
    "SimCC": _simcc,
    "heatmaps": _heatmaps,
}
"""By the name of `PoseFormat`."""
