"""When two points on a picture are the same place."""

from __future__ import annotations

import numpy as np

from backend.domain import BoolArray, FloatArray, iou_matrix

NEAR = 0.05
"""Share of the picture's longer side within which two points are the same place."""


def near_px(size_hw: tuple[int, int]) -> float:
    """Distance up to which two points on a picture of this size are the same place."""
    return NEAR * max(size_hw)


def distances_px(first_px: FloatArray, second_px: FloatArray) -> FloatArray:
    """(N, M) between points (N, 2) and (M, 2)."""
    first, second = (points.reshape(-1, 2).astype(np.float64) for points in (first_px, second_px))
    return np.asarray(np.hypot(*(first[:, None] - second[None]).transpose(2, 0, 1)), np.float32)


def likeness(
    first_xyxy_px: FloatArray, second_xyxy_px: FloatArray, size_hw: tuple[int, int]
) -> FloatArray:
    """(N, M) in 0..1, one half where two regions are just the same one.

    Of boxes (N, 4) and (M, 4) the intersection over union; of places without area, both
    corners the same, 1 for none and .5 for the distance ``near_px``.
    """
    first, second = (boxes.reshape(-1, 4) for boxes in (first_xyxy_px, second_xyxy_px))
    points = [(boxes[:, :2] == boxes[:, 2:]).all(1) for boxes in (first, second)]
    far = distances_px(first[:, :2], second[:, :2]) / (2 * near_px(size_hw))
    of_points = points[0][:, None] & points[1][None]
    close = np.clip(1 - far, 0, 1)
    return np.asarray(np.where(of_points, close, iou_matrix(first, second)), np.float32)


def hits(found_px: FloatArray, accepted_px: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    """(N,) whether each found point (N, 2), best first, is an accepted one (M, 2).

    One to one: each takes the nearest accepted point that is left.
    """
    far = distances_px(found_px, accepted_px)
    hit = np.zeros(len(far), np.bool_)
    for at in range(len(far) if far.size else 0):
        best = int(far[at].argmin())
        if far[at, best] <= near_px(size_hw):
            hit[at] = True
            far[:, best] = np.inf
    return hit
