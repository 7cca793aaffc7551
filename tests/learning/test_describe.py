"""The numbers of a candidate."""

from __future__ import annotations

import numpy as np

from backend.learning.dense import DenseMaps
from backend.learning.describe import SURROUNDINGS, describe, surroundings
from tests.learning.test_candidates import KNOWN, perfect_maps

TRUE = np.array([[0.3, 0.2, 0.7, 0.8]], np.float32)
MOMENT = TRUE


def test_a_fitting_box_differs_from_a_shifted_one_where_it_should() -> None:
    shifted = TRUE + np.array([0.2, 0.1, 0.2, 0.1], np.float32)
    rows = describe(perfect_maps(TRUE), np.concatenate([TRUE, shifted]), KNOWN, MOMENT, TRUE)
    inside, around, contrast = rows[:, 0], rows[:, 1], rows[:, 2]
    assert inside[0] > 0.9 > inside[1]
    assert around[0] < 0.2
    assert contrast[0] > contrast[1]


def test_rows_do_not_depend_on_the_other_candidates() -> None:
    maps = perfect_maps(TRUE)
    alone = describe(maps, TRUE, KNOWN, MOMENT, KNOWN)
    together = describe(maps, np.concatenate([KNOWN, TRUE]), KNOWN, MOMENT, KNOWN)
    assert np.allclose(alone[0], together[-1])


def test_nothing_and_flat_maps() -> None:
    flat = DenseMaps(np.zeros((6, 6, 6), np.float32), np.zeros((6, 6, 4), np.float32))
    none = np.zeros((0, 4), np.float32)
    rows = describe(flat, TRUE, KNOWN, MOMENT, TRUE)
    assert np.isfinite(rows).all()
    assert describe(flat, none, KNOWN, MOMENT, TRUE).shape == (0, rows.shape[1])
    assert surroundings(flat, TRUE).shape == (1, SURROUNDINGS)
    assert surroundings(flat, none).shape == (0, SURROUNDINGS)
