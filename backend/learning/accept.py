"""From ranked boxes to the probability that a person accepts them, and where to cut."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray
from backend.learning.boxmath import sigmoid
from backend.learning.linear import fit_logistic

FEATURES = 8
"""Rank score, gap to the best, logarithm of the rank, first, overlap, two of the label, one."""

_FOR_LABEL = slice(5, 7)
_PULL = 3.0
PRIOR_PICTURES = 5.0
"""The prior's threshold counts as much as this many accepted pictures."""


def accept_features(score: FloatArray, iou_nn: FloatArray, label_margin: FloatArray) -> FloatArray:
    """(N, 8) for boxes kept by suppression, best first.

    score (N,) of the ranker; iou_nn (N, N); label_margin (N, 2): value of the chosen
    label and its lead over the next, zeros where there is one label only.
    """
    count = len(score)
    rank = np.arange(count, dtype=np.float32)
    overlap = np.array([iou_nn[i, :i].max() if i else 0.0 for i in range(count)], np.float32)
    best = score.max() if count else 0.0
    return np.stack(
        [
            score,
            score - best,
            np.log1p(rank),
            rank == 0,
            overlap,
            label_margin[:, 0],
            label_margin[:, 1],
            np.ones(count),
        ],
        1,
    ).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Two logistic regressions on standardised features: IoU >= .5 and >= .7 with the label.

    mean, spread, half, seventy: (8,). threshold: least mean of both that is shown.
    """

    mean: FloatArray
    spread: FloatArray
    half: FloatArray
    seventy: FloatArray
    threshold: float

    def __call__(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N,) each: the mean of both probabilities, by which to cut, and P(IoU >= .7)."""
        x = _standard(features, self.mean, self.spread)
        seventy = sigmoid(x @ self.seventy)
        return np.asarray((sigmoid(x @ self.half) + seventy) / 2, np.float32), seventy


def first_acceptance() -> Acceptance:
    """Knows nothing: every box has probability 1/2."""
    zeros, ones = np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32)
    return Acceptance(zeros, ones, zeros, zeros, 0.5)


def fit_acceptance(
    features: FloatArray,
    hit_50: FloatArray,
    hit_70: FloatArray,
    true_count: int,
    pictures: int,
    prior: Acceptance | None,
    trust: float = PRIOR_PICTURES,
) -> Acceptance:
    """Fit on out-of-fold boxes of accepted pictures, drawn towards the prior.

    The threshold is the mean of two: where expected F1 = 2 sum p / (kept + true_count) is
    highest, and where the measured F1@.5 + F1@.7 is; few pictures lean on the prior's,
    which counts as much as trust pictures.
    """
    if not len(features):
        return prior or first_acceptance()
    if prior is None:
        mean, spread = features.mean(0), features.std(0) + 1e-6
        mean[-1], spread[-1] = 0.0, 1.0
        nothing = np.zeros(FEATURES, np.float32)
        prior, trust = Acceptance(mean, spread, nothing, nothing, 0.5), 0.0
    x = _standard(features, prior.mean, prior.spread)
    half = fit_logistic(x, hit_50, prior.half, _PULL)
    seventy = fit_logistic(x, hit_70, prior.seventy, _PULL)
    p = ((sigmoid(x @ half) + sigmoid(x @ seventy)) / 2).astype(np.float64)
    order = np.argsort(-p, kind="stable")
    kept = np.arange(1, len(p) + 1) + true_count
    expected = 2 * np.cumsum(p[order]) / kept
    measured = 2 * (np.cumsum(hit_50[order]) + np.cumsum(hit_70[order])) / kept
    found = (p[order][expected.argmax()] + p[order][measured.argmax()]) / 2
    threshold = (pictures * found + trust * prior.threshold) / (pictures + trust)
    return Acceptance(prior.mean, prior.spread, half, seventy, float(threshold))


def _standard(features: FloatArray, mean: FloatArray, spread: FloatArray) -> FloatArray:
    return np.asarray((features - mean) / spread, np.float32)


def standardised(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(8,) mean and spread for a prior; what depends on labels and the one stay as they are."""
    mean, spread = features.mean(0), features.std(0) + 1e-6
    mean[_FOR_LABEL], spread[_FOR_LABEL] = 0.0, 1.0
    mean[-1], spread[-1] = 0.0, 1.0
    return mean, spread
