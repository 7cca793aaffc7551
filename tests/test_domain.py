"""Geometry of boxes, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import (
    Boxes,
    Picture,
    SaliencyMap,
    clip_xyxy_px,
    concat_boxes,
    iou_matrix,
)

SIZE_HW = (10, 20)


def boxes(*rows: tuple[float, float, float, float, float, str]) -> Boxes:
    return Boxes(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        tuple(row[5] for row in rows),
        SIZE_HW,
    )


def test_no_boxes_are_boxes() -> None:
    assert len(Boxes.empty(SIZE_HW)) == 0
    assert len(Boxes.empty(SIZE_HW).best(5)) == 0
    assert len(concat_boxes([], SIZE_HW)) == 0


@pytest.mark.parametrize(
    "row",
    [
        pytest.param((-1, 0, 5, 5, 0.5, "a"), id="left of the picture"),
        pytest.param((0, 0, 21, 5, 0.5, "a"), id="right of the picture"),
        pytest.param((5, 0, 4, 5, 0.5, "a"), id="turned round"),
        pytest.param((0, 0, 5, 5, 1.1, "a"), id="score above one"),
        pytest.param((0, 0, float("nan"), 5, 0.5, "a"), id="not a number"),
        pytest.param((0, 0, 5, 5, float("nan"), "a"), id="score not a number"),
    ],
)
def test_boxes_refuse_what_no_picture_holds(
    row: tuple[float, float, float, float, float, str],
) -> None:
    with pytest.raises(ValueError, match=r"boxes leave|scores leave"):
        boxes(row)


def test_boxes_refuse_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="1 labels need"):
        Boxes(np.zeros((2, 4), np.float32), np.zeros(2, np.float32), ("a",), SIZE_HW)


def test_best_sorts_cuts_and_keeps_ties_in_order() -> None:
    found = boxes(
        (0, 0, 1, 1, 0.2, "low"),
        (0, 0, 2, 2, 0.9, "first"),
        (0, 0, 3, 3, 0.9, "second"),
        (0, 0, 4, 4, 0.5, "third"),
    )
    assert found.best(3).label == ("first", "second", "third")
    assert found.best(9, threshold=0.5).label == ("first", "second", "third")
    assert found.best(1).xyxy_px.tolist() == [[0, 0, 2, 2]]


def test_concat_keeps_order() -> None:
    joined = concat_boxes(
        [boxes((0, 0, 1, 1, 0.1, "a")), Boxes.empty(SIZE_HW), boxes((0, 0, 2, 2, 0.2, "b"))],
        SIZE_HW,
    )
    assert joined.label == ("a", "b")
    assert joined.score.tolist() == pytest.approx([0.1, 0.2])


def test_iou_by_hand() -> None:
    first = np.array([[0, 0, 4, 4], [0, 0, 0, 0]], np.float32)
    second = np.array([[2, 2, 6, 6], [0, 0, 4, 4], [4, 4, 6, 6]], np.float32)
    # 2x2 overlap of two 4x4 boxes: 4 / (16 + 16 - 4); touching and empty boxes share nothing.
    assert iou_matrix(first, second).tolist() == [
        pytest.approx([4 / 28, 1.0, 0.0]),
        [0.0, 0.0, 0.0],
    ]
    assert iou_matrix(np.zeros((0, 4), np.float32), second).shape == (0, 3)


def test_clip_moves_corners_inside() -> None:
    outside = np.array([[-3, 2, 25, 12]], np.float32)
    assert clip_xyxy_px(outside, SIZE_HW).tolist() == [[0, 2, 20, 10]]


def test_picture_and_map_refuse_other_arrays() -> None:
    with pytest.raises(ValueError, match="rgb_u8"):
        Picture(np.zeros((4, 4), np.uint8), (4, 4), "x")
    with pytest.raises(ValueError, match="size_hw"):
        Picture(np.zeros((4, 4, 3), np.uint8), (0, 4), "x")
    with pytest.raises(ValueError, match="values_bhw"):
        SaliencyMap(np.zeros((4, 4), np.float32))
