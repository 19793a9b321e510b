"""Reads a TFLite file as plain data: tensors, operators, constants.  TensorFlow is not needed.

The package `tflite` knows the container's layout (a flatbuffer) and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import ExportError
from ....runtime.paths import check_regular

_IDENTIFIER = b"TFL3"

_DTYPES = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "BOOL": "bool",
}

_OPTIONS = {
    "ADD": "AddOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MUL": "MulOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
}
"""The table of options of the operators that have some and are converted."""

_BROKEN = (struct.error, IndexError, TypeError, ValueError, AttributeError, OverflowError)
"""What reading a damaged flatbuffer raises."""


@dataclass(frozen=True, slots=True)
class TfliteTensor:
    """One tensor of a file.

    Attributes:
        name: As in the file.
        dtype: NumPy's name of the element type.
        shape: Sizes; -1 where the file leaves one open.
        data: Values of a constant, read-only; else None.
        quantized: Whether the integers stand for scaled real numbers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: npt.NDArray[Any] | None
    quantized: bool


@dataclass(frozen=True, slots=True)
class TfliteOperator:
    """One operator of a file.

    Attributes:
        kind: TFLite's name of it, such as `CONV_2D`.
        inputs: Indices of tensors; -1 for one that is left out.
        outputs: Indices of tensors.
        options: By TFLite's name, such as `StrideH`; empty for kinds that are not converted.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TfliteGraph:
    """The first subgraph of a file.

    Attributes:
        path: The file, for messages.
        tensors: All of them.
        operators: In an order in which they can run.
        inputs: Indices of tensors.
        outputs: Indices of tensors.
    """

    path: Path
    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def producer(self, tensor: int) -> TfliteOperator | None:
        """The operator whose output a tensor is; None for inputs and constants."""
        return next((op for op in self.operators if tensor in op.outputs), None)

    def constant(self, tensor: int) -> npt.NDArray[Any] | None:
        """A constant's values, float16 ones as float32 where the file widens them; else None."""
        data = self.tensors[tensor].data
        if data is not None:
            return data
        source = self.producer(tensor)
        if source is None or source.kind != "DEQUANTIZE":
            return None
        stored = self.tensors[source.inputs[0]]
        if stored.data is None or stored.dtype != "float16":
            return None
        return stored.data.astype(np.float32)


def read_tflite(path: Path) -> TfliteGraph:
    """Read a file.

    Raises:
        ExportError: The package `tflite` is not installed, or the file is absent, damaged or not
            TFLite.
    """
    try:
        import tflite
    except ImportError as error:
        raise ExportError(
            f"reading {path} needs the package tflite, which is not installed: "
            "pip install 'unitrack-edge[export]'"
        ) from error
    try:
        check_regular(path)
        content = path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {error.strerror or error}") from error
    if content[4:8] != _IDENTIFIER:
        raise ExportError(f"{path} is not a TFLite file: it does not begin with its identifier")
    try:
        return _read(tflite, path, content)
    except _BROKEN as error:
        raise ExportError(
            f"{path} is damaged ({type(error).__name__}: {error}), expected a whole TFLite file"
        ) from error


def _read(tflite: Any, path: Path, content: bytes) -> TfliteGraph:
    model = tflite.Model.GetRootAsModel(content, 0)
    graph = model.Subgraphs(0)
    type_names = _names(tflite.TensorType)
    kind_names = _names(tflite.BuiltinOperator)
    tensors = tuple(
        _tensor(model, graph.Tensors(place), type_names) for place in range(graph.TensorsLength())
    )
    operators = tuple(
        _operator(tflite, model, graph.Operators(place), kind_names)
        for place in range(graph.OperatorsLength())
    )
    inputs = tuple(graph.Inputs(place) for place in range(graph.InputsLength()))
    outputs = tuple(graph.Outputs(place) for place in range(graph.OutputsLength()))
    used = [*inputs, *outputs, *(i for op in operators for i in (*op.inputs, *op.outputs))]
    if any(not -1 <= index < len(tensors) for index in used):
        raise ValueError("an operator refers to a tensor that is not there")
    return TfliteGraph(path, tensors, operators, inputs, outputs)


def _names(table: Any) -> dict[int, str]:
    return {value: name for name, value in vars(table).items() if isinstance(value, int)}


def _tensor(model: Any, tensor: Any, type_names: Mapping[int, str]) -> TfliteTensor:
    kind = type_names.get(tensor.Type(), str(tensor.Type()))
    dtype = _DTYPES.get(kind, kind.lower())
    shape = tuple(tensor.Shape(axis) for axis in range(tensor.ShapeLength()))
    # The signature says which sizes are open; the shape then holds a placeholder.
    signature = tuple(tensor.ShapeSignature(axis) for axis in range(tensor.ShapeSignatureLength()))
    buffer, data = model.Buffers(tensor.Buffer()), None
    if buffer.DataLength():
        data = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype).reshape(shape)
    quantization = tensor.Quantization()
    return TfliteTensor(
        name=(tensor.Name() or b"").decode("utf-8", "replace"),
        dtype=dtype,
        shape=signature or shape,
        data=data,
        quantized=quantization is not None and quantization.ScaleLength() > 0,
    )


def _operator(
    tflite: Any, model: Any, operator: Any, kind_names: Mapping[int, str]
) -> TfliteOperator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Numbers above 126 do not fit the older of the two fields.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = kind_names.get(number, f"operator {number}")
    options: dict[str, int] = {}
    table = operator.BuiltinOptions()
    if kind in _OPTIONS and table is not None:
        reader = getattr(tflite, _OPTIONS[kind])()
        reader.Init(table.Bytes, table.Pos)
        options = {name: int(getattr(reader, name)()) for name in _option_names(type(reader))}
    return TfliteOperator(
        kind,
        tuple(operator.Inputs(place) for place in range(operator.InputsLength())),
        tuple(operator.Outputs(place) for place in range(operator.OutputsLength())),
        MappingProxyType(options),
    )


def _option_names(reader: type) -> list[str]:
    """The fields of a table of options: its methods without arguments."""
    constructors = (classmethod, staticmethod)
    return [
        name
        for name, method in vars(reader).items()
        if name[0].isupper() and name != "Init" and not isinstance(method, constructors)
    ]
