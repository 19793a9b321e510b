"""Engines: every graph really built without a GPU, precision proven, nothing half done."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from unitrack_edge.errors import BuildError
from unitrack_edge.export.graphs.profiles import dimension_ranges
from unitrack_edge.export.tensorrt import builder as engine_builder
from unitrack_edge.export.tensorrt import writer as engine_writer
from unitrack_edge.export.tensorrt.builder import BuildOptions, build_engine
from unitrack_edge.export.tensorrt.network import check_precision
from unitrack_edge.export.tensorrt.writer import EngineRequest, build_engines
from unitrack_edge.runtime.bundle.bundle import SPEC_FILE, Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import GraphSpec
from unitrack_edge.runtime.inference.tensorrt.cuda import GpuInfo, find_gpu

from ...support.command_line import run_cli
from ...support.models.tiny_bundle import write_tiny_bundle

pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx is not installed: extra 'dev'")

from unitrack_edge.runtime.inference.tensorrt.library import load_library

TARGETS = ("sm86", "sm89", "sm120")
RTX = "tensorrt-rtx"

no_gpu = pytest.mark.skipif(find_gpu() is not None, reason="a GPU is at hand")


@pytest.fixture(scope="module")
def library():
    return load_library(RTX)


def copy_of(bundle, folder):
    """A bundle of its own, for the engines that are built into it."""
    shutil.copytree(bundle.path, folder)
    spec = json.dumps(bundle.spec.to_json())
    (folder / SPEC_FILE).write_text(spec, encoding="utf-8")
    return Bundle.load(folder)


def build(bundle, *targets, **options):
    return build_engines(bundle, EngineRequest(RTX, targets, **options))


# The bundles of the project, whole.


@pytest.mark.parametrize(
    "which", ["resnet_bundle", "lite_bundle", "half_resnet_backbone", "half_lite"]
)
def test_every_graph_is_built_for_every_target(which, request, tmp_path):
    bundle = copy_of(request.getfixturevalue(which), tmp_path / "bundle")
    if which == "resnet_bundle":
        # Its other graphs differ from those of lite_bundle in the number of channels alone.
        alone = {"backbone": bundle.spec.graphs["backbone"]}
        bundle = Bundle(bundle.path, replace(bundle.spec, graphs=alone))
    engines = build(bundle, *TARGETS)
    assert [(e.target, e.graph) for e in engines] == [
        (target, graph) for target in TARGETS for graph in bundle.spec.graphs
    ]
    # What a later command reads is the same, and every file is what it says.
    assert Bundle.load(bundle.path).spec.engines == engines
    for engine in engines:
        path = bundle.path / engine.file
        assert (path.stat().st_size, sha256_of(path)) == (engine.size_bytes, engine.sha256)
        assert engine.onnx_sha256 == bundle.spec.graphs[engine.graph].sha256
        promised = "float32" if bundle.spec.precision == "fp32" else "float16"
        islands = {"float32": len(bundle.spec.graphs[engine.graph].fp32_nodes)}
        if promised == "float16":
            assert engine.products.get("float32", 0) == islands["float32"], engine.graph
        assert set(engine.products) <= {promised, "float32"}
    counts = next(e.products for e in engines if e.graph == "backbone")
    convolutions = {"resnet18": 15, "efficientnet-lite0": 1 + 1 * 2 + 10 * 3}[bundle.spec.arch]
    assert counts == {promised: convolutions}


def test_engines_of_different_precision_differ_in_size(half_lite, lite_bundle, tmp_path):
    full = build(copy_of(lite_bundle, tmp_path / "full"), "sm86", graphs=("backbone",))
    half = build(copy_of(half_lite, tmp_path / "half"), "sm86", graphs=("backbone",))
    assert half[0].size_bytes < 0.75 * full[0].size_bytes


def test_recent_frames_are_worked_on_in_the_memory_of_one(library, lite_bundle, monkeypatch):
    """A board has not six times as much; the order of frames must be one that engines keep."""
    said, log = [], type(library.logger).log

    def listen(self, severity, msg):
        said.append(msg)
        log(self, severity, msg)

    monkeypatch.setattr(type(library.logger), "log", listen)
    needed = []
    for name in ("propagate_local", "propagate_recent"):
        spec = lite_bundle.spec.graphs[name]
        ranges = dimension_ranges((), lite_bundle.spec.stride)
        options = BuildOptions("sm86")
        build_engine(library, lite_bundle.path / spec.file, spec, "fp32", ranges, options)
        line = next(msg for msg in reversed(said) if "Total Activation Memory" in msg)
        needed.append(int(line.split(":")[1].split()[0]))
    assert needed[0] > 100 << 20
    assert needed[1] < 1.5 * needed[0]


# Precision.


def test_a_float32_graph_in_a_float16_bundle_is_refused(half_lite, lite_bundle, tmp_path):
    bundle = copy_of(half_lite, tmp_path / "bundle")
    shutil.copy(lite_bundle.path / "backbone.onnx", bundle.path / "backbone.onnx")
    planted = replace(
        bundle.spec.graphs["backbone"],
        sha256=sha256_of(bundle.path / "backbone.onnx"),
        size_bytes=(bundle.path / "backbone.onnx").stat().st_size,
    )
    spec = replace(bundle.spec, graphs={**bundle.spec.graphs, "backbone": planted})
    (bundle.path / SPEC_FILE).write_text(json.dumps(spec.to_json()), encoding="utf-8")
    with pytest.raises(BuildError, match=r"convolution .* computes in float32, expected float16"):
        build(Bundle.load(bundle.path), "sm86")
    assert not (bundle.path / "engines").exists()
    assert Bundle.load(bundle.path).spec.engines == ()


def conv_chain(onnx, *dtypes, quantised=()):
    """Convolutions `conv0`, `conv1` … of these types, cast from one to the next."""
    make = onnx.helper
    nodes, weights, name = [], [], "x"
    for i, dtype in enumerate(dtypes):
        code = make.np_dtype_to_tensor_dtype(np.dtype(dtype))
        weights.append(onnx.numpy_helper.from_array(np.ones((2, 2, 1, 1), dtype), f"w{i}"))
        nodes.append(make.make_node("Cast", [name], [f"c{i}"], to=code))
        inputs = [f"c{i}", f"w{i}"]
        if i in quantised:
            one, zero = f"one{i}", f"zero{i}"
            weights.append(onnx.numpy_helper.from_array(np.array(1, dtype), one))
            weights.append(onnx.numpy_helper.from_array(np.array(0, np.int8), zero))
            for side, tensor in enumerate(inputs):
                q, d = f"q{i}_{side}", f"d{i}_{side}"
                nodes.append(make.make_node("QuantizeLinear", [tensor, one, zero], [q]))
                nodes.append(make.make_node("DequantizeLinear", [q, one, zero], [d]))
                inputs[side] = d
        nodes.append(make.make_node("Conv", inputs, [f"y{i}"], name=f"conv{i}"))
        name = f"y{i}"
    info = make.make_tensor_value_info
    first = info("x", onnx.TensorProto.FLOAT, [1, 2, 8, 8])
    last = info(name, make.np_dtype_to_tensor_dtype(np.dtype(dtypes[-1])), [1, 2, 8, 8])
    graph = make.make_graph(nodes, "chain", [first], [last], weights)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)


def parsed(library, tmp_path, model):
    onnx = pytest.importorskip("onnx")
    path = tmp_path / "chain.onnx"
    onnx.save(model, path)
    builder = library.trt.Builder(library.logger)
    return builder, engine_builder.parse_network(library, builder, path)


def chain_spec(name="backbone", fp32_nodes=()):
    return GraphSpec(name, "chain.onnx", "", 0, (), (), fp32_nodes=fp32_nodes)


@pytest.mark.parametrize(
    ("dtypes", "islands", "found"),
    [
        (("float16", "float16"), (), {"float16": 2}),
        (("float16", "float32"), (), "conv1"),
        (("float32", "float16"), ("conv1",), "conv0"),
        (("float32", "float16"), ("conv0",), {"float16": 1, "float32": 1}),
    ],
)
def test_one_float32_convolution_is_found(library, tmp_path, dtypes, islands, found):
    onnx = pytest.importorskip("onnx")
    builder, network = parsed(library, tmp_path, conv_chain(onnx, *dtypes))
    spec = chain_spec(fp32_nodes=islands)
    if isinstance(found, dict):
        assert check_precision(library, network, spec, "fp16") == found
    else:
        with pytest.raises(BuildError, match=found):
            check_precision(library, network, spec, "fp16")
    assert sum(check_precision(library, network, spec, "fp32").values()) == len(dtypes)
    del builder


@pytest.mark.parametrize(
    ("quantised", "islands", "passes"),
    [((0, 1), (), True), ((0,), (), False), ((0,), ("conv1",), True), ((), (), False)],
)
def test_a_float_convolution_in_an_int8_backbone_is_found(
    library, tmp_path, quantised, islands, passes
):
    onnx = pytest.importorskip("onnx")
    model = conv_chain(onnx, "float32", "float32", quantised=quantised)
    builder, network = parsed(library, tmp_path, model)
    if passes:
        counts = check_precision(library, network, chain_spec(fp32_nodes=islands), "int8")
        assert counts["int8"] == len(quantised)
    else:
        with pytest.raises(BuildError, match="expected int8"):
            check_precision(library, network, chain_spec(fp32_nodes=islands), "int8")
    # The graphs of the heads promise no int8.
    check_precision(library, network, chain_spec("rsm"), "int8")
    del builder


# What is there is not built again, and what breaks off leaves a whole bundle.


@pytest.fixture
def tiny_bundle(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny")


def counted(monkeypatch):
    """How often an engine is really built."""
    calls = []

    def build_and_count(library, path, *rest):
        calls.append(path.stem)
        return engine_builder.build_engine(library, path, *rest)

    monkeypatch.setattr(engine_writer, "build_engine", build_and_count)
    return calls


def test_only_what_is_missing_or_stale_is_built(tiny_bundle, monkeypatch):
    calls = counted(monkeypatch)
    build(tiny_bundle, "sm86")
    build(Bundle.load(tiny_bundle.path), "sm86")
    assert calls == ["mix", "pick"]
    build(Bundle.load(tiny_bundle.path), "sm89", graphs=("mix",))
    assert calls[2:] == ["mix"]
    build(Bundle.load(tiny_bundle.path), "sm86", force=True)
    assert calls[3:] == ["mix", "pick"]
    bundle = Bundle.load(tiny_bundle.path)
    (bundle.path / bundle.spec.engines[0].file).write_bytes(b"cut short")
    build(bundle, bundle.spec.engines[0].target, graphs=(bundle.spec.engines[0].graph,))
    assert len(calls) == 6
    assert len(Bundle.load(tiny_bundle.path).spec.engines) == 3


def test_a_build_that_breaks_off_keeps_what_was_finished(tiny_bundle, monkeypatch):
    real = engine_builder.build_engine

    def break_off(library, path, *rest):
        if path.stem == "pick":
            raise KeyboardInterrupt
        return real(library, path, *rest)

    monkeypatch.setattr(engine_writer, "build_engine", break_off)
    with pytest.raises(KeyboardInterrupt):
        build(tiny_bundle, "sm86")
    assert [e.graph for e in Bundle.load(tiny_bundle.path).spec.engines] == ["mix"]
    monkeypatch.undo()
    assert [e.graph for e in build(Bundle.load(tiny_bundle.path), "sm86")] == ["mix", "pick"]


def test_phases_are_told_while_building(tiny_bundle):
    told = []
    build_engines(tiny_bundle, EngineRequest(RTX, ("sm86",)), lambda *words: told.append(words))
    assert told[0] == ("mix sm86", 0, 2, "")
    assert ("pick sm86", 1, 2, "") in told


# Bad input: one line, status 1, bundle unharmed.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--target", "sm999"), "builds for portable, current, sm75"),
        (("--graph", "rsmm"), "has no graph rsmm: it has mix, pick"),
        (("--size", "100x100"), "was exported for 64x96"),
        pytest.param(("--target", "current"), "no GPU with a working driver", marks=no_gpu),
    ],
)
def test_requests_that_cannot_be_met(tiny_bundle, arguments, says):
    before = (tiny_bundle.path / SPEC_FILE).read_bytes()
    error = run_cli("build", tiny_bundle.path, "--engine", RTX, *arguments, status=1)
    assert says in error
    assert (tiny_bundle.path / SPEC_FILE).read_bytes() == before


def test_a_flavour_that_is_absent(tiny_bundle, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    load_library.cache_clear()
    error = run_cli("build", tiny_bundle.path, "--engine", "tensorrt", status=1)
    assert "tensorrt is not installed: pip install" in error
    load_library.cache_clear()


def test_classic_tensorrt_builds_for_the_gpu_at_hand_only(library):
    here = GpuInfo("some GPU", "sm87", 8000, "12.6")
    classic = replace(library, row=replace(library.row, name="tensorrt", builds_elsewhere=False))
    assert engine_writer._resolve(classic, "current", here) == "sm87"
    assert engine_writer._resolve(classic, "sm87", here) == "sm87"
    with pytest.raises(BuildError, match="for the GPU in this machine only, which is sm87"):
        engine_writer._resolve(classic, "sm86", here)
    with pytest.raises(BuildError, match="no GPU with a working driver"):
        engine_writer._resolve(classic, "current", None)


def test_a_gpu_that_rtx_does_not_know_is_refused_before_anything_is_built(library):
    """H100: NVIDIA's support matrix of TensorRT for RTX names no compute capability 9.0."""
    hopper = GpuInfo("NVIDIA H100", "sm90", 80000, "13.0")
    with pytest.raises(BuildError) as caught:
        engine_writer._resolve(library, "current", hopper)
    said = str(caught.value)
    assert "NVIDIA H100 (sm90), is none that tensorrt-rtx" in said
    assert "sm120" in said
    assert "--engine tensorrt, or --backend cuda" in said
    ada = GpuInfo("RTX 4090", "sm89", 24000, "13.0")
    assert engine_writer._resolve(library, "current", ada) == "sm89"
    assert engine_writer._resolve(library, "portable", hopper) == "portable"


