"""What candidates teach about moving corners."""

from __future__ import annotations

import numpy as np

from backend.learning.corners import corner_sums, fit_corners
from backend.learning.dense import DenseMaps
from backend.learning.describe import SURROUNDINGS, surroundings
from backend.learning.linear import RidgeSums, no_ridge
from backend.learning.scene import Proposed
from tests.learning.test_candidates import KNOWN, perfect_maps

TRUE = np.array([[0.3, 0.2, 0.7, 0.8]], np.float32)


def proposed(boxes: np.ndarray) -> Proposed:
    maps: DenseMaps = perfect_maps(TRUE)
    return Proposed(maps, boxes.astype(np.float32), TRUE, KNOWN)


def test_steps_are_in_sides_of_the_candidate_and_far_ones_teach_nothing() -> None:
    near = TRUE + np.array([0.1, 0, 0.1, 0])
    far = np.array([[0.0, 0.0, 0.1, 0.1]])
    sums = corner_sums(proposed(np.concatenate([near, far])), TRUE, None)
    assert sums.count == 1
    # The candidate is .4 wide and stands .1 too far to the right.
    assert np.allclose(sums.y, [-0.25, 0, -0.25, 0], atol=1e-6)


def test_a_picture_without_boxes_or_candidates_near_them_teaches_nothing() -> None:
    none = np.zeros((0, 4), np.float32)
    assert corner_sums(proposed(TRUE), none, None).count == 0
    assert corner_sums(proposed(TRUE), TRUE * 0.1, None).count == 0


def test_a_constant_mistake_is_unlearned() -> None:
    random = np.random.RandomState(0)
    moved = TRUE + np.array([0.04, 0, 0.04, 0]) + random.uniform(-0.03, 0.03, (60, 4))
    found = fit_corners(corner_sums(proposed(moved), TRUE, None), None)
    step = found(surroundings(perfect_maps(TRUE), moved.astype(np.float32)))
    assert np.allclose(step[:, 0].mean(), -0.1, atol=0.02)


def test_too_little_leaves_the_start() -> None:
    nothing = RidgeSums.of(np.zeros((0, SURROUNDINGS), np.float32), np.zeros((0, 4), np.float32))
    start = no_ridge(SURROUNDINGS, 4)
    assert fit_corners(nothing, start) is start
    assert not fit_corners(nothing, None).weights.any()
