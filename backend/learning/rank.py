"""How well a candidate fits: what the project's pictures taught, blended with the prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray
from backend.learning.linear import Ridge, fit_ridge
from backend.learning.scene import Described
from backend.learning.trees import Trees, fit_trees

_PENALTY = 30.0
_TREES, _LEAVES, _LEAST_ROWS = 100, 12, 30
_MOST_ROWS = 8000

PRIOR_PICTURES = 5.0
"""With this many accepted pictures, their word on the prior's share counts half."""


@dataclass(frozen=True, slots=True)
class Ranker:
    """The mean of ridge and boosted trees. prior_share: weight of the prior's score, 0..1."""

    ridge: Ridge
    trees: Trees
    prior_share: float = 0.0

    def __call__(self, described: Described) -> FloatArray:
        """(N,) expected IoU with an object, in about 0..1."""
        own = self.own(described.rows)
        return np.asarray(own + self.prior_share * (described.prior_score - own), np.float32)

    def own(self, rows: FloatArray) -> FloatArray:
        """(N,) the same without the prior, of rows (N, F)."""
        return np.asarray(0.5 * self.ridge(rows)[:, 0] + 0.5 * self.trees(rows), np.float32)


def fit_ranker(rows: FloatArray, iou: FloatArray) -> Ranker:
    """rows (N, F) of candidates, iou (N,) with the nearest true box."""
    if len(rows) > _MOST_ROWS:
        chosen = np.random.RandomState(0).permutation(len(rows))[:_MOST_ROWS]
        rows, iou = rows[chosen], iou[chosen]
    trees = fit_trees(rows, iou, count=_TREES, leaves=_LEAVES, least_rows=_LEAST_ROWS)
    return Ranker(fit_ridge(rows, iou[:, None], _PENALTY), trees)


def prior_share(
    own: Sequence[FloatArray], prior: Sequence[FloatArray], iou: Sequence[FloatArray]
) -> float:
    """Weight of the prior's score beside that of rankers that never saw the picture.

    One (N,) array a picture each. The weight of least squares (stacked regression, Breiman
    1996), drawn to 1 by few pictures; their evidence grows with the square of their number.
    0 where the prior's score says less than the mean.
    """
    own_all, prior_all, iou_all = (np.concatenate(part) for part in (own, prior, iou))
    if not explains(prior_all, iou_all):
        return 0.0
    lead = prior_all - own_all
    best = float(lead @ (iou_all - own_all)) / max(float(lead @ lead), 1e-9)
    told, untold = len(own) ** 2, PRIOR_PICTURES**2
    return (told * min(max(best, 0.0), 1.0) + untold) / (told + untold)


def explains(prior_score: FloatArray, iou: FloatArray) -> bool:
    """Whether the prior's score, never fitted to these candidates, beats their mean IoU."""
    return float(np.square(iou - prior_score).mean()) < float(iou.var())
