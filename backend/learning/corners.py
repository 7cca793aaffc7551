"""Moving the corners of candidates: a ridge on what the prior's correction leaves open."""

from __future__ import annotations

import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.learning.describe import SURROUNDINGS, surroundings
from backend.learning.linear import Ridge, RidgeSums, no_ridge
from backend.learning.scene import Proposed

_PENALTY = 0.3
_NEAR = 0.4
"""IoU with a true box from which a candidate teaches how to move its corners."""

_LEAST = 20


def corner_sums(proposed: Proposed, boxes: FloatArray, start: Ridge | None) -> RidgeSums:
    """What the candidates of one picture teach. boxes (M, 4): its true ones.

    The step of each corner is in widths and heights of the candidate.
    """
    overlap = iou_matrix(proposed.boxes, boxes)
    near = overlap.max(1, initial=0.0) >= _NEAR
    if not near.any():
        return RidgeSums.of(np.zeros((0, SURROUNDINGS), np.float32), np.zeros((0, 4), np.float32))
    found, truth = proposed.boxes[near], boxes[overlap[near].argmax(1)]
    seen = surroundings(proposed.maps, found)
    step = (truth - found) / np.tile(found[:, 2:] - found[:, :2], 2)
    return RidgeSums.of(seen, step if start is None else step - start(seen))


def fit_corners(sums: RidgeSums, start: Ridge | None) -> Ridge:
    """The correction that starts from another; that one alone where too little was taught."""
    if sums.count < _LEAST:
        return start or no_ridge(SURROUNDINGS, 4)
    fitted = sums.fit(_PENALTY * sums.count)
    return fitted if start is None else start + fitted
