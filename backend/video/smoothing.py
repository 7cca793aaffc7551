"""The most likely path of a box, from places that were seen and movements that were measured.

Source: Kalman filter with the smoother of Rauch, Tung and Striebel (1965), one for each of
centre x, centre y, log width, log height. Boxes that were seen say where it is, with some
noise; the optical flow says how it moved since, nearly without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from backend.domain import FloatArray
from backend.video.tracks import Spot

_SEEN_NOISE = np.array([0.04, 0.04, 0.08, 0.08])
"""Standard deviation of a seen box: of the centre in its sides, of the sides in logarithms."""

_FLOW_NOISE = np.array([0.02, 0.02, 0.02, 0.02])
_DRIFT_NOISE = np.array([0.5, 0.5, 0.15, 0.15])
"""Of a movement that the flow measured, and of one that nothing measured."""

_LEAST_SURENESS = 0.05


def smooth(stretch: Sequence[Spot]) -> tuple[Spot, ...]:
    """The same spots with boxes that fit what is known of all of them. Cost: microseconds."""
    measured = np.array([coordinates(spot.xyxy_px) for spot in stretch])
    scale = np.exp(measured[:, [2, 3, 2, 3]])
    scale[:, 2:] = 1
    seen = np.array([max(spot.sureness, _LEAST_SURENESS) for spot in stretch])
    noise = (_SEEN_NOISE * scale / seen[:, None]) ** 2
    moved, drift = np.zeros_like(measured), np.zeros_like(measured)
    for at, spot in enumerate(stretch):
        moved[at] = 0 if spot.moved is None else spot.moved
        drift[at] = ((_DRIFT_NOISE if spot.moved is None else _FLOW_NOISE) * scale[at]) ** 2
    path = _smoothed(measured, noise, moved, drift)
    return tuple(
        replace(spot, xyxy_px=corners(one)) for spot, one in zip(stretch, path, strict=True)
    )


def coordinates(xyxy_px: FloatArray) -> FloatArray:
    """(4,) corners to (4,) centre x, centre y, log width, log height."""
    sides = np.maximum(xyxy_px[2:] - xyxy_px[:2], 1e-3)
    return np.concatenate([(xyxy_px[:2] + xyxy_px[2:]) / 2, np.log(sides)]).astype(np.float32)


def corners(found: FloatArray) -> FloatArray:
    """The way back."""
    half = np.exp(found[2:]) / 2
    return np.concatenate([found[:2] - half, found[:2] + half]).astype(np.float32)


def _smoothed(
    measured: np.ndarray, noise: np.ndarray, moved: np.ndarray, drift: np.ndarray
) -> np.ndarray:
    """(N, 4) each, of the four coordinates by themselves: a random walk with known steps.

    noise, drift: variances of what was measured and of the step before it.
    """
    count = len(measured)
    mean, variance = measured.copy(), noise.copy()
    for at in range(1, count):
        expected, spread = mean[at - 1] + moved[at], variance[at - 1] + drift[at]
        gain = spread / (spread + noise[at])
        mean[at] = expected + gain * (measured[at] - expected)
        variance[at] = (1 - gain) * spread
    path = mean.copy()
    for at in range(count - 2, -1, -1):
        gain = variance[at] / (variance[at] + drift[at + 1])
        path[at] = mean[at] + gain * (path[at + 1] - mean[at] - moved[at + 1])
    return path
