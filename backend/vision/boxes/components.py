"""Connected parts of a mask as boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from backend.domain import BoolArray, FloatArray, IntArray


def component_boxes(mask_hw: BoolArray) -> tuple[FloatArray, IntArray]:
    """Boxes (N, 4) float32 in cells of the mask, half-open, and areas (N,), largest first.

    Cells that touch by a side or a corner belong together; ties in reading order.
    """
    mask_u8 = np.ascontiguousarray(mask_hw, np.bool_).view(np.uint8)
    # Most masks are one part without a hole, and its border alone says as much, in a tenth
    # of the time.
    borders, _ = cv2.findContours(mask_u8, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(borders) == 1:
        x, y, width, height = cv2.boundingRect(borders[0])
        area = np.array([cv2.countNonZero(mask_u8)], np.int64)
        return np.array([[x, y, x + width, y + height]], np.float32), area
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask_u8, connectivity=8)
    found = stats[1:count].astype(np.int64)
    found = found[np.argsort(-found[:, cv2.CC_STAT_AREA], kind="stable")]
    x, y, width, height = found[:, :4].T
    return (
        np.stack([x, y, x + width, y + height], 1).astype(np.float32),
        found[:, cv2.CC_STAT_AREA],
    )


def largest_part(mask_hw: BoolArray) -> tuple[BoolArray, FloatArray]:
    """The largest connected part of a mask that has one, and its box (4,) in cells."""
    _, names, stats, _ = cv2.connectedComponentsWithStats(
        np.ascontiguousarray(mask_hw, np.uint8), connectivity=8
    )
    at = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    x, y, width, height = stats[at, :4]
    return np.asarray(names == at), np.array([x, y, x + width, y + height], np.float32)


def resize_map(values_hw: FloatArray, size_hw: tuple[int, int]) -> FloatArray:
    """The map on another grid, linear between the centres of its cells."""
    fine = cv2.resize(values_hw, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(fine, np.float32)


def contrast(values_hw: FloatArray, xyxy: FloatArray) -> float:
    """Mean of a map inside a box minus its mean outside, in 0..1.

    values_hw: in 0..1. xyxy: half-open cells. A box round the whole map, which leaves
    nothing to compare with, is compared with 0. A map that is no higher inside gives 0.
    """
    x0, y0, x1, y1 = map(int, xyxy.tolist())
    inside = values_hw[y0:y1, x0:x1]
    if inside.size == 0:
        return 0.0
    total, within = cv2.sumElems(values_hw)[0], cv2.sumElems(inside)[0]
    outside_cells = values_hw.size - inside.size
    outside = (total - within) / outside_cells if outside_cells else 0.0
    return min(max(within / inside.size - outside, 0.0), 1.0)


def resize_maps(maps: Sequence[FloatArray], size_hw: tuple[int, int]) -> FloatArray:
    """(N, H, W): maps of any sizes on one grid, each as by ``resize_map``."""
    fine = np.empty((len(maps), *size_hw), np.float32)
    for values_hw, place in zip(maps, fine, strict=True):
        cv2.resize(values_hw, size_hw[::-1], dst=place, interpolation=cv2.INTER_LINEAR)
    return fine


def scale_boxes(xyxy: FloatArray, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> FloatArray:
    """Boxes on one grid carried to another that shows the same picture."""
    height, width = to_hw[0] / from_hw[0], to_hw[1] / from_hw[1]
    return xyxy * np.array([width, height, width, height], np.float32)
