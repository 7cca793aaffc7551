"""Ridge regression, and logistic regression that starts from what is known already."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray

_NEWTON_STEPS = 30


@dataclass(frozen=True, slots=True)
class Ridge:
    """y = ((x - mean) / spread) @ weights + offset; mean, spread (F,), weights (F, K)."""

    mean: FloatArray
    spread: FloatArray
    weights: FloatArray
    offset: FloatArray

    def __call__(self, rows: FloatArray) -> FloatArray:
        """(N, K) predictions of rows (N, F)."""
        return np.asarray(
            ((rows - self.mean) / self.spread) @ self.weights + self.offset, np.float32
        )


def fit_ridge(rows: FloatArray, target: FloatArray, penalty: float) -> Ridge:
    """rows (N, F), target (N, K); penalty on standardised weights, offset free."""
    mean, spread = rows.mean(0), rows.std(0) + 1e-6
    x = ((rows - mean) / spread).astype(np.float64)
    offset = target.mean(0)
    normal = x.T @ x + penalty * np.eye(x.shape[1])
    weights = np.linalg.solve(normal, x.T @ (target - offset))
    return Ridge(
        mean.astype(np.float32),
        spread.astype(np.float32),
        weights.astype(np.float32),
        offset.astype(np.float32),
    )


def no_ridge(width: int, outputs: int) -> Ridge:
    """Predicts zeros from rows of this width."""
    return Ridge(
        np.zeros(width, np.float32),
        np.ones(width, np.float32),
        np.zeros((width, outputs), np.float32),
        np.zeros(outputs, np.float32),
    )


def fit_logistic(
    rows: FloatArray, hit: FloatArray, start: FloatArray, penalty: float
) -> FloatArray:
    """(F,) weights of a logistic regression without offset, drawn towards start.

    rows (N, F), hit (N,) in {0, 1}. Minimises the log loss plus penalty / 2 times the
    squared distance to start, by Newton's method.
    """
    x, weights = rows.astype(np.float64), start.astype(np.float64).copy()
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (p - hit) + penalty * (weights - start)
        curve = (x * (p * (1 - p))[:, None]).T @ x + penalty * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-6:
            break
    return weights.astype(np.float32)
