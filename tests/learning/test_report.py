"""What people did with proposals, counted."""

from __future__ import annotations

import json

import pytest

from backend.learning.report import (
    HeldOut,
    Review,
    ReviewedBox,
    Tally,
    build_report,
    overlap_counts,
)

Corners = tuple[float, float, float, float]
SQUARE: Corners = (0, 0, 10, 10)
HALF: Corners = (0, 0, 5, 10)
BARELY: Corners = (0, 0, 10, 9.99)


def box(region: str, label: str = "cat", corners: Corners = SQUARE) -> ReviewedBox:
    return ReviewedBox(region, label, corners)


def review(
    proposed: tuple[ReviewedBox, ...],
    accepted: tuple[ReviewedBox, ...],
    version: str | None = "v1",
    lead_time_s: float | None = None,
    task_id: int = 1,
) -> Review:
    return Review(task_id, version is not None, version, proposed, accepted, lead_time_s)


def counted(tally: Tally) -> tuple[int, int, int, int, int]:
    return tally.kept, tally.changed, tally.relabelled, tally.rejected, tally.missed


def test_nothing_annotated() -> None:
    report = build_report(7, [])
    assert (report.annotations, report.versions, report.doubts) == (0, (), ())
    assert report.with_prediction.median_s is None
    json.dumps(report.as_dict())


@pytest.mark.parametrize(
    ("proposed", "accepted", "expected"),
    [
        pytest.param((), (), (0, 0, 0, 0, 0), id="nothing proposed, nothing there"),
        pytest.param((box("a"),), (box("a"),), (1, 0, 0, 0, 0), id="as it was"),
        pytest.param((box("a"),), (box("a", corners=BARELY),), (1, 0, 0, 0, 0), id="rounded"),
        pytest.param((box("a"),), (box("a", corners=HALF),), (0, 1, 0, 0, 0), id="moved"),
        pytest.param((box("a"),), (box("a", "dog"),), (0, 1, 1, 0, 0), id="other label"),
        pytest.param((box("a"),), (), (0, 0, 0, 1, 0), id="deleted"),
        pytest.param((), (box("b"),), (0, 0, 0, 0, 1), id="drawn"),
        pytest.param((box("a"),), (box("b"),), (0, 0, 0, 1, 1), id="deleted and drawn anew"),
    ],
)
def test_one_picture(
    proposed: tuple[ReviewedBox, ...],
    accepted: tuple[ReviewedBox, ...],
    expected: tuple[int, int, int, int, int],
) -> None:
    (version,) = build_report(1, [review(proposed, accepted)]).versions
    assert counted(version.total) == expected
    assert version.edits_a_picture == sum(expected) - expected[0] - expected[2]
    assert version.untouched == (version.edits_a_picture == 0)


def test_versions_labels_and_overlaps() -> None:
    reviews = [
        review((box("a"), box("b", "dog")), (box("a", corners=HALF), box("b", "dog"))),
        review((), (box("c"), box("d")), version=None),
        review((box("e"),), (box("e", "dog"), box("f", "dog")), version="v2"),
        review((box("g"),), (box("g"),)),
    ]
    report = build_report(1, reviews)
    assert report.annotations == 4
    first, second = report.versions
    assert (first.version, first.pictures, first.untouched) == ("v1", 2, 1)
    assert first.edits_a_picture == 0.5
    assert {name: counted(tally) for name, tally in first.by_label.items()} == {
        "cat": (1, 1, 0, 0, 0),
        "dog": (1, 0, 0, 0, 0),
    }
    assert first.total.overlaps == pytest.approx([0.5])
    # The changed box counts under the label it was proposed with, the drawn one under its own.
    assert {name: counted(tally) for name, tally in second.by_label.items()} == {
        "cat": (0, 1, 1, 0, 0),
        "dog": (0, 0, 0, 0, 1),
    }
    assert report.as_dict()["versions"][0]["total"]["changed_iou_counts"] == [0, 1, 0, 0]


def test_lead_times_are_medians_of_what_was_told() -> None:
    times = [("v1", 4.0), ("v1", None), ("v1", 10.0), ("v1", 100.0), (None, 30.0), (None, 40.0)]
    report = build_report(1, [review((), (), version, seconds) for version, seconds in times])
    assert (report.with_prediction.pictures, report.with_prediction.median_s) == (4, 10.0)
    assert (report.without_prediction.pictures, report.without_prediction.median_s) == (2, 35.0)


def test_an_unknown_prediction_counts_for_time_alone() -> None:
    report = build_report(1, [Review(1, True, None, (), (box("a"),), 5.0)])
    assert report.versions == ()
    assert report.with_prediction.median_s == 5.0


@pytest.mark.parametrize(
    ("overlaps", "counts"),
    [([], [0, 0, 0, 0]), ([0.0, 0.49, 0.5, 0.7, 0.89, 0.9, 1.0], [2, 1, 2, 2])],
    ids=["none", "edges belong above"],
)
def test_overlap_counts(overlaps: list[float], counts: list[int]) -> None:
    assert overlap_counts(overlaps) == counts


GOOD = [HeldOut(task, 4, 0, 0) for task in range(10)]


@pytest.mark.parametrize(
    ("held_out", "doubtful"),
    [
        pytest.param([], [], id="nothing learned"),
        pytest.param(GOOD, [], id="all agree"),
        pytest.param(
            [*GOOD, HeldOut(11, 0, 1, 0), HeldOut(12, 0, 1, 2)], [12, 11], id="worst first"
        ),
        # All: 80 hits, 6 others: F1 .964. At most half of it: .4 (2 of 5 boxes) is, .8 is not.
        pytest.param([*GOOD, HeldOut(13, 1, 1, 2), HeldOut(14, 4, 1, 1)], [13], id="half as good"),
        pytest.param([HeldOut(1, 1, 3, 3), HeldOut(2, 0, 4, 4)], [], id="a head that knows little"),
        pytest.param([*GOOD, HeldOut(15, 0, 0, 0)], [], id="nothing there, nothing found"),
    ],
)
def test_labels_that_look_wrong(held_out: list[HeldOut], doubtful: list[int]) -> None:
    report = build_report(1, [], held_out)
    assert [one.task_id for one in report.doubts] == doubtful
    assert report.judged == len(held_out)
