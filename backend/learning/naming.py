"""Which label a box has: ridge regression on what the backbone sees inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import FloatArray
from backend.learning.boxmath import grow, sample

_SHRUNK = 0.75
_POINTS = 3
_PENALTY = 1.0
_NEVER = -9.0
_LEAST_RIDGE = 1e-6
"""For vectors that are all the same: they have no variance to measure the penalty by."""


def box_vectors(grids: Sequence[FloatArray], boxes: FloatArray) -> FloatArray:
    """(N, V * D): mean over 3 x 3 points of each box shrunk to .75, for each view's grid."""
    middle = np.clip(grow(boxes, _SHRUNK), 0, 1)
    return np.concatenate([sample(grid, middle, _POINTS).mean((1, 2)) for grid in grids], 1)


@dataclass(frozen=True, slots=True)
class Naming:
    """mean (F,), weights (F, K), offset (K,): values in about -1..1, one a label."""

    mean: FloatArray
    weights: FloatArray
    offset: FloatArray

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """(N, K) values, the highest is the label."""
        return np.asarray((vectors - self.mean) @ self.weights + self.offset, np.float32)

    def maps(self, grids: Sequence[FloatArray]) -> tuple[FloatArray, ...]:
        """(G, G, K) of each view: what every cell adds to the values of a box around it."""
        of_view = np.split(self.weights, len(grids))
        return tuple(grid @ weights for grid, weights in zip(grids, of_view, strict=True))

    def at(self, maps: Sequence[FloatArray], boxes: FloatArray) -> FloatArray:
        """(N, K) values of boxes by the maps: those of their vectors, all of it being linear."""
        parts = box_vectors(maps, boxes).reshape(len(boxes), len(maps), len(self.offset))
        return np.asarray(parts.sum(1) + self.offset - self.mean @ self.weights, np.float32)


def fit_naming(vectors: FloatArray, label: Sequence[int], count: int) -> Naming:
    """vectors (N, F) of true boxes, label (N,) positions among count labels.

    Every label weighs the same, however many boxes it has. One without a box never wins.
    """
    known = np.asarray(label)
    boxes = np.bincount(known, minlength=count)
    fitted = fit_lines(vectors, np.eye(count)[known], (1 / np.maximum(boxes, 1))[known])
    fitted.weights[:, boxes == 0] = 0
    offset = np.where(boxes > 0, fitted.offset, _NEVER).astype(np.float32)
    return Naming(fitted.mean, fitted.weights, offset)


def fit_lines(vectors: FloatArray, taken: npt.ArrayLike, weight: npt.ArrayLike) -> Naming:
    """Weighted ridge regression of 1 where a label is taken and -1 where it is not.

    vectors (N, F), taken (N, K) in {0, 1}, weight (N,) of each row.
    """
    share = np.asarray(weight, np.float64)[:, None]
    share = share / share.sum()
    root = np.sqrt(share)
    mean = (share.T @ vectors)[0]
    # In float32, where the products are many; the systems are solved in float64.
    rows = ((vectors - mean) * root).astype(np.float32)
    wanted = 2 * np.asarray(taken, np.float64) - 1
    offset = (wanted * share).sum(0)
    right = (wanted - offset) * root
    count, width = rows.shape
    if count < width:  # fewer boxes than numbers: the dual is the smaller system
        gram = (rows @ rows.T).astype(np.float64)
        ridge = max(_PENALTY * np.trace(gram) / width, _LEAST_RIDGE)
        weights = rows.T @ np.linalg.solve(gram + ridge * np.eye(count), right)
    else:
        normal = (rows.T @ rows).astype(np.float64)
        ridge = max(_PENALTY * float(np.diag(normal).mean()), _LEAST_RIDGE)
        weights = np.linalg.solve(normal + ridge * np.eye(width), rows.T @ right)
    return Naming(mean.astype(np.float32), weights.astype(np.float32), offset.astype(np.float32))


def label_margin(values: FloatArray) -> FloatArray:
    """(N, 2): the highest value and its lead over the next; zeros where there is one label."""
    if values.shape[1] < 2:
        return np.zeros((len(values), 2), np.float32)
    top = np.sort(values, 1)[:, -2:]
    return np.stack([top[:, 1], top[:, 1] - top[:, 0]], 1)
