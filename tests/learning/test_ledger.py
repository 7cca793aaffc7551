"""The ledger on a real Redis: storms of events, and what is read of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from backend.labelstudio.events import parse_event
from backend.labelstudio.labelspec import parse_label_config
from backend.learning.accepted import accepted_tasks
from backend.learning.ledger import MOST_REGIONS, Entry, Ledger, updated_us
from backend.store.ledgers import LedgerStore

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="rl" toName="image"><Label value="cat"/><Label value="dog"/></RectangleLabels>
  <Choices name="kind" toName="image"><Choice value="x"/><Choice value="y"/></Choices>
</View>
"""  # noqa: E501


def region(x: float = 10, label: str = "cat", region_id: str = "r1", **more: Any) -> dict[str, Any]:
    """A rectangle of 20 x 20 of 200 x 100 pixels, so of 10 by 20 percent."""
    return {
        "id": region_id, "from_name": "rl", "to_name": "image", "type": "rectanglelabels",
        "original_width": 200, "original_height": 100, "image_rotation": 0, "origin": "manual",
        "value": {"x": x, "y": 0, "width": 10, "height": 20, "rotation": 0,
                  "rectanglelabels": [label]},
    } | more  # fmt: skip


def choice(name: str) -> dict[str, Any]:
    return {"id": "c", "from_name": "kind", "to_name": "image", "type": "choices",
            "value": {"choices": [name]}}  # fmt: skip


def saved(
    number: int,
    at: int,
    result: Sequence[Mapping[str, Any]] = (),
    *,
    task: int = 1,
    action: str = "ANNOTATION_UPDATED",
    **fields: Any,
) -> dict[str, Any]:
    annotation = {
        "id": number, "task": task, "result": list(result), "was_cancelled": False,
        "ground_truth": False, "completed_by": number, "lead_time": 2.5,
        "updated_at": f"2026-01-01T00:00:{at:02d}.000000Z",
    } | fields  # fmt: skip
    return {
        "action": action,
        "annotation": annotation,
        "task": {"id": task, "data": {"image": f"/{task}.png"}},
        "project": {"id": 3},
    }


def deleted(*numbers: int) -> dict[str, Any]:
    rows = [{"id": number} for number in numbers]
    return {"action": "ANNOTATIONS_DELETED", "annotations": rows, "project": {"id": 3}}


def tasks_deleted(*numbers: int) -> dict[str, Any]:
    rows = [{"id": number} for number in numbers]
    return {"action": "TASKS_DELETED", "tasks": rows, "project": {"id": 3}}


@pytest.fixture
def ledger(connection: redis.Redis) -> Ledger:
    return Ledger(LedgerStore(connection))


def told(ledger: Ledger, *events: Mapping[str, Any]) -> list[Entry]:
    for event in events:
        ledger.apply(parse_event(event))
    return ledger.entries("3")


def boxes(entries: Sequence[Entry], config: str = CONFIG) -> dict[int, list[tuple[str, Any]]]:
    return {
        task.task_id: [(box.label, box.xyxy_px) for box in task.boxes]
        for task in accepted_tasks(entries, parse_label_config(config))
    }


def test_an_empty_ledger(ledger: Ledger) -> None:
    assert ledger.entries("3") == []
    assert ledger.changes("3").count == 0
    assert ledger.store.changed_projects() == []


def test_what_is_kept_of_an_annotation(ledger: Ledger) -> None:
    brush = {"id": "b", "type": "brushlabels", "value": {"rle": [1] * 1000}}
    snapshot = {"id": 9, "model_version": "v", "result": [region(region_id="p")]}
    text = {"id": "t", "type": "textarea", "value": {"text": ["a word"]}}
    event = saved(
        7, 5, [region(), choice("x"), brush, text], parent_prediction=9, prediction=snapshot
    )
    (entry,) = told(ledger, event)
    assert (entry.annotation_id, entry.task_id, entry.annotator) == (7, 1, 7)
    assert entry.data == {"image": "/1.png"}
    kinds = ["rectanglelabels", "choices", "brushlabels"]
    assert [one["type"] for one in entry.result] == kinds
    assert entry.result[2]["value"] == brush["value"]
    assert entry.lead_time_s == 2.5
    assert entry.updated_us == updated_us("2026-01-01T00:00:05Z") == 1767225605_000_000
    assert entry.shown is not None
    assert (entry.shown.prediction_id, entry.shown.model_version) == (9, "v")
    assert ledger.changes("3").count == 1
    assert ledger.store.changed_projects() == ["3"]
    (task,) = accepted_tasks([entry], parse_label_config(CONFIG))
    assert [(box.label, box.xyxy_px) for box in task.boxes] == [("cat", (20.0, 0.0, 40.0, 20.0))]
    assert [box.id for box in task.rejected] == []  # the accepted one lies where it was
    assert task.choices == {("kind", 0): ("x",)}


