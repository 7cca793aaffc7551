"""Ridge and logistic regression against other ways to the same answer."""

from __future__ import annotations

import numpy as np

from backend.learning.linear import RidgeSums, fit_logistic, fit_ridge, no_ridge

RANDOM = np.random.RandomState(0)
ROWS = RANDOM.normal(size=(80, 4)).astype(np.float32)


def test_ridge_without_penalty_is_least_squares() -> None:
    target = ROWS @ RANDOM.normal(size=(4, 2)) + np.array([3.0, -1.0])
    found = fit_ridge(ROWS, target.astype(np.float32), 1e-6)
    assert np.allclose(found(ROWS), target, atol=1e-3)


def test_ridge_with_a_large_penalty_is_the_mean() -> None:
    target = ROWS[:, :1] * 2 + 5
    found = fit_ridge(ROWS, target, 1e9)
    assert np.allclose(found(ROWS), target.mean(), atol=1e-3)


def test_sums_of_parts_give_the_ridge_of_the_whole() -> None:
    """Against the textbook way: standardised rows, taken all at once."""
    target = (ROWS[:, :2] * 2 + ROWS[:, 2:] ** 2).astype(np.float32)
    found = (RidgeSums.of(ROWS[:30], target[:30]) + RidgeSums.of(ROWS[30:], target[30:])).fit(3.0)
    x = (ROWS - ROWS.mean(0)) / ROWS.std(0)
    weights = np.linalg.solve(x.T @ x + 3.0 * np.eye(4), x.T @ (target - target.mean(0)))
    assert np.allclose(found(ROWS), x @ weights + target.mean(0), atol=1e-4)


def test_a_column_that_never_changes_is_left_alone() -> None:
    rows = np.concatenate([ROWS, np.full((80, 1), 7.3, np.float32)], 1)
    found = fit_ridge(rows, ROWS[:, :1], 1.0)
    assert abs(found.weights[4, 0]) < 1e-6


def test_added_ridges_predict_the_sum() -> None:
    first = fit_ridge(ROWS, ROWS[:, :2] * 2 + 1, 0.5)
    second = fit_ridge(ROWS * 3 + 1, ROWS[:, 1:3] - 4, 0.5)
    other = RANDOM.normal(size=(10, 4)).astype(np.float32)
    assert np.allclose((first + second)(other), first(other) + second(other), atol=1e-4)
    assert np.allclose((first + no_ridge(4, 2))(other), first(other), atol=1e-5)


def test_logistic_slope_vanishes_and_the_start_pulls() -> None:
    hit = (ROWS[:, 0] + RANDOM.normal(0, 0.5, 80) > 0).astype(np.float32)
    start = np.array([0.5, 0, 0, -1], np.float32)
    found = fit_logistic(ROWS, hit, start, 2.0)
    p = 1 / (1 + np.exp(-ROWS @ found))
    assert np.allclose(ROWS.T @ (p - hit) + 2.0 * (found - start), 0, atol=1e-3)
    assert np.allclose(fit_logistic(ROWS, hit, start, 1e7), start, atol=1e-3)
    assert np.isfinite(fit_logistic(ROWS, np.ones(80, np.float32), start, 1.0)).all()
