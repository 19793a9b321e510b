"""BlazePose full (`pose_landmark_full.tflite`) as an ONNX graph.

Takes crops of one person, (N, 256, 256, 3) float32, RGB from 0 to 1.  Gives, under the names of
the file, 39 landmarks of x, y, z in crop pixels with logits of visibility and presence (N, 195),
the probability that a person is there (N, 1), logits of the person's mask (N, 256, 256, 1),
heatmaps (N, 64, 64, 39) and landmarks in metres (N, 117).
"""

from __future__ import annotations

from pathlib import Path

import onnx

from ....errors import ExportError
from ..onnx_graph import DTYPES, OnnxGraph
from .file import read_tflite
from .operators import ImportedTensor, describe, import_tensors

SIDE = 256
_OUTPUTS = ((195,), (1,), (SIDE, SIDE, 1), (64, 64, 39), (117,))
_OPEN = "crops"


def build_blazepose(
    path: Path, *, batch: int | None = None, precision: str = "fp32"
) -> onnx.ModelProto:
    """Convert the file.

    Args:
        path: `pose_landmark_full.tflite`.
        batch: Crops of a call; None leaves it open.
        precision: Of the network, `fp32` or `fp16`; input and outputs are float32.

    Returns:
        The model.

    Raises:
        ExportError: The file cannot be read or is another model, or the precision is not known.
    """
    if precision not in DTYPES:
        raise ExportError(f"blazepose: got precision {precision}, expected {' or '.join(DTYPES)}")
    dtype = DTYPES[precision]
    source = read_tflite(path)
    shapes = [source.tensors[index].shape[1:] for index in (*source.inputs, *source.outputs)]
    if shapes != [(SIDE, SIDE, 3), *_OUTPUTS]:
        got = ", ".join(describe(source.tensors[index]) for index in source.inputs)
        raise ExportError(f"{path} is not BlazePose full: it takes {got}")
    target = OnnxGraph("blazepose_full")
    rows = _OPEN if batch is None else batch
    entry = source.inputs[0]
    crops = target.input("input_1", "float32", (rows, SIDE, SIDE, 3))
    turned = target.add("Transpose", target.cast(crops, dtype, "float32"), perm=[0, 3, 1, 2])
    probes = [{entry: (count, SIDE, SIDE, 3)} for count in ((1, 2) if batch is None else (batch,))]
    found = import_tensors(source, target, {entry: turned}, probes, source.outputs, dtype)
    for index, tensor, shape in zip(source.outputs, found, _OUTPUTS, strict=True):
        name = target.cast(_channels_last(target, tensor), "float32", dtype)
        target.output(name, source.tensors[index].name, "float32", (rows, *shape))
    return target.model()


def _channels_last(target: OnnxGraph, tensor: ImportedTensor) -> str:
    if not tensor.turned:
        return tensor.name
    return target.add("Transpose", tensor.name, perm=[0, 2, 3, 1])
