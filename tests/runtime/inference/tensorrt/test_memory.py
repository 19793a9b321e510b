"""Device memory: life of arrays, reuse, pinned copies, recordings; on a fake device and a real one.

The fake does queued work as late as possible and fails on whatever a real device forgives by luck.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.runtime.inference.base import DeviceArray
from unitrack_edge.runtime.inference.tensorrt import memory as device_memory
from unitrack_edge.runtime.inference.tensorrt import pinned
from unitrack_edge.runtime.inference.tensorrt.cuda import CudaRuntime, GpuMemoryError, probe_gpu
from unitrack_edge.runtime.inference.tensorrt.cuda_graphs import MOST, STALE_AFTER, Launches
from unitrack_edge.runtime.inference.tensorrt.memory import DeviceMemory

from ....support.gpu.fake_cuda import FakeCuda


@pytest.fixture(params=["fake", "real"])
def cuda(request):
    if request.param == "fake":
        return FakeCuda()
    gpu, reason = probe_gpu()
    if gpu is None:
        pytest.skip(f"no GPU for the same tests on a real device: {reason}")
    return CudaRuntime()


@pytest.fixture
def memory(cuda):
    memory = DeviceMemory(cuda)
    yield memory
    memory.close()


DTYPES = ["uint8", "bool", "int64", "int32", "float16", "float32", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (2, 0, 4), (7, 1000)])
def test_what_goes_in_comes_out(memory, dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    held = memory.upload(array)
    assert isinstance(held, DeviceArray)
    assert (held.shape, held.dtype, held.nbytes) == (shape, array.dtype, array.nbytes)
    np.testing.assert_array_equal(held.to_host(), array, strict=True)


def test_arrays_that_are_not_contiguous(memory):
    array = np.arange(24.0).reshape(4, 6)
    for part in (array.T, array[::2], array[:, 1::3], np.broadcast_to(array[:1], (5, 6))):
        np.testing.assert_array_equal(memory.upload(part).to_host(), part, strict=True)


def test_an_array_may_be_changed_as_soon_as_it_was_given(memory):
    frame = np.zeros((64, 64), np.uint8)
    held = []
    for value in range(5):
        frame[:] = value
        held.append(memory.upload(frame))
    frame[:] = 99
    assert [int(array.to_host().max()) for array in held] == list(range(5))


def test_what_was_read_is_the_callers_own(memory):
    held = memory.upload(np.arange(10))
    first = held.to_host()
    first[:] = 0
    np.testing.assert_array_equal(held.to_host(), np.arange(10))


def test_memory_of_garbage_is_used_again_in_the_same_order(memory):
    """Whatever the order in which it became garbage: a frame meets the addresses of the last."""
    first = [memory.empty((100,), "float32") for _ in range(5)]
    addresses = [array.address for array in first]
    for order in ((0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (2, 0, 4, 1, 3)):
        for index in order:
            first[index] = None
        gc.collect()
        first = [memory.empty((99 - i,), "float32") for i in range(5)]
        assert [array.address for array in first] == sorted(addresses)
    assert memory.empty((100,), "float32").address not in addresses


def test_reuse_needs_no_waiting(memory):
    """A copy to memory that queued work still reads comes after that work."""
    results = []
    for value in range(50):
        held = memory.hold(np.full(1000, value))
        results.append(memory.hold(held))
        del held
        if value % 7 == 0:
            assert int(results[-1].to_host()[0]) == value
        if len(results) > 3:
            results.pop(0)
    assert [int(array.to_host()[-1]) for array in results] == [47, 48, 49]


def test_hold_copies_only_what_is_elsewhere(memory):
    held = memory.upload(np.arange(4))
    assert memory.hold(held) is held
    other = DeviceMemory(FakeCuda())
    copy = memory.hold(other.upload(np.arange(5)))
    assert copy.memory is memory
    np.testing.assert_array_equal(copy.to_host(), np.arange(5))


class Runs:
    """Runs that keep what they were fed, at the time when the device does them."""

    def __init__(self, memory):
        self.memory, self.queued, self.seen = memory, 0, []

    def run(self, graph, *arrays):
        """Where it is fed from."""
        held = self.memory.send(graph, arrays)
        self.memory.when_sent(lambda: self._queue(held))
        return [array.address for array in held]

    def _queue(self, held):
        self.queued += 1

        def work():
            for one in held:
                view = self.memory.cuda.view(one.address, one.nbytes)
                self.seen.append(view.view(one.dtype).reshape(one.shape).copy())

        self.memory.cuda.queue(work)


def test_what_several_runs_are_fed_goes_there_in_one_copy():
    """Runs wait with their inputs until a result is read, and are then done in their order."""
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    runs, result = Runs(memory), memory.upload(np.zeros(3))
    fed = np.arange(5)
    for frame in range(4):
        cuda.calls.clear()
        first = fed + frame, (fed - frame).astype(np.float32), np.zeros((2, 0, 3))
        copies = [array.copy() for array in first]
        addresses = [*runs.run("one", *first), *runs.run("two", result, np.full((3, 7), frame))]
        addresses += runs.run("one", np.array([frame, frame]))
        assert {address % 256 for address in addresses} == {0}
        assert len(set(addresses)) == len(addresses)
        for array in first:
            array[...] = -1
        if frame:
            assert "copy_in" not in cuda.calls
            assert runs.queued == 0
        result.to_host()
        assert runs.queued == 3
        assert cuda.calls.count("copy_in") == 1
        assert len(runs.seen) == 3 + 2 + 1
        expected = [*copies, np.zeros(3), np.full((3, 7), frame), np.array([frame, frame])]
        for got, want in zip(runs.seen, expected, strict=True):
            np.testing.assert_array_equal(got, want, strict=True)
        runs.queued, runs.seen = 0, []


def test_a_run_is_fed_from_the_same_place_in_every_frame():
    """Whatever else goes there, and however large it is: recorded launches fit addresses."""
    memory = DeviceMemory(FakeCuda())
    runs, rng = Runs(memory), np.random.default_rng(2)
    result = memory.upload(np.zeros(3))
    places, mallocs = [], []
    for frame in range(60):
        sizes = rng.integers(1, 4000, 3)
        first, second = runs.run("one", *(np.zeros(size) for size in sizes[:2]))
        other = runs.run("other", np.zeros(sizes[2], np.uint8)) if frame % 3 else [None]
        places.append((first, second, *other))
        result.to_host()
        mallocs.append(memory.cuda.calls.count("malloc"))
    assert len(set(mallocs[30:])) == 1
    for place in zip(*places[30:], strict=True):
        assert len(set(place) - {None}) == 1


def test_an_image_goes_there_at_once_with_what_waits(monkeypatch):
    """So that the device works while the host goes on."""
    monkeypatch.setattr(device_memory, "AT_ONCE", 1000)
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    runs, result = Runs(memory), memory.upload(np.zeros(3))
    for frame in range(3):
        cuda.calls.clear()
        runs.run("small", np.full(9, frame, np.uint8))
        image = np.full(2000, frame, np.uint16)
        runs.run("large", image)
        image[:] = 77
        if frame:
            assert (runs.queued, cuda.calls.count("copy_in")) == (2, 1)
        result.to_host()
        small, large = runs.seen
        assert set(small) == set(large) == {frame}
        runs.queued, runs.seen = 0, []


def test_a_few_kilobytes_that_come_after_the_copy_are_read_where_they_are():
    """And not written again before they were read; what is larger is copied as ever."""
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    runs, result = Runs(memory), memory.upload(np.zeros(3))
    for frame in range(4):
        cuda.calls.clear()
        memory.send_with("boxes")
        runs.run("image", np.full(40_000, frame, np.uint8))
        assert (runs.queued, cuda.calls.count("copy_in")) == (0, 0)
        runs.run("boxes", np.full(9, frame, np.int64))
        assert (runs.queued, cuda.calls.count("copy_in")) == (2, 1)
        rows = np.full((2, 5), frame)
        places = [runs.run("late", rows, np.full(3, frame, np.float32))]
        rows[:] = 99
        # The device has not read these yet.
        places.append(runs.run("late", rows + frame, np.full(3, -frame, np.float32)))
        assert (runs.queued, cuda.calls.count("copy_in")) == (3, 1)
        runs.run("large", np.full(device_memory.IN_PLACE + 1, frame, np.uint8))
        result.to_host()
        assert cuda.calls.count("copy_in") == 2
        values = [set(array.reshape(-1).tolist()) for array in runs.seen]
        assert values == [{frame}] * 4 + [{99 + frame}, {-frame}, {frame}]
        assert {address % 256 for place in places for address in place} == {0}
        assert set(places[0]).isdisjoint(places[1])
        runs.queued, runs.seen = 0, []
    memory.close()
    del result, runs
    gc.collect()
    cuda.check_all_given_back()


def test_no_more_runs_wait_than_a_frame_has():
    """Who never reads a result must not collect runs, and the memory that they need, for ever."""
    memory = DeviceMemory(FakeCuda())
    runs = Runs(memory)
    for number in range(1000):
        runs.run("one", np.array([number]))
        assert number - runs.queued < device_memory.MOST_WAITING
    memory.flush()
    memory.cuda.synchronize()
    assert np.concatenate(runs.seen).tolist() == list(range(1000))


def test_a_run_that_fails_is_said_once_and_does_not_stop_what_comes_later():
    memory = DeviceMemory(FakeCuda())
    runs, result = Runs(memory), memory.upload(np.arange(3))

    def fail():
        raise BackendError("no")

    memory.send("one", [np.arange(3)])
    memory.when_sent(fail)
    runs.run("two", np.arange(2))
    with pytest.raises(BackendError, match="no"):
        result.to_host()
    np.testing.assert_array_equal(result.to_host(), np.arange(3))
    assert [array.tolist() for array in runs.seen] == [[0, 1]]


def test_runs_that_wait_are_done_before_all_is_closed():
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    runs, result = Runs(memory), memory.upload(np.arange(3))
    runs.run("one", np.arange(8))
    memory.close()
    result.to_host()
    assert runs.seen[0].tolist() == list(range(8))
    del result, runs
    gc.collect()
    cuda.check_all_given_back()


def test_scratch_is_shared_and_grows(memory):
    small = memory.scratch(1000)
    assert memory.scratch(500) == small
    large = memory.scratch(100_000)
    assert memory.scratch(100_000) == memory.scratch(1000) == large


def test_nothing_is_allocated_in_the_long_run():
    """A video's memory of five frames, fifty frames long: the first few need all there is."""
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    recent, allocated, addresses = [], [], set()
    for index in range(50):
        frame = memory.upload(np.full((60, 107, 16), index, np.float32))
        addresses.add(frame.address)
        recent = [*recent, frame][-5:]
        scores = memory.empty((60 * 107, 2), np.float32)
        assert int(frame.to_host()[0, 0, 0]) == index
        allocated.append((cuda.calls.count("malloc"), cuda.calls.count("malloc_host")))
        del scores, frame
    assert len(set(allocated[8:])) == 1
    assert len(addresses) == 6


