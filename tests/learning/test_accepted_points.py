"""What becomes of key points that people accept, move and delete."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.domain import Boxes, Points
from backend.jobs.lessons import Lesson, example_of, lessons_of
from backend.labelstudio.labelspec import parse_label_config
from backend.learning.accepted import accepted_tasks
from backend.learning.examples import Example
from backend.learning.fit import wants_small
from backend.learning.ledger import Entry, Shown
from backend.learning.promote import Counts, decide, judge_example, judge_points, point_answer
from backend.learning.report import build_report
from backend.learning.reviews import reviews_of

SPEC = parse_label_config(
    '<View><Image name="img" value="$image"/><KeyPointLabels name="kp" toName="img">'
    '<Label value="nose"/><Label value="ear"/></KeyPointLabels>'
    '<RectangleLabels name="rl" toName="img"><Label value="nose"/></RectangleLabels></View>'
)
POINTS = parse_label_config(
    '<View><Image name="img" value="$image"/><KeyPointLabels name="kp" toName="img">'
    '<Label value="nose"/></KeyPointLabels></View>'
)


def point(x: Any, y: Any, label: str = "nose", region: str = "r", **more: Any) -> dict[str, Any]:
    """In percent of a picture 200 wide and 100 high."""
    return {
        "id": region, "from_name": "kp", "to_name": "img", "type": "keypointlabels",
        "original_width": 200, "original_height": 100, "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.5, "keypointlabels": [label]},
    } | more  # fmt: skip


BOX = {
    "id": "b", "from_name": "rl", "to_name": "img", "type": "rectanglelabels",
    "original_width": 200, "original_height": 100, "image_rotation": 0,
    "value": {"x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0,
              "rectanglelabels": ["nose"]},
}  # fmt: skip


def entry(
    *result: dict[str, Any], shown: tuple[dict[str, Any], ...] | None = None, annotator: int = 1
) -> Entry:
    return Entry(
        annotation_id=annotator,
        task_id=1,
        data={"image": "http://x/1.png"},
        result=result,
        whole=True,
        skipped=False,
        ground_truth=False,
        annotator=annotator,
        parent=None if shown is None else 9,
        lead_time_s=None,
        updated_us=annotator,
        shown=None if shown is None else Shown(9, "v", shown),
    )


def lesson(*entries: Entry) -> Lesson:
    (found,) = lessons_of(accepted_tasks(entries, SPEC), SPEC)
    return found


def example(*entries: Entry, size_hw: tuple[int, int] = (100, 200)) -> Example:
    return example_of(lesson(*entries), "p", size_hw)


def places(example: Example) -> dict[str, list[list[float]]]:
    return {name: points.tolist() for name, points in example.points_px.items()}


def test_points_never_reach_the_head_of_boxes() -> None:
    found = example(entry(point(25, 50), BOX, point(50, 50, "ear")))
    assert found.boxes.label == ("nose",)
    assert found.boxes.xyxy_px.tolist() == [[0, 0, 100, 50]]
    assert places(found) == {"nose": [[50, 50]], "ear": [[100, 50]]}
    assert (found.drawn_on, found.pointed_on) == (True, True)
    assert not wants_small([example(entry(point(25, 50)))])


def test_a_project_of_points_alone_asks_for_no_box() -> None:
    (found,) = lessons_of(accepted_tasks([entry(point(25, 50))], POINTS), POINTS)
    told = example_of(found, "p", (100, 200))
    assert (told.drawn_on, told.pointed_on, len(told.boxes)) == (False, True, 0)
    assert judge_example(Boxes.empty((100, 200)), {}, told) == Counts()


def test_points_are_scaled_to_the_picture() -> None:
    assert places(example(entry(point(25, 50)), size_hw=(50, 100))) == {"nose": [[25, 25]]}


def test_a_deleted_point_is_a_rejected_one_and_a_moved_one_is_not() -> None:
    shown = (point(25, 50, region="kept"), point(75, 50, "ear", region="gone"))
    found = example(entry(point(60, 50, region="kept"), shown=shown))
    assert places(found) == {"nose": [[120, 50]]}
    assert {n: p.tolist() for n, p in found.rejected_points_px.items()} == {"ear": [[150, 50]]}
    assert len(found.rejected_xyxy_px) == 0


def test_a_moved_point_is_accepted_anew() -> None:
    one, other = (lesson(entry(point(x, 50))) for x in (25, 25.1))
    assert one.digest != other.digest


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        pytest.param((27, 50), [[52, 50]], id="4 px apart of 10: their mean"),
        pytest.param((30.1, 50), [], id="just too far"),
        pytest.param(None, [], id="one alone is no majority of two"),
    ],
)
def test_several_annotators_agree_by_distance(
    second: tuple[float, float] | None, expected: list[list[float]]
) -> None:
    voices = [entry(point(25, 50)), entry(*([point(*second)] if second else []), annotator=2)]
    found = places(example(*voices))
    assert [pytest.approx(row) for row in expected] == found.get("nose", [])


def test_two_points_of_a_label_are_matched_one_to_one() -> None:
    voices = [
        entry(point(25, 50, region="a"), point(27, 50, region="b"), annotator=number)
        for number in (1, 2, 3)
    ]
    assert sorted(places(example(*voices))["nose"]) == [[50, 50], [54, 50]]


def test_what_people_did_with_points_is_counted() -> None:
    shown = tuple(
        point(x, 50, region=name) for name, x in (("kept", 10), ("moved", 30), ("gone", 60))
    )
    done = entry(
        point(10.0001, 50, region="kept"),
        point(33, 50, region="moved"),
        point(90, 50, "ear", region="new"),
        shown=shown,
    )
    (version,) = build_report(1, reviews_of([done], SPEC)).versions
    total = version.total
    assert (total.kept, total.changed, total.rejected, total.missed) == (1, 1, 1, 1)
    assert total.overlaps == [pytest.approx(0.7)], "6 px of 20"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param((float("nan"), 50), id="no number"),
        pytest.param((float("inf"), 50), id="endless"),
        pytest.param((-1, 50), id="outside"),
        pytest.param(("50", 50), id="text"),
        pytest.param((None, None), id="nothing"),
        pytest.param(([50], {}), id="lists"),
        pytest.param((True, True), id="truth"),
        pytest.param((1e308, 1e-308), id="extreme"),
    ],
)
def test_hostile_points_are_left_out(value: tuple[Any, Any]) -> None:
    assert places(example(entry(point(25, 50), point(*value, region="bad")))) == {
        "nose": [[50, 50]]
    }


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ([(50, 50, "nose")], {"nose": True, "ear": True}),
        ([(59, 50, "nose")], {"nose": True, "ear": True}),
        ([(61, 50, "nose")], {"nose": False, "ear": True}),
        ([], {"nose": False, "ear": True}),
        ([(50, 50, "nose"), (51, 50, "nose")], {"nose": False, "ear": True}),
        ([(50, 50, "nose"), (5, 5, "ear")], {"nose": True, "ear": False}),
    ],
    ids=["there", "near", "far", "none", "one too many", "an ear that is not there"],
)
def test_points_are_judged_as_answers(
    told: list[tuple[float, float, str]], expected: dict[str, bool]
) -> None:
    found = Points(
        np.array([row[:2] for row in told], np.float32).reshape(-1, 2),
        np.ones(len(told), np.float32),
        tuple(row[2] for row in told),
        (100, 200),
    )
    counts = judge_points(Counts(), found, example(entry(point(25, 50))), ("nose", "ear"))
    assert counts.answers == {point_answer(name): right for name, right in expected.items()}
    assert Counts.from_row(counts.to_row()) == counts


def test_where_no_point_was_asked_for_none_is_judged() -> None:
    none = np.zeros((0, 4), np.float32)
    drawn = Example("p", Boxes.empty((100, 200)), none)
    assert judge_points(Counts(), Points.empty((100, 200)), drawn, ("nose",)) == Counts()


def counted(*of_pictures: tuple[bool, ...]) -> dict[str, Counts]:
    """Of each picture, which labels were right."""
    return {
        f"p{at}": Counts(answers={point_answer(str(n)): one for n, one in enumerate(right)})
        for at, right in enumerate(of_pictures)
    }


def test_key_points_may_fall_behind_by_chance_and_no_further() -> None:
    current = counted((True, True), (True, False), (True, True), (False, True))
    # One right more and two fewer: behind by 1 where chance makes 1.7 (4 times the standard
    # error of 1, -1, -1, 0).
    chance = counted((True, True), (True, True), (True, False), (False, False))
    assert decide(chance, current, allow_chance=True).publish
    assert not decide(chance, current, allow_chance=False).publish
    worse = counted((False, True), (False, False), (False, True), (False, False))
    verdict = decide(worse, current, allow_chance=True)
    assert not verdict.publish
    assert "2 against 6 of 8 key points right" in verdict.reason


def test_key_points_of_labels_that_only_one_knows_are_not_held_against_it() -> None:
    current = {"p": Counts(answers={point_answer("nose"): True})}
    new = {"p": Counts(answers={point_answer("nose"): True, point_answer("ear"): False})}
    assert decide(new, current, allow_chance=False).publish
