"""Host memory that a CUDA device copies from and to while the host goes on."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from ....records import UInt8Array
from .cuda import MIB, Cuda, GpuFaultError

_SMALLEST = 4096

_MOST = 128 * MIB
"""Pinned memory that may be kept: more is taken back from the system's other programs."""


class PinnedMemory:
    """Pinned host memory that copies go through.

    A piece that a queued copy still reads or writes must not be used again.  No event is kept for
    each copy: a piece is free once the stream was waited for after it was given back, and that
    happens whenever a result is read, so at least once a frame.

    Attributes:
        waits: How often the stream was waited for.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        # By size: pieces, oldest first, with the number of waits before which they were queued.
        self._pieces: dict[int, deque[tuple[int, UInt8Array]]] = {}
        self.waits = 0
        self._kept = 0
        self._fixed: list[UInt8Array] = []

    def take(self, size: int) -> UInt8Array:
        """At least `size` bytes that no queued copy uses."""
        piece = 1 << (max(size, _SMALLEST) - 1).bit_length()
        idle = self._pieces.setdefault(piece, deque())
        if idle and self._kept + piece > _MOST and idle[0][0] == self.waits:
            self.synchronize()
        if idle and idle[0][0] < self.waits:
            return idle.popleft()[1]
        if self._kept + piece > _MOST:
            self._free_all()
        memory = self._cuda.malloc_host(piece)
        self._kept += piece
        return memory

    def give_back(self, memory: UInt8Array) -> None:
        """Take a piece back; queued copies may still use it."""
        self._pieces[len(memory)].append((self.waits, memory))

    def synchronize(self) -> None:
        """Wait for the stream: every piece given back so far is free."""
        self._cuda.synchronize()
        self.waits += 1

    def fixed(self, size: int) -> tuple[UInt8Array, int]:
        """Bytes that stay for good, and where the device finds them."""
        memory = self._cuda.malloc_host(size)
        self._fixed.append(memory)
        return memory, self._cuda.device_address(memory)

    def close(self) -> None:
        """Free every piece."""
        self._free_all()
        while self._fixed:
            self._cuda.free_host(self._fixed.pop())

    def _free_all(self) -> None:
        with suppress(GpuFaultError):
            self.synchronize()
        for idle in self._pieces.values():
            while idle:
                _, memory = idle.popleft()
                self._kept -= len(memory)
                self._cuda.free_host(memory)
