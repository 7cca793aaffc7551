"""Fitting a head to accepted boxes: everything that is judged is judged out of fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from backend.domain import BackboneIdentity, Boxes, FloatArray, iou_matrix
from backend.errors import RequestError
from backend.learning.accept import accept_features, fit_acceptance
from backend.learning.boxmath import mirror
from backend.learning.calibration import expected_calibration_error
from backend.learning.dense import (
    OUTPUTS,
    DenseSums,
    held_out_error,
    solve,
    targets,
    total,
)
from backend.learning.describe import SURROUNDINGS, surroundings
from backend.learning.examples import Example
from backend.learning.features import PictureFeatures
from backend.learning.head import Head, HeadMeta, name_boxes, to_pixels, to_units
from backend.learning.linear import Ridge, fit_ridge, no_ridge
from backend.learning.matching import LOOSE, TIGHT, match
from backend.learning.naming import Naming, box_vectors, fit_naming
from backend.learning.prior import Prior, prior_for
from backend.learning.promote import Counts
from backend.learning.promote import total as total_counts
from backend.learning.rank import Ranker, explains, fit_ranker
from backend.learning.scene import (
    Described,
    PriorView,
    Proposed,
    describe_all,
    grids_of,
    keep_best,
    propose_with,
    view_of,
)
from backend.learning.whitening import fit_whitening

FOLDS = 5
_PULLS = (0.4, 2.0, 10.0)
"""How strongly the dense head may be drawn to the prior; the pictures themselves choose."""

_CHOOSING = 8
"""Pictures from which their choice is more than chance."""

_PULL_UNCHOSEN = 2.0
_PULL_ALONE, _SIDE_PULL_ALONE = 0.5, 1.0
"""The same towards zero, without a prior."""

_CORNER_PENALTY = 0.3
_NEAR = 0.4
"""IoU with a true box from which a candidate teaches how to move its corners."""

_LEAST_CORNERS = 20
_SMALL = 0.2
_KNOWN = 64
_JITTER, _JITTERED, _FEW = 0.06, 3, 30

FeaturePair = tuple[PictureFeatures, PictureFeatures]
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class FitReport:
    """What the head is worth on its own pictures, each predicted by heads that never saw it."""

    f1_50: float
    f1_70: float
    mean_iou: float
    no_edit: float
    ece: float
    per_picture: Mapping[str, Counts]
    fit_s: float


@dataclass(frozen=True, slots=True)
class _Accepted:
    """An example on its way. boxes (M, 4) in picture units, label (M,) positions."""

    example: Example
    fold: int
    boxes: FloatArray
    label: tuple[int, ...]
    grids: tuple[FloatArray, ...]
    mirrored: tuple[FloatArray, ...]
    view: PriorView | None


@dataclass(frozen=True, slots=True)
class _Judged:
    """Out-of-fold boxes of a picture after suppression, with their features to accept by."""

    boxes: FloatArray
    label: FloatArray
    features: FloatArray
    hit_50: FloatArray
    hit_70: FloatArray


def wants_small(examples: Sequence[Example]) -> bool:
    """Whether accepted boxes are so small that larger pictures are worth their price."""
    units = [to_units(example.boxes) for example in examples if len(example.boxes)]
    if not units:
        return False
    sides = np.concatenate([np.sqrt(np.prod(u[:, 2:] - u[:, :2], 1)) for u in units])
    return bool(np.percentile(sides, 25) < _SMALL)


def fit(
    examples: Sequence[Example],
    features: Mapping[str, FeaturePair],
    labels: Sequence[str],
    backbone: BackboneIdentity,
    *,
    progress: Progress = lambda share: None,
) -> tuple[Head, FitReport]:
    """A head from accepted pictures, and what it is worth.

    features: upright and mirrored, by ``Example.picture``. labels: those that the head
    shall know; boxes of others are left out. Raises: RequestError without a single box.
    """
    begun_s = time.perf_counter()
    used = [example for example in examples if example.picture in features]
    known_labels = _with_boxes(used, labels)
    if not known_labels:
        raise RequestError("No accepted box to learn from.", "Accept or draw boxes first.")
    upright = [features[example.picture][0] for example in used]
    prior = prior_for(backbone.name, upright)
    whitening = prior.whitening if prior else fit_whitening(upright)
    accepted = []
    for number, example in enumerate(used):
        pair = features[example.picture]
        kept = [i for i, name in enumerate(example.boxes.label) if name in known_labels]
        boxes = example.boxes.select(kept)
        grids = grids_of(pair[0], whitening)
        accepted.append(
            _Accepted(
                example,
                number % min(FOLDS, len(used)),
                to_units(boxes),
                tuple(known_labels.index(name) for name in boxes.label),
                grids,
                grids_of(pair[1], whitening),
                view_of(prior, grids) if prior else None,
            )
        )
    progress(0.2)
    trainer = _Trainer(accepted, len(known_labels), prior)
    parts = trainer.parts(progress)
    head = Head(
        known_labels,
        wants_small(used),
        HeadMeta(
            backbone.name,
            backbone.digest,
            prior.digest if prior else "",
            tuple(example.picture for example in used),
        ),
        None if prior else whitening,
        parts.weights,
        parts.corners,
        parts.ranker,
        parts.naming,
        fit_acceptance(
            np.concatenate([one.features for one in parts.judged]),
            np.concatenate([one.hit_50 for one in parts.judged]),
            np.concatenate([one.hit_70 for one in parts.judged]),
            sum(len(one.boxes) for one in accepted),
            len(accepted),
            prior.acceptance if prior else None,
        ),
        _spread(trainer.known(None)),
    )
    report = _report(head, accepted, parts.judged, time.perf_counter() - begun_s)
    metrics = {
        name: float(getattr(report, name))
        for name in ("f1_50", "f1_70", "mean_iou", "no_edit", "ece", "fit_s")
    }
    progress(1.0)
    return replace(head, meta=replace(head.meta, metrics=metrics)), report


@dataclass(frozen=True, slots=True)
class _Parts:
    weights: FloatArray
    corners: Ridge
    ranker: Ranker
    naming: Naming | None
    judged: list[_Judged]


class _Trainer:
    """Fits each part on all pictures, and on all but each fold."""

    def __init__(self, accepted: Sequence[_Accepted], labels: int, prior: Prior | None) -> None:
        self._accepted = accepted
        self._labels = labels
        self._prior = prior
        self._folds = sorted({one.fold for one in accepted})
        self._sums = {fold: self._sums_of(fold) for fold in self._folds}
        self._pull = self._best_pull()

    def parts(self, progress: Progress) -> _Parts:
        """The parts fitted on everything, and every picture judged out of fold."""
        weights = {fold: self._dense(fold) for fold in self._folds}
        known = {fold: _spread(self.known(fold)) for fold in self._folds}
        progress(0.4)
        proposed = [
            propose_with(weights[one.fold], known[one.fold], one.grids, one.view)
            for one in self._accepted
        ]
        corners = self._corners(proposed)
        described = [
            describe_all(found, corners[one.fold], self._prior, one.view)
            for one, found in zip(self._accepted, proposed, strict=True)
        ]
        progress(0.6)
        ranker = self._rankers(described)
        progress(0.8)
        naming = {fold: self._naming(fold) for fold in (None, *self._folds)}
        judged = [
            self._judge(one, found, ranker[one.fold], naming[one.fold])
            for one, found in zip(self._accepted, described, strict=True)
        ]
        return _Parts(self._dense(None), corners[None], ranker[None], naming[None], judged)

    def known(self, without: int | None) -> FloatArray:
        """(M, 4) accepted boxes of the pictures outside a fold, of all where that leaves none."""
        boxes = np.concatenate([one.boxes for one in self._outside(without)])
        if len(boxes):
            return boxes
        if self._prior is not None:
            return self._prior.known
        return np.concatenate([one.boxes for one in self._accepted])

    def _outside(self, fold: int | None) -> Sequence[_Accepted]:
        """The pictures to fit on; with a single picture there is no outside."""
        if fold is None or len(self._folds) < 2:
            return self._accepted
        return [one for one in self._accepted if one.fold != fold]

    def _sums_of(self, fold: int) -> DenseSums:
        grids, wanted = [], []
        for one in self._accepted:
            if one.fold != fold:
                continue
            for views, boxes in ((one.grids, one.boxes), (one.mirrored, mirror(one.boxes))):
                for grid in views:
                    grids.append(grid)
                    wanted.append(targets(boxes, grid.shape[0]))
        return DenseSums.of(grids, wanted)

    def _best_pull(self) -> tuple[float, float]:
        """Pulls of maps and sides with the least error on the folds left out."""
        if self._prior is None:
            return _PULL_ALONE, _SIDE_PULL_ALONE
        if len(self._accepted) < _CHOOSING:
            return _PULL_UNCHOSEN, _PULL_UNCHOSEN
        errors = np.zeros((len(_PULLS), 2))
        for fold in self._folds:
            sums = self._sums_without(fold)
            for i, pull in enumerate(_PULLS):
                weights = solve(sums, self._prior.weights, pull, pull)
                errors[i] += held_out_error(self._sums[fold], weights)
        best = errors.argmin(0)
        return _PULLS[best[0]], _PULLS[best[1]]

    def _sums_without(self, fold: int | None) -> DenseSums:
        kept = [other for other in self._folds if other != fold]
        return total(self._sums[other] for other in kept or self._folds)

    def _dense(self, without: int | None) -> FloatArray:
        sums = self._sums_without(without)
        start = self._prior.weights if self._prior else None
        if start is None:
            start = np.zeros((sums.object_xx.shape[0], OUTPUTS), np.float32)
        return solve(sums, start, *self._pull)

    def _corners(self, proposed: Sequence[Proposed]) -> dict[int | None, Ridge]:
        """Corrections by fold: ridge on what the prior's correction leaves open."""
        rows: list[FloatArray] = []
        steps: list[FloatArray] = []
        folds: list[int] = []
        for one, found in zip(self._accepted, proposed, strict=True):
            if not len(one.boxes):
                continue
            overlap = iou_matrix(found.boxes, one.boxes)
            near = overlap.max(1) >= _NEAR
            if not near.any():
                continue
            boxes, truth = found.boxes[near], one.boxes[overlap[near].argmax(1)]
            size = boxes[:, 2:] - boxes[:, :2]
            seen = surroundings(found.maps, boxes)
            step = (truth - boxes) / np.concatenate([size, size], 1)
            rows.append(seen)
            steps.append(step - self._prior.corners(seen) if self._prior else step)
            folds.append(one.fold)
        return {
            fold: self._corner_ridge(
                [r for r, f in zip(rows, folds, strict=True) if f != fold],
                [s for s, f in zip(steps, folds, strict=True) if f != fold],
            )
            for fold in (None, *self._folds)
        }

    def _corner_ridge(self, rows: Sequence[FloatArray], steps: Sequence[FloatArray]) -> Ridge:
        count = sum(map(len, rows))
        start = self._prior.corners if self._prior else None
        if count < _LEAST_CORNERS:
            return start or no_ridge(SURROUNDINGS, 4)
        fitted = fit_ridge(np.concatenate(rows), np.concatenate(steps), _CORNER_PENALTY * count)
        return fitted if start is None else _added(start, fitted)

    def _rankers(self, described: Sequence[Described]) -> dict[int | None, Ranker]:
        overlaps = [
            iou_matrix(found.boxes, one.boxes).max(1, initial=0.0)
            for one, found in zip(self._accepted, described, strict=True)
        ]

        every = np.concatenate([found.prior_score for found in described])
        trusted = self._prior is not None and explains(every, np.concatenate(overlaps))

        def fitted(without: int | None) -> Ranker:
            chosen = [
                i
                for i, one in enumerate(self._accepted)
                if one.fold != without or len(self._folds) < 2
            ]
            return fit_ranker(
                np.concatenate([described[i].rows for i in chosen]),
                np.concatenate([described[i].prior_score for i in chosen]),
                np.concatenate([overlaps[i] for i in chosen]),
                len(chosen),
                trusted,
            )

        return {fold: fitted(fold) for fold in (None, *self._folds)}

    def _naming(self, without: int | None) -> Naming | None:
        if self._labels < 2:
            return None
        few = len(self._accepted) < _FEW
        random = np.random.RandomState(0)
        vectors: list[FloatArray] = []
        label: list[int] = []
        for one in self._outside(without):
            if not len(one.boxes):
                continue
            for grids, boxes in ((one.grids, one.boxes), (one.mirrored, mirror(one.boxes))):
                size = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
                for copy in range(_JITTERED if few else 1):
                    moved = boxes + _JITTER * size * random.randn(*boxes.shape) if copy else boxes
                    vectors.append(box_vectors(grids, moved.astype(np.float32)))
                    label += one.label
        if not label:
            return None
        return fit_naming(np.concatenate(vectors), label, self._labels)

    @staticmethod
    def _judge(one: _Accepted, found: Described, ranker: Ranker, naming: Naming | None) -> _Judged:
        boxes, score, iou = keep_best(found.boxes, ranker(found))
        label, margin = name_boxes(naming, one.grids, boxes)
        right = np.equal(label[:, None], np.asarray(one.label, np.float32)[None])
        overlap = np.where(right, iou_matrix(boxes, one.boxes), 0)
        features = accept_features(score, iou, margin)
        return _Judged(boxes, label, features, hits(overlap, LOOSE), hits(overlap, TIGHT))


