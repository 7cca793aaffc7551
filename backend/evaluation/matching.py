"""How good proposed boxes are, held against true ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from backend.domain import Boxes
from backend.learning.calibration import expected_calibration_error
from backend.learning.matching import LOOSE, TIGHT, match


@dataclass(frozen=True, slots=True)
class Judgement:
    """One picture's proposals held against its true boxes.

    hits_50, hits_70: pairs at 0.5 and 0.7. overlaps: of the pairs at 0.5. score: of every
    proposal. right_70: whether it was one of the pairs at 0.7.
    """

    found: int
    truth: int
    hits_50: int
    hits_70: int
    overlaps: tuple[float, ...]
    score: tuple[float, ...]
    right_70: tuple[bool, ...]

    @property
    def needs_no_edit(self) -> bool:
        """Every true box proposed at 0.7, and nothing else."""
        return self.hits_70 == self.truth == self.found


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good proposals are, each in [0, 1].

    f1_50, f1_70: over all boxes of all pictures; 1 where there was nothing to find and
    nothing proposed. mean_iou: of the pairs at 0.5, 0 without one. no_edit: share of
    pictures. ece: of the scores as probabilities to be right at 0.7.
    """

    f1_50: float
    f1_70: float
    mean_iou: float
    no_edit: float
    ece: float


def judge(found: Boxes, truth: Boxes) -> Judgement:
    """Hold one picture's proposals against its true boxes."""
    loose, tight = match(found, truth, LOOSE), match(found, truth, TIGHT)
    right = {pair.found for pair in tight}
    return Judgement(
        found=len(found),
        truth=len(truth),
        hits_50=len(loose),
        hits_70=len(tight),
        overlaps=tuple(pair.iou for pair in loose),
        score=tuple(float(score) for score in found.score),
        right_70=tuple(at in right for at in range(len(found))),
    )


def accuracy(judged: Sequence[Judgement]) -> Accuracy:
    """Pool the pictures; no picture counts as faultless."""
    boxes = sum(one.found + one.truth for one in judged)
    overlaps = [iou for one in judged for iou in one.overlaps]
    return Accuracy(
        f1_50=_f1(sum(one.hits_50 for one in judged), boxes),
        f1_70=_f1(sum(one.hits_70 for one in judged), boxes),
        mean_iou=float(np.mean(overlaps)) if overlaps else 0.0,
        no_edit=float(np.mean([one.needs_no_edit for one in judged])) if judged else 1.0,
        ece=expected_calibration_error(
            np.array([score for one in judged for score in one.score], np.float32),
            np.array([right for one in judged for right in one.right_70], bool),
        ),
    )


def mean_accuracy(parts: Iterable[Accuracy]) -> Accuracy:
    """The mean of each figure over at least one measurement."""
    rows = list(parts)
    names = [field.name for field in fields(Accuracy)]
    return Accuracy(
        **{name: float(np.mean([getattr(row, name) for row in rows])) for name in names}
    )


def _f1(hits: int, boxes: int) -> float:
    return 2 * hits / boxes if boxes else 1.0
