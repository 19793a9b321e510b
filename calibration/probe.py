"""Runs variants of a backbone graph and shows what happens inside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from ..records import UInt8Array
from ..runtime.onnxruntime_engine import available_cores

Float32 = npt.NDArray[np.float32]


class Probe:
    """A backbone graph in ONNX Runtime on the CPU.

    Args:
        model: The graph; its one input is (1, H, W, 3) uint8, its first output (1, rows, cols, C)
            unit features.
        inner: Tensors inside the graph to hand out as well.
    """

    def __init__(self, model: onnx.ModelProto, inner: Sequence[str] = ()) -> None:
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        for name in inner:
            tensor = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            shown.graph.output.append(tensor)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = model.graph.input[0].name
        self._inner = list(inner)
        self._output = model.graph.output[0].name

    def features(self, image: UInt8Array) -> Float32:
        """(1, rows, cols, C) float32 features of a picture (H, W, 3) uint8."""
        (features,) = self._session.run([self._output], {self._input: image[None]})
        return np.asarray(features, np.float32)

    def inside(self, image: UInt8Array) -> Iterator[tuple[str, Float32]]:
        """Name and value, (1, C, rows, cols) float32, of every tensor of `inner`."""
        values = self._session.run(self._inner, {self._input: image[None]})
        yield from zip(self._inner, values, strict=True)


def cosine(features: Float32, others: Float32, axis: int = -1) -> float:
    """Mean over all cells of the cosine between two feature maps; 1 where both are zero.

    Args:
        features: Float array with the channels along `axis`.
        others: As large.
        axis: Of the channels.
    """
    product = (features * others).sum(axis=axis, dtype=np.float64)
    norms = np.sqrt(
        np.square(features).sum(axis=axis, dtype=np.float64)
        * np.square(others).sum(axis=axis, dtype=np.float64)
    )
    same = np.all(features == others, axis=axis)
    return float(np.where(same, 1.0, product / np.maximum(norms, 1e-12)).mean())
