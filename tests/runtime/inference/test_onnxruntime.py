"""Engines: what they take, what they give, and what they refuse, for plain and bound runs."""

import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from unitrack_edge.errors import BackendError, BundleError
from unitrack_edge.runtime.bundle.spec import GraphSpec, TensorSpec
from unitrack_edge.runtime.inference.base import DeviceArray, to_host
from unitrack_edge.runtime.inference.onnxruntime import (
    OnnxRuntimeEngine,
    OrtArray,
    available_cores,
    place_on_device,
)
from unitrack_edge.runtime.inference.providers import (
    ALLOW_VARIABLE,
    RECORD_ASSIGNMENT,
    check_assignment,
    cuda_options,
    make_cache_folder,
    tensorrt_options,
)
from unitrack_edge.runtime.inference.registry import open_backend
from unitrack_edge.runtime.inference.runner import GraphRunner
from unitrack_edge.runtime.inference.shaped import MOST, ShapedSessions

from ...support.models.tiny_bundle import mix, mix_error, mix_feeds, write_tiny_bundle
from ...support.tolerance import assert_within

onnxruntime = pytest.importorskip("onnxruntime", reason="no ONNX Runtime: extra 'cpu'")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("engines") / "tiny")


def open_mix(bundle, **options):
    spec = bundle.spec.graphs["mix"]
    return OnnxRuntimeEngine(bundle.path / spec.file, spec, **options)


def named(points, weights, offset):
    return {"points": points, "weights": weights, "offset": offset}


@pytest.mark.parametrize("bind", [False, True])
def test_a_graph_computes_what_it_says(bundle, bind):
    with open_mix(bundle, bind=bind) as engine:
        for seed, (rows, cols) in enumerate(((4, 2), (1, 7), (9, 1))):
            feeds = mix_feeds(rows, cols, seed)
            got = engine.run(named(*feeds))
            assert list(got) == ["mixed", "total"]
            wanted = zip(got.values(), mix(*feeds), mix_error(*feeds), strict=True)
            for value, expected, error in wanted:
                assert isinstance(value, DeviceArray if bind else np.ndarray)
                assert (tuple(value.shape), value.dtype) == (expected.shape, expected.dtype)
                assert_within(to_host(value), expected, error)


@pytest.mark.parametrize("bind", [False, True])
def test_outputs_belong_to_the_caller_and_feeds_are_only_read(bundle, bind):
    feeds = mix_feeds(seed=1)
    before = [feed.copy() for feed in feeds]
    with open_mix(bundle, bind=bind) as engine:
        first = engine.run(named(*feeds))
        kept = {name: np.array(to_host(value)) for name, value in first.items()}
        for seed in range(2, 8):
            engine.run(named(*mix_feeds(seed=seed)))
    for name, value in first.items():
        np.testing.assert_array_equal(to_host(value), kept[name])
    for feed, copy in zip(feeds, before, strict=True):
        np.testing.assert_array_equal(feed, copy)


def test_bound_runs_equal_plain_runs_and_their_outputs_can_be_fed_on(bundle):
    feeds = mix_feeds(rows=3, cols=3)
    with open_mix(bundle) as plain, open_mix(bundle, bind=True) as bound:
        first = plain.run(named(*feeds))
        kept = bound.run(named(*feeds))
        assert isinstance(kept["mixed"], OrtArray)
        expected = plain.run(named(first["mixed"], *feeds[1:]))
        # A handle, an array that is not contiguous, and a plain array in one run.
        weights = np.asfortranarray(feeds[1])
        again = bound.run(named(kept["mixed"], weights, feeds[2]))
        for name, value in expected.items():
            np.testing.assert_array_equal(to_host(again[name]), value)
        # What one backend keeps on its device, another takes from there.
        crossed = plain.run(named(kept["mixed"], *feeds[1:]))
        np.testing.assert_array_equal(crossed["mixed"], expected["mixed"])


