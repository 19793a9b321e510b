"""TensorRT-RTX compiles kernels as it runs: with which strategy, and where they are kept.

The stand-ins are as NVIDIA documents `IRuntimeConfig` and `IRuntimeCache` (1.7): a cache that does
not fit answers `deserialize` with false and stays as it was; a context tells its configuration.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from unitrack_edge.runtime.inference.tensorrt.kernel_cache import KernelCache
from unitrack_edge.runtime.inference.tensorrt.library import (
    VARIANT_TABLE,
    TensorrtLibrary,
    TensorrtLog,
)

NAMES = SimpleNamespace
TRT = NAMES(
    ExecutionContextAllocationStrategy=NAMES(USER_MANAGED="user managed"),
    CudaGraphStrategy=NAMES(WHOLE_GRAPH_CAPTURE=NAMES(name="WHOLE_GRAPH_CAPTURE")),
    DynamicShapesKernelSpecializationStrategy=NAMES(
        LAZY=NAMES(name="LAZY"), EAGER=NAMES(name="EAGER"), NONE=NAMES(name="NONE")
    ),
)
LIBRARY = TensorrtLibrary(VARIANT_TABLE["tensorrt-rtx"], "1.7", TRT, TensorrtLog(frozenset()))


class Cache:
    """A runtime cache that takes what another one gave."""

    def __init__(self):
        self.blob = b""

    def deserialize(self, blob):
        good = blob.startswith(b"kernels")
        self.blob = blob if good else self.blob
        return good

    def serialize(self):
        return self.blob


class Engine:
    """Makes configurations, and contexts that keep theirs; `holds` is a strategy that wins."""

    def __init__(self, holds=None):
        self.holds = holds
        self.caches = []

    def create_runtime_config(self):
        return NAMES(
            set_execution_context_allocation_strategy=lambda _: None,
            create_runtime_cache=Cache,
            set_runtime_cache=self.caches.append,
        )

    def create_execution_context(self, config):
        if self.holds is not None:
            config.dynamic_shapes_kernel_specialization_strategy = self.holds
        return NAMES(get_runtime_config=lambda: config)


@pytest.mark.parametrize(
    ("dimensions", "strategy"),
    [
        ({"rows", "cols", "tiles"}, "eager"),
        (set(), "eager"),
        ({"boxes", "rows"}, "lazy"),
        ({"mask_tracks"}, "lazy"),
    ],
)
def test_kernels_are_compiled_for_the_shapes_and_never_the_fallback(tmp_path, dimensions, strategy):
    kernels = KernelCache("ab", frozenset(dimensions), tmp_path)
    context = LIBRARY.create_context(Engine(), kernels)
    assert LIBRARY.strategies_of(context) == {
        "cuda_graphs": "whole_graph_capture",
        "kernels": strategy,
    }


def test_the_strategy_that_really_holds_is_told(tmp_path):
    engine = Engine(holds=TRT.DynamicShapesKernelSpecializationStrategy.NONE)
    context = LIBRARY.create_context(engine, KernelCache("ab", frozenset(), tmp_path))
    assert LIBRARY.strategies_of(context)["kernels"] == "none"


def test_kernels_are_kept_from_run_to_run_and_shared_by_contexts(tmp_path):
    first, engine = KernelCache("ab", frozenset(), tmp_path), Engine()
    for _ in range(3):
        LIBRARY.create_context(engine, first)
    assert len({id(cache) for cache in engine.caches}) == 1
    engine.caches[0].blob = b"kernels of a run"
    first.save()
    assert [path.name for path in tmp_path.iterdir()] == ["ab.kernels"]
    again, engine = KernelCache("ab", frozenset(), tmp_path), Engine()
    LIBRARY.create_context(engine, again)
    assert engine.caches[0].blob == b"kernels of a run"
    written = (tmp_path / "ab.kernels").stat().st_mtime_ns
    again.save()
    assert (tmp_path / "ab.kernels").stat().st_mtime_ns == written, "nothing new was compiled"
    assert (first.problem, again.problem) == (None, None)


def test_damaged_kernels_are_compiled_again_and_it_is_told(tmp_path):
    (tmp_path / "ab.kernels").write_bytes(b"half of")
    kernels, engine = KernelCache("ab", frozenset(), tmp_path), Engine()
    LIBRARY.create_context(engine, kernels)
    assert "is damaged or of another GPU or driver" in kernels.problem
    engine.caches[0].blob = b"kernels anew"
    kernels.save()
    assert (tmp_path / "ab.kernels").read_bytes() == b"kernels anew"


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    kernels, engine = KernelCache("ab", frozenset(), tmp_path / "file"), Engine()
    LIBRARY.create_context(engine, kernels)
    engine.caches[0].blob = b"kernels"
    kernels.save()
    assert "cannot be" in kernels.problem


def test_the_installed_variant_has_these_calls():
    pytest.importorskip("tensorrt_rtx_libs", reason="no tensorrt-rtx: extra 'tensorrt-rtx'")
    from unitrack_edge.runtime.inference.tensorrt.library import load_library

    trt = load_library("tensorrt-rtx").trt
    for name in ("create_runtime_cache", "set_runtime_cache"):
        assert hasattr(trt.IRuntimeConfig, name)
    assert hasattr(trt.IExecutionContext, "get_runtime_config")
    assert {"serialize", "deserialize"} <= set(dir(trt.IRuntimeCache))
    assert {"LAZY", "EAGER"} <= set(trt.DynamicShapesKernelSpecializationStrategy.__members__)
