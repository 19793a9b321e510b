"""Arrays on a CUDA device: where their memory comes from, and the way in and out.

Memory that an array gave back serves later arrays of its size, the lowest address first.  In
whatever order a frame's arrays became garbage, the next frame therefore meets the same addresses,
which is what makes recorded launches (`launches`) fit again; the latest first would shuffle them.
Reuse needs no waiting, because everything is queued on one stream in order.

What a run is fed from the host need not go there at once: the device has to have done nothing
before a result is read.  Small inputs are collected, with the runs that need them, and go there in
one copy; an image goes at once, so that the device works on it while the host goes on, or with what
is known to be fed next (`send_with`).  A few kB that come after that copy, while the device works,
are no copy of their own: the device reads them where they are.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import BackendError
from ....records import UInt8Array
from ..base import Array, to_host
from .cuda import Cuda, GpuMemoryError
from .pinned import PinnedMemory

_SMALLEST = 512
"""Bytes of the smallest piece of device memory: CUDA's own granularity."""

_ALIGNED = 512
"""What runs are fed begins at multiples of so many bytes: TensorRT refuses others than of 256
(`setTensorAddress`: "The pointer must have at least 256-byte alignment")."""

AT_ONCE = 1 << 20
"""Bytes that do not wait: a network's image has 2 MB, all else of a frame some 200 kB.  Held back
until the host had prepared what follows, it would keep the device idle for a millisecond."""

IN_PLACE = 32 << 10
"""Bytes of an input that the device may read on the host: masks and numbers of rows, which a graph
looks at a few times, over the bus each time.  The matrices of many boxes are larger."""

_PLACES_AT_ONCE = 16
"""Places of `IN_PLACE` bytes that are pinned at a time."""

MOST_WAITING = 64
"""Runs that wait at most; a frame has six or so."""


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
        owner: object = None,
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
        """See `DeviceArray`; copies, where TensorRT would not take a row as it lies."""
        shape = (1, *self.shape[1:])
        size = _bytes_of(shape, self.dtype)
        rows = [self.part(row * size, shape, self.dtype) for row in range(self.shape[0])]
        return rows if size % _ALIGNED == 0 else [self.memory.copied(row) for row in rows]

    def reshape(self, shape: tuple[int, ...], /) -> CudaArray:
        """See `DeviceArray`."""
        return self.part(0, shape, self.dtype)

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
        self._pinned = PinnedMemory(cuda)
        self._scratch: CudaArray | None = None
        self._inbox = _Inbox(self, self._pinned)
        self._read_in_place = _InPlace(self, self._pinned)
        self._sent_with: str | None = None
        self._waiting: deque[Callable[[], None]] = deque()

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
        copy = self.empty(array.shape, array.dtype)
        if copy.nbytes:
            pinned = self._pinned.take(copy.nbytes)
            host = pinned[: copy.nbytes]
            np.copyto(host.view(array.dtype).reshape(array.shape), array)
            self.cuda.copy_in(copy.address, host)
            self._pinned.give_back(pinned)
        return copy

    def copied(self, array: CudaArray) -> CudaArray:
        """A copy of an array that lives here, once what it is computed by was sent."""
        copy = self.empty(array.shape, array.dtype)
        self.when_sent(lambda: self.cuda.copy_within(copy.address, array.address, array.nbytes))
        return copy

    def hold(self, array: Array) -> CudaArray:
        """The array itself where it lives here, a copy of it otherwise."""
        if isinstance(array, CudaArray) and array.memory is self:
            return array
        return self.upload(to_host(array))

    def send(self, graph: str, arrays: Sequence[Array]) -> list[CudaArray]:
        """What a run of a graph is fed, here: small arrays go there later, in one copy with others.

        The run is given to `when_sent`; after it, the copies are overwritten.  After a copy, and
        until a result is read, a few kB are read where they are.

        Args:
            graph: Its name.
            arrays: Its inputs; they may be changed as soon as this returns.
        """
        held = {
            row: array
            for row, array in enumerate(arrays)
            if isinstance(array, CudaArray) and array.memory is self
        }
        absent = {row: to_host(array) for row, array in enumerate(arrays) if row not in held}
        last = graph == self._sent_with
        late = self._inbox.has_sent and not (self._waiting or self._inbox.nbytes)
        in_place = self._read_in_place.put(graph, absent) if late else None
        held |= self._inbox.put(graph, absent) if in_place is None else in_place
        if last:
            self._sent_with = None
        if last or (self._sent_with is None and self._inbox.nbytes >= AT_ONCE):
            self.flush()
        return [held[row] for row in range(len(arrays))]

    def send_with(self, graph: str) -> None:
        """Send what runs are fed from now on with what the next run of a graph is fed, and then."""
        if self._inbox.nbytes >= AT_ONCE:
            self.flush()
        self._sent_with = graph

    def when_sent(self, run: Callable[[], None]) -> None:
        """Queue a run, once all was sent that it needs; what it raises is raised there and then."""
        if not (self._waiting or self._inbox.nbytes):
            run()
            return
        self._waiting.append(run)
        if len(self._waiting) >= MOST_WAITING:
            self.flush()

    def flush(self) -> None:
        """Send what waits to be sent, in one copy, and queue the runs that wait for it."""
        self._inbox.send()
        while self._waiting:
            self._waiting.popleft()()

    def download(self, array: CudaArray) -> npt.NDArray[Any]:
        """A copy in ordinary host memory; waits for all that was queued before."""
        result = np.empty(array.shape, array.dtype)
        self._sent_with = None
        self.flush()
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
        # After a fault nothing is sent any more.
        with suppress(BackendError):
            self.flush()
        self._waiting.clear()
        self._inbox.close()
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


