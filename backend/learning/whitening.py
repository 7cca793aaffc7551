"""Taps of different widths and strides made into one grid of comparable numbers."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.domain import FloatArray
from backend.learning.features import PictureFeatures, Taps

CELL_PX = 16
"""Pixels of the resized picture that one cell of the grid covers, a side."""

_KEPT = {8: 64, 16: 192, 32: 192}
"""Principal components kept of a tap, by its stride."""

_KEPT_OF_WIDE = 256
"""The same for the last tap, which knows most."""

_MOST_CELLS = 60_000
"""Cells that the components are found from, a random choice of all."""

ENOUGH_PICTURES = 100
"""Pictures with so many cells; what more of them add is thrown away."""


@dataclass(frozen=True, slots=True)
class Whitening:
    """Partial whitening of each tap: mean (C,) and projection (C, k), float32."""

    means: tuple[FloatArray, ...]
    projections: tuple[FloatArray, ...]

    @property
    def width(self) -> int:
        """Numbers a cell."""
        return sum(projection.shape[1] for projection in self.projections)

    def grid(self, taps: Taps, side: int | None = None) -> FloatArray:
        """(G, G, D) float32, G cells of 16 pixels a side, or as many as side says.

        Projected first, resized then: both are linear, and few channels are resized.
        """
        side = side or grid_side(taps)
        joined = np.empty((side, side, self.width), np.float32)
        start = 0
        for tap, mean, projection in zip(taps, self.means, self.projections, strict=True):
            channels, height, width = tap.shape
            cells = tap.reshape(channels, -1).astype(np.float32)
            projected = cells.T @ projection - mean @ projection
            stop = start + projection.shape[1]
            if height == side:
                joined[..., start:stop] = projected.reshape(side, side, -1)
            else:
                resize = _resize(height, side)
                rows = (resize @ projected.reshape(height, -1)).reshape(side, width, -1)
                joined[..., start:stop] = resize @ rows
            start = stop
        return joined


def grid_side(taps: Taps) -> int:
    """Cells a side of the common grid: that of the taps at stride 16.

    Taps halve their grid from stride 8 on, so the coarsest has half of it.
    """
    return 2 * int(taps[-1].shape[1])


@functools.lru_cache(maxsize=32)
def _resize(cells: int, side: int) -> FloatArray:
    """(side, cells): means of what a new cell covers where they get fewer, else bilinear."""
    if cells > side:
        new, old = np.arange(side)[:, None], np.arange(cells)[None]
        covered = (old >= new * cells // side) & (old < -(-(new + 1) * cells // side))
        return np.asarray(covered / covered.sum(1, keepdims=True), np.float32)
    place = np.clip((np.arange(side) + 0.5) * cells / side - 0.5, 0, cells - 1)
    distance = np.abs(place[:, None] - np.arange(cells)[None])
    return np.asarray(np.clip(1 - distance, 0, None), np.float32)


def fit_whitening(pictures: Sequence[PictureFeatures], *, seed: int = 0) -> Whitening:
    """Principal components of the cells of these pictures, strong ones shrunk.

    Component j is scaled by (e_j + mean(e))^-1/2, e the kept eigenvalues, and each tap
    to a total variance of 1: full whitening would blow noise up to the size of signal.
    """
    means, projections = [], []
    views = [taps for picture in pictures for taps in picture.views]
    last = len(views[0]) - 1
    random = np.random.RandomState(seed)
    for number in range(last + 1):
        cells = np.concatenate([v[number].reshape(v[number].shape[0], -1).T for v in views])
        if len(cells) > _MOST_CELLS:
            cells = cells[random.permutation(len(cells))[:_MOST_CELLS]]
        values = cells.astype(np.float32)
        mean = values.mean(0)
        energy, vectors = np.linalg.eigh(np.cov(values.T))
        kept = _kept(views[0], number)
        energy, vectors = energy[::-1][:kept].clip(0), vectors[:, ::-1][:, :kept]
        projection = vectors * (energy + energy.mean() + 1e-12) ** -0.5
        spread = np.square((values - mean) @ projection).sum(1).mean()
        means.append(mean)
        projections.append((projection / np.sqrt(max(float(spread), 1e-12))).astype(np.float32))
    return Whitening(tuple(means), tuple(projections))


def _kept(taps: Taps, number: int) -> int:
    channels, side, _ = taps[number].shape
    grid = grid_side(taps)
    stride = 8 if side > grid else 16 if side == grid else 32
    return min(int(channels), _KEPT_OF_WIDE if number == len(taps) - 1 else _KEPT[stride])
