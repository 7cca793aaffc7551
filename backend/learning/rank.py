"""How well a candidate fits: the prior's score, corrected by what the project accepted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray
from backend.learning.linear import Ridge, fit_ridge
from backend.learning.scene import Described
from backend.learning.trees import Trees, fit_trees

_PENALTY = 30.0
_TREES, _LEAVES, _LEAST_ROWS = 100, 12, 30
_MOST_ROWS = 8000
_PRIOR_PICTURES = 10.0
"""With this many accepted pictures, prior and project weigh the same."""


@dataclass(frozen=True, slots=True)
class Ranker:
    """share: how much the correction counts, 0..1. trust: 1 where the prior's score is used."""

    ridge: Ridge
    trees: Trees
    share: float
    trust: float

    def __call__(self, described: Described) -> FloatArray:
        """(N,) expected IoU with an object, in about 0..1."""
        prior_score = self.trust * described.prior_score
        rows = _rows(described.rows, prior_score)
        correction = 0.5 * self.ridge(rows)[:, 0] + 0.5 * self.trees(rows)
        return np.asarray(prior_score + self.share * correction, np.float32)


def fit_ranker(
    rows: FloatArray, prior_score: FloatArray, iou: FloatArray, pictures: int, trusted: bool
) -> Ranker:
    """rows (N, F) of candidates, prior_score (N,), iou (N,) with the nearest true box.

    The mean of ridge and boosted trees, both on what the prior's score leaves open.
    """
    if len(rows) > _MOST_ROWS:
        chosen = np.random.RandomState(0).permutation(len(rows))[:_MOST_ROWS]
        rows, prior_score, iou = rows[chosen], prior_score[chosen], iou[chosen]
    prior_score = prior_score * np.float32(trusted)
    x, left = _rows(rows, prior_score), iou - prior_score
    trees = fit_trees(x, left, count=_TREES, leaves=_LEAVES, least_rows=_LEAST_ROWS)
    share = pictures / (pictures + _PRIOR_PICTURES) if trusted else 1.0
    return Ranker(fit_ridge(x, left[:, None], _PENALTY), trees, share, float(trusted))


def explains(prior_score: FloatArray, iou: FloatArray) -> bool:
    """Whether the prior's score, never fitted to these candidates, beats their mean IoU."""
    return float(np.square(iou - prior_score).mean()) < float(iou.var())


def _rows(rows: FloatArray, prior_score: FloatArray) -> FloatArray:
    return np.concatenate([rows, prior_score[:, None]], 1)
