"""Where a map is highest, finer than its cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray


@dataclass(frozen=True, slots=True)
class Peaks:
    """xy_unit: (N, 2) x y in 0..1 of the picture. value: (N,) of the map, highest first."""

    xy_unit: FloatArray
    value: FloatArray

    def __len__(self) -> int:
        return len(self.value)


def peaks_of(map_hw: FloatArray, most: int = 1, apart_unit: float = 0.0) -> Peaks:
    """At most so many peaks of a map (h, w), no two nearer to each other than apart_unit.

    The highest cell first, what lies round it is suppressed, and so on (non-maximum
    suppression); distances are in parts of the picture's sides. Each is moved by at most
    half a cell to the top of the parabola through it and its two neighbours on either axis.
    A cell that a higher neighbour stands beside is a slope and no peak. A flat map has none.
    """
    if not np.ptp(map_hw) > 0:
        return Peaks(np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    height, width = map_hw.shape
    rows, columns = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    left = np.where(_is_top(map_hw), map_hw, -np.inf)
    found: list[tuple[float, float]] = []
    value: list[float] = []
    while len(found) < most:
        row, column = (int(at) for at in np.unravel_index(left.argmax(), left.shape))
        if left[row, column] == -np.inf:
            break
        x = (column + 0.5 + _shift(map_hw[row], column)) / width
        y = (row + 0.5 + _shift(map_hw[:, column], row)) / height
        found.append((x, y))
        value.append(float(map_hw[row, column]))
        beside = np.square(columns[None] - columns[column]) + np.square(rows[:, None] - rows[row])
        left[beside < apart_unit**2] = -np.inf
        left[row, column] = -np.inf
    return Peaks(np.array(found, np.float32).reshape(-1, 2), np.array(value, np.float32))


def _is_top(map_hw: FloatArray) -> np.ndarray:
    """(h, w) whether none of the eight neighbours is higher."""
    padded = np.pad(map_hw, 1, constant_values=-np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))
    return np.asarray(map_hw >= around.max((2, 3)))


def _shift(line: FloatArray, at: int) -> float:
    """From the cell to the top of the parabola through it and its neighbours, in cells."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, here, after = (float(line[at + step]) for step in (-1, 0, 1))
    bend = before - 2 * here + after
    return min(max((before - after) / (2 * bend), -0.5), 0.5) if bend < 0 else 0.0
