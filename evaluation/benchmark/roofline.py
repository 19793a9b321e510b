"""How near the backbone comes to what the processor can do: operations and bytes of its graph over
the time that it takes, beside a matrix product and a copy that are measured in turns with it.

Counted are convolutions and matrix products: a multiplication and its addition are two operations,
and each product reads its inputs and writes its result once. What lies between them, activations
and sums, is taken as done on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import UnitrackError
from ...runtime.inference.onnxruntime import available_cores
from ...runtime.tables import TextTable

_SIDE = 1024
_COPIED = 1 << 27
_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class GraphWork:
    """What a graph asks for, for inputs of one shape.

    Attributes:
        flops: Operations; a multiplication and its addition are two.
        moved_bytes: Read and written by its products.
    """

    flops: int
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class Roofline:
    """A graph beside the machine's ceilings; all are the best of several measurements in turns.

    Attributes:
        image_shape: (batch, height, width) of the backbone's image.
        work: What the graph asks for.
        seconds: Of a run.
        peak_flops: Of a float32 matrix product, operations a second.
        peak_bytes: Of a copy in memory, bytes a second, read and written.
    """

    image_shape: tuple[int, ...]
    work: GraphWork
    seconds: float
    peak_flops: float
    peak_bytes: float

    @property
    def flops_per_s(self) -> float:
        """Operations a second that the graph reaches."""
        return self.work.flops / self.seconds

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second that its products read and write."""
        return self.work.moved_bytes / self.seconds

    @property
    def bound_by_memory(self) -> bool:
        """Whether the copy's rate, and not the product's, is the lower ceiling."""
        return self.work.moved_bytes / self.peak_bytes > self.work.flops / self.peak_flops

    @property
    def share(self) -> float:
        """Of the lower ceiling: the least time that the two leave over the time taken."""
        least = max(self.work.flops / self.peak_flops, self.work.moved_bytes / self.peak_bytes)
        return least / self.seconds

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "image_shape": list(self.image_shape),
            "gflop": self.work.flops / 1e9,
            "gbyte": self.work.moved_bytes / 1e9,
            "ms": self.seconds * 1e3,
            "gflop_per_s": self.flops_per_s / 1e9,
            "gbyte_per_s": self.bytes_per_s / 1e9,
            "matrix_product_gflop_per_s": self.peak_flops / 1e9,
            "copy_gbyte_per_s": self.peak_bytes / 1e9,
            "bound_by": "memory" if self.bound_by_memory else "arithmetic",
            "share_of_the_lower_ceiling": self.share,
        }


def graph_work(path: Path, shapes: Mapping[str, Sequence[int]]) -> GraphWork:
    """Count a graph's products.

    Args:
        path: The ONNX file.
        shapes: Of its inputs, by name.

    Raises:
        UnitrackError: The package onnx is not installed, or a shape cannot be inferred.
    """
    onnx = _onnx()
    model = onnx.load(path)
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = size
    # What was written with symbolic sizes would win over the sizes given.
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    kinds: dict[str, tuple[tuple[int, ...], int]] = {
        tensor.name: (tuple(tensor.dims), _bytes_of(onnx, tensor.data_type))
        for tensor in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim)
        kinds[value.name] = shape, _bytes_of(onnx, tensor.elem_type)
    flops = moved = 0
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            # What is read are the bytes before it.
            kinds[node.output[0]] = kinds[node.output[0]][0], kinds[node.input[0]][1]
        depth = _DEPTHS.get(node.op_type)
        if depth is None:
            continue
        tensors = [kinds[name] for name in (*node.input, *node.output) if name]
        if not all(all(shape) for shape, _ in tensors):
            raise UnitrackError(
                f"{path}: the shapes of node {node.name} cannot be inferred for {dict(shapes)}: "
                "export the bundle again"
            )
        flops += 2 * int(np.prod(tensors[-1][0])) * depth([shape for shape, _ in tensors])
        moved += sum(int(np.prod(shape)) * size for shape, size in tensors)
    return GraphWork(flops, moved)


_DEPTHS: dict[str, Callable[[Sequence[tuple[int, ...]]], int]] = {
    # Weights are (channels out, channels in of a group, height, width).
    "Conv": lambda shapes: int(np.prod(shapes[1][1:])),
    "MatMul": lambda shapes: shapes[0][-1],
}
"""How many products are summed up in an element of the result, from the shapes of the inputs."""


def _bytes_of(onnx: Any, kind: int) -> int:
    return int(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind)).itemsize)


def _onnx() -> Any:
    try:
        import onnx
        import onnx.shape_inference
    except ImportError:
        raise UnitrackError(
            "the roofline counts operations with the package onnx, which is not installed: "
            "pip install 'unitrack-edge[bench]'"
        ) from None
    return onnx


def measure_roofline(
    run: Callable[[], object],
    path: Path,
    name: str,
    image_shape: Sequence[int],
    threads: int = 0,
    rounds: int = _ROUNDS,
) -> Roofline:
    """Measure a backbone, a matrix product and a copy in turns.

    Args:
        run: Runs the backbone once on an image of `image_shape`.
        path: Its ONNX file.
        name: Of its input.
        image_shape: (batch, height, width, 3).
        threads: Of the product and the copy; 0: all that this process may use.
        rounds: The best of so many counts.

    Raises:
        UnitrackError: See `graph_work`.
    """
    work = graph_work(path, {name: image_shape})
    count = threads or available_cores()
    product = _matrix_product(count)
    parts = np.array_split(np.zeros(_COPIED, np.uint8), count)
    copies = [np.empty_like(part) for part in parts]
    with ThreadPoolExecutor(count) as pool:

        def copy() -> None:
            list(pool.map(np.copyto, copies, parts))

        sides = (run, product, copy)
        for side in sides:
            side()
        best = [
            min(times)
            for times in zip(
                *([_seconds(side) for side in sides] for _ in range(rounds)), strict=True
            )
        ]
    # Copying reads as many bytes as it writes.
    return Roofline(
        tuple(image_shape[:3]), work, best[0], 2 * _SIDE**3 / best[1], 2 * _COPIED / best[2]
    )


def _matrix_product(threads: int) -> Callable[[], object]:
    """A square float32 product in ONNX Runtime, on threads of its own as the backbone's."""
    import onnxruntime

    onnx = _onnx()
    kind, shape = onnx.TensorProto.FLOAT, (_SIDE, _SIDE)
    values = [onnx.helper.make_tensor_value_info(name, kind, shape) for name in "abc"]
    node = onnx.helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = onnx.helper.make_graph([node], "product", values[:2], values[2:])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape, np.float32) for name in "ab"}
    return lambda: session.run(None, feeds)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def roofline_table(sides: Mapping[str, Roofline]) -> TextTable:
    """A row a side: what its backbone reaches of the ceilings measured beside it."""
    rows = []
    for name, one in sides.items():
        batch, height, width = one.image_shape
        image = f"{height}x{width}" if batch == 1 else f"{batch} x {height}x{width}"
        rows.append(
            (
                name,
                image,
                f"{one.work.flops / 1e9:.2f}",
                f"{one.flops_per_s / 1e9:.1f} of {one.peak_flops / 1e9:.1f}",
                f"{one.bytes_per_s / 1e9:.2f} of {one.peak_bytes / 1e9:.2f}",
                f"{one.share:.0%} of {'memory' if one.bound_by_memory else 'arithmetic'}",
            )
        )
    head = ("roofline", "backbone's image", "GFLOP", "GFLOP/s", "GB/s", "of the lower ceiling")
    return TextTable(head, rows, left=2)
