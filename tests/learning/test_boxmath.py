"""Sums and samples over boxes, against loops."""

from __future__ import annotations

import numpy as np

from backend.domain import iou_matrix
from backend.learning.boxmath import Integral, grow, mirror, sample, sigmoid, suppress, tidy


def test_integral_by_hand() -> None:
    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    boxes = np.array([[0, 0, 1, 1], [0.25, 0.25, 0.75, 0.75], [0, 0, 0.125, 0.25]], np.float32)
    table = Integral(values)
    assert table.sum(boxes).tolist() == [120, 5 + 6 + 9 + 10, 0]
    assert table.area(boxes).tolist() == [16, 4, 0.5]
    assert table.mean(boxes)[1] == 7.5


def test_what_is_outside_does_not_count() -> None:
    table = Integral(np.ones((4, 4), np.float32))
    outside = np.array([[-1, -1, 0.5, 0.5], [2, 2, 3, 3], [0.5, 0.5, 0.5, 0.5]], np.float32)
    assert table.sum(outside).tolist() == [4, 0, 0]
    assert table.mean(outside).tolist() == [1, 0, 0]


def test_grow_about_the_centre_and_mirror() -> None:
    box = np.array([[0.2, 0.4, 0.4, 0.8]], np.float32)
    assert np.allclose(grow(box, 2), [[0.1, 0.2, 0.5, 1.0]])
    assert np.allclose(mirror(box), [[0.6, 0.4, 0.8, 0.8]])
    assert np.allclose(mirror(mirror(box)), box)


def test_sample_reads_a_plane_exactly() -> None:
    y, x = np.mgrid[0:8, 0:8].astype(np.float32)
    maps = np.stack([(x + 0.5) / 8, (y + 0.5) / 8], -1)
    found = sample(maps, np.array([[0.25, 0.25, 0.75, 0.5]], np.float32), 2)
    assert np.allclose(found[0, :, :, 0], [[0.375, 0.625], [0.375, 0.625]], atol=1e-5)
    assert np.allclose(found[0, :, :, 1], [[0.3125, 0.3125], [0.4375, 0.4375]], atol=1e-5)
    assert sample(maps, np.zeros((0, 4), np.float32), 3).shape == (0, 3, 3, 2)


def test_suppress_keeps_the_best_of_each_heap() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.5, 0.55], [0.6, 0.6, 1, 1]], np.float32)
    score = np.array([0.5, 0.9, 0.1], np.float32)
    iou = iou_matrix(boxes, boxes)
    assert suppress(boxes, score, iou, 0.45, 10) == [1, 2]
    assert suppress(boxes, score, iou, 0.95, 10) == [1, 0, 2]
    assert suppress(boxes, score, iou, 0.45, 1) == [1]
    none = np.zeros((0, 4), np.float32)
    assert suppress(none, score[:0], iou_matrix(none, none), 0.5, 5) == []


def test_tidy_cuts_and_leaves_out_the_thin() -> None:
    boxes = np.array([[-1, 0, 0.5, 2], [0.3, 0.3, 0.305, 0.9], [0.9, 0.9, 0.2, 0.2]], np.float32)
    assert tidy(boxes).tolist() == [[0, 0, 0.5, 1]]


def test_sigmoid_does_not_overflow() -> None:
    assert sigmoid(np.array([-1e9, 0, 1e9], np.float32)).tolist()[1] == 0.5
