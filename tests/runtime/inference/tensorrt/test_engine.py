"""TensorRT engines: what they compute, whose outputs are, recordings, shapes, refusals.

Each test runs on a fake TensorRT over a fake device, which computes as late as it may, and again on
real ones where there is a GPU.
"""

from __future__ import annotations

import gc
import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.export.graphs.profiles import profiled
from unitrack_edge.runtime.bundle.bundle import Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import EngineSpec
from unitrack_edge.runtime.inference import registry as backends
from unitrack_edge.runtime.inference.base import to_host
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.inference.tensorrt import engine as tensorrt_engine
from unitrack_edge.runtime.inference.tensorrt import library as tensorrt_library
from unitrack_edge.runtime.inference.tensorrt.compatibility import platform_name
from unitrack_edge.runtime.inference.tensorrt.cuda import find_gpu
from unitrack_edge.runtime.inference.tensorrt.engine import READY
from unitrack_edge.runtime.inference.tensorrt.library import VARIANTS, load_library
from unitrack_edge.runtime.inference.tensorrt.memory import CudaArray

from ....support.gpu.fake_cuda import FakeCuda
from ....support.gpu.fake_tensorrt import VERSION, FakeTensorrt, engine_spec
from ....support.models.tiny_bundle import mix, mix_feeds, write_tiny_bundle

RANGES = {"rows": (1, 4, 16), "cols": (1, 2, 16), "chosen": (1, 2, 16)}
NAMES = ["points", "weights", "offset"]


def named(feeds):
    return dict(zip(NAMES, feeds, strict=True))


@dataclass
class Setup:
    """A bundle with engines of `mix` and `pick`, and what runs them; `trt` and `cuda` are fakes."""

    bundle: Bundle
    variant: str
    trt: Any = None
    cuda: Any = None

    def runner(self) -> GraphRunner:
        return GraphRunner(self.bundle, self.variant)


def with_engines(bundle, specs):
    return Bundle(bundle.path, replace(bundle.spec, engines=tuple(specs)))


def fake_setup(folder, monkeypatch):
    bundle = write_tiny_bundle(folder)
    specs = []
    (folder / "engines").mkdir()
    for graph in bundle.spec.graphs.values():
        plan = json.dumps({"graph": graph.name}).encode()
        path = folder / "engines" / f"{graph.name}.engine"
        path.write_bytes(plan)
        inputs = tuple(profiled(t, RANGES) for t in graph.inputs)
        specs.append(engine_spec(graph, inputs, plan=plan, sha256=sha256_of(path)))
    bundle = with_engines(bundle, specs)
    cuda = FakeCuda()
    trt = FakeTensorrt(cuda, bundle, {"mix": mix, "pick": lambda p, c: (p[c],)})
    monkeypatch.setattr(tensorrt_library, "load_library", lambda _variant: trt.library())
    monkeypatch.setattr("unitrack_edge.runtime.inference.tensorrt.cuda.CudaRuntime", lambda: cuda)
    return Setup(bundle, "tensorrt", trt, cuda)


def real_setup(folder):
    gpu = find_gpu()
    if gpu is None:
        pytest.skip("no GPU for the same tests on a real one")
    for variant in VARIANTS:
        try:
            library = load_library(variant)
        except BackendError:
            continue
        return Setup(real_engines(write_tiny_bundle(folder), library, gpu), variant)
    pytest.skip(f"none of {VARIANTS} is installed")


def real_engines(bundle, library, gpu):
    from unitrack_edge.export.tensorrt.builder import PORTABLE, BuildOptions, build_engine

    (bundle.path / "engines").mkdir()
    target = PORTABLE if library.row.builds_elsewhere else gpu.target
    specs = []
    for graph in bundle.spec.graphs.values():
        path = bundle.path / "engines" / f"{graph.name}.engine"
        source = bundle.path / graph.file
        made = build_engine(library, source, graph, "fp32", RANGES, BuildOptions(target))
        path.write_bytes(made.plan)
        specs.append(
            EngineSpec(
                graph=graph.name,
                file=f"engines/{graph.name}.engine",
                sha256=sha256_of(path),
                size_bytes=len(made.plan),
                onnx_sha256=graph.sha256,
                variant=library.variant,
                version=library.version,
                target=target,
                platform=platform_name(),
                build_s=made.build_s,
                inputs=made.inputs,
                products=made.products,
            )
        )
    return with_engines(bundle, specs)


