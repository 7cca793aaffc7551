"""The dense head's weights, on all pictures and without each fold, drawn to the prior."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add

import numpy as np

from backend.domain import FloatArray
from backend.learning.dense import OUTPUTS, DenseSums, held_out_error, solve
from backend.learning.folds import Folds
from backend.learning.prior import Prior

_PULLS = (0.4, 2.0, 10.0)
"""How strongly the dense head may be drawn to the prior; the pictures themselves choose."""

_CHOOSING = 8
"""Pictures from which their choice is more than chance."""

_PULL_UNCHOSEN = 2.0
_PULL_ALONE, _SIDE_PULL_ALONE = 0.5, 1.0
"""The same towards zero, without a prior."""


def dense_weights(
    folds: Folds, sums: Mapping[int, DenseSums], prior: Prior | None
) -> dict[int | None, FloatArray]:
    """(D + 1, 10) weights by the fold that they are without. sums: of each fold."""
    without = folds.each(lambda fold: reduce(add, (sums[other] for other in folds.others(fold))))
    pull, side_pull = _best_pulls(folds, sums, without, prior)
    width = next(iter(sums.values())).object_xx.shape[0]
    start = prior.weights if prior else np.zeros((width, OUTPUTS), np.float32)
    return folds.each(lambda fold: solve(without[fold], start, pull, side_pull))


def _best_pulls(
    folds: Folds,
    sums: Mapping[int, DenseSums],
    without: Mapping[int | None, DenseSums],
    prior: Prior | None,
) -> tuple[float, float]:
    """Pulls of maps and sides with the least error on the folds left out."""
    if prior is None:
        return _PULL_ALONE, _SIDE_PULL_ALONE
    if len(folds.of) < _CHOOSING:
        return _PULL_UNCHOSEN, _PULL_UNCHOSEN
    errors = np.zeros((len(_PULLS), 2))
    for fold in folds.numbers:
        for i, pull in enumerate(_PULLS):
            weights = solve(without[fold], prior.weights, pull, pull)
            errors[i] += held_out_error(sums[fold], weights)
    best = errors.argmin(0)
    return _PULLS[best[0]], _PULLS[best[1]]