@pytest.mark.parametrize(
    ("parent", "rejected"), [(9, ["p"]), (None, []), (8, [])], ids=["made from it", "seen", "other"]
)
def test_a_predicted_box_that_was_deleted(
    ledger: Ledger, parent: int | None, rejected: list[str]
) -> None:
    snapshot = {"id": 9, "model_version": "v", "result": [region(60, region_id="p")]}
    entries = told(ledger, saved(7, 5, [region()], parent_prediction=parent, prediction=snapshot))
    (task,) = accepted_tasks(entries, parse_label_config(CONFIG))
    assert [box.id for box in task.rejected] == rejected


CASES = {
    "the newer one counts": ([saved(7, 2, [region(50)]), saved(7, 1, [region(10)])], {1: [50]}),
    "twice is once": ([saved(7, 2, [region(50)])] * 3, {1: [50]}),
    "a skip is no answer": ([saved(7, 1, [region()], was_cancelled=True)], {}),
    "a skip taken back": (
        [saved(7, 2, [region(50)]), saved(7, 1, [region()], was_cancelled=True)],
        {1: [50]},
    ),
    "nothing here": ([saved(7, 1)], {1: []}),
    "gone": ([saved(7, 1, [region()]), deleted(7)], {}),
    "a late report of what is gone": ([deleted(7), saved(7, 9, [region()])], {}),
    "gone with its task": ([saved(7, 1, [region()]), tasks_deleted(1)], {}),
    "late, of a task that is gone": ([tasks_deleted(1), saved(7, 1, [region()])], {}),
    "another task stays": (
        [saved(7, 1, [region()]), saved(8, 1, [region(50)], task=2), tasks_deleted(1)],
        {2: [50]},
    ),
    "ground truth": (
        [saved(7, 1, [region(50)], ground_truth=True), saved(8, 9, [region()])],
        {1: [50]},
    ),
}


@pytest.mark.parametrize(("events", "expected"), CASES.values(), ids=CASES)
def test_events(
    ledger: Ledger, events: list[dict[str, Any]], expected: dict[int, list[float]]
) -> None:
    found = boxes(told(ledger, *events))
    assert {task: [box[0] / 2 for _, box in own] for task, own in found.items()} == expected


EVENTS = st.lists(
    st.one_of(
        st.builds(
            lambda number, at, x, skip, truth: saved(
                number, at, [region(x)], task=1 + number % 2, was_cancelled=skip,
                ground_truth=truth, action="ANNOTATION_UPDATED",
            ),
            st.integers(1, 4), st.integers(0, 3), st.integers(0, 80), st.booleans(), st.booleans(),
        ),
        st.builds(deleted, st.integers(1, 5)),
        st.builds(tasks_deleted, st.integers(2, 3)),
    ),
    min_size=1,
    max_size=8,
)  # fmt: skip


@hypothesis_settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(EVENTS, st.data())
def test_any_order_and_number_of_reports_gives_the_same_ledger(
    connection: redis.Redis, events: list[dict[str, Any]], data: st.DataObject
) -> None:
    ledger = Ledger(LedgerStore(connection))
    repeated = events + data.draw(st.lists(st.sampled_from(events), max_size=6))
    storm = data.draw(st.permutations(repeated))
    connection.flushall()
    expected = told(ledger, *events)
    states = final_states(events)
    assert [entry.annotation_id for entry in expected] == sorted(states)
    assert all(entry in states[entry.annotation_id] for entry in expected)
    connection.flushall()
    assert told(ledger, *storm) == expected


