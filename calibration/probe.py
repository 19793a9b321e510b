"""Variants of a graph side by side: what happens inside, drift, and latency."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from ..records import UInt8Array
from ..runtime.inference.onnxruntime import available_cores
from .layers import Layer

Float32 = npt.NDArray[np.float32]


class Probe:
    """A graph in ONNX Runtime on the CPU.

    Args:
        model: The graph; its one input is (1, H, W, 3) uint8.
        inner: Tensors inside the graph to hand out as well.
    """

    def __init__(self, model: onnx.ModelProto, inner: Sequence[str] = ()) -> None:
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        for name in inner:
            tensor = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
            shown.graph.output.append(tensor)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_cores()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = model.graph.input[0].name
        self._inner = list(inner)
        self._outputs = [tensor.name for tensor in model.graph.output]

    def outputs(self, image: UInt8Array) -> dict[str, npt.NDArray[Any]]:
        """What the graph gives for an image (H, W, 3) uint8, by name."""
        values = self._session.run(self._outputs, {self._input: image[None]})
        return dict(zip(self._outputs, values, strict=True))

    def inside(self, image: UInt8Array) -> Iterator[tuple[str, Float32]]:
        """Name and value, (1, C, rows, cols) float32, of every tensor of `inner`."""
        values = self._session.run(self._inner, {self._input: image[None]})
        yield from zip(self._inner, values, strict=True)


def cosine(features: Float32, others: Float32, axis: int = -1) -> float:
    """Mean over all cells of the cosine between two feature maps; 1 where both are zero.

    Args:
        features: Float array with the channels along `axis`.
        others: As large.
        axis: Of the channels.
    """
    product = (features * others).sum(axis=axis, dtype=np.float64)
    norms = np.sqrt(
        np.square(features).sum(axis=axis, dtype=np.float64)
        * np.square(others).sum(axis=axis, dtype=np.float64)
    )
    same = np.all(features == others, axis=axis)
    return float(np.where(same, 1.0, product / np.maximum(norms, 1e-12)).mean())


def layer_drift(
    model: onnx.ModelProto,
    quantised: onnx.ModelProto,
    layers: Sequence[Layer],
    images: Sequence[UInt8Array],
    tick: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """One minus the cosine between float and int8 results, by layer.

    Both graphs run as a whole, so a layer's drift holds what the layers before it did.

    Args:
        model: The float graph.
        quantised: The int8 graph.
        layers: Convolutions of both.
        images: (H, W, 3) uint8 each.
        tick: Called after every image.

    Returns:
        Mean over cells and images, 0 (the same) to 2.
    """
    names = [layer.result for layer in layers]
    probes = Probe(model, names), Probe(quantised, names)
    drifts = np.zeros(len(layers))
    for image in images:
        pairs = zip(*(probe.inside(image) for probe in probes), strict=True)
        drifts += [1.0 - cosine(exact, moved, axis=1) for (_, exact), (_, moved) in pairs]
        tick()
    values = (drifts / len(images)).tolist()
    return {layer.name: value for layer, value in zip(layers, values, strict=True)}


ROUNDS = 7


def latencies_ms(
    models: Sequence[onnx.ModelProto], image: UInt8Array, rounds: int = ROUNDS
) -> list[float]:
    """Median milliseconds of each graph on the CPU, taken in turns after one run for warming up.

    Args:
        models: Graphs.
        image: (H, W, 3) uint8.
        rounds: How often each is run.
    """
    probes = [Probe(model) for model in models]
    times: list[list[float]] = [[] for _ in probes]
    for probe in probes:
        probe.outputs(image)
    for _ in range(rounds):
        for probe, taken in zip(probes, times, strict=True):
            start = time.perf_counter()
            probe.outputs(image)
            taken.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(taken) for taken in times]
