"""The dense head: for every cell how much it is object, centre, edge, and how far the sides are.

All boxes are in units of the picture, 0..1, as (M, 4) x0 y0 x1 y1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np

from backend.domain import FloatArray
from backend.learning.boxmath import F64Array

MAPS = 6
"""Object, centre, left, top, right, bottom edge."""

OUTPUTS = MAPS + 4
"""The maps as logits, then the logarithms of the distances to the sides in cells."""

_CENTRE_SIGMA, _CENTRE_LEAST = 0.2, 0.6
_EDGE_SIGMA, _EDGE_LEAST = 0.12, 0.5
_LEAST_DISTANCE = 0.3


@dataclass(frozen=True, slots=True)
class DenseMaps:
    """logits_ggm: (G, G, 6). log_sides_gg4: (G, G, 4), left top right bottom in picture units."""

    logits_ggm: FloatArray
    log_sides_gg4: FloatArray


@dataclass(frozen=True, slots=True)
class Targets:
    """maps (G*G, 6) in 0..1, log_sides (G*G, 4) in cells, weight (G*G,): each box sums to 1."""

    maps: FloatArray
    log_sides: FloatArray
    weight: FloatArray


def targets(boxes_unit: FloatArray, side: int) -> Targets:
    """What the dense head shall say of a picture with these boxes, on side x side cells.

    Object: share of the cell that the box covers. Centre: a Gaussian of .2 of width and
    height. Edges: bands of .12 of the side. Where boxes overlap the larger value counts.
    """
    centre = (np.arange(side) + 0.5) / side
    low = np.arange(side) / side
    maps = np.zeros((MAPS, side, side), np.float32)
    log_sides = np.zeros((side, side, 4), np.float32)
    weight = np.zeros((side, side), np.float32)
    best = np.zeros((side, side), np.float32)
    for x0, y0, x1, y1 in boxes_unit.astype(np.float64):
        cover_x = np.clip(np.minimum(low + 1 / side, x1) - np.maximum(low, x0), 0, None) * side
        cover_y = np.clip(np.minimum(low + 1 / side, y1) - np.maximum(low, y0), 0, None) * side
        cover = cover_y[:, None] * cover_x[None]
        spread_x = max(_CENTRE_SIGMA * (x1 - x0), _CENTRE_LEAST / side)
        spread_y = max(_CENTRE_SIGMA * (y1 - y0), _CENTRE_LEAST / side)
        near_x = np.exp(-0.5 * ((centre - (x0 + x1) / 2) / spread_x) ** 2)
        near_y = np.exp(-0.5 * ((centre - (y0 + y1) / 2) / spread_y) ** 2)
        edge_x = max(_EDGE_SIGMA * (x1 - x0), _EDGE_LEAST / side)
        edge_y = max(_EDGE_SIGMA * (y1 - y0), _EDGE_LEAST / side)
        drawn = [
            cover,
            near_y[:, None] * near_x[None],
            cover_y[:, None] * np.exp(-0.5 * ((centre - x0) / edge_x) ** 2)[None],
            np.exp(-0.5 * ((centre - y0) / edge_y) ** 2)[:, None] * cover_x[None],
            cover_y[:, None] * np.exp(-0.5 * ((centre - x1) / edge_x) ** 2)[None],
            np.exp(-0.5 * ((centre - y1) / edge_y) ** 2)[:, None] * cover_x[None],
        ]
        np.maximum(maps, np.stack(drawn), out=maps, casting="same_kind")
        inside = (cover > 0.5) & (cover >= best)
        best = np.maximum(best, cover).astype(np.float32)
        sides = np.broadcast_arrays(
            centre[None] - x0, centre[:, None] - y0, x1 - centre[None], y1 - centre[:, None]
        )
        in_cells = np.maximum(np.stack(sides, -1) * side, _LEAST_DISTANCE)
        log_sides[inside] = np.log(in_cells)[inside]
        if inside.any():
            weight[inside] = 1 / inside.sum()
    cells = side * side
    return Targets(
        maps.reshape(MAPS, cells).T.copy(), log_sides.reshape(cells, 4), weight.reshape(cells)
    )


@dataclass
class DenseSums:
    """Sums over cells from which the head is solved; those of several pictures add up.

    Object and ground cells are kept apart, so that each side counts half however many
    cells it has. D numbers a cell, and a constant.
    """

    object_mass: float
    ground_mass: float
    object_xx: FloatArray
    ground_xx: FloatArray
    object_xz: FloatArray
    ground_xz: FloatArray
    side_mass: float
    side_xx: FloatArray
    side_xd: FloatArray

    @classmethod
    def of(cls, grids: Sequence[FloatArray], wanted: Sequence[Targets]) -> DenseSums:
        """The sums of pictures; grids (G, G, D)."""
        flat = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in grids])
        x = np.concatenate([flat, np.ones((len(flat), 1), np.float32)], 1)
        maps = np.concatenate([target.maps for target in wanted])
        sides = np.concatenate([target.log_sides for target in wanted])
        weight = np.concatenate([target.weight for target in wanted])
        y, z = maps[:, 0], 2 * maps - 1
        object_xx, object_xz = _weighted(x, z, y)
        ground_xx, ground_xz = _weighted(x, z, 1 - y)
        side_xx, side_xd = _weighted(x, sides, weight)
        return cls(
            float(y.sum()),
            float((1 - y).sum()),
            object_xx,
            ground_xx,
            object_xz,
            ground_xz,
            float(weight.sum()),
            side_xx,
            side_xd,
        )

    def __add__(self, other: DenseSums) -> DenseSums:
        names = (entry.name for entry in fields(DenseSums))
        return DenseSums(*(getattr(self, name) + getattr(other, name) for name in names))


def _weighted(
    x: FloatArray, target: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Sums of weight x x' and weight x t' over the rows that have a weight, about half of them."""
    counted = np.flatnonzero(weight > 0)
    root = np.sqrt(weight[counted, None])
    # A matrix times itself: BLAS works out one half of the result.
    rows = x[counted]
    rows *= root
    return rows.T @ rows, rows.T @ (target[counted] * root)


