"""Errors of CUDA: those that pass, those that stay, and what is said of either.

The driver is a stand-in that does as the CUDA Runtime API documents it: the last error stays until
`cudaGetLastError` reads it; after a sticky one ("leaves the process in an inconsistent state")
every call returns it again, also those that free.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.runtime.inference.tensorrt import cuda as module
from unitrack_edge.runtime.inference.tensorrt.cuda import (
    STICKY,
    CudaRuntime,
    GpuFaultError,
    GpuInfo,
    GpuMemoryError,
)
from unitrack_edge.runtime.inference.tensorrt.memory import DeviceMemory

real = pytest.importorskip("cuda.bindings.runtime", reason="no cuda-python: extra 'dev'")
ERRORS = real.cudaError_t
GPU = GpuInfo("a GPU", "sm86", 8192, "13.0")


class Driver:
    """`cuda.bindings.runtime`; `fails` names the answer of the next call of a function.

    Attributes:
        last: The last error.
        broken: The sticky one.
    """

    cudaError_t = ERRORS  # noqa: N815
    cudaMemcpyKind = real.cudaMemcpyKind  # noqa: N815
    cudaStreamCaptureMode = real.cudaStreamCaptureMode  # noqa: N815
    cudaStreamNonBlocking = cudaHostAllocMapped = 0  # noqa: N815

    def __init__(self):
        self.last = self.broken = ERRORS.cudaSuccess
        self.fails = {}
        self.calls = []
        self._hosts = []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            status = self.broken
            if status == ERRORS.cudaSuccess:
                status = self.fails.pop(name, ERRORS.cudaSuccess)
            if status.name in STICKY:
                self.broken = status
            if status != ERRORS.cudaSuccess:
                self.last = status
                return (status, None)
            if name == "cudaHostAlloc":
                self._hosts.append(ctypes.create_string_buffer(arguments[0]))
                return status, ctypes.addressof(self._hosts[-1])
            return status, 0x1000 + len(self.calls)

        return call

    def cudaGetLastError(self):  # noqa: N802
        found, self.last = self.last, self.broken
        return (found,)

    def cudaGetErrorString(self, status):  # noqa: N802
        return ERRORS.cudaSuccess, f"text of {status.name}".encode()

    def cudaMemGetInfo(self):  # noqa: N802
        return ERRORS.cudaSuccess, 5 << 20, 8 << 30


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    monkeypatch.setattr("cuda.bindings.runtime", driver)
    monkeypatch.setattr(module, "probe_gpu", lambda: (GPU, ""))
    return driver


def test_running_out_of_memory_leaves_no_error_behind(driver):
    cuda = CudaRuntime()
    driver.fails["cudaMalloc"] = ERRORS.cudaErrorMemoryAllocation
    with pytest.raises(GpuMemoryError, match=r"out of memory for 1.0 MiB more \(5 of 8192"):
        cuda.malloc(1 << 20)
    # TensorRT asks for it after its own launches, and would take it for one of its own.
    assert driver.last == ERRORS.cudaSuccess
    assert cuda.fault is None
    assert cuda.malloc(1 << 20)


def test_an_error_that_passes_is_said_once(driver):
    cuda = CudaRuntime()
    driver.fails["cudaGraphInstantiate"] = ERRORS.cudaErrorInvalidValue
    cuda.begin_capture()
    with pytest.raises(BackendError, match=r"could not ready a graph .*cudaErrorInvalidValue"):
        cuda.end_capture()
    assert driver.last == ERRORS.cudaSuccess
    cuda.synchronize()
    cuda.close()
    assert driver.calls[-1] == "cudaStreamDestroy"


def test_a_fault_names_what_was_queued_and_stays_the_first(driver):
    cuda = CudaRuntime()
    cuda.note("backbone")
    cuda.synchronize()
    cuda.note("box_features")
    cuda.note("rsm")
    cuda.note("rsm")
    driver.fails["cudaStreamSynchronize"] = ERRORS.cudaErrorIllegalAddress
    with pytest.raises(GpuFaultError) as first:
        cuda.synchronize()
    said = str(first.value)
    assert "a GPU stopped while it worked on what was queued (box_features, rsm)" in said
    assert "text of cudaErrorIllegalAddress (cudaErrorIllegalAddress); start the program" in said
    assert "\n" not in said
    assert "backbone" not in said
    for action in (cuda.synchronize, lambda: cuda.malloc(5), cuda.free_memory, cuda.begin_capture):
        with pytest.raises(GpuFaultError) as again:
            action()
        assert again.value is first.value
    calls = len(driver.calls)
    cuda.free(0x1000)
    cuda.close()
    cuda.close()
    assert len(driver.calls) == calls, "a broken context is asked for nothing"


@pytest.mark.parametrize("name", sorted(STICKY))
def test_every_sticky_error_is_one_of_cudas(name):
    assert hasattr(ERRORS, name)


def test_memory_is_closed_over_a_fault_that_nobody_has_seen(driver):
    """It was raised by no read, so every result that was read is whole."""
    memory = DeviceMemory(CudaRuntime())
    held = memory.upload(np.arange(4))
    memory.empty((100,), np.uint8)
    driver.fails["cudaStreamSynchronize"] = ERRORS.cudaErrorLaunchFailure
    memory.close()
    assert isinstance(memory.cuda.fault, GpuFaultError)
    with pytest.raises(GpuFaultError):
        held.to_host()
    del held
