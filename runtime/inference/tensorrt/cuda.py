"""The few things that are needed of CUDA: memory, copies, one stream, graphs of captured work.

`Cuda` is the seam: `CudaRuntime` is the real one, through NVIDIA's `cuda-python`; tests have one on
host bytes.  Everything is queued on one stream, in order, so memory that was given back may be
used again by work queued later without any waiting; only the host has to wait before it reads what
the device wrote, or writes again what the device still reads.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ....errors import BackendError
from ....records import UInt8Array

MIB = 1 << 20


class GpuMemoryError(BackendError):
    """The device has not enough free memory."""


class Cuda(Protocol):
    """One device and one stream; addresses are integers, sizes are bytes.

    Every method raises `BackendError`, in one line, where CUDA reports a failure.

    Attributes:
        gpu: The device.
        stream: The stream's handle, for TensorRT.
    """

    gpu: GpuInfo
    stream: int

    def malloc(self, size: int) -> int:
        """Device memory; raises `GpuMemoryError` when it is out of memory."""

    def free(self, address: int) -> None:
        """Free device memory, after waiting for all queued work."""

    def malloc_host(self, size: int) -> UInt8Array:
        """Pinned host memory, (size,) uint8: copies from and to it do not wait."""

    def free_host(self, memory: UInt8Array) -> None:
        """Free pinned memory; no queued copy may still use it."""

    def copy_in(self, address: int, host: UInt8Array) -> None:
        """Queue a copy of pinned bytes to the device."""

    def copy_out(self, host: UInt8Array, address: int) -> None:
        """Queue a copy of device bytes to pinned memory."""

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""

    def begin_capture(self) -> None:
        """From here on, record what is queued instead of doing it."""

    def end_capture(self) -> int:
        """Stop recording; the handle of what was recorded."""

    def launch(self, graph: int) -> None:
        """Queue recorded work."""

    def free_graph(self, graph: int) -> None:
        """Forget recorded work; what is queued of it is still done."""

    def free_memory(self) -> int:
        """Bytes that are free on the device."""

    def close(self) -> None:
        """Destroy the stream."""


class CudaRuntime:
    """CUDA's runtime on the first GPU.

    Only what `cuda-python` 12.6 and 13 have in common is used.

    Raises:
        BackendError: `cuda-python`, the driver or the GPU is missing.
    """

    def __init__(self) -> None:
        gpu, reason = probe_gpu()
        if gpu is None:
            raise BackendError(
                f"no CUDA GPU to run on: {reason}; see `cli doctor`, or use --backend cpu"
            )
        from cuda.bindings import runtime

        self.gpu = gpu
        self._cuda: Any = runtime
        self._check(runtime.cudaSetDevice(0), "choose the GPU")
        # Not the default stream: that one waits for others, and cannot be captured.
        flag = runtime.cudaStreamNonBlocking
        self.stream = int(self._check(runtime.cudaStreamCreateWithFlags(flag), "make a stream"))
        self._graphs: dict[int, Any] = {}
        self._next_graph = 1

    def malloc(self, size: int) -> int:
        """Device memory; raises `GpuMemoryError` when it is out of memory."""
        result = self._cuda.cudaMalloc(size)
        if result[0] == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            free = self.free_memory() / MIB
            raise GpuMemoryError(
                f"the GPU is out of memory for {size / MIB:.1f} MiB more ({free:.0f} of "
                f"{self.gpu.memory_mib} MiB free): close other programs on it, use a smaller "
                "image size, or build engines for one --size"
            )
        return int(self._check(result, f"reserve {size} bytes"))

    def free(self, address: int) -> None:
        """Free device memory, after waiting for all queued work."""
        # cudaFree waits for the whole device by itself, which is not promised everywhere.
        self.synchronize()
        self._check(self._cuda.cudaFree(address), "free memory")

    def malloc_host(self, size: int) -> UInt8Array:
        """Pinned host memory, (size,) uint8."""
        flag = self._cuda.cudaHostAllocDefault
        address = int(self._check(self._cuda.cudaHostAlloc(size, flag), f"pin {size} bytes"))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def free_host(self, memory: UInt8Array) -> None:
        """Free pinned memory; no queued copy may still use it."""
        self._check(self._cuda.cudaFreeHost(memory.ctypes.data), "free pinned memory")

    def copy_in(self, address: int, host: UInt8Array) -> None:
        """Queue a copy of pinned bytes to the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(address, host.ctypes.data, host.nbytes, kind)

    def copy_out(self, host: UInt8Array, address: int) -> None:
        """Queue a copy of device bytes to pinned memory."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(host.ctypes.data, address, host.nbytes, kind)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        result = self._cuda.cudaMemcpyAsync(target, source, size, kind, self.stream)
        self._check(result, f"copy {size} bytes")

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        self._check(self._cuda.cudaStreamSynchronize(self.stream), "finish the queued work")

    def begin_capture(self) -> None:
        """From here on, record what is queued instead of doing it."""
        # Thread-local: what other threads do with CUDA does not spoil the recording.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._check(self._cuda.cudaStreamBeginCapture(self.stream, mode), "record")

    def end_capture(self) -> int:
        """Stop recording; the handle of what was recorded."""
        graph = self._check(self._cuda.cudaStreamEndCapture(self.stream), "end the recording")
        try:
            executable = self._check(self._cuda.cudaGraphInstantiate(graph, 0), "ready a graph")
        finally:
            self._check(self._cuda.cudaGraphDestroy(graph), "free a graph")
        handle, self._next_graph = self._next_graph, self._next_graph + 1
        self._graphs[handle] = executable
        return handle

    def launch(self, graph: int) -> None:
        """Queue recorded work."""
        self._check(self._cuda.cudaGraphLaunch(self._graphs[graph], self.stream), "launch a graph")

    def free_graph(self, graph: int) -> None:
        """Forget recorded work; what is queued of it is still done."""
        self._check(self._cuda.cudaGraphExecDestroy(self._graphs.pop(graph)), "free a graph")

    def free_memory(self) -> int:
        """Bytes that are free on the device."""
        return int(self._check(self._cuda.cudaMemGetInfo(), "ask for the free memory"))

    def close(self) -> None:
        """Destroy the stream."""
        if self.stream:
            for graph in list(self._graphs):
                self.free_graph(graph)
            self._check(self._cuda.cudaStreamDestroy(self.stream), "free the stream")
            self.stream = 0

    def _check(self, result: tuple[Any, ...], what: str) -> Any:
        """The value of a call, or an error that says what was tried and what CUDA answered."""
        status = result[0]
        if status != self._cuda.cudaError_t.cudaSuccess:
            text = self._cuda.cudaGetErrorString(status)[1]
            said = text.decode() if isinstance(text, bytes) else str(text)
            raise BackendError(
                f"CUDA could not {what} on {self.gpu.name}: {said} ({status.name}); try again, "
                "or use --backend cpu"
            )
        return result[1] if len(result) > 1 else None


@dataclass(frozen=True, slots=True)
class GpuInfo:
    """The first CUDA device.

    Attributes:
        name: As its driver calls it.
        target: Its compute capability as engines are named, `sm86`.
        memory_mib: All of it.
        driver: Highest CUDA version that the driver serves, such as `13.0`.
    """

    name: str
    target: str
    memory_mib: int
    driver: str


def find_gpu() -> GpuInfo | None:
    """The GPU, or None where there is none that works."""
    return probe_gpu()[0]


def probe_gpu() -> tuple[GpuInfo | None, str]:
    """The GPU, or None and the reason in a few words."""
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError) as error:
        absent = isinstance(error, ModuleNotFoundError)
        return None, "cuda-python is not installed" if absent else f"cuda-python fails: {error}"
    status, count = runtime.cudaGetDeviceCount()
    if _name(status) in ("cudaErrorInsufficientDriver", "cudaErrorNoDevice"):
        return None, f"no GPU with a working driver ({_name(status)})"
    if _name(status) != "cudaSuccess" or not count:
        return None, f"CUDA reports {_name(status)}"
    status, properties = runtime.cudaGetDeviceProperties(0)
    if _name(status) != "cudaSuccess":
        return None, f"CUDA reports {_name(status)}"
    _, driver = runtime.cudaDriverGetVersion()
    name = properties.name
    return (
        GpuInfo(
            name.decode() if isinstance(name, bytes) else str(name),
            f"sm{properties.major}{properties.minor}",
            int(properties.totalGlobalMem) >> 20,
            f"{driver // 1000}.{driver % 1000 // 10}",
        ),
        "",
    )


def _name(status: Any) -> str:
    return str(getattr(status, "name", status))