def hits(overlap: FloatArray, least: float) -> FloatArray:
    """(N,) 1 where a box, best first, takes a true box that no better one took."""
    hit = np.zeros(len(overlap), np.float32)
    free = np.ones(overlap.shape[1], bool)
    for i, row in enumerate(overlap):
        open_row = np.where(free, row, 0)
        if open_row.size and open_row.max() >= least:
            free[int(open_row.argmax())] = False
            hit[i] = 1
    return hit


def _added(first: Ridge, second: Ridge) -> Ridge:
    """One ridge that gives the sum of two."""
    weights = first.weights * (second.spread / first.spread)[:, None] + second.weights
    shift = ((second.mean - first.mean) / first.spread) @ first.weights
    offset = np.asarray(first.offset + second.offset + shift, np.float32)
    return Ridge(second.mean, second.spread, weights, offset)


def _spread(known: FloatArray) -> FloatArray:
    """At most _KNOWN boxes that stand for all, in the order of their sizes."""
    if len(known) <= _KNOWN:
        return known
    order = np.argsort(np.prod(known[:, 2:] - known[:, :2], 1), kind="stable")
    return np.asarray(known[order[np.linspace(0, len(order) - 1, _KNOWN).astype(int)]], np.float32)


def _with_boxes(examples: Sequence[Example], labels: Sequence[str]) -> tuple[str, ...]:
    seen = {name for example in examples for name in example.boxes.label}
    return tuple(name for name in labels if name in seen)