def test_pinned_memory_stays_within_its_bounds(monkeypatch):
    monkeypatch.setattr(pinned, "_MOST", 64 << 10)
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    held = []
    for value in range(40):
        size = 1000 * (value % 4 + 1)
        held.append(memory.upload(np.full(size, value, np.float32)))
        assert sum(map(len, cuda.pinned.values())) <= 64 << 10
    assert [int(array.to_host()[-1]) for array in held] == list(range(40))
    # One copy larger than that must still be possible.
    large = np.arange(200_000)
    np.testing.assert_array_equal(memory.upload(large).to_host(), large)
    assert [len(piece) for piece in cuda.pinned.values()] == [1 << 21]


def test_what_is_kept_is_given_up_before_memory_runs_out():
    cuda = FakeCuda(room=1 << 20)
    memory = DeviceMemory(cuda)
    kept = memory.upload(np.arange(1000))
    memory.empty((700_000,), np.uint8)
    large = memory.empty((900_000,), np.uint8)
    assert large.address in cuda.live
    np.testing.assert_array_equal(kept.to_host(), np.arange(1000))
    with pytest.raises(GpuMemoryError, match="out of memory"):
        memory.empty((200_000,), np.uint8)


def test_after_an_image_that_there_is_no_room_for_a_smaller_one_goes_there():
    memory = DeviceMemory(FakeCuda(room=1 << 23))
    runs, result = Runs(memory), memory.upload(np.zeros(3))
    runs.run("one", np.arange(5))
    for _ in range(2):
        with pytest.raises(GpuMemoryError, match="out of memory"):
            runs.run("one", np.zeros(1 << 24, np.uint8))
    runs.run("one", np.arange(7))
    result.to_host()
    np.testing.assert_array_equal(runs.seen[-1], np.arange(7))


