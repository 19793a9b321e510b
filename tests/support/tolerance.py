"""How far a result of float32 (or float16) kernels may lie from the exact one.

Every tolerance on what matrix products, convolutions and softmaxes give comes from here. The model
is the usual one: an operation gives its exact result times 1 + δ, |δ| ≤ u, u = 2⁻²⁴ in float32.

A sum whose terms pass n roundings each differs from the exact one by at most γ_n Σ|aᵢbᵢ|,
γ_n = n·u / (1 - n·u): for n products n, in whatever order, in whatever blocks, with fused
operations or without (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section
3.1). Rounding errors that are independent and of mean zero grow with √n instead, and
γ̃_n(λ) = exp(λ·√n·u + n·u²/(1 - u)) - 1 takes the place of γ_n but for a probability that falls with
exp(-λ²/2) (Higham and Mary, A New Approach to Probabilistic Rounding Error Analysis, 2019, theorem
2.4). The smaller of both counts, with λ = 2. Errors spread evenly over ±u have a standard deviation
of u/√3, and the partial sums of a sum that grows evenly a mean square of a third of its own: λ·√n·u
is six standard deviations of the plainest order of summation, and blocks only lessen them. Neither
bound knows an instruction set, a library or a number of threads.
"""

from __future__ import annotations

import numpy as np

LAMBDA = 2.0


def unit_roundoff(dtype=np.float32):
    """u: the largest relative error of rounding to `dtype`."""
    return float(np.finfo(dtype).eps) / 2


def sum_error(length, magnitude=1.0, dtype=np.float32):
    """The largest error of a sum.

    Args:
        length: Roundings that a term passes at most: as many as products are summed, and one for
            each step before and after.
        magnitude: Σ|aᵢbᵢ|, or what it cannot exceed: 1 for two unit vectors. May be an array.
        dtype: In which it is computed.
    """
    u = unit_roundoff(dtype)
    certain = length * u / (1 - length * u) if length * u < 1 else np.inf
    likely = np.expm1(LAMBDA * np.sqrt(length) * u + length * u * u / (1 - u))
    return min(certain, likely) * magnitude


def softmax_error(logit_error, length, dtype=np.float32):
    """The largest relative error of a weight of a softmax.

    All logits wrong by at most e change exp(xᵢ) and the sum of them by factors of up to exp(e)
    each. Besides, `exp` may be wrong by 2 units in the last place, and the terms are summed and
    divided by the sum.

    Args:
        logit_error: Of every logit, absolute.
        length: Of the softmax.
        dtype: In which it is computed.
    """
    return np.expm1(2 * logit_error) + sum_error(length + 10, dtype=dtype)


def unit_error(error, norm=1.0):
    """The largest change of x / ‖x‖ by a change of x.

    ‖x/‖x‖ - y/‖y‖‖ ≤ 2 ‖x - y‖ / ‖x‖, to which rounding the quotient adds little.

    Args:
        error: ‖x - y‖.
        norm: ‖x‖, or what it cannot fall below.
    """
    return 2 * error / norm + 4 * unit_roundoff()


def unit_norm_error(channels=256):
    """Of the norm of a point that was divided by its norm, and so of each of its elements."""
    return sum_error(channels + 4)


def rsm_error(channels, scale):
    """Of the cost 1 - RSM of two objects of unit points.

    Logits are s times a product of two unit vectors, and their softmax's weights w move by w·δ
    each, where Σ w·δ = 0 and Σ w·|δ| is at most the error of a logit: what is reconstructed moves
    as far. The rest are sums over channels of a cosine of two halves.
    """
    return sum_error(channels + 3, scale) + sum_error(channels + 10)


def propagation_error(channels, temperature, top_k, frames=1):
    """Of propagated labels, shares of one, `frames` frames after true ones.

    Affinities of unit points are divided by τ, and the weights move as in `rsm_error`; of two keys
    that are alike within their error, either may be among the `top_k`.
    """
    return frames * (sum_error(channels + 2, 1 / temperature) + sum_error(top_k + 10))


def network_error(layers, length, channels=256):
    """Of each element of a unit point from `layers` convolutions of at most `length` products.

    Weights of both signs make Σ|aᵢbᵢ| some √n of the sum. Each layer adds its own error to what it
    is given, all of them the root of the sum of their squares, and spread evenly over the channels.
    """
    of_layer = sum_error(length + 4, np.sqrt(length))
    return unit_error(np.sqrt(layers) * of_layer) / np.sqrt(channels)


def assert_within(got, want, error):
    """Every element of `got` lies within `error` of that of `want`.

    Args:
        got: Any shape.
        want: The same shape.
        error: One for all, or one an element.
    """
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    away = np.abs(got.astype(np.float64) - want)
    ratio = np.divide(away, error, out=np.where(away > 0, np.inf, 0.0), where=np.asarray(error) > 0)
    worst = np.unravel_index(ratio.argmax(), ratio.shape) if ratio.size else ()
    assert not ratio.size or ratio[worst] <= 1, (
        f"{got[worst]} at {worst}, expected {want[worst]}: {ratio[worst]:.3g} times what rounding "
        f"explains ({(ratio > 1).sum()} of {ratio.size} are beyond it)"
    )
