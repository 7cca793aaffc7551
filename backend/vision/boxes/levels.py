"""Where a map is cut: what is at least as high belongs to an object."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import Boxes, FloatArray, iou_matrix
from backend.vision.boxes.components import component_boxes, resize_map, scale_boxes

GRID = 160
"""Side of the grid on which a coarse map is cut: one part in 160 is finer than any map."""

SHARES = tuple(share / 50 for share in range(1, 50))
"""Thresholds among which calibration chooses: 0.02, 0.04 ... 0.98."""

_STEPS = 255

Level = Callable[[FloatArray, float], float]
"""(h, w) map and threshold in 0..1 -> the value at which the map is cut."""


def of_maximum(values_hw: FloatArray, threshold: float) -> float:
    """A share of the map's maximum (Zhou et al. 2016, section 3.2)."""
    return threshold * float(values_hw.max())


def of_percentile(values_hw: FloatArray, threshold: float) -> float:
    """The value below which this share of the map's cells lies."""
    return float(np.quantile(values_hw, threshold))


def absolute(_values_hw: FloatArray, threshold: float) -> float:
    """The threshold itself; a map that does not reach it has no box."""
    return threshold


def calibrated(values_hw: FloatArray, _threshold: float) -> float:
    """The map's own cut, which parts its values best into two (Otsu 1979); no threshold.

    In 256 steps of the maximum. A map of one value is all object.
    """
    highest = float(values_hw.max())
    steps = np.asarray(values_hw / highest * _STEPS + 0.5, np.uint8)
    below, _ = cv2.threshold(steps, 0, _STEPS, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return (below + 0.5) / _STEPS * highest if steps.min() < steps.max() else highest


LEVELS: Mapping[str, Level] = {
    "maximum": of_maximum,
    "percentile": of_percentile,
    "absolute": absolute,
    "calibrated": calibrated,
}
"""By the name that ``model_level`` takes."""

THRESHOLDS: Mapping[str, float] = {"maximum": 0.3, "percentile": 0.75, "absolute": 0.5}
"""What a level takes where no threshold is given; what is not here needs none."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """threshold: for ``model_threshold``. mean_iou: what it reached where it was chosen."""

    threshold: float
    mean_iou: float


def fits(values_hw: FloatArray, accepted: Boxes, level: str = "maximum") -> FloatArray:
    """(SHARES,) IoU of a map's largest part with the accepted box that it overlaps most.

    Raises: KeyError for a level that takes no threshold.
    """
    cut_at = {name: LEVELS[name] for name in THRESHOLDS}[level]
    fine = resize_map(values_hw, (GRID, GRID))
    return np.array([_iou(fine, cut_at(fine, share), accepted) for share in SHARES], np.float32)


def best_share(rows: Sequence[FloatArray]) -> Calibration | None:
    """The threshold under which maps fit accepted boxes best, by ``fits`` of each picture.

    The mean IoU counts, the lowest of equal thresholds is taken; mean_iou is an optimum
    over what it was chosen on: expect less elsewhere. None without any picture. Source: the
    choice of a threshold by accepted boxes is that of Choe et al. 2020 (MaxBoxAcc), with
    the mean IoU in place of the share above one IoU.
    """
    if not rows:
        return None
    mean_iou = np.mean(rows, 0)
    best = int(mean_iou.argmax())
    return Calibration(SHARES[best], float(mean_iou[best]))


def _iou(fine: FloatArray, cut: float, truth: Boxes) -> float:
    boxes, _ = component_boxes(np.asarray(fine >= cut))
    if not fine.any() or not len(boxes):
        return 0.0
    largest = scale_boxes(boxes[:1], (GRID, GRID), truth.size_hw)
    return float(iou_matrix(largest, truth.xyxy_px).max())
