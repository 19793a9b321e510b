"""From a float bundle and frames to an int8 backbone or detector: every step, in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from ..errors import CalibrationError
from ..records import UInt8Array
from ..runtime.bundle.bundle import Bundle
from ..runtime.detectors.decoded import DetectorFacts
from ..version import __version__
from .frames import Prepare, Sample, backbone_images, detector_images, sample_frames, shrunk
from .histograms import TARGETS, Histogram, Target
from .int8_bundle import int8_graph
from .layers import Layer, check_names, layers_of, with_own_names
from .outcome import Calibration, CalibrationRequest, LayerFacts
from .probe import Probe, latencies_ms, layer_drift
from .progress import SavedProgress
from .quantisation import channel_means
from .search import (
    DetectionJudge,
    FeatureJudge,
    Judge,
    Quantiser,
    float_layers,
    nothing_left,
    sensitivity_of,
)

SEARCH_SHORT_SIDE = 240
"""Layers are tried out on smaller images, which order them alike at a quarter of the time."""

_SAVE_EVERY = 16
_MEAN_FRAMES = 16

Progress = Callable[[str, int, int | None], None]
"""Called with the current step, how much of it is done, and of how much."""


def load_float_bundle(path: Path) -> tuple[Bundle, onnx.ModelProto]:
    """A bundle that can be quantised, and the graph of its backbone or detector.

    Raises:
        BundleError: No bundle, or a damaged one.
        CalibrationError: It is not fp32, already int8, or of a pose or mask model.
    """
    bundle = Bundle.load(path)
    if bundle.spec.kind == "person":
        raise CalibrationError(
            f"bundle {path} is of the pose or mask model {bundle.spec.backbone}, and backbones and "
            "detectors alone are made int8: use `cli export --detector … --precision fp16`"
        )
    model = with_own_names(onnx.load(path / int8_graph(bundle.spec).file))
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if bundle.spec.precision == "int8" or bundle.spec.quantization or quantised:
        raise CalibrationError(
            f"bundle {path} is int8 already: calibrate the float bundle that it was made from"
        )
    if bundle.spec.precision != "fp32":
        raise CalibrationError(
            f"bundle {path} is {bundle.spec.precision}, expected fp32: write one with "
            f"`cli export --{bundle.spec.kind} {bundle.spec.backbone} --precision fp32`"
        )
    return bundle, model


def calibrate(
    request: CalibrationRequest,
    bundle: Bundle,
    model: onnx.ModelProto,
    progress: Progress = lambda _step, _done, _of: None,
) -> tuple[Calibration, SavedProgress]:
    """Make the backbone or detector int8.

    Args:
        request: What to do.
        bundle: See `load_float_bundle`.
        model: The graph.
        progress: Called at every step.

    Returns:
        The result, and what must be discarded once it has been written.

    Raises:
        UnitrackError: One line that says what is wrong; what was found out so far is kept, and
            the same call continues from there.
    """
    layers = layers_of(model)
    check_names(layers, request.keep_float)
    sample = sample_frames(
        request.frames,
        request.count,
        _prepare(bundle),
        lambda done, of: progress("looking at frames", done, of),
    )
    saved = SavedProgress(request.output, _key(request, bundle, sample.images))
    fitted = sample.fitted
    target = TARGETS[request.target]
    histograms = _histograms(model, layers, target, fitted, saved, progress)
    grids = {name: target.grid(h, request.method) for name, h in histograms.items()}
    some = fitted[:: -(-len(fitted) // _MEAN_FRAMES)]
    progress("correcting biases", 0, len(some))
    read = {layer.source: grids[layer.source] for layer in layers[1:]}
    means = channel_means(model, read, some, _counter(progress, "correcting biases", len(some)))
    quantiser = Quantiser(model, layers[1:], grids, means, target)
    bound = request.bound(bundle.spec.kind)
    full = _judge(bundle, model, sample.held_out)
    judge = full
    if bundle.spec.kind == "backbone" and not bundle.spec.sizes_hw:
        judge = FeatureJudge(model, shrunk(sample.held_out, SEARCH_SHORT_SIDE))
    sensitivities = _sensitivities(quantiser, judge, saved, progress)
    kept = _search(request, quantiser, judge, bound, sensitivities, progress)
    kept, quantised, scores = _until_it_holds(quantiser, full, bound, sensitivities, kept)
    facts = _facts(layers, quantiser, kept, sensitivities, quantised, sample, progress)
    float_ms, int8_ms = latencies_ms([model, quantised], sample.images[0])
    height, width = sample.images[0].shape[:2]
    result = Calibration(
        quantised,
        layers,
        facts,
        tuple(scores),
        float_ms,
        int8_ms,
        (height, width),
        sample,
        full.compare(quantised) if isinstance(full, DetectionJudge) else None,
    )
    return result, saved


def _detector_facts(bundle: Bundle) -> DetectorFacts:
    return DetectorFacts.from_json(json.dumps(dict(bundle.spec.detector)), f"bundle {bundle.path}")


def _prepare(bundle: Bundle) -> Prepare:
    sizes_hw = bundle.spec.sizes_hw
    if bundle.spec.kind == "detector":
        return detector_images(_detector_facts(bundle), sizes_hw)
    return backbone_images(sizes_hw)


def _judge(bundle: Bundle, model: onnx.ModelProto, images: Sequence[UInt8Array]) -> Judge:
    if bundle.spec.kind == "detector":
        return DetectionJudge(model, images, _detector_facts(bundle))
    return FeatureJudge(model, images)


def _key(request: CalibrationRequest, bundle: Bundle, images: Sequence[UInt8Array]) -> str:
    digest = hashlib.sha256(int8_graph(bundle.spec).sha256.encode())
    for image in images:
        digest.update(str(image.shape).encode() + image.tobytes())
    return f"{__version__} {request.method} {request.target} {digest.hexdigest()}"


def _counter(progress: Progress, step: str, total: int) -> Callable[[], None]:
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        progress(step, done, total)

    return tick


def _histograms(
    model: onnx.ModelProto,
    layers: Sequence[Layer],
    target: Target,
    images: Sequence[UInt8Array],
    saved: SavedProgress,
    progress: Progress,
) -> dict[str, Histogram]:
    """Of every activation that a layer but the first reads, or gives where that is rounded."""
    read = [layer.source for layer in layers[1:]]
    given = [layer.activated for layer in layers[1:]] if target.whole else []
    names = list(dict.fromkeys([*read, *given]))
    done, histograms = saved.histograms()
    histograms = histograms or {name: Histogram.empty() for name in names}
    step = "measuring ranges"
    progress(step, done, len(images))
    if done == len(images):
        return histograms
    probe = Probe(model, names)
    for number, image in enumerate(images[done:], done + 1):
        for name, values in probe.inside(image):
            histograms[name].add(values)
        if number % _SAVE_EVERY == 0 or number == len(images):
            saved.record_histograms(number, histograms)
        progress(step, number, len(images))
    return histograms


def _sensitivities(
    quantiser: Quantiser, judge: Judge, saved: SavedProgress, progress: Progress
) -> dict[str, float]:
    step = "trying layers one by one"
    found: dict[str, float] = dict(saved.find("sensitivities") or {})
    for number, layer in enumerate(quantiser.layers, 1):
        if layer.name not in found:
            found[layer.name] = sensitivity_of(quantiser, judge, layer)
            saved.record("sensitivities", found)
        progress(step, number, len(quantiser.layers))
    return found


def _search(
    request: CalibrationRequest,
    quantiser: Quantiser,
    judge: Judge,
    bound: float,
    sensitivities: Mapping[str, float],
    progress: Progress,
) -> tuple[str, ...]:
    trials = 0

    def tick(_kept: int, _lowest: float) -> None:
        nonlocal trials
        trials += 1
        progress("searching layers to keep in float", trials, None)

    forced = [layer.name for layer in quantiser.layers if layer.name in request.keep_float]
    return float_layers(quantiser, judge, sensitivities, bound, forced, tick)


def _until_it_holds(
    quantiser: Quantiser,
    judge: Judge,
    bound: float,
    sensitivities: Mapping[str, float],
    kept: Sequence[str],
) -> tuple[tuple[str, ...], onnx.ModelProto, list[float]]:
    """The bound was reached on small images: at full size another layer may be needed."""
    names = list(kept)
    others = sorted(
        (layer.name for layer in quantiser.layers if layer.name not in names),
        key=lambda name: -sensitivities[name],
    )
    while True:
        variant = quantiser.variant(names)
        scores = judge.scores(variant)
        if min(scores) >= bound:
            return tuple(names), variant, scores
        if len(others) == 1:
            raise nothing_left(judge, bound)
        names.append(others.pop(0))


def _facts(
    layers: Sequence[Layer],
    quantiser: Quantiser,
    kept: Sequence[str],
    sensitivities: Mapping[str, float],
    quantised: onnx.ModelProto,
    sample: Sample,
    progress: Progress,
) -> tuple[LayerFacts, ...]:
    images = sample.held_out
    tick = _counter(progress, "measuring drift", len(images))
    grids = {layer.name: quantiser.grids[layer.source] for layer in layers[1:]}
    drift = layer_drift(quantiser.model, quantised, layers, images, tick)
    return tuple(
        LayerFacts(
            layer.name,
            layer.parameters,
            in_float=row == 0 or layer.name in kept,
            cut_off=None if row == 0 else grids[layer.name].cut_off,
            scale=None if row == 0 or layer.name in kept else grids[layer.name].scale,
            sensitivity=sensitivities.get(layer.name),
            drift=drift[layer.name],
        )
        for row, layer in enumerate(layers)
    )
