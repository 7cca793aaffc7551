"""Suppression and fusion of candidates, by hand."""

import numpy as np

from backend.domain import iou_matrix
from backend.learning.scene import FUSED_SHARPNESS, fuse, keep_best


def test_a_box_is_the_mean_of_its_best_neighbours() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.6, 0.5], [0.8, 0.8, 1, 1]], np.float32)
    rank = np.array([0.7, 0.7 - 1 / FUSED_SHARPNESS, 0.9], np.float32)
    iou = iou_matrix(boxes[:1], boxes)[0]
    # By hand: the second counts 1 / e, the third lies elsewhere.
    weight = np.exp(-1)
    right = (0.5 + 0.6 * weight) / (1 + weight)
    np.testing.assert_allclose(fuse(boxes, rank, iou), [0, 0, right, 0.5], atol=1e-5)
    assert fuse(boxes[2:], rank[2:], np.ones(1, np.float32)).tolist() == boxes[2].tolist()


def test_what_is_kept_is_fused_with_what_it_suppressed() -> None:
    boxes = np.array([[0, 0, 0.5, 0.5], [0, 0, 0.6, 0.5], [0.8, 0.8, 1, 1]], np.float32)
    kept = keep_best(boxes, np.array([0.7, 0.7, 0.9], np.float32))
    np.testing.assert_allclose(kept.boxes, boxes[[2, 0]])
    np.testing.assert_allclose(kept.fused, [[0.8, 0.8, 1, 1], [0, 0, 0.55, 0.5]], atol=1e-6)
    np.testing.assert_allclose(kept.score, [0.9, 0.7])
    np.testing.assert_allclose(kept.iou, np.eye(2))


def test_no_candidate_is_no_box() -> None:
    nothing = np.zeros((0, 4), np.float32)
    assert keep_best(nothing, np.zeros(0, np.float32)).fused.shape == (0, 4)
