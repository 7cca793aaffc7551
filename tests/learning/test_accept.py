"""From ranked boxes to probabilities and a cut."""

from __future__ import annotations

import numpy as np

from backend.learning.accept import (
    FEATURES,
    Acceptance,
    accept_features,
    first_acceptance,
    fit_acceptance,
    standardised,
)

NO_LABELS = np.zeros((3, 2), np.float32)


def test_features_by_hand() -> None:
    score = np.array([0.9, 0.5, 0.4], np.float32)
    iou = np.array([[1, 0.1, 0.3], [0.1, 1, 0.2], [0.3, 0.2, 1]], np.float32)
    rows = accept_features(score, iou, NO_LABELS)
    assert np.allclose(rows[:, 0], score)
    assert np.allclose(rows[:, 1], [0, -0.4, -0.5])
    assert np.allclose(rows[:, 2], np.log([1, 2, 3]))
    assert rows[:, 3].tolist() == [1, 0, 0]
    assert np.allclose(rows[:, 4], [0, 0.1, 0.3])
    assert rows[:, 7].tolist() == [1, 1, 1]
    none = np.zeros((0, 0), np.float32)
    assert accept_features(score[:0], none, NO_LABELS[:0]).shape == (0, FEATURES)


def made_up(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.RandomState(0)
    score = random.uniform(0, 1, count).astype(np.float32)
    rows = np.zeros((count, FEATURES), np.float32)
    rows[:, 0], rows[:, 7] = score, 1
    return rows, (random.uniform(0, 1, count) < score).astype(np.float32)


def test_probabilities_follow_what_happened() -> None:
    rows, hit = made_up(2000)
    found = fit_acceptance(rows, hit, hit, int(hit.sum()), 500, None)
    _, probability = found(rows)
    for low in (0.1, 0.4, 0.7):
        chosen = (rows[:, 0] >= low) & (rows[:, 0] < low + 0.2)
        assert abs(probability[chosen].mean() - hit[chosen].mean()) < 0.08


def test_few_pictures_stay_near_the_prior() -> None:
    rows, hit = made_up(400)
    mean, spread = standardised(rows)
    nothing = np.zeros(FEATURES, np.float32)
    prior = Acceptance(mean, spread, nothing, nothing, 0.9)
    few = fit_acceptance(rows[:6], hit[:6], hit[:6], 3, 1, prior)
    many = fit_acceptance(rows, hit, hit, int(hit.sum()), 400, prior)
    assert abs(few.threshold - 0.9) < abs(many.threshold - 0.9)
    assert np.abs(few.half).sum() < np.abs(many.half).sum()


def test_no_boxes_leave_things_as_they_are() -> None:
    none = np.zeros((0, FEATURES), np.float32)
    assert fit_acceptance(none, none[:, 0], none[:, 0], 0, 3, None).threshold == 0.5
    cut_by, probability = first_acceptance()(made_up(5)[0])
    assert cut_by.tolist() == probability.tolist() == [0.5] * 5
