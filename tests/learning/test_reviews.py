"""Ledger entries as reviews."""

from __future__ import annotations

from typing import Any

import pytest

from backend.labelstudio.labelspec import parse_label_config
from backend.learning.ledger import Entry, Shown
from backend.learning.report import build_report
from backend.learning.reviews import reviews_of

SPEC = parse_label_config(
    '<View><Image name="img" value="$image"/><RectangleLabels name="rl" toName="img">'
    '<Label value="cat"/><Label value="dog"/></RectangleLabels></View>'
)


def region(name: str, label: str = "cat", x: float = 10) -> dict[str, Any]:
    return {
        "id": name,
        "from_name": "rl",
        "to_name": "img",
        "type": "rectanglelabels",
        "original_width": 200,
        "original_height": 100,
        "value": {"x": x, "y": 20, "width": 30, "height": 40, "rectanglelabels": [label]},
    }


def entry(
    *result: dict[str, Any],
    shown: Shown | None = None,
    parent: int | None = None,
    skipped: bool = False,
    whole: bool = True,
    updated_us: int = 0,
    task_id: int = 1,
) -> Entry:
    return Entry(
        annotation_id=task_id,
        task_id=task_id,
        data={},
        result=result,
        whole=whole,
        skipped=skipped,
        ground_truth=False,
        annotator=1,
        parent=parent,
        lead_time_s=3.0,
        updated_us=updated_us,
        shown=shown,
    )


def shown(*result: dict[str, Any], prediction_id: int = 9) -> Shown:
    return Shown(prediction_id, "v1", result)


def test_nothing() -> None:
    assert reviews_of([], SPEC) == []


def test_boxes_are_read_in_pixels() -> None:
    (review,) = reviews_of([entry(region("a"), shown=shown(region("a", x=0)), parent=9)], SPEC)
    assert review.proposed[0].xyxy_px == pytest.approx((0, 20, 60, 60))
    assert review.accepted[0].xyxy_px == pytest.approx((20, 20, 80, 60))
    assert review.accepted[0].id == review.proposed[0].id
    assert review.lead_time_s == 3.0


@pytest.mark.parametrize(
    ("one", "with_prediction", "version", "proposed"),
    [
        pytest.param(entry(shown=shown(region("a")), parent=9), True, "v1", 1, id="its parent"),
        pytest.param(entry(shown=shown(region("a")), parent=8), True, None, 0, id="another one"),
        pytest.param(entry(parent=9), True, None, 0, id="unknown what it proposed"),
        pytest.param(entry(shown=shown(region("a"))), False, None, 0, id="only looked at"),
        pytest.param(entry(shown=shown()), True, "v1", 0, id="nothing was proposed"),
        pytest.param(entry(), False, None, 0, id="none"),
    ],
)
def test_what_a_person_began_with(
    one: Entry, with_prediction: bool, version: str | None, proposed: int
) -> None:
    (review,) = reviews_of([one], SPEC)
    assert review.with_prediction is with_prediction
    assert review.version == version
    assert len(review.proposed) == proposed


def test_skipped_and_cut_ones_are_left_out_and_the_oldest_comes_first() -> None:
    entries = [
        entry(task_id=1, updated_us=30),
        entry(task_id=2, updated_us=10),
        entry(task_id=3, skipped=True),
        entry(task_id=4, whole=False),
    ]
    assert [review.task_id for review in reviews_of(entries, SPEC)] == [2, 1]


def test_drawn_where_nothing_was_proposed_is_missed() -> None:
    (version,) = build_report(1, reviews_of([entry(region("a"), shown=shown())], SPEC)).versions
    assert version.total.missed == 1
