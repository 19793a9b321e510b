"""From a model of the table to an ONNX graph that the runtime takes as it is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import ExportError
from ...runtime.bundle.spec import GraphSpec, TensorSpec
from .model_files import model_file
from .table import Model, find_model

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """How a model is converted.

    Attributes:
        size_hw: Height and width of a detector's image; None leaves them open.
        candidates: Detections of a frame at most, before suppression; None: the model's own.
        batch: Crops of a call of a model of crops; None leaves it open.
        precision: Of the network, `fp32` or `fp16`; decoding is float32.
    """

    size_hw: tuple[int, int] | None = None
    candidates: int | None = None
    batch: int | None = None
    precision: str = "fp32"


def _movenet(path: Path, options: ModelOptions) -> onnx.ModelProto:
    from .tflite.movenet import CANDIDATES, MovenetOptions, build_movenet

    count = CANDIDATES if options.candidates is None else options.candidates
    return build_movenet(path, MovenetOptions(options.size_hw, count, precision=options.precision))


def _blazepose(path: Path, options: ModelOptions) -> onnx.ModelProto:
    from .tflite.blazepose import build_blazepose

    return build_blazepose(path, batch=options.batch, precision=options.precision)


_BUILDERS: dict[str, Callable[[Path, ModelOptions], onnx.ModelProto]] = {
    "movenet": _movenet,
    "blazepose": _blazepose,
}
"""Models whose file is not an ONNX graph that the runtime takes, and what converts them."""


def export_model(
    name: str,
    output: Path,
    weights: Path | None = None,
    options: ModelOptions | None = None,
) -> GraphSpec:
    """Fetch a model and write its graph.

    Args:
        name: A name of the table.
        output: The ONNX file; replaced as a whole or not at all.
        weights: File to take in place of the official one.
        options: How it is converted; a model that is ONNX already is copied and takes none.

    Returns:
        What the graph takes and gives.

    Raises:
        ExportError: See `model_content`, or the output cannot be written.
    """
    content = model_content(name, weights, options)
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        part.replace(output)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return read_spec(output, content)


def model_content(
    name: str, weights: Path | None = None, options: ModelOptions | None = None
) -> bytes:
    """Fetch a model, and convert it where its file is no ONNX.

    Args:
        name: A name of the table.
        weights: File to take in place of the official one.
        options: How it is converted; a model that is ONNX already takes none.

    Returns:
        The bytes of an ONNX file.

    Raises:
        ExportError: Unknown name, the file cannot be had or is another model, an option does not
            fit, or a package is not installed.
    """
    row, options = find_model(name), options or ModelOptions()
    build = _BUILDERS.get(name)
    if build is None and not row.file.endswith(".onnx"):
        raise ExportError(f"{name} cannot be converted: {row.note or row.file}")
    if build is None and options != ModelOptions():
        raise ExportError(
            f"{name} is an ONNX file already: sizes, candidates and precision cannot be chosen"
        )
    source = model_file(row, weights)
    return source.read_bytes() if build is None else _converted(row, build, source, options)


def needs_conversion(name: str) -> bool:
    """Whether a model's file is converted, which takes the packages of the extra `export`."""
    return name in _BUILDERS


def _converted(
    row: Model,
    build: Callable[[Path, ModelOptions], onnx.ModelProto],
    source: Path,
    options: ModelOptions,
) -> bytes:
    try:
        content: bytes = build(source, options).SerializeToString()
    except ImportError as error:
        raise ExportError(
            f"converting {row.name} needs {error.name}, which is not installed: "
            "pip install 'unitrack-edge[export]', or export it on another machine and copy the file"
        ) from error
    return content


def read_spec(path: Path, content: bytes) -> GraphSpec:
    """What an ONNX file takes and gives.

    Args:
        path: The file.
        content: Its bytes.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    constants = {tensor.name for tensor in model.graph.initializer}

    def tensors(values: object) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                value.name,
                str(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)),
                tuple(
                    axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim
                ),
            )
            for value in values  # type: ignore[attr-defined]
            if value.name not in constants
        )

    return GraphSpec(
        path.stem,
        path.name,
        hashlib.sha256(content).hexdigest(),
        len(content),
        tensors(model.graph.input),
        tensors(model.graph.output),
    )
