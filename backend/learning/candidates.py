"""Boxes that might be objects, from the maps of the dense head and from accepted boxes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.learning.boxmath import Integral, enlarge, grow, sigmoid, suppress, tidy
from backend.learning.dense import DenseMaps

FACTOR = 4
"""The object map is enlarged this often before it is cut."""

_LEVELS = np.linspace(0.15, 0.9, 9)
_FIXED_LEVELS = (0.3, 0.5)
_LEAST_PART = 6
_PARTS = 12
_PEAKS = 25
_BEST_OBJECT_CELLS, _BEST_CENTRE_CELLS = 20, 10
_CENTRED_SHAPES, _CENTRED_PEAKS = 4, 12
_SLID_SHAPES, _SLID, _SLID_OVERLAP = 12, 40, 0.8
_MOMENT_SPREAD = 1.7
_PLACED = 4
_GRAIN = 100


@dataclass(frozen=True, slots=True)
class Candidates:
    """boxes: (N, 4) picture units. moment: (1, 4), the box of the object map's moments."""

    boxes: FloatArray
    moment: FloatArray


def propose(maps: DenseMaps, known: FloatArray) -> Candidates:
    """About 200 boxes on one picture.

    known: (M, 4) accepted boxes of other pictures, for shapes and places. Parts of the
    object map at several levels; boxes from the predicted sides at peaks and best cells;
    known shapes at centres and slid over the picture; the map's moments; known places.
    """
    heat = enlarge(sigmoid(maps.logits_ggm[..., 0]), FACTOR)
    centre = enlarge(maps.logits_ggm[..., 1], FACTOR)
    levels = [*(_LEVELS * heat.max()), *_FIXED_LEVELS]
    moment = _moment(heat)
    found = [
        *(_parts(heat, float(level)) for level in levels),
        *_from_sides(maps),
        *_centred(centre, shapes(known, _CENTRED_SHAPES)),
        _slid(heat, shapes(known, _SLID_SHAPES)),
        moment,
        _places(known),
    ]
    boxes = tidy(np.concatenate(found))
    _, first = np.unique(np.round(boxes * _GRAIN), axis=0, return_index=True)
    return Candidates(boxes[np.sort(first)], np.clip(moment, 0, 1).astype(np.float32))


def shapes(known: FloatArray, count: int) -> FloatArray:
    """(K, 2) widths and heights that stand for the known boxes: greedy k-centre on logs."""
    sizes = np.maximum(known[:, 2:] - known[:, :2], 1e-3)
    logs = np.log(sizes)
    chosen = [int(np.argmin(np.square(logs - np.median(logs, 0)).sum(1)))]
    distance = np.square(logs - logs[chosen[0]]).sum(1)
    while len(chosen) < min(count, len(logs)):
        farthest = int(np.argmax(distance))
        if distance[farthest] < 0.01:
            break
        chosen.append(farthest)
        distance = np.minimum(distance, np.square(logs - logs[farthest]).sum(1))
    return np.asarray(sizes[chosen], np.float32)


def _parts(heat: FloatArray, level: float) -> FloatArray:
    mask = (heat >= level).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=4, ltype=cv2.CV_32S)
    parts = stats[1:]
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= _LEAST_PART]
    parts = parts[np.argsort(-parts[:, cv2.CC_STAT_AREA], kind="stable")][:_PARTS]
    x, y, width, height = parts[:, :4].T
    corners = np.stack([x, y, x + width, y + height], 1)
    return np.asarray(corners / heat.shape[0], np.float32)


def _from_sides(maps: DenseMaps) -> list[FloatArray]:
    side = maps.logits_ggm.shape[0]
    reach = np.exp(maps.log_sides_gg4)
    middle = ((np.arange(side) + 0.5) / side).astype(np.float32)
    found = []
    for channel, best in ((0, _BEST_OBJECT_CELLS), (1, _BEST_CENTRE_CELLS)):
        values = maps.logits_ggm[..., channel]
        order = np.argsort(-values, axis=None, kind="stable")[:best]
        peak_x, peak_y = _peaks(values, _PEAKS, 3)
        x, y = np.concatenate([peak_x, order % side]), np.concatenate([peak_y, order // side])
        left, top, right, bottom = reach[y, x].T
        found.append(
            np.stack([middle[x] - left, middle[y] - top, middle[x] + right, middle[y] + bottom], 1)
        )
    return found


def _peaks(values: FloatArray, count: int, window: int) -> tuple[np.ndarray, np.ndarray]:
    highest = cv2.dilate(np.ascontiguousarray(values), np.ones((window, window), np.uint8))
    y, x = np.nonzero(values >= highest - 1e-9)
    order = np.argsort(-values[y, x], kind="stable")[:count]
    return x[order], y[order]


def _centred(centre: FloatArray, sizes: FloatArray) -> list[FloatArray]:
    x, y = _peaks(centre, _CENTRED_PEAKS, 9)
    middle = np.stack([x + 0.5, y + 0.5], 1).astype(np.float32) / centre.shape[0]
    return [np.concatenate([middle - size / 2, middle + size / 2], 1) for size in sizes]


def _slid(heat: FloatArray, sizes: FloatArray) -> FloatArray:
    slid = []
    for width, height in sizes:
        xs = np.arange(0, max(1 - width, 0) + 1e-6, max(width, 0.05) / 6)
        ys = np.arange(0, max(1 - height, 0) + 1e-6, max(height, 0.05) / 6)
        low = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
        slid.append(np.concatenate([low, low + np.array([width, height])], 1))
    boxes = np.clip(np.concatenate(slid), 0, 1).astype(np.float32)
    table, ring = Integral(heat), grow(boxes, 1.5)
    inside, inside_area = table.sum(boxes), table.area(boxes)
    around = (table.sum(ring) - inside) / np.maximum(table.area(ring) - inside_area, 1)
    score = (inside / np.maximum(inside_area, 1) - around).astype(np.float32)
    top = np.argsort(-score, kind="stable")[: 5 * _SLID]
    boxes, score = boxes[top], score[top]
    kept = suppress(boxes, score, iou_matrix(boxes, boxes), _SLID_OVERLAP, _SLID)
    return np.asarray(boxes[kept], np.float32)


def _moment(heat: FloatArray) -> FloatArray:
    mass = np.square(heat.astype(np.float64))
    mass = mass / max(float(mass.sum()), 1e-12)
    middle = (np.arange(heat.shape[0]) + 0.5) / heat.shape[0]
    x, y = (mass.sum(axis) for axis in (0, 1))
    mean_x, mean_y = (x * middle).sum(), (y * middle).sum()
    spread_x = _MOMENT_SPREAD * np.sqrt((x * (middle - mean_x) ** 2).sum())
    spread_y = _MOMENT_SPREAD * np.sqrt((y * (middle - mean_y) ** 2).sum())
    corners = [mean_x - spread_x, mean_y - spread_y, mean_x + spread_x, mean_y + spread_y]
    return np.array([corners], np.float32)


def _places(known: FloatArray) -> FloatArray:
    median = np.median(known, 0)[None].astype(np.float32)
    order = np.argsort(np.square(known - median).sum(1), kind="stable")
    spread = np.linspace(0, len(order) - 1, min(_PLACED, len(order))).astype(int)
    return np.concatenate([known[order[spread]], median])
