"""The project's CUDA memory, recordings and waits, driven with CuPy's kernels on a real stream.

TensorRT stands for what queues work; here CuPy does, so that the host code around it meets a GPU
wherever there is one. Needs CuPy and cuda-python. Exit status 1 where a result is wrong.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import BackendError
from ...runtime.inference.base import Array
from ...runtime.inference.tensorrt.cuda import CudaRuntime
from ...runtime.inference.tensorrt.cuda_graphs import Launches
from ...runtime.inference.tensorrt.memory import CudaArray, DeviceMemory
from ..script import Script

_SOURCE = r"""
extern "C" __global__ void scale_add(const float* a, const float* b, float* out, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) out[i] = 2.0f * a[i] + b[i];
}
"""

_BLOCK = 256


class Adder:
    """Queues 2a + b on the project's own stream.

    Args:
        cupy: The module.
        memory: Where arrays live.
    """

    def __init__(self, cupy: Any, memory: DeviceMemory) -> None:
        self._kernel = cupy.RawKernel(_SOURCE, "scale_add")
        self._stream = cupy.cuda.ExternalStream(memory.cuda.stream)
        self._memory = memory

    def queue(self, a: CudaArray, b: CudaArray, out: CudaArray) -> None:
        """Queue it; nothing waits."""
        count = int(np.prod(out.shape))
        addresses = [np.uint64(array.address) for array in (a, b, out)]
        with self._stream:
            grid = (-(-count // _BLOCK),)
            self._kernel(grid, (_BLOCK,), (*addresses, np.int32(count)))


def check_stream(memory: DeviceMemory, adder: Adder, frames: int = 200) -> float:
    """A state that goes from frame to frame through recycled memory; seconds a frame.

    Raises:
        AssertionError: A frame's result is wrong.
    """
    rng = np.random.default_rng(0)
    # Powers of two times small integers: every sum is exact, in whatever order.
    expected = np.zeros(50_000, np.float32)
    state = memory.upload(expected)
    start = time.perf_counter()
    for number in range(frames):
        fed = rng.integers(0, 8, expected.shape).astype(np.float32)
        out = memory.empty(expected.shape, np.float32)
        adder.queue(state, memory.upload(fed), out)
        state, expected = out, np.fmod(2 * expected + fed, 1024)
        if number % 5 == 4:
            got = state.to_host()
            np.testing.assert_array_equal(np.fmod(got, 1024), expected)
            state = memory.upload(expected)
    return (time.perf_counter() - start) / frames


def check_recordings(memory: DeviceMemory, adder: Adder) -> tuple[float, float]:
    """Recorded work against queued work: microseconds of the host for either.

    Raises:
        AssertionError: A recording computes something else, or could not be made.
    """
    launches = Launches(memory.cuda)
    ones = np.ones(4096, np.float32)
    a, b, out = memory.upload(ones), memory.upload(ones), memory.upload(0 * ones)
    key = ((4096,), (a.address, b.address, out.address))

    def several() -> None:
        for _ in range(20):
            adder.queue(a, b, out)

    several()
    memory.cuda.synchronize()
    start = time.perf_counter()
    several()
    queued = time.perf_counter() - start
    launches.worth_recording(key)
    assert launches.worth_recording(key)
    launches.record(key, None, several)
    assert launches.problem is None, launches.problem
    start = time.perf_counter()
    assert launches.launch(key)
    replayed = time.perf_counter() - start
    np.testing.assert_array_equal(out.to_host(), 3 * ones)
    launches.clear()
    return queued * 1e6, replayed * 1e6


def check_feeds(memory: DeviceMemory, adder: Adder, frames: int = 60) -> int:
    """What two runs a frame are fed from the host, in one copy or where it lies; recordings.

    The first run's is sent, as an image with its boxes; the second one's is read on the host, by
    recorded work too, and is another one in every frame.

    Raises:
        AssertionError: A frame's result is wrong, or nothing was recorded.
    """
    launches = Launches(memory.cuda)
    rng = np.random.default_rng(0)
    for _ in range(frames):
        a, b, c = rng.integers(0, 1000, (3, 4096)).astype(np.float32)
        middle, out = (memory.empty(a.shape, a.dtype) for _ in range(2))
        _run(memory, adder, launches, "first", [a, b], middle)
        memory.flush()
        _run(memory, adder, launches, "second", [middle, c], out)
        np.testing.assert_array_equal(out.to_host(), 2 * (2 * a + b) + c)
        del middle, out
    assert len(launches), launches.problem
    recorded = len(launches)
    launches.clear()
    return recorded


def _run(
    memory: DeviceMemory,
    adder: Adder,
    launches: Launches,
    name: str,
    feeds: Sequence[Array],
    out: CudaArray,
) -> None:
    """One run of a graph, as an engine does it."""
    a, b = memory.send(name, feeds)
    key = name, a.address, b.address, out.address

    def launch() -> None:
        if launches.launch(key):
            return
        recorded = launches.worth_recording(key)
        adder.queue(a, b, out)
        if recorded:
            launches.record(key, None, lambda: adder.queue(a, b, out))

    memory.when_sent(launch)


script = Script(__doc__)


@script.does
def main(_options: argparse.Namespace) -> None:
    """Check, and print a line for each."""
    try:
        import cupy
    except ImportError as error:
        reason = f"CuPy is not here ({error}): pip install cupy-cuda13x"
        raise BackendError(reason) from None
    memory = DeviceMemory(CudaRuntime())
    adder = Adder(cupy, memory)
    seconds = check_stream(memory, adder)
    queued, replayed = check_recordings(memory, adder)
    recorded = check_feeds(memory, adder)
    gpu = memory.cuda.gpu
    memory.close()
    print(f"{gpu.name} ({gpu.target}), driver of CUDA {gpu.driver}")
    print(f"a state through recycled memory: exact in 200 frames, {seconds * 1e6:.0f} us a frame")
    print(f"20 kernels: {queued:.0f} us of the host queued, {replayed:.0f} us recorded")
    print(f"sent in one copy, or read on the host: exact in 60 frames, {recorded} recordings")