def test_closing_gives_everything_back_but_arrays_that_are_held():
    cuda = FakeCuda()
    memory = DeviceMemory(cuda)
    memory.scratch(5000)
    memory.upload(np.zeros(3000))
    held = memory.upload(np.arange(7))
    memory.close()
    memory.close()
    np.testing.assert_array_equal(held.to_host(), np.arange(7))
    assert len(cuda.live) == 1
    assert not cuda.closed
    with pytest.raises(BackendError, match="closed"):
        memory.empty((1,), np.uint8)
    del held
    gc.collect()
    cuda.check_all_given_back()


def test_a_real_device_says_what_it_has_no_room_for(memory, cuda):
    if isinstance(cuda, FakeCuda):
        pytest.skip("what a driver says is a real device's affair")
    with pytest.raises(GpuMemoryError, match=r"out of memory for .* MiB more .*--size") as caught:
        memory.empty((1 << 50,), np.uint8)
    assert "\n" not in str(caught.value)
    np.testing.assert_array_equal(memory.upload(np.arange(3)).to_host(), np.arange(3))


def test_no_gpu_is_one_line():
    if probe_gpu()[0] is not None:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match=r"no CUDA GPU to run on: .*--backend cpu") as caught:
        CudaRuntime()
    assert "\n" not in str(caught.value)


