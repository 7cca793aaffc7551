"""The best boxes among those of a map's parts at several levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import Boxes, FloatArray, Picture, iou_matrix
from backend.vision.boxes.components import component_boxes, resize_map
from backend.vision.boxes.levels import GRID
from backend.vision.boxes.parts import PartOptions, joined, placed
from backend.vision.boxes.registry import box_rule
from backend.vision.options import read_options, several, within

_MOST_LEVELS = 20


@dataclass(frozen=True, slots=True)
class MultiLevelOptions(PartOptions):
    """levels: shares of the map's maximum. overlap: IoU beyond which the lesser of two
    boxes is dropped. parts, min_part: as of every rule; the worth of a box is its score.
    """

    parts: int = within(3, 1, 100)
    min_part: float = within(0.5, 0.0, 1.0)
    levels: tuple[float, ...] = several(
        (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5), 0.01, 1.0, most=_MOST_LEVELS
    )
    overlap: float = within(0.3, 0.0, 1.0)


@box_rule("multi_level")
def multi_level(
    maps: Sequence[FloatArray], pictures: Sequence[Picture], options: Mapping[str, str]
) -> list[Boxes]:
    """A few boxes of parts of each map that stand out at any of several levels, best first.

    One level joins neighbours or breaks what is uneven; here every connected part at every
    level is a candidate, and a box is worth what it explains of the map (``explained``).
    Greedy: of two that overlap, or of which one holds the other, the better one stays. A
    zero map has none. Source: ours; the score is the between-class variance of Otsu 1979,
    equation 14, with a box in place of a level.
    """
    chosen = read_options(MultiLevelOptions, options)
    found = [_best(values_hw, chosen) for values_hw in maps]
    return placed(found, (GRID, GRID), [picture.size_hw for picture in pictures], chosen)


def _best(values_hw: FloatArray, chosen: MultiLevelOptions) -> tuple[FloatArray, FloatArray]:
    """The boxes (N, 4) of a map that are kept, in cells of the grid, and their scores (N,)."""
    if not values_hw.any():
        return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    fine = resize_map(values_hw, (GRID, GRID))
    boxes = _candidates(fine, chosen)
    score = explained(fine, boxes)
    kept: list[int] = []
    for at in np.argsort(-score, kind="stable"):
        if len(kept) == chosen.parts or (kept and score[at] < chosen.min_part * score[kept[0]]):
            break
        if not _doubled(boxes[at], boxes[kept], chosen.overlap):
            kept.append(int(at))
    best = joined(boxes[kept], chosen)
    return best, explained(fine, best)


def explained(values_hw: FloatArray, xyxy: FloatArray) -> FloatArray:
    """(N,) of each box, the share of the map's variance between its inside and its outside.

    xyxy: (N, 4) half-open whole cells. 1 for a box that is the map, 0 for a flat map, a box
    of no or all cells, or one that is no higher inside. The square of the correlation of
    map and box: a peak alone and a box far too large both explain little.
    """
    table = np.pad(values_hw.astype(np.float64).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    x0, y0, x1, y1 = xyxy.astype(np.int64).T
    inside = table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]
    cells = ((x1 - x0) * (y1 - y0)).astype(np.float64)
    share, total = cells / values_hw.size, table[-1, -1] / values_hw.size
    variance = float(values_hw.var(dtype=np.float64))
    partial = (cells > 0) & (cells < values_hw.size)
    if variance <= 0:
        return np.zeros(len(xyxy), np.float32)
    higher = np.where(partial, inside / np.maximum(cells, 1) - total, 0.0).clip(0)
    # w (m - M)^2 / (1 - w) equals w0 w1 (m1 - m0)^2.
    between = share * np.square(higher) / np.where(partial, 1 - share, 1.0)
    return np.asarray(np.clip(between / variance, 0, 1), np.float32)


def _candidates(fine: FloatArray, options: MultiLevelOptions) -> FloatArray:
    found: list[FloatArray] = []
    for level in options.levels:
        boxes, areas = component_boxes(np.asarray(fine >= level * fine.max()))
        found.append(boxes[areas >= options.min_area * fine.size])
    return np.unique(np.concatenate(found), axis=0)


def _doubled(box: FloatArray, kept: FloatArray, most_overlap: float) -> bool:
    """Whether a box repeats one that is kept: overlaps it too much, lies in it or round it."""
    low, high = np.maximum(kept[:, :2], box[:2]), np.minimum(kept[:, 2:], box[2:])
    shared = np.prod(np.maximum(high - low, 0), 1)
    smaller = np.minimum(_area(kept), _area(box[None]))
    nested = shared >= smaller
    return bool((nested | (iou_matrix(box[None], kept)[0] > most_overlap)).any())


def _area(xyxy: FloatArray) -> FloatArray:
    return np.asarray(np.prod(xyxy[:, 2:] - xyxy[:, :2], 1), np.float32)
