"""A box carried from one frame to another by the points inside it.

Source: Kalal, Mikolajczyk, Matas, "Forward-Backward Error" (ICPR 2010): the median flow of
points that come back to where they began. Where they are lost, scale-invariant features
(Lowe 2004, with his ratio test) find the same spots again.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import BoolArray, FloatArray, U8Array

_GRID = 10
_INSET = 0.1
"""Of a box's sides: points nearer to the border show the background."""

_WINDOW_PX, _LEVELS = 15, 4
_LEAST_POINTS = 8
_MOST_ERROR = 0.05
"""Median forward-backward error, of the box's shorter side, at which the flow is believed."""

_RATIO = 0.75
_SEARCH = 1.0
"""Sides of the box by which it is looked for around its last place."""

_LEAST_MATCHES = 6
_REPROJECTION_PX = 3.0
_LARGEST_GROWTH = 1.6


@dataclass(frozen=True, slots=True)
class Carried:
    """xyxy_px: where the box went. sureness: 0..1, share of its points that came back."""

    xyxy_px: FloatArray
    sureness: float


def carry(before_hw: U8Array, after_hw: U8Array, xyxy_px: FloatArray) -> Carried | None:
    """The box of one grey frame (H, W) in the next, by median flow; None where it is lost.

    xyxy_px: (4,) in pixels of these frames.
    """
    start = _grid_of(xyxy_px, before_hw.shape)
    if len(start) < _LEAST_POINTS:
        return None
    there, found = _follow(before_hw, after_hw, start)
    back, returned = _follow(after_hw, before_hw, there)
    error_px = np.linalg.norm(back - start, axis=1)
    side_px = float(min(xyxy_px[2] - xyxy_px[0], xyxy_px[3] - xyxy_px[1]))
    good = found & returned & (error_px <= max(1.0, _MOST_ERROR * side_px))
    if good.sum() < _LEAST_POINTS:
        return None
    good &= error_px <= np.median(error_px[good])
    return Carried(_moved(xyxy_px, start[good], there[good]), float((found & returned).mean()))


def find_again(before_hw: U8Array, after_hw: U8Array, xyxy_px: FloatArray) -> Carried | None:
    """The same by matched features, after a jump too large for the flow; None where too few
    match. Both frames are looked at round the old place alone.
    """
    near = _widened(xyxy_px, _SEARCH, after_hw.shape)
    sift = cv2.SIFT_create()  # type: ignore[attr-defined, unused-ignore]
    old_at, old = sift.detectAndCompute(before_hw, _mask(before_hw.shape, xyxy_px))
    new_at, new = sift.detectAndCompute(after_hw, _mask(after_hw.shape, near))
    if old is None or new is None or len(old) < _LEAST_MATCHES or len(new) < 2:
        return None
    pairs = cv2.BFMatcher().knnMatch(old, new, k=2)
    kept = [first for first, second in pairs if first.distance < _RATIO * second.distance]
    if len(kept) < _LEAST_MATCHES:
        return None
    start = np.array([old_at[one.queryIdx].pt for one in kept], np.float32)
    there = np.array([new_at[one.trainIdx].pt for one in kept], np.float32)
    _, inliers = cv2.estimateAffinePartial2D(
        start, there, method=cv2.RANSAC, ransacReprojThreshold=_REPROJECTION_PX
    )
    right = np.zeros(len(kept), bool) if inliers is None else inliers[:, 0].astype(bool)
    if right.sum() < _LEAST_MATCHES:
        return None
    return Carried(_moved(xyxy_px, start[right], there[right]), float(right.mean()))


def _grid_of(xyxy_px: FloatArray, size_hw: tuple[int, ...]) -> FloatArray:
    """(N, 2) points x y inside the box and the frame."""
    x0, y0, x1, y1 = xyxy_px
    inset_x, inset_y = _INSET * (x1 - x0), _INSET * (y1 - y0)
    across = np.linspace(x0 + inset_x, x1 - inset_x, _GRID)
    down = np.linspace(y0 + inset_y, y1 - inset_y, _GRID)
    points = np.stack(np.meshgrid(across, down), -1).reshape(-1, 2).astype(np.float32)
    limit = np.array([size_hw[1] - 1, size_hw[0] - 1], np.float32)
    return points[((points >= 0) & (points <= limit)).all(1)]


def _follow(
    before_hw: U8Array, after_hw: U8Array, points: FloatArray
) -> tuple[FloatArray, BoolArray]:
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        before_hw,
        after_hw,
        points[:, None],
        points[:, None].copy(),
        winSize=(_WINDOW_PX, _WINDOW_PX),
        maxLevel=_LEVELS,
    )
    return np.asarray(there[:, 0], np.float32), np.asarray(found[:, 0] > 0)


def _moved(xyxy_px: FloatArray, start: FloatArray, there: FloatArray) -> FloatArray:
    """The box under the median shift and the median change of distances between points."""
    shift = np.median(there - start, axis=0)
    first, second = np.triu_indices(len(start), 1)
    before = np.linalg.norm(start[first] - start[second], axis=1)
    after = np.linalg.norm(there[first] - there[second], axis=1)
    apart = before > 1
    growth = float(np.median(after[apart] / before[apart])) if apart.any() else 1.0
    growth = min(max(growth, 1 / _LARGEST_GROWTH), _LARGEST_GROWTH)
    centre = (xyxy_px[:2] + xyxy_px[2:]) / 2 + shift
    half = (xyxy_px[2:] - xyxy_px[:2]) / 2 * growth
    return np.concatenate([centre - half, centre + half]).astype(np.float32)


def _widened(xyxy_px: FloatArray, share: float, size_hw: tuple[int, ...]) -> FloatArray:
    more = share * (xyxy_px[2:] - xyxy_px[:2])
    limit = np.array([size_hw[1], size_hw[0]], np.float32)
    low, high = np.clip(xyxy_px[:2] - more, 0, limit), np.clip(xyxy_px[2:] + more, 0, limit)
    return np.concatenate([low, high]).astype(np.float32)


def _mask(size_hw: tuple[int, ...], xyxy_px: FloatArray) -> U8Array:
    mask = np.zeros(size_hw, np.uint8)
    x0, y0 = np.floor(np.maximum(xyxy_px[:2], 0)).astype(int)
    x1, y1 = np.ceil(np.maximum(xyxy_px[2:], 0)).astype(int)
    mask[y0:y1, x0:x1] = 255
    return mask