# --- recordings


def recorded(launches, cuda, key, done):
    return launches.record(key, None, lambda: cuda.queue(lambda: done.append(key)))


def test_the_second_meeting_is_recorded_and_the_third_launched():
    cuda, done = FakeCuda(), []
    launches = Launches(cuda)
    assert not launches.launch("a")
    assert not launches.worth_recording("a")
    assert not launches.launch("a")
    assert launches.worth_recording("a")
    recorded(launches, cuda, "a", done)
    cuda.synchronize()
    assert done == []
    assert launches.launch("a")
    assert launches.launch("a")
    assert not launches.launch("b")
    cuda.synchronize()
    assert done == ["a", "a"]


def test_recordings_are_bounded_and_do_not_push_one_another_out():
    cuda, done = FakeCuda(), []
    launches = Launches(cuda)
    for key in range(MOST):
        launches.worth_recording(key)
        assert launches.worth_recording(key)
        recorded(launches, cuda, key, done)
    launches.worth_recording("late")
    assert not launches.worth_recording("late")
    for _ in range(STALE_AFTER):
        launches.launch(1)
    assert launches.worth_recording("late")
    recorded(launches, cuda, "late", done)
    assert len(launches) == cuda.graphs == MOST
    assert not launches.launch(0)
    assert launches.launch("late")
    launches.clear()
    assert len(launches) == cuda.graphs == 0


def test_a_failed_recording_ends_recording_and_says_why():
    cuda = FakeCuda()
    launches = Launches(cuda)
    launches.worth_recording("a")

    def fail():
        raise BackendError("not while recording")

    launches.record("a", None, fail)
    assert launches.problem == "not while recording"
    assert (len(launches), cuda.graphs) == (0, 0)
    assert not launches.launch("a")
    assert not launches.worth_recording("a")
    cuda.synchronize()


# --- the fake itself: a test that cannot fail proves nothing


def test_the_fake_notices_what_a_real_device_may_forgive():
    cuda = FakeCuda()
    address, pinned = cuda.malloc(100), cuda.malloc_host(4096)
    with pytest.raises(AssertionError, match="pinned"):
        cuda.copy_in(address, np.zeros(100, np.uint8))
    pinned[:100] = 1
    cuda.copy_in(address, pinned[:100])
    pinned[:100] = 2
    cuda.copy_out(pinned[100:200], address)
    assert set(pinned[100:200]) == {0xAB}
    cuda.synchronize()
    assert set(pinned[100:200]) == {2}, "late copies take what is there by then"
    cuda.copy_in(address, pinned[:101])
    with pytest.raises(AssertionError, match="beyond"):
        cuda.synchronize()
    cuda.begin_capture()
    for forbidden in (cuda.synchronize, lambda: cuda.malloc(1), lambda: cuda.free(address)):
        with pytest.raises(AssertionError, match="while recording"):
            forbidden()
    cuda.end_capture()
    cuda.free(address)
    with pytest.raises(AssertionError, match="not allocated"):
        cuda.free(address)
    with pytest.raises(AssertionError, match="not allocated"):
        cuda.view(address, 1)
