"""The int8 graph against int8 by its definition, and against what TensorRT reads in it."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="extra 'calibrate'")

import onnx
from unitrack_edge.calibration.calibration import load_float_bundle
from unitrack_edge.calibration.histograms import TARGETS, Grid, Histogram
from unitrack_edge.calibration.layers import arrays_of, layers_of
from unitrack_edge.calibration.probe import Probe, cosine
from unitrack_edge.calibration.quantisation import (
    channel_means,
    correct_biases,
    insert_qdq,
)
from unitrack_edge.calibration.search import FeatureJudge, Quantiser, float_layers, sensitivity_of
from unitrack_edge.errors import CalibrationError

from ..reference.int8_plain import convolution, rounded, rounded_weights
from ..support.models.calibration_bundle import (
    CHANNELS,
    NAMES,
    make_image,
    plain_features,
    small_weights,
    write_backbone_bundle,
)
from ..support.tolerance import assert_within, network_error

IMAGES = [make_image(seed, 32, 48) for seed in range(6)]
ERROR = network_error(len(NAMES), 9 * CHANNELS, CHANNELS)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_float_bundle(write_backbone_bundle(tmp_path_factory.mktemp("qdq") / "small").path)[
        1
    ]


@pytest.fixture(scope="module")
def layers(model):
    return layers_of(model)


GPU, CPU = TARGETS["gpu"], TARGETS["cpu"]


@pytest.fixture(scope="module")
def histograms(model, layers):
    names = list(dict.fromkeys(n for la in layers[1:] for n in (la.source, la.activated)))
    histograms = {name: Histogram.empty() for name in names}
    probe = Probe(model, names)
    for image in IMAGES:
        for name, values in probe.inside(image):
            histograms[name].add(values)
    return histograms


@pytest.fixture(scope="module")
def cut_offs(histograms):
    return {name: histogram.cut_off("minmax") for name, histogram in histograms.items()}


def grids_of(histograms, target):
    return {name: target.grid(histogram, "minmax") for name, histogram in histograms.items()}


@pytest.fixture(scope="module")
def grids(histograms):
    return grids_of(histograms, GPU)


@pytest.fixture(scope="module")
def quantiser(model, layers, grids):
    return Quantiser(model, layers[1:], grids, channel_means(model, grids, IMAGES), GPU)


def test_layers_have_the_names_of_the_checkpoint(layers):
    assert tuple(layer.name for layer in layers) == NAMES
    assert [layer.groups for layer in layers] == [1, 1, 8, 1, 1, 1]
    assert layers[1].source == layers[4].source
    # Behind the Relu that alone reads a result; a sum reads those of `point` and `branch`.
    assert [layer.activated for layer in layers] == [
        *("stem", "wide", "depthwise", "point_sum", "branch_sum", "last_sum")
    ]


def test_the_float_graph_is_the_plain_network(model):
    plain = plain_features(IMAGES[0], small_weights())
    assert_within(Probe(model).outputs(IMAGES[0])["features"][0], plain, ERROR)


@pytest.mark.parametrize("chosen", [NAMES[1:], ("depthwise",), ("wide", "last"), ("branch",)])
@pytest.mark.parametrize("target", [GPU, CPU], ids=["gpu", "cpu"])
def test_int8_is_what_the_definition_says(model, layers, histograms, cut_offs, chosen, target):
    taken = [layer for layer in layers if layer.name in chosen]
    variant = insert_qdq(model, taken, grids_of(histograms, target), target)
    limits = {layer.name: cut_offs[layer.source] for layer in taken}
    results = {layer.name: cut_offs[layer.activated] for layer in taken} if target.whole else None
    plain = plain_features(IMAGES[1], small_weights(), limits, results=results)
    got = Probe(variant).outputs(IMAGES[1])["features"][0]
    # Between two levels a value may fall to either side in another order of summation, and what
    # follows is then off by a level; that must stay rare.
    assert cosine(got, plain) > 0.9999
    if len(chosen) == 1:
        assert np.quantile(np.abs(got - plain), 0.95) < ERROR


def test_the_graph_is_explicit_symmetric_and_by_channel(model, layers, grids):
    before = model.SerializeToString()
    variant = insert_qdq(model, layers[1:], grids, GPU)
    assert model.SerializeToString() == before
    onnx.checker.check_model(variant, full_check=True)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in variant.graph.initializer}
    makers = {name: node for node in variant.graph.node for name in node.output}
    floats = arrays_of(model, [layer.weight for layer in layers])
    for node in variant.graph.node:
        if node.op_type == "Conv" and node.name != "node_stem":
            weights = makers[node.input[1]]
            stored, scale, zero = (constants[name] for name in weights.input)
            assert (stored.dtype, zero.dtype) == (np.int8, np.int8)
            assert not zero.any()
            assert scale.shape == (len(stored),)
            assert [a.i for a in weights.attribute if a.name == "axis"] == [0]
            assert np.abs(stored.astype(int)).max() == 127
            original = floats[f"network.{node.name.removeprefix('node_')}.weight"]
            np.testing.assert_allclose(scale, np.abs(original).max((1, 2, 3)) / 127, rtol=1e-6)
            assert constants[node.input[2]].dtype == np.float32
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]] == 0
            assert constants[node.input[2]].dtype == np.int8
    # No float copy of a quantised weight stays in the file.
    large = [name for name, array in constants.items() if array.ndim == 4]
    assert [name for name in large if constants[name].dtype == np.float32] == [layers[0].weight]


def test_residual_sums_and_other_readers_stay_float(model, layers, grids):
    variant = insert_qdq(model, layers[1:], grids, GPU)
    adds = [node for node in variant.graph.node if node.op_type == "Add"]
    assert [list(node.input) for node in adds] == [["point_sum", "branch_sum"], ["both", "stem"]]
    only = insert_qdq(model, [layer for layer in layers if layer.name == "wide"], grids, GPU)
    branch = next(node for node in only.graph.node if node.name == "node_branch")
    assert branch.input[0] == "stem"


@pytest.mark.parametrize("target", [GPU, CPU], ids=["gpu", "cpu"])
def test_an_activation_that_is_always_zero_does_no_harm(model, layers, histograms, target):
    grids = grids_of(dict.fromkeys(histograms, Histogram.empty()), target)
    variant = insert_qdq(model, layers[1:2], grids, target)
    assert np.isfinite(Probe(variant).outputs(IMAGES[0])["features"]).all()


def test_biases_take_the_mean_error_away(model, layers, grids):
    """Judged layer by layer on the frames that the means are of, borders left out."""
    limits = {name: replace(grid, scale=0.3 * grid.scale) for name, grid in grids.items()}
    means = channel_means(model, limits, IMAGES)
    before = arrays_of(model, [layer.bias for layer in layers])
    corrected = correct_biases(model, layers[1:], means, GPU)
    after = arrays_of(corrected, [layer.bias for layer in layers])
    for name, values in arrays_of(model, list(before)).items():
        np.testing.assert_array_equal(values, before[name])
    np.testing.assert_array_equal(after[layers[0].bias], before[layers[0].bias])
    weights = small_weights()
    for layer in layers[1:]:
        array = weights[layer.name][0].astype(np.float64)
        k = array.shape[2] // 2
        errors = {"plain": [], "corrected": []}
        for image in IMAGES:
            trace = {}
            plain_features(image, weights, trace=trace)
            x = trace[layer.name]
            low = rounded(x, np.float32(limits[layer.source].scale))
            # Wrapped around, every tap sees every position, as the formula supposes.
            wrap = ((0, 0), (k, k), (k, k))
            exact, moved = (
                convolution(np.pad(v, wrap, mode="wrap"), w, np.zeros(len(w)), groups=layer.groups)
                for v, w in ((x, array), (low, rounded_weights(array)))
            )
            inner = slice(k, -k or None)
            error = (moved - exact)[:, inner, inner].mean(axis=(1, 2))
            errors["plain"].append(error)
            errors["corrected"].append(error + after[layer.bias] - before[layer.bias])
        plain, corrected = (np.abs(np.mean(errors[kind], axis=0)).max() for kind in errors)
        assert corrected < 1e-4 * max(1.0, plain), layer.name
        assert plain > 1e-3, layer.name


def test_the_search_finds_the_fewest_layers(quantiser, model):
    judge = FeatureJudge(model, IMAGES[:3])
    sensitivities = {la.name: sensitivity_of(quantiser, judge, la) for la in quantiser.layers}
    assert max(sensitivities, key=sensitivities.get) == "depthwise"

    def lowest(kept):
        return min(judge.scores(quantiser.variant(kept)))

    all_int8, one_float = lowest(()), lowest(("depthwise",))
    assert all_int8 < one_float
    for bound in (all_int8 - 1e-6, (all_int8 + one_float) / 2, one_float + 1e-5):
        trials = []
        kept = float_layers(
            quantiser, judge, sensitivities, bound, tick=lambda *a, to=trials: to.append(a)
        )
        assert lowest(kept) >= bound
        fewest = next(
            count
            for count in range(len(NAMES))
            if any(lowest(c) >= bound for c in itertools.combinations(NAMES[1:], count))
        )
        assert len(kept) == fewest
        assert len(trials) < 2**5
    assert float_layers(quantiser, judge, sensitivities, all_int8 - 1e-6, ("last",)) == ("last",)


def test_a_bound_that_nothing_reaches(quantiser, model):
    judge = FeatureJudge(model, IMAGES[:2])
    ranks = dict.fromkeys(NAMES[1:], 0.0)
    with pytest.raises(CalibrationError, match="no layer can be int8 with a feature cosine of 1"):
        float_layers(quantiser, judge, ranks, 1.0 - 1e-12)


def test_cosine_of_maps():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 1, 4, 5, 8)).astype(np.float32)
    wanted = np.mean(
        [
            x @ y / np.linalg.norm(x) / np.linalg.norm(y)
            for x, y in zip(a[0].reshape(20, 8), b[0].reshape(20, 8), strict=True)
        ]
    )
    assert cosine(a, b) == pytest.approx(wanted, abs=1e-6)
    assert cosine(a.transpose(0, 3, 1, 2), b.transpose(0, 3, 1, 2), axis=1) == pytest.approx(wanted)
    assert cosine(np.zeros_like(a), np.zeros_like(a)) == 1.0


# What TensorRT makes of it.


def test_tensorrt_reads_every_int8_layer_as_quantised(model, layers, grids, tmp_path):
    network, builder, trt = parsed(insert_qdq(model, layers[2:], grids, GPU), tmp_path)
    assert quantised_convolutions(network, trt) == {
        la.node: la.name not in ("stem", "wide") for la in layers
    }
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM86, 0)
    profile = builder.create_optimization_profile()
    profile.set_shape("frames", (1, 32, 32, 3), (1, 32, 48, 3), (1, 64, 64, 3))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None


@pytest.mark.parametrize("which", ["random_resnet", "lite_bundle"])
def test_tensorrt_reads_the_real_backbones_as_quantised(which, request, tmp_path):
    bundle = request.getfixturevalue(which)
    model = onnx.load(bundle.path / bundle.spec.graphs["backbone"].file)
    layers = layers_of(model)
    grids = {layer.source: Grid("int8", 6 / 127, 0) for layer in layers[1:]}
    network, _, trt = parsed(insert_qdq(model, layers[2:], grids, GPU), tmp_path)
    found = quantised_convolutions(network, trt)
    assert [found[layer.node] for layer in layers] == [False] * 2 + [True] * (len(layers) - 2)


def parsed(model, folder):
    """The graph as tensorrt-rtx parses it, which needs no GPU."""
    pytest.importorskip("tensorrt_rtx_libs", reason="tensorrt-rtx is not installed")
    import tensorrt_rtx_bindings as trt

    onnx.save(model, folder / "int8.onnx")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(folder / "int8.onnx"))
    # The network belongs to its builder and logger.
    parsed.alive = (logger, parser)
    return network, builder, trt


def quantised_convolutions(network, trt):
    """By name: whether activation and weights both come from int8."""
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    makers = {la.get_output(j).name: la for la in layers for j in range(la.num_outputs)}

    def from_int8(tensor):
        maker = makers.get(tensor.name) if tensor is not None else None
        return (
            maker is not None
            and maker.type == trt.LayerType.DEQUANTIZE
            and maker.get_input(0).dtype == trt.int8
        )

    return {
        la.name: all(from_int8(la.get_input(i)) for i in (0, 1)[: max(2, la.num_inputs)])
        for la in layers
        if la.type == trt.LayerType.CONVOLUTION
    }
