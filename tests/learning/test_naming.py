"""Labels of boxes."""

from __future__ import annotations

import numpy as np

from backend.learning.naming import box_vectors, fit_naming, label_margin

RANDOM = np.random.RandomState(0)
CENTRES = RANDOM.normal(size=(3, 6))


def vectors(label: list[int]) -> np.ndarray:
    return (CENTRES[label] + RANDOM.normal(0, 0.1, (len(label), 6))).astype(np.float32)


def test_separable_labels_are_told_apart() -> None:
    taught = [0, 1, 2] * 10
    naming = fit_naming(vectors(taught), taught, 3)
    asked = [2, 0, 1, 1]
    assert naming(vectors(asked)).argmax(1).tolist() == asked


def test_a_rare_label_weighs_as_much_as_a_frequent_one() -> None:
    taught = [0] * 60 + [1] * 2
    naming = fit_naming(vectors(taught), taught, 2)
    assert naming(vectors([1] * 5)).argmax(1).tolist() == [1] * 5


def test_a_label_without_a_box_never_wins() -> None:
    naming = fit_naming(vectors([0, 2, 0, 2]), [0, 2, 0, 2], 3)
    assert 1 not in naming(RANDOM.normal(size=(50, 6)).astype(np.float32)).argmax(1)


def test_fewer_boxes_than_numbers_give_what_the_larger_system_gives() -> None:
    taught = [0, 1, 0, 1]
    few = vectors(taught)
    dual = fit_naming(few, taught, 2)
    # Twice the same boxes is the same problem, solved the other way round.
    primal = fit_naming(np.concatenate([few, few]), taught * 2, 2)
    asked = vectors([0, 1])
    assert np.allclose(dual(asked), primal(asked), atol=1e-4)


def test_margin_is_the_lead_over_the_next() -> None:
    values = np.array([[0.1, 0.9, 0.4], [0.2, 0.2, 0.2]], np.float32)
    assert np.allclose(label_margin(values), [[0.9, 0.5], [0.2, 0]])
    assert label_margin(values[:, :1]).tolist() == [[0, 0], [0, 0]]


def test_vectors_are_read_inside_the_box() -> None:
    grid = np.zeros((8, 8, 1), np.float32)
    grid[:, 4:] = 1
    boxes = np.array([[0.6, 0.1, 0.9, 0.9], [0, 0, 0.4, 1]], np.float32)
    assert box_vectors([grid, grid], boxes).tolist() == [[1, 1], [0, 0]]


def test_maps_name_boxes_as_their_vectors_do() -> None:
    random = np.random.RandomState(3)
    grids = [random.normal(size=(side, side, 5)).astype(np.float32) for side in (4, 6)]
    boxes = np.array([[0.1, 0.2, 0.5, 0.9], [0, 0, 1, 1], [0.7, 0.6, 0.8, 0.8]], np.float32)
    taught = [0, 1, 2, 1]
    naming = fit_naming(random.normal(size=(4, 10)).astype(np.float32), taught, 3)
    of_vectors = naming(box_vectors(grids, boxes))
    assert np.allclose(naming.at(naming.maps(grids), boxes), of_vectors, atol=1e-5)
    assert naming.at(naming.maps(grids), boxes[:0]).shape == (0, 3)