def test_float32_products_are_computed_in_float32_whatever_the_bundle(library):
    """`BuilderFlag.TF32` is on by default, says its documentation."""
    config = library.trt.Builder(library.logger).create_builder_config()
    assert config.get_flag(library.trt.BuilderFlag.TF32)
    engine_builder.keep_float32(library.trt, config)
    assert not config.get_flag(library.trt.BuilderFlag.TF32)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_build_keeps_float32(library, tiny_bundle, monkeypatch, precision):
    kept = []
    monkeypatch.setattr(engine_builder, "keep_float32", lambda _trt, config: kept.append(config))
    monkeypatch.setattr(engine_builder, "check_precision", lambda *_: {})
    graph = tiny_bundle.spec.graphs["pick"]
    ranges = {"rows": (1, 4, 16), "chosen": (1, 2, 16)}
    options = engine_builder.BuildOptions("sm86")
    path = tiny_bundle.path / graph.file
    engine_builder.build_engine(library, path, graph, precision, ranges, options)
    assert len(kept) == 1


class Config:
    """A builder configuration as TensorRT documents it: damaged bytes give no cache, and those of
    another device are answered with false (`IBuilderConfig::setTimingCache`)."""

    def __init__(self):
        self.used = None

    def create_timing_cache(self, data):
        return None if data == b"damaged" else data

    def set_timing_cache(self, cache, ignore_mismatch):
        assert not ignore_mismatch
        if cache == b"of another device":
            return False
        self.used = cache
        return True


