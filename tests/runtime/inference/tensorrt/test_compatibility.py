"""Which engine runs here and what the others are told; and what the layers of one compute in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from unitrack_edge.errors import BackendError
from unitrack_edge.runtime.bundle.bundle import Bundle, sha256_of
from unitrack_edge.runtime.bundle.spec import GraphSpec
from unitrack_edge.runtime.inference.tensorrt.compatibility import (
    build_command,
    find_engine,
    misfit,
    platform_name,
    read_plan,
    unusable_engines,
)
from unitrack_edge.runtime.inference.tensorrt.library import (
    VARIANT_TABLE,
    TensorrtLibrary,
    TensorrtLog,
)
from unitrack_edge.runtime.inference.tensorrt.precision import Proof, check_layers, read_layers

from ....support.gpu.fake_tensorrt import VERSION, engine_spec
from ....support.models.tiny_bundle import write_tiny_bundle

LIBRARY = TensorrtLibrary(VARIANT_TABLE["tensorrt"], VERSION, None, TensorrtLog(frozenset()))


@pytest.fixture
def plain(tmp_path):
    return write_tiny_bundle(tmp_path / "tiny")


def bundle_of(plain, *changes):
    """The bundle with an engine of `mix` for each of `changes`."""
    graph = plain.spec.graphs["mix"]
    engines = tuple(engine_spec(graph, graph.inputs, **change) for change in changes)
    return Bundle(plain.path, replace(plain.spec, engines=engines))


def refusal(action, *arguments):
    with pytest.raises(BackendError) as caught:
        action(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_engine_of_this_machine_is_taken_before_a_portable_one(plain):
    bundle = bundle_of(
        plain,
        {"target": "sm87"},
        {"target": "portable"},
        {"target": "sm86"},
        {"target": "sm86", "variant": "tensorrt-rtx"},
    )
    engine = find_engine(bundle, "mix", LIBRARY, "sm86")
    assert (engine.target, engine.variant) == ("sm86", "tensorrt")
    assert find_engine(bundle, "mix", LIBRARY, "sm120").target == "portable"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "sm87"}, "was built for GPU sm87, here is sm86"),
        ({"version": "10.3.0"}, f"was built for TensorRT 10.3.0, here is {VERSION}"),
        ({"platform": "plan9-vax"}, f"was built for platform plan9-vax, here is {platform_name()}"),
        ({"onnx_sha256": "0" * 64}, "was built for ONNX file 000000000000, here is "),
    ],
)
def test_an_engine_of_something_else_says_what_differs(plain, change, said):
    bundle = bundle_of(plain, change)
    message = refusal(find_engine, bundle, "mix", LIBRARY, "sm86")
    assert message.startswith(f"the tensorrt engine of graph mix {said}")
    assert f"run `cli build {plain.path} --engine tensorrt`, or add --rebuild" in message


def test_the_engine_that_comes_nearest_is_the_one_that_is_told_of(plain):
    far = {"target": "sm120", "version": "11.0", "platform": "plan9-vax"}
    bundle = bundle_of(plain, far, {"target": "sm87"}, far)
    message = refusal(find_engine, bundle, "mix", LIBRARY, "sm86")
    assert "GPU sm87" in message
    assert "sm120" not in message


def test_no_engine_at_all_names_the_command(plain):
    message = refusal(find_engine, plain, "mix", LIBRARY, "sm86")
    assert "has no tensorrt engine of graph mix" in message
    assert build_command(plain.path, "tensorrt") in message


def test_everything_that_differs_is_said(plain):
    graph = plain.spec.graphs["mix"]
    engine = engine_spec(graph, graph.inputs, target="sm87", version="10.3.0")
    said = misfit(engine, graph, LIBRARY, "sm86")
    assert said.count(", was built for") == 1
    assert misfit(engine_spec(graph, graph.inputs), graph, LIBRARY, "sm86") == ""


def planned(plain, content=b"a plan", **changes):
    path = plain.path / "engines" / "mix.engine"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    fields = {"plan": content, "sha256": sha256_of(path)} | changes
    return path, bundle_of(plain, fields)


def test_a_plan_is_read_where_it_is_the_one_that_was_built(plain):
    _, bundle = planned(plain)
    assert read_plan(bundle, bundle.spec.engines[0]) == b"a plan"


@pytest.mark.parametrize("content", [b"", b"a pla", b"A plan", b"a plan and more"])
def test_a_changed_plan_is_not_read(plain, content):
    path, bundle = planned(plain)
    path.write_bytes(content)
    message = refusal(read_plan, bundle, bundle.spec.engines[0])
    assert f"mix.engine has {len(content)} bytes or a sha256 other than recorded (6, " in message
    assert f"run `cli build {plain.path} --engine tensorrt --force`" in message


def test_a_plan_that_is_gone(plain):
    path, bundle = planned(plain)
    path.unlink()
    message = refusal(read_plan, bundle, bundle.spec.engines[0])
    assert "cannot be read (No such file or directory)" in message
    assert "--force" in message


@pytest.mark.parametrize("file", ["../outside.engine", "/etc/passwd", "engines/../../x", "\0"])
def test_a_plan_outside_the_bundle_is_not_read(plain, tmp_path, file):
    (tmp_path / "outside.engine").write_bytes(b"a plan")
    (tmp_path / "x").write_bytes(b"a plan")
    _, bundle = planned(plain, file=file)
    said = refusal(read_plan, bundle, bundle.spec.engines[0])
    assert ("cannot be read" if file == "\0" else "lies outside the bundle") in said


def test_what_must_be_rebuilt(plain):
    path, bundle = planned(plain)
    assert list(unusable_engines(bundle, LIBRARY, "sm86")) == ["pick"]
    path.write_bytes(b"else")
    assert "sha256" in unusable_engines(bundle, LIBRARY, "sm86")["mix"]
    assert "GPU sm86, here is sm87" in unusable_engines(bundle, LIBRARY, "sm87")["mix"]


# --- layers


def layer(name, kind, *types, **more):
    inputs = [{"Name": f"{name}_{i}", "Format/Datatype": text} for i, text in enumerate(types)]
    return {"Name": name, "LayerType": kind, "Inputs": inputs, **more}


def read(*layers):
    return read_layers(json.dumps({"Layers": layers, "Bindings": []}))


def graph(name="backbone", islands=()):
    return GraphSpec(name, "", "", 0, (), (), fp32_nodes=islands)


# As inspectors of TensorRT 8 to 10 have been seen to put it.
HALF = [
    layer("/conv1/Conv + /relu", "CaskConvolution", "Channel major FP16 format, channel % 8 == 0"),
    layer("/a", "CaskConvActPool", "Row major linear FP16 format", Weights={"Type": "Half"}),
    layer("/b", "conv", "Half", "Half", "Float"),
    layer("/c", "gemm", "Half", "Half", "Float"),
    layer("/d", "CaskGemmMatrixMultiply", "Half", "Half"),
    layer("/e", "fusion", "Half", "Half", TacticName="sm80_xmma_gemm_f16f16_by_fusion_tactic"),
]
SINGLE = [
    layer("/conv1/Conv", "CaskConvolution", "Row major linear FP32"),
    layer("/a", "conv", "Float", Weights={"Type": "Float"}),
    layer("/b", "gemm", "Float", "Float"),
    layer("/c", "fusion", "Float", "Float", TacticName="sm80_xmma_gemm_f32f32_tf32f32"),
]
OTHER = [
    layer("Reformatting CopyNode for Input Tensor 0 to /conv1/Conv", "Reformat", "Float"),
    layer("__myl_ConvertMul", "kgen", "Float", TacticName="__myl_ConvertMul_0x1"),
    layer("pointwise", "fusion", "Float", TacticName="pointwise_activation_fusion"),
    layer("cast", "Convert", "Float"),
    layer("softmax", "SoftMax", "Float"),
]


def test_products_in_float16_are_counted_and_the_rest_let_be():
    layers = read(*HALF, *OTHER)
    assert check_layers(graph(), layers, "fp16") == Proof({"float16": len(HALF)})
    assert [found.product for found in layers] == [True] * len(HALF) + [False] * len(OTHER)


@pytest.mark.parametrize("planted", SINGLE, ids=lambda single: single["LayerType"])
def test_one_product_in_float32_is_refused(planted):
    layers = read(*HALF, planted)
    message = refusal(check_layers, graph(), layers, "fp16")
    name, kind = planted["Name"], planted["LayerType"]
    assert f"computes {kind} {name} in float32, expected float16" in message
    assert "--force" in message
    assert check_layers(graph(), layers, "fp32").products["float32"] == 1


def test_mixed_factors_are_refused():
    assert "in mixed" in refusal(
        check_layers, graph(), read(layer("/x", "gemm", "Half", "Float")), "fp16"
    )
    assert "in bfloat16" in refusal(
        check_layers, graph(), read(layer("/x", "gemm", "BFloat16", "BFloat16")), "fp16"
    )


def test_islands_stay_in_float32_by_name_or_by_the_onnx_node():
    by_name = layer("/MatMul + /Add", "gemm", "Float", "Float")
    nodes = "[ONNX Layer: /cast]\x1e[ONNX Layer: /MatMul]"
    by_node = layer("__myl_gemm_0", "gemm", "Float", "Float", Metadata=nodes)
    own = graph("rsm", islands=("/MatMul",))
    both = graph("rsm", islands=("/MatMul", "/other"))
    assert check_layers(own, read(by_name), "fp16").products == {"float32": 1}
    assert check_layers(both, read(by_node), "fp16") == Proof({"float32": 1})
    # A name that only begins like an island's is none.
    other = layer("/MatMul_1", "gemm", "Float", "Float")
    assert "/MatMul_1" in refusal(check_layers, own, read(other), "fp16")


def test_int8_is_promised_for_the_backbone_alone():
    quantised = read(
        layer("/c", "CaskConvolution", "Thirty-two wide channel vectorized row major Int8 format.")
    )
    assert check_layers(graph(), quantised, "int8").products == {"int8": 1}
    single = read(*SINGLE[:1])
    assert "expected int8" in refusal(check_layers, graph(), single, "int8")
    assert check_layers(graph("rsm"), single, "int8").products == {"float32": 1}


def test_a_cast_that_was_fused_into_the_first_convolution_is_none_of_its_factors():
    """The graph reads uint8 and multiplies float16: a strongly typed product has one type."""
    first = layer(
        "/cast + /conv1/Conv", "CaskConvolution", "Row major linear FP32", Weights={"Type": "Half"}
    )
    image = layer("/conv1", "conv", "Thirty-two wide INT8 format", Weights={"Type": "Half"})
    assert check_layers(graph(), read(first, image), "fp16") == Proof({"float16": 2})
    # The weights say what is multiplied, whatever is read.
    single = layer("/conv1", "conv", "Half", Weights={"Type": "Float"})
    assert "/conv1 in float32" in refusal(check_layers, graph(), read(single), "fp16")


def test_islands_that_lost_their_names_in_a_fusion_are_matched_by_number_and_named():
    lost = [layer(f"__myl_MulGemm_{k}", "gemm", "Float", "Float") for k in range(3)]
    own = graph("rsm", islands=("/MatMul", "/MatMul_1"))
    proof = check_layers(own, read(*lost[:2]), "fp16")
    assert proof.products == {"float32": 2}
    assert "__myl_MulGemm_0, __myl_MulGemm_1" in proof.warnings[0]
    assert "__myl_MulGemm_2 in float32" in refusal(check_layers, own, read(*lost), "fp16")
    # One of them has kept its name, so only one may have lost it.
    named = layer("/MatMul", "gemm", "Float", "Float")
    assert "in float32" in refusal(check_layers, own, read(named, *lost[:2]), "fp16")
    # A name of another node is no lost name.
    other = layer("/MatMul_7", "gemm", "Float", "Float")
    assert "/MatMul_7" in refusal(check_layers, own, read(other), "fp16")


def test_what_says_nothing_is_counted_as_such_and_named_and_never_as_proven():
    silent = read(
        layer("/c", "conv", "N/A due to dynamic shapes"), {"Name": "/d", "LayerType": "gemm"}
    )
    proof = check_layers(graph(), silent, "fp16")
    assert proof.products == {"unstated": 2}
    (warning,) = proof.warnings
    assert "graph backbone: /c, /d does not state in what it computes" in warning


def test_an_answer_without_any_product_is_doubted_where_the_network_had_some():
    nothing = read(layer("pointwise", "fusion", "Float"))
    (warning,) = check_layers(graph(), nothing, "fp16", {"float16": 15}).warnings
    assert "lists no product, the network had 15" in warning
    assert check_layers(graph("select"), nothing, "fp16", {}) == Proof({})


@pytest.mark.parametrize("text", ["", "no json", '{"Layers": ["/conv1", "/relu"]}', "{}", "7"])
def test_an_engine_that_keeps_its_layers_to_itself_is_refused(text):
    assert "precision cannot be proven" in refusal(read_layers, text)
