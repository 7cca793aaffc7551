"""The forms of things in boxes: a mask of each, and the polygon about a mask."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from backend.domain import BoolArray, FloatArray, Picture
from backend.vision.anchored import wide_enough
from backend.vision.cut_out import cut_out, seen_about
from backend.vision.likeness import F64Array, anchored_map

ERROR = 0.01
"""Farthest that a mask's border may lie from its polygon, in diagonals of the mask's box."""

MOST_POINTS = 100
"""Of a polygon, which a person may have to move one by one; the error grows until they do."""

MASK_SIDE = 160
"""Cells along the longer side of a mask that is kept to learn from."""

_CERTAIN = 0.9
_FINER, _HALF = 4, 0.5
_NOWHERE = np.zeros((0, 2))

FormMap = Callable[[FloatArray, FloatArray, F64Array], FloatArray]
"""From a picture's cells (C, h, w), a map (h, w) of how much each is like the inside of a
rectangle, and the rectangle (x0 y0 x1 y1 in picture units): probabilities (g, g) of the thing
over ``seen_about`` the rectangle."""


def outline(
    picture: Picture,
    cells_chw: FloatArray,
    xyxy_px: FloatArray,
    form: FormMap | None = None,
    values_hw: FloatArray | None = None,
) -> BoolArray:
    """Mask (H, W) of the thing in a box, on the picture's pixels as decoded.

    cells_chw: (C, h, w) of the picture at a stride of 16 pixels. xyxy_px: (4,) of the oriented
    original. form: what was learned of such things; without it the map of what is like the
    inside of the box seeds the cut. values_hw: that map where it is known already, of clicks
    for instance. Where nothing is found, the box itself. Cost: some 25 ms, mostly GrabCut.
    """
    height, width = picture.size_hw
    unit = np.asarray(xyxy_px, np.float64) / np.array([width, height, width, height])
    rectangle = wide_enough(np.clip(unit, 0.0, 1.0))
    values = values_hw
    if values is None:
        values = anchored_map(cells_chw, rectangle, _NOWHERE, _NOWHERE)
    if form is None:
        return cut_out(picture.rgb_u8, values, rectangle, certain=_CERTAIN)[0]
    learned, window = form(cells_chw, values, rectangle), seen_about(rectangle)
    return cut_out(picture.rgb_u8, learned, rectangle, covers=window, certain=_CERTAIN)[0]


def polygon_of(mask_hw: BoolArray, size_hw: tuple[int, int]) -> FloatArray | None:
    """(N, 2) x y in pixels of a picture of size_hw, about the largest part of its mask.

    mask_hw: (h, w) over the whole picture. At least 3 points and at most ``MOST_POINTS``,
    within ``ERROR`` of the border where so many suffice; holes are filled. None for a mask
    without a part that has an area.
    Source: Douglas and Peucker 1973.
    """
    rows, columns = np.flatnonzero(mask_hw.any(1)), np.flatnonzero(mask_hw.any(0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    part = mask_hw[top : rows[-1] + 1, left : columns[-1] + 1]
    # A contour runs through the middles of pixels: on twice as many it keeps nearer the border.
    twice = np.repeat(np.repeat(part, 2, 0), 2, 1).astype(np.uint8)
    borders, _ = cv2.findContours(twice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    border = max(borders, key=cv2.contourArea)
    *_, across, down = cv2.boundingRect(border)
    error = ERROR * float(np.hypot(across, down))
    points = cv2.approxPolyDP(border, error, True)[:, 0]
    while len(points) > MOST_POINTS:
        error *= 1.5
        points = cv2.approxPolyDP(border, error, True)[:, 0]
    if len(points) < 3:
        points = cv2.boxPoints(cv2.minAreaRect(border))
    place = (np.asarray(points, np.float64) + 0.5) / 2 + (left, top)
    height, width = size_hw
    scale = (width / mask_hw.shape[1], height / mask_hw.shape[0])
    return np.asarray(place * scale, np.float32)


def filled(polygon_px: FloatArray, size_hw: tuple[int, int]) -> BoolArray:
    """Mask (h, w) of a polygon (N, 2) in pixels of a picture of size_hw, ``MASK_SIDE`` long."""
    scale = min(1.0, MASK_SIDE / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    # OpenCV takes every cell that the border touches: on finer ones that is less.
    ratio = _FINER * np.array([width / size_hw[1], height / size_hw[0]])
    # Half a cell: it counts places from the middle of the first cell.
    places = np.round((polygon_px * ratio - 0.5) * 16).astype(np.int32)
    fine = np.zeros((_FINER * height, _FINER * width), np.float32)
    cv2.fillPoly(fine, [places], 1.0, shift=4)
    return np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA) > _HALF)
