"""Arrays on a CUDA device: where their memory comes from, and the way in and out.

Memory that an array gave back serves later arrays of its size, the lowest address first.  In
whatever order a frame's arrays became garbage, the next frame therefore meets the same addresses,
which is what makes recorded launches (`launches`) fit again; the latest first would shuffle them.
Reuse needs no waiting, because everything is queued on one stream in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from heapq import heappop, heappush
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import BackendError
from ....records import UInt8Array
from ..base import Array, to_host
from .cuda import MIB, Cuda, GpuFaultError, GpuMemoryError

_SMALLEST = 512
"""Bytes of the smallest piece of device memory: CUDA's own granularity."""

_ALIGNED = 512
"""Arrays of one copy begin at multiples of so many bytes: TensorRT wants 256."""

_PINNED_SMALLEST = 4096

_PINNED_MOST = 128 * MIB
"""Pinned memory that may be kept: more is taken back from the system's other programs."""


class CudaArray:
    """An array in device memory; its memory serves others once it is garbage.

    Attributes:
        memory: Where it lives.
        address: On the device.
        shape: Sizes of the axes; C order.
        dtype: Element type.
    """

    __slots__ = ("_owner", "_size", "address", "dtype", "memory", "shape")

    def __init__(
        self,
        memory: DeviceMemory,
        address: int,
        size: int,
        shape: tuple[int, ...],
        dtype: Any,
        owner: CudaArray | None = None,
    ) -> None:
        self.memory = memory
        self.address = address
        self._size = size
        self._owner = owner
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return _bytes_of(self.shape, self.dtype)

    def part(self, offset: int, shape: tuple[int, ...], dtype: Any) -> CudaArray:
        """An array in the same memory, which is kept for as long as either is held.

        Args:
            offset: Bytes from the first.
            shape: Of the part.
            dtype: Likewise.
        """
        return CudaArray(self.memory, self.address + offset, 0, shape, dtype, self)

    def rows(self) -> list[CudaArray]:
        """See `DeviceArray`."""
        shape = (1, *self.shape[1:])
        size = _bytes_of(shape, self.dtype)
        return [self.part(row * size, shape, self.dtype) for row in range(self.shape[0])]

    def to_host(self) -> npt.NDArray[Any]:
        """Copy to host memory; waits for all that was queued before."""
        return self.memory.download(self)

    def __del__(self) -> None:
        if self._owner is None:
            self.memory.give_back(self.address, self._size)


