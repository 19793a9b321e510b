"""What runs graphs: a row for each name that `--backend` takes.

A backend is asked for by name and must be there: none is ever replaced by another.  Only the one
that is chosen is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ...errors import BackendError

if TYPE_CHECKING:
    from ..bundle.bundle import Bundle
    from .base import Array, Engine


class Backend(Protocol):
    """Opens graphs, and keeps arrays where they compute.

    Attributes:
        name: A key of `BACKENDS`.
    """

    name: str

    def open(self, bundle: Bundle, graph: str) -> Engine:
        """Load one graph; raises `BundleError` or `BackendError` where that fails."""

    def place(self, array: Array) -> Array:
        """The same array where this backend computes; what is placed once is not copied again."""

    def send_with(self, graph: str) -> None:
        """See `Graphs`."""

    def close(self) -> None:
        """Release everything; called after the engines were closed."""


@dataclass(frozen=True, slots=True)
class BackendRow:
    """A row of the table.

    Attributes:
        name: As `--backend` takes it.
        onnx_device: Where ONNX models that are not of the bundle run (detectors): another row.
        variant: Of TensorRT, where the bundle must hold engines for it; None otherwise.
        make: Opens the backend, given its row and the CPU threads (0: all).
    """

    name: str
    onnx_device: str
    variant: str | None
    make: Callable[[BackendRow, int], Backend]


class OnnxRuntimeBackend:
    """ONNX Runtime with one provider; arrays stay on its device."""

    def __init__(self, row: BackendRow, threads: int) -> None:
        self.name = row.name
        self._threads = threads

    def open(self, bundle: Bundle, graph: str) -> Engine:
        """Load one graph from its ONNX file."""
        from .onnxruntime import OnnxRuntimeEngine

        if self.name != "cpu" and bundle.spec.of_cpus:
            raise BackendError(
                f"backend {self.name}: bundle {bundle.path} is int8 for CPUs: use --backend cpu, "
                "or `cli calibrate --target gpu` its float bundle"
            )
        spec = bundle.graph(graph)
        path = bundle.path / spec.file
        half = bundle.spec.precision == "fp16"
        return OnnxRuntimeEngine(path, spec, device=self.name, threads=self._threads, half=half)

    def place(self, array: Array) -> Array:
        """The array itself on the CPU, a device handle elsewhere."""
        if self.name == "cpu":
            return array
        from .onnxruntime import place_on_device

        return place_on_device(array, self.name)

    def send_with(self, graph: str) -> None:
        """Nothing: every run sends what it is fed."""

    def close(self) -> None:
        """Nothing: sessions are the engines' own."""


class TensorrtBackend:
    """Engines of one TensorRT variant on one GPU, with one stream and one pool of memory.

    Args:
        row: Its row of the table.
        threads: Not used.
        cuda: What stands for the GPU; None: the first one in this machine.

    Raises:
        BackendError: The variant, `cuda-python` or the GPU is missing.
    """

    def __init__(self, row: BackendRow, threads: int, cuda: Any = None) -> None:  # noqa: ARG002
        from .tensorrt.cuda import CudaRuntime
        from .tensorrt.library import load_library
        from .tensorrt.memory import DeviceMemory

        self.name = row.name
        self._library = load_library(row.variant or row.name)
        self._memory = DeviceMemory(CudaRuntime() if cuda is None else cuda)

    def open(self, bundle: Bundle, graph: str) -> Engine:
        """Load one graph's engine, if it was built for exactly this machine."""
        from .tensorrt.compatibility import build_command, find_engine, read_plan
        from .tensorrt.engine import TensorrtEngine

        spec = bundle.graph(graph)
        engine = find_engine(bundle, graph, self._library, self._memory.cuda.gpu.target)
        return TensorrtEngine(
            self._library,
            self._memory,
            read_plan(bundle, engine),
            spec,
            engine,
            precision=bundle.spec.precision,
            rebuild_command=build_command(bundle.path, self._library.variant),
        )

    def place(self, array: Array) -> Array:
        """A copy in GPU memory; the array itself where it already is there."""
        return self._memory.hold(array)

    def send_with(self, graph: str) -> None:
        """See `Graphs`."""
        self._memory.send_with(graph)

    def close(self) -> None:
        """Release the memory pool; arrays that are still held stay readable."""
        self._memory.close()


MOST_THREADS = 1024
"""More than most machines have cores for, and few enough for any to start."""

BACKENDS = {
    row.name: row
    for row in (
        BackendRow("cpu", "cpu", None, OnnxRuntimeBackend),
        BackendRow("cuda", "cuda", None, OnnxRuntimeBackend),
        BackendRow("ort-tensorrt", "cuda", None, OnnxRuntimeBackend),
        BackendRow("tensorrt", "cuda", "tensorrt", TensorrtBackend),
        BackendRow("tensorrt-rtx", "cuda", "tensorrt-rtx", TensorrtBackend),
    )
}


def open_backend(name: str, threads: int = 0) -> Backend:
    """Open a backend.

    Args:
        name: A key of `BACKENDS`.
        threads: Of a CPU backend; 0 takes all that this process may use.

    Raises:
        BackendError: Unknown, or what it needs is not installed.
    """
    row = find_backend(name)
    return row.make(row, threads)


def find_backend(name: str) -> BackendRow:
    """A row of the table; raises `BackendError` for a name that is not on it."""
    if name not in BACKENDS:
        raise BackendError(f"unknown backend {name!r}: choose one of {', '.join(BACKENDS)}")
    return BACKENDS[name]
