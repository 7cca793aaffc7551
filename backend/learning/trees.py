"""Boosted regression trees as plain arrays: fitted by scikit-learn, kept without pickle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import FloatArray

_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Trees:
    """All trees one after the other; children are positions in these arrays.

    root (T,), feature, left, right (K,) int32; threshold, value (K,) float32. A leaf is
    its own child, so that every row can take the same number of steps. base: the mean.
    """

    root: npt.NDArray[np.int32]
    feature: npt.NDArray[np.int32]
    left: npt.NDArray[np.int32]
    right: npt.NDArray[np.int32]
    threshold: FloatArray
    value: FloatArray
    base: float

    def __call__(self, rows: FloatArray) -> FloatArray:
        """(N,) predictions of rows (N, F)."""
        if not len(self.root):
            return np.full(len(rows), self.base, np.float32)
        at = np.broadcast_to(self.root, (len(rows), len(self.root)))
        line = np.arange(len(rows))[:, None]
        for _ in range(_DEPTH):
            goes_left = rows[line, self.feature[at]] <= self.threshold[at]
            at = np.where(goes_left, self.left[at], self.right[at])
        return np.asarray(self.base + self.value[at].sum(1), np.float32)


def no_trees(base: float = 0.0) -> Trees:
    """Predicts base for every row."""
    none, nothing = np.zeros(0, np.int32), np.zeros(0, np.float32)
    return Trees(none, none, none, none, nothing, nothing, base)


def fit_trees(
    rows: FloatArray, target: FloatArray, *, count: int, leaves: int, least_rows: int
) -> Trees:
    """Histogram gradient boosting with squared error, learning rate .06.

    Source: Ke et al. 2017 (LightGBM), as scikit-learn's HistGradientBoostingRegressor.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor  # 1 s to import, fitting only

    model = HistGradientBoostingRegressor(  # type: ignore[no-untyped-call]
        max_iter=count,
        learning_rate=0.06,
        max_leaf_nodes=leaves,
        max_depth=_DEPTH,
        min_samples_leaf=least_rows,
        early_stopping=False,
        random_state=0,
    ).fit(rows, target)
    roots, parts, start = [], [], 0
    for (tree,) in model._predictors:
        nodes = tree.nodes
        here = np.arange(len(nodes)) + start
        leaf = nodes["is_leaf"].astype(bool)
        roots.append(start)
        parts.append(
            (
                np.where(leaf, 0, nodes["feature_idx"]),
                np.where(leaf, here, nodes["left"] + start),
                np.where(leaf, here, nodes["right"] + start),
                np.where(leaf, 0, nodes["num_threshold"]),
                np.where(leaf, nodes["value"], 0),
            )
        )
        start += len(nodes)
    feature, left, right, threshold, value = (
        np.concatenate(part) for part in zip(*parts, strict=True)
    )
    return Trees(
        np.array(roots, np.int32),
        feature.astype(np.int32),
        left.astype(np.int32),
        right.astype(np.int32),
        threshold.astype(np.float32),
        value.astype(np.float32),
        float(np.asarray(model._baseline_prediction).ravel()[0]),
    )
