"""Never worse, on counts made up by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from backend.domain import Boxes
from backend.learning.examples import Example
from backend.learning.promote import (
    Counts,
    decide,
    judge,
    judge_example,
    total,
    unseen_counts,
    with_answers,
    without_answers,
    worse_answers,
)


def boxes(*rows: tuple[float, float, float, float, float, str]) -> Boxes:
    return Boxes(
        np.array([row[:4] for row in rows], np.float32).reshape(-1, 4),
        np.array([row[4] for row in rows], np.float32),
        tuple(row[5] for row in rows),
        (100, 100),
    )


TRUTH = boxes((0, 0, 10, 10, 1, "a"), (50, 50, 60, 60, 1, "b"))


@pytest.mark.parametrize(
    ("found", "accepted", "expected"),
    [
        pytest.param(boxes(), boxes(), Counts(), id="nothing to find"),
        pytest.param(boxes(), TRUTH, Counts(0, 0, 2, 0, 0, 2), id="nothing found"),
        pytest.param(TRUTH, boxes(), Counts(0, 2, 0, 0, 2, 0), id="nothing there"),
        pytest.param(TRUTH, TRUTH, Counts(2, 0, 0, 2, 0, 0), id="all"),
        pytest.param(
            boxes((0, 0, 10, 15, 0.9, "a")), TRUTH, Counts(1, 0, 1, 0, 1, 2), id="IoU of two thirds"
        ),
        pytest.param(
            boxes((0, 0, 10, 10, 0.9, "b")), TRUTH, Counts(0, 1, 2, 0, 1, 2), id="wrong label"
        ),
        pytest.param(
            boxes((0, 0, 10, 10, 0.9, "a"), (0, 0, 10, 10, 0.8, "a")),
            TRUTH,
            Counts(1, 1, 1, 1, 1, 1),
            id="twice",
        ),
    ],
)
def test_judge(found: Boxes, accepted: Boxes, expected: Counts) -> None:
    assert judge(found, accepted) == expected


def test_scores() -> None:
    assert Counts().score == 1.0
    counts = total([Counts(3, 1, 1, 1, 3, 3), Counts(1, 0, 0, 0, 1, 1)])
    assert counts == Counts(4, 1, 1, 1, 4, 4)
    assert counts.f1_50 == 8 / 10
    assert counts.f1_70 == 2 / 10
    assert counts.score == 0.5
    assert total([]) == Counts()


GOOD = Counts(2, 0, 0, 2, 0, 0)
FAIR = Counts(2, 0, 0, 1, 1, 1)
BAD = Counts(1, 1, 1, 0, 2, 2)


def answers(boxes: Counts | None = None, **right: int) -> Counts:
    return replace(boxes or Counts(), answers={name: bool(yes) for name, yes in right.items()})


@pytest.mark.parametrize(
    ("new", "current", "publish", "judged_on"),
    [
        pytest.param({"p": GOOD}, {"p": FAIR}, True, 1, id="better"),
        pytest.param({"p": FAIR}, {"p": FAIR}, True, 1, id="equal"),
        pytest.param({"p": BAD}, {"p": FAIR}, False, 1, id="worse"),
        pytest.param({"p": BAD, "q": GOOD}, {"p": GOOD, "q": BAD}, True, 2, id="as good in all"),
        pytest.param({"p": BAD, "q": FAIR}, {"p": GOOD, "q": BAD}, True, 2, id="worse by chance"),
        pytest.param({"p": BAD, "q": FAIR}, {"p": GOOD, "q": GOOD}, False, 2, id="worse in each"),
        pytest.param(
            {f"{n}": FAIR if n else GOOD for n in range(9)},
            {f"{n}": GOOD if n else FAIR for n in range(9)},
            False,
            9,
            id="worse in most",
        ),
        pytest.param({"p": BAD, "q": GOOD}, {"p": GOOD}, False, 1, id="only shared pictures"),
        pytest.param({"p": BAD}, {}, True, 0, id="nothing to compare"),
        pytest.param({"p": answers(a=1)}, {"p": answers(a=0)}, True, 1, id="answers better"),
        pytest.param({"p": answers(a=0)}, {"p": answers(a=0)}, True, 1, id="answers equal"),
        pytest.param({"p": answers(a=0)}, {"p": answers(a=1)}, False, 1, id="answers worse"),
        pytest.param(
            {"p": answers(a=0, b=1)}, {"p": answers(a=1, b=0)}, True, 1, id="as many answers right"
        ),
        pytest.param({"p": answers(a=0)}, {"p": answers(b=1)}, True, 1, id="another control"),
        pytest.param({"p": answers()}, {"p": answers(b=1)}, True, 1, id="control not answered"),
        pytest.param(
            {"p": answers(GOOD, a=0)}, {"p": answers(FAIR, a=1)}, False, 1, id="boxes alone better"
        ),
        pytest.param(
            {"p": answers(BAD, a=1)}, {"p": answers(FAIR, a=0)}, False, 1, id="answers alone better"
        ),
        pytest.param(
            {"p": answers(GOOD, a=1)}, {"p": answers(FAIR, a=1)}, True, 1, id="neither worse"
        ),
    ],
)
def test_never_worse(
    new: Mapping[str, Counts], current: Mapping[str, Counts], publish: bool, judged_on: int
) -> None:
    verdict = decide(new, current, allow_chance=True)
    assert verdict.publish is publish
    assert verdict.pictures == judged_on
    assert verdict.reason


def test_no_chance_is_allowed_against_what_was_never_taught() -> None:
    new, current = {"p": BAD, "q": FAIR}, {"p": GOOD, "q": BAD}
    assert decide(new, current, allow_chance=True).publish
    assert not decide(new, current, allow_chance=False).publish


def test_each_picture_is_unseen_by_the_one_judged() -> None:
    asked: list[list[str]] = []

    def predict(pictures: list[str]) -> Mapping[str, Counts]:
        asked.append(pictures)
        return dict.fromkeys(pictures, BAD)

    accepted = {"learned": "d1", "relabelled": "d2", "new": "d3"}
    learned = {"learned": ("d1", GOOD), "relabelled": ("other", GOOD), "deleted": ("d4", GOOD)}
    assert unseen_counts(accepted, learned, predict) == {"learned": GOOD, "new": BAD}
    assert asked == [["new"]]
    assert unseen_counts({"learned": "d1"}, learned, predict) == {"learned": GOOD}
    assert asked == [["new"]], "nobody is asked for nothing"


def test_answers_stay_with_their_picture() -> None:
    of_head = {"p": answers(FAIR, a=1), "q": answers(b=0)}
    zero_shot = {"p": answers(GOOD, a=0, b=1), "r": answers(b=1)}
    joined = with_answers(of_head, zero_shot)
    assert joined == {"p": answers(FAIR, a=1, b=1), "q": answers(b=0)}
    assert without_answers(joined, {"b"}) == {"p": answers(FAIR, a=1), "q": Counts()}


def test_the_control_that_loses_is_named() -> None:
    new = {"p": answers(a=0, b=1, c=1), "q": answers(a=1, b=1), "r": answers(c=0)}
    current = {"p": answers(a=1, b=1, c=1), "q": answers(a=1, b=0), "s": answers(c=1)}
    assert worse_answers(new, current) == {"a"}
    assert worse_answers(new, {}) == frozenset()


@pytest.mark.parametrize(
    ("chosen", "drawn_on", "expected"),
    [
        pytest.param({"kind": ("cat",)}, True, answers(Counts(0, 1, 0, 0, 1, 0), kind=1), id="yes"),
        pytest.param({"kind": ("cat",)}, False, answers(kind=1), id="no box was asked for"),
        pytest.param({"kind": ("cat", "dog")}, False, answers(kind=0), id="too many"),
        pytest.param({"kind": ()}, False, answers(kind=0), id="none"),
        pytest.param({"other": ("cat",)}, False, Counts(), id="another control"),
    ],
)
def test_judge_example(
    chosen: Mapping[str, tuple[str, ...]], drawn_on: bool, expected: Counts
) -> None:
    none = np.zeros((0, 4), np.float32)
    example = Example("p", Boxes.empty((100, 100)), none, {"kind": ("cat",)}, drawn_on)
    found = boxes((0, 0, 10, 10, 0.9, "a"))
    assert judge_example(found, chosen, example) == expected


@pytest.mark.parametrize("counts", [Counts(1, 2, 3, 4, 5, 6), answers(GOOD, a=1, b=0)])
def test_rows(counts: Counts) -> None:
    assert Counts.from_row(json.loads(json.dumps(counts.to_row()))) == counts
    assert Counts(1, 2, 3, 4, 5, 6).to_row() == [1, 2, 3, 4, 5, 6]