def test_rows_of_an_output_can_be_fed_on_one_by_one(bundle):
    """A batch of features is taken apart where it was computed."""
    offset = mix_feeds()[2]
    with open_mix(bundle, bind=True) as engine:
        mixed = engine.run(named(*mix_feeds()))["mixed"]
        whole, rows = mixed.to_host(), mixed.rows()
        assert [row.shape for row in rows] == [(1, *mixed.shape[1:])] * mixed.shape[0]
        del mixed
        weights = np.array([[2.0, -3.0]], np.float32)
        for number, row in enumerate(rows):
            one = whole[number : number + 1]
            np.testing.assert_array_equal(row.to_host(), one)
            got = engine.run(named(row, weights, offset))
            np.testing.assert_array_equal(to_host(got["mixed"]), weights.T @ one)


def test_a_handle_outlives_its_engine(bundle):
    with open_mix(bundle, bind=True) as engine:
        kept = engine.run(named(*mix_feeds()))["mixed"]
    assert_within(to_host(kept), mix(*mix_feeds())[0], mix_error(*mix_feeds())[0])


POINTS, WEIGHTS, OFFSET = mix_feeds()
WRONG_FEEDS = {
    "missing": ((POINTS, OFFSET), "got 2 inputs, expected ['points', 'weights', 'offset']"),
    "extra": ((POINTS, WEIGHTS, OFFSET, OFFSET), "got 4 inputs"),
    "dtype": (
        (POINTS.astype(np.float64), WEIGHTS, OFFSET),
        "float64 (4, 3), expected float32",
    ),
    "rank": ((POINTS[None], WEIGHTS, OFFSET), "float32 (1, 4, 3), expected float32 (rows, 3)"),
    "fixed size": ((POINTS[:, :2], WEIGHTS, OFFSET), "(4, 2), expected float32 (rows, 3)"),
    "two sizes of one name": (
        (POINTS, WEIGHTS[:3], OFFSET),
        "input weights: got float32 (3, 2), expected float32 (rows, cols) with {'rows': 4}",
    ),
    "integer for float": ((POINTS, WEIGHTS, OFFSET.astype(np.int32)), "int32 (1,), expected"),
    "two offsets": ((POINTS, WEIGHTS, np.arange(2)), "int64 (2,), expected int64 (1)"),
}


@pytest.mark.parametrize("what", WRONG_FEEDS)
def test_feeds_are_checked(bundle, what):
    feeds, message = WRONG_FEEDS[what]
    with GraphRunner(bundle, threads=1) as graphs:
        with pytest.raises(BackendError) as caught:
            graphs.run("mix", *feeds)
        assert message in str(caught.value)
        assert "graph mix" in str(caught.value)
        assert "expected" in str(caught.value)
        # The refusal has not harmed the engine.
        graphs.run("mix", POINTS, WEIGHTS, OFFSET)


def test_handles_are_checked_like_arrays(bundle):
    with open_mix(bundle, bind=True) as engine, GraphRunner(bundle, threads=1) as graphs:
        mixed = engine.run(named(*mix_feeds(rows=4, cols=2)))["mixed"]
        with pytest.raises(BackendError, match=r"input weights: got float32 \(4, 2\).*'rows': 2"):
            graphs.run("mix", mixed, WEIGHTS, OFFSET)


@pytest.mark.parametrize("bind", [False, True])
def test_a_closed_engine_does_not_run(bundle, bind):
    engine = open_mix(bundle, bind=bind)
    engine.close()
    engine.close()
    with pytest.raises(BackendError, match="graph mix was closed"):
        engine.run(named(POINTS, WEIGHTS, OFFSET))


@pytest.mark.parametrize("bind", [False, True])
def test_a_failure_inside_is_one_line_and_nothing_on_the_terminal(bundle, bind, capfd):
    spec = bundle.spec.graphs["pick"]
    with OnnxRuntimeEngine(bundle.path / spec.file, spec, bind=bind) as engine:
        with pytest.raises(BackendError, match="graph pick: ") as caught:
            engine.run({"points": POINTS, "chosen": np.array([99])})
        picked = engine.run({"points": POINTS, "chosen": np.array([2])})["picked"]
    np.testing.assert_array_equal(to_host(picked), POINTS[2:3])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"garbage", None], ids=["empty", "garbage", "cut off"])
