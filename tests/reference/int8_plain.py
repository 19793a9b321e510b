"""Int8 from its definition: what a convolution reads is rounded to a grid, all else is float.

For a CPU, results and biases are rounded as well, and weights have 7 bits.
"""

from __future__ import annotations

import numpy as np


def rounded(values, scale):
    """Symmetric int8 and back, half to even, as QuantizeLinear and DequantizeLinear define it."""
    return np.clip(np.rint(values / scale), -128, 127) * scale


def unsigned(values, limit, *, signed):
    """Uint8 and back: `limit` is the last level, from 0 upwards or, of a signed one, either way."""
    scale = np.float32(limit / (127 if signed else 255))
    zero = 128 if signed else 0
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def rounded_weights(weights, levels=127):
    """By output channel: the largest magnitude of each becomes the last level."""
    return np.stack([rounded(w, np.abs(w).max() / levels if w.any() else 1.0) for w in weights])


def rounded_biases(biases, weights, input_scale, levels=63):
    """Whole multiples of what a product of two levels is worth."""
    units = [np.abs(w).max() / levels * input_scale for w in weights]
    return np.array([np.rint(b / unit) * unit for b, unit in zip(biases, units, strict=True)])


def convolution(x, weights, bias, stride=1, groups=1):
    """(C, H, W) and (out, C / groups, k, k) → (out, h, w), tap by tap, with zeros around."""
    out, per_group, k, _ = weights.shape
    pad = k // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    rows = (x.shape[1] + 2 * pad - k) // stride + 1
    cols = (x.shape[2] + 2 * pad - k) // stride + 1
    result = np.zeros((out, rows, cols)) + bias[:, None, None]
    for o in range(out):
        group = o // (out // groups)
        for c in range(per_group):
            for i in range(k):
                for j in range(k):
                    window = padded[group * per_group + c, i:, j:]
                    window = window[: rows * stride : stride, : cols * stride : stride]
                    result[o] += weights[o, c, i, j] * window
    return result
