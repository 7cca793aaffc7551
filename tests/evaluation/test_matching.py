"""Proposals held against true boxes."""

from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Boxes
from backend.evaluation.matching import (
    Accuracy,
    Judgement,
    accuracy,
    judge,
    mean_accuracy,
)

SIZE_HW = (100, 100)
Box = tuple[float, float, float, float]


def boxes(*entries: tuple[str, float, Box]) -> Boxes:
    return Boxes(
        np.array([box for _, _, box in entries], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in entries], np.float32),
        tuple(name for name, _, _ in entries),
        SIZE_HW,
    )


def true(*entries: tuple[str, Box]) -> Boxes:
    return boxes(*((name, 1.0, box) for name, box in entries))


NOTHING = Boxes.empty(SIZE_HW)
SQUARE: Box = (0, 0, 10, 10)
IOU_80: Box = (0, 0, 8, 10)
IOU_60: Box = (0, 0, 6, 10)
IOU_50: Box = (0, 0, 5, 10)
AWAY: Box = (50, 50, 60, 60)


@pytest.mark.parametrize(
    ("found", "truth", "hits_50", "hits_70", "no_edit"),
    [
        pytest.param(NOTHING, NOTHING, 0, 0, True, id="nothing there, nothing found"),
        pytest.param(NOTHING, true(("a", SQUARE)), 0, 0, False, id="nothing found"),
        pytest.param(boxes(("a", 0.5, SQUARE)), NOTHING, 0, 0, False, id="nothing there"),
        pytest.param(
            boxes(("a", 0.5, (3, 3, 3, 3))), true(("a", SQUARE)), 0, 0, False, id="without area"
        ),
        pytest.param(boxes(("a", 0.5, IOU_80)), true(("a", SQUARE)), 1, 1, True, id="0.8"),
        pytest.param(boxes(("a", 0.5, IOU_60)), true(("a", SQUARE)), 1, 0, False, id="0.6"),
        pytest.param(boxes(("a", 0.5, IOU_50)), true(("a", SQUARE)), 1, 0, False, id="0.5 exactly"),
        pytest.param(boxes(("b", 0.5, SQUARE)), true(("a", SQUARE)), 0, 0, False, id="other label"),
        pytest.param(
            boxes(("a", 0.9, SQUARE), ("a", 0.8, SQUARE)),
            true(("a", SQUARE)),
            1,
            1,
            False,
            id="one true box serves one proposal",
        ),
        pytest.param(
            boxes(("a", 0.9, SQUARE), ("b", 0.8, SQUARE)),
            true(("b", SQUARE), ("a", SQUARE)),
            2,
            2,
            True,
            id="two labels in one place",
        ),
        pytest.param(
            boxes(("a", 0.2, SQUARE), ("a", 0.9, AWAY)),
            true(("a", SQUARE)),
            1,
            1,
            False,
            id="an extra box is an edit",
        ),
    ],
)
def test_one_picture(found: Boxes, truth: Boxes, hits_50: int, hits_70: int, no_edit: bool) -> None:
    judged = judge(found, truth)
    assert (judged.hits_50, judged.hits_70, judged.needs_no_edit) == (hits_50, hits_70, no_edit)


def test_figures_by_hand() -> None:
    judged = [
        judge(boxes(("a", 0.9, IOU_80), ("a", 0.1, AWAY)), true(("a", SQUARE))),
        judge(boxes(("a", 0.9, IOU_60)), true(("a", SQUARE), ("a", AWAY))),
        judge(NOTHING, NOTHING),
    ]
    figures = accuracy(judged)
    # 3 proposals, 3 true boxes; 2 pairs at .5, 1 at .7.
    assert figures.f1_50 == pytest.approx(2 * 2 / 6)
    assert figures.f1_70 == pytest.approx(2 * 1 / 6)
    assert figures.mean_iou == pytest.approx((0.8 + 0.6) / 2)
    assert figures.no_edit == pytest.approx(1 / 3)
    # Two at .9 of which one is right: .4; one at .1, wrong: .1.
    assert figures.ece == pytest.approx((2 * 0.4 + 0.1) / 3)


@pytest.mark.parametrize(
    ("judged", "f1", "no_edit"),
    [
        pytest.param([], 1.0, 1.0, id="no picture"),
        pytest.param([judge(NOTHING, NOTHING)], 1.0, 1.0, id="an empty one"),
        pytest.param([judge(NOTHING, true(("a", SQUARE)))], 0.0, 0.0, id="a missed one"),
    ],
)
def test_figures_without_proposals(judged: list[Judgement], f1: float, no_edit: float) -> None:
    figures = accuracy(judged)
    assert (figures.f1_50, figures.f1_70, figures.no_edit) == (f1, f1, no_edit)
    assert (figures.mean_iou, figures.ece) == (0.0, 0.0)


def test_mean_of_measurements() -> None:
    mean = mean_accuracy([Accuracy(1, 0.5, 0.8, 0, 0.1), Accuracy(0, 0.5, 0.6, 1, 0.3)])
    assert mean.f1_50 == 0.5
    assert mean.f1_70 == 0.5
    assert mean.mean_iou == pytest.approx(0.7)
    assert mean.no_edit == 0.5
    assert mean.ece == pytest.approx(0.2)
