"""Linear maps over a frozen network's cells, one a key-point label.

Ridge regression of a Gaussian round each accepted point on what a cell shows, over all taps
at the finest one's cells. Source: regressing such maps by ridge, Bolme et al. 2010 ("Visual
Object Tracking using Adaptive Correlation Filters"), here on cells of a network instead of
pixels; one covariance of cells for all labels, Hariharan et al. 2012 ("Discriminative
Decorrelation for Clustering and Classification"). As projecting, resizing and weighing are
all linear, the whitening is folded into one matrix a tap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from backend.domain import FloatArray
from backend.learning.features import PictureFeatures, Taps
from backend.learning.linear import RidgeSums
from backend.learning.whitening import Whitening

SPREAD = 0.045
"""Of the Gaussian round a point, in parts of the picture's sides."""

_PENALTY = 3000.0
_NEAR = 0.2
"""Target from which a cell is always learned from."""

_OTHERS = 100
"""Further cells of a picture and view that are learned from, a random choice."""

_CHANNELS = 4
"""That OpenCV resizes at once, however many labels there are."""


@dataclass(frozen=True, slots=True)
class PartMaps:
    """weights: of each tap (C, K). offset: (K,)."""

    weights: tuple[FloatArray, ...]
    offset: FloatArray

    def __call__(self, features: PictureFeatures) -> FloatArray:
        """(K, S, S) maps of a picture, about 1 on a part and 0 elsewhere.

        S: cells of the finest tap; the views are averaged.
        """
        side = finest(features.views[-1])
        drawn = np.zeros((len(self.offset), side, side), np.float32)
        for taps in features.views:
            for tap, weights in zip(taps, self.weights, strict=True):
                channels, height, width = tap.shape
                cells = tap.reshape(channels, -1).astype(np.float32)
                maps = (weights.T @ cells).reshape(-1, height, width)
                drawn += _resized(maps, side) / np.float32(len(features.views))
        return drawn + self.offset[:, None, None]

    def only(self, kept: Sequence[int]) -> PartMaps:
        """The maps at these positions."""
        return PartMaps(tuple(one[:, list(kept)] for one in self.weights), self.offset[list(kept)])


def finest(taps: Taps) -> int:
    """Cells a side of the finest tap."""
    return max(int(tap.shape[1]) for tap in taps)


def sums_of(
    features: PictureFeatures,
    whitening: Whitening,
    places: Sequence[FloatArray],
    wrong: FloatArray,
    seed: int,
) -> RidgeSums:
    """What one picture adds to the regression.

    places: (N, 2) of each label in picture units, none where it is absent. wrong: (M, 2)
    where a person deleted a point: the cells round it are learned from as well, as nothing.
    """
    random = np.random.RandomState(seed)
    rows, wanted = [], []
    for taps in features.views:
        side = finest(taps)
        grid = whitening.grid(taps, side).reshape(side * side, -1)
        target = np.stack([_gaussians(one, side) for one in places], 1)
        near = (target.max(1) > _NEAR) | (_gaussians(wrong, side) > _NEAR)
        others = np.flatnonzero(~near)
        some = others[random.permutation(len(others))[:_OTHERS]]
        chosen = np.concatenate([np.flatnonzero(near), some])
        rows.append(grid[chosen])
        wanted.append(target[chosen])
    return RidgeSums.of(np.concatenate(rows), np.concatenate(wanted))


def maps_from(sums: RidgeSums, whitening: Whitening) -> PartMaps:
    """The maps that the sums of pictures give."""
    ridge = sums.fit(_PENALTY)
    joined = ridge.weights / ridge.spread[:, None]
    offset = ridge.offset - ridge.mean @ joined
    weights, start = [], 0
    for mean, projection in zip(whitening.means, whitening.projections, strict=True):
        stop = start + projection.shape[1]
        of_tap = projection @ joined[start:stop]
        offset = offset - mean @ of_tap
        weights.append(np.asarray(of_tap, np.float32))
        start = stop
    return PartMaps(tuple(weights), np.asarray(offset, np.float32))


def _gaussians(places: FloatArray, side: int) -> FloatArray:
    """(side * side,) the largest of a Gaussian round each place (N, 2), 0 without any."""
    centre = (np.arange(side, dtype=np.float32) + np.float32(0.5)) / np.float32(side)
    drawn = np.zeros((side, side), np.float32)
    for x, y in places.tolist():
        across, down = (np.square((centre - at) / SPREAD) for at in (x, y))
        np.maximum(drawn, np.exp(-0.5 * (across[None] + down[:, None])), out=drawn)
    return drawn.reshape(-1)


def _resized(maps: FloatArray, side: int) -> FloatArray:
    """(K, side, side) of maps (K, h, w), between cells by straight lines."""
    if maps.shape[1] == side:
        return maps
    parts = [
        np.atleast_3d(
            cv2.resize(
                np.ascontiguousarray(maps[at : at + _CHANNELS].transpose(1, 2, 0)),
                (side, side),
                interpolation=cv2.INTER_LINEAR,
            )
        )
        for at in range(0, len(maps), _CHANNELS)
    ]
    return np.asarray(np.concatenate(parts, 2).transpose(2, 0, 1), np.float32)
