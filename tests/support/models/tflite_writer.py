"""Writes small TFLite files for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tflite

_TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int32": tflite.TensorType.INT32,
    "int8": tflite.TensorType.INT8,
    "uint8": tflite.TensorType.UINT8,
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


@dataclass
class TinyTflite:
    """A graph under construction; tensors are numbered from 0."""

    tensors: list[tuple[str, str, tuple[int, ...], bytes, bool]] = field(default_factory=list)
    operators: list[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, int]]] = field(
        default_factory=list
    )

    def tensor(self, shape: Sequence[int], dtype: str = "float32", quantized: bool = False) -> int:
        """A tensor that is fed or computed; -1 is an open size."""
        self.tensors.append((f"t{len(self.tensors)}", dtype, tuple(shape), b"", quantized))
        return len(self.tensors) - 1

    def constant(self, value: Any, dtype: str = "float32", quantized: bool = False) -> int:
        """A constant."""
        array = np.array(value, dtype)
        row = (f"c{len(self.tensors)}", dtype, array.shape, array.tobytes(), quantized)
        self.tensors.append(row)
        return len(self.tensors) - 1

    def half(self, value: Any) -> int:
        """A constant kept as float16 and widened by the file."""
        stored = self.constant(value, "float16")
        return self.add("DEQUANTIZE", [stored], np.shape(value))

    def add(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        dtype: str = "float32",
        **options: int,
    ) -> int:
        """Append an operator and return its output."""
        output = self.tensor(shape, dtype)
        self.operators.append((kind, tuple(inputs), (output,), options))
        return output

    def write(self, path: Path, inputs: Sequence[int], outputs: Sequence[int]) -> Path:
        """Write the file."""
        builder = flatbuffers.Builder(1024)
        buffers = [self._buffer(builder, b"")]
        rows = []
        for name, dtype, shape, data, quantized in self.tensors:
            place = 0
            if data:
                buffers.append(self._buffer(builder, data))
                place = len(buffers) - 1
            rows.append(self._tensor(builder, name, dtype, shape, place, quantized))
        kinds = sorted({row[0] for row in self.operators})
        steps = [self._operator(builder, kinds, *row) for row in self.operators]
        codes = [self._code(builder, kind) for kind in kinds]
        ends = [_ints(builder, values) for values in (inputs, outputs)]
        lists = [_tables(builder, values) for values in (rows, steps, codes, buffers)]
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, lists[0])
        tflite.SubGraphAddOperators(builder, lists[1])
        tflite.SubGraphAddInputs(builder, ends[0])
        tflite.SubGraphAddOutputs(builder, ends[1])
        graphs = _tables(builder, [tflite.SubGraphEnd(builder)])
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, lists[2])
        tflite.ModelAddSubgraphs(builder, graphs)
        tflite.ModelAddBuffers(builder, lists[3])
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _buffer(self, builder: Any, data: bytes) -> int:
        content = builder.CreateByteVector(data) if data else None
        tflite.BufferStart(builder)
        if content is not None:
            tflite.BufferAddData(builder, content)
        return tflite.BufferEnd(builder)

    def _tensor(
        self, builder: Any, name: str, dtype: str, shape: Sequence[int], place: int, quantized: bool
    ) -> int:
        text = builder.CreateString(name)
        sizes = _ints(builder, [max(size, 1) for size in shape])
        signature = _ints(builder, shape)
        scales = None
        if quantized:
            tflite.QuantizationParametersStartScaleVector(builder, 1)
            builder.PrependFloat32(0.5)
            values = builder.EndVector()
            tflite.QuantizationParametersStart(builder)
            tflite.QuantizationParametersAddScale(builder, values)
            scales = tflite.QuantizationParametersEnd(builder)
        tflite.TensorStart(builder)
        tflite.TensorAddName(builder, text)
        tflite.TensorAddShape(builder, sizes)
        tflite.TensorAddShapeSignature(builder, signature)
        tflite.TensorAddType(builder, _TYPES[dtype])
        tflite.TensorAddBuffer(builder, place)
        if scales is not None:
            tflite.TensorAddQuantization(builder, scales)
        return tflite.TensorEnd(builder)

    def _operator(
        self,
        builder: Any,
        kinds: Sequence[str],
        kind: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Mapping[str, int],
    ) -> int:
        taken, given = _ints(builder, inputs), _ints(builder, outputs)
        table = None
        if kind in _OPTIONS:
            name = _OPTIONS[kind]
            getattr(tflite, f"{name}Start")(builder)
            for option, value in options.items():
                getattr(tflite, f"{name}Add{option}")(builder, value)
            table = getattr(tflite, f"{name}End")(builder)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, kinds.index(kind))
        tflite.OperatorAddInputs(builder, taken)
        tflite.OperatorAddOutputs(builder, given)
        if table is not None:
            tflite.OperatorAddBuiltinOptionsType(
                builder, getattr(tflite.BuiltinOptions, _OPTIONS[kind])
            )
            tflite.OperatorAddBuiltinOptions(builder, table)
        return tflite.OperatorEnd(builder)

    def _code(self, builder: Any, kind: str) -> int:
        number = getattr(tflite.BuiltinOperator, kind)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
        tflite.OperatorCodeAddBuiltinCode(builder, number)
        return tflite.OperatorCodeEnd(builder)


def _ints(builder: Any, values: Sequence[int]) -> int:
    return builder.CreateNumpyVector(np.array(values, np.int32))


def _tables(builder: Any, offsets: Sequence[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()
