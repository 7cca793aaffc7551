"""Ridge regression, and logistic regression that starts from what is known already."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from backend.domain import FloatArray
from backend.learning.boxmath import F64Array

_NEWTON_STEPS, _LEAST_STEP = 30, 1e-6
_LEAST_SPREAD = 1e-6


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

    def __add__(self, other: Ridge) -> Ridge:
        """One ridge that gives the sum of two."""
        weights = self.weights * (other.spread / self.spread)[:, None] + other.weights
        shift = ((other.mean - self.mean) / self.spread) @ self.weights
        offset = np.asarray(self.offset + other.offset + shift, np.float32)
        return Ridge(other.mean, other.spread, weights, offset)


@dataclass(frozen=True, slots=True)
class RidgeSums:
    """Sums over rows from which a ridge is solved; those of several parts add up.

    x (F,), xx (F, F), y (K,), xy (F, K), float64: means are taken off afterwards.
    """

    count: int
    x: F64Array
    xx: F64Array
    y: F64Array
    xy: F64Array

    @classmethod
    def of(cls, rows: FloatArray, target: FloatArray) -> RidgeSums:
        """rows (N, F), target (N, K)."""
        x, y = rows.astype(np.float64), target.astype(np.float64)
        return cls(len(x), x.sum(0), x.T @ x, y.sum(0), x.T @ y)

    def __add__(self, other: RidgeSums) -> RidgeSums:
        names = (entry.name for entry in fields(RidgeSums))
        return RidgeSums(*(getattr(self, name) + getattr(other, name) for name in names))

    def fit(self, penalty: float) -> Ridge:
        """penalty on standardised weights, offset free."""
        mean, offset = self.x / self.count, self.y / self.count
        around = self.xx - np.outer(self.x, mean)
        spread = np.sqrt(np.diag(around).clip(0) / self.count) + _LEAST_SPREAD
        normal = around / np.outer(spread, spread) + penalty * np.eye(len(mean))
        right = (self.xy - np.outer(self.x, offset)) / spread[:, None]
        parts = mean, spread, np.linalg.solve(normal, right), offset
        return Ridge(*(part.astype(np.float32) for part in parts))


def fit_ridge(rows: FloatArray, target: FloatArray, penalty: float) -> Ridge:
    """rows (N, F), target (N, K); penalty on standardised weights, offset free."""
    return RidgeSums.of(rows, target).fit(penalty)


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

    rows (N, F), hit (N,) in 0..1. Minimises the log loss plus penalty / 2 times the
    squared distance to start, by Newton's method; a step that would make it worse is halved.
    """
    x, weights = rows.astype(np.float64), start.astype(np.float64).copy()

    def loss(at: F64Array) -> float:
        odds = x @ at
        away = np.square(at - start).sum()
        return float((np.logaddexp(0, odds) - hit * odds).sum() + penalty / 2 * away)

    now = loss(weights)
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(x @ weights, -30, 30)))
        slope = x.T @ (p - hit) + penalty * (weights - start)
        curve = (x * (p * (1 - p))[:, None]).T @ x + penalty * np.eye(len(weights))
        step = np.linalg.solve(curve, slope)
        while np.abs(step).max() >= _LEAST_STEP and loss(weights - step) > now:
            step = step / 2
        weights -= step
        now = loss(weights)
        if np.abs(step).max() < _LEAST_STEP:
            break
    return weights.astype(np.float32)
