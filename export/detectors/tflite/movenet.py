"""MoveNet MultiPose Lightning (`movenet.tflite`) as an ONNX graph without its limit of six people.

The network itself is taken from the file; what finds people in its maps is written anew, in
`movenet_people`.  Of the maps only the two heatmaps are computed in all cells; of the others, the
cells that are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from ....errors import ExportError
from ....runtime.detectors.decoded import METADATA_KEY, DetectorFacts
from ..onnx_graph import DTYPES, OnnxGraph
from .file import TfliteGraph, read_tflite
from .movenet_people import LARGEST, SMALLEST, STRIDE, Cells, Layer, PeopleWriter
from .operators import describe, import_tensors

MULTIPLE = 32
"""Height and width of the image are multiples of this."""

CANDIDATES = 128
"""People that the graph gives unless another number is asked for."""

FACTS = DetectorFacts(
    name="movenet",
    class_names=("person",),
    joints="coco17",
    multiple=MULTIPLE,
    smallest=SMALLEST,
    score_half=0.1,
    score_power=2.0,
    confidence=0.08,
    nms_limit=0.7,
)
"""What the runtime has to know. The file's scores are low: on four sequences of streets and
dancers half of the detections with a score of 0.1 are right, and nine tenths from 0.3 on.  The
confidence of 0.08 is a score of 0.03."""

_MAPS = {
    "center": ("center_0/", 1),
    "box_scale": ("box_scale_0/", 2),
    "box_offset": ("box_offset_0/", 2),
    "joint_heatmap": ("kpt_heatmap_0/", 17),
    "joint_offset": ("kpt_offset_0/", 34),
    "joint_place": ("kpt_regress_0/", 34),
}
"""The maps: what the file's names of the convolutions that give them contain, and channels."""

_SEARCHED = ("center", "joint_heatmap")
"""Maps of which every cell is looked at."""


@dataclass(frozen=True, slots=True)
class MovenetOptions:
    """What a MoveNet graph is built for.

    Attributes:
        size_hw: Height and width of the image, multiples of 32; None leaves them open.
        candidates: People that are given, best centre first; at most a cell each.
        precision: Of the convolutions, `fp32` or `fp16`; all that follows the maps is float32.
    """

    size_hw: tuple[int, int] | None = None
    candidates: int = CANDIDATES
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if self.precision not in DTYPES:
            raise ExportError(
                f"movenet: got precision {self.precision}, expected {' or '.join(DTYPES)}"
            )
        for side in self.size_hw or ():
            if side % MULTIPLE or not SMALLEST <= side <= LARGEST:
                raise ExportError(
                    f"movenet: got an image size of {self.size_hw}, expected multiples of "
                    f"{MULTIPLE} from {SMALLEST} to {LARGEST}"
                )
        most = (SMALLEST // STRIDE) ** 2
        if not 1 <= self.candidates <= most:
            raise ExportError(f"movenet: got {self.candidates} candidates, expected 1 to {most}")


def build_movenet(path: Path, options: MovenetOptions | None = None) -> onnx.ModelProto:
    """Convert the file.

    The graph takes `image`, (1, H, W, 3) uint8, BGR.  With K candidates it gives the six
    people that the file would report, best centre first, then all others, best centre first; rows
    without a person have score 0:

    * `boxes` (K, 4) float32: left, top, right, bottom in pixels of the image;
    * `scores` (K,) float32 from 0 to 1;
    * `classes` (K,) int64, all 0: people;
    * `keypoints` (K, 17, 3) float32: x, y in pixels of the image and score from 0 to 1, COCO's
      joints.

    Args:
        path: `movenet.tflite`, MultiPose Lightning.
        options: Sizes; None: the defaults.

    Returns:
        The model.

    Raises:
        ExportError: The file cannot be read or is another model, or an option is out of range.
    """
    options = options or MovenetOptions()
    source = read_tflite(path)
    maps = _find_maps(source)
    source = _take_bgr(source)
    target = OnnxGraph("movenet_multipose")
    shape = ("height", "width") if options.size_hw is None else options.size_hw
    image = target.input("image", "uint8", (1, *shape, 3))
    dtype = DTYPES[options.precision]
    pixels = target.cast(image, dtype)
    pixels = target.add("Transpose", pixels, perm=[0, 3, 1, 2])
    entry = source.inputs[0]
    sizes = [(SMALLEST, 96), (96, 160)] if options.size_hw is None else [options.size_hw]
    probes = [{entry: (1, *size, 3)} for size in sizes]
    sparse = {name: _cell_layers(source, maps[name]) for name in maps if name not in _SEARCHED}
    wanted = [*(maps[name] for name in _SEARCHED), *(start for start, _ in sparse.values())]
    found = import_tensors(source, target, {entry: pixels}, probes, wanted, dtype)
    searched, starts = found[: len(_SEARCHED)], found[len(_SEARCHED) :]
    maps_in_full = {
        name: target.cast(tensor.name, "float32", dtype)
        for name, tensor in zip(_SEARCHED, searched, strict=True)
    }
    cells = {
        name: Cells(target, start, layers, dtype)
        for (name, (_, layers)), start in zip(sparse.items(), starts, strict=True)
    }
    PeopleWriter(target, maps_in_full, cells, options.candidates).write()
    return target.model({METADATA_KEY: FACTS.to_json()})


def _find_maps(source: TfliteGraph) -> dict[str, int]:
    """The file's tensors by the names of `_MAPS`.

    Raises:
        ExportError: It has not got them: it is another model.
    """
    found: dict[str, int] = {}
    for operator in source.operators:
        tensor = source.tensors[operator.outputs[0]]
        for name, (part, channels) in _MAPS.items():
            fits = operator.kind == "CONV_2D" and tensor.shape[3:] == (channels,)
            if fits and part in tensor.name:
                found[name] = operator.outputs[0]
    missing = [name for name in _MAPS if name not in found]
    takes = [describe(source.tensors[index]) for index in source.inputs]
    if missing or takes != ["uint8 (1, -1, -1, 3)"]:
        raise ExportError(
            f"{source.path} is not MoveNet MultiPose: it takes {', '.join(takes)}"
            + (f" and has no {', '.join(missing)}" if missing else "")
        )
    return found


def _cell_layers(source: TfliteGraph, tensor: int) -> tuple[int, list[Layer]]:
    """Of which tensor the cells of a map are made, each of one cell, and how."""
    layers: list[Layer] = []
    while (operator := source.producer(tensor)) is not None and operator.kind == "CONV_2D":
        weights, bias = (source.constant(place) for place in operator.inputs[1:])
        options = operator.options
        relu = options["FusedActivationFunction"]
        plain = relu in (0, 1) and options["StrideH"] == options["StrideW"] == 1
        if not plain or weights is None or bias is None or weights.shape[1:3] != (1, 1):
            break
        layers.insert(0, Layer(weights[:, 0, 0], bias, bool(relu)))
        tensor = operator.inputs[0]
    return tensor, layers


def _take_bgr(source: TfliteGraph) -> TfliteGraph:
    """The same network for BGR: the first convolution's weights in the other order of colours.

    Before it the file only subtracts and multiplies by numbers that are equal for all colours.
    """
    first = next(op for op in source.operators if op.kind == "CONV_2D")
    weights = source.constant(first.inputs[1])
    if weights is None or weights.shape[3] != 3:
        raise ExportError(f"{source.path} is not MoveNet: its first convolution takes no colours")
    tensors = list(source.tensors)
    place = first.inputs[1]
    tensors[place] = replace(tensors[place], data=np.ascontiguousarray(weights[..., ::-1]))
    return replace(source, tensors=tuple(tensors))
