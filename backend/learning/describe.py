"""The numbers by which candidates are ranked."""

from __future__ import annotations

import numpy as np

from backend.domain import FloatArray, iou_matrix
from backend.learning.boxmath import Integral, enlarge, grow, sample, sigmoid
from backend.learning.candidates import FACTOR
from backend.learning.dense import MAPS, DenseMaps

_LATTICE = 8

SURROUNDINGS = _LATTICE**2 * MAPS + 6
"""Numbers from which corners are corrected."""

_STRIP, _BAND = 0.12, 0.08
_CROWD = (0.6, 0.8)


def describe(
    maps: DenseMaps, boxes: FloatArray, known: FloatArray, moment: FloatArray, crowd: FloatArray
) -> FloatArray:
    """(N, F) float32, one row a candidate; all class-free.

    boxes, known (accepted elsewhere), moment, crowd (what else was proposed here) are in
    picture units. Heat inside, around and beside each edge; edge and centre maps where
    they should be high; size and place against the known boxes; how many proposals agree.
    """
    heats = enlarge(sigmoid(maps.logits_ggm), FACTOR)
    tables = [Integral(heats[..., number]) for number in range(MAPS)]
    columns = [
        *_inside(tables[0], boxes, float(heats[..., 0].sum())),
        *_edges(tables, boxes),
        *_centre(tables[1], boxes),
        *_shape(boxes, known),
        *_place(boxes),
        *_agreement(tables[0], boxes, known, moment, crowd),
        np.full(len(boxes), heats[..., 0].mean()),
        np.full(len(boxes), heats[..., 0].max()),
    ]
    return np.stack(columns, 1).astype(np.float32)


def surroundings(maps: DenseMaps, boxes: FloatArray) -> FloatArray:
    """(N, F) float32 from which a candidate's corners are corrected: the maps on an 8 x 8
    lattice over the box enlarged by 4/3, its size and place."""
    lattice = sample(enlarge(sigmoid(maps.logits_ggm), 2), grow(boxes, 4 / 3), _LATTICE)
    size = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3))
    return np.concatenate([lattice.reshape(len(boxes), _LATTICE**2 * MAPS), size, boxes], 1).astype(
        np.float32
    )


def _inside(heat: Integral, boxes: FloatArray, mass: float) -> list[FloatArray]:
    ring = grow(boxes, 1.5)
    total, area = heat.sum(boxes), heat.area(boxes)
    inside = heat.mean(boxes)
    around = (heat.sum(ring) - total) / np.maximum(heat.area(ring) - area, 1)
    share = total / max(mass, 1e-6)
    columns = [
        inside,
        around,
        inside - around,
        np.log(inside / np.maximum(around, 1e-3) + 1e-3),
        share,
        np.sqrt(np.maximum(share, 0) * np.maximum(inside, 0)),
    ]
    return [np.asarray(column, np.float32) for column in columns]


def _edges(tables: list[Integral], boxes: FloatArray) -> list[FloatArray]:
    """Per side: heat just inside and just outside, its edge map on it and away from it."""
    inner = grow(boxes, 0.6)
    strips, bands = [], []
    for side in range(4):
        axis, high = side % 2, side >= 2
        length = boxes[:, axis + 2] - boxes[:, axis]
        edge, band = boxes[:, side], _BAND * length
        for share in (_STRIP, -_STRIP):
            inward = -share * length if high else share * length
            strips.append(_between(boxes, axis, edge, edge + inward))
        bands.append(_between(boxes, axis, edge - band, edge + band))
    heat = np.split(tables[0].mean(np.concatenate(strips)), len(strips))
    columns = []
    for side, band in enumerate(bands):
        columns += heat[2 * side : 2 * side + 2]
        columns += np.split(tables[2 + side].mean(np.concatenate([band, inner])), 2)
    return [np.asarray(column, np.float32) for column in columns]


def _between(boxes: FloatArray, axis: int, one: FloatArray, other: FloatArray) -> FloatArray:
    """The boxes with their extent along an axis replaced."""
    strip = boxes.copy()
    strip[:, axis], strip[:, axis + 2] = np.minimum(one, other), np.maximum(one, other)
    return strip


def _centre(centre: Integral, boxes: FloatArray) -> list[FloatArray]:
    areas = np.concatenate([grow(boxes, 0.4), boxes, grow(boxes, 1.5)])
    return np.split(centre.mean(areas).astype(np.float32), 3)


def _shape(boxes: FloatArray, known: FloatArray) -> list[FloatArray]:
    logs = np.log(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3))
    usual = np.log(np.maximum(known[:, 2:] - known[:, :2], 1e-3))
    unlike = (logs - usual.mean(0)) / (usual.std(0) + 0.25)
    aspect, usual_aspect = logs[:, 0] - logs[:, 1], usual[:, 0] - usual[:, 1]
    return [
        logs[:, 0],
        logs[:, 1],
        logs.sum(1),
        unlike[:, 0],
        unlike[:, 1],
        np.square(unlike).sum(1),
        np.abs(aspect - usual_aspect.mean()) / (usual_aspect.std() + 0.2),
    ]


def _place(boxes: FloatArray) -> list[FloatArray]:
    near, far = boxes[:, :2] < 0.01, boxes[:, 2:] > 0.99
    touching = [np.asarray(column, np.float32) for column in (*near.T, *far.T)]
    return [*touching, *((boxes[:, :2] + boxes[:, 2:]) / 2).T, *boxes.T]


def _agreement(
    heat: Integral, boxes: FloatArray, known: FloatArray, moment: FloatArray, crowd: FloatArray
) -> list[FloatArray]:
    with_known = iou_matrix(boxes, known)
    with_crowd = iou_matrix(boxes, crowd)
    weighted = (with_crowd * heat.mean(crowd)[None]).sum(1)
    return [
        with_known.mean(1),
        with_known.max(1),
        iou_matrix(boxes, moment)[:, 0],
        *((with_crowd > level).mean(1) for level in _CROWD),
        weighted / np.maximum(with_crowd.sum(1), 1e-6),
    ]
