"""How large an activation gets: histograms of absolute values, frame by frame, and their cut-off.

ONNX Runtime's calibrators keep the activations of all frames (66 MB a frame of ResNet-18 at 480p,
317 MB of EfficientNet-Lite0).  Its collector is as fast as this one when fed frame by frame, but
has bins as wide as the first frame's and as many as later frames need.  Here their number is fixed,
frames may come in any order, and one histogram serves every method.  Where it is cut is left to
ONNX Runtime.
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
    """

    counts: Counts
    width: float = 0.0
    largest: float = 0.0

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
        """The absolute value that becomes 127; larger ones are clipped to it.

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
        return {"counts": self.counts, "scale": np.array([self.width, self.largest])}

    @staticmethod
    def from_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> Histogram:
        """Back from `to_arrays`."""
        width, largest = (float(value) for value in arrays["scale"])
        return Histogram(np.asarray(arrays["counts"], np.int64), width, largest)


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
