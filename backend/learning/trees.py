"""Boosted regression trees as plain arrays: fitted by scikit-learn, kept without pickle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from backend.domain import FloatArray

_DEPTH = 6

BINS = 63
"""Values of a feature that are told apart; four times as many fit no better and cost half more."""

_BLOCK_ROWS = 128
"""Rows that descend together: what they look up stays in the processor's cache."""


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
        # Both children of a node side by side, so that a step down is one look.
        child = np.stack([self.left, self.right], 1).ravel().astype(np.intp)
        feature, root = self.feature.astype(np.intp), self.root.astype(np.intp)
        values, width = np.ascontiguousarray(rows).ravel(), rows.shape[1]
        found = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _BLOCK_ROWS):
            stop = min(start + _BLOCK_ROWS, len(rows))
            line = (np.arange(start, stop) * width)[:, None]
            at = np.broadcast_to(root, (stop - start, len(root)))
            for _ in range(_DEPTH):
                right = values.take(line + feature.take(at)) > self.threshold.take(at)
                at = child.take(2 * at + right)
            found[start:stop] = self.base + self.value.take(at).sum(1)
        return found


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
        max_bins=BINS,
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
