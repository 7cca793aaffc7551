"""Fits each part of a head on all accepted pictures, and on all but each fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.learning.accept import accept_features
from backend.learning.boxmath import mirror
from backend.learning.corners import corner_sums, fit_corners
from backend.learning.dense import DenseSums, targets
from backend.learning.dense_folds import dense_weights
from backend.learning.features import F16Array
from backend.learning.fit_report import Judged
from backend.learning.folds import Folds
from backend.learning.grids import Grids, PictureGrids
from backend.learning.head import name_boxes, name_maps
from backend.learning.label_classifier import (
    CellLooks,
    LabelClassifier,
    cell_looks,
    fit_label_classifier,
)
from backend.learning.linear import Ridge, RidgeSums
from backend.learning.matching import LOOSE, TIGHT, hits
from backend.learning.naming import Naming
from backend.learning.prior import Prior
from backend.learning.rank import Ranker, fit_ranker, prior_share
from backend.learning.scene import (
    Described,
    PriorView,
    Proposed,
    describe_all,
    keep_best,
    propose_with,
    view_of,
)
from backend.learning.side_by_side import side_by_side
from backend.learning.true_looks import naming_of, true_looks

_KNOWN = 64
"""Accepted boxes that are kept to propose shapes and places from."""

FEW = 10
"""Accepted pictures from which a project proposes on its own: the prior starts no part and
adds no candidate any more, it only has a share in the ranking (measured in docs/learning.md)."""

_FIRST_LOOK, _SECOND_LOOK, _DESCRIBED = 0.4, 0.6, 0.8
"""Shares of the work that are done after each step."""

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """An accepted picture. boxes (M, 4) in picture units, label (M,) positions."""

    picture: str
    boxes: FloatArray
    label: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a head is made of, and every picture judged out of fold."""

    weights: FloatArray
    corners: Ridge
    ranker: Ranker
    naming: Naming | None
    classifier: LabelClassifier
    known: FloatArray
    prior_boxes: bool
    judged: list[Judged]


@dataclass(frozen=True, slots=True)
class _Looked:
    """What stays of a picture after the first look. looks: None where nothing is to be named."""

    view: PriorView | None
    looks: F16Array | None
    cells: CellLooks


@dataclass(frozen=True, slots=True)
class _Candidates:
    """What stays of a picture after the second look. names: maps to name boxes from."""

    proposed: Proposed
    names: tuple[FloatArray, ...]


