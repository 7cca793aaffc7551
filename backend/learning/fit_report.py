"""What a fitted head is worth on its own pictures, each judged by parts that never saw it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import Boxes, FloatArray
from backend.learning.calibration import expected_calibration_error
from backend.learning.examples import Example
from backend.learning.head import Head, to_pixels
from backend.learning.matching import LOOSE, TIGHT, match
from backend.learning.promote import Counts, total


@dataclass(frozen=True, slots=True)
class Judged:
    """Out-of-fold boxes of a picture, best first, with their features to accept by.

    boxes (N, 4) in picture units, label (N,) positions; hit_50, hit_70 (N,) 1 where a box
    is right at that IoU.
    """

    boxes: FloatArray
    label: FloatArray
    features: FloatArray
    hit_50: FloatArray
    hit_70: FloatArray


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


def report_of(
    head: Head, examples: Sequence[Example], judged: Sequence[Judged], fit_s: float
) -> FitReport:
    """The report, with the boxes that the head's acceptance shows."""
    per_picture: dict[str, Counts] = {}
    overlaps: list[float] = []
    scores: list[float] = []
    right: list[bool] = []
    clean = 0
    for example, found in zip(examples, judged, strict=True):
        cut_by, probability = head.acceptance(found.features)
        shown = np.flatnonzero(cut_by >= head.acceptance.threshold)
        size_hw = example.boxes.size_hw
        boxes = Boxes(
            to_pixels(found.boxes[shown], size_hw),
            probability[shown],
            tuple(head.labels[int(i)] for i in found.label[shown]),
            size_hw,
        )
        loose, tight = (match(boxes, example.boxes, least) for least in (LOOSE, TIGHT))
        truth = len(example.boxes)
        per_picture[example.picture] = Counts(
            len(loose), len(boxes) - len(loose), truth - len(loose),
            len(tight), len(boxes) - len(tight), truth - len(tight),
        )  # fmt: skip
        hit = {pair.found for pair in tight}
        overlaps += [pair.iou for pair in loose]
        scores += boxes.score.tolist()
        right += [i in hit for i in range(len(boxes))]
        clean += len(tight) == len(boxes) == truth
    counts = total(per_picture.values())
    return FitReport(
        counts.f1_50,
        counts.f1_70,
        float(np.mean(overlaps)) if overlaps else 0.0,
        clean / len(examples),
        expected_calibration_error(np.array(scores, np.float32), np.array(right, bool)),
        per_picture,
        fit_s,
    )
