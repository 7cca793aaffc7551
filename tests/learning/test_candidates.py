"""Candidates on maps whose objects are known."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import FloatArray, iou_matrix
from backend.learning.candidates import propose, shapes
from backend.learning.dense import DenseMaps, targets

KNOWN = np.array([[0.2, 0.2, 0.5, 0.6], [0.1, 0.3, 0.9, 0.7]], np.float32)


def perfect_maps(boxes: FloatArray, side: int = 20) -> DenseMaps:
    """What a head without error would say of these boxes."""
    wanted = targets(boxes, side)
    maps = wanted.maps.reshape(side, side, -1)
    sides = wanted.log_sides.reshape(side, side, 4) - np.log(side)
    return DenseMaps((8 * maps - 4).astype(np.float32), sides.astype(np.float32))


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[0.3, 0.2, 0.7, 0.9]], id="one"),
        pytest.param([[0.05, 0.1, 0.4, 0.5], [0.55, 0.5, 0.95, 0.9]], id="two"),
        pytest.param([[0, 0, 1, 1]], id="the whole picture"),
    ],
)
def test_every_object_is_proposed(boxes: list[list[float]]) -> None:
    truth = np.array(boxes, np.float32)
    found = propose(perfect_maps(truth), KNOWN)
    assert iou_matrix(truth, found.boxes).max(1).min() > 0.8
    assert 20 < len(found.boxes) < 400


def test_candidates_are_inside_distinct_and_not_thin() -> None:
    random = np.random.RandomState(0)
    maps = DenseMaps(
        random.normal(size=(20, 20, 6)).astype(np.float32),
        random.normal(-2, 1, size=(20, 20, 4)).astype(np.float32),
    )
    boxes = propose(maps, KNOWN).boxes
    assert boxes.min() >= 0
    assert boxes.max() <= 1
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0.01).all()
    assert len(np.unique(np.round(boxes * 100), axis=0)) == len(boxes)


def test_flat_maps_and_a_single_known_box_do_no_harm() -> None:
    flat = DenseMaps(np.zeros((6, 6, 6), np.float32), np.zeros((6, 6, 4), np.float32))
    found = propose(flat, KNOWN[:1])
    assert np.isfinite(found.boxes).all()
    assert np.isfinite(found.moment).all()
    assert iou_matrix(KNOWN[:1], found.boxes).max() > 0.95, "accepted places are proposed"


def test_shapes_stand_for_all_sizes() -> None:
    small = np.array([[0, 0, 0.1, 0.1]] * 5, np.float32)
    wide = np.array([[0, 0, 0.8, 0.2]], np.float32)
    found = shapes(np.concatenate([small, wide]), 4)
    assert np.allclose(found, [[0.1, 0.1], [0.8, 0.2]])