@pytest.fixture(params=["fake", "real"])
def setup(request, tmp_path, monkeypatch):
    if request.param == "fake":
        return fake_setup(tmp_path / "tiny", monkeypatch)
    return real_setup(tmp_path / "tiny")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    return fake_setup(tmp_path / "tiny", monkeypatch)


def check(got, feeds):
    for value, expected in zip(got.values(), mix(*feeds), strict=True):
        assert isinstance(value, CudaArray)
        host = to_host(value)
        assert host.dtype == expected.dtype
        np.testing.assert_allclose(host, expected, rtol=1e-4, atol=1e-4)


def test_an_engine_computes_what_the_graph_says(setup):
    with setup.runner() as graphs:
        engine = graphs.engine("mix")
        for seed, (rows, cols) in enumerate(((4, 2), (1, 7), (9, 1), (4, 2), (16, 16))):
            feeds = mix_feeds(rows, cols, seed)
            got = engine.run(named(feeds))
            assert list(got) == ["mixed", "total"]
            check(got, feeds)
        assert graphs.backends_in_use["mix"].startswith(setup.variant)


def test_outputs_belong_to_the_caller_and_feeds_are_only_read(setup):
    """Neither later runs nor what becomes of the feeds may reach an output that is still held."""
    with setup.runner() as graphs:
        engine = graphs.engine("mix")
        kept = []
        for seed in range(12):
            feeds = mix_feeds(seed=seed)
            copies = [feed.copy() for feed in feeds]
            kept.append((copies, engine.run(named(feeds))))
            for feed, copy in zip(feeds, copies, strict=True):
                np.testing.assert_array_equal(feed, copy)
                feed[:] = 0
            del feeds
            gc.collect()
        for feeds, got in kept:
            check(got, feeds)


def test_outputs_can_be_fed_on_without_leaving_the_device(setup):
    with setup.runner() as graphs:
        feeds = mix_feeds(rows=3, cols=3)
        first = graphs.run("mix", *feeds)
        copies = None if setup.cuda is None else setup.cuda.calls.count("copy_in")
        (picked,) = graphs.run("pick", first[0], graphs.place(np.array([2, 0, 2])))
        if copies is not None:
            assert setup.cuda.calls.count("copy_in") == copies + 1
            assert "copy_out" not in setup.cuda.calls
        expected = mix(*feeds)[0][[2, 0, 2]]
        np.testing.assert_allclose(to_host(picked), expected, rtol=1e-4, atol=1e-4)


