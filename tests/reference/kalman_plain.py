"""The Kalman filter of a box in matrix formulas, state (cx, cy, a, h) and velocities."""

from __future__ import annotations

import numpy as np

F = np.block([[np.eye(4), np.eye(4)], [np.zeros((4, 4)), np.eye(4)]])
H = np.hstack([np.eye(4), np.zeros((4, 4))])


def noise(height: float, factors: list[float]) -> np.ndarray:
    """Diagonal covariance: factors of `height` for lengths, plain values where negative."""
    std = np.array([-f if f < 0 else f * height for f in factors])
    return np.diag(std**2)


P, V = 1 / 20, 1 / 160


def start(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """State and covariance of a first measurement."""
    factors = [2 * P, 2 * P, -1e-2, 2 * P, 10 * V, 10 * V, -1e-5, 10 * V]
    return np.concatenate([z, np.zeros(4)]), noise(z[3], factors)


def predict(
    x: np.ndarray, covariance: np.ndarray, *, height_is_steady: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """One frame on; the height's velocity is forgotten first where it is to be steady."""
    if height_is_steady:
        x = np.concatenate([x[:7], [0.0]])
    process = noise(x[3], [P, P, -1e-2, P, V, V, -1e-5, V])
    return F @ x, F @ covariance @ F.T + process


def innovation(x: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Covariance of the measurement that is expected."""
    return H @ covariance @ H.T + noise(x[3], [P, P, -1e-1, P])


def update(x: np.ndarray, covariance: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correct by a measurement."""
    s = innovation(x, covariance)
    gain = covariance @ H.T @ np.linalg.inv(s)
    return x + gain @ (z - H @ x), covariance - gain @ s @ gain.T


def gating(x: np.ndarray, covariance: np.ndarray, z: np.ndarray, size: int = 4) -> float:
    """Squared Mahalanobis distance of a measurement, over its first `size` numbers."""
    s = innovation(x, covariance)[:size, :size]
    residual = (z - H @ x)[:size]
    return float(residual @ np.linalg.inv(s) @ residual)