class DeviceMemory:
    """Device memory of one stream.

    Args:
        cuda: The device; closed by `close`, once no array is left.
    """

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self._free: dict[int, list[int]] = {}
        self._live: set[int] = set()
        self._closed = False
        self._pinned = _PinnedMemory(cuda)
        self._scratch: CudaArray | None = None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> CudaArray:
        """An array whose elements are whatever was there before.

        Raises:
            GpuMemoryError: The device is out of memory.
        """
        if self._closed:
            raise BackendError("the GPU backend was closed and takes no more arrays")
        size = _piece(_bytes_of(shape, np.dtype(dtype)))
        kept = self._free.get(size)
        address = heappop(kept) if kept else self._malloc(size)
        self._live.add(address)
        return CudaArray(self, address, size, shape, dtype)

    def upload(self, array: npt.NDArray[Any]) -> CudaArray:
        """Copy an array to the device; it may be changed as soon as this returns."""
        return self.upload_all([array])[0]

    def upload_all(self, arrays: Sequence[npt.NDArray[Any]]) -> list[CudaArray]:
        """`upload` of several arrays in one copy."""
        sizes = [_bytes_of(array.shape, array.dtype) for array in arrays]
        starts = [0, *accumulate(-(-size // _ALIGNED) * _ALIGNED for size in sizes)]
        whole = self.empty((starts[-1],), np.uint8)
        if whole.nbytes:
            pinned = self._pinned.take(whole.nbytes)
            for array, start, size in zip(arrays, starts, sizes, strict=False):
                place = pinned[start : start + size].view(array.dtype)
                np.copyto(place.reshape(array.shape), array)
            self.cuda.copy_in(whole.address, pinned[: whole.nbytes])
            self._pinned.give_back(pinned)
        return [
            whole.part(start, array.shape, array.dtype)
            for array, start in zip(arrays, starts, strict=False)
        ]

    def hold(self, array: Array) -> CudaArray:
        """The array itself where it lives here, a copy of it otherwise."""
        return self.hold_all([array])[0]

    def hold_all(self, arrays: Sequence[Array]) -> list[CudaArray]:
        """`hold` of several arrays: what is elsewhere comes here in one copy."""
        held = {
            row: array
            for row, array in enumerate(arrays)
            if isinstance(array, CudaArray) and array.memory is self
        }
        absent = [row for row in range(len(arrays)) if row not in held]
        if absent:
            copies = self.upload_all([to_host(arrays[row]) for row in absent])
            held |= dict(zip(absent, copies, strict=True))
        return [held[row] for row in range(len(arrays))]

    def download(self, array: CudaArray) -> npt.NDArray[Any]:
        """A copy in ordinary host memory; waits for all that was queued before."""
        result = np.empty(array.shape, array.dtype)
        if result.nbytes:
            pinned = self._pinned.take(result.nbytes)
            host = pinned[: result.nbytes]
            self.cuda.copy_out(host, array.address)
            self._pinned.give_back(pinned)
            self._pinned.synchronize()
            np.copyto(result, host.view(array.dtype).reshape(array.shape))
        return result

    def scratch(self, size: int) -> int:
        """The address of at least `size` bytes for the inner values of whatever runs next.

        All engines share it, since only one runs at a time; it moves when a larger one is asked.
        """
        if self._scratch is None or self._scratch.nbytes < size:
            self._scratch = None  # first, so that both need not be there at once
            self._scratch = self.empty((max(size, 1),), np.uint8)
        return self._scratch.address

    def give_back(self, address: int, size: int) -> None:
        """Take memory of an array that is garbage; called by the array, from any thread."""
        self._live.discard(address)
        if not self._closed:
            heappush(self._free.setdefault(size, []), address)
            return
        self.cuda.free(address)
        self._close_when_idle()

    def trim(self) -> None:
        """Free the device memory that no array uses."""
        for addresses in self._free.values():
            while addresses:
                self.cuda.free(addresses.pop())

    def close(self) -> None:
        """Free everything; arrays that are still held keep theirs, and stay readable."""
        if self._closed:
            return
        self._scratch = None
        self._closed = True
        self.trim()
        self._close_when_idle()

    def _malloc(self, size: int) -> int:
        try:
            return self.cuda.malloc(size)
        except GpuMemoryError:
            # What is kept for other sizes may be what is lacking.
            self.trim()
            return self.cuda.malloc(size)

    def _close_when_idle(self) -> None:
        if not self._live:
            self._pinned.close()
            self.cuda.close()


class _PinnedMemory:
    """Pinned host memory that copies go through.

    A piece that a queued copy still reads or writes must not be used again.  No event is kept for
    each copy: a piece is free once the stream was waited for after it was given back, and that
    happens whenever a result is read, so at least once a frame.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        # By size: pieces, oldest first, with the number of waits before which they were queued.
        self._pieces: dict[int, deque[tuple[int, UInt8Array]]] = {}
        self._waits = 0
        self._kept = 0

    def take(self, size: int) -> UInt8Array:
        """At least `size` bytes that no queued copy uses."""
        piece = 1 << (max(size, _PINNED_SMALLEST) - 1).bit_length()
        idle = self._pieces.setdefault(piece, deque())
        if idle and self._kept + piece > _PINNED_MOST and idle[0][0] == self._waits:
            self.synchronize()
        if idle and idle[0][0] < self._waits:
            return idle.popleft()[1]
        if self._kept + piece > _PINNED_MOST:
            self._free_all()
        memory = self._cuda.malloc_host(piece)
        self._kept += piece
        return memory

    def give_back(self, memory: UInt8Array) -> None:
        """Take a piece back; queued copies may still use it."""
        self._pieces[len(memory)].append((self._waits, memory))

    def synchronize(self) -> None:
        """Wait for the stream: every piece given back so far is free."""
        self._cuda.synchronize()
        self._waits += 1

    def close(self) -> None:
        """Free every piece."""
        self._free_all()

    def _free_all(self) -> None:
        with suppress(GpuFaultError):
            self.synchronize()
        for idle in self._pieces.values():
            while idle:
                _, memory = idle.popleft()
                self._kept -= len(memory)
                self._cuda.free_host(memory)


def _bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _piece(size: int) -> int:
    """Bytes reserved for `size`: rounded up by an eighth at most, so that sizes recur."""
    if size <= _SMALLEST:
        return _SMALLEST
    step = max(_SMALLEST, 1 << (size.bit_length() - 4))
    return -(-size // step) * step
