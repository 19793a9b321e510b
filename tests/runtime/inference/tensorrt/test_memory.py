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
    monkeypatch.setattr(device_memory, "_PINNED_MOST", 64 << 10)
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
