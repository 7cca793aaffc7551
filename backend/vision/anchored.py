"""What an annotator points at: a box and a mask from a rough rectangle or from clicks.

A rectangle says which cells of the frozen network's features show the object and which show
its surroundings. What parts the two is a map (``anchored_map``); the map seeds GrabCut on
the pixels round the rectangle. A click first grows into a rectangle by the same map. All
boxes in this module are x0 y0 x1 y1 in picture units, 0..1, unless their name ends in _px.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import UNNAMED, BoolArray, Boxes, FloatArray, Picture, clip_xyxy_px, iou_matrix
from backend.errors import ShapeError
from backend.vision.boxes.components import component_boxes, contrast, resize_map
from backend.vision.boxes.levels import GRID
from backend.vision.boxes.multi_level import explained
from backend.vision.cut_out import cut_out
from backend.vision.likeness import F64Array, anchored_map, free_of

_FIRST_SIDE, _GROWTHS = 0.4, 3
"""A click begins as a square of this side, in picture units, and is looked at so often."""

_GROWTH_GRID = 80
_GROWTH_LEVELS = np.linspace(0.1, 0.9, 17)

_FUSED, _SHARPNESS, _LEAST_OVERLAP = 20, 10.0, 0.5

_NOTHING = np.zeros((0, 4), np.float32)

_LEAST_SIDE = 0.004
"""Of a rectangle, in picture units: three pixels of a photo."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """A place that an annotator marked, in pixels of the oriented original.

    xyxy_px: a rectangle, or a point where both corners are the same. is_positive: whether
    the object is there; a negative rectangle counts as a point at its centre.
    """

    xyxy_px: tuple[float, float, float, float]
    is_positive: bool = True

    @property
    def is_point(self) -> bool:
        """Whether it has no area."""
        return self.xyxy_px[0] >= self.xyxy_px[2] or self.xyxy_px[1] >= self.xyxy_px[3]


@dataclass(frozen=True, slots=True)
class Refined:
    """What was found. box: one, unnamed, scored by the map's contrast. mask_hw: (H, W) of
    the picture's pixels as decoded. map_hw: (h, w) float32 in 0..1 on the features' grid.
    """

    box: Boxes
    mask_hw: BoolArray
    map_hw: FloatArray


def refine(
    picture: Picture,
    cells_chw: FloatArray,
    anchors: Sequence[Anchor],
    proposals: Boxes | None = None,
    taken_xyxy_px: FloatArray = _NOTHING,
) -> Refined | None:
    """The object that is marked; None where nothing is marked as being there.

    cells_chw: (C, h, w) features of the picture, best at a stride of 16 pixels: coarser
    ones have no edges, finer ones no meaning. anchors: the last positive rectangle counts,
    with every point; points alone grow into one. proposals: boxes of this picture that
    may be objects, scored in 0..1: where some overlap the rectangle, it moves half-way to
    their mean. taken_xyxy_px: (N, 4) of what is drawn already: it is not part of the object,
    unless a point of the object lies in it or the rectangle means the same. The box is the
    mean of the rectangle and of the mask's box, so that one that is right already moves
    little; where GrabCut finds nothing it is the rectangle.
    Source: ours; GrabCut by Rother et al. 2004. Cost: some 50 ms, mostly GrabCut.
    Raises: ShapeError.
    """
    if cells_chw.ndim != 3:
        raise ShapeError(f"Cells must be (C, h, w), got {cells_chw.shape}.")
    height, width = picture.size_hw
    unit = np.array([width, height, width, height], np.float64)
    sides = [(one, np.clip(np.array(one.xyxy_px) / unit, 0.0, 1.0)) for one in anchors]
    rectangles = [xyxy for one, xyxy in sides if one.is_positive and not one.is_point]
    there = _centres([xyxy for one, xyxy in sides if one.is_positive and one.is_point])
    away = _centres([xyxy for one, xyxy in sides if not one.is_positive])
    others = _others(taken_xyxy_px / unit, rectangles[-1:], there)
    free = free_of(cells_chw.shape[1:], others)
    if rectangles:
        rectangle = wide_enough(rectangles[-1])
    elif len(there):
        rectangle = _grown(cells_chw, there, away, free)
    else:
        return None
    if proposals is not None:
        proposals = _untaken(proposals, others * unit)
    if proposals is not None and len(proposals):
        near = proposed(rectangle, proposals.xyxy_px / unit, proposals.score)
        rectangle = (rectangle + near) / 2
    values = anchored_map(cells_chw, rectangle, there, away) * free
    mask, found = cut_out(picture.rgb_u8, values, rectangle)
    box = (rectangle + found) / 2
    placed = clip_xyxy_px((box * unit)[None].astype(np.float32), picture.size_hw)
    fine = resize_map(values, (GRID, GRID))
    score = np.array([contrast(fine, np.round(box * GRID))], np.float32)
    return Refined(Boxes(placed, score, (UNNAMED,), picture.size_hw), mask, values)


def proposed(rectangle: F64Array, boxes: F64Array, score: FloatArray) -> F64Array:
    """(4,) mean of the boxes (N, 4) that overlap the rectangle, by score plus overlap.

    Up to 20 of an IoU of at least 0.5, weighted by exponentials of ten times the sum
    (weighted boxes fusion, Solovyev et al. 2021); the rectangle itself where there is none.
    """
    overlap = iou_matrix(np.asarray(rectangle, np.float32), np.asarray(boxes, np.float32))[0]
    close = np.flatnonzero(overlap >= _LEAST_OVERLAP)
    if not len(close):
        return rectangle
    worth = (score + overlap)[close]
    best = np.argsort(-worth, kind="stable")[:_FUSED]
    weight = np.exp(_SHARPNESS * (worth[best] - worth[best[0]]))
    return np.asarray(weight @ boxes[close[best]] / weight.sum())


def _others(taken: F64Array, rectangle: Sequence[F64Array], there: F64Array) -> F64Array:
    """Those of what is taken (N, 4) that are other objects than the one that is marked."""
    holds = np.asarray((taken[:, None, :2] <= there) & (there <= taken[:, None, 2:]))
    meant = np.asarray(holds.all(2)).any(axis=1)
    for one in rectangle:
        overlap = iou_matrix(np.asarray(taken, np.float32), np.asarray(one[None], np.float32))
        meant = meant | (overlap[:, 0] >= _LEAST_OVERLAP)
    return np.asarray(taken[~meant])


def _untaken(proposals: Boxes, others_px: F64Array) -> Boxes:
    """The proposals that are none of the other objects."""
    overlap = iou_matrix(proposals.xyxy_px, np.asarray(others_px, np.float32))
    return proposals.select(np.flatnonzero(overlap.max(1, initial=0.0) < _LEAST_OVERLAP).tolist())


def _grown(cells_chw: FloatArray, there: F64Array, away: F64Array, free: FloatArray) -> F64Array:
    """A rectangle about clicks: from a square, the part of its map that holds them, again."""
    middle = there.mean(0)
    hull = np.concatenate([there.min(0), there.max(0)])
    first = np.concatenate([middle, middle]) + _FIRST_SIDE / 2 * np.array([-1, -1, 1, 1])
    start = np.concatenate([np.minimum(first[:2], hull[:2]), np.maximum(first[2:], hull[2:])])
    start = np.asarray(np.clip(start, 0.0, 1.0), np.float64)
    rectangle = start
    for _ in range(_GROWTHS):
        values = anchored_map(cells_chw, rectangle, there, away) * free
        fine = resize_map(values, (_GROWTH_GRID, _GROWTH_GRID))
        parts = _parts_round(fine, hull * _GROWTH_GRID)
        if not len(parts):
            return rectangle
        rectangle = np.asarray(parts[explained(fine, parts).argmax()], np.float64) / _GROWTH_GRID
        if min(rectangle[2:] - rectangle[:2]) < 2 / _GROWTH_GRID:
            return start
    return rectangle


def _parts_round(fine: FloatArray, hull: F64Array) -> FloatArray:
    """(N, 4) boxes of connected parts at several levels that hold the hull, in cells."""
    low, high = float(fine.min()), float(fine.max())
    found: list[FloatArray] = [np.zeros((0, 4), np.float32)]
    for level in _GROWTH_LEVELS:
        boxes, _ = component_boxes(np.asarray(fine >= low + level * (high - low)))
        holds = (boxes[:, :2] <= hull[:2]).all(1) & (boxes[:, 2:] >= hull[2:]).all(1)
        found.append(boxes[holds][:1])
    return np.asarray(np.unique(np.concatenate(found), axis=0), np.float32)


def wide_enough(rectangle: F64Array) -> F64Array:
    """The rectangle with sides of at least a few thousandths of the picture, inside it."""
    middle = (rectangle[:2] + rectangle[2:]) / 2
    half = np.maximum((rectangle[2:] - rectangle[:2]) / 2, _LEAST_SIDE / 2)
    middle = np.clip(middle, half, 1 - half)
    return np.asarray(np.concatenate([middle - half, middle + half]))


def _centres(rectangles: Sequence[F64Array]) -> F64Array:
    """(N, 2) centres x y."""
    return np.asarray([(one[:2] + one[2:]) / 2 for one in rectangles], np.float64).reshape(-1, 2)