@pytest.mark.parametrize(
    ("data", "used", "kept"),
    [
        (b"good", True, b"good"),
        (b"", True, b""),
        (b"damaged", False, b""),
        (b"of another device", False, b""),
    ],
)
def test_a_timing_cache_that_cannot_be_used_is_replaced(data, used, kept):
    config = Config()
    assert engine_builder.set_timing_cache(config, data) is used
    assert config.used == kept


def test_what_was_not_as_asked_for_is_told(tiny_bundle, monkeypatch):
    real = engine_builder.build_engine
    monkeypatch.setattr(
        engine_writer, "build_engine", lambda *a: replace(real(*a), warnings=("the cache is bad",))
    )
    told = []
    build_engines(tiny_bundle, EngineRequest(RTX, ("sm86",), graphs=("pick",)), warn=told.append)
    assert told == ["the cache is bad"]


def test_a_graph_that_tensorrt_does_not_know(tiny_bundle):
    onnx = pytest.importorskip("onnx")
    path = tiny_bundle.path / "pick.onnx"
    model = onnx.load(path)
    model.graph.node[0].op_type = "DFT"
    onnx.save(model, path)
    graph = tiny_bundle.spec.graphs["pick"]
    graph = replace(graph, sha256=sha256_of(path), size_bytes=path.stat().st_size)
    spec = replace(tiny_bundle.spec, graphs={**tiny_bundle.spec.graphs, "pick": graph})
    (tiny_bundle.path / SPEC_FILE).write_text(json.dumps(spec.to_json()), encoding="utf-8")
    error = run_cli("build", tiny_bundle.path, "--engine", RTX, "--target", "sm86", status=1)
    assert "pick.onnx cannot be parsed by tensorrt-rtx" in error
    assert [e.graph for e in Bundle.load(tiny_bundle.path).spec.engines] == ["mix"]


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        ("Error Code 2: OutOfMemory (requested 8 GB)", "lower --workspace (now 64 MiB)"),
        ("OutOfMemory (Requested size was 67108864 bytes)", "raise --workspace (now 64 MiB)"),
        ("Error Code 4: Internal Error (no tactic)", "no tactic); build for one --size"),
    ],
)
def test_a_build_that_fails_says_why_and_what_to_do(library, reason, says):
    library.logger.log(library.trt.ILogger.ERROR, reason)
    options = engine_builder.BuildOptions("sm86", 64)
    error = engine_builder._failure(library, "backbone", options)
    assert says in str(error)
    assert "graph backbone" in str(error)