class _Inbox:
    """Where runs are fed from the host: every input of a graph has a place of its own.

    Recorded launches fit again where addresses are the same, whatever else goes there in the same
    copy and however large it is.  The places lie in one piece of memory, those of small inputs
    downwards from a border and images upwards, and a copy reaches from the first to the last one
    that was filled: an image takes the small inputs with it, which do not take an image.

    Args:
        memory: Where they lie.
        pinned: What copies go through.

    Attributes:
        nbytes: Of all that was put here since the last copy.
    """

    def __init__(self, memory: DeviceMemory, pinned: PinnedMemory) -> None:
        self.nbytes = 0
        self._memory, self._pinned = memory, pinned
        # By graph, number of its run since the last copy, and input: first byte, counted from the
        # border, and how many.
        self._places: dict[tuple[str, int, int], tuple[int, int]] = {}
        self._runs: Counter[str] = Counter()
        # Bytes that have places below and above the border, and for how many there is room.
        self._used, self._room = [0, 0], [0, 0]
        self._whole: CudaArray | None = None
        self._filling: UInt8Array | None = None
        self._span = (0, 0)
        self._sent_at = -1

    def put(self, graph: str, arrays: Mapping[int, npt.NDArray[Any]]) -> dict[int, CudaArray]:
        """Arrays at the places of a graph's inputs, with the next copy; by the input's number."""
        if not arrays:
            return {}
        placed, whole = self._placed(graph, arrays), self._whole
        if not placed or whole is None:
            # What was put already stays where it is until it was sent.
            self._memory.flush()
            self._placed(graph, arrays)
            whole = self._lay_out()
        if self._filling is None:
            self._filling = self._pinned.take(whole.nbytes)
            self._span = (whole.nbytes, 0)
        run, put = self._runs[graph], {}
        for row, array in arrays.items():
            start = self._room[0] + self._places[graph, run, row][0]
            end = start + array.nbytes
            np.copyto(self._filling[start:end].view(array.dtype).reshape(array.shape), array)
            self._span = min(self._span[0], start), max(self._span[1], end)
            put[row] = whole.part(start, array.shape, array.dtype)
            self.nbytes += array.nbytes
        self._runs[graph] += 1
        return put

    @property
    def has_sent(self) -> bool:
        """Whether a copy was queued since the stream was waited for."""
        return self._sent_at == self._pinned.waits

    def send(self) -> None:
        """Queue the copy of all that was put here."""
        if self._filling is not None and self._whole is not None:
            start, end = self._span
            if start < end:
                self._memory.cuda.copy_in(self._whole.address + start, self._filling[start:end])
                self._sent_at = self._pinned.waits
            self._pinned.give_back(self._filling)
        self._filling, self.nbytes = None, 0
        self._runs.clear()

    def close(self) -> None:
        """Have no memory any more."""
        self._whole = None

    def _placed(self, graph: str, arrays: Mapping[int, npt.NDArray[Any]]) -> bool:
        """Give arrays places that are large enough; whether there is room for all of them."""
        for row, array in arrays.items():
            key = graph, self._runs[graph], row
            if key not in self._places or array.nbytes > self._places[key][1]:
                # A crowd that grows is not placed anew in every frame.
                size = 1 << (max(array.nbytes, _ALIGNED) - 1).bit_length()
                self._places[key] = self._next_place(size)
        return all(used <= room for used, room in zip(self._used, self._room, strict=True))

    def _next_place(self, size: int) -> tuple[int, int]:
        above = size >= AT_ONCE
        self._used[above] += size
        return self._used[1] - size if above else -self._used[0], size

    def _lay_out(self) -> CudaArray:
        """Lay all places anew, without those that became too small, and with room for more.

        Raises:
            GpuMemoryError: There is not so much; no place is kept, and a smaller run may be next.
        """
        self._used = [0, 0]
        self._places = {key: self._next_place(size) for key, (_, size) in self._places.items()}
        self._room = [max(AT_ONCE, 2 * self._used[0]), self._used[1]]
        self._whole = None  # first, so that both need not be there at once
        try:
            self._whole = self._memory.empty((sum(self._room),), np.uint8)
        except GpuMemoryError:
            self._places.clear()
            self._used, self._room = [0, 0], [0, 0]
            raise
        return self._whole