def _report(
    head: Head, accepted: Sequence[_Accepted], judged: Sequence[_Judged], fit_s: float
) -> FitReport:
    per_picture: dict[str, Counts] = {}
    overlaps: list[float] = []
    scores: list[float] = []
    right: list[bool] = []
    clean = 0
    for one, found in zip(accepted, judged, strict=True):
        cut_by, probability = head.acceptance(found.features)
        shown = np.flatnonzero(cut_by >= head.acceptance.threshold)
        size_hw = one.example.boxes.size_hw
        boxes = Boxes(
            to_pixels(found.boxes[shown], size_hw),
            probability[shown],
            tuple(head.labels[int(i)] for i in found.label[shown]),
            size_hw,
        )
        loose, tight = (match(boxes, one.example.boxes, least) for least in (LOOSE, TIGHT))
        truth = len(one.example.boxes)
        per_picture[one.example.picture] = Counts(
            len(loose), len(boxes) - len(loose), truth - len(loose),
            len(tight), len(boxes) - len(tight), truth - len(tight),
        )  # fmt: skip
        hit = {pair.found for pair in tight}
        overlaps += [pair.iou for pair in loose]
        scores += boxes.score.tolist()
        right += [i in hit for i in range(len(boxes))]
        clean += len(tight) == len(boxes) == truth
    counts = total_counts(per_picture.values())
    return FitReport(
        counts.f1_50,
        counts.f1_70,
        float(np.mean(overlaps)) if overlaps else 0.0,
        clean / len(accepted),
        expected_calibration_error(np.array(scores, np.float32), np.array(right, bool)),
        per_picture,
        fit_s,
    )