def test_a_file_that_is_no_graph(bundle, tmp_path, content, capfd):
    path = tmp_path / "bad.onnx"
    whole = (bundle.path / "mix.onnx").read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(BackendError, match=r"bad\.onnx cannot be loaded") as caught:
        OnnxRuntimeEngine(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(BackendError, match=r"none\.onnx cannot be loaded"):
        OnnxRuntimeEngine(tmp_path / "none.onnx")


def test_a_foreign_model_describes_itself(bundle):
    known = bundle.spec.graphs["mix"]
    with OnnxRuntimeEngine(bundle.path / "mix.onnx") as engine:
        assert engine.spec.inputs == known.inputs
        assert engine.spec.outputs == known.outputs
        assert engine.backend == "CPUExecutionProvider"


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has CUDA",
)
@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
def test_an_absent_backend_is_an_error_and_never_replaced(bundle, monkeypatch):
    with pytest.raises(BackendError) as caught:
        open_mix(bundle, device="cuda")
    message = str(caught.value)
    for part in ("backend cuda", "CPUExecutionProvider", "expected CUDAExecutionProvider", "[gpu]"):
        assert part in message
    assert "\n" not in message
    # Nor where ONNX Runtime claims to have it and then quietly takes another one.
    present = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: present)
    with pytest.raises(BackendError, match="CUDA"):
        open_mix(bundle, device="cuda")


def test_an_unknown_backend_names_those_there_are(bundle):
    with pytest.raises(BackendError, match="unknown backend 'tpu': choose one of cpu, cuda"):
        GraphRunner(bundle, "tpu")
    with pytest.raises(BackendError, match="unknown backend 'tpu': choose one of cpu, cuda"):
        open_backend("tpu")


def test_threads_default_to_the_cores_of_this_process(bundle, monkeypatch):
    asked = []
    options = onnxruntime.SessionOptions

    class Recorded(options):
        def __setattr__(self, name, value):
            asked.append((name, value))
            super().__setattr__(name, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Recorded)
    for threads, expected in ((0, available_cores()), (3, 3)):
        asked.clear()
        open_mix(bundle, threads=threads).close()
        assert ("intra_op_num_threads", expected) in asked
        # Or every number of objects that ever came would stay in memory.
        assert ("enable_mem_pattern", False) in asked


def test_a_runner_loads_each_graph_once_and_keeps_the_order_of_tensors(bundle):
    with GraphRunner(bundle, threads=1) as graphs:
        assert graphs.backends_in_use == {}
        mixed, total = graphs.run("mix", *mix_feeds())
        for got, want, error in zip(
            (mixed, total), mix(*mix_feeds()), mix_error(*mix_feeds()), strict=True
        ):
            assert_within(got, want, error)
        engine = graphs.engine("mix")
        (picked,) = graphs.run("pick", POINTS, np.array([1, 1]))
        np.testing.assert_array_equal(picked, POINTS[[1, 1]])
        assert graphs.engine("mix") is engine
        cpu = "CPUExecutionProvider"
        assert graphs.backends_in_use == {"mix": cpu, "pick": cpu}
        with pytest.raises(BackendError, match=r"graph mix: got 2 inputs, expected \['points', "):
            graphs.run("mix", POINTS, WEIGHTS)
        with pytest.raises(BundleError, match=r"has no graph rsm \(it has mix, pick\).*--force"):
            graphs.run("rsm", POINTS)
    with pytest.raises(BackendError, match="closed"):
        engine.run(named(POINTS, WEIGHTS, OFFSET))


def test_what_was_placed_is_fed_without_another_copy(bundle):
    held = place_on_device(POINTS, "cpu")
    assert isinstance(held, OrtArray)
    assert place_on_device(held, "cpu") is held
    np.testing.assert_array_equal(to_host(held), POINTS)
    with open_mix(bundle, bind=True) as engine:
        got = engine.run(named(held, np.asfortranarray(WEIGHTS), OFFSET))
    feeds = POINTS, WEIGHTS, OFFSET
    assert_within(to_host(got["mixed"]), mix(*feeds)[0], mix_error(*feeds)[0])