def final_states(events: Sequence[Mapping[str, Any]]) -> dict[int, list[Entry]]:
    """The same by a naive way: of what is not gone the newest reports, several in a tie."""
    gone = {row["id"] for event in events for row in event.get("annotations", ())}
    gone_tasks = {row["id"] for event in events for row in event.get("tasks", ())}
    reports: dict[int, list[Entry]] = {}
    for event in events:
        row = event.get("annotation")
        if row is None or row["id"] in gone or row["task"] in gone_tasks:
            continue
        entry = Entry(
            annotation_id=row["id"], task_id=row["task"], data=event["task"]["data"],
            result=tuple(row["result"]), whole=True, skipped=row["was_cancelled"],
            ground_truth=row["ground_truth"], annotator=row["completed_by"], parent=None,
            lead_time_s=2.5, updated_us=updated_us(row["updated_at"]), shown=None,
        )  # fmt: skip
        reports.setdefault(row["id"], []).append(entry)
    newest = {}
    for number, own in reports.items():
        best = max((one.updated_us, one.ground_truth) for one in own)
        newest[number] = [one for one in own if (one.updated_us, one.ground_truth) == best]
    return newest


def test_changes_are_counted_once_and_taken(ledger: Ledger) -> None:
    told(ledger, saved(7, 1, [region()]), saved(7, 1, [region()]), saved(7, 2), saved(8, 1))
    assert ledger.changes("3").count == 2
    assert ledger.changes("3").quiet_s < 5
    assert ledger.store.take_changes("3") == 2
    assert ledger.changes("3").count == 0
    assert ledger.store.changed_projects() == []
    assert ledger.apply(parse_event(saved(9, 1, was_cancelled=True))) == 0
    assert ledger.changes("3").count == 0, "a skip teaches nothing"
    assert ledger.apply(parse_event(deleted(8, 9, 77))) == 1
    assert ledger.apply(parse_event(tasks_deleted(1))) == 1
    assert ledger.changes("3").count == 2


def test_a_label_that_was_removed_is_left_out_until_it_is_back(ledger: Ledger) -> None:
    entries = told(ledger, saved(7, 1, [region(10, "cat"), region(50, "dog", "r2")]))
    without = CONFIG.replace('<Label value="dog"/>', "")
    assert [label for label, _ in boxes(entries, without)[1]] == ["cat"]
    assert sorted(label for label, _ in boxes(entries)[1]) == ["cat", "dog"]


@pytest.mark.parametrize(
    ("odd", "legible"),
    [
        (region(), True),
        (region(image_rotation=90), False),
        (region(from_name="other", image_rotation=90), True),
        (region() | {"value": {"x": 1, "y": 1, "width": 9, "height": 9}}, False),
    ],
    ids=["plain", "turned picture", "another control", "no label chosen"],
)
def test_what_cannot_be_read_is_told(ledger: Ledger, odd: dict[str, Any], legible: bool) -> None:
    (task,) = accepted_tasks(told(ledger, saved(7, 1, [odd])), parse_label_config(CONFIG))
    assert task.legible is legible


def test_records_are_bounded(ledger: Ledger, connection: redis.Redis) -> None:
    many = [region(region_id=str(index)) for index in range(MOST_REGIONS + 1)]
    event = saved(7, 1, many)
    event["task"]["data"]["file"] = "data:image/png;base64," + "A" * 100_000
    (entry,) = told(ledger, event)
    assert len(entry.result) == MOST_REGIONS
    assert not entry.whole
    assert entry.data == {"image": "/1.png"}
    (task,) = accepted_tasks([entry], parse_label_config(CONFIG))
    assert not task.legible


def test_an_event_is_one_round_trip(ledger: Ledger, connection: redis.Redis) -> None:
    told(ledger, saved(7, 1), deleted(99))  # from now on Redis knows the scripts
    trips = []
    pool = connection.connection_pool
    get = pool.get_connection

    def counted(*args: Any, **kwargs: Any) -> Any:
        trips.append(1)
        return get(*args, **kwargs)

    pool.get_connection = counted  # type: ignore[method-assign]
    for event in (saved(7, 2, [region()]), deleted(7), tasks_deleted(1)):
        ledger.apply(parse_event(event))
    assert len(trips) == 3


@pytest.mark.parametrize(
    ("text", "micros"),
    [("", 0), ("yesterday", 0), ("1970-01-01T00:00:01Z", 10**6), ("1969-01-01T00:00:00Z", 0),
     ("1970-01-01T01:00:00.000005+01:00", 5), ("1970-01-01T00:00:01", 10**6)],
)  # fmt: skip
def test_updated_at(text: str, micros: int) -> None:
    assert updated_us(text) == micros
