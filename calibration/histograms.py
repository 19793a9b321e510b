"""How large an activation gets, and the whole numbers that stand for it.

Histograms hold absolute values, frame by frame.

ONNX Runtime's calibrators keep the activations of all frames (66 MB a frame of ResNet-18 at 480p,
317 MB of EfficientNet-Lite0).  Its collector is as fast as this one when fed frame by frame, but
has bins as wide as the first frame's and as many as later frames need.  Here their number is fixed,
frames may come in any order, and one histogram serves every method.  Where it is cut is left to
ONNX Runtime.

TensorRT takes int8 with 0 in the middle alone, and computes what follows a convolution in float as
well.  ONNX Runtime's integer convolution on a CPU is fast where activations are uint8, weights int8
and results whole numbers too.  Without VNNI instructions it adds two products in 16 bits: with
weights of 7 bits these cannot overflow (255 · 63 · 2 < 2¹⁵), and every CPU computes the same.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from onnxruntime.quantization.calibrate import HistogramCollector

METHODS = ("percentile", "entropy", "minmax")
PERCENTILE = 99.998
_BINS = 4096
_ENTROPY_BINS = 256  # of absolute values; ONNX Runtime's search is quadratic in them
_ENTROPY_LEVELS = 128
Float32 = npt.NDArray[np.float32]
Counts = npt.NDArray[np.int64]


@dataclass(slots=True)
class Histogram:
    """Absolute values of one activation.

    Attributes:
        counts: (4096,) int64.
        width: Of a bin; 0 while every value was 0.
        largest: Largest absolute value so far.
        negative: Whether any value was below 0.
    """

    counts: Counts
    width: float = 0.0
    largest: float = 0.0
    negative: bool = False

    @staticmethod
    def empty() -> Histogram:
        """One without values."""
        return Histogram(np.zeros(_BINS, np.int64))

    def add(self, values: Float32) -> None:
        """Count the values of one frame, of any shape.

        The range doubles, and neighbouring bins become one, whenever a value lies beyond it; so
        the order of the frames does not matter beyond the width of a bin.
        """
        absolute = np.abs(values).ravel()
        self.largest = max(self.largest, float(absolute.max(initial=0.0)))
        self.negative |= bool(values.min(initial=0.0) < 0)
        if self.width == 0.0:
            # A power of two, so that every order of frames arrives at the same bins.
            self.width = 2.0 ** np.ceil(np.log2(self.largest)) / _BINS if self.largest else 0.0
        while self.width * _BINS < self.largest:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([merged, np.zeros_like(merged)])
            self.width *= 2.0
        absolute *= 1.0 / self.width if self.width else 0.0
        bins = np.minimum(absolute.astype(np.int32), _BINS - 1)
        self.counts += np.bincount(bins, minlength=_BINS)

    def cut_off(self, method: str) -> float:
        """The absolute value that becomes the last level; larger ones are clipped to it.

        Args:
            method: `minmax`: the largest value. `percentile`: all but 0.002 % of the values lie
                below. `entropy`: least Kullback-Leibler divergence of the quantised histogram.
        """
        if method == "minmax" or self.largest == 0.0:
            return self.largest
        used = int(np.ceil(self.largest / self.width))
        counts = self.counts[: max(1, used)]
        edges = (np.arange(len(counts) + 1) * self.width).astype(np.float32)
        cut = _percentile(counts, edges) if method == "percentile" else _entropy(counts, edges)
        return min(cut, self.largest)

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays, for `numpy.savez`."""
        return {"counts": self.counts, "scale": np.array([self.width, self.largest, self.negative])}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Histogram:
        """Back from `to_arrays`."""
        width, largest, negative = (float(value) for value in arrays["scale"])
        counts = np.asarray(arrays["counts"], np.int64)
        return Histogram(counts, width, largest, bool(negative))


@dataclass(frozen=True, slots=True)
class Grid:
    """Of one activation: value = (number − zero) · scale.

    Attributes:
        dtype: `int8` or `uint8`.
        scale: Between two numbers.
        zero: The number that stands for 0.
    """

    dtype: str
    scale: float
    zero: int

    @property
    def cut_off(self) -> float:
        """The absolute value that becomes the last number; larger ones are clipped to it."""
        return self.scale * (255 if self.dtype == "uint8" and self.zero == 0 else 127)

    def rounded(self, values: Float32) -> Float32:
        """What is left of float values after whole numbers and back."""
        limits = np.iinfo(self.dtype)
        numbers = np.round(values / np.float32(self.scale)) + self.zero
        steps = np.clip(numbers, limits.min, limits.max) - self.zero
        return np.asarray(steps * np.float32(self.scale), np.float32)


@dataclass(frozen=True, slots=True)
class Target:
    """What an int8 graph is made for.

    Attributes:
        name: As `--target` calls it.
        activations: Their type, `int8` or `uint8`.
        weight_levels: The number that stands for the largest weight of an output channel.
        whole: Whether results and biases of convolutions are whole numbers as well.
    """

    name: str
    activations: str
    weight_levels: int
    whole: bool

    def grid(self, histogram: Histogram, method: str) -> Grid:
        """Of an activation whose values were counted; see `Histogram.cut_off`."""
        # An activation that is always 0 still needs a scale.
        cut = histogram.cut_off(method) or 1.0
        if self.activations == "int8":
            return Grid("int8", cut / 127, 0)
        return Grid("uint8", cut / 127, 128) if histogram.negative else Grid("uint8", cut / 255, 0)

    def weight_scales(self, weights: Float32) -> Float32:
        """(out, 1, 1, 1) scales of weights (out, in / groups, h, w), by output channel."""
        largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
        return np.asarray(np.where(largest > 0, largest / self.weight_levels, 1.0), np.float32)


TARGETS = {
    "gpu": Target("gpu", "int8", 127, whole=False),
    "cpu": Target("cpu", "uint8", 63, whole=True),
}
"""By name."""


def _percentile(counts: Counts, edges: Float32) -> float:
    return _ask_onnxruntime("percentile", counts, edges)


def _entropy(counts: Counts, edges: Float32) -> float:
    per_bin = -(-len(counts) // _ENTROPY_BINS)
    padded = np.pad(counts, (0, -len(counts) % per_bin))
    coarse = padded.reshape(-1, per_bin).sum(axis=1)
    width = edges[1] * per_bin
    mirrored = np.concatenate([coarse[::-1], coarse])
    edges = (np.arange(-len(coarse), len(coarse) + 1) * width).astype(np.float32)
    return _ask_onnxruntime("entropy", mirrored, edges)


def _ask_onnxruntime(method: str, counts: Counts, edges: Float32) -> float:
    collector = HistogramCollector(
        method=method,
        symmetric=True,
        num_bins=len(counts),
        num_quantized_bins=min(_ENTROPY_LEVELS, len(counts)),
        percentile=PERCENTILE,
        scenario="same",
    )
    low, high = np.float32(-edges[-1]), np.float32(edges[-1])
    collector.histogram_dict = {"activation": (counts, edges, low, high, high)}
    # It prints what it does, in several lines.
    with contextlib.redirect_stdout(io.StringIO()):
        (result,) = collector.compute_collection_result().values()
    return max(abs(float(result[0])), abs(float(result[1])))
