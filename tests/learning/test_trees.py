"""Trees as arrays against scikit-learn's own prediction."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from backend.learning.trees import BINS, fit_trees, no_trees


def test_arrays_predict_what_the_library_predicts() -> None:
    random = np.random.RandomState(0)
    rows = random.normal(size=(600, 5)).astype(np.float32)
    target = (np.sin(rows[:, 0]) + rows[:, 1] * (rows[:, 2] > 0)).astype(np.float32)
    ours = fit_trees(rows, target, count=40, leaves=12, least_rows=20)
    theirs = HistGradientBoostingRegressor(  # type: ignore[no-untyped-call]
        max_iter=40,
        learning_rate=0.06,
        max_leaf_nodes=12,
        max_depth=6,
        min_samples_leaf=20,
        max_bins=BINS,
        early_stopping=False,
        random_state=0,
    ).fit(rows, target)
    unseen = random.normal(size=(200, 5)).astype(np.float32)
    assert np.allclose(ours(unseen), theirs.predict(unseen), atol=1e-4)
    assert np.corrcoef(ours(rows), target)[0, 1] > 0.9


def test_no_trees_predict_their_base() -> None:
    assert no_trees(0.25)(np.zeros((3, 5), np.float32)).tolist() == [0.25] * 3


def test_too_few_rows_give_the_mean() -> None:
    rows, target = np.zeros((4, 2), np.float32), np.array([0, 1, 0, 1], np.float32)
    assert np.allclose(fit_trees(rows, target, count=5, leaves=4, least_rows=30)(rows), 0.5)