class Trainer:
    """Looks at every picture twice, and keeps a few hundred kilobytes of each in between.

    labels: how many there are. Everything that judges a picture was fitted without its fold.
    """

    def __init__(
        self, accepted: Sequence[Accepted], grids: Grids, labels: int, prior: Prior | None
    ) -> None:
        self._accepted = accepted
        self._grids = grids
        self._labels = labels
        self._prior = prior
        self._start = prior if len(accepted) < FEW else None
        self._folds = Folds.dealt(len(accepted))

    def parts(self, progress: Progress) -> Parts:
        """The parts fitted on everything, and every picture judged out of fold."""
        folds = self._folds
        sums, looked = self._first_look(progress)
        weights = dense_weights(folds, sums, self._start.weights if self._start else None)
        naming = folds.each(lambda fold: self._naming(looked, fold))
        known = folds.each(self._known)
        found, corners = self._second_look(weights, naming, known, looked, progress)
        described = []
        for number, (fold, one) in enumerate(zip(folds.of, found, strict=True)):
            progress(self._share(_SECOND_LOOK, _DESCRIBED, number))
            view = looked[number].view
            described.append(describe_all(one.proposed, corners[fold], self._prior, view))
        ranker = self._rankers(described)
        judged = [
            self._judge(one, these, candidates.names, ranker[fold], naming[fold])
            for fold, one, these, candidates in zip(
                folds.of, self._accepted, described, found, strict=True
            )
        ]
        return Parts(
            weights[None],
            corners[None],
            ranker[None],
            naming[None],
            self._classifier(looked),
            known[None],
            self._start is not None,
            judged,
        )

    def _share(self, begin: float, end: float, done: int) -> float:
        return begin + (end - begin) * done / len(self._accepted)

    # ---- the first look: sums for the dense head, the prior's view, the looks of true boxes

    def _first_look(self, progress: Progress) -> tuple[dict[int, DenseSums], list[_Looked]]:
        sums: dict[int, DenseSums] = {}
        looked = []
        for number, (fold, one) in enumerate(zip(self._folds.of, self._accepted, strict=True)):
            progress(self._share(0, _FIRST_LOOK, number))
            look = self._grids.first(one.picture)
            upright, mirrored = look.upright, look.mirrored
            here = _dense_sums(one.boxes, upright, mirrored)
            sums[fold] = sums[fold] + here if fold in sums else here
            view = view_of(self._prior, upright) if self._prior else None
            looks = None
            if self._labels > 1:
                count = len(self._accepted)
                looks = true_looks(one.boxes, upright, mirrored, pictures=count, seed=number)
            looked.append(_Looked(view, looks, cell_looks(look.cells, one.boxes)))
        return sums, looked

    def _known(self, without: int | None) -> FloatArray:
        """(M, 4) boxes that stand for the accepted ones outside a fold, of all if none are."""
        boxes = np.concatenate([one.boxes for one in self._folds.outside(self._accepted, without)])
        if not len(boxes) and self._start is not None:
            return _spread(self._start.known)
        if not len(boxes):
            boxes = np.concatenate([one.boxes for one in self._accepted])
        return _spread(boxes)

    def _naming(self, looked: Sequence[_Looked], without: int | None) -> Naming | None:
        if self._labels < 2:
            return None
        looks = [one.looks for one in looked if one.looks is not None]
        label = [one.label for one in self._accepted]
        outside = self._folds.outside
        return naming_of(outside(looks, without), outside(label, without), self._labels)

    def _classifier(self, looked: Sequence[_Looked]) -> LabelClassifier:
        label = [one.label for one in self._accepted]
        return fit_label_classifier([one.cells for one in looked], label, self._labels)

    # ---- the second look: candidates, and how their corners have to move

    def _second_look(
        self,
        weights: Mapping[int | None, FloatArray],
        naming: Mapping[int | None, Naming | None],
        known: Mapping[int | None, FloatArray],
        looked: Sequence[_Looked],
        progress: Progress,
    ) -> tuple[list[_Candidates], dict[int | None, Ridge]]:
        start = self._start.corners if self._start else None
        found = []
        sums: dict[int, RidgeSums] = {}
        for number, (fold, one) in enumerate(zip(self._folds.of, self._accepted, strict=True)):
            progress(self._share(_FIRST_LOOK, _SECOND_LOOK, number))
            grids = self._grids.second(one.picture)
            also = looked[number].view if self._start else None
            proposed = propose_with(weights[fold], known[fold], grids, also)
            found.append(_Candidates(proposed, name_maps(naming[fold], grids)))
            here = corner_sums(proposed, one.boxes, start)
            sums[fold] = sums[fold] + here if fold in sums else here
        corners = self._folds.each(
            lambda fold: fit_corners(
                reduce(add, (sums[other] for other in self._folds.others(fold))), start
            )
        )
        return found, corners

    # ---- without another look

    def _rankers(self, described: Sequence[Described]) -> dict[int | None, Ranker]:
        overlaps = [
            iou_matrix(found.boxes, one.boxes).max(1, initial=0.0)
            for one, found in zip(self._accepted, described, strict=True)
        ]
        both = list(zip((found.rows for found in described), overlaps, strict=True))

        def fitted(without: int | None) -> Ranker:
            chosen = self._folds.outside(both, without)
            return fit_ranker(
                np.concatenate([rows for rows, _ in chosen]),
                np.concatenate([overlap for _, overlap in chosen]),
            )

        rankers = self._folds.each(fitted)
        if self._prior is None:
            return rankers
        share = prior_share(
            [
                rankers[fold].own(one.rows)
                for fold, one in zip(self._folds.of, described, strict=True)
            ],
            [found.prior_score for found in described],
            overlaps,
        )
        return {fold: replace(ranker, prior_share=share) for fold, ranker in rankers.items()}

    @staticmethod
    def _judge(
        one: Accepted,
        found: Described,
        names: tuple[FloatArray, ...],
        ranker: Ranker,
        naming: Naming | None,
    ) -> Judged:
        kept = keep_best(found.boxes, ranker(found))
        label, margin = name_boxes(naming, names, kept.boxes)
        right = np.equal(label[:, None], np.asarray(one.label, np.float32)[None])
        overlap = np.where(right, iou_matrix(kept.fused, one.boxes), 0)
        features = accept_features(kept.score, kept.iou, margin)
        return Judged(kept.fused, label, features, hits(overlap, LOOSE), hits(overlap, TIGHT))


def _dense_sums(boxes: FloatArray, upright: PictureGrids, mirrored: PictureGrids) -> DenseSums:
    """Of one picture both ways round; targets of the turned one are those of turned boxes."""

    def sums(way: tuple[PictureGrids, FloatArray]) -> DenseSums:
        grids, true = way
        return DenseSums.of(grids, [targets(true, grid.shape[0]) for grid in grids])

    one, other = side_by_side(sums, (upright, boxes), (mirrored, mirror(boxes)))
    return one + other


def _spread(known: FloatArray) -> FloatArray:
    """At most _KNOWN boxes that stand for all, in the order of their sizes."""
    if len(known) <= _KNOWN:
        return known
    order = np.argsort(np.prod(known[:, 2:] - known[:, :2], 1), kind="stable")
    return np.asarray(known[order[np.linspace(0, len(order) - 1, _KNOWN).astype(int)]], np.float32)
