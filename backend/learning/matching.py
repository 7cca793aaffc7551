"""Which proposed box stands for which true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.domain import Boxes, FloatArray, iou_matrix

LOOSE, TIGHT = 0.5, 0.7
"""Intersection over union from which a proposal helps, and from which it needs no edit."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Positions of a proposal and of its true box, and their intersection over union."""

    found: int
    truth: int
    iou: float


def match(found: Boxes, truth: Boxes, iou_threshold: float) -> tuple[Pair, ...]:
    """Greedy one-to-one pairs, best score first.

    Each proposal takes the free true box of its label that it overlaps most, if by at least
    iou_threshold; of equal scores and equal overlaps the earlier one wins.
    """
    iou = iou_matrix(found.xyxy_px, truth.xyxy_px)
    free = np.ones(len(truth), bool)
    names = np.array(truth.label, object)
    pairs = []
    for at in np.argsort(-found.score, kind="stable"):
        fits = free & (names == found.label[at]) & (iou[at] >= iou_threshold)
        if fits.any():
            best = int(np.argmax(np.where(fits, iou[at], -1.0)))
            free[best] = False
            pairs.append(Pair(int(at), best, float(iou[at, best])))
    return tuple(pairs)


def hits(overlap: FloatArray, least: float) -> FloatArray:
    """(N,) 1 where a box, best first, takes a true box that no better one took.

    overlap: (N, M) intersection over union, 0 where the label is wrong.
    """
    hit = np.zeros(len(overlap), np.float32)
    free = np.ones(overlap.shape[1], bool)
    for i, row in enumerate(overlap):
        open_row = np.where(free, row, 0)
        if open_row.size and open_row.max() >= least:
            free[int(open_row.argmax())] = False
            hit[i] = 1
    return hit
