"""The few things that are needed of CUDA: memory, copies, one stream, graphs of captured work.

`Cuda` is the seam: `CudaRuntime` is the real one, through NVIDIA's `cuda-python`; tests have one on
host bytes.  Everything is queued on one stream, in order, so memory that was given back may be
used again by work queued later without any waiting; only the host has to wait before it reads what
the device wrote, or writes again what the device still reads.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ....errors import BackendError
from ....records import UInt8Array

MIB = 1 << 20


class GpuMemoryError(BackendError):
    """The device has not enough free memory."""


class GpuFaultError(BackendError):
    """Work that was queued earlier has broken the GPU's context: nothing runs on it any more."""


STICKY = frozenset(
    f"cudaError{name}"
    for name in (
        "IllegalAddress",
        "LaunchTimeout",
        "LaunchFailure",
        "Assert",
        "HardwareStackError",
        "IllegalInstruction",
        "MisalignedAddress",
        "InvalidAddressSpace",
        "InvalidPc",
        "ECCUncorrectable",
        "NvlinkUncorrectable",
        "TensorMemoryLeak",
        "Contained",
        "ContextIsDestroyed",
        "ExternalDevice",
    )
)
"""Errors of which the CUDA Runtime API ("cudaError") says: "This leaves the process in an
inconsistent state and any further CUDA work will return the same error. To continue using CUDA, the
process must be terminated and relaunched."  All others are over once they were returned, but for
the last error, which stays to be read by whoever asks next."""