class _InPlace:
    """Where runs read small inputs that stay on the host: every input of a graph at its own place.

    A place is written again once the stream was waited for after the run that reads it; until then
    its input has to go another way.

    Args:
        memory: Whose arrays they are.
        pinned: Where the places are.
    """

    def __init__(self, memory: DeviceMemory, pinned: PinnedMemory) -> None:
        self._memory, self._pinned = memory, pinned
        self._places: dict[tuple[str, int], tuple[UInt8Array, int]] = {}
        # How often the stream had been waited for when a place was last written.
        self._waits: dict[tuple[str, int], int] = {}
        self._unused: list[tuple[UInt8Array, int]] = []

    def put(
        self, graph: str, arrays: Mapping[int, npt.NDArray[Any]]
    ) -> dict[int, CudaArray] | None:
        """Arrays at the places of a graph's inputs, by the input's number; None: not all can be."""
        for row, array in arrays.items():
            if array.nbytes > IN_PLACE or self._waits.get((graph, row), -1) == self._pinned.waits:
                return None
        put = {}
        for row, array in arrays.items():
            host, address = self._place(graph, row)
            np.copyto(host[: array.nbytes].view(array.dtype).reshape(array.shape), array)
            put[row] = CudaArray(self._memory, address, 0, array.shape, array.dtype, self)
            self._waits[graph, row] = self._pinned.waits
        return put

    def _place(self, graph: str, row: int) -> tuple[UInt8Array, int]:
        if (graph, row) not in self._places:
            if not self._unused:
                whole, address = self._pinned.fixed(_PLACES_AT_ONCE * IN_PLACE)
                starts = range(0, len(whole), IN_PLACE)
                self._unused = [(whole[at : at + IN_PLACE], address + at) for at in starts]
            self._places[graph, row] = self._unused.pop()
        return self._places[graph, row]


def _bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _piece(size: int) -> int:
    """Bytes reserved for `size`: rounded up by an eighth at most, so that sizes recur."""
    if size <= _SMALLEST:
        return _SMALLEST
    step = max(_SMALLEST, 1 << (size.bit_length() - 4))
    return -(-size // step) * step
