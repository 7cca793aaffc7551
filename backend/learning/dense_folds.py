"""The dense head's weights, on all pictures and without each fold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import add

import numpy as np

from backend.domain import FloatArray
from backend.learning.dense import OUTPUTS, DenseSums, solve
from backend.learning.folds import Folds

_PULL_TO_PRIOR = 2.0
_PULL, _SIDE_PULL = 0.5, 1.0
"""Towards zero: strong, so that few pictures do not fit noise (measured in docs/learning.md)."""


def dense_weights(
    folds: Folds, sums: Mapping[int, DenseSums], start: FloatArray | None
) -> dict[int | None, FloatArray]:
    """(D + 1, 10) weights by the fold that they are without.

    sums: of each fold. start: (D + 1, 10) weights to be drawn to, None for zeros.
    """
    pulls = (_PULL_TO_PRIOR, _PULL_TO_PRIOR)
    if start is None:
        pulls = (_PULL, _SIDE_PULL)
        start = np.zeros((next(iter(sums.values())).object_xx.shape[0], OUTPUTS), np.float32)
    drawn_to = start
    return folds.each(
        lambda fold: solve(reduce(add, (sums[o] for o in folds.others(fold))), drawn_to, *pulls)
    )
