"""Sums and samples of maps over many boxes at once; boxes are (N, 4) in picture units."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import FloatArray

F64Array = npt.NDArray[np.float64]

LEAST_SIDE = 0.012
"""Boxes thinner than this share of the picture are no candidates."""


def sigmoid(logits: FloatArray) -> FloatArray:
    """Elementwise, without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def enlarge(maps: FloatArray, factor: int) -> FloatArray:
    """(h, w) or (h, w, C) resized bilinearly by a whole factor."""
    height, width = maps.shape[:2]
    resized = cv2.resize(
        np.ascontiguousarray(maps, np.float32),
        (width * factor, height * factor),
        interpolation=cv2.INTER_LINEAR,
    )
    return np.asarray(resized, np.float32)


class Integral:
    """Integral image of a square (n, n) map, for sums over boxes with fractional corners."""

    def __init__(self, values_nn: FloatArray) -> None:
        self.side = values_nn.shape[0]
        cumulated = values_nn.astype(np.float64).cumsum(0).cumsum(1)
        self._table = np.pad(cumulated, ((1, 0), (1, 0)))

    def sum(self, boxes: FloatArray) -> F64Array:
        """(N,) sums over the part of each box inside the picture."""
        # All four corners at once: lower right, lower left, upper right, upper left.
        place = np.clip(boxes[:, ((2, 0, 2, 0), (3, 3, 1, 1))], 0, 1) * self.side
        cell = np.minimum(place.astype(np.intp), self.side - 1)
        (fx, fy), (left, top) = (place - cell).transpose(1, 2, 0), cell.transpose(1, 2, 0)
        width = self.side + 1
        at, table = top * width + left, self._table.ravel()
        upper = table.take(at) * (1 - fx) + table.take(at + 1) * fx
        lower = table.take(at + width) * (1 - fx) + table.take(at + width + 1) * fx
        corner = upper * (1 - fy) + lower * fy
        return np.asarray(corner[0] - corner[1] - corner[2] + corner[3])

    def mean(self, boxes: FloatArray) -> F64Array:
        """(N,) means over the part of each box inside the picture, 0 where it is empty."""
        return np.asarray(self.sum(boxes) / np.maximum(self.area(boxes), 1e-6))

    def area(self, boxes: FloatArray) -> F64Array:
        """(N,) areas of that part, in cells of the map."""
        inside = np.clip(boxes, 0, 1)
        return np.asarray(np.prod(inside[:, 2:] - inside[:, :2], 1) * self.side**2, np.float64)


def grow(boxes: FloatArray, factor: float) -> FloatArray:
    """Boxes scaled about their centres; they may leave the picture."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * factor
    return np.concatenate([centre - half, centre + half], 1)


def sample(maps_nnc: FloatArray, boxes: FloatArray, points: int) -> FloatArray:
    """(N, points, points, C): maps at a regular lattice of each box, bilinear."""
    side = maps_nnc.shape[0]
    at = (np.arange(points) + 0.5) / points

    def place(low: FloatArray, high: FloatArray) -> tuple[npt.NDArray[np.intp], FloatArray]:
        position = (low[:, None] + (high - low)[:, None] * at) * side - 0.5
        position = np.clip(position, 0, side - 1.001)
        whole = position.astype(np.intp)
        return whole, np.asarray(position - whole, np.float32)

    column, fx = place(boxes[:, 0], boxes[:, 2])
    row, fy = place(boxes[:, 1], boxes[:, 3])
    rows, columns = row[:, :, None], column[:, None, :]
    right, down = fx[:, None, :, None], fy[:, :, None, None]
    upper = maps_nnc[rows, columns] * (1 - right) + maps_nnc[rows, columns + 1] * right
    lower = maps_nnc[rows + 1, columns] * (1 - right) + maps_nnc[rows + 1, columns + 1] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


def suppress(
    boxes: FloatArray, score: FloatArray, iou_nn: FloatArray, most_overlap: float, limit: int
) -> list[int]:
    """Greedy non-maximum suppression: positions kept, best first, at most limit."""
    kept: list[int] = []
    dead = np.zeros(len(boxes), bool)
    for i in np.argsort(-score, kind="stable"):
        if dead[i]:
            continue
        kept.append(int(i))
        if len(kept) >= limit:
            break
        dead |= iou_nn[i] > most_overlap
    return kept


def mirror(boxes: FloatArray) -> FloatArray:
    """Boxes of the picture turned left to right."""
    return np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], 1)


def tidy(boxes: FloatArray) -> FloatArray:
    """Boxes cut to the picture, the thin ones left out."""
    inside = np.clip(boxes, 0, 1).astype(np.float32)
    return inside[((inside[:, 2:] - inside[:, :2]) > LEAST_SIDE).all(1)]
