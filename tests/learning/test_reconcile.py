"""Agreement of several annotators, worked out by hand."""

from __future__ import annotations

from itertools import permutations

import pytest

from backend.labelstudio.regions import ReadRegion
from backend.learning.reconcile import Agreed, Voice, reconcile

Corners = tuple[float, float, float, float]


def box(
    xyxy: Corners, label: str = "cat", origin: str = "manual", region: str = "r", item: int = 0
) -> ReadRegion:
    return ReadRegion(region, "rl", item, xyxy, (100, 100), label, None, origin)


def voice(
    at: int,
    *boxes: ReadRegion,
    annotator: int | None = None,
    truth: bool = False,
    deleted: tuple[ReadRegion, ...] = (),
    choices: dict[tuple[str, int], tuple[str, ...]] | None = None,
) -> Voice:
    return Voice((at, at), annotator, truth, boxes, deleted, choices or {})


def found(agreed: Agreed) -> list[tuple[str, Corners]]:
    return sorted((one.label, one.xyxy_px) for one in agreed.boxes)


A = (0.0, 0.0, 10.0, 10.0)
A2 = (0.0, 0.0, 10.0, 12.0)  # IoU with A: 100 / 120
A3 = (0.0, 0.0, 10.0, 14.0)  # with A 100 / 140, with A2 120 / 140
FAR = (50.0, 50.0, 60.0, 60.0)
HALF = (0.0, 0.0, 10.0, 20.0)  # with A exactly 0.5
LESS = (0.0, 0.0, 10.0, 21.0)  # with A 100 / 210


@pytest.mark.parametrize(
    ("voices", "expected"),
    [
        pytest.param([], [], id="nobody"),
        pytest.param([voice(1)], [], id="one finds nothing"),
        pytest.param([voice(1, box(A), box(FAR))], [("cat", A), ("cat", FAR)], id="one"),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, box(FAR), annotator=1)],
            [("cat", FAR)],
            id="the same person's newest",
        ),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, box(A2), annotator=2)],
            [("cat", (0.0, 0.0, 10.0, 11.0))],
            id="two agree: the mean",
        ),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, annotator=2)], [], id="one of two is no more"
        ),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, box(HALF), annotator=2)],
            [("cat", (0.0, 0.0, 10.0, 15.0))],
            id="half is the same box",
        ),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, box(LESS), annotator=2)],
            [],
            id="less than half is not",
        ),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, box(A, "dog"), annotator=2)],
            [],
            id="another label is another box",
        ),
        pytest.param(
            [voice(1, box(A), annotator=1), voice(2, box(A, item=1), annotator=2)],
            [],
            id="another picture is another box",
        ),
        pytest.param(
            [
                voice(1, box(A), annotator=1),
                voice(2, box(A3), box(FAR), annotator=2),
                voice(3, annotator=3),
            ],
            [("cat", (0.0, 0.0, 10.0, 12.0))],
            id="two of three",
        ),
        pytest.param(
            [
                voice(1, box(A), annotator=1),
                voice(2, box(A2), annotator=2),
                voice(3, box(A3), annotator=3),
            ],
            [("cat", (0.0, 0.0, 10.0, 12.0))],
            id="three of three",
        ),
        pytest.param(
            [voice(1, box(A), box(A2), annotator=1), voice(2, box(A), annotator=2)],
            [("cat", A)],
            id="one person's two boxes are two",
        ),
        pytest.param(
            [
                voice(1, box(A), annotator=1, truth=True),
                voice(2, box(FAR), annotator=2),
                voice(3, box(FAR), annotator=3),
            ],
            [("cat", A)],
            id="ground truth",
        ),
        pytest.param(
            [voice(1, box(A), truth=True), voice(2, box(FAR), truth=True)],
            [("cat", FAR)],
            id="the newest ground truth",
        ),
        pytest.param([voice(1, box(A)), voice(2, box(A))], [("cat", A)], id="unknown annotators"),
    ],
)
def test_boxes(voices: list[Voice], expected: list[tuple[str, Corners]]) -> None:
    for order in permutations(voices):
        assert found(reconcile(order)) == expected


def test_an_agreed_box_is_untouched_only_where_all_left_it_so() -> None:
    kept, moved = box(A, origin="prediction"), box(A2, origin="prediction-changed")
    both = reconcile([voice(1, kept, annotator=1), voice(2, kept, annotator=2)])
    assert both.boxes[0].origin == "prediction"
    one = reconcile([voice(1, kept, annotator=1), voice(2, moved, annotator=2)])
    assert one.boxes[0].origin == "prediction-changed"


@pytest.mark.parametrize(
    ("drawn", "rejected"),
    [
        pytest.param([], [A], id="gone"),
        pytest.param([box(HALF)], [], id="drawn anew in its place"),
        pytest.param([box(LESS)], [A], id="drawn elsewhere"),
        pytest.param([box(A, "dog")], [A], id="drawn as something else"),
    ],
)
def test_a_deleted_box_is_rejected(drawn: list[ReadRegion], rejected: list[Corners]) -> None:
    agreed = reconcile([voice(1, *drawn, deleted=(box(A, region="p"),))])
    assert [one.xyxy_px for one in agreed.rejected] == rejected


def test_a_box_that_two_deleted_is_rejected_once() -> None:
    deleted = (box(A, region="p"),)
    agreed = reconcile(
        [voice(1, annotator=1, deleted=deleted), voice(2, annotator=2, deleted=deleted)]
    )
    assert len(agreed.rejected) == 1


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param([("x",)], {("k", 0): ("x",)}, id="one"),
        pytest.param([("x",), ("y",)], {}, id="two disagree"),
        pytest.param([("x", "y"), ("y",), ("z",)], {("k", 0): ("y",)}, id="two of three"),
        pytest.param([(), ("x",)], {}, id="none is a voice"),
    ],
)
def test_choices(
    said: list[tuple[str, ...]], expected: dict[tuple[str, int], tuple[str, ...]]
) -> None:
    voices = [voice(at, annotator=at, choices={("k", 0): names}) for at, names in enumerate(said)]
    assert reconcile(voices).choices == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param([{"stars": 4.0}], {"stars": 4.0}, id="one"),
        pytest.param([{"stars": 4.0}, {}], {}, id="one of two"),
        pytest.param([{"stars": 2.0}, {"stars": 5.0}], {"stars": 3.5}, id="two"),
        pytest.param([{"stars": 1.0}, {"stars": 5.0}, {"stars": 4.0}], {"stars": 4.0}, id="three"),
        pytest.param([{"a": 1.0}, {"a": 2.0, "b": 7.0}, {"a": 9.0}], {"a": 2.0}, id="half is few"),
    ],
)
def test_numbers_by_the_median(given: list[dict[str, float]], expected: dict[str, float]) -> None:
    voices = [Voice((at, at), at, False, (), numbers=one) for at, one in enumerate(given)]
    for order in permutations(voices):
        assert reconcile(order).numbers == expected


def test_a_true_number_has_the_only_say() -> None:
    true = Voice((1, 1), 1, True, (), numbers={"stars": 5.0})
    later = Voice((2, 2), 2, False, (), numbers={"stars": 1.0})
    assert reconcile([later, true]).numbers == {"stars": 5.0}
