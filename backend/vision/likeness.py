"""How much each part of a picture is like what a rectangle shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from backend.domain import FloatArray

F64Array = npt.NDArray[np.float64]

CLEAR = 0.15
_CLEAR_EDGE = 0.1
_CORE, _CORE_EDGE = -0.1, 0.05
_NEAR, _NEAR_EDGE = 0.6, 0.4
"""Margins and soft edges, in sides of the rectangle, of what no longer shows the object, of
what shows it for certain, and of the surroundings that are compared with it."""

_RIDGE = 3.0
"""Of the mean variance of a feature: there are few cells, and they are much alike."""

_POINT_SPREAD = 0.04
"""Standard deviation, in picture units, of what a click tells something about."""


def anchored_map(
    cells_chw: FloatArray, rectangle: F64Array, there: F64Array, away: F64Array
) -> FloatArray:
    """(h, w) float32 in 0..1: how much a cell is like the rectangle's, near the rectangle.

    there, away: (N, 2) points x y of the object and of what is not. With
    W(margin, edge) = exp(-(dx^2 + dy^2) / 2), where dx is the distance of a cell beyond the
    rectangle grown by margin sides, in edges of so many sides (half a cell at least), and
    g(p) a Gaussian about a point of spread 0.04:

    - object: weights W(-0.1, 0.05), and g of every point there;
    - ground: weights (1 - W(0.15, 0.1)) W(0.6, 0.4), and g of every point away;
    - d, S: difference of the two weighted means of the cells, each channel over its
      standard deviation, and mean of the two weighted covariances;
    - s = (x - midpoint) . v / (d . v / 2), v = (S + 3 mean variance I)^-1 d: 1 at the mean
      of the object, -1 at the mean of the ground (Fisher 1936, with a ridge);
    - map = (1 + tanh s) / 2 W(0.6, 0.4) and 1 - g of every point away.
    """
    channels, height, width = cells_chw.shape
    x = np.asarray(cells_chw.reshape(channels, -1).T, np.float64)
    x = x - x.mean(0)
    spread = x.std(0)
    x = x / (spread + 0.1 * spread.mean() + 1e-9)
    hw = (height, width)
    near = _window(hw, rectangle, _NEAR, _NEAR_EDGE)
    spots_away = [_spot(hw, point) for point in away]
    inside = _weights(
        [_window(hw, rectangle, _CORE, _CORE_EDGE), *(_spot(hw, point) for point in there)]
    )
    clear = (1 - _window(hw, rectangle, CLEAR, _CLEAR_EDGE)) * near
    ground = _weights([clear, *spots_away])
    middle_in, middle_out = inside @ x, ground @ x
    # The mean of both covariances, by one product of the cells.
    covariance = (x.T * ((inside + ground) / 2)) @ x
    covariance -= (np.outer(middle_in, middle_in) + np.outer(middle_out, middle_out)) / 2
    covariance.flat[:: channels + 1] += _RIDGE * np.trace(covariance) / channels + 1e-9
    difference = middle_in - middle_out
    direction = np.linalg.solve(covariance, difference)
    separation = float(difference @ direction)
    if separation < 1e-9:  # a rectangle that looks like its surroundings says nothing of them
        likeness = np.zeros(height * width)
    else:
        likeness = (x - (middle_in + middle_out) / 2) @ direction / (separation / 2)
    values = (1 + np.tanh(likeness)) / 2 * near
    for spot in spots_away:
        values = values * (1 - spot)
    return np.asarray(values.reshape(hw), np.float32)


def free_of(hw: tuple[int, ...], taken: F64Array) -> FloatArray:
    """(h, w) 1 where a cell is outside of all boxes taken (N, 4), 0 inside, soft at the edges."""
    height, width = hw
    free = np.ones(height * width)
    for box in taken:
        free *= 1 - _window((height, width), box, 0.0, _CORE_EDGE)
    return np.asarray(free.reshape(height, width), np.float32)


def _window(hw: tuple[int, int], rectangle: F64Array, margin: float, edge: float) -> F64Array:
    """(h * w,) 1 inside the rectangle grown by margin sides, soft beyond."""
    squares = []
    for axis, cells in ((1, hw[0]), (0, hw[1])):
        low, high = rectangle[axis], rectangle[axis + 2]
        side = high - low
        at = (np.arange(cells) + 0.5) / cells
        beyond = np.maximum(np.maximum(low - margin * side - at, at - high - margin * side), 0)
        squares.append(np.square(beyond / max(edge * side, 0.5 / cells)))
    return np.asarray(np.exp(-(squares[0][:, None] + squares[1][None]) / 2).reshape(-1))


def _spot(hw: tuple[int, int], point: F64Array) -> F64Array:
    """(h * w,) a Gaussian about a point, 1 at it."""
    y = (np.arange(hw[0]) + 0.5) / hw[0] - point[1]
    x = (np.arange(hw[1]) + 0.5) / hw[1] - point[0]
    squares = np.square(y)[:, None] + np.square(x)[None]
    return np.asarray(np.exp(-squares / (2 * _POINT_SPREAD**2)).reshape(-1))


def _weights(parts: Sequence[F64Array]) -> F64Array:
    """(N,) weights of sum 1, to which every part adds the same."""
    total = np.sum([part / max(float(part.sum()), 1e-12) for part in parts], 0)
    return np.asarray(total / max(float(total.sum()), 1e-12))
