"""A picture cut into regions of like colour."""

from __future__ import annotations

import cv2
import numpy as np

from backend.domain import IntArray, U8Array

_SIDE_PX = 96
"""Side at which colours are compared: regions of a tenth of the picture need no finer."""

_COMPACTNESS = 20.0
"""Colour difference (CIELAB) that counts as much as one region's side of distance."""

_ROUNDS = 10


def like_coloured(rgb_u8: U8Array, per_side: int) -> IntArray:
    """(S, S) number of each pixel's region, 0 to below per_side squared.

    rgb_u8: (S, S, 3). k-means on colour and place from a regular grid, so the same every
    time; a region need not hang together. Source: the distance of SLIC (Achanta et al.
    2012, equation 3), on a small copy and over the whole picture instead of a window.
    Cost: ten milliseconds or so.
    """
    small = cv2.resize(rgb_u8, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    at = (np.arange(_SIDE_PX, dtype=np.float32) + 0.5) * (per_side / _SIDE_PX)
    place = np.stack(np.meshgrid(at, at, indexing="ij"), 2)
    points = np.concatenate([lab, place * np.float32(_COMPACTNESS)], 2).reshape(-1, 5)
    cell = at.astype(np.int32)
    grid = (cell[:, None] * per_side + cell).reshape(-1, 1)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ROUNDS, 0.1)
    given = cv2.KMEANS_USE_INITIAL_LABELS
    _, labels, _ = cv2.kmeans(points, per_side**2, grid, stop, 1, given)
    fine = cv2.resize(
        np.asarray(labels, np.int32).reshape(_SIDE_PX, _SIDE_PX).astype(np.float32),
        rgb_u8.shape[1::-1],
        interpolation=cv2.INTER_NEAREST,
    )
    return np.asarray(fine, np.int64)