def test_a_video_of_recorded_launches_is_as_one_of_ordinary_ones(setup):
    """State goes from frame to frame, memory is recycled, shapes change now and then."""
    rng = np.random.default_rng(3)
    with setup.runner() as graphs:
        state = graphs.place(rng.standard_normal((3, 3)).astype(np.float32))
        expected = to_host(state)
        offset = graphs.place(np.array([1]))
        for frame in range(40):
            count = 3 if frame % 11 else 5
            rows = rng.integers(0, 3, count)
            weights = np.linalg.qr(rng.standard_normal((count, 3)))[0].astype(np.float32)
            (picked,) = graphs.run("pick", state, rows)
            state, total = graphs.run("mix", picked, weights, offset)
            taken = expected[rows]
            expected, sums = mix(taken, weights, np.array([1]))
            if frame % 3 == 0:
                np.testing.assert_allclose(to_host(total), sums, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(to_host(state), expected, rtol=1e-3, atol=1e-3)
        engine = graphs.engine("mix")
        assert engine.recording_problem is None
        report = graphs.reports["mix"]
        assert report["recorded_launches"] == engine.recorded
        assert report["products"] == engine.products
        if not setup.variant.endswith("rtx"):
            assert engine.recorded >= 1


def test_a_frame_like_the_last_is_launched_as_recorded(fake, monkeypatch):
    monkeypatch.setattr(tensorrt_engine, "_APART", 0)
    with fake.runner() as graphs:
        for seed in range(6):
            feeds = mix_feeds(seed=seed)
            got = graphs.engine("mix").run(named(feeds))
            check(got, feeds)
            del got
        assert fake.cuda.calls.count("begin_capture") == graphs.engine("mix").recorded == 1
        assert fake.cuda.calls.count("launch") == 4
        # Another shape is another recording; the first one still fits.
        for _ in range(3):
            check(graphs.engine("mix").run(named(mix_feeds(2, 2))), mix_feeds(2, 2))
        check(graphs.engine("mix").run(named(mix_feeds())), mix_feeds())
        assert fake.cuda.calls.count("begin_capture") == 2
    fake.cuda.check_all_given_back()


def test_contexts_are_made_at_the_start_and_not_in_the_first_frames(fake):
    """A video whose numbers of objects and addresses keep changing: new recordings all along."""
    with fake.runner() as graphs:
        for graph in ("mix", "pick"):
            graphs.engine(graph)
        graphs.warm_up()
        engine = graphs.engine("mix")
        before = len(fake.trt.contexts)
        made = []
        for number in range(READY + 3):
            for _ in range(2):
                check(engine.run(named(mix_feeds(cols=number + 1))), mix_feeds(cols=number + 1))
            made.append(len(fake.trt.contexts) - before)
        assert made[:READY] == [0] * READY, "the first recordings take what is ready"
        assert made[-1] <= 1, "then contexts are made far apart"
        assert engine.recorded >= READY
        # Memory of inner values that moves does not reach those that are ready by surprise.
        graphs.place(np.zeros(1)).memory.scratch(1 << 20)
        for seed in range(4):
            check(engine.run(named(mix_feeds(seed=seed))), mix_feeds(seed=seed))
    fake.cuda.check_all_given_back()


def test_the_scratch_memory_of_a_context_that_was_ready_is_todays(fake):
    with fake.runner() as graphs:
        engine = graphs.engine("mix")
        graphs.warm_up()
        graphs.place(np.zeros(1)).memory.scratch(1 << 20)
        for seed in range(5):
            check(engine.run(named(mix_feeds(seed=seed))), mix_feeds(seed=seed))
        assert engine.recorded == 1


def test_what_cannot_be_recorded_runs_all_the_same_and_says_so(fake):
    fake.trt.fails_when_recorded = True
    with fake.runner() as graphs:
        engine = graphs.engine("mix")
        for seed in range(5):
            check(engine.run(named(mix_feeds(seed=seed))), mix_feeds(seed=seed))
        assert "cannot be recorded" in engine.recording_problem
        assert engine.recorded == 0
        assert fake.cuda.calls.count("begin_capture") == 1
    fake.cuda.check_all_given_back()


def test_nothing_waits_before_a_result_is_read(fake):
    with fake.runner() as graphs:
        engine = graphs.engine("mix")
        fake.cuda.calls.clear()
        got = engine.run(named(mix_feeds()))
        again = engine.run({**named(mix_feeds(cols=3)), "points": mix_feeds()[0]})
        assert "synchronize" not in fake.cuda.calls
        to_host(got["total"])
        assert fake.cuda.calls.count("synchronize") == 1
        del again


def test_a_handle_outlives_engine_and_runner(setup):
    with setup.runner() as graphs:
        kept = graphs.run("mix", *mix_feeds())[0]
    np.testing.assert_allclose(to_host(kept), mix(*mix_feeds())[0], rtol=1e-4)
    del kept, graphs
    gc.collect()
    if setup.cuda is not None:
        setup.cuda.check_all_given_back()


def test_scratch_memory_that_moves_leaves_no_recording_behind(fake, monkeypatch):
    """A later engine wants more: what was recorded with the old one is forgotten."""
    monkeypatch.setattr(tensorrt_engine, "_APART", 0)
    with fake.runner() as graphs:
        engine = graphs.engine("mix")
        for seed in range(4):
            check(engine.run(named(mix_feeds(seed=seed))), mix_feeds(seed=seed))
        assert engine.recorded == 1
        graphs.place(np.zeros(1)).memory.scratch(1 << 20)
        for seed in range(4):
            check(engine.run(named(mix_feeds(seed=seed))), mix_feeds(seed=seed))
        assert engine.recorded == 1
        assert fake.cuda.calls.count("begin_capture") == 2


def test_a_closed_engine_does_not_run(setup):
    with setup.runner() as graphs:
        engine = graphs.engine("mix")
    engine.close()
    with pytest.raises(BackendError, match="graph mix was closed"):
        engine.run(named(mix_feeds()))


def test_feeds_are_checked_like_everywhere(setup):
    points, weights, offset = mix_feeds()
    with setup.runner() as graphs:
        with pytest.raises(BackendError, match=r"input points: got float64 \(4, 3\), expected"):
            graphs.run("mix", points.astype(np.float64), weights, offset)
        held = graphs.place(weights[:3])
        with pytest.raises(BackendError, match=r"input weights: got float32 \(3, 2\).*'rows': 4"):
            graphs.run("mix", points, held, offset)
        feeds = points, weights, offset
        check(graphs.engine("mix").run(named(feeds)), feeds)


@pytest.mark.parametrize("rows", [0, 17, 4000])
def test_a_shape_outside_the_profile_names_the_profile(setup, rows):
    with setup.runner() as graphs:
        with pytest.raises(BackendError) as caught:
            graphs.run("mix", *mix_feeds(rows=rows))
        said = str(caught.value)
        assert f"input points: got shape ({rows}, 3), the engine takes (1, 3) to (16, 3)" in said
        assert f"cli build {setup.bundle.path} --engine {setup.variant} --size HxW" in said
        assert "\n" not in said
        graphs.run("mix", *mix_feeds())


def test_limits_are_those_of_the_engine(setup):
    with setup.runner() as graphs:
        assert graphs.limit("mix", 0, 0) == 16
        assert graphs.limit("mix", 0, 1) == 3
        assert graphs.limit("mix", 2, 0) is None
    with GraphRunner(setup.bundle) as graphs:
        assert graphs.limit("mix", 0, 0) is None
        array = np.arange(3)
        assert graphs.place(array) is array


def test_a_failure_while_running_is_one_line_with_tensorrts_reason(fake):
    with fake.runner() as graphs:
        engine = graphs.engine("mix")
        fake.trt.fails = True
        with pytest.raises(BackendError) as caught:
            to_host(engine.run(named(mix_feeds()))["total"])
        assert "something broke inside" in str(caught.value)
        assert "--force" in str(caught.value)
        fake.trt.fails = False
        check(engine.run(named(mix_feeds())), mix_feeds())


def test_a_plan_that_tensorrt_refuses(fake):
    graph = fake.bundle.spec.graphs["mix"]
    path = fake.bundle.path / "engines" / "mix.engine"
    path.write_bytes(b"garbage")
    changed = replace(fake.bundle.spec.engines[0], sha256=sha256_of(path), size_bytes=7)
    bundle = with_engines(fake.bundle, [changed])
    with GraphRunner(bundle, "tensorrt") as graphs:
        with pytest.raises(BackendError) as caught:
            graphs.engine("mix")
        said = str(caught.value)
        assert f"graph {graph.name} on tensorrt {VERSION} sm86: TensorRT refuses the engine" in said
        assert "Magic tag mismatch" in said
        assert f"cli build {bundle.path} --engine tensorrt --force" in said
        assert "\n" not in said


def test_an_engine_of_other_tensors(fake):
    fake.trt.locations["offset"] = "host"
    with fake.runner() as graphs, pytest.raises(BackendError, match="offset is wanted on the host"):
        graphs.engine("mix")
    fake.cuda.check_all_given_back()


def test_a_layer_of_another_precision_closes_the_engine(fake):
    half = with_engines(fake.bundle, fake.bundle.spec.engines)
    half = Bundle(half.path, replace(half.spec, precision="fp16"))
    single = {
        "Name": "/MatMul",
        "LayerType": "gemm",
        "Inputs": [{"Format/Datatype": "Float"}, {"Format/Datatype": "Float"}],
    }
    fake.trt.layers = {"Layers": [single]}
    with GraphRunner(half, "tensorrt") as graphs:
        with pytest.raises(BackendError, match=r"gemm /MatMul in float32, expected float16"):
            graphs.engine("mix")
        fake.trt.layers = {"Layers": [single | {"Inputs": [{"Format/Datatype": "Half"}] * 2}]}
        engine = graphs.engine("mix")
        assert engine.products == {"float16": 1}
    fake.cuda.check_all_given_back()


def test_every_backend_has_a_row(tmp_path):
    names = ["cpu", "cuda", "ort-tensorrt", "tensorrt", "tensorrt-rtx"]
    assert list(backends.BACKENDS) == names
    for row in backends.BACKENDS.values():
        assert row.onnx_device in ("cpu", "cuda")
        assert row.variant in (None, *VARIANTS)
    bundle = write_tiny_bundle(tmp_path / "tiny")
    for name in VARIANTS:
        if find_gpu() is not None:
            break
        with pytest.raises(BackendError, match=r"not installed|no CUDA GPU"):
            GraphRunner(bundle, name).engine("mix")
