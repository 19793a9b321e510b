"""A CUDA device on host bytes, which does nothing before it must and forgives nothing.

Work is queued and done only when the host waits, as late as a real device may do it: whoever
writes pinned memory too early, reads it too early, or uses freed memory, gets wrong values or an
`AssertionError` here, every time.
"""

from __future__ import annotations

import numpy as np
from unitrack_edge.runtime.inference.tensorrt.cuda import GpuInfo, GpuMemoryError

FIRST_ADDRESS = 0x7F0000000000
PAGE = 4096
NOT_READ_YET = 0xAB
"""What pinned memory holds between the queueing of a copy out of the device and its end."""


class FakeCuda:
    """The `Cuda` protocol on host memory.

    Args:
        room: Bytes of the device.
        target: Of its GPU.

    Attributes:
        live: Size and bytes of every device allocation, by address.
        pinned: Every pinned allocation that was not freed, by its host address.
        mapped: Addresses of those that work may read where they are.
        calls: Names of the methods that were called, in order.
        fetched: Bytes of every copy out of the device.
    """

    def __init__(self, room=1 << 30, target="sm86"):
        self.gpu = GpuInfo("a GPU of host memory", target, room >> 20, "13.0")
        self.stream = 77
        self.fault = None
        self.noted = []
        self.room = room
        self.live = {}
        self.pinned = {}
        self.mapped = set()
        self.calls = []
        self.fetched = []
        self.closed = False
        self._queue = []
        self._recording = None
        self._graphs = {}
        self._next = FIRST_ADDRESS

    def note(self, work):
        self.noted.append(work)

    # Memory.

    def malloc(self, size):
        self._called("malloc", waits=True)
        assert size > 0
        if self.used + size > self.room:
            raise GpuMemoryError(f"the GPU is out of memory for {size} bytes")
        address, self._next = self._next, self._next + -(-size // 512) * 512 + 512
        # Never zeros: who relies on them would be lucky here and not elsewhere.
        self.live[address] = np.full(size, 0xCD, np.uint8)
        return address

    def free(self, address):
        self._called("free", waits=True)
        assert address in self.live, f"free of {address:#x}, which is not allocated"
        self._work()
        del self.live[address]

    def malloc_host(self, size):
        self._called("malloc_host", waits=True)
        whole = np.full(size + PAGE, 0xEE, np.uint8)
        memory = whole[-whole.ctypes.data % PAGE :][:size]
        self.pinned[memory.ctypes.data] = memory
        return memory

    def free_host(self, memory):
        self._called("free_host", waits=True)
        assert not self._queue, "pinned memory freed while copies are queued"
        del self.pinned[memory.ctypes.data]
        self.mapped.discard(memory.ctypes.data)

    def device_address(self, memory):
        self._called("device_address")
        assert memory.ctypes.data in self.pinned
        self.mapped.add(memory.ctypes.data)
        return memory.ctypes.data

    def free_memory(self):
        return self.room - self.used

    @property
    def used(self):
        """Bytes that are allocated."""
        return sum(len(memory) for memory in self.live.values())

    def view(self, address, size):
        """The bytes from an address on, which must lie in one allocation."""
        mapped = ((address, self.pinned[address]) for address in self.mapped)
        for start, memory in (*self.live.items(), *mapped):
            if start <= address < start + len(memory):
                offset = address - start
                assert offset + size <= len(memory), f"{size} bytes reach beyond {address:#x}"
                return memory[offset : offset + size]
        raise AssertionError(f"{address:#x} is not allocated (any more)")

    # The stream.

    def queue(self, work):
        """Do `work` when its turn comes, or record it."""
        assert not self.closed, "the stream is closed"
        (self._queue if self._recording is None else self._recording).append(work)

    def copy_in(self, address, host):
        self._called("copy_in")
        self._is_pinned(host)
        assert self._recording is None, "a copy from the host has no place in a recording"

        def work():
            self.view(address, host.nbytes)[:] = host

        self.queue(work)

    def copy_out(self, host, address):
        self._called("copy_out")
        self._is_pinned(host)
        assert self._recording is None, "a copy to the host has no place in a recording"
        host[:] = NOT_READ_YET
        self.fetched.append(host.nbytes)

        def work():
            host[:] = self.view(address, host.nbytes)

        self.queue(work)

    def copy_within(self, address, source, size):
        self._called("copy_within")

        def work():
            self.view(address, size)[:] = self.view(source, size)

        self.queue(work)

    def synchronize(self):
        self._called("synchronize", waits=True)
        self._work()

    def _work(self):
        while self._queue:
            self._queue.pop(0)()

    # Recording.

    def begin_capture(self):
        self._called("begin_capture", waits=True)
        self._recording = []

    def end_capture(self):
        self._called("end_capture")
        assert self._recording is not None
        graph = len(self.calls)
        self._graphs[graph] = self._recording
        self._recording = None
        return graph

    def launch(self, graph):
        self._called("launch", waits=True)
        for work in self._graphs[graph]:
            self.queue(work)

    def free_graph(self, graph):
        self._called("free_graph", waits=True)
        del self._graphs[graph]

    def close(self):
        self._called("close", waits=True)
        assert not self.closed, "closed twice"
        self._work()
        self.closed = True

    @property
    def graphs(self):
        """How many recordings there are."""
        return len(self._graphs)

    def check_all_given_back(self):
        """Nothing may be left after everything was closed and forgotten."""
        assert self.closed
        assert (self.live, self.pinned, self._graphs) == ({}, {}, {})

    def _called(self, name, *, waits=False):
        assert not self.closed, f"{name} after close"
        assert not (waits and self._recording is not None), f"{name} while recording"
        self.calls.append(name)

    def _is_pinned(self, host):
        start, end = host.ctypes.data, host.ctypes.data + host.nbytes
        assert any(a <= start and end <= a + len(m) for a, m in self.pinned.items()), (
            "copies go through pinned memory"
        )
