"""One picture on its way from features to ranked boxes; shared by fitting and predicting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.learning.boxmath import suppress, tidy
from backend.learning.candidates import propose
from backend.learning.dense import DenseMaps, apply
from backend.learning.describe import describe, surroundings
from backend.learning.features import PictureFeatures
from backend.learning.linear import Ridge
from backend.learning.prior import Prior
from backend.learning.whitening import Whitening

MOST_OVERLAP = 0.45
MOST_BOXES = 40
_LARGEST_CORRECTION = 0.5

FUSED, FUSED_OVERLAP, FUSED_SHARPNESS = 10, 0.5, 20.0
"""A box is the mean of so many candidates that overlap it so much, at most; a candidate
that scores 1 / sharpness less counts 1 / e as much."""


@dataclass(frozen=True, slots=True)
class PriorView:
    """What the prior sees on a picture: maps, boxes with corrected ones, box of moments."""

    maps: DenseMaps
    boxes: FloatArray
    moment: FloatArray


@dataclass(frozen=True, slots=True)
class Proposed:
    """boxes (N, 4), uncorrected. maps, moment, known: what the head made them from."""

    maps: DenseMaps
    boxes: FloatArray
    moment: FloatArray
    known: FloatArray


@dataclass(frozen=True, slots=True)
class Described:
    """boxes (N, 4) with rows (N, F) to rank them by and the prior's score (N,)."""

    boxes: FloatArray
    rows: FloatArray
    prior_score: FloatArray


@dataclass(frozen=True, slots=True)
class Kept:
    """What suppression leaves, best first.

    boxes (K, 4): candidates; fused (K, 4): the same averaged with their neighbours, which
    is where they are shown. score (K,); iou (K, K) of boxes.
    """

    boxes: FloatArray
    fused: FloatArray
    score: FloatArray
    iou: FloatArray


def grids_of(features: PictureFeatures, whitening: Whitening) -> tuple[FloatArray, ...]:
    """A picture's views as (G, G, D) grids."""
    return tuple(whitening.grid(taps) for taps in features.views)


def view_of(prior: Prior, grids: Sequence[FloatArray]) -> PriorView:
    """What the prior sees on a picture."""
    maps = apply(prior.weights, grids)
    found = propose(maps, prior.known)
    boxes = np.concatenate([found.boxes, corrected(prior.corners, maps, found.boxes)])
    return PriorView(maps, boxes, found.moment)


def propose_with(
    weights: FloatArray, known: FloatArray, grids: Sequence[FloatArray], view: PriorView | None
) -> Proposed:
    """Candidates of a head's dense weights, and the prior's where its view is given."""
    maps = apply(weights, grids)
    found = propose(maps, known)
    boxes = found.boxes if view is None else np.concatenate([found.boxes, view.boxes])
    return Proposed(maps, boxes, found.moment, known)


def corrected(corners: Ridge, maps: DenseMaps, boxes: FloatArray) -> FloatArray:
    """The boxes with their corners moved, by at most half their size."""
    step = np.clip(corners(surroundings(maps, boxes)), -_LARGEST_CORRECTION, _LARGEST_CORRECTION)
    size = boxes[:, 2:] - boxes[:, :2]
    return tidy(boxes + step * np.concatenate([size, size], 1))


def describe_all(
    proposed: Proposed, corners: Ridge, prior: Prior | None, view: PriorView | None
) -> Described:
    """The candidates and their corrected copies, described."""
    boxes = np.concatenate([proposed.boxes, corrected(corners, proposed.maps, proposed.boxes)])
    rows = describe(proposed.maps, boxes, proposed.known, proposed.moment, boxes)
    return Described(boxes, rows, prior_score(prior, view, boxes))


def prior_score(prior: Prior | None, view: PriorView | None, boxes: FloatArray) -> FloatArray:
    """(N,) how well boxes fit by the prior alone, zeros without one."""
    if prior is None or view is None:
        return np.zeros(len(boxes), np.float32)
    return prior.trees(describe(view.maps, boxes, prior.known, view.moment, view.boxes))


def keep_best(boxes: FloatArray, score: FloatArray) -> Kept:
    """Suppression, and each box that is left averaged with its neighbours."""
    iou = iou_matrix(boxes, boxes)
    kept = suppress(boxes, score, iou, MOST_OVERLAP, MOST_BOXES)
    fused = np.array([fuse(boxes, score, iou[at]) for at in kept], np.float32).reshape(-1, 4)
    return Kept(boxes[kept], fused, score[kept], iou[np.ix_(kept, kept)])


def fuse(boxes: FloatArray, rank: FloatArray, iou: FloatArray) -> FloatArray:
    """(4,) weighted mean of the best of boxes (N, 4) that overlap one of them enough.

    Weighted boxes fusion (Solovyev et al. 2021), by exponentials of the score.

    rank: (N,) scores. iou: (N,) overlap with that one, 1 with itself.
    """
    near = np.flatnonzero(iou >= FUSED_OVERLAP)
    near = near[np.argsort(-rank[near], kind="stable")][:FUSED]
    weight = np.exp(FUSED_SHARPNESS * (rank[near] - rank[near[0]]))
    return np.asarray(weight @ boxes[near] / weight.sum(), np.float32)