def test_shapes_that_come_again_get_sessions_of_their_own(bundle, monkeypatch):
    made = []
    original = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda *a, **kw: made.append(original(*a, **kw)) or made[-1],
    )
    shapes = ((4, 2), (1, 7), (4, 2), (1, 7), (4, 2), (9, 1), (1, 7))
    with open_mix(bundle) as plain, open_mix(bundle, specialise=True, bind=True) as engine:
        for seed, shape in enumerate(shapes):
            feeds = named(*mix_feeds(*shape, seed))
            for name, value in plain.run(feeds).items():
                np.testing.assert_array_equal(to_host(engine.run(feeds)[name]), value)
    # Of all shapes; then one each for those that came a second time.
    taken = [[tensor.shape for tensor in session.get_inputs()] for session in made[1:]]
    assert [shapes[:2] for shapes in taken] == [
        [["rows", 3], ["rows", "cols"]],
        [[4, 3], [4, 2]],
        [[1, 3], [1, 7]],
        [[9, 3], [9, 1]],
    ]


def test_few_sessions_of_a_graph_are_kept(bundle):
    opened = []
    sessions = ShapedSessions(
        bundle.spec.graphs["pick"],
        "general",
        lambda sizes: opened.append(sizes) or str(sizes),
    )

    def of(rows):
        return sessions.of({"points": np.zeros((rows, 3)), "chosen": np.zeros(2)})

    assert [of(rows) for rows in range(1, MOST + 2)] == ["general"] * (MOST + 1)
    for rows in range(1, MOST + 1):
        assert of(rows) == str({"rows": rows, "chosen": 2})
    of(1)
    of(MOST + 1)
    # The one that was not used for longest had to go, and comes back when it is needed.
    assert [of(1), of(2)] == [str({"rows": 1, "chosen": 2}), str({"rows": 2, "chosen": 2})]
    assert [sizes["rows"] for sizes in opened] == [*range(1, MOST + 2), 2]


def test_a_graph_of_one_shape_has_one_session(bundle):
    spec = replace(bundle.spec.graphs["pick"], inputs=(TensorSpec("points", "float32", (2, 3)),))
    sessions = ShapedSessions(spec, "general", lambda _: pytest.fail("opened another"))
    assert {sessions.of({"points": np.zeros((2, 3))}) for _ in range(3)} == {"general"}


def test_on_the_cpu_an_array_is_where_it_belongs(bundle):
    with GraphRunner(bundle) as graphs:
        assert graphs.place(POINTS) is POINTS
        assert graphs.limit("mix", 0, 0) is None


def profiled_graph(islands=()):
    dynamic = TensorSpec("points", "float16", ("n", 3), (1, 3), (32, 3), (64, 3))
    masks = TensorSpec("mask", "float32", ("n", "m"), (1, 1), (32, 8), (64, 16))
    fixed = TensorSpec("scale", "float32", (1,))
    return GraphSpec("g", "g.onnx", "ab" * 32, 1, (dynamic, fixed, masks), (), fp32_nodes=islands)


def test_onnx_runtimes_tensorrt_is_told_shapes_precision_and_where_to_keep(monkeypatch, tmp_path):
    monkeypatch.setenv("UNITRACK_CACHE", str(tmp_path))
    options = tensorrt_options(profiled_graph(), half=True)
    assert options["trt_profile_min_shapes"] == "points:1x3,mask:1x1"
    assert options["trt_profile_opt_shapes"] == "points:32x3,mask:32x8"
    assert options["trt_profile_max_shapes"] == "points:64x3,mask:64x16"
    assert options["trt_fp16_enable"] == "True"
    assert options["trt_engine_cache_enable"] == "True"
    folder = tmp_path / "ort-tensorrt" / ("ab" * 8)
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(folder)
    make_cache_folder(options)
    assert folder.is_dir()
    # Weak typing would take products into float16 that must stay out of it.
    islands = tensorrt_options(profiled_graph(("/MatMul",)), half=True)
    assert islands["trt_fp16_enable"] == "False"
    assert tensorrt_options(profiled_graph(), half=False)["trt_fp16_enable"] == "False"
    # A foreign model has no profile of ours.
    assert "trt_profile_min_shapes" not in tensorrt_options(None, half=False)