def test_a_dynamic_input_whose_sizes_nobody_knows(tiny_bundle):
    mix = tiny_bundle.spec.graphs["mix"]
    points = replace(mix.inputs[0], shape=("lines", 3))
    mix = replace(mix, inputs=(points, *mix.inputs[1:]))
    spec = replace(tiny_bundle.spec, graphs={"mix": mix})
    with pytest.raises(BuildError, match=r"input points .*no size is known"):
        build(Bundle(tiny_bundle.path, spec), "sm86")


def test_flags_that_belong_to_engine(tmp_path):
    error = run_cli(
        *("export", "--backbone", "random-r18", "--output", tmp_path / "b", "--target", "sm86"),
        status=2,
    )
    assert "belong to --engine" in error


def test_export_builds_engines_at_once(tmp_path, monkeypatch):
    """Of the backbone and the smallest graph; the others are built above."""
    pytest.importorskip("torch")
    from unitrack_edge.export import bundle_writer

    real = bundle_writer.head_graphs
    monkeypatch.setattr(bundle_writer, "head_graphs", lambda s: {"select": real(s)["select"]})
    folder = tmp_path / "bundle"
    said = run_cli(
        *("export", "--backbone", "random-r18", "--output", folder, "--precision", "fp16"),
        *("--size", "64x96", "--engine", RTX, "--target", "sm86"),
    )
    assert "engines are in" in said
    bundle = Bundle.load(folder)
    assert {e.graph for e in bundle.spec.engines} == set(bundle.spec.graphs)
    assert set(bundle.spec.graphs) == {"backbone", "select"}
    backbone = next(e for e in bundle.spec.engines if e.graph == "backbone")
    assert backbone.products == {"float16": 15}