class Cuda(Protocol):
    """One device and one stream; addresses are integers, sizes are bytes.

    Every method raises `BackendError`, in one line, where CUDA reports a failure. After a
    `GpuFaultError` every method but `close` raises that first one again; what frees does nothing.

    Attributes:
        gpu: The device.
        stream: The stream's handle, for TensorRT.
        fault: The first error that broke the context; None where all is well.
    """

    gpu: GpuInfo
    stream: int
    fault: GpuFaultError | None

    def note(self, work: str) -> None:
        """Name what is queued next: where the device faults, what was queued is named."""

    def malloc(self, size: int) -> int:
        """Device memory; raises `GpuMemoryError` when it is out of memory."""

    def free(self, address: int) -> None:
        """Free device memory, after waiting for all queued work."""

    def malloc_host(self, size: int) -> UInt8Array:
        """Pinned host memory, (size,) uint8: copies from and to it do not wait."""

    def free_host(self, memory: UInt8Array) -> None:
        """Free pinned memory; no queued work may still use it."""

    def device_address(self, memory: UInt8Array) -> int:
        """Where work on the device finds pinned memory, which stays on the host."""

    def copy_in(self, address: int, host: UInt8Array) -> None:
        """Queue a copy of pinned bytes to the device."""

    def copy_out(self, host: UInt8Array, address: int) -> None:
        """Queue a copy of device bytes to pinned memory."""

    def copy_within(self, address: int, source: int, size: int) -> None:
        """Queue a copy of device bytes to elsewhere on the device."""

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
        self.fault: GpuFaultError | None = None
        self._cuda: Any = runtime
        self._check("choose the GPU", runtime.cudaSetDevice, 0)
        # Not the default stream: that one waits for others, and cannot be captured.
        flag = runtime.cudaStreamNonBlocking
        self.stream = int(self._check("make a stream", runtime.cudaStreamCreateWithFlags, flag))
        self._graphs: dict[int, Any] = {}
        self._next_graph = 1
        self._queued: dict[str, None] = {}

    def note(self, work: str) -> None:
        """Name what is queued next."""
        self._queued[work] = None

    def malloc(self, size: int) -> int:
        """Device memory; raises `GpuMemoryError` when it is out of memory."""
        result = self._call(self._cuda.cudaMalloc, size)
        if result[0] == self._cuda.cudaError_t.cudaErrorMemoryAllocation:
            # It stays the thread's last error, which TensorRT would take for a failure of its own.
            self._cuda.cudaGetLastError()
            free = self.free_memory() / MIB
            raise GpuMemoryError(
                f"the GPU is out of memory for {size / MIB:.1f} MiB more ({free:.0f} of "
                f"{self.gpu.memory_mib} MiB free): close other programs on it, use a smaller "
                "image size, or build engines for one --size"
            )
        return int(self._value(f"reserve {size} bytes", result))

    def free(self, address: int) -> None:
        """Free device memory, after waiting for all queued work."""
        # After a fault the driver takes everything back as the process ends.
        with suppress(GpuFaultError):
            # cudaFree waits for the whole device by itself, which is not promised everywhere.
            self.synchronize()
            self._check("free memory", self._cuda.cudaFree, address)

    def malloc_host(self, size: int) -> UInt8Array:
        """Pinned host memory, (size,) uint8."""
        flag = self._cuda.cudaHostAllocMapped
        address = int(self._check(f"pin {size} bytes", self._cuda.cudaHostAlloc, size, flag))
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def device_address(self, memory: UInt8Array) -> int:
        """Where work on the device finds pinned memory, which stays on the host."""
        find, address = self._cuda.cudaHostGetDevicePointer, memory.ctypes.data
        return int(self._check("map pinned memory", find, address, 0))

    def free_host(self, memory: UInt8Array) -> None:
        """Free pinned memory; no queued work may still use it."""
        with suppress(GpuFaultError):
            self._check("free pinned memory", self._cuda.cudaFreeHost, memory.ctypes.data)

    def copy_in(self, address: int, host: UInt8Array) -> None:
        """Queue a copy of pinned bytes to the device."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(address, host.ctypes.data, host.nbytes, kind)

    def copy_out(self, host: UInt8Array, address: int) -> None:
        """Queue a copy of device bytes to pinned memory."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(host.ctypes.data, address, host.nbytes, kind)

    def copy_within(self, address: int, source: int, size: int) -> None:
        """Queue a copy of device bytes to elsewhere on the device."""
        self._copy(address, source, size, self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def _copy(self, target: int, source: int, size: int, kind: Any) -> None:
        copy = self._cuda.cudaMemcpyAsync
        self._check(f"copy {size} bytes", copy, target, source, size, kind, self.stream)

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
        self._check("finish the queued work", self._cuda.cudaStreamSynchronize, self.stream)
        self._queued.clear()

    def begin_capture(self) -> None:
        """From here on, record what is queued instead of doing it."""
        # Thread-local: what other threads do with CUDA does not spoil the recording.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._check("record", self._cuda.cudaStreamBeginCapture, self.stream, mode)

    def end_capture(self) -> int:
        """Stop recording; the handle of what was recorded."""
        graph = self._check("end the recording", self._cuda.cudaStreamEndCapture, self.stream)
        try:
            executable = self._check("ready a graph", self._cuda.cudaGraphInstantiate, graph, 0)
        finally:
            with suppress(GpuFaultError):
                self._check("free a graph", self._cuda.cudaGraphDestroy, graph)
        handle, self._next_graph = self._next_graph, self._next_graph + 1
        self._graphs[handle] = executable
        return handle

    def launch(self, graph: int) -> None:
        """Queue recorded work."""
        launch = self._cuda.cudaGraphLaunch
        self._check("launch a graph", launch, self._graphs[graph], self.stream)

    def free_graph(self, graph: int) -> None:
        """Forget recorded work; what is queued of it is still done."""
        recorded = self._graphs.pop(graph)
        with suppress(GpuFaultError):
            self._check("free a graph", self._cuda.cudaGraphExecDestroy, recorded)

    def free_memory(self) -> int:
        """Bytes that are free on the device."""
        return int(self._check("ask for the free memory", self._cuda.cudaMemGetInfo))

    def close(self) -> None:
        """Destroy the stream; after a fault there is nothing left to destroy."""
        if self.stream:
            stream, self.stream = self.stream, 0
            for graph in list(self._graphs):
                self.free_graph(graph)
            with suppress(GpuFaultError):
                self._check("free the stream", self._cuda.cudaStreamDestroy, stream)

    def _call(self, function: Any, *arguments: Any) -> tuple[Any, ...]:
        """What CUDA answers; raises `GpuFaultError`, the first one, where the context is broken."""
        if self.fault is not None:
            raise self.fault
        result: tuple[Any, ...] = function(*arguments)
        if result[0].name in STICKY:
            queued = ", ".join(self._queued) or "nothing that was named"
            self.fault = GpuFaultError(
                f"{self.gpu.name} stopped while it worked on what was queued ({queued}): "
                f"{self._said(result[0])}; start the program again, and with --backend cpu if it "
                "happens again"
            )
            raise self.fault
        return result

    def _check(self, what: str, function: Any, *arguments: Any) -> Any:
        """The value of a call, or an error that says what was tried and what CUDA answered."""
        return self._value(what, self._call(function, *arguments))

    def _value(self, what: str, result: tuple[Any, ...]) -> Any:
        status = result[0]
        if status != self._cuda.cudaError_t.cudaSuccess:
            self._cuda.cudaGetLastError()
            raise BackendError(
                f"CUDA could not {what} on {self.gpu.name}: {self._said(status)}; try again, "
                "or use --backend cpu"
            )
        return result[1] if len(result) > 1 else None

    def _said(self, status: Any) -> str:
        text = self._cuda.cudaGetErrorString(status)[1]
        return f"{text.decode() if isinstance(text, bytes) else text} ({status.name})"


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