def test_the_cuda_provider_is_told_what_keeps_results_and_memory(monkeypatch):
    """The names are those of ONNX Runtime's documentation of its CUDA provider."""
    options = cuda_options()
    assert options["use_tf32"] == "0"
    assert options["prefer_nhwc"] == "1"
    assert options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert options["arena_extend_strategy"] == "kSameAsRequested"
    assert 1 << 30 <= int(options["gpu_mem_limit"]) <= 8 << 30
    given = []
    present = lambda: ["CUDAExecutionProvider", "TensorrtExecutionProvider"]  # noqa: E731
    monkeypatch.setattr(onnxruntime, "get_available_providers", present)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **kw: given.append(kw) or 1 / 0)
    monkeypatch.setenv("UNITRACK_CACHE", "/nonexistent/never/written")
    with pytest.raises(ZeroDivisionError):
        OnnxRuntimeEngine("g.onnx", profiled_graph(), device="cuda")
    assert given[0]["providers"] == [("CUDAExecutionProvider", options)]
    assert given[0]["enable_fallback"] is False


def assigned(path):
    """A session of the CPU that keeps what it was given, as those of a GPU do."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry(RECORD_ASSIGNMENT, "1")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_nodes_that_are_left_to_the_cpu_are_an_error_that_names_them(bundle, monkeypatch):
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)
    path = bundle.path / bundle.spec.graphs["mix"].file
    session = assigned(path)
    if not hasattr(session, "get_provider_graph_assignment_info"):
        pytest.skip("this ONNX Runtime does not say which provider a node was given to")
    said = r"leaves .*MatMul.* to the CPU.*--backend cpu"
    with pytest.raises(BackendError, match=said) as caught:
        check_assignment(session, path)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(ALLOW_VARIABLE, "1")
    assert any(node.startswith("MatMul") for node in check_assignment(session, path))


class Assigned:
    """A session of which some nodes are on the CPU."""

    def __init__(self, **operators):
        part = lambda name, kinds: SimpleNamespace(  # noqa: E731
            ep_name=name,
            get_nodes=lambda: [SimpleNamespace(op_type=k, name=f"/{k}_1") for k in kinds],
        )
        self._parts = [part(f"{name}ExecutionProvider", kinds) for name, kinds in operators.items()]

    def get_providers(self):
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self):
        return self._parts


def test_shapes_may_be_computed_on_the_host():
    shapes = Assigned(CUDA=["Conv", "Gather"], CPU=["Shape", "Gather", "Concat", "Unsqueeze"])
    assert check_assignment(shapes, "g.onnx") == ()
    left = ["Shape", "Einsum", "TopK", "GridSample", "NonMaxSuppression"]
    many = Assigned(CUDA=["Conv"], CPU=left)
    with pytest.raises(BackendError, match=r"Einsum /Einsum_1, TopK .* and 1 more to the CPU"):
        check_assignment(many, "g.onnx")


def test_a_cache_that_cannot_be_written_names_the_variable(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("UNITRACK_CACHE", str(tmp_path / "file"))
    with pytest.raises(BackendError, match="set UNITRACK_CACHE"):
        make_cache_folder(tensorrt_options(profiled_graph(), half=False))


@pytest.mark.skipif(
    "TensorrtExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has TensorRT",
)
def test_the_tensorrt_provider_is_an_error_where_it_is_absent(bundle):
    with GraphRunner(bundle, "ort-tensorrt") as graphs:
        with pytest.raises(BackendError) as caught:
            graphs.run("mix", *mix_feeds())
        for part in ("backend ort-tensorrt", "expected TensorrtExecutionProvider", "[gpu]"):
            assert part in str(caught.value)


def test_nothing_is_reported_to_anybody(bundle, tmp_path):
    """ONNX Runtime's telemetry leaves an identity of the machine in the home folder; ours none."""
    code = (
        "import {package} onnxruntime, sys; "
        "onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    )
    left = {}
    for package in ("unitrack_edge,", ""):
        home = tmp_path / f"home{len(package)}"
        home.mkdir()
        environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        subprocess.run(
            [sys.executable, "-c", code.format(package=package), str(bundle.path / "mix.onnx")],
            env={**environment, "HOME": str(home)},
            check=True,
        )
        left[package] = list(home.rglob("*"))
    assert left["unitrack_edge,"] == []
    if not left[""]:
        pytest.skip("this ONNX Runtime reports nothing by itself")