def solve(sums: DenseSums, start: FloatArray, pull: float, side_pull: float) -> FloatArray:
    """(D + 1, 10) weights: ridge regression towards start instead of towards zero.

    Minimises the balanced squared error plus ``pull`` (times the mean diagonal of the
    normal matrix) times the squared distance to start: few examples move little.
    """
    count = sums.object_xx.shape[0]
    unit = np.eye(count)
    xx, xz = _balanced(sums)
    ridge = pull * float(np.diag(xx).mean())
    # The regression is on -1..1; twice its value serves as a logit.
    maps = np.linalg.solve(xx + ridge * unit, 2 * xz + ridge * start[:, :MAPS])
    if sums.side_mass <= 0:
        return np.concatenate([maps, start[:, MAPS:]], 1).astype(np.float32)
    side_xx = (sums.side_xx / sums.side_mass).astype(np.float64)
    ridge = side_pull * float(np.diag(side_xx).mean())
    right = sums.side_xd / sums.side_mass + ridge * start[:, MAPS:]
    sides = np.linalg.solve(side_xx + ridge * unit, right)
    return np.concatenate([maps, sides], 1).astype(np.float32)


def _balanced(sums: DenseSums) -> tuple[F64Array, F64Array]:
    objects, ground = max(sums.object_mass, 1e-6), max(sums.ground_mass, 1e-6)
    xx = sums.object_xx / (2 * objects) + sums.ground_xx / (2 * ground)
    xz = sums.object_xz / (2 * objects) + sums.ground_xz / (2 * ground)
    return xx.astype(np.float64), xz.astype(np.float64)


def apply(weights: FloatArray, grids: Sequence[FloatArray]) -> DenseMaps:
    """The maps of a picture, its views' (G, G, D) grids averaged at the finest."""
    side = max(grid.shape[0] for grid in grids)
    out = np.zeros((side, side, OUTPUTS), np.float32)
    for grid in grids:
        maps = grid @ weights[:-1] + weights[-1]
        maps[..., MAPS:] -= np.float32(np.log(grid.shape[0]))
        if grid.shape[0] != side:
            maps = cv2.resize(maps, (side, side), interpolation=cv2.INTER_LINEAR)
        out += maps / np.float32(len(grids))
    return DenseMaps(out[..., :MAPS], out[..., MAPS:])
